"""Which pixels belong to each of N objects, as a detector says it: coarse grids of probabilities, and where each lies.

Rule: grids are small, and moving them moves their frames alone; at an image's size there is never more than one mask at a time, and what
is kept of it are run lengths.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from activelearning.labels import Rle
from trainer import run_lengths

_THRESHOLD = 0.5
Move = Callable[[np.ndarray], np.ndarray]
"""From corners (N, 4) to where they come to lie, (N, 4)."""


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """N objects of one image.

    `grids` (N, h, w) float32, the probability 0..1 that what lies at a cell belongs to the object; `frames` (N, 4) float32, corners xmin,
    ymin, xmax, ymax of the rectangle that each grid is stretched over, in the pixels of the boxes beside it. Outside of its frame there is
    nothing of an object. A frame may reach beyond the image, and have no area.
    """

    grids: np.ndarray
    frames: np.ndarray

    def __post_init__(self) -> None:
        if self.grids.ndim != 3 or self.grids.dtype != np.float32 or 0 in self.grids.shape[1:]:
            raise ValueError(f"grids must be float32 (N, h, w), not {self.grids.dtype} of shape {self.grids.shape}")
        if self.frames.shape != (len(self.grids), 4) or self.frames.dtype != np.float32:
            raise ValueError(f"frames must be float32 ({len(self.grids)}, 4), not {self.frames.dtype} of shape {self.frames.shape}")
        # so said, what is not a number is refused too
        if self.grids.size and not (self.grids.min() >= 0 and self.grids.max() <= 1):
            raise ValueError("grids must be probabilities from 0 to 1")
        if not (np.isfinite(self.frames).all() and (self.frames[:, :2] <= self.frames[:, 2:]).all()):
            raise ValueError("frames must be finite corners xmin, ymin, xmax, ymax")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: np.ndarray | slice) -> "Masks":
        """The masks that a boolean array, an array of indices or a slice picks, in its order."""
        return Masks(self.grids[index], self.frames[index])

    def moved(self, move: Move) -> "Masks":
        """The same where `move` puts them, which stretches and shifts and does not mirror."""
        return Masks(self.grids, move(self.frames).astype(np.float32))

    def rasterised(self, size: tuple[int, int]) -> Iterator[np.ndarray]:
        """Each mask over an image of `size` (w, h), one at a time: (h, w) bool, True where the stretched grid is at least 0.5."""
        for grid, frame in zip(self.grids, self.frames, strict=True):
            inside, (left, top) = _patch(grid, frame, size)
            whole = np.zeros((size[1], size[0]), bool)
            whole[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
            yield whole

    def to_rle(self, size: tuple[int, int]) -> "RleMasks":
        """The masks over an image of `size` (w, h) as run lengths."""
        patches = (_patch(grid, frame, size) for grid, frame in zip(self.grids, self.frames, strict=True))
        return RleMasks(tuple(run_lengths.of_patch(inside, corner, size) for inside, corner in patches))


@dataclass(frozen=True, slots=True)
class RleMasks:
    """Masks of N objects at the size of their image, as run lengths: what is kept of many images at once."""

    each: tuple[Rle, ...]

    def __len__(self) -> int:
        return len(self.each)

    def __getitem__(self, index: np.ndarray | slice) -> "RleMasks":
        """The masks that a boolean array, an array of indices or a slice picks, in its order."""
        return RleMasks(tuple(self.each[at] for at in np.arange(len(self.each))[index].tolist()))


def _patch(grid: np.ndarray, frame: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """The part of the image that has its pixels' centres in the frame, (h, w) bool, and its left upper corner (x, y)."""
    columns, rows = (_centres(*_reach(grid.max(axis), frame[axis], frame[axis + 2]), size[axis]) for axis in (0, 1))
    if not len(columns) or not len(rows):
        return np.zeros((0, 0), bool), (0, 0)
    upright = _stretched(grid, rows, frame[1], frame[3])
    values = _stretched(upright.T, columns, frame[0], frame[2]).T
    return values >= _THRESHOLD, (int(columns[0]), int(rows[0]))


def _reach(highest: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Which part of [low, high) can hold pixels, by the highest value in each column, or row, of the grid, (L,).

    A value between cells never exceeds theirs, so that what is further than a cell from all that reach the threshold holds none.
    """
    reaching = np.flatnonzero(highest >= _THRESHOLD)
    if not len(reaching):
        return 0.0, 0.0
    cell = (float(high) - float(low)) / len(highest)
    first, last = reaching[0] - 1, reaching[-1] + 2
    return max(float(low), float(low) + first * cell), min(float(high), float(low) + last * cell)


def _centres(low: float, high: float, side: int) -> np.ndarray:
    """The pixels of an axis whose centres lie in [low, high)."""
    first, behind = (int(np.clip(np.ceil(end - 0.5), 0, side)) for end in (float(low), float(high)))
    return np.arange(first, behind)


def _stretched(grid: np.ndarray, pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rows of a grid (h, w) stretched over [low, high), read at the centres of `pixels` (P,), linearly between cells: (P, w)."""
    at = (pixels + 0.5 - float(low)) / (float(high) - float(low)) * len(grid) - 0.5
    at = np.clip(at, 0, len(grid) - 1)
    above = np.floor(at).astype(np.intp)
    below = np.minimum(above + 1, len(grid) - 1)
    share = (at - above).astype(np.float32)[:, None]
    return np.asarray(grid[above] * (1 - share) + grid[below] * share)
