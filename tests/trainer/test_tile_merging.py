"""Tiles of an image: how they lie, and that an object on their borders is found once. Numbers by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.test_looks import found
from trainer import tile_merging, view
from trainer.view import View

# two tiles of 100 × 100 that share the columns 80 to 100 of an image of 180 × 100
TILES = np.array([[0, 0, 100, 100], [80, 0, 180, 100]])
SIZE = (180, 100)


def merged(*parts: list[tuple[float, ...]]) -> list[list[float]]:
    """The boxes that are left, with their confidence and class."""
    made = tile_merging.merged([found(*part) for part in parts], TILES, SIZE, 0.6)
    return [[*map(float, xyxy), round(float(c), 3), int(k)] for xyxy, c, k in zip(made.xyxy, made.confidence, made.class_id, strict=True)]


def test_a_piece_gives_way_to_the_whole_object_in_the_next_tile_however_sure_it_is() -> None:
    assert merged([(85, 10, 100, 30, 0.9, 0)], [(85, 10, 120, 30, 0.7, 0)]) == [[85, 10, 120, 30, pytest.approx(0.7), 0]]


def test_two_pieces_of_an_object_larger_than_the_overlap_become_one_box() -> None:
    assert merged([(50, 10, 100, 30, 0.8, 0)], [(80, 11, 130, 31, 0.6, 0)]) == [[50, 10, 130, 31, pytest.approx(0.8), 0]]


def test_an_object_that_both_tiles_show_whole_is_found_once() -> None:
    assert merged([(85, 10, 95, 30, 0.8, 0)], [(86, 10, 95, 30, 0.9, 0)]) == [[86, 10, 95, 30, pytest.approx(0.9), 0]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((50, 10, 100, 30, 0.8, 0), (80, 10, 130, 30, 0.6, 1)),  # of two classes
        ((50, 10, 100, 30, 0.8, 0), (80, 60, 130, 80, 0.6, 0)),  # one below the other
        ((82, 10, 88, 30, 0.8, 0), (90, 10, 98, 30, 0.6, 0)),  # side by side in what both show
        ((0, 10, 40, 30, 0.8, 0), (140, 10, 180, 30, 0.6, 0)),  # at the image's own borders
    ],
)
def test_two_objects_stay_two(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    assert len(merged([one], [other])) == 2


def test_a_piece_that_nobody_else_saw_stays() -> None:
    assert merged([(50, 10, 100, 30, 0.8, 0)], []) == [[50, 10, 100, 30, pytest.approx(0.8), 0]]


def test_an_object_over_four_tiles_is_one_box() -> None:
    tiles = np.array([[0, 0, 100, 100], [80, 0, 180, 100], [0, 80, 100, 180], [80, 80, 180, 180]])
    parts = [(60, 60, 100, 100, 0.9, 0), (80, 60, 130, 100, 0.8, 0), (60, 80, 100, 140, 0.7, 0), (80, 80, 130, 140, 0.6, 0)]
    made = tile_merging.merged([found(part) for part in parts], tiles, (180, 180), 0.6)
    assert made.xyxy.tolist() == [[60, 60, 130, 140]]


def test_of_one_tile_nothing_is_merged() -> None:
    only = found((0, 0, 50, 50, 0.9, 0), (0, 0, 50, 51, 0.8, 0))
    assert tile_merging.merged([only], TILES[:1], (100, 100), 0.6) is only


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((100, 80), [[0, 0, 100, 80]]),
        ((60, 40), [[0, 0, 60, 40]]),
        ((180, 80), [[0, 0, 100, 80], [80, 0, 180, 80]]),
        ((181, 80), [[0, 0, 100, 80], [40, 0, 140, 80], [81, 0, 181, 80]]),
        ((180, 144), [[0, 0, 100, 80], [80, 0, 180, 80], [0, 64, 100, 144], [80, 64, 180, 144]]),
    ],
)
def test_tiles_are_evenly_spread_and_overlap_as_asked(size: tuple[int, int], expected: list[list[int]]) -> None:
    assert view.tiles(size, (320, 256), View(tile=100, overlap=0.2)).tolist() == expected


@given(st.integers(1, 1500), st.integers(1, 1500), st.integers(150, 900), st.floats(0, 0.7))
def test_tiles_cover_the_image_and_overlap_enough(width: int, height: int, side: int, overlap: float) -> None:
    tiles = view.tiles((width, height), (64, 64), View(tile=side, overlap=overlap))
    for axis, length in ((0, width), (1, height)):
        lines = sorted({(int(tile[axis]), int(tile[axis + 2])) for tile in tiles})
        assert lines[0][0] == 0 and lines[-1][1] == length and all(start < stop for start, stop in lines)
        assert all(stop - following >= int(overlap * side) for (_, stop), (following, _) in pairwise(lines))
