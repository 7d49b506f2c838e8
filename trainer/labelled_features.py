"""How the labelled images look to the model that predicts the pool, and which classes it finds hard among them.

Rule: made once for a job and then read, so an attempt that was killed does not look twice.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from activelearning import layout
from activelearning.errors import BlobExists
from activelearning.labels import ImageLabels
from activelearning.store import Blobs
from trainer import arrays, detections, pinned_pool
from trainer.ground_truth import GroundTruth, ground_truth
from trainer.pinned_pool import PinnedPool, Recipe
from trainer.predictor import Failed, Predicted, Predictor
from trainer.query.diversity_ppal import difficulty
from trainer.work import Work, read_onnx

_ARRAYS = {"embeddings": ("float16", 2), "difficulty": ("float64", 1)}


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFeatures:
    """`embeddings` (M, D) float16 of the labelled images that can be read, D = 0 where the model has none; `difficulty` 0..1 of each class
    that people have labelled: the mean over its objects of `diversity_ppal.difficulty`."""

    embeddings: np.ndarray
    difficulty: Mapping[str, float]


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
    return arrays.encode({"embeddings": rows, "difficulty": hard})


def _read(blobs: Blobs, job: str, classes: Sequence[str]) -> LabelledFeatures:
    name = layout.labelled_features(job)
    found = arrays.decode(blobs.read(name).content, _ARRAYS, name)
    known = zip(classes, found["difficulty"].tolist(), strict=False)
    return LabelledFeatures(found["embeddings"], {label: hard for label, hard in known if 0 <= hard <= 1})
