"""Monotone maps from a raw value to a calibrated one: the pieces that a calibration is made of.

Rule: a map is a handful of finite numbers, never decreases, and needs numpy alone to be applied. NaN stays NaN.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_LEAST = 1e-7
"""Scores are kept so far from 0 and 1, where logarithms end; about the gap between float32 numbers just below 1."""


@dataclass(frozen=True, slots=True)
class Knots:
    """Straight lines between points, level before the first and after the last; `x` increases strictly, `y` never decreases."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.x or len(self.x) != len(self.y) or not np.isfinite([self.x, self.y]).all():
            raise ValueError("knots need as many finite y as x, at least one")
        if (np.diff(self.x) <= 0).any() or (np.diff(self.y) < 0).any() or self.y[0] < 0:
            raise ValueError("the x of knots must increase, and their y be positive or 0 and not decrease")

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return np.interp(values, self.x, self.y)


@dataclass(frozen=True, slots=True)
class Logistic:
    """A score s in 0..1 → the probability sigmoid(a·ln s − b·ln(1 − s) + c), a and b not negative.

    With a = b = 1/T and c = 0 it is temperature scaling (Guo et al. 2017), with a = b Platt's scaling (1999) of the logit, and with
    all three free beta calibration (Kull, Silva Filho and Flach 2017).
    """

    a: float
    b: float
    c: float

    def __post_init__(self) -> None:
        if not (0 <= self.a < math.inf and 0 <= self.b < math.inf and math.isfinite(self.c)):
            raise ValueError("a logistic map needs finite numbers, and slopes that are not negative")

    def __call__(self, values: np.ndarray) -> np.ndarray:
        below, above = logarithms(values)
        return sigmoid(self.a * below + self.b * above + self.c)


@dataclass(frozen=True, slots=True)
class Factor:
    """A value times a number that is not negative."""

    factor: float

    def __post_init__(self) -> None:
        if not 0 <= self.factor < math.inf:
            raise ValueError("a factor must be finite and not negative")

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return values * self.factor


def per_class(maps: Sequence[Callable[[np.ndarray], np.ndarray]], values: np.ndarray, class_id: np.ndarray) -> np.ndarray:
    """Each of the values (N,) by the map of its class (N,), or all by the only map there is."""
    if len(maps) == 1:
        return maps[0](values)
    mapped = np.zeros(len(values))
    for label, one in enumerate(maps):
        mapped[class_id == label] = one(values[class_id == label])
    return mapped


def logarithms(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln s and −ln(1 − s), finite for 0 and 1 too; their sum is the logit of s."""
    clipped = np.clip(np.asarray(scores, np.float64), _LEAST, 1 - _LEAST)
    return np.log(clipped), -np.log1p(-clipped)


def logit(scores: np.ndarray) -> np.ndarray:
    """The logit of scores in 0..1, finite for 0 and 1 too."""
    below, above = logarithms(scores)
    return below + above


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + e^−v), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * values))
