"""Outlines of run-length masks, and run lengths of outlines."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pycocotools import mask as oracle

from activelearning import outlines, rle
from activelearning.errors import FormatError
from activelearning.labels import Polygons, Rle

modest = settings(max_examples=60, deadline=None)
SIZE = 24


def rle_of(bitmap):
    return Rle(oracle.encode(np.asfortranarray(bitmap.astype(np.uint8)))["counts"].decode(), *bitmap.shape)


@st.composite
def pieces(draw):
    """One part without holes: in each column one span that overlaps the one before."""
    bitmap, left = np.zeros((SIZE, SIZE), bool), draw(st.integers(0, SIZE - 1))
    top, bottom = 0, SIZE
    for column in range(left, draw(st.integers(left + 1, SIZE))):
        first = draw(st.integers(0, bottom - 1))
        top, bottom = first, draw(st.integers(max(first, top) + 1, SIZE))
        bitmap[top:bottom, column] = True
    return bitmap


@modest
@given(pieces())
def test_an_exact_outline_fills_to_the_same_pixels(bitmap):
    mask = rle_of(bitmap)
    assert outlines.fill(outlines.trace(mask, 0), SIZE, SIZE) == mask


@modest
@given(pieces())
def test_an_outline_for_people_stays_within_its_tolerance(bitmap):
    [ring] = outlines.trace(rle_of(bitmap)).rings
    points, off = np.array(ring).reshape(-1, 2) * SIZE, 1 + 1e-9
    rows, columns = np.nonzero(bitmap)
    assert (points[:, 0].min() >= columns.min()) and (points[:, 0].max() <= columns.max() + 1)
    assert points[:, 1].min() <= rows.min() + off and points[:, 1].max() >= rows.max() + 1 - off
    assert len(points) >= 3


@modest
@given(st.lists(st.lists(st.floats(-0.5, 1.5), min_size=6, max_size=12).filter(lambda ring: not len(ring) % 2), min_size=1, max_size=3))
def test_pixels_are_filled_whose_centres_lie_inside(rings):
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    wanted = np.zeros((SIZE, SIZE), bool)
    for ring in rings:
        points = np.clip(ring, 0, 1).reshape(-1, 2) * SIZE
        crossings = np.zeros((SIZE, SIZE), int)
        for (x, y), (other_x, other_y) in zip(points, np.roll(points, -1, 0), strict=True):
            spans = (columns > min(x, other_x)) & (columns <= max(x, other_x))
            with np.errstate(all="ignore"):
                at = y + (columns - x) / (other_x - x) * (other_y - y) if x != other_x else np.full_like(columns, np.inf)
            assume(not (spans & (np.abs(at - rows) < 1e-9)).any() and (np.abs(columns - x) > 1e-9).all())
            crossings += spans & (at < rows)
        wanted |= crossings % 2 == 1
    assert outlines.fill(Polygons(tuple(map(tuple, rings))), SIZE, SIZE) == rle_of(wanted)


def test_points_far_outside_are_moved_to_the_edge():
    far = Polygons(((-1e308, 0, 0.5, 0, 0.5, 1e308, -1e308, 1e308),))
    assert outlines.fill(far, SIZE, SIZE) == rle.from_runs([0, SIZE * SIZE // 2, SIZE * SIZE // 2], SIZE, SIZE)


def test_of_several_parts_the_largest_is_drawn_without_its_hole():
    bitmap = np.zeros((20, 30), bool)
    bitmap[1:4, 1:4], bitmap[5:15, 10:22], bitmap[8:12, 13:18] = True, True, False
    [ring] = outlines.trace(rle_of(bitmap)).rings
    assert sorted(zip((np.array(ring[::2]) * 30).round(9), (np.array(ring[1::2]) * 20).round(9), strict=True)) == [
        (10, 5),
        (10, 15),
        (22, 5),
        (22, 15),
    ]


@pytest.mark.parametrize("mask", [Rle("1", 1, 1), Rle("0", 9, 9), Rle("oooo", 9, 9), Rle("0" + rle.encode([2**27]), 1, 2**27)])
def test_what_is_empty_or_damaged_has_no_outline(mask):
    with pytest.raises(FormatError):
        outlines.trace(mask)


STEP = (1.001 / SIZE, 1.001 / SIZE)


@modest
@given(pieces(), pieces())
def test_masks_are_alike_whatever_form_a_format_gave_them(bitmap, other):
    mask = rle_of(bitmap)
    for form in (mask, outlines.trace(mask), outlines.trace(mask, 0)):
        assert outlines.alike(mask, form, *STEP) and outlines.alike(form, mask, *STEP)
    assert outlines.alike(mask, rle_of(other), *STEP) == (bitmap == other).all()


def test_outlines_are_alike_to_within_a_step():
    square = Polygons(((0.25, 0.25, 0.75, 0.25, 0.75, 0.75, 0.25, 0.75),))
    near, far = (Polygons((tuple(value + by for value in square.rings[0]),)) for by in (0.04, 0.1))
    assert outlines.alike(square, near, *STEP) and not outlines.alike(square, far, *STEP)
    assert not outlines.alike(square, Polygons(square.rings * 2), *STEP)
    assert not outlines.alike(square, Rle("oooo", SIZE, SIZE), *STEP)
