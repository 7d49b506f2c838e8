"""How the labelled images look to the model that predicts the pool, and which classes it finds hard among them.

Rule: made once for a job and then read, so an attempt that was killed does not look twice.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from activelearning import layout
from activelearning.errors import BlobExists, UserError
from activelearning.labels import ImageLabels
from activelearning.store import Blobs
from trainer import arrays, detections, pinned_pool
from trainer.ground_truth import GroundTruth, ground_truth
from trainer.pinned_pool import PinnedPool, Recipe
from trainer.predictor import Failed, Predicted, Predictor
from trainer.query.diversity_ppal import difficulty
from trainer.work import Work, read_onnx

_ARRAYS = {"embeddings": ("float16", 2), "difficulty": ("float64", 1)}
_FACTS = {"images": ("uint8", 1), "hashes": ("uint64", 1), "taken": ("float64", 1)}


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFeatures:
    """`embeddings` (M, D) float16 of the labelled images that can be read, D = 0 where the model has none; `difficulty` 0..1 of each class
    that people have labelled: the mean over its objects of `diversity_ppal.difficulty`; the names of the `images`, their `hashes` (M,)
    uint64 and when they were `taken` (M,) float64, seconds, NaN unknown: none of these where an older version looked."""

    embeddings: np.ndarray
    difficulty: Mapping[str, float]
    images: tuple[str, ...] = ()
    hashes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    taken: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.hashes) == len(self.taken):
            raise ValueError(f"every column must have a row for each of {len(self.images)} images")


NOTHING_SEEN = LabelledFeatures(np.zeros((0, 0), np.float16), {})
"""What is known where nobody looked."""


def of_job(work: Work, pool: PinnedPool, images: Sequence[ImageLabels]) -> LabelledFeatures:
    """Of the labelled images, as the model sees them that the job predicts its pool with; an earlier job of that model may have looked."""
    blobs, job, recipe = work.store.labels, work.job.id, pool.recipe
    for known in (job, *(earlier for earlier, _ in pinned_pool.same_model(blobs, pool))):
        if blobs.exists(layout.labelled_features(known)):
            return _read(blobs, known, recipe.classes)
    with suppress(BlobExists):
        blobs.create(layout.labelled_features(job), _look(work, recipe, images))
    return _read(blobs, job, recipe.classes)


def class_difficulty(found: Sequence[detections.Detections], truth: Sequence[GroundTruth], classes: int) -> np.ndarray:
    """(C,) the mean difficulty of each class's objects in some images, NaN of a class without any.

    An object is as hard as the detection of its class that overlaps it most says, the first of equal ones, and 1 without one.
    """
    total, count = np.zeros(classes), np.zeros(classes)
    for one, true in zip(found, truth, strict=True):
        np.add.at(total, true.class_id, _object_difficulty(one, true))
        np.add.at(count, true.class_id, 1)
    return np.asarray(np.divide(total, count, out=np.full(classes, np.nan), where=count > 0))


def _object_difficulty(found: detections.Detections, true: GroundTruth) -> np.ndarray:
    if not len(found):
        return np.ones(len(true.class_id))
    overlap = detections.box_iou(true.xyxy, found.xyxy) * (true.class_id[:, None] == found.class_id)
    best = overlap.argmax(1)
    return difficulty(found.confidence[best], overlap[np.arange(len(best)), best])


def _look(work: Work, recipe: Recipe, images: Sequence[ImageLabels]) -> bytes:
    """The blob. What cannot be read was reported by the training."""
    predictor = Predictor(read_onnx(work.store, recipe.model), recipe.family, recipe.prediction)
    looks: list[tuple[Predicted, GroundTruth]] = []
    sources = ((labels.image, lambda name=labels.image: work.store.images.read(name).content) for labels in images)
    for labels, found in zip(images, predictor.predict(sources), strict=True):
        work.tell(f"{len(looks):,} of {len(images):,} labelled images looked at")
        if not isinstance(found, Failed):
            looks.append((found, ground_truth(labels, recipe.classes, found.size)))
    embeddings = [found.embedding for found, _ in looks if found.embedding is not None]
    hard = class_difficulty([found.detections for found, _ in looks], [true for _, true in looks], len(recipe.classes))
    rows = arrays.half(np.stack(embeddings)) if embeddings else np.zeros((len(looks), 0), np.float16)
    return arrays.encode({"embeddings": rows, "difficulty": hard} | _facts([found for found, _ in looks]))


def _facts(found: Sequence[Predicted]) -> dict[str, np.ndarray]:
    told = [(one.name, one.facts) for one in found if one.facts]
    return {
        "images": np.frombuffer("\n".join(name for name, _ in told).encode(), np.uint8),
        "hashes": np.array([facts.phash for _, facts in told], np.uint64),
        "taken": np.array([facts.taken for _, facts in told], np.float64),
    }


def _read(blobs: Blobs, job: str, classes: Sequence[str]) -> LabelledFeatures:
    name = layout.labelled_features(job)
    content = blobs.read(name).content
    found = arrays.decode(content, _ARRAYS | (_FACTS if arrays.holds(content, "hashes") else {}), name)
    known = zip(classes, found["difficulty"].tolist(), strict=False)
    difficulty = {label: hard for label, hard in known if 0 <= hard <= 1}
    if "hashes" not in found:
        return LabelledFeatures(found["embeddings"], difficulty)
    try:
        names = found["images"].tobytes().decode()
        return LabelledFeatures(found["embeddings"], difficulty, tuple(names.split("\n")) if names else (), found["hashes"], found["taken"])
    except ValueError as error:
        raise UserError(f"{name} is damaged ({error}): put a copy in its place, or delete it to do without") from None
