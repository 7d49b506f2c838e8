"""What lies beside a shard of predictions: how its images and their objects look, too large and of no use to people for a table.

Rule: written before the shard, create-once; rows stand in the shard's order and are found by name. What cannot be told is missing, never
made up: an embedding of no columns, a time that is not a number, no objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from activelearning.errors import UserError
from trainer import arrays, uncertainties
from trainer.detections import Detections
from trainer.predictor import Predicted
from trainer.query.objects import Objects, concatenated

MOST_OBJECTS = 30
"""So many objects of an image, the most confident, are kept."""

_IMAGES = {"images": ("uint8", 1), "embeddings": ("float16", 2), "hashes": ("uint64", 1), "taken": ("float64", 1)}
_OBJECTS = {
    "offsets": ("int64", 1),
    "features": ("float16", 2),
    "class_id": ("int32", 1),
    "confidence": ("float32", 1),
    "entropy": ("float32", 1),
}


@dataclass(frozen=True, slots=True, eq=False)
class ShardFeatures:
    """Of N images: `embeddings` (N, D) float16, D = 0 where the model has none; `hashes` (N,) uint64; `taken` (N,) float64, seconds, NaN
    unknown; `objects` of them, None where nobody asked for these."""

    images: tuple[str, ...]
    embeddings: np.ndarray
    hashes: np.ndarray
    taken: np.ndarray
    objects: Objects | None = None

    def __post_init__(self) -> None:
        count = len(self.images)
        if any(len(column) != count for column in (self.embeddings, self.hashes, self.taken)):
            raise ValueError(f"every column must have a row for each of {count} images")
        if self.objects is not None and len(self.objects) != count:
            raise ValueError(f"objects must be of {count} images")
        if not np.isfinite(self.embeddings).all() or (self.objects is not None and not np.isfinite(self.objects.features).all()):
            raise ValueError("a feature is not a finite number")


def of_predicted(found: Sequence[Predicted], with_objects: bool) -> ShardFeatures:
    """Of the images of a shard, in its order."""
    embeddings = [one.embedding for one in found if one.embedding is not None]
    objects = [_objects(one.detections) for one in found] if with_objects else []
    return ShardFeatures(
        tuple(one.name for one in found),
        arrays.half(np.stack(embeddings)) if embeddings else np.zeros((len(found), 0), np.float16),
        np.array([one.facts.phash if one.facts else 0 for one in found], np.uint64),
        np.array([one.facts.taken if one.facts else np.nan for one in found], np.float64),
        _joined(objects) if with_objects else None,
    )


def encode(features: ShardFeatures) -> bytes:
    """The blob."""
    names = np.frombuffer("\n".join(features.images).encode(), np.uint8)
    columns = {"images": names, "embeddings": features.embeddings, "hashes": features.hashes, "taken": features.taken}
    of_objects = {name: getattr(features.objects, name) for name in _OBJECTS} if features.objects is not None else {}
    return arrays.encode(columns | of_objects)


def decode(content: bytes, where: str, objects_of: Sequence[str] | None = None) -> ShardFeatures:
    """The inverse of `encode`, objects only where the model's classes are given. Raises `UserError` for a blob that is damaged."""
    with_objects = objects_of is not None and arrays.holds(content, "offsets")
    found = arrays.decode(content, _IMAGES | (_OBJECTS if with_objects else {}), where)
    try:
        names = found.pop("images").tobytes().decode()
        images = tuple(names.split("\n")) if names else ()
        columns = {name: found[name] for name in _IMAGES if name != "images"}
        objects = Objects(**{name: found[name] for name in _OBJECTS}, classes=tuple(objects_of or ())) if with_objects else None
        return ShardFeatures(images, **columns, objects=objects)
    except (ValueError, IndexError) as error:
        raise UserError(f"{where} is damaged ({error}): put a copy in its place, or delete it to do without") from None


def _objects(found: Detections) -> Objects | None:
    """Those of one image; None where the model does not tell what they look like."""
    best = found[:MOST_OBJECTS]
    if best.features is None:
        return None
    return Objects(
        np.array([0, len(best)], np.int64),
        arrays.half(best.features),
        best.class_id.astype(np.int32),
        best.confidence,
        uncertainties.of(best)["entropy"].astype(np.float32),
    )


def _joined(objects: Sequence[Objects | None]) -> Objects | None:
    some = [one for one in objects if one is not None]
    return concatenated(some) if some and len(some) == len(objects) else None
