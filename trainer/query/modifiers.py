"""What may be done to the ranking of any strategy: weigh it, turn it round, mix lots in, put near-duplicates last.

Rule: a weight above 1 never makes an image come later, whatever the sign of its score. Sources: class weights, lowest first and spread
are "perc", "bottomk" and "nee" of "uncertainty-detection-autolabeling" (Continental, 2024).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from trainer.query.candidates import Candidates
from trainer.query.sampling import image_classes
from trainer.query.strategy import Ranking, by_score

_FIFTHS = 5


def weighted(ranking: Ranking, weights: np.ndarray) -> Ranking:
    """By the score times the weight (N,), above 0, of each image; a negative score is divided by it."""
    score = ranking.score
    return by_score(np.where(score < 0, score / weights, score * weights))


def _alike(candidates: Candidates) -> np.ndarray:
    return np.ones(len(candidates))


def _inverse_frequency(candidates: Candidates) -> np.ndarray:
    """Mean over the image's predicted classes of all detections / those of the class; 1, the least there is, without detections."""
    counts = np.bincount(candidates.class_id, minlength=len(candidates.classes))
    image, label = image_classes(candidates)
    total = np.bincount(image, len(candidates.class_id) / np.maximum(counts, 1)[label], len(candidates))
    several = np.bincount(image, minlength=len(candidates))
    return np.where(several > 0, total / np.maximum(several, 1), 1.0)


CLASS_WEIGHTS: Mapping[str, Callable[[Candidates], np.ndarray]] = {"none": _alike, "inverse-frequency": _inverse_frequency}
"""A weight (N,) for each image, from its predicted classes."""


def _highest(ranking: Ranking) -> np.ndarray:
    return ranking.order


def _lowest(ranking: Ranking) -> np.ndarray:
    return np.argsort(ranking.score, kind="stable")


def _spread(ranking: Ranking) -> np.ndarray:
    """One of each fifth of the scores in turn: the lowest of the highest fifth, the highest of each of the others.

    The first 5 k images are what the source selects as so many; where the pool is no multiple of 5, the lower fifths are larger by one.
    """
    fifths = np.array_split(_lowest(ranking), _FIFTHS)
    queues = [fifths[-1], *(fifth[::-1] for fifth in reversed(fifths[:-1]))]
    turn = np.concatenate([np.arange(len(queue)) for queue in queues])
    return np.asarray(np.concatenate(queues)[np.argsort(turn, kind="stable")])


ORDERS: Mapping[str, Callable[[Ranking], np.ndarray]] = {"highest": _highest, "lowest": _lowest, "spread": _spread}
"""The order (N,) of a ranking's scores; ties by name."""


def in_order(ranking: Ranking, order: str) -> Ranking:
    """The same scores in one of `ORDERS`."""
    return replace(ranking, order=ORDERS[order](ranking))


def with_lots(ranking: Ranking, lots: np.ndarray, share: float) -> Ranking:
    """The same ranking with a share of its places, evenly spread, given to images in the order of their lots (N,), highest first.

    So a person sees some of what the model is sure of, or sees nothing in, however wrong it is (epsilon-greedy exploration).
    """
    drawn, ranked = iter(np.argsort(-lots, kind="stable").tolist()), iter(ranking.order.tolist())
    by_lot, taken, order = np.zeros(len(lots), bool), np.zeros(len(lots), bool), []
    for place in range(len(lots)):
        is_lot = math.floor((place + 1) * share) > math.floor(place * share)
        index = next(index for index in (drawn if is_lot else ranked) if not taken[index])
        by_lot[index], taken[index] = is_lot, True
        order.append(index)
    return replace(ranking, order=np.array(order, np.int64), by_lot=by_lot)


def without_duplicates(ranking: Ranking, clusters: np.ndarray) -> Ranking:
    """The first image of each cluster as before, then, in their order, the others; `clusters` (N + L,) int, equal for near-duplicates.

    The last L are of labelled images, which stand for their clusters, so that all images of the pool in these are others. What was last
    for this reason already stays so. The source ("prune") lets chance choose who stays, and may lose a whole cluster.
    """
    order = ranking.order
    duplicate_of = np.full(len(order), -1, np.int64) if ranking.duplicate_of is None else ranking.duplicate_of.copy()
    known_first = np.concatenate([np.arange(len(order), len(clusters)), order])
    _, first, cluster = np.unique(clusters[known_first], return_index=True, return_inverse=True)
    stands = known_first[first[cluster]][len(clusters) - len(order) :]
    new = (stands != order) & (duplicate_of[order] < 0)
    duplicate_of[order[new]] = stands[new]
    late = duplicate_of[order] >= 0
    return replace(ranking, order=np.concatenate([order[~late], order[late]]), duplicate_of=duplicate_of)
