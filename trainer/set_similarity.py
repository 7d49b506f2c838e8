"""How like the objects of one set of images are to those of another: does a selection, or a test split, stand for the pool?

Rule: deterministic, and between 0 (nothing in common) and 1 (the same); a class of too few objects is said to be one, not guessed at.

After object-based set similarity (OSS, Continental's uncertainty-detection-autolabeling; features: `object_features`). Kept are its
combination of distance and class ratio, its weights of classes and its sum over classes. What is changed, and why:

* It fits one density over all features together, draws 10,000 points from each and estimates the divergence from nearest neighbours:
  a random answer that may be negative or above its bound, and from a few dozen objects mostly a guess. Here each feature has its own
  density, and the Jensen-Shannon divergence is an integral over a grid, in bits: 0 to 1, the same every time, and it says which feature
  differs. What only shows in two features together is not seen. The three columns of colour count as one, by the one that differs most.
* Both densities have the wider of the two bandwidths: a small set blurred more than a large one would differ from it by that alone.
* Its class ratio is one of counts, so a set of 100 images is unlike any pool for being smaller. Here it is one of shares, and the
  larger over the smaller: too much of a class represents the pool no better than too little.
* Its similarity 1 / M lies anywhere from 0 to 2. Here 1 stands for no distance at equal shares, and 0 for densities without overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.object_features import ASPECT, BRIGHTNESS, RED_GREEN, RESOLUTION, SIZE, TEXTURE, YELLOW_BLUE

FEATURES = ("aspect", "size", "texture", "colour")
FEWEST = 5
"""Objects of a class, on either side, from which it is compared."""

_COLUMNS = ((ASPECT,), (SIZE,), (TEXTURE,), (BRIGHTNESS, RED_GREEN, YELLOW_BLUE))
_MOST = 2000
_GRID = 256
_WIDE = 4.0
"""Bandwidths beyond the outermost value, where a density ends."""


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """K objects: `class_id` (K,) int64 and `features` (K, 6) float64, as `object_features` has them."""

    class_id: np.ndarray
    features: np.ndarray

    def __post_init__(self) -> None:
        if self.features.shape != (len(self.class_id), len(RESOLUTION)):
            raise ValueError(f"features must be of shape ({len(self.class_id)}, {len(RESOLUTION)}), not {self.features.shape}")
        if not np.isfinite(self.features).all():
            raise ValueError("features must be finite")


@dataclass(frozen=True, slots=True)
class ClassSimilarity:
    """One class: its objects in either set, its weight, and how alike they are, 0..1; None where there are too few to tell.

    `divergence` has by feature the bits by which its values differ, 0..1; None where a set has too few.
    """

    label: str
    objects_of: int
    objects_to: int
    weight: float
    similarity: float | None
    divergence: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Similarity:
    """The weighted mean over the classes that can be compared, None where none can; and each class."""

    value: float | None
    classes: tuple[ClassSimilarity, ...]


def compare(of: Objects, to: Objects, classes: Sequence[str], counts: Sequence[int] = ()) -> Similarity:
    """How well the set `of` stands for the set `to`. `counts` are the numbers of objects of other sets that it is held against."""
    shares = np.array([_shares(one, len(classes)) for one in (of, to)])
    weights = class_weights(shares)
    beta = crowding(len(of.class_id), [len(of.class_id), *counts])
    found = tuple(_class(name, index, of, to, float(weights[index]), beta) for index, name in enumerate(classes))
    return Similarity(_weighted(found), found)


def combined(divergence: float, ratio: float, beta: float = 1.0) -> float:
    """The reference's distance of a class, M = JSD + 0.25 ratio beta + 0.5: 0.75 for the same at equal shares."""
    return divergence + 0.25 * ratio * beta + 0.5


def crowding(objects: int, counts: Sequence[int]) -> int:
    """The reference's beta: how many times the lower quartile of all sets' objects a set has, rounded down, at least 1."""
    return max(1, int(objects / max(float(np.percentile(counts, 25)), 1)))


