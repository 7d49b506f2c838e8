"""A prediction as a row of the tables: boxes as fractions of the image, and how sure the model is of each.

Rule: what is written is rounded to a millionth, and measures to four digits; nothing in a table is not a number.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from activelearning.labels import MODEL, Box, ImageLabels, Review, Rle
from activelearning.ordering import box_entropy, box_margin
from trainer import run_lengths, uncertainties
from trainer.calibration import Calibrated
from trainer.detections import Detections
from trainer.masks import RleMasks
from trainer.predictor import Predicted

DECIMALS = 6
_DIGITS = 4


def image_labels(found: Predicted, classes: Sequence[str], image_hash: str = "", calibrated: Calibrated | None = None) -> ImageLabels:
    """A prediction as drafts; a box that rounding leaves without area is dropped.

    `calibrated` is what the model's calibration makes of the detections. What the measures mean and in which units stands with the
    columns in `activelearning.table.MEASURES`.
    """
    width, height = found.size
    detections = found.detections
    corners = (detections.xyxy / [width, height, width, height]).clip(0, 1).round(DECIMALS).tolist()
    said = detections.confidence.tolist(), detections.class_id.tolist(), _masks(found), _measures(detections, calibrated)
    boxes = (
        Box(classes[label], *xyxy, confidence=round(score, DECIMALS), source=MODEL, mask=mask, measures=measures)
        for xyxy, score, label, mask, measures in zip(corners, *said, strict=True)
        if xyxy[0] < xyxy[2] and xyxy[1] < xyxy[3]
    )
    return ImageLabels(found.name, width, height, tuple(boxes), Review.UNOPENED, image_hash)


def _masks(found: Predicted) -> Sequence[Rle | None]:
    """The mask of each box at the image's size; None where the model draws none, or one of no pixel."""
    masks = found.detections.with_rle(found.size).masks
    if not isinstance(masks, RleMasks):
        return [None] * len(found.detections)
    return [mask if run_lengths.is_any(mask) else None for mask in masks.each]


def _measures(detections: Detections, calibrated: Calibrated | None) -> list[tuple[tuple[str, float], ...]]:
    """The measures of each box."""
    scores = detections.class_scores.tolist()
    columns: dict[str, Sequence[float]] = {"entropy": [*map(box_entropy, scores)], "margin": [*map(box_margin, scores)]}
    columns |= {name: values.tolist() for name, values in _of_spread(detections).items()}
    if detections.consistency is not None:
        columns["consistency"] = detections.consistency.tolist()
    if calibrated is not None:
        columns |= {name: values.tolist() for name, values in _of_calibration(calibrated).items()}
    rounded = [[_rounded(value, name) for value in values] for name, values in columns.items()]
    return [tuple(zip(columns, row, strict=True)) for row in zip(*rounded, strict=True)]


def _of_calibration(calibrated: Calibrated) -> Mapping[str, np.ndarray]:
    corners = {} if calibrated.total is None else {"calibrated_px": calibrated.total.mean(1)}
    return {"probability": calibrated.probability} | corners


def _rounded(value: float, name: str) -> float:
    return round(value, DECIMALS) if name in ("entropy", "margin") else float(f"{value:.{_DIGITS}g}")


def _of_spread(detections: Detections) -> Mapping[str, np.ndarray]:
    found = detections.spread
    if found is None:
        return {}
    corners = {"aleatoric_px": found.aleatoric, "epistemic_px": found.epistemic, "total_px": found.total}
    return uncertainties.of_spread(detections) | {name: std.mean(1) for name, std in corners.items()}
