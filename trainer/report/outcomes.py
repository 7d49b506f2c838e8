"""What an annotator would have been shown of the test split: correct and false drafts, objects missed, images from best to worst.

Rule: a draft is a detection that people are shown; it is correct as `Judged.correct` says, at an IoU of 0.5.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.ground_truth import GroundTruth
from trainer.judged import Judged
from trainer.report.facts import EvaluatedImage, Facts


@dataclass(frozen=True, slots=True)
class ImageScore:
    """One image by its place in the test split, with the numbers of its correct and false drafts and of its missed objects."""

    image: int
    name: str
    correct: int
    false: int
    missed: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 for an image without objects that was left without drafts."""
        boxes = 2 * self.correct + self.false + self.missed
        return 2 * self.correct / boxes if boxes else 1.0


@dataclass(frozen=True, slots=True)
class Profile:
    """What keeping some of the detections means, each figure 0..1, None where there is nothing to divide by.

    `mean_iou` is of the kept correct detections; `class_accuracy` the share of right classes among the kept detections that lie on an
    object with an IoU of 0.5; `objects_found` the share of all objects; `correct_kept` and `false_removed` those of all detections.
    """

    label: str
    mean_iou: float | None
    class_accuracy: float | None
    objects_found: float | None
    correct_kept: float | None
    false_removed: float | None


def drafts(judged: Judged, facts: Facts) -> np.ndarray:
    """(N,) bool: the detections that people are shown."""
    return judged.detections.confidence >= facts.shown_from if facts.shown is None else facts.shown


def found_objects(judged: Judged, images: Sequence[EvaluatedImage], kept: np.ndarray) -> list[np.ndarray]:
    """For each image (G,) bool: which of its objects a kept detection (N,) is correct for."""
    hits = kept & judged.correct()
    by_image: list[Counter[bytes]] = [Counter() for _ in images]
    keys = _keys(judged.truth_xyxy[hits], judged.truth_class[hits])
    for image, key in zip(judged.image[hits].tolist(), keys, strict=True):
        by_image[image][key] += 1
    return [_found(one.truth, keys) for one, keys in zip(images, by_image, strict=True)]


def scores(judged: Judged, images: Sequence[EvaluatedImage], kept: np.ndarray) -> tuple[ImageScore, ...]:
    """Every image's score when the detections of the mask (N,) are its drafts, in the order of the images."""
    right = judged.correct()
    correct, false = (np.bincount(judged.image[kept & rows], minlength=len(images)) for rows in (right, ~right))
    missed = judged.objects.sum(1) - correct
    columns = (correct.tolist(), false.tolist(), missed.tolist())
    return tuple(ImageScore(index, one.name, *row) for index, (one, *row) in enumerate(zip(images, *columns, strict=True)))


def worst(scored: Sequence[ImageScore], limit: int = 10) -> tuple[ImageScore, ...]:
    """The images of least F1, at most half of them; of equal F1 those with more errors first, then by name."""
    order = sorted(scored, key=lambda one: (one.f1, -one.false - one.missed, one.name))
    return tuple(order[: min(limit, (len(order) + 1) // 2)])


def best(scored: Sequence[ImageScore], limit: int = 10) -> tuple[ImageScore, ...]:
    """The images of greatest F1, none of which can be among the worst; of equal F1 those with more correct drafts first, then by name."""
    left_out = {one.image for one in worst(scored, limit)}
    order = sorted((one for one in scored if one.image not in left_out), key=lambda one: (-one.f1, -one.correct, one.name))
    return tuple(order[:limit])


def profile(judged: Judged, kept: np.ndarray, label: str) -> Profile:
    """What keeping the detections of the mask (N,) means."""
    right = judged.correct()
    hits, on_object = kept & right, kept & (judged.iou >= 0.5)
    right_class = judged.truth_class == judged.detections.class_id
    return Profile(
        label,
        float(judged.iou[hits].mean(dtype=np.float64)) if hits.any() else None,
        _share(on_object & right_class, on_object.sum()),
        _share(hits, judged.objects.sum()),
        _share(hits, right.sum()),
        _share(~kept & ~right, (~right).sum()),
    )


def _keys(xyxy: np.ndarray, class_id: np.ndarray) -> list[bytes]:
    # a match repeats the corners of its object to the bit
    return [box.tobytes() + label.tobytes() for box, label in zip(xyxy.astype(np.float32), class_id.astype(np.int64), strict=True)]


def _found(truth: GroundTruth, hits: Counter[bytes]) -> np.ndarray:
    """Objects of one image that were hit; of two with the same corners and class as many as there are hits."""
    left, found = hits.copy(), []
    for key in _keys(truth.xyxy, truth.class_id):
        found.append(left[key] > 0)
        left[key] -= 1
    return np.array(found, bool)


def _share(part: np.ndarray, whole: int) -> float | None:
    return float(part.sum() / whole) if whole else None