def class_weights(shares: np.ndarray) -> np.ndarray:
    """(C,) the reference's weights, from the shares (S, C) of the classes in each set.

    All 1, unless the classes differ much in frequency: then the rarer the heavier, but for the rarest quarter, which has none. A class
    that is nowhere weighs nothing.
    """
    mean = shares.mean(0)
    weights = np.zeros(len(mean))
    known = mean > 0
    if known.any():
        inverse = 1 / mean[known]
        uneven = round(float(inverse.std() / inverse.mean()), 1) > 1.3
        weights[known] = np.where(mean[known] < np.percentile(mean[known], 25), 0, inverse) if uneven else 1
    return weights


def divergence(first: np.ndarray, second: np.ndarray, resolution: float) -> float:
    """The Jensen-Shannon divergence in bits, 0..1, of two samples (N,) and (M,) of one feature, each at least two values.

    Gaussian kernel densities; the bandwidth is Scott's of the sample that needs the wider one, at least `resolution`.
    """
    width = max(_scott(first), _scott(second), resolution)
    both = np.concatenate([first, second])
    grid = np.linspace(both.min() - _WIDE * width, both.max() + _WIDE * width, _points(float(np.ptp(both)), width))
    p, q = (_density(values, grid, width) for values in (first, second))
    middle = (p + q) / 2
    return float(np.clip((_relative(p, middle) + _relative(q, middle)) / 2, 0, 1))


def _points(span: float, width: float) -> int:
    # the grid must see every kernel, however far apart two of them lie
    return int(np.clip(2 * (span / width + 2 * _WIDE), _GRID, 16 * _GRID))


def _scott(values: np.ndarray) -> float:
    return float(values.std(ddof=1) * len(values) ** -0.2)


def _density(values: np.ndarray, grid: np.ndarray, width: float) -> np.ndarray:
    """(G,) the density on the grid, made to sum to 1."""
    heights = np.zeros(len(grid))
    for part in np.array_split(values, max(1, len(values) * len(grid) // 2**20)):
        heights += np.exp(-0.5 * ((grid[:, None] - part) / width) ** 2).sum(1)
    return heights / float(heights.sum())


def _relative(p: np.ndarray, q: np.ndarray) -> float:
    """The Kullback-Leibler divergence in bits."""
    some = p > 0
    return float((p[some] * np.log2(p[some] / q[some])).sum())


def _shares(one: Objects, classes: int) -> np.ndarray:
    return np.bincount(one.class_id, minlength=classes) / max(len(one.class_id), 1)


def _class(name: str, index: int, of: Objects, to: Objects, weight: float, beta: int) -> ClassSimilarity:
    here, there = of.features[of.class_id == index], to.features[to.class_id == index]
    expected = len(there) / max(len(to.class_id), 1) * len(of.class_id)
    if min(len(here), len(there)) < FEWEST:
        # that a common class is not there at all is known from few objects too
        absent = not len(here) and expected >= FEWEST
        return ClassSimilarity(name, len(here), len(there), weight, 0.0 if absent else None, None)
    apart = _divergences(here, there)
    ratio = max(len(here) / expected, expected / len(here))
    return ClassSimilarity(name, len(here), len(there), weight, _similarity(float(np.mean(apart)), ratio, beta), apart)


def _divergences(here: np.ndarray, there: np.ndarray) -> tuple[float, ...]:
    """By feature; of a very frequent class, of evenly spaced objects."""
    mine, theirs = (values[np.linspace(0, len(values) - 1, min(len(values), _MOST)).astype(int)] for values in (here, there))
    return tuple(max(divergence(mine[:, c], theirs[:, c], float(RESOLUTION[c])) for c in columns) for columns in _COLUMNS)


def _similarity(apart: float, ratio: float, beta: int) -> float:
    nearest, furthest = 1 / combined(0, 1), 1 / combined(1, 1)
    return float(np.clip((1 / combined(apart, ratio, beta) - furthest) / (nearest - furthest), 0, 1))


def _weighted(found: Sequence[ClassSimilarity]) -> float | None:
    known = [(one.weight, one.similarity) for one in found if one.similarity is not None and one.weight > 0]
    total = sum(weight for weight, _ in known)
    return sum(weight * value for weight, value in known) / total if total else None
