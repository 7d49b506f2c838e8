"""The pool in the order of its settings: strategy, then modifiers.

Rule: equal candidates, settings and extras give an equal ranking. Class balance and folder quotas come after it, in
`activelearning.ordering`, and hold whatever the ranking is.
"""

from activelearning.settings import Selection
from trainer.query import modifiers, sampling
from trainer.query.candidates import Candidates
from trainer.query.measures import MEASURES
from trainer.query.registry import STRATEGIES, in_force
from trainer.query.strategy import Extra, Ranking


def needs(selection: Selection) -> frozenset[str]:
    """What must be loaded beside the predictions: those of `strategy.NEEDS`."""
    return STRATEGIES[selection.strategy].needs


def columns(selection: Selection) -> frozenset[str]:
    """The measure columns of the tables that are read."""
    of_cost = MEASURES["improbability"].columns if in_force(selection).per_second else frozenset()
    return STRATEGIES[selection.strategy].columns(selection) | of_cost


def rank(candidates: Candidates, selection: Selection, extra: Extra) -> Ranking:
    """The candidates, in the order of their names, in the order to review them.

    Raises `UserError` where the predictions lack what the strategy goes by, `ValueError` where the caller did not load what it needs.
    """
    ranking = STRATEGIES[selection.strategy].rank(candidates, selection, extra)
    weights = in_force(selection)
    if weights.class_weights != "none":
        ranking = modifiers.weighted(ranking, modifiers.CLASS_WEIGHTS[weights.class_weights](candidates))
    if weights.per_second:
        if extra.seconds is None:
            raise ValueError("a score per second needs the expected seconds of each image")
        ranking = modifiers.weighted(ranking, 1 / extra.seconds)
    ranking = modifiers.in_order(ranking, selection.order)
    if weights.random_share:
        ranking = modifiers.with_lots(ranking, sampling.lots(candidates, selection.seed), weights.random_share)
    for clusters in (extra.clusters, extra.bursts):
        ranking = ranking if clusters is None else modifiers.without_duplicates(ranking, clusters)
    return ranking
