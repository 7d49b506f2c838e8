"""Core-set: cover the pool, so that no image is far from one that people have seen.

k-centre greedy (Sener and Savarese, ICLR 2018): always the image whose nearest labelled or chosen image is farthest away.
"""

import numpy as np

from trainer.query import diversity
from trainer.query.diversity import Chosen

_AT_HAND = 8192
"""So many of the farthest images are kept in float32, and the next is sought among them as long as none of the others can be farther."""


def core_set(embeddings: np.ndarray, labelled: np.ndarray, count: int) -> Chosen:
    """Choose up to `count` of N embeddings (N, D), given those of the labelled set (M, D), which may be none.

    Without a labelled set the first is the one nearest to the mean of all, worth as much as the second. Of equally far ones the first is
    chosen. Fewer are chosen when all others are copies of chosen ones. `worth` is the distance to the nearest labelled or chosen image.

    The result is that of the plain algorithm, which measures all distances to every chosen image at once; here they are measured when a
    block of choices is made, since distances only shrink.
    """
    count = min(count, len(embeddings))
    nearest = diversity.to_nearest(embeddings, diversity.thinned(labelled))
    fresh = [_most_central(embeddings)] if count and not len(labelled) else []
    chosen, worth = fresh.copy(), [np.inf for _ in fresh]
    while True:
        nearest = diversity.to_nearest(embeddings, embeddings[fresh], nearest)
        nearest[chosen] = 0
        if len(chosen) >= count or nearest.max() <= 0:
            return _chosen(np.array(chosen, np.int64), np.sqrt(worth), np.sqrt(nearest, dtype=np.float64))
        fresh, distances = _next(embeddings, nearest, count - len(chosen))
        chosen += fresh
        worth += distances


def _chosen(first: np.ndarray, worth_of_first: np.ndarray, worth: np.ndarray) -> Chosen:
    finite = worth_of_first[np.isfinite(worth_of_first)]
    worth[first] = np.where(np.isfinite(worth_of_first), worth_of_first, finite.max(initial=0.0))
    return Chosen(first, np.nan_to_num(worth, posinf=0.0))


def _most_central(embeddings: np.ndarray) -> int:
    return int(diversity.to_nearest(embeddings, diversity.mean_of(embeddings)[None]).argmin())


def _next(embeddings: np.ndarray, nearest: np.ndarray, most: int) -> tuple[list[int], list[float]]:
    """The next choices, at least one, and the squared distance of each: those that can be told from the farthest images alone."""
    farthest = int(nearest.argmax())
    hand = np.argpartition(-nearest, min(_AT_HAND, len(nearest)) - 1)[:_AT_HAND]
    hand = np.union1d(hand, [farthest])
    others = nearest.copy()
    others[hand] = 0
    limit = others.max()
    rows, distance = embeddings[hand].astype(np.float32), nearest[hand]
    best, found, distances = int(np.searchsorted(hand, farthest)), list[int](), list[float]()
    while len(found) < most:
        found.append(int(hand[best]))
        distances.append(float(distance[best]))
        distance = np.minimum(distance, diversity.squared_distances(rows, rows[best : best + 1])[:, 0])
        distance[best] = 0
        best = int(distance.argmax())
        if distance[best] <= limit:
            break
    return found, distances
