"""Whether a stated spread is kept: how often a true corner lies within the interval that its standard deviation promises.

Rule: corners are those of boxes with an object of their own, each coordinate by itself, in pixels; the promise is a normal distribution.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

LEVELS = tuple(level / 20 for level in range(1, 20))
"""The shares of corners that the plotted intervals promise to hold."""

BINS = 8


@dataclass(frozen=True, slots=True, eq=False)
class SpreadBins:
    """By bin of corners with similar spread (B,), in pixels: the root mean square of the stated `std` and of the true `error`."""

    std: np.ndarray
    error: np.ndarray


def promised(sigmas: float) -> float:
    """The share of a normal distribution within so many standard deviations of its mean: 0.683 within one."""
    return 2 * NormalDist().cdf(sigmas) - 1


def within(residual: np.ndarray, std: np.ndarray, sigmas: float) -> float:
    """The share of the coordinates (K, 4) whose residual is at most so many standard deviations (K, 4)."""
    return float((np.abs(residual) <= sigmas * std).mean())


def coverage(residual: np.ndarray, std: np.ndarray, levels: Sequence[float] = LEVELS) -> np.ndarray:
    """(L,) the share of the coordinates (K, 4) within the central interval of each level 0..1."""
    return np.array([within(residual, std, NormalDist().inv_cdf((1 + level) / 2)) for level in levels])


def miss(covered: np.ndarray, levels: Sequence[float] = LEVELS) -> float:
    """How far covered and promised shares lie apart, the mean over the levels: the calibration error of Kuleshov et al. 2018."""
    return float(np.abs(covered - np.array(levels)).mean())


def spread_bins(residual: np.ndarray, std: np.ndarray, bins: int = BINS) -> SpreadBins:
    """Sort the coordinates by their spread, in equal numbers a bin, fewer bins where there are too few (Levi et al. 2022).

    Equal spreads keep their order; where the numbers don't divide, the first bins hold one more.
    """
    order = np.argsort(std.ravel(), kind="stable")
    parts = np.array_split(order, max(1, min(bins, len(order))))
    return SpreadBins(*(np.array([_rms(values.ravel()[part]) for part in parts]) for values in (std, residual)))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values.astype(np.float64) ** 2)))
