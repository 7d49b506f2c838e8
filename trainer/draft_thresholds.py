"""From which score on drafts pay: per class, the threshold that costs people the fewest seconds on held-out images.

Rule: exact on its evidence, and shrunk where there is little: each class is swept over its own boxes and, as if thirty objects more had
been seen, over those of all classes. A rule that takes drafts away is on only where what it takes away costs more than it saves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from activelearning.cost import CostModel
from activelearning.draft_rules import CONFIDENCE, NEVER, PROBABILITY, DraftRules, fixed
from activelearning.learned_drafts import DELETE, Shares
from trainer.calibration.fitting import folds
from trainer.draft_evidence import Evidence, gains, seconds_an_image

LEAST_OBJECTS = 30
"""From fewer held-out objects nothing is learned; and so many of all classes are added to those of each."""

_FOLDS = 5
_BINS = 12
_ADDED_BOXES = 10.0
"""So many boxes of all classes are added to those of a class in a bin."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The rules that cost the fewest seconds, and the seconds of an image: with them, each image by rules learned from others; with every
    box from the fixed confidence on; and without drafts."""

    rules: DraftRules
    seconds: float
    fixed_seconds: float
    drawing_seconds: float


@dataclass(frozen=True, slots=True)
class Rates:
    """What becomes of boxes by class and score: shares kept, nudged and deleted from each of the rising `edges` to the next."""

    edges: tuple[float, ...]
    by_class: Mapping[str, tuple[Shares, ...]]
    other: tuple[Shares, ...]


def best_threshold(score: np.ndarray, gain: np.ndarray) -> tuple[float, float]:
    """The threshold whose boxes, those with at least this score, gain most in all, and that gain.

    `score` and `gain` (N,). Boxes of one score are shown together or not at all. It lies halfway to the next lower score, so that it does
    not hang on the last digit; where no boxes gain anything it is `NEVER`. Of equal gains the highest threshold wins.
    """
    order = np.argsort(-score, kind="stable")
    ranked, total = score[order], np.cumsum(gain[order])
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, np.int64)
    best = ends[np.argmax(total[ends])] if len(ends) else -1
    if best < 0 or total[best] <= 0:
        return NEVER, 0.0
    lower = ranked[best + 1] if best + 1 < len(ranked) else ranked[best]
    return _between(float(lower), float(ranked[best])), float(total[best])


def _between(low: float, high: float) -> float:
    # two neighbouring floats have no middle
    middle = (low + high) / 2
    return middle if low < middle <= high else high


def choose(found: Evidence, costs: CostModel, classes: Sequence[str], low: float, factors: np.ndarray | None = None) -> Choice:
    """The best of: thresholds by confidence, by probability where there is one, and the fixed confidence `low`.

    They compete on images that they did not learn from; of equal ones the simpler wins.
    """
    kinds = [CONFIDENCE, *([PROBABILITY] if found.probability is not None else [])]
    weighted, plain = gains(found, costs, factors), gains(found, costs)
    constant = fixed(low)
    shown = {"": found.shown(constant)} | {kind: _cross_fitted(found, costs, classes, kind, factors) for kind in kinds}
    best = max(shown, key=lambda kind: float(weighted[shown[kind]].sum()))
    rules = learn(found, costs, classes, best, factors) if best else constant
    chosen, unchosen = (seconds_an_image(found, float(plain[mask].sum()), costs) for mask in (shown[best], shown[""]))
    return Choice(rules, chosen, unchosen, seconds_an_image(found, 0.0, costs))


def learn(found: Evidence, costs: CostModel, classes: Sequence[str], kind: str, factors: np.ndarray | None = None) -> DraftRules:
    """Thresholds of one kind of score, and the cleaning that pays with them."""
    gain = gains(found, costs, factors)
    candidates = [_thresholds(found, gain, classes, kind, slivers) for slivers in (False, True)]
    whole, cut = (float(gain[found.shown(rules)].sum()) for rules in candidates)
    rules = candidates[cut > whole]
    rules = _if_it_pays(found, gain, rules, replace(rules, duplicates=True))
    return _if_it_pays(found, gain, rules, replace(rules, other_class=True))


def _if_it_pays(found: Evidence, gain: np.ndarray, rules: DraftRules, cleaned: DraftRules) -> DraftRules:
    # an object whose box goes is counted as drawn, though another box may stand for it: cleaning must pay all the same
    return cleaned if gain[found.shown(cleaned)].sum() > gain[found.shown(rules)].sum() else rules


def _thresholds(found: Evidence, gain: np.ndarray, classes: Sequence[str], kind: str, slivers: bool) -> DraftRules:
    left = ~found.sliver if slivers else np.ones(len(found), bool)
    score, mine, saved = found.score(kind)[left], found.class_id[left], gain[left]
    share = LEAST_OBJECTS / max(float(found.objects.sum()), LEAST_OBJECTS)
    by_class = {name: _shrunk(score, saved, mine == label, share) for label, name in enumerate(classes)}
    return DraftRules(by_class, best_threshold(score, saved)[0], kind, slivers=slivers)


def _shrunk(score: np.ndarray, gain: np.ndarray, own: np.ndarray, share: float) -> float:
    """The best threshold of a class's `own` boxes together with a share of everybody's."""
    return best_threshold(np.concatenate([score[own], score]), np.concatenate([gain[own], share * gain]))[0]


def _cross_fitted(found: Evidence, costs: CostModel, classes: Sequence[str], kind: str, factors: np.ndarray | None) -> np.ndarray:
    """(N,) bool: the boxes that are shown, in each image by rules that were learned from the images of other folds."""
    shown = np.zeros(len(found), bool)
    everything = np.arange(len(found.labels))
    for fold in folds(len(found.labels), _FOLDS, 0):
        others = np.setdiff1d(everything, fold)
        if len(others):
            rules = learn(found.of_images(others), costs, classes, kind, factors)
            shown[np.isin(found.image, fold)] = found.of_images(fold).shown(rules)
    return shown


def rates(found: Evidence, classes: Sequence[str], kind: str) -> Rates:
    """What became of the boxes by score, in bins that hold as many each; a class with few boxes in a bin has the shares of all classes."""
    score = found.score(kind)
    edges = np.unique(np.quantile(score, np.linspace(0, 1, _BINS + 1)[:-1])) if len(score) else np.zeros(1)
    place = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, None)
    counts = np.zeros((len(classes), len(edges), DELETE + 1))
    np.add.at(counts, (found.class_id, place, found.outcome), 1.0)
    overall = (counts.sum((0, 1)) + 1) / (counts.sum() + DELETE + 1)
    pooled = _towards(counts.sum(0), overall)
    by_class = {name: _table(_towards(counts[label], pooled)) for label, name in enumerate(classes)}
    return Rates(tuple(edges.tolist()), by_class, _table(pooled))


def _towards(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return np.asarray((counts + _ADDED_BOXES * shares) / (counts.sum(-1, keepdims=True) + _ADDED_BOXES))


def _table(shares: np.ndarray) -> tuple[Shares, ...]:
    return tuple((kept, nudged, deleted) for kept, nudged, deleted in shares.round(6).tolist())
