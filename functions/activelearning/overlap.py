"""Which of a model's boxes a person is shown: by confidence, and at most so many over any pixel.

Rule: a box without a confidence was not scored by a detector; nothing here takes it away in favour of one that was.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate

from activelearning.errors import BoxError
from activelearning.labels import Box

_Rectangle = tuple[int, int, int, int]
"""Pixels left, top, right, bottom; the last two lie outside."""


def within_confidence(boxes: Iterable[Box], low: float, high: float) -> tuple[Box, ...]:
    """The boxes whose confidence lies within the bounds, both included, in their order; boxes without one always stay."""
    return tuple(box for box in boxes if box.confidence is None or low <= box.confidence <= high)


def cap_overlap(boxes: Sequence[Box], width: int, height: int, max_tags_per_pixel: int) -> tuple[Box, ...]:
    """Keep the most confident boxes such that no pixel lies under more than `max_tags_per_pixel` of them; 0 is no cap.

    Boxes come back by confidence, highest first, unscored ones before all, ties in their order. A box covers the pixels between
    its corners rounded down, at least one each way. Raises `BoxError` where the image's size is needed and unknown.
    Source: active-learning-detect, `max_tags_per_pixel`, less its refusal of boxes that cover no whole pixel.
    """
    ranked = sorted(boxes, key=_confidence, reverse=True)
    if not max_tags_per_pixel or not ranked:
        return tuple(ranked)
    if width < 1 or height < 1:
        raise BoxError(f"max_tags_per_pixel needs the image's size, which is given as {width} × {height}; measure the image first")
    kept: list[tuple[_Rectangle, Box]] = []
    for box in ranked:
        rectangle = _rectangle(box, width, height)
        if _depth(rectangle, [other for other, _ in kept]) < max_tags_per_pixel:
            kept.append((rectangle, box))
    return tuple(box for _, box in kept)


def _confidence(box: Box) -> float:
    return 1.0 if box.confidence is None else box.confidence


def _rectangle(box: Box, width: int, height: int) -> _Rectangle:
    # a corner just below 1 may round up to the image's edge
    left, top = min(int(box.xmin * width), width - 1), min(int(box.ymin * height), height - 1)
    return left, top, max(int(box.xmax * width), left + 1), max(int(box.ymax * height), top + 1)


def _depth(rectangle: _Rectangle, others: Sequence[_Rectangle]) -> int:
    """The largest number of others over one pixel of the rectangle.

    It is reached in a column where the rectangle or one of the others starts, so no other column is looked at.
    """
    left, top, right, bottom = rectangle
    over = [other for other in others if other[0] < right and left < other[2] and other[1] < bottom and top < other[3]]
    columns = {max(other[0], left) for other in over}
    return max((_stack([other for other in over if other[0] <= x < other[2]], top, bottom) for x in columns), default=0)


def _stack(over: Sequence[_Rectangle], top: int, bottom: int) -> int:
    """The largest number of rectangles over one pixel of a column that all of them cross, between two rows."""
    starts = [(max(rectangle[1], top), 1) for rectangle in over]
    ends = [(min(rectangle[3], bottom), -1) for rectangle in over]
    return max(accumulate(step for _, step in sorted(starts + ends)))
