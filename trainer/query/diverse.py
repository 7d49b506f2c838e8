"""The query strategies that look for variety, over what a turn knows: from candidates and extras to a ranking.

Rule: each makes the head of `Extra.first` images one after the other, so that any number of images from the head differ; the rest follow
by what is left to tell them apart. An image without an embedding comes last; one with boxes of which nothing else is known, which happens
where some were predicted for another strategy, scores the mean of those of which it is.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from activelearning.errors import UserError
from activelearning.settings import Selection
from trainer.query import diversity, measures, uncertainty
from trainer.query.candidates import Candidates
from trainer.query.diversity import Chosen
from trainer.query.diversity_core_set import core_set
from trainer.query.diversity_max_herding import max_herding
from trainer.query.diversity_ppal import class_weights, ppal
from trainer.query.diversity_prototypes import diverse_prototypes, entropy_nms, image_entropy
from trainer.query.measures import MEASURES
from trainer.query.objects import ObjectsOf
from trainer.query.strategy import CONSISTENCY, DIFFICULTY, EMBEDDINGS, LABELLED, OBJECTS, Extra, Ranking, Strategy, by_score

BETA = 1.3
"""CALD's base point: a box of this consistency tells most. What is hardly found again is noise, what is found again exactly is known."""

_AT_A_TIME = 4096
_UNCERTAINTY = uncertainty.STRATEGIES["combo"]
"""What a hybrid chooses by first."""


Choose = Callable[[np.ndarray, np.ndarray, int, int], Chosen]
"""From embeddings, the labelled ones, how many, and a seed."""


def _by_embeddings(choose: Choose) -> Callable[[Candidates, Selection, Extra], Ranking]:
    def rank(candidates: Candidates, selection: Selection, extra: Extra) -> Ranking:
        if extra.embeddings is None or extra.labelled_embeddings is None:
            raise ValueError(f"{selection.strategy} needs the embeddings of the pool and of the labelled set")
        # a row is known or it is not
        known = np.flatnonzero(~np.isnan(extra.embeddings[:, :1]).any(1))
        pool = extra.embeddings if len(known) == len(candidates) else extra.embeddings[known]
        embeddings, labelled = diversity.centred(pool, _of_width(extra.labelled_embeddings, pool.shape[1]))
        if not selection.hybrid:
            found = choose(embeddings, labelled, extra.first, selection.seed)
            return _with_unknown(known, found.order, found.worth, len(candidates))
        scores = _UNCERTAINTY.rank(candidates, selection, extra).score[known]
        of_some = partial(_of_some, choose, embeddings, labelled, selection.seed)
        order = diversity.of_most_uncertain(scores, of_some, extra.first, selection.hybrid).order
        return _by_place(_with_unknown(known, order, np.zeros(len(known)), len(candidates)).order)

    return rank


def _of_some(choose: Choose, embeddings: np.ndarray, labelled: np.ndarray, seed: int, candidates: np.ndarray, count: int) -> Chosen:
    return choose(embeddings[candidates], labelled, count, seed)


def _of_uncertainty(selection: Selection) -> frozenset[str]:
    return _UNCERTAINTY.columns(selection) if selection.hybrid else frozenset()


def _of_width(labelled: np.ndarray, width: int) -> np.ndarray:
    return labelled if labelled.shape[1] == width else np.zeros((0, width), np.float16)


def _with_unknown(known: np.ndarray, order: np.ndarray, worth: np.ndarray, images: int) -> Ranking:
    """The known images in their order, then the others by name, which are worth as little as the least."""
    unknown = np.setdiff1d(np.arange(images), known)
    score = np.full(images, worth.min(initial=0.0))
    score[known] = worth
    return Ranking(np.concatenate([known[order], unknown]).astype(np.int64), score)


def _by_place(order: np.ndarray) -> Ranking:
    """In that order; the score falls from 1 with the place."""
    score = np.empty(len(order))
    score[order] = np.linspace(1, 0, len(order), endpoint=False)
    return Ranking(order, score)


def _ppal(candidates: Candidates, selection: Selection, extra: Extra) -> Ranking:
    """The sum of the entropies of an image's boxes, weighted by the difficulty of their classes, chooses for the second stage."""
    entropy = measures.of_boxes(candidates, "entropy")
    weights = class_weights(extra.class_difficulty or {}, candidates.classes)
    scores = np.bincount(candidates.image_of_box, entropy * weights[candidates.class_id], len(candidates))
    objects_of, known = _objects(candidates, extra)
    return _by_place(ppal(_completed(scores, known, candidates), objects_of, extra.first, selection.seed).order)


