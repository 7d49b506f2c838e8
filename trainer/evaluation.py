"""How good a detector is on images whose truth is known.

Rule: pixels are those of the original images, a figure is 0..1 or None, never NaN. A class without an object in the test set has
no figure and is left out of the means; images without objects are counted by themselves, not as a class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer import detections
from trainer.detections import Detections
from trainer.ground_truth import GroundTruth

ALL = "all"
"""The label of a mean over classes."""

_AREAS = ("all", "small", "medium", "large")
_AREA_BOUNDS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
_VOC_NMS_IOU = 0.7
_VOC_MATCH_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure: `label` is a class or `all`, `support` the number of objects (of images, where the figure is about images)."""

    label: str
    name: str
    value: float | None
    support: int


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
    `voc_ap50`; and `background_silent`, the share of images without objects where no detection reaches `silent_below`.
    """
    truths = list(zip(ground_truth, found, strict=True))
    per_class = [*_coco(ground_truth, found, classes), *_voc(truths, classes)]
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


def _coco(ground_truth: Sequence[GroundTruth], found: Sequence[Detections], classes: Sequence[str]) -> list[Metric]:
    # the first import costs most of a second, and only an evaluation needs it
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO(_coco_dataset(ground_truth, classes))
    evaluation = COCOeval_faster(truth, truth.loadRes(_coco_results(found)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    figures = _coco_figures(np.asarray(evaluation.eval["precision"]), np.asarray(evaluation.eval["recall"]))
    supports = {area: _support(ground_truth, len(classes), area) for area in _AREAS}
    return [
        Metric(label, name, _known(values[..., index]), int(supports[area][index]))
        for name, (area, values) in figures.items()
        for index, label in enumerate(classes)
    ]


def _coco_figures(precision: np.ndarray, recall: np.ndarray) -> Mapping[str, tuple[str, np.ndarray]]:
    """By metric name its area and its values (…, K), from precision (T, R, K, A, M) and recall (T, K, A, M): T IoU thresholds
    0.50 to 0.95, R recalls, K classes, A areas, M limits of detections, the last one 100."""
    by_area = {f"ap_{area}": (area, precision[:, :, :, index, -1]) for index, area in enumerate(_AREAS) if area != "all"}
    return {
        "ap": ("all", precision[:, :, :, 0, -1]),
        "ap50": ("all", precision[0, :, :, 0, -1]),
        "ap75": ("all", precision[5, :, :, 0, -1]),
        "ar100": ("all", recall[:, :, 0, -1]),
        **by_area,
    }


def _known(values: np.ndarray) -> float | None:
    # COCO's way to say that there was nothing to find is -1
    return None if (values < 0).any() else float(values.mean())


def _support(ground_truth: Sequence[GroundTruth], classes: int, area: str) -> np.ndarray:
    low, high = _AREA_BOUNDS[area]
    areas = [detections.box_area(truth.xyxy) for truth in ground_truth]
    counted = [truth.class_id[(low <= area) & (area <= high)] for truth, area in zip(ground_truth, areas, strict=True)]
    return np.bincount(np.concatenate([np.zeros(0, np.int64), *counted]), minlength=classes)


def _coco_dataset(ground_truth: Sequence[GroundTruth], classes: Sequence[str]) -> dict[str, list[dict[str, object]]]:
    boxes = [
        {"image_id": image, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for image, truth in enumerate(ground_truth, 1)
        for box, label in zip(_xywh(truth.xyxy), truth.class_id.tolist(), strict=True)
    ]
    return {
        "images": [{"id": image} for image in range(1, len(ground_truth) + 1)],
        "annotations": [{"id": number, **box} for number, box in enumerate(boxes, 1)],
        "categories": [{"id": label, "name": name} for label, name in enumerate(classes)],
    }


def _coco_results(found: Sequence[Detections]) -> list[dict[str, object]]:
    return [
        {"image_id": image, "category_id": label, "bbox": box, "score": score}
        for image, one in enumerate(found, 1)
        for box, label, score in zip(_xywh(one.xyxy), one.class_id.tolist(), one.confidence.tolist(), strict=True)
    ]


def _xywh(xyxy: np.ndarray) -> list[list[float]]:
    return np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], 1).tolist()


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
