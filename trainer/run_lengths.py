"""Run lengths of masks in numpy: from pixels, to pixels, and at places of interest without ever having all pixels.

Rule: the value is the core's `Rle`, COCO's compressed string; a mask that does not fill its size is refused before memory is taken for it.
Runs go down the columns and begin with zeros (`maskApi.c` of cocodataset/cocoapi).
"""

from collections.abc import Sequence

import numpy as np

from activelearning import rle
from activelearning.labels import Polygons, Rle


def of_pixels(mask: np.ndarray) -> Rle:
    """Run lengths of a mask (h, w) bool."""
    height, width = mask.shape
    return of_patch(mask, (0, 0), (width, height))


def of_patch(mask: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> Rle:
    """Run lengths over an image of `size` (w, h) of a mask that is set only in a patch (h, w) bool, whose left upper corner is (x, y)."""
    left, top = corner
    width, height = size
    # a row of zeros below keeps the end of a column apart from the start of the next
    padded = np.zeros((mask.shape[1], mask.shape[0] + 1), np.int8)
    padded[:, :-1] = mask.T
    changes = np.diff(padded.ravel(), prepend=np.int8(0))
    starts, ends = (_places(np.flatnonzero(changes == sign), mask.shape[0] + 1, left, top, height) for sign in (1, -1))
    apart = starts[1:] > ends[:-1]
    starts, ends = starts[np.concatenate([[True], apart])[: len(starts)]], ends[np.concatenate([apart, [True]])[: len(ends)]]
    edges = np.stack([starts, ends], 1).ravel()
    runs = np.diff(np.concatenate([[0], edges, [height * width]])).tolist()
    # COCO's has no empty run at the end
    return rle.from_runs(runs if runs[-1] or len(runs) == 1 else runs[:-1], height, width)


def _places(flat: np.ndarray, stride: int, left: int, top: int, height: int) -> np.ndarray:
    """Where in the image's columns what is at `flat` in the patch's columns lies."""
    return np.asarray((left + flat // stride) * height + top + flat % stride)


def ends(mask: Rle) -> np.ndarray:
    """Where each run ends, counted down the columns, (R,) int64. Raises `FormatError` for a mask that does not fill its size."""
    return np.cumsum(np.array(rle.runs_of(mask), np.int64))


def pixels(mask: Rle) -> np.ndarray:
    """All pixels of a mask, (h, w) bool."""
    runs = np.array(rle.runs_of(mask), np.int64)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(mask.width, mask.height).T


def sampled(mask: Rle, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The mask at pixels `columns` (X,) and `rows` (Y,), whole numbers inside it: (Y, X) bool."""
    places = columns[None, :] * mask.height + rows[:, None]
    return np.asarray(np.searchsorted(ends(mask), places, side="right") % 2 == 1)


def resized(mask: Rle, size: tuple[int, int]) -> Rle:
    """The mask stretched over an image of `size` (w, h), each pixel as the nearest of its own."""
    if (mask.width, mask.height) == size:
        return rle.from_runs(rle.runs_of(mask), mask.height, mask.width)
    return of_pixels(sampled(mask, nearest(size[0], mask.width), nearest(size[1], mask.height)))


def nearest(into: int, side: int) -> np.ndarray:
    """For each of `into` pixels of an axis the one of `side` that its centre lies in, (into,)."""
    return np.minimum((np.arange(into) + 0.5) * side / into, side - 1).astype(np.int64)


def of_polygons(outline: Polygons, size: tuple[int, int]) -> Rle:
    """What lies inside any ring of an outline in an image of `size` (w, h), pixel by pixel as COCO draws it."""
    # its first import costs most of a second
    from faster_coco_eval.core import mask as coco

    width, height = size
    scale = np.array([width, height])
    # far outside of the image, an edge would cost memory with its length
    rings = [(np.clip(np.array(ring).reshape(-1, 2), 0, 1) * scale).ravel().tolist() for ring in outline.rings]
    drawn = coco.merge(coco.frPyObjects(rings, height, width))
    return Rle(drawn["counts"].decode(), height, width)


def of_box(xyxy: np.ndarray, size: tuple[int, int]) -> Rle:
    """The pixels of an image of `size` (w, h) whose centres lie in a box (4,)."""
    left, top, right, bottom = np.clip(np.ceil(xyxy - 0.5), 0, [*size, *size]).astype(int).tolist()
    return of_patch(np.ones((max(bottom - top, 0), max(right - left, 0)), bool), (left, top), size)


def area(mask: Rle) -> int:
    """How many pixels a mask has."""
    return sum(rle.runs_of(mask)[1::2])


def is_any(mask: Rle) -> bool:
    """Whether a mask has a pixel at all."""
    return len(rle.runs_of(mask)) > 1


def stacked(masks: Sequence[Rle | None], count: int, size: tuple[int, int]) -> np.ndarray:
    """Masks of `size` (w, h) as pixels (count, h, w) bool: the given ones, empty where there is none, then more empty ones."""
    filled = np.zeros((count, size[1], size[0]), bool)
    for at, mask in enumerate(masks):
        if mask is not None:
            filled[at] = pixels(mask)
    return filled
