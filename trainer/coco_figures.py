"""COCO's figures of boxes and of masks, class by class, by faster-coco-eval.

Rule: both are matched by the same engine and named alike. An object without a mask is a region that mask figures pass over: what is found
there is neither right nor wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from activelearning.labels import Rle
from trainer import run_lengths
from trainer.detections import Detections
from trainer.ground_truth import GroundTruth
from trainer.masks import RleMasks

MASK = "mask_"
"""Before the name of a figure that is about masks."""

_AREAS = ("all", "small", "medium", "large")
_AREA_BOUNDS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}

Keys = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure: `label` is a class or `all`, `support` the number of objects (of images, where the figure is about images)."""

    label: str
    name: str
    value: float | None
    support: int


def of_boxes(ground_truth: Sequence[GroundTruth], found: Sequence[Detections], classes: Sequence[str]) -> list[Metric]:
    """`ap`, `ap50`, `ap75`, `ar100`, `ap_small`, `ap_medium` and `ap_large` of each class."""
    objects = [
        _placed(image, label) | {"bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for image, truth in enumerate(ground_truth, 1)
        for box, label in zip(_xywh(truth.xyxy), truth.class_id.tolist(), strict=True)
    ]
    results = [
        _placed(image, label) | {"bbox": box, "score": score}
        for image, one in enumerate(found, 1)
        for box, label, score in zip(_xywh(one.xyxy), one.class_id.tolist(), one.confidence.tolist(), strict=True)
    ]
    return _figures("bbox", _dataset(objects, len(ground_truth), classes), results, classes)


def of_masks(ground_truth: Sequence[GroundTruth], found: Sequence[Detections], classes: Sequence[str]) -> list[Metric]:
    """The same of masks, under `mask_ap` and so on. All truths have masks, and all that was found has run lengths."""
    pairs = list(enumerate(zip(ground_truth, found, strict=True), 1))
    objects = [
        _placed(image, label) | drawn
        for image, (truth, one) in pairs
        for label, drawn in zip(truth.class_id.tolist(), _drawn(truth, _rles(one)), strict=False)
    ]
    results = [
        _placed(image, label) | {"segmentation": _segmentation(mask), "score": score}
        for image, (_, one) in pairs
        for label, score, mask in zip(one.class_id.tolist(), one.confidence.tolist(), _rles(one), strict=True)
    ]
    named = _figures("segm", _dataset(objects, len(ground_truth), classes), results, classes)
    return [Metric(one.label, MASK + one.name, one.value, one.support) for one in named]


def _placed(image: int, label: int) -> Keys:
    return {"image_id": image, "category_id": label}


def _rles(found: Detections) -> tuple[Rle, ...]:
    if len(found) and not isinstance(found.masks, RleMasks):
        raise ValueError("masks must be run lengths to be compared with the truth")
    return found.masks.each if isinstance(found.masks, RleMasks) else ()


def _drawn(truth: GroundTruth, found: Sequence[Rle]) -> list[Keys]:
    """Each object's mask; of one without, the box that it lies in, as a region to pass over."""
    masks = truth.masks or ()
    size = next(((mask.width, mask.height) for mask in (*masks, *found) if mask), None)
    if size is None:
        # nothing was drawn and nothing found, so there is nothing to match
        return []
    filled = [mask or run_lengths.of_box(box, size) for mask, box in zip(masks, truth.xyxy, strict=True)]
    return [
        {"segmentation": _segmentation(fill), "area": run_lengths.area(fill), "bbox": box, "iscrowd": int(mask is None)}
        for mask, fill, box in zip(masks, filled, _xywh(truth.xyxy), strict=True)
    ]


def _segmentation(mask: Rle) -> Keys:
    return {"size": [mask.height, mask.width], "counts": mask.counts}


def _xywh(xyxy: np.ndarray) -> list[list[float]]:
    return np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], 1).tolist()


def _dataset(objects: Sequence[Keys], images: int, classes: Sequence[str]) -> dict[str, list[Keys]]:
    return {
        # the engine asks for a size, and needs it for outlines only, which there are none of here
        "images": [{"id": image, "height": 1, "width": 1} for image in range(1, images + 1)],
        "annotations": [{"id": number, **one} for number, one in enumerate(objects, 1)],
        "categories": [{"id": label, "name": name} for label, name in enumerate(classes)],
    }


def _figures(kind: str, dataset: dict[str, list[Keys]], results: Sequence[Keys], classes: Sequence[str]) -> list[Metric]:
    # the first import costs most of a second, and only an evaluation needs it
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO(dataset)
    evaluation = COCOeval_faster(truth, truth.loadRes(list(results)), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    values_of = _named(np.asarray(evaluation.eval["precision"]), np.asarray(evaluation.eval["recall"]))
    supports = {area: _support(dataset["annotations"], len(classes), area) for area in _AREAS}
    return [
        Metric(label, name, _known(values[..., index]), int(supports[area][index]))
        for name, (area, values) in values_of.items()
        for index, label in enumerate(classes)
    ]


def _named(precision: np.ndarray, recall: np.ndarray) -> Mapping[str, tuple[str, np.ndarray]]:
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


def _support(objects: Sequence[Keys], classes: int, area: str) -> np.ndarray:
    """How many objects of each class count in an area, (C,)."""
    low, high = _AREA_BOUNDS[area]
    counted = [one["category_id"] for one in objects if not one["iscrowd"] and low <= one["area"] <= high]
    return np.bincount(np.array(counted, np.int64), minlength=classes)
