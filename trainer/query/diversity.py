"""What the strategies that look for variety share: their answer, and distances among very many embeddings.

Rule: a function here never holds a matrix of pool by pool; it goes through the pool in blocks, and may be given float16.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

BLOCK = 16_384
"""So many rows are turned into float32 at a time."""
MOST_LABELLED = 4096
"""A labelled set that is larger is thinned to so many, evenly in its order: the rest hardly moves any distance, and costs as much again."""

_SAME = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """What a greedy strategy makes of N images: `first` (k,) int64, the images it chose, in its order; `worth` (N,) float64, what each of
    these was worth when it was chosen, and each of the others is worth after that; more is earlier."""

    first: np.ndarray
    worth: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """All indices (N,) int64: the chosen ones, then the others by worth, those of equal worth by index."""
        is_left = np.ones(len(self.worth), bool)
        is_left[self.first] = False
        left = np.flatnonzero(is_left)
        return np.concatenate([self.first, left[np.argsort(-self.worth[left], kind="stable")]]).astype(np.int64)


def of_most_uncertain(scores: np.ndarray, choose: Callable[[np.ndarray, int], Chosen], count: int, times: float) -> Chosen:
    """Choose up to `count` of the most uncertain of N images, so many `times` more; `scores` (N,), higher is less sure, ties by index.

    `choose` is given the indices of these (n,), and how many to choose of them; it answers in places of that array. In a small pool `count`
    is cut so that at most half of it is looked at, else nothing was left of the uncertainty. `worth` is the uncertainty.
    """
    count = min(count, math.ceil(len(scores) / (2 * times)))
    candidates = np.argsort(-scores, kind="stable")[: math.ceil(times * count)]
    return Chosen(candidates[choose(candidates, count).first], scores)


def centred(embeddings: np.ndarray, labelled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both (N, D) and (M, D) less the mean of the first, and of length 1 each; in float16 if they were that.

    What all images have in common says nothing, and how strong a feature is differs from model to model. What equals the mean stays 0.
    """
    mean = mean_of(embeddings)
    return _of_length_one(embeddings, mean), _of_length_one(labelled, mean)


def mean_of(embeddings: np.ndarray) -> np.ndarray:
    """The mean (D,) float32 of the rows (N, D), 0 of none."""
    total = np.zeros(embeddings.shape[1])
    for _, block in blocks(embeddings):
        total += block.sum(0, dtype=np.float64)
    return (total / max(len(embeddings), 1)).astype(np.float32)


def blocks(embeddings: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The rows (N, D) as float32, block by block, each with its place."""
    for start in range(0, len(embeddings), BLOCK):
        place = slice(start, start + BLOCK)
        yield place, embeddings[place].astype(np.float32, copy=False)


def thinned(labelled: np.ndarray, most: int = MOST_LABELLED) -> np.ndarray:
    """At most so many of the rows (M, D), evenly spread over their order."""
    if len(labelled) <= most:
        return labelled
    return labelled[np.linspace(0, len(labelled) - 1, most).round().astype(np.int64)]


def squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances (N, M) float32 of the rows (N, D) and (M, D); what only rounding tells apart is at distance 0."""
    second = second.astype(np.float32, copy=False)
    lengths = np.einsum("nd,nd->n", first, first)[:, None] + np.einsum("md,md->m", second, second)
    found = first @ second.T
    found *= -2
    found += lengths
    found[found <= _SAME * lengths] = 0
    return np.asarray(found)


def to_nearest(embeddings: np.ndarray, centres: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Squared distance (N,) float32 of each embedding to the nearest of the centres (M, D), infinite without any.

    `known` (N,) holds the distances to earlier centres.
    """
    nearest = np.full(len(embeddings), np.inf, np.float32) if known is None else known.copy()
    if not len(centres):
        return nearest
    for place, block in blocks(embeddings):
        for start in range(0, len(centres), 512):
            np.minimum(nearest[place], squared_distances(block, centres[start : start + 512]).min(1), out=nearest[place])
    return nearest


def _of_length_one(embeddings: np.ndarray, mean: np.ndarray) -> np.ndarray:
    found = np.empty(embeddings.shape, embeddings.dtype)
    for place, block in blocks(embeddings):
        rest = block - mean
        length = np.linalg.norm(rest, axis=1, keepdims=True)
        found[place] = np.divide(rest, length, out=np.zeros_like(rest), where=length > _SAME * np.linalg.norm(block, axis=1, keepdims=True))
    return found
