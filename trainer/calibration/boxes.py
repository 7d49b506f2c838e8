"""From the standard deviation that a model predicts for a corner to the one that its residuals show.

Rule: a standard deviation is calibrated as one, so ±1 of a Gaussian holds 68.3 %: what is fitted are squared residuals. (The mean of
|r| is .798 of it.) Only positive, finite deviations teach; the class, at the fit and later, is the predicted one.
"""

from dataclasses import dataclass

import numpy as np

from trainer.calibration import isotonic
from trainer.calibration.maps import Factor, Knots, per_class
from trainer.spread import relative

METHODS = ("ts_all", "ts_percoo", "iso_all", "iso_percoo", "iso_perclscoo", "rel_iso_all", "rel_iso_perclscoo")
"""A factor or isotonic; one for all, one a coordinate, or one a class and coordinate; `rel`: of shares of the box's width and height."""

_AT_LEAST = 30
"""Residuals under each level of an isotonic map: the standard deviation of so many is known to about an eighth."""


@dataclass(frozen=True, slots=True)
class BoxMap:
    """Maps by class and coordinate: one row or one a class, one column or the four xmin, ymin, xmax, ymax."""

    maps: tuple[tuple[Factor | Knots, ...], ...]
    relative: bool

    def __post_init__(self) -> None:
        if not self.maps or any(len(row) not in (1, 4) for row in self.maps):
            raise ValueError("there must be one row of maps or one a class, each of one map or four")

    def __call__(self, std: np.ndarray, xyxy: np.ndarray, class_id: np.ndarray) -> np.ndarray:
        """Calibrated standard deviations (N, 4) in pixels, of `std` (N, 4), by predicted box and class. NaN stays NaN."""
        unit = _size(xyxy) if self.relative else np.ones((len(std), 4))
        values = relative(std, xyxy) if self.relative else std
        rows = [row * 4 if len(row) == 1 else row for row in self.maps]
        columns = [per_class([row[corner] for row in rows], values[:, corner], class_id) for corner in range(4)]
        return np.stack(columns, 1) * unit


def fit(
    method: str, std: np.ndarray, residual: np.ndarray, xyxy: np.ndarray, class_id: np.ndarray, classes: int, least: int
) -> BoxMap | None:
    """By one of `METHODS`, from the predicted standard deviations and the residuals (n, 4) of right boxes.

    A class with fewer than `least` of them gets the maps of all classes. None where no deviation is positive and finite.
    """
    is_relative = method.startswith("rel_")
    if is_relative:
        std, residual = relative(std, xyxy), relative(residual, xyxy)
    kind, scope = method.removeprefix("rel_").split("_")
    usable = np.isfinite(std) & (std > 0) & np.isfinite(residual)
    if not usable.any():
        return None
    samples = _Samples(kind, std, residual, usable)
    if scope == "all":
        return BoxMap(((samples.map(slice(None)),),), is_relative)
    common = samples.row(np.ones(len(std), bool), 1, (samples.map(slice(None)),) * 4)
    groups = [class_id == label for label in range(classes)] if scope == "perclscoo" else []
    return BoxMap(tuple(samples.row(one, least, common) for one in groups) or (common,), is_relative)


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """What a map is fitted on, all (n, 4)."""

    kind: str
    std: np.ndarray
    residual: np.ndarray
    usable: np.ndarray

    def map(self, index: slice | tuple[np.ndarray, int]) -> Factor | Knots:
        std, residual = self.std[index][self.usable[index]], self.residual[index][self.usable[index]]
        return _factor(std, residual) if self.kind == "ts" else isotonic.deviation(std, residual, _AT_LEAST)

    def row(self, boxes: np.ndarray, least: int, instead: tuple[Factor | Knots, ...]) -> tuple[Factor | Knots, ...]:
        """A map a coordinate of some boxes, (n,) bool, and that of `instead` where fewer than `least` of them are usable."""
        enough = self.usable[boxes].sum(0) >= max(least, 1)
        return tuple(self.map((boxes, corner)) if enough[corner] else instead[corner] for corner in range(4))


def _factor(std: np.ndarray, residual: np.ndarray) -> Factor:
    """The most likely factor of a Gaussian's standard deviation, in closed form."""
    return Factor(float(np.sqrt(np.mean((residual.astype(np.float64) / std) ** 2))))


def _size(xyxy: np.ndarray) -> np.ndarray:
    """(N, 4) width, height, width, height."""
    return np.tile(xyxy[:, 2:] - xyxy[:, :2], 2)
