"""Fits a calibration, and finds out how good it is.

Rule: no figure is of an image that was fitted on. They come from cross-fitting by image, since boxes of one image resemble each other;
what is kept is then fitted on everything.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from activelearning.errors import UserError
from trainer.calibration import box_metrics, boxes, closed_set, conformal, context, score_metrics, scores
from trainer.calibration.boxes import BoxMap
from trainer.calibration.calibrated import Calibrated, Calibration, Figures, Maps, Options, Sample
from trainer.calibration.context import Context
from trainer.calibration.scores import PerClass

if TYPE_CHECKING:
    # it knows the training, and so torch, which nobody needs who only applies a calibration
    from trainer.judged import Judged


def fit(judged: "Judged", wh: np.ndarray, classes: Sequence[str], options: Options | None = None, date: str | None = None) -> Calibration:
    """A calibration from judged detections of M images of sizes `wh` (M, 2), with its figures before and after.

    Raises `UserError` where there are too few images, or no right box, to learn from.
    """
    if judged.objects.shape != (len(wh), len(classes)):
        raise ValueError(f"{len(wh)} sizes and {len(classes)} classes are not those of {judged.objects.shape} images and classes")
    options = options or Options()
    maps = fit_maps(judged, wh, options)
    sample = Sample(len(judged.objects), len(judged), int(judged.correct(options.iou).sum()))
    after = figures(cross_fitted(judged, wh, options), judged, options.iou)
    return Calibration(tuple(classes), options, sample, maps, figures(uncalibrated(judged), judged, options.iou), after, date)


def fit_maps(judged: "Judged", wh: np.ndarray, options: Options) -> Maps:
    """All maps, fitted on all detections. Raises `UserError` where no box is right."""
    right = judged[judged.correct(options.iou)]
    if not len(right):
        found = f"none of {len(judged)} detections in {len(np.unique(judged.image))} images is right at IoU {options.iou:g}"
        raise UserError(f"there is nothing to calibrate on: {found}; review more images")
    spread = right.detections.spread
    unit = "size" if options.unit == "deviation" and spread is None else options.unit
    objects = judged[(judged.truth_class >= 0) & (judged.iou >= options.iou)]
    return Maps(
        _detection_map(judged, wh, options),
        closed_set.fit(options.closed_set, objects.detections.class_scores, objects.truth_class, options.least),
        *(_box_map(right, name, options) for name in ("aleatoric", "epistemic", "total")),
        conformal.fit(right.residual, right.detections.xyxy, None if spread is None else spread.total, options.alpha, options.joint, unit),
    )


def cross_fitted(judged: "Judged", wh: np.ndarray, options: Options) -> Calibrated:
    """Every detection calibrated by maps fitted on the images of the other folds, in the order of `judged`.

    Raises `UserError` where there are fewer than two images.
    """
    if len(judged.objects) < 2:
        raise UserError("a calibration needs at least two reviewed images, one to learn from and one to judge by")
    parts = []
    for fold in folds(len(judged.objects), options.folds, options.seed):
        held_out = np.isin(judged.image, fold)
        parts.append((np.flatnonzero(held_out), apply(fit_maps(judged[~held_out], wh, options), judged[held_out], wh)))
    return _in_order(parts)


def folds(images: int, number: int, seed: int) -> Iterator[np.ndarray]:
    """Each image in one of `number` random folds, whose sizes differ by one at most; no fold is empty."""
    yield from np.array_split(np.random.default_rng(seed).permutation(images), min(number, images))


def apply(maps: Maps, judged: "Judged", wh: np.ndarray) -> Calibrated:
    """The detections of several images, calibrated image by image, in their order."""
    rows = [np.flatnonzero(judged.image == image) for image in np.unique(judged.image)]
    parts = [(one, maps.apply(judged.detections[one], _size(wh, judged.image[one[0]]))) for one in rows]
    return _in_order(parts or [(np.zeros(0, np.int64), maps.apply(judged.detections, (1.0, 1.0)))])


def uncalibrated(judged: "Judged") -> Calibrated:
    """What the model itself says, as if that were calibrated: scores, softmax of the logits, deviations; it promises no margin."""
    found, spread = judged.detections, judged.detections.spread
    probabilities = closed_set.uncalibrated(found.class_scores)
    deviations = [spread.aleatoric, spread.epistemic, spread.total] if spread is not None else [None] * 3
    return Calibrated(found.confidence, probabilities, closed_set.entropy(probabilities), *deviations, np.full(found.xyxy.shape, np.inf))


def figures(calibrated: Calibrated, judged: "Judged", iou: float) -> Figures:
    """How good these values (N) are, judged by the truth about the same N detections."""
    correct = judged.correct(iou)
    on_object = (judged.truth_class >= 0) & (judged.iou >= iou)
    right, residual = calibrated[correct], judged.residual[correct]
    promised = np.isfinite(right.margin).all(1)
    inside = (np.abs(residual) <= right.margin).all(1)[promised]
    deviations = (right.aleatoric, right.epistemic, right.total)
    return Figures(
        score_metrics.of_scores(calibrated.probability, judged.detections.class_id, correct, judged.iou),
        score_metrics.of_classes(calibrated.class_probabilities[on_object], judged.truth_class[on_object]),
        *(None if std is None else box_metrics.of_boxes(residual, std) for std in deviations),
        float(inside.mean()) if len(inside) else None,
    )


def _detection_map(judged: "Judged", wh: np.ndarray, options: Options) -> PerClass | Context:
    found, right, classes = judged.detections, judged.correct(options.iou), judged.objects.shape[1]
    if options.detection == context.METHOD:
        return context.fit(found.confidence, found.class_id, right, _surroundings(judged, wh), classes)
    return scores.fit(options.detection, found.confidence, found.class_id, right, classes, options.least)


def _surroundings(judged: "Judged", wh: np.ndarray) -> np.ndarray:
    around = np.zeros((len(judged), 3))
    for image in np.unique(judged.image):
        rows = judged.image == image
        around[rows] = context.surroundings(judged.detections[rows], _size(wh, image))
    return around


def _box_map(right: "Judged", name: str, options: Options) -> BoxMap | None:
    found = right.detections
    if found.spread is None:
        return None
    std, classes = getattr(found.spread, name), right.objects.shape[1]
    return boxes.fit(options.box, std, right.residual, found.xyxy, found.class_id, classes, options.least)


def _size(wh: np.ndarray, image: int) -> tuple[float, float]:
    width, height = wh[image].tolist()
    return width, height


def _in_order(parts: Sequence[tuple[np.ndarray, Calibrated]]) -> Calibrated:
    """Rows and their values, put together by row; a deviation that one part lacks is left out."""
    order = np.argsort(np.concatenate([rows for rows, _ in parts]))
    columns = ([getattr(one, field.name) for _, one in parts] for field in fields(Calibrated))
    return Calibrated(*(None if any(part is None for part in column) else np.concatenate(column)[order] for column in columns))
