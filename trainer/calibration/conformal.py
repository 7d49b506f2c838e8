"""Margins around a corner that hold with a promised probability, whatever the distribution of the residuals.

Source: split conformal prediction (Vovk, Gammerman and Shafer 2005; Lei et al. 2018): of n calibration scores the ⌈(n+1)(1−α)⌉-th
smallest. All four corners at once by Bonferroni or by the greatest of their scores (de Grancey et al. 2022; Andéol et al. 2023).

Rule: the promise is about a further box on an object, exchangeable with those calibrated on; too few boxes promise nothing, and then the
margin is infinite. Deviations enter as the model predicts them, since calibrating them on the same boxes would break the promise.
"""

import math
from dataclasses import dataclass

import numpy as np

JOINTS = ("max", "bonferroni", "single")
"""What holds with probability 1 − α: all four by the greatest score, all four with α/4 each, or each corner coordinate by itself."""

UNITS = ("deviation", "size", "pixel")
"""What a margin is a multiple of: the predicted standard deviation, the box's width and height, or the pixel."""


@dataclass(frozen=True, slots=True)
class Margins:
    """`quantiles` of xmin, ymin, xmax, ymax in `unit`s, from `count` boxes; None: too few boxes for this `alpha`."""

    alpha: float
    joint: str
    unit: str
    quantiles: tuple[float | None, float | None, float | None, float | None]
    count: int

    def __post_init__(self) -> None:
        _check(self.alpha, self.joint, self.unit)
        if any(one is not None and not 0 <= one < math.inf for one in self.quantiles):
            raise ValueError("quantiles must be finite and not negative")

    def __call__(self, xyxy: np.ndarray, std: np.ndarray | None) -> np.ndarray:
        """(N, 4) margins in pixels of boxes (N, 4) whose predicted standard deviations are `std` (N, 4); infinite: nothing is promised."""
        quantiles = np.array([math.inf if one is None else one for one in self.quantiles])
        scale = _scale(self.unit, xyxy, std)
        known = np.isfinite(quantiles) & np.isfinite(scale)
        return np.multiply(scale, quantiles, out=np.full(scale.shape, math.inf), where=known)


def fit(residual: np.ndarray, xyxy: np.ndarray, std: np.ndarray | None, alpha: float, joint: str, unit: str) -> Margins:
    """From the residuals (n, 4) of right boxes (n, 4), and their predicted standard deviations (n, 4) where that is the unit."""
    _check(alpha, joint, unit)
    scores = _scores(residual, _scale(unit, xyxy, std))
    if joint == "max":
        scores = np.repeat(scores.max(1, keepdims=True, initial=0), 4, 1)
    first, second, third, fourth = (quantile(scores[:, corner], alpha / 4 if joint == "bonferroni" else alpha) for corner in range(4))
    return Margins(alpha, joint, unit, (first, second, third, fourth), len(residual))


def quantile(scores: np.ndarray, alpha: float) -> float | None:
    """The ⌈(n+1)(1−α)⌉-th smallest of n scores: a further one is not greater with probability 1 − α at least.

    None where that asks for more scores than there are, or for an infinite one.
    """
    # the rounding takes away what floating point adds to a whole number
    rank = math.ceil(round((len(scores) + 1) * (1 - alpha), 9))
    found = math.inf if rank > len(scores) else float(np.sort(scores)[rank - 1])
    return found if math.isfinite(found) else None


def _check(alpha: float, joint: str, unit: str) -> None:
    if not 0 < alpha < 1 or joint not in JOINTS or unit not in UNITS:
        raise ValueError(f"margins need an alpha in 0..1, one of {', '.join(JOINTS)} and one of {', '.join(UNITS)}")


def _scale(unit: str, xyxy: np.ndarray, std: np.ndarray | None) -> np.ndarray:
    if unit == "deviation":
        if std is None and len(xyxy):
            raise ValueError("the model predicts no deviations for margins to be multiples of")
        return np.zeros((0, 4)) if std is None else std.astype(np.float64)
    return np.tile(xyxy[:, 2:] - xyxy[:, :2], 2).astype(np.float64) if unit == "size" else np.ones((len(xyxy), 4))


def _scores(residual: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """|r| in units of the scale; infinite where no finite margin of that unit would hold."""
    size = np.abs(residual.astype(np.float64))
    scores = np.divide(size, scale, out=np.where(size == 0, 0.0, math.inf), where=scale > 0)
    return np.where(np.isnan(scores) | np.isnan(scale), math.inf, scores)
