"""Logistic regression with a prior, the fit behind temperatures, Platt scaling, beta calibration and context.

Rule: slopes are positive by construction, since what is fitted is their logarithm; and a fit that has not converged is an error. The
prior keeps the answer finite where the right and the wrong fall wholly apart, and holds back what few boxes claim.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trainer.calibration.maps import sigmoid

_FLAT = 1e-4
"""The largest slope of the mean loss at which a fit counts as converged."""
_FAR = 50.0


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """Of k parameters, independent Gaussians: `centre` (k,) and standard deviation `std` (k,)."""

    centre: np.ndarray
    std: np.ndarray

    def penalty(self, parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the logarithm of the prior density but for a constant, and its gradient."""
        deviation = (parameters - self.centre) / self.std
        return float(deviation @ deviation) / 2, deviation / self.std


def fit(features: np.ndarray, right: np.ndarray, positive: np.ndarray, prior: Prior) -> np.ndarray:
    """The most probable parameters u (k,) of P(right) = sigmoid(features · w), for features (n, k) and right (n,) bool.

    w is e^u where `positive` (k,) bool, and u elsewhere.
    """

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        w = weights(parameters, positive)
        z = features @ w
        penalty, slope = prior.penalty(parameters)
        gradient = features.T @ (sigmoid(z) - right) * np.where(positive, w, 1)
        return (np.logaddexp(0, np.where(right, -z, z)).sum() + penalty) / len(right), (gradient + slope) / len(right)

    return minimise(objective, prior.centre)


def weights(parameters: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """w of u: e^u where `positive`, and u elsewhere."""
    return np.where(positive, exponential(parameters), parameters)


def exponential(parameters: np.ndarray) -> np.ndarray:
    """e^u, level where a search that looks too far out would overflow."""
    return np.exp(np.clip(parameters, -_FAR, _FAR))


def minimise(objective: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray) -> np.ndarray:
    """Where `objective`, which returns value and gradient, is least. Raises `ArithmeticError` where the search does not get there."""
    from scipy.optimize import minimize

    found = minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-7})
    # BFGS also reports a failure when rounding alone stops it, so the slope decides
    if not np.abs(found.jac).max() <= _FLAT:
        raise ArithmeticError(f"calibration did not converge: {found.message}")
    return np.asarray(found.x)
