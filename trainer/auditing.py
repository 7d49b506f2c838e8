"""What people say of accepted images that they were shown all the same.

Rule: a box counts as right by the same measure by which it was accepted, and an image accepted as empty counts as one box.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from activelearning.autolabels import Audit, Record
from activelearning.labels import Box, ImageLabels
from trainer import design_effect, promise
from trainer.detections import Detections
from trainer.ground_truth import GroundTruth
from trainer.judged import judge

_SIDE = 1 << 20
"""Boxes are compared in an image of so many pixels a side, since tables hold fractions."""


def audited(record: Record, accepted: Sequence[ImageLabels], people: Mapping[str, ImageLabels], classes: Sequence[str]) -> Audit:
    """Compare accepted labels with what people said of the same images, whose labels are `people` by name.

    Boxes of a class that the project has no more count for nothing.
    """
    known = {name: index for index, name in enumerate(classes)}
    truth = [people[labels.image] for labels in accepted]
    judged = judge([_detections(labels, known) for labels in accepted], [_truth(labels, known) for labels in truth], len(known))
    empty = [(at, not said.boxes) for at, (labels, said) in enumerate(zip(accepted, truth, strict=True)) if not labels.boxes]
    correct = np.append(judged.correct(), np.array([right for _, right in empty], bool))
    image = np.append(judged.image, np.array([at for at, _ in empty], np.int64))
    boxes, wrong, effect = len(correct), int((~correct).sum()), design_effect.of_all(correct, image)
    broken = promise.is_refuted(int(wrong / effect), math.ceil(boxes / effect), record.precision, record.confidence)
    return Audit(record.run, boxes, wrong, broken)


def _detections(labels: ImageLabels, known: Mapping[str, int]) -> Detections:
    boxes = [box for box in labels.boxes if box.label in known]
    class_id = _class_ids(boxes, known)
    confidence = np.array([1.0 if box.confidence is None else box.confidence for box in boxes], np.float32)
    return Detections(_corners(boxes), confidence, class_id, np.eye(len(known), dtype=np.float32)[class_id])


def _truth(labels: ImageLabels, known: Mapping[str, int]) -> GroundTruth:
    boxes = [box for box in labels.boxes if box.label in known]
    return GroundTruth(_corners(boxes), _class_ids(boxes, known))


def _class_ids(boxes: Sequence[Box], known: Mapping[str, int]) -> np.ndarray:
    return np.array([known[box.label] for box in boxes], np.int64)


def _corners(boxes: Sequence[Box]) -> np.ndarray:
    return (np.array([box.xyxy for box in boxes], np.float64).reshape(-1, 4) * _SIDE).astype(np.float32)
