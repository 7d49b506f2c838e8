"""The figures at the head of a validation: how well objects were found, and how long an image took.

Rule: a figure that there is nothing to take of is None, never 0 or NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer import detections
from trainer.ground_truth import GroundTruth
from trainer.judged import Judged, missed_objects


@dataclass(frozen=True, slots=True)
class Summary:
    """How well objects were found: their number; shares of them, 0..1, `found` by a box of their own, `misclassified`, where only a box
    of another class overlaps enough, and `missed`, where none does, which add up to 1; and the share of detections that are `false`.

    `mean_iou` and `rmse`, the root mean square of predicted minus true corner, in pixels, by corner, are of what was found. None where
    there is nothing to take a figure of.
    """

    objects: int
    found: float | None
    misclassified: float | None
    missed: float | None
    false: float | None
    mean_iou: float | None
    rmse: tuple[float, float, float, float] | None


@dataclass(frozen=True, slots=True)
class Runtime:
    """Milliseconds an image, of so many images; `left_out` counts others that took so long that something else must have been on."""

    images: int
    left_out: int
    mean_ms: float
    std_ms: float
    median_ms: float


def summary(judged: Judged, ground_truth: Sequence[GroundTruth], min_iou: float = 0.5) -> Summary:
    """How well the objects that the M images were judged by were found. A box of another class overlaps enough from `min_iou` on."""
    image, label, xyxy = missed_objects(judged, ground_truth)
    objects, matched = int(judged.objects.sum()), judged.matched
    misclassified = sum(_covered(judged, *one, min_iou) for one in zip(image, label, xyxy, strict=True))
    return Summary(
        objects,
        _share(int(matched.sum()), objects),
        _share(misclassified, objects),
        _share(len(image) - misclassified, objects),
        _share(int((~matched).sum()), len(judged)),
        float(judged.iou[matched].mean(dtype=np.float64)) if matched.any() else None,
        _rmse(judged.residual[matched]) if matched.any() else None,
    )


def runtime(seconds: np.ndarray) -> Runtime:
    """Of what each image took (M,). Those beyond the third quartile by over 50 times the distance of the quartiles are left out.

    Raises `ValueError` without an image, or for a time that is negative or no number.
    """
    if not len(seconds) or not (np.isfinite(seconds) & (seconds >= 0)).all():
        raise ValueError("there must be at least one time, and each must be a number of seconds from 0 on")
    first, third = np.quantile(seconds, [0.25, 0.75])
    kept = seconds[seconds <= third + 50 * (third - first)] * 1000
    return Runtime(len(kept), len(seconds) - len(kept), float(kept.mean()), float(kept.std()), float(np.median(kept)))


def _covered(judged: Judged, image: int, label: int, xyxy: np.ndarray, min_iou: float) -> bool:
    """Whether a detection of another class that has no object for itself lies on the object."""
    others = (judged.image == image) & ~judged.matched & (judged.detections.class_id != label)
    return bool((detections.box_iou(judged.detections.xyxy[others].astype(np.float64), xyxy[None].astype(np.float64)) >= min_iou).any())


def _share(count: int, of: int) -> float | None:
    return count / of if of else None


def _rmse(residual: np.ndarray) -> tuple[float, float, float, float]:
    xmin, ymin, xmax, ymax = np.sqrt((residual.astype(np.float64) ** 2).mean(0)).tolist()
    return xmin, ymin, xmax, ymax
