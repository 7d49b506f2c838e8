"""What a detector found in one image: the value that travels from `decode` to evaluation and to the tables.

Rule: the arrays are parallel and checked on construction; filtering is indexing, `detections[detections.confidence > 0.5]`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from trainer.masks import Masks, Move, RleMasks
from trainer.spread import Spread
from trainer.spread import concatenate as join_spreads


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """N boxes of one image.

    `xyxy` (N, 4) float32 pixel corners xmin, ymin, xmax, ymax; `confidence` (N,) float32, the score of the box's own class;
    `class_id` (N,) int64; `class_scores` (N, C) float32, every class's sigmoid score of that box. Each None where nobody tells:
    `spread`, how unsure the model is of each; `features` (N, F) float32, what the object looks like to the model; `consistency` (N,)
    float32, how well the same was found in a mirrored copy (`trainer.consistency`); `masks`, which pixels belong to each: grids where it
    was found, run lengths where it is compared with the truth.
    """

    xyxy: np.ndarray
    confidence: np.ndarray
    class_id: np.ndarray
    class_scores: np.ndarray
    spread: Spread | None = None
    features: np.ndarray | None = None
    consistency: np.ndarray | None = None
    masks: Masks | RleMasks | None = None

    def __post_init__(self) -> None:
        count = len(self.confidence)
        classes = self.class_scores.shape[-1]
        _check("xyxy", self.xyxy, (count, 4), np.float32)
        _check("confidence", self.confidence, (count,), np.float32)
        _check("class_id", self.class_id, (count,), np.int64)
        _check("class_scores", self.class_scores, (count, classes), np.float32)
        if self.spread is not None and self.spread.class_epistemic.shape != (count, classes):
            raise ValueError(f"spread must be of {count} boxes and {classes} classes")
        if self.features is not None:
            _check("features", self.features, (count, self.features.shape[-1]), np.float32)
        if self.consistency is not None:
            _check("consistency", self.consistency, (count,), np.float32)
        if self.masks is not None and len(self.masks) != count:
            raise ValueError(f"masks must be of {count} boxes, not {len(self.masks)}")
        if count and not 0 <= self.class_id.min() <= self.class_id.max() < classes:
            raise ValueError(f"class_id must lie in 0..{classes - 1}")

    def __len__(self) -> int:
        return len(self.confidence)

    def __getitem__(self, index: np.ndarray | slice) -> "Detections":
        """The detections that a mask, an array of indices or a slice picks, in its order."""
        values = (getattr(self, field.name) for field in fields(self))
        return Detections(*(None if value is None else value[index] for value in values))

    def moved(self, move: Move, size: tuple[float, float], scale: tuple[float, float] = (1.0, 1.0)) -> "Detections":
        """The same detections where `move` puts their corners, clipped to an image of `size` (w, h); those left without area are dropped.

        `scale` (x, y) is how much larger the boxes become; their spread grows with them. Masks move along, but not as run lengths: those
        stay with their image, and a `ValueError` says so.
        """
        if isinstance(self.masks, RleMasks):
            raise ValueError("masks as run lengths cannot be moved")
        clipped = np.clip(move(self.xyxy), 0, np.array([*size, *size])).astype(np.float32)
        spread = self.spread and self.spread.scaled(np.array([*scale, *scale]))
        moved = replace(self, xyxy=clipped, spread=spread, masks=self.masks and self.masks.moved(move))
        return moved[(clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])]

    def with_rle(self, size: tuple[int, int]) -> "Detections":
        """The same, masks as run lengths at their image's `size` (w, h): grids of many images would not fit into memory."""
        return replace(self, masks=self.masks.to_rle(size)) if isinstance(self.masks, Masks) else self


def no_detections(classes: int) -> Detections:
    """The empty value for a detector of so many classes."""
    none = np.zeros(0, np.float32)
    return Detections(none.reshape(0, 4), none, none.astype(np.int64), none.reshape(0, classes))


def concatenate(parts: Sequence[Detections], classes: int) -> Detections:
    """The detections of several images in one value; their spread if every box has one."""
    some = [part for part in parts if len(part)]
    spreads = [part.spread for part in some if part.spread is not None]
    arrays = (
        np.concatenate([getattr(part, name) for part in (no_detections(classes), *some)])
        for name in ("xyxy", "confidence", "class_id", "class_scores")
    )
    return Detections(*arrays, join_spreads(spreads) if spreads and len(spreads) == len(some) else None)


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of `first` (N, 4) with every one of `second` (M, 4): (N, M), 0 where both have no area."""
    width = np.minimum.outer(first[:, 2], second[:, 2]) - np.maximum.outer(first[:, 0], second[:, 0])
    height = np.minimum.outer(first[:, 3], second[:, 3]) - np.maximum.outer(first[:, 1], second[:, 1])
    overlap = np.maximum(width, 0) * np.maximum(height, 0)
    union = box_area(first)[:, None] + box_area(second) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def box_area(xyxy: np.ndarray) -> np.ndarray:
    """Width times height of each box, (N,)."""
    return (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])


def nms(xyxy: np.ndarray, confidence: np.ndarray, class_id: np.ndarray, iou: float, limit: int | None = None) -> np.ndarray:
    """Class-wise greedy non-maximum suppression: indices of the boxes to keep, most confident first.

    A box goes when one of its own class that is kept overlaps it by more than `iou`. Equal confidences keep their given order.
    At most `limit` boxes are kept.
    """
    order = np.argsort(-confidence, kind="stable")
    boxes, classes = xyxy[order], class_id[order]
    suppresses = (box_iou(boxes, boxes) > iou) & np.equal.outer(classes, classes)
    return order[_greedy(suppresses, len(order) if limit is None else limit)]


def _greedy(suppresses: np.ndarray, limit: int) -> list[int]:
    kept: list[int] = []
    alive = np.ones(len(suppresses), bool)
    for best in range(len(suppresses)):
        if alive[best] and len(kept) < limit:
            kept.append(best)
            alive &= ~suppresses[best]
    return kept


def _check(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: type) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} must be {np.dtype(dtype)} of shape {shape}, not {array.dtype} of shape {array.shape}")
