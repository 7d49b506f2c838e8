import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from activelearning.errors import FormatError
from activelearning.labels import Rle
from trainer import run_lengths
from trainer.detections import Detections
from trainer.masks import Masks, RleMasks

_bitmaps = arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def _masks(*frames: tuple[float, float, float, float], grid: np.ndarray | None = None) -> Masks:
    one = np.ones((2, 2), np.float32) if grid is None else grid
    return Masks(np.stack([one] * len(frames)), np.array(frames, np.float32))


@pytest.mark.parametrize(
    ("grids", "frames"),
    [
        (np.zeros((1, 2, 2)), np.zeros((1, 4), np.float32)),
        (np.zeros((1, 0, 2), np.float32), np.zeros((1, 4), np.float32)),
        (np.zeros((2, 2), np.float32), np.zeros((2, 4), np.float32)),
        (np.zeros((1, 2, 2), np.float32), np.zeros((2, 4), np.float32)),
        (np.full((1, 2, 2), 1.5, np.float32), np.zeros((1, 4), np.float32)),
        (np.full((1, 2, 2), np.nan, np.float32), np.zeros((1, 4), np.float32)),
        (np.zeros((1, 2, 2), np.float32), np.full((1, 4), np.inf, np.float32)),
        (np.zeros((1, 2, 2), np.float32), np.array([[4, 0, 2, 9]], np.float32)),
    ],
)
def test_arrays_that_are_no_masks_are_refused(grids, frames):
    with pytest.raises(ValueError, match="must be"):
        Masks(grids, frames)


def test_no_masks_are_fine():
    assert list(Masks(np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32)).rasterised((8, 8))) == []


@settings(deadline=None)
@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.floats(0, 1, width=32)),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_a_grid_over_the_whole_image_is_stretched_as_torch_stretches_it(grid, width, height):
    [mask] = _masks((0, 0, width, height), grid=grid).rasterised((width, height))
    wanted = torch.nn.functional.interpolate(torch.from_numpy(grid)[None, None], (height, width), mode="bilinear")[0, 0].numpy()
    decided = np.abs(wanted - 0.5) > 1e-5
    assert (mask == (wanted >= 0.5))[decided].all()


def test_pixels_are_set_whose_centres_lie_in_the_frame_and_in_the_image():
    inside, outside = _masks((1.4, 0.6, 3.5, 2.4), (-50, -50, 2, 1)).rasterised((5, 3))
    assert inside.astype(int).tolist() == [[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert outside.astype(int).tolist() == [[1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]


def test_a_frame_without_area_or_beside_the_image_holds_nothing():
    assert not any(mask.any() for mask in _masks((2, 2, 2, 5), (90, 90, 99, 99), (-9, 0, 0, 5)).rasterised((8, 8)))


@settings(deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(-20, 40)] * 4), max_size=4),
    arrays.arrays(np.float32, (3, 3), elements=st.sampled_from([0.0, 0.4, 0.6, 1.0])),
)
def test_run_lengths_are_those_of_the_pixels(frames, grid):
    frames = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in frames]
    masks = _masks(*frames, grid=grid) if frames else Masks(np.zeros((0, 3, 3), np.float32), np.zeros((0, 4), np.float32))
    for mask, kept in zip(masks.rasterised((17, 11)), masks.to_rle((17, 11)).each, strict=True):
        wanted = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert (kept.counts, [kept.height, kept.width]) == (wanted["counts"].decode(), wanted["size"])


@settings(deadline=None)
@given(_bitmaps)
def test_pixels_come_back_from_run_lengths(bitmap):
    kept = run_lengths.of_pixels(bitmap)
    assert (run_lengths.pixels(kept) == bitmap).all()
    assert kept.counts == coco.encode(np.asfortranarray(bitmap.astype(np.uint8)))["counts"].decode()


@settings(deadline=None)
@given(_bitmaps, st.data())
def test_places_are_read_without_the_pixels(bitmap, data):
    height, width = bitmap.shape
    columns = np.array(data.draw(st.lists(st.integers(0, width - 1), max_size=9)), np.int64)
    rows = np.array(data.draw(st.lists(st.integers(0, height - 1), max_size=9)), np.int64)
    assert (run_lengths.sampled(run_lengths.of_pixels(bitmap), columns, rows) == bitmap[np.ix_(rows, columns)]).all()


@pytest.mark.parametrize("mask", [Rle("0", 10**6, 10**6), Rle("1", 5, 5), Rle("\x00", 5, 5), Rle("", 5, 5), Rle("oooooooo", 5, 5)])
def test_run_lengths_that_do_not_fill_their_size_are_refused(mask):
    with pytest.raises(FormatError):
        run_lengths.pixels(mask)


def _detections(masks: Masks | RleMasks | None, count: int = 2) -> Detections:
    boxes = np.array([(0, 0, 4, 4), (10, 10, 20, 20)], np.float32)[:count]
    scores = np.full((count, 1), 0.5, np.float32)
    return Detections(boxes, scores[:, 0], np.zeros(count, np.int64), scores, masks=masks)


def test_masks_follow_their_boxes():
    found = _detections(_masks((0, 0, 4, 4), (8, 8, 24, 24)))
    moved = found.moved(lambda corners: corners * 2 - 30, (100, 100), (2, 2))
    assert isinstance(moved.masks, Masks)
    assert moved.xyxy.tolist() == [[0, 0, 10, 10]]
    # the frame is not clipped, else the grid would be squeezed
    assert moved.masks.frames.tolist() == [[-14, -14, 18, 18]]
    assert found[np.array([1])].masks.frames.tolist() == [[8, 8, 24, 24]]
    assert _detections(None).moved(lambda corners: corners, (9, 9)).masks is None


def test_masks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="masks must be of 1 boxes"):
        _detections(_masks((0, 0, 4, 4), (8, 8, 24, 24)), count=1)
    with pytest.raises(ValueError, match="cannot be moved"):
        _detections(_masks((0, 0, 4, 4), (8, 8, 24, 24)).to_rle((9, 9))).moved(lambda corners: corners, (9, 9))


def test_kept_masks_are_indexed_like_the_rest():
    kept = _masks((0, 0, 1, 1), (1, 1, 2, 2), (2, 2, 3, 3)).to_rle((3, 3))
    assert kept[np.array([2, 0])].each == (kept.each[2], kept.each[0])
    assert kept[np.array([False, True, False])].each == kept[1:2].each == (kept.each[1],)
