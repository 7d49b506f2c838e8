"""How average precision grows with labelled images, as far as the runs until now tell, with everything left in that is unsure.

Rule: a pure function of the measurements, deterministic; few measurements give a wide answer, never an error.

The error 1 - AP is taken to fall as a power law above what stays, e(n) = e_inf + b * n ** -c. Of the forms compared on many learning
curves it fits and extrapolates best more often than any other (Viering and Loog, The Shape of Learning Curves, 2022; Hestness et al.
found it for deep networks over orders of magnitude, 2017), and a handful of points can bear its three parameters. A part of the prior
goes to a curve that levels off sooner, exponentially: where the points cannot tell the two apart, the interval holds both. With
parameters that mean something at the last run, of N images:

    e(n) = E * (1 - u * (1 - g(n / N))),   g(x) = x ** -c   or   g(x) = exp(-c * (x - 1))

E is the error at N, u the share of it that more labels can remove (e_inf = E * (1 - u)), and c how fast it goes: the slope of g at N.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

DRAWS = 8192
"""Of the posterior distribution, all of equal weight."""

_REMOVABLE = (0.7, 1.0)
"""Beta prior of u: nearly level, a little in favour of an error that stays, as it does where labels are imperfect."""
_EXPONENT = (math.log(0.6), 0.9)
"""Log-normal prior of c: four in five between 0.19 and 1.9. Published exponents of vision models lie there."""
_SATURATING = 0.25
"""Prior probability of the exponential."""
_OWN_NOISE = (math.log(0.85), 0.5)
"""Log-normal prior of a run's own noise over the standard error of its AP: four in five between 0.45 and 1.6.

Runs share their test images, so most of the standard error shifts all of them alike and is no noise of the curve; chance in training
adds to what remains.
"""
_GRID = (40, 32, 9)
"""Values of u, c and the noise that are weighed, for either form."""
_NEGLIGIBLE = 1e-7


@dataclass(frozen=True, slots=True, eq=False)
class Measurements:
    """P >= 1 evaluated runs, the one to go on from last: `images` (P,) they learned from, their `ap` (P,), its `standard_error` (P,) from
    the choice of test images, and `apart` (P,), the standard deviation by which it may differ because there were fewer test images then.

    Raises `ValueError` for what no measurement can be.
    """

    images: np.ndarray
    ap: np.ndarray
    standard_error: np.ndarray
    apart: np.ndarray

    def __post_init__(self) -> None:
        columns = (self.images, self.ap, self.standard_error, self.apart)
        if not len(self.images) or any(column.shape != (len(self.images),) for column in columns):
            raise ValueError("measurements must be parallel, and at least one")
        if not all(np.isfinite(column).all() for column in columns):
            raise ValueError("measurements must be finite")
        if (self.images <= 0).any() or (self.standard_error <= 0).any() or (self.apart < 0).any():
            raise ValueError("images and standard errors must be above 0")
        if (self.ap < 0).any() or (self.ap > 1).any():
            raise ValueError("average precision lies between 0 and 1")


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """What may be true: `DRAWS` curves, each as likely as the others. `images` is N; `error` E, `removable` u, `exponent` c
    and `saturating`, whether g is the exponential, are (D,) arrays; so is `noise`, the standard deviation of another measurement."""

    images: float
    error: np.ndarray
    removable: np.ndarray
    exponent: np.ndarray
    saturating: np.ndarray
    noise: np.ndarray
    _chance: np.ndarray

    def ap(self, images: float) -> np.ndarray:
        """(D,) the curves at so many labelled images."""
        left = _shape(np.array(images / self.images), self.exponent, self.saturating)
        return np.clip(1 - self.error * (1 - self.removable * (1 - left)), 0, 1)

    def measured(self, images: float) -> np.ndarray:
        """(D,) what a run on so many labelled images may be measured at, on the test split of now."""
        return np.clip(self.ap(images) + self.noise * self._chance, 0, 1)

    def gain(self, more: float) -> np.ndarray:
        """(D,) by how much so many further images raise the curve."""
        return self.ap(self.images + more) - self.ap(self.images)


def fit(measured: Measurements) -> Curve:
    """The posterior distribution of the curve through the measurements, N being the images of the last of them.

    For each u, c and noise on a grid the error E is normal in closed form (its prior is flat); the grid is weighed by how likely it
    makes the measurements, and drawn from systematically with a fixed seed.
    """
    removable, exponent, noise, saturating, weight = _prior()
    last = float(measured.images[-1])
    left = _shape(measured.images / last, exponent[:, None], saturating[:, None])
    share = 1 - removable[:, None] * (1 - left)
    precision = 1 / ((noise[:, None] * measured.standard_error) ** 2 + measured.apart**2)
    error, variance, fitting = _error_given(share, precision, 1 - measured.ap)
    drawn = _drawn(weight + fitting)
    chance = np.random.default_rng(0).permuted(np.tile(_quantiles(DRAWS), (2, 1)), axis=1)
    errors = np.clip(error[drawn] + np.sqrt(variance[drawn]) * chance[0], 0, 1)
    own_noise = noise[drawn] * measured.standard_error[-1]
    return Curve(last, errors, removable[drawn], exponent[drawn], saturating[drawn], own_noise, chance[1])


def _prior() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Every combination of u, c, noise and form, the second and third at quantiles of their priors, u evenly; and its log weight."""
    removable = (np.arange(_GRID[0]) + 0.5) / _GRID[0]
    exponent = np.exp(_EXPONENT[0] + _EXPONENT[1] * _quantiles(_GRID[1]))
    noise = np.exp(_OWN_NOISE[0] + _OWN_NOISE[1] * _quantiles(_GRID[2]))
    u, c, k, form = (values.ravel() for values in np.meshgrid(removable, exponent, noise, [0, 1], indexing="ij"))
    weight = (_REMOVABLE[0] - 1) * np.log(u) + (_REMOVABLE[1] - 1) * np.log(1 - u)
    return u, c, k, form == 1, weight + np.log(np.where(form == 1, _SATURATING, 1 - _SATURATING))


def _shape(ratio: np.ndarray, exponent: np.ndarray, saturating: np.ndarray) -> np.ndarray:
    """g: how much of the removable error at N is left at `ratio` times N images."""
    return np.where(saturating, np.exp(-exponent * (ratio - 1)), ratio**-exponent)


def _quantiles(count: int) -> np.ndarray:
    return np.asarray(ndtri((np.arange(count) + 0.5) / count))


def _error_given(share: np.ndarray, precision: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and variance of E for each combination (G,), from `share` (G, P) of E in each measurement and their `precision` (G, P); and how
    likely it makes the errors (P,), as a logarithm, E integrated out."""
    squares, products = (precision * share**2).sum(1), (precision * share * error).sum(1)
    residual = (precision * error**2).sum(1) - products**2 / squares
    likelihood = 0.5 * (np.log(precision).sum(1) - np.log(squares) - residual)
    return products / squares, 1 / squares, likelihood


def _drawn(log_weight: np.ndarray) -> np.ndarray:
    """(D,) indices of combinations, each as often as its weight says, to within one."""
    weight = np.exp(log_weight - log_weight.max())
    weight[weight < _NEGLIGIBLE] = 0
    ends = np.cumsum(weight / weight.sum())
    return np.minimum(np.searchsorted(ends, (np.arange(DRAWS) + 0.5) / DRAWS), len(weight) - 1)
