"""Run-length masks, against pycocotools."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as oracle

from activelearning import rle
from activelearning.errors import FormatError
from activelearning.labels import Rle

modest = settings(max_examples=100, deadline=None)
SIZES = st.tuples(st.integers(1, 30), st.integers(1, 30))


@st.composite
def bitmaps(draw):
    height, width = draw(SIZES)
    return np.array(draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width)), np.uint8).reshape(height, width)


def coco_string(bitmap):
    return oracle.encode(np.asfortranarray(bitmap))["counts"].decode()


def runs_along(flat):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [2]])))
    return [int(run) for run in np.diff(np.concatenate([[0], edges]))]


@modest
@given(bitmaps())
def test_runs_encode_to_pycocotools_string_and_back(bitmap):
    runs = runs_along(bitmap.flatten(order="F"))
    assert rle.encode(runs) == coco_string(bitmap)
    assert rle.decode(coco_string(bitmap)) == runs


@modest
@given(st.lists(st.integers(0, 2**31), max_size=12))
def test_any_runs_survive_the_string(runs):
    assert rle.decode(rle.encode(runs)) == runs


@modest
@given(bitmaps())
def test_bounds_and_crop_are_those_of_the_pixels(bitmap):
    mask = Rle(coco_string(bitmap), *bitmap.shape)
    if not bitmap.any():
        with pytest.raises(FormatError, match="empty"):
            rle.bounds(mask)
        return
    rows, columns = np.nonzero(bitmap)
    bounds = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert rle.bounds(mask) == bounds
    runs, (left, top, width, height) = rle.to_crop(mask)
    assert (left, top, left + width, top + height) == bounds
    assert runs == runs_along(bitmap[top : top + height, left : left + width].flatten())
    assert rle.from_crop(runs, (left, top, width, height), *bitmap.shape) == mask


@pytest.mark.parametrize("counts", ["\x00", "漢", "P", "o" * 50, "1" * 3])
def test_damaged_strings_are_refused(counts):
    with pytest.raises(FormatError):
        rle.runs_of(Rle(counts, 4, 4))


@pytest.mark.parametrize("size", [(0, 5), (-1, -5), (2**20, 2**20)])
def test_sizes_that_make_no_sense_are_refused_before_any_memory_is_taken(size):
    with pytest.raises(FormatError, match="makes no sense"):
        rle.from_runs([size[0] * size[1]], *size)
