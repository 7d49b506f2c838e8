"""The cap on boxes over a pixel, against a raster; and the bounds of confidence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from activelearning.errors import BoxError
from activelearning.labels import Box
from activelearning.overlap import cap_overlap, within_confidence

_corner = st.floats(0, 1) | st.integers(0, 12).map(lambda n: n / 12)
_span = st.lists(_corner, min_size=2, max_size=2, unique=True).map(sorted)
_confidence = st.sampled_from([None, 0.1, 0.5, 0.9])
_boxes = st.lists(st.builds(lambda x, y, confidence: Box("a", x[0], y[0], x[1], y[1], confidence), _span, _span, _confidence), max_size=20)


def _by_raster(boxes: list[Box], width: int, height: int, cap: int) -> list[Box]:
    ranked = sorted(boxes, key=lambda box: -(1.0 if box.confidence is None else box.confidence))
    raster, kept = np.zeros((height, width), int), []
    for box in ranked:
        left, top = min(int(box.xmin * width), width - 1), min(int(box.ymin * height), height - 1)
        pixels = raster[top : max(int(box.ymax * height), top + 1), left : max(int(box.xmax * width), left + 1)]
        if not cap or pixels.max() < cap:
            pixels += 1
            kept.append(box)
    return kept


@budget(max_examples=250, deadline=None)
@given(_boxes, st.integers(1, 16), st.integers(1, 16), st.integers(0, 4))
def test_the_cap_is_that_of_a_raster(boxes: list[Box], width: int, height: int, cap: int) -> None:
    assert list(cap_overlap(boxes, width, height, cap)) == _by_raster(boxes, width, height, cap)


def test_the_most_confident_boxes_stay_and_ties_keep_their_order() -> None:
    low, first, second = (Box(label, 0, 0, 1, 1, confidence) for label, confidence in (("low", 0.2), ("first", 0.8), ("second", 0.8)))

    assert cap_overlap([low, first, second], 100, 100, 2) == (first, second)
    assert cap_overlap([low, first, second], 100, 100, 1) == (first,)
    assert cap_overlap([low, first, second], 100, 100, 0) == (first, second, low)


def test_boxes_that_only_touch_do_not_overlap() -> None:
    left, right = Box("a", 0, 0, 0.5, 1, 0.9), Box("a", 0.5, 0, 1, 1, 0.8)

    assert cap_overlap([left, right], 10, 10, 1) == (left, right)


def test_a_box_smaller_than_a_pixel_covers_one() -> None:
    speck, whole = Box("a", 0.501, 0.501, 0.502, 0.502, 0.9), Box("b", 0, 0, 1, 1, 0.8)

    assert cap_overlap([speck, whole], 10, 10, 1) == (speck,)


def test_a_size_is_needed_only_where_boxes_are_capped() -> None:
    box = Box("a", 0, 0, 1, 1, 0.5)

    assert cap_overlap([box], 0, 0, 0) == (box,)
    assert cap_overlap([], 0, 0, 2) == ()
    with pytest.raises(BoxError, match="needs the image's size"):
        cap_overlap([box], 0, 0, 2)


@pytest.mark.parametrize(
    ("low", "high", "kept"),
    [(0.0, 1.0, [0.2, 0.5, 0.8, None]), (0.5, 0.5, [0.5, None]), (0.6, 1.0, [0.8, None]), (0.9, 1.0, [None])],
)
def test_bounds_are_inclusive_and_spare_boxes_nobody_scored(low: float, high: float, kept: list[float | None]) -> None:
    boxes = [Box("a", 0, 0, 1, 1, confidence) for confidence in (0.2, 0.5, 0.8, None)]

    assert [box.confidence for box in within_confidence(boxes, low, high)] == kept
