"""How good a detector is on images whose truth is known.

Rule: pixels are those of the original images, a figure is 0..1 or None, never NaN. A class without an object in the test set has
no figure and is left out of the means; images without objects are counted by themselves, not as a class.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer import coco_figures, detections
from trainer.coco_figures import Metric
from trainer.detections import Detections
from trainer.ground_truth import GroundTruth

ALL = "all"
"""The label of a mean over classes."""

_VOC_NMS_IOU = 0.7
_VOC_MATCH_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Metrics:
    """All figures of one evaluation, and what they leave out.

    `absent` are the classes without an object in the test set; `background_images` counts the images without any object.
    """

    rows: tuple[Metric, ...]
    absent: tuple[str, ...]
    background_images: int

    def value(self, name: str, label: str = ALL) -> float | None:
        """One figure, for example `value("ap50")`. Raises `KeyError` when there is no such row."""
        return {(row.label, row.name): row.value for row in self.rows}[label, name]


def evaluate(
    ground_truth: Sequence[GroundTruth], found: Sequence[Detections], classes: Sequence[str], *, silent_below: float = 0.4
) -> Metrics:
    """Compare what was found with the truth, image by image in the same order.

    COCO's `ap` (IoU 0.50 to 0.95), `ap50`, `ap75`, `ar100`, and `ap_small`, `ap_medium`, `ap_large` by area in pixels; VOC 2012's
    `voc_ap50`; and `background_silent`, the share of images without objects where no detection reaches `silent_below`. Where the truth has
    masks and the model draws them, COCO's figures of masks too, `mask_ap`, `mask_ap50` and so on, areas being those of the masks.
    """
    truths = list(zip(ground_truth, found, strict=True))
    per_class = [*coco_figures.of_boxes(ground_truth, found, classes), *_voc(truths, classes)]
    if truths and all(truth.masks is not None and (one.masks is not None or not len(one)) for truth, one in truths):
        per_class += coco_figures.of_masks(ground_truth, found, classes)
    names = list(dict.fromkeys(row.name for row in per_class))
    means = [_mean([row for row in per_class if row.name == name]) for name in names]
    present = {label for truth in ground_truth for label in truth.class_id.tolist()}
    absent = tuple(name for label, name in enumerate(classes) if label not in present)
    silent = _background_silent(truths, silent_below)
    return Metrics((*means, silent, *per_class), absent, silent.support)


def _mean(rows: Sequence[Metric]) -> Metric:
    values = [row.value for row in rows if row.value is not None]
    return Metric(ALL, rows[0].name, float(np.mean(values)) if values else None, sum(row.support for row in rows))


def _background_silent(truths: Sequence[tuple[GroundTruth, Detections]], silent_below: float) -> Metric:
    silent = [not (found.confidence >= silent_below).any() for truth, found in truths if not len(truth.class_id)]
    return Metric(ALL, "background_silent", float(np.mean(silent)) if silent else None, len(silent))


def _voc(truths: Sequence[tuple[GroundTruth, Detections]], classes: Sequence[str]) -> list[Metric]:
    return [_voc_of_class(truths, label, name) for label, name in enumerate(classes)]


def _voc_of_class(truths: Sequence[tuple[GroundTruth, Detections]], label: int, name: str) -> Metric:
    """Average precision as VOC 2012 counts it, the area under all points of the monotone precision-recall curve.

    Before matching, each image's detections go through non-maximum suppression at IoU 0.7. Equal confidences keep their order.
    """
    pairs = [_voc_matches(truth.xyxy[truth.class_id == label], found[found.class_id == label]) for truth, found in truths]
    objects = sum(int((truth.class_id == label).sum()) for truth, _ in truths)
    if not objects:
        return Metric(name, "voc_ap50", None, 0)
    confidence, correct = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    correct = correct[np.argsort(-confidence, kind="stable")]
    precision = np.cumsum(correct) / np.arange(1, len(correct) + 1)
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    return Metric(name, "voc_ap50", float(monotone[correct].sum() / objects), objects)


def _voc_matches(truth: np.ndarray, found: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and correctness of one image's detections of one class.

    A detection belongs to the object it overlaps most; it is correct when their IoU is above 0.5, not at it, and no more confident
    detection is correct for that object.
    """
    kept = found[detections.nms(found.xyxy, found.confidence, found.class_id, _VOC_NMS_IOU)]
    correct = np.zeros(len(kept), bool)
    if len(kept) and len(truth):
        overlap = detections.box_iou(kept.xyxy.astype(np.float64), truth.astype(np.float64))
        hits = np.flatnonzero(overlap.max(1) > _VOC_MATCH_IOU)
        _, first = np.unique(overlap.argmax(1)[hits], return_index=True)
        correct[hits[first]] = True
    return kept.confidence, correct
