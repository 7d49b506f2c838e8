"""The published score for label errors in detection data, re-implemented as the named peer of the benchmark `label_errors`.

Source: Tkachenko, Thyagarajan, Mueller 2023, "ObjectLab: Automated Diagnosis of Mislabeled Images in Object Detection Data"
(arXiv 2309.00832), with the default parameters of cleanlab 2.6; cleanlab itself is not installed here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.detections import Detections, box_iou
from trainer.ground_truth import GroundTruth

_ALPHA = 0.9
"""Weight of the IoU in the similarity of two boxes; the rest is the nearness of their centres."""
_NEARNESS = 0.1
_LOW, _HIGH = 0.5, 0.95
"""Scores above which a detection tells of bad locations, and of overlooked and swapped boxes."""
_TEMPERATURE = 0.1
_CONFLICT = 0.95
"""Two labels of different classes that overlap so much contradict one another."""
_TINY = 1e-100


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    labels: GroundTruth
    found: Detections
    iou: np.ndarray
    similarity: np.ndarray


def quality(labels: Sequence[GroundTruth], found: Sequence[Detections]) -> np.ndarray:
    """(M,) the label quality of each image, 0 to 1, lowest first to be reviewed: the geometric mean of the three kinds' softmins."""
    images = [_image(one, detections) for one, detections in zip(labels, found, strict=True)]
    least = min((float(one.similarity[one.similarity > 0].min(initial=1.0)) for one in images), default=1.0)
    kinds = [(_overlooked(one, least), _badly_located(one), _swapped(one, least)) for one in images]
    pooled = np.array([[_softmin(scores) for scores in one] for one in kinds])
    return np.asarray(np.exp(np.log(_TINY + pooled).mean(1)))


def _image(labels: GroundTruth, found: Detections) -> _Image:
    first, second = labels.xyxy.astype(np.float64), found.xyxy.astype(np.float64)
    iou = box_iou(first, second)
    distance = np.linalg.norm(_centre(first)[:, None] - _centre(second)[None], axis=2)
    return _Image(labels, found, iou, _ALPHA * iou + (1 - _ALPHA) * np.exp(-_NEARNESS * distance))


def _centre(xyxy: np.ndarray) -> np.ndarray:
    return np.asarray((xyxy[:, :2] + xyxy[:, 2:]) / 2)


def _overlooked(one: _Image, least: float) -> list[float]:
    """A score for each confident detection that touches no label: how near the next label of its class is."""
    scores = []
    for index in np.flatnonzero((one.found.confidence >= _HIGH) & ~(one.iou > 0).any(0)):
        near = one.similarity[one.labels.class_id == one.found.class_id[index], index]
        scores.append(float(near.max()) if len(near) else least * (1 - float(one.found.confidence[index])))
    return scores


def _badly_located(one: _Image) -> list[float]:
    """A score for each label: its similarity to the nearest detection of its class, 1 where none touches it."""
    allowed = np.equal.outer(one.labels.class_id, one.found.class_id) & (one.found.confidence > _LOW) & (one.iou > 0)
    best = np.where(allowed, one.similarity, -1.0).max(1, initial=-1.0)
    return [float(value) for value in np.where(best < 0, 1.0, best)]


def _swapped(one: _Image, least: float) -> list[float]:
    """A score for each label: how far the nearest confident detection of another class is."""
    other = np.not_equal.outer(one.labels.class_id, one.found.class_id) & (one.found.confidence > _HIGH)
    best = np.where(other, one.similarity, -1.0).max(1, initial=-1.0)
    scores = np.where(best < 0, 1.0, np.maximum(least, 1 - best))
    among = box_iou(one.labels.xyxy.astype(np.float64), one.labels.xyxy.astype(np.float64))
    contradicted = (among >= _CONFLICT) & np.not_equal.outer(one.labels.class_id, one.labels.class_id)
    return [float(value) for value in np.where(contradicted.any(1), least, scores)]


def _softmin(scores: Sequence[float]) -> float:
    if not scores:
        return 1.0
    values = np.array(scores)
    weights = np.exp(-(values - values.min()) / _TEMPERATURE)
    return float(weights @ values / weights.sum())
