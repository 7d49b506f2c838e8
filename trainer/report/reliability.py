"""Whether a stated probability is kept: reliability by bins of confidence.

Rule: bins are of equal width and closed above, `(0.1, 0.2]`, the first one closed below too; an empty bin is NaN and weighs nothing.
"""

from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """By bin (B,): the mean `predicted` probability, the `observed` share of right ones, and the `count`."""

    predicted: np.ndarray
    observed: np.ndarray
    count: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error (Naeini et al. 2015): how far predicted and observed lie apart, each bin by its count."""
        return float(np.nansum(self.count * np.abs(self.predicted - self.observed)) / self.count.sum())

    @property
    def stated(self) -> float:
        """The mean probability over all detections."""
        return float(np.nansum(self.count * self.predicted) / self.count.sum())

    @property
    def right(self) -> float:
        """The share of right ones among all detections."""
        return float(np.nansum(self.count * self.observed) / self.count.sum())


def reliability(probability: np.ndarray, right: np.ndarray, bins: int = BINS) -> Reliability:
    """Bin N probabilities 0..1 (N,), and whether each was right (N,). Raises `ValueError` when there are none."""
    if not len(probability):
        raise ValueError("there are no detections to bin")
    probability = probability.astype(np.float64)
    index = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], probability)
    count = np.bincount(index, minlength=bins)
    total, hits = (np.bincount(index, weights=values, minlength=bins) for values in (probability, right.astype(np.float64)))
    return Reliability(_mean(total, count), _mean(hits, count), count)


def _mean(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
