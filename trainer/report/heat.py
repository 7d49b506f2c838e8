"""Where boxes are: maps over a fixed grid in fractions of the image, so that images of all sizes add up.

Rule: exact. A cell counts the share of it that each box covers, never whether the box touches it or holds its centre.
"""

import numpy as np

ROWS, COLUMNS = 36, 48
_ROUNDING = 1e-9


def count(fractions: np.ndarray) -> np.ndarray:
    """(ROWS, COLUMNS) float64: how many of the boxes cover each cell, partly covered cells in part.

    `fractions` (N, 4) are xmin, ymin, xmax, ymax as shares of the image.
    """
    across, down = _covered(fractions, COLUMNS, 0), _covered(fractions, ROWS, 1)
    return down.T @ across


def mean(fractions: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(ROWS, COLUMNS) float64: the mean of the boxes' values (N,), each as heavy as the share it covers; NaN where no box is."""
    across, down = _covered(fractions, COLUMNS, 0), _covered(fractions, ROWS, 1)
    weight, total = down.T @ across, (down * values[:, None]).T @ across
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)


def peak(heat: np.ndarray) -> tuple[float, float, float]:
    """The largest value and the centre of its cell as shares of the image's width and height; of equal ones the topmost, leftmost.

    Values that differ by rounding alone are equal, so that every machine names the same place.
    """
    highest = float(np.nanmax(heat))
    row, column = np.argwhere(heat >= highest - _ROUNDING * abs(highest))[0].tolist()
    return highest, (column + 0.5) / heat.shape[1], (row + 0.5) / heat.shape[0]


def _covered(fractions: np.ndarray, cells: int, axis: int) -> np.ndarray:
    """(N, cells) the share of each column (axis 0) or row (axis 1) of cells between the box's two sides.

    A box is the product of its two intervals, so what it covers of a cell is the product of these shares.
    """
    sides = fractions.astype(np.float64)[:, [axis, axis + 2]] * cells
    edges = np.arange(cells)
    return np.clip(np.minimum(sides[:, 1:], edges + 1) - np.maximum(sides[:, :1], edges), 0, None)
