"""How well predicted standard deviations of corners describe the residuals, read as those of a Gaussian.

Rule: all functions take residuals and standard deviations of one shape, finite and positive ones, at least one; `of_boxes` picks them.
Averages run over all coordinates. Pixels in, pixels out, except for shares and the log-likelihood in nats.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

_LEVELS = 100
_INTERVALS = np.linspace(0.01, 0.99, 99)


@dataclass(frozen=True, slots=True)
class BoxFigures:
    """Of `count` boxes: regression `ece`, `nll`, `rmsue`, `sharpness`, share of residuals inside ±1 standard deviation by coordinate and
    of boxes with all four inside, `crps` and `interval_score`."""

    count: int
    ece: float
    nll: float
    rmsue: float
    sharpness: float
    inside: tuple[float, float, float, float]
    inside_all: float
    crps: float
    interval_score: float


def of_boxes(residual: np.ndarray, std: np.ndarray) -> BoxFigures | None:
    """All figures of residuals (n, 4) and standard deviations (n, 4), of the boxes with four finite residuals and deviations above 0;
    None: there is no such box."""
    usable = (np.isfinite(residual) & np.isfinite(std) & (std > 0)).all(1)
    residual, std = residual[usable].astype(np.float64), std[usable].astype(np.float64)
    if not len(residual):
        return None
    inside = np.abs(residual) <= std
    xmin, ymin, xmax, ymax = inside.mean(0).tolist()
    return BoxFigures(
        len(residual),
        ece(residual, std),
        nll(residual, std),
        rmsue(residual, std),
        sharpness(std),
        (xmin, ymin, xmax, ymax),
        float(inside.all(1).mean()),
        crps(residual, std),
        interval_score(residual, std),
    )


def ece(residual: np.ndarray, std: np.ndarray) -> float:
    """Regression ECE: the mean over 100 levels p from 0 to 1 of |share of residuals inside the central interval of p − p| (the
    interval form of Kuleshov et al. 2018, Chung et al. 2021)."""
    levels = np.linspace(0, 1, _LEVELS)
    return float(np.abs(_shares_inside(residual, std, levels) - levels).mean())


def nll(residual: np.ndarray, std: np.ndarray) -> float:
    """Mean negative log-likelihood of the residuals, in nats."""
    return float((np.log(std) + (residual / std) ** 2 / 2).mean() + math.log(2 * math.pi) / 2)


def rmsue(residual: np.ndarray, std: np.ndarray) -> float:
    """Root mean square uncertainty error: of the deviation against |residual|, those of 0 left out; 0 where all are 0."""
    size = np.abs(residual)
    errors = (std - size)[size > 0]
    return float(np.sqrt(np.mean(errors**2))) if len(errors) else 0.0


def sharpness(std: np.ndarray) -> float:
    """Root of the mean predicted variance."""
    return float(np.sqrt(np.mean(std**2)))


def crps(residual: np.ndarray, std: np.ndarray) -> float:
    """Mean continuous ranked probability score of a Gaussian, in closed form (Gneiting and Raftery 2007)."""
    from scipy.special import ndtr

    z = residual / std
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return float((std * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))).mean())


def interval_score(residual: np.ndarray, std: np.ndarray) -> float:
    """Mean interval score (Gneiting and Raftery 2007) of the central intervals of .01 to .99: their width, and what lies outside at
    2/(1 − p) its distance."""
    size, std = np.abs(residual).ravel(), std.ravel()
    scores = [2 * std * _z(p) + 2 / (1 - p) * np.maximum(size - std * _z(p), 0) for p in _INTERVALS]
    return float(np.mean(scores))


def _shares_inside(residual: np.ndarray, std: np.ndarray, levels: np.ndarray) -> np.ndarray:
    z = np.sort(np.abs(residual / std), axis=None)
    return np.searchsorted(z, [_z(level) for level in levels], side="right") / len(z)


def _z(level: float) -> float:
    """Half the width of the central interval that holds this share of a standard Gaussian."""
    return NormalDist().inv_cdf((1 + level) / 2) if level < 1 else math.inf