def _entropy_nms_diverse(candidates: Candidates, selection: Selection, extra: Extra) -> Ranking:
    objects_of, known = _objects(candidates, extra)
    scores = np.concatenate([np.zeros(0), *(_entropies(objects_of, part) for part in _parts(len(candidates)))])
    return _by_place(diverse_prototypes(_completed(scores, known, candidates), objects_of, extra.labelled_boxes or {}, extra.first).order)


def _entropies(objects_of: ObjectsOf, part: np.ndarray) -> np.ndarray:
    objects = objects_of(part)
    return image_entropy(objects, entropy_nms(objects))


def _parts(images: int) -> list[np.ndarray]:
    return [np.arange(start, min(start + _AT_A_TIME, images)) for start in range(0, images, _AT_A_TIME)]


def _objects(candidates: Candidates, extra: Extra) -> tuple[ObjectsOf, np.ndarray]:
    """The objects of the pool, and of which images they are known, (N,) bool."""
    if extra.objects is None:
        raise ValueError("the strategy needs the objects of the pool")
    known = np.ones(len(candidates), bool) if extra.has_objects is None else extra.has_objects
    if len(candidates.confidence) and not known.any():
        raise UserError(
            "the query strategy goes by what objects look like to the model, and nothing is known of that: the model was made by an older "
            "version, or the pool was predicted for another strategy; train once, or choose another selection.strategy"
        )
    return extra.objects, known


def _consistency(candidates: Candidates, selection: Selection, extra: Extra) -> Ranking:
    """By the box whose consistency is nearest to `BETA`: 1 at it, falling to 0 at none at all; 0 without boxes, the mean where none of the
    boxes has one."""
    values = candidates.column("consistency")
    if len(values) and np.isnan(values).all():
        raise UserError("no box of the pool has a consistency, which the query strategy goes by: predict the pool again")
    nearest, known = np.full(len(candidates), BETA), np.zeros(len(candidates), bool)
    np.minimum.at(nearest, candidates.image_of_box, np.where(np.isnan(values), BETA, np.abs(values - BETA)))
    known[candidates.image_of_box[~np.isnan(values)]] = True
    return by_score(_completed(1 - nearest / BETA, known, candidates))


def _completed(scores: np.ndarray, known: np.ndarray, candidates: Candidates) -> np.ndarray:
    """The scores (N,), those of images with boxes of which nothing is `known` (N,) replaced by the mean of those of which it is."""
    filled = candidates.counts > 0
    if not (filled & known).any():
        return scores
    return np.where(filled & ~known, scores[filled & known].mean(), scores)


STRATEGIES: Mapping[str, Strategy] = {
    "core-set": Strategy(
        _by_embeddings(lambda embeddings, labelled, count, seed: core_set(embeddings, labelled, count)),
        "far from all that is labelled or comes before",
        "k-centre greedy: Sener and Savarese, ICLR 2018",
        frozenset((EMBEDDINGS, LABELLED)),
        _of_uncertainty,
        by_place=True,
    ),
    "max-herding": Strategy(
        _by_embeddings(max_herding),
        "like most of the pool, unlike what is labelled or comes before",
        "Bae, Noh and Sutherland, ECCV 2024",
        frozenset((EMBEDDINGS, LABELLED)),
        _of_uncertainty,
        by_place=True,
    ),
    "ppal": Strategy(
        _ppal,
        "unsure of hard classes, and of other objects than those before",
        "Yang, Huang and Crowley, CVPR 2024",
        frozenset((OBJECTS, DIFFICULTY)),
        lambda selection: MEASURES["entropy"].columns,
        by_place=True,
    ),
    "entropy-nms-diverse": Strategy(
        _entropy_nms_diverse,
        "unsure of objects that look unlike each other and those before",
        "ENMS and DivProto: Wu, Chen and Huang, CVPR 2022",
        frozenset((OBJECTS, LABELLED)),
        by_place=True,
    ),
    "consistency": Strategy(
        _consistency,
        "found otherwise in the mirror image",
        "CALD: Yu et al., CVPR workshops 2022",
        frozenset((CONSISTENCY,)),
        lambda selection: frozenset(("consistency",)),
    ),
}
