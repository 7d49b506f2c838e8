"""One annotator, one strategy, one seed: batch after batch is chosen, reviewed with drafts, and learned from.

Rule: what the strategy sees is what the loop's tables hold; the truth is known to the annotator alone. The first batch is random, the
same for every strategy of a seed, and drawn without drafts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from activelearning.cost import CostModel, model
from activelearning.diff import Totals
from activelearning.labels import Box
from activelearning.settings import Settings
from tests.bench.annotator import correct
from tests.bench.label_efficiency import deciding
from tests.bench.label_efficiency.analysis import Round
from tests.bench.label_efficiency.data import Dataset
from tests.bench.label_efficiency.deciding import Known
from tests.bench.label_efficiency.learner import Learner, Learnt


@dataclass(frozen=True, slots=True, eq=False)
class Game:
    """What is played: a strategy by name and the settings that make it, on a dataset, with batches of these sizes in turn."""

    strategy: str
    settings: Settings
    dataset: Dataset
    learner: Learner
    batches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """All that was reviewed so far: places in the dataset in order of review, the work it took, drafts shown."""

    places: tuple[int, ...] = ()
    totals: Totals = field(default_factory=Totals)
    drafts: int = 0


def first_batch(dataset: Dataset, count: int, seed: int) -> tuple[int, ...]:
    """Random images of the pool; the same for every strategy."""
    return tuple(int(place) for place in np.random.default_rng([seed, 1]).permutation(dataset.pool)[:count])


def play(game: Game, seed: int, done: Callable[[Round], None]) -> list[Round]:
    """Play all batches; `done` hears of each round as it ends."""
    reviewed, known, rounds = Reviewed(), None, []
    for number, count in enumerate(game.batches):
        chosen = _next(game, reviewed, known, count, seed)
        reviewed = _review(game.dataset, reviewed, chosen, deciding.drafts(game.dataset, chosen, known))
        learnt = game.learner.learn(reviewed.places, seed, known.learnt.key if known and game.settings.training.warm_iterations else "")
        known = Known(learnt, deciding.rules_after(game.dataset, game.settings, known.learnt if known else None, chosen))
        rounds.append(_round(game, seed, number, reviewed, learnt))
        done(rounds[-1])
    return rounds


def _next(game: Game, reviewed: Reviewed, known: Known | None, count: int, seed: int) -> tuple[int, ...]:
    if known is None:
        return first_batch(game.dataset, count, seed)
    return deciding.choose(game.dataset, game.settings, reviewed.places, known, count)


def _review(dataset: Dataset, before: Reviewed, chosen: Sequence[int], shown: Mapping[int, Sequence[Box]]) -> Reviewed:
    work = [correct(shown.get(place, ()), dataset.labels[place].boxes).totals for place in chosen]
    drafts = sum(len(boxes) for boxes in shown.values())
    return Reviewed((*before.places, *chosen), sum(work, before.totals), before.drafts + drafts)


def _round(game: Game, seed: int, number: int, reviewed: Reviewed, learnt: Learnt) -> Round:
    totals, images = reviewed.totals, len(reviewed.places)
    boxes = totals.kept + totals.moved + totals.added
    costs: CostModel = model(game.settings.costs)
    spent = (round(costs.review_seconds(images, totals), 1), round(costs.draw_seconds(boxes), 1))
    figures = (learnt.ap, learnt.ap50, learnt.ap_by_class, reviewed.drafts, totals.kept, learnt.iterations)
    return Round(game.strategy, seed, number, images, boxes, *spent, *figures)
