"""Detections beside the truth: which are right, and how far off their corners are. What calibration, thresholds and promises learn from.

Rule: an object is matched once, so a second box on it is wrong, as is a box on nothing; objects that nobody found are counted.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer import detections
from trainer.detections import Detections
from trainer.ground_truth import GroundTruth


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """N detections of M images of C classes, image by image.

    `detections` holds all N, in pixels of their image; `image` (N,) int64 says which one, 0..M-1. `matched` (N,) bool: the box has an
    object of its class for itself. `truth_xyxy` (N, 4) float32 and `truth_class` (N,) int64 are that object, and for a box without one
    the object, of whatever class, that it overlaps most: NaN and -1 where it overlaps none. `iou` (N,) float32 is the overlap with it.
    `objects` (M, C) int64 counts the true objects of each image and class.
    """

    detections: Detections
    image: np.ndarray
    matched: np.ndarray
    iou: np.ndarray
    truth_xyxy: np.ndarray
    truth_class: np.ndarray
    objects: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.detections)
        for name in ("image", "matched", "iou", "truth_xyxy", "truth_class"):
            if len(getattr(self, name)) != count:
                raise ValueError(f"{name} must be of length {count}")
        if self.objects.shape[1:] != self.detections.class_scores.shape[1:]:
            raise ValueError("objects must count every class")

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index: np.ndarray) -> "Judged":
        """The detections that a mask or an array of indices picks; the images, and the objects in them, stay."""
        rows = (self.image, self.matched, self.iou, self.truth_xyxy, self.truth_class)
        return Judged(self.detections[index], *(row[index] for row in rows), self.objects)

    def correct(self, iou: float = 0.5) -> np.ndarray:
        """(N,) bool: of the right class, on an object of its own, and overlapping it by at least `iou`."""
        return self.matched & (self.iou >= iou)

    @property
    def residual(self) -> np.ndarray:
        """(N, 4) float32: predicted minus true corner in pixels; NaN for a box that has no object of its own."""
        return np.where(self.matched[:, None], self.detections.xyxy - self.truth_xyxy, np.float32(np.nan))

    def of_images(self, images: np.ndarray) -> "Judged":
        """Only those images (K,), numbered anew 0..K-1 in the order given."""
        rows = [np.flatnonzero(self.image == image) for image in images]
        index = np.concatenate([np.zeros(0, np.int64), *rows])
        numbers = np.repeat(np.arange(len(images)), [len(row) for row in rows])
        parts = (self.matched, self.iou, self.truth_xyxy, self.truth_class)
        return Judged(self.detections[index], numbers, *(part[index] for part in parts), self.objects[images])


def judge(found: Sequence[Detections], ground_truth: Sequence[GroundTruth], classes: int, min_iou: float = 0.5) -> Judged:
    """Match each image's detections with its objects at one threshold, as COCO does.

    The most confident detection chooses first: the object of its own class that it overlaps most among those not taken, if by at least
    `min_iou`. Equal confidences choose in their order.
    """
    rows = [_judge_image(one, truth, min_iou) for one, truth in zip(found, ground_truth, strict=True)]
    nothing = _judge_image(detections.no_detections(classes), GroundTruth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)), min_iou)
    return Judged(
        detections.concatenate(found, classes),
        np.repeat(np.arange(len(found)), [len(one) for one in found]),
        *(np.concatenate(column) for column in zip(nothing, *rows, strict=True)),
        np.array([np.bincount(truth.class_id, minlength=classes) for truth in ground_truth], np.int64).reshape(-1, classes),
    )


def missed_objects(judged: Judged, ground_truth: Sequence[GroundTruth]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (K,), class (K,) and corners (K, 4) of the objects that no detection is matched with, in their order.

    `ground_truth` is what the M images were judged by. Raises `ValueError` when it is not.
    """
    own = zip(judged.image, judged.truth_class, judged.truth_xyxy, strict=True)
    taken = Counter(_key(*one) for one, matched in zip(own, judged.matched, strict=True) if matched)
    missed = []
    for image, truth in enumerate(ground_truth):
        for label, xyxy in zip(truth.class_id, truth.xyxy, strict=True):
            key = _key(image, label, xyxy)
            if taken[key]:
                taken[key] -= 1
            else:
                missed.append((image, label, xyxy))
    if taken.total() or len(ground_truth) != len(judged.objects):
        raise ValueError("the ground truth is not what the detections were judged by")
    places = np.array([(image, label) for image, label, _ in missed], np.int64).reshape(-1, 2)
    return places[:, 0], places[:, 1], np.array([xyxy for *_, xyxy in missed], np.float32).reshape(-1, 4)


def _judge_image(found: Detections, truth: GroundTruth, min_iou: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Columns `matched`, `iou`, `truth_xyxy` and `truth_class` of one image."""
    if not len(found) or not len(truth.class_id):
        count = len(found)
        return np.zeros(count, bool), np.zeros(count, np.float32), np.full((count, 4), np.nan, np.float32), np.full(count, -1, np.int64)
    overlap = detections.box_iou(found.xyxy.astype(np.float64), truth.xyxy.astype(np.float64))
    own = _own_objects(overlap, found, truth, min_iou)
    matched = own >= 0
    partner = np.where(matched, own, overlap.argmax(1))
    iou = overlap[np.arange(len(found)), partner]
    touched = iou > 0
    truth_class = np.where(touched, truth.class_id[partner], -1)
    return matched, iou.astype(np.float32), np.where(touched[:, None], truth.xyxy[partner], np.float32(np.nan)), truth_class


def _own_objects(overlap: np.ndarray, found: Detections, truth: GroundTruth, min_iou: float) -> np.ndarray:
    """(N,) the object that each detection has for itself, -1 for none."""
    own = np.full(len(found), -1, np.int64)
    free = np.where(np.equal.outer(found.class_id, truth.class_id), overlap, 0.0)
    for index in np.argsort(-found.confidence, kind="stable"):
        best = int(free[index].argmax())
        if free[index, best] >= min_iou and free[index, best] > 0:
            own[index] = best
            free[:, best] = 0.0
    return own


def _key(image: int, label: int, xyxy: np.ndarray) -> tuple[int, int, bytes]:
    return int(image), int(label), xyxy.astype(np.float32).tobytes()
