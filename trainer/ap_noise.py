"""How far a measured average precision may be off because the test split holds these images and not others of the same kind.

Rule: whole images are drawn, with replacement, as often as there are (the bootstrap of Efron): boxes of one image share their fate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer import detections
from trainer.detections import Detections
from trainer.ground_truth import GroundTruth

RESAMPLES = 100
"""They tell a standard error to about 7 %, which is more than is done with it."""
IOUS = np.arange(50, 100, 5) / 100
"""COCO's ten thresholds."""

_RECALLS = np.arange(101) / 100
_FEWEST_IMAGES = 5
"""From fewer, resampling says little of what is not among them."""


@dataclass(frozen=True, slots=True, eq=False)
class _Class:
    """The K detections of one class, the most confident first: their `image` (K,) and `correct` (K, T) at each threshold; `objects` (M,)
    counts those of the class in each of the M images."""

    image: np.ndarray
    correct: np.ndarray
    objects: np.ndarray


def standard_error(truth: Sequence[GroundTruth], found: Sequence[Detections], classes: int, seed: int = 0) -> float | None:
    """The standard deviation of AP over all classes (IoU 0.50 to 0.95) over resampled test images; None from fewer than five images, and
    where no resample differs."""
    images = len(truth)
    if images < _FEWEST_IMAGES:
        return None
    matched = [_matched(truth, found, label) for label in range(classes)]
    random = np.random.default_rng(seed)
    draws = (np.bincount(random.integers(0, images, images), minlength=images) for _ in range(RESAMPLES))
    values = [value for draw in draws if (value := _mean_ap(matched, draw)) is not None]
    error = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return error or None


def mean_average_precision(truth: Sequence[GroundTruth], found: Sequence[Detections], classes: int) -> float | None:
    """AP over all classes of the images as they are, which is `evaluation.evaluate`'s; None where there is no object."""
    return _mean_ap([_matched(truth, found, label) for label in range(classes)], np.ones(len(truth), np.int64))


def _mean_ap(matched: Sequence[_Class], draw: np.ndarray) -> float | None:
    """AP over the classes that have an object, every image counted as often as `draw` (M,) says."""
    values = [value for one in matched if (value := _average_precision(one, draw)) is not None]
    return float(np.mean(values)) if values else None


def _average_precision(one: _Class, draw: np.ndarray) -> float | None:
    """Mean over thresholds of the precision at 101 recalls, made monotone, as COCO has it; None without an object."""
    objects = int((one.objects * draw).sum())
    if not objects:
        return None
    times = draw[one.image][:, None]
    correct = np.cumsum(one.correct * times, 0)
    precision = correct / np.maximum(np.cumsum(times, 0), 1)
    monotone = np.maximum.accumulate(precision[::-1], 0)[::-1]
    columns = zip((correct / objects).T, monotone.T, strict=True)
    return float(np.mean([_at_recalls(recall, height) for recall, height in columns]))


def _at_recalls(recall: np.ndarray, precision: np.ndarray) -> float:
    reached = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.append(precision, 0.0)[reached].mean())


def _matched(truth: Sequence[GroundTruth], found: Sequence[Detections], label: int) -> _Class:
    own = [one[one.class_id == label] for one in found]
    boxes = [one.xyxy[one.class_id == label] for one in truth]
    order = np.argsort(-np.concatenate([one.confidence for one in own]), kind="stable")
    image = np.repeat(np.arange(len(own)), [len(one) for one in own])
    correct = np.concatenate([_correct(one, objects) for one, objects in zip(own, boxes, strict=True)])
    return _Class(image[order], correct[order], np.array([len(objects) for objects in boxes], np.int64))


def _correct(found: Detections, objects: np.ndarray) -> np.ndarray:
    """(N, T) bool: at each threshold the detection takes an object (G, 4) that no more confident one took: that which it overlaps most."""
    correct = np.zeros((len(found), len(IOUS)), bool)
    if not len(objects):
        return correct
    overlap = detections.box_iou(found.xyxy.astype(np.float64), objects.astype(np.float64))
    free = np.ones((len(IOUS), len(objects)), bool)
    for index in np.argsort(-found.confidence, kind="stable"):
        left = np.where(free, overlap[index], -1.0)
        best = left.argmax(1)
        correct[index] = left.max(1) >= IOUS
        free[correct[index], best[correct[index]]] = False
    return correct
