"""How much less boxes of the same images prove than as many boxes from as many images.

Rule: what sureness explains is no likeness: of two images one of which holds easy boxes only, neither speaks for the detector twice.
Source: the design effect of cluster samples (Kish 1965), by which counts are divided for exact bounds (Korn and Graubard 1998).
"""

import numpy as np

_LEAST = 0.005
"""No box is taken to be closer to certain than this, right or wrong."""


def correlation(sureness: np.ndarray, correct: np.ndarray, image: np.ndarray) -> float:
    """How alike the boxes of one image are, 0..1: the mean correlation of being right between two of them, given how sure each is.

    What sureness explains is taken away first (isotonic regression), or images of easy boxes would look alike. Few wrong boxes, or few
    images, cannot show how alike boxes are; so it is at least 1 / (1 + wrong boxes) and 1 / images: without any wrong box, 1.
    """
    _, image = np.unique(image, return_inverse=True)
    least = max(1 / (1 + int((~correct).sum())), 1 / max(1, int(image.max(initial=-1)) + 1))
    expected = _expected(sureness, correct)
    together, alone = (_pairs(image, values) for values in (correct - expected, np.sqrt(expected * (1 - expected))))
    return float(np.clip(together / alone, least, 1)) if alone > 0 else least


def of_all(correct: np.ndarray, image: np.ndarray) -> float:
    """How many of these boxes, about whose sureness nothing is known, count as much as one; 1 without boxes."""
    if not len(correct):
        return 1.0
    return float(of_the_first(image, correlation(np.zeros(len(correct)), correct, image))[-1])


def of_the_first(image: np.ndarray, correlated: float) -> np.ndarray:
    """(N,) for every number of boxes, from the first on: how many boxes count as much as one that is the only one of its image."""
    seen: dict[int, int] = {}
    beside = np.zeros(len(image))
    for index, one in enumerate(image.tolist()):
        beside[index] = 2 * seen.get(one, 0)
        seen[one] = seen.get(one, 0) + 1
    return 1 + correlated * np.cumsum(beside) / np.arange(1, len(image) + 1)


def _expected(sureness: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """(N,) how likely each box is right by its sureness alone: never less likely for a surer one."""
    from scipy.optimize import isotonic_regression

    distinct, index = np.unique(sureness, return_inverse=True)
    count = np.bincount(index, minlength=len(distinct))
    level = isotonic_regression(np.bincount(index, correct) / count, weights=count).x
    return level[index].clip(_LEAST, 1 - _LEAST)


def _pairs(image: np.ndarray, values: np.ndarray) -> float:
    """The sum over all ordered pairs of two boxes of one image of the product of their values."""
    return float((np.bincount(image, values) ** 2 - np.bincount(image, values**2)).sum())
