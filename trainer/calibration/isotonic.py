"""Isotonic regression: the best map that never decreases, as knots.

Source: pool adjacent violators (Barlow et al. 1972), in scipy. Each level is the mean of what it pools, so on 0 and 1 it is also the
most likely probability, and on squared residuals the most likely variance of a Gaussian (Robertson, Wright and Dykstra 1988).
"""

import numpy as np

from trainer.calibration.maps import Knots


def probability(score: np.ndarray, right: np.ndarray) -> Knots:
    """Score (n,) → share of right ones.

    One imagined right box at the lowest score and one wrong box at the highest keep every level off 0 and 1: from few boxes nobody
    knows that no further one will differ (Laplace's rule), and a single exception would cost an infinite log-likelihood.
    """
    x = np.concatenate([score, [score.min(), score.max()]]).astype(np.float64)
    return _knots(*_pooled(x, np.concatenate([right, [1, 0]]).astype(np.float64)))


def deviation(std: np.ndarray, residual: np.ndarray, at_least: int) -> Knots:
    """Predicted standard deviation (n,) → the one that the residuals (n,) show; every level rests on `at_least` of them, if so many."""
    x, square, weight = _pooled(std.astype(np.float64), residual.astype(np.float64) ** 2)
    knots = _knots(*_grouped(x, square, weight, at_least))
    return Knots(knots.x, tuple(np.sqrt(knots.y).tolist()))


def _pooled(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct x in order, the mean y of each, and how many there were."""
    distinct, index = np.unique(x, return_inverse=True)
    count = np.bincount(index)
    return distinct, np.bincount(index, y) / count, count


def _grouped(x: np.ndarray, y: np.ndarray, weight: np.ndarray, at_least: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours together until each group weighs `at_least`, at the mean x; what is left joins the last group."""
    total = weight.sum()
    last = max(total // at_least - 1, 0)
    _, group = np.unique(np.minimum((np.cumsum(weight) - weight) // at_least, last), return_inverse=True)
    sums = np.bincount(group, weight)
    return np.bincount(group, weight * x) / sums, np.bincount(group, weight * y) / sums, sums


def _knots(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Knots:
    """The regression, with only those points as knots where the line bends."""
    from scipy.optimize import isotonic_regression

    level = np.maximum.accumulate(isotonic_regression(y, weights=weight).x)
    bends = np.ones(len(x), bool)
    bends[1:-1] = (level[1:-1] != level[:-2]) | (level[1:-1] != level[2:])
    return Knots(tuple(x[bends].tolist()), tuple(level[bends].tolist()))
