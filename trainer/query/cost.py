"""How many seconds a person is expected to need for each image, drafts included.

Rule: an estimate for ordering, by the project's own figures (`[costs]`), and by the rules that decide which drafts are shown. Boxes that
these hide for their shape or their neighbours count as shown.
"""

from dataclasses import dataclass

import numpy as np

from activelearning.draft_rules import PROBABILITY, DraftRules
from activelearning.learned_drafts import DELETE, LearnedDrafts
from activelearning.settings import Costs
from trainer.query import measures
from trainer.query.candidates import Candidates


@dataclass(frozen=True, slots=True, eq=False)
class Odds:
    """What becomes of B boxes: `shares` (B, 3) are the odds that one is kept, nudged or deleted if it is shown, `right` (B,) that it has
    to be drawn if it is not; `missed` objects an image have no box at all."""

    shares: np.ndarray
    right: np.ndarray
    missed: float = 0.0


def expected_seconds(candidates: Candidates, costs: Costs, rules: DraftRules, odds: Odds) -> np.ndarray:
    """Seconds (N,) float64, above 0: open the image, look after each box that is shown, draw what is not."""
    checked = odds.shares @ (costs.keep, costs.nudge, costs.delete)
    each = np.where(_is_shown(candidates, rules), checked, costs.draw * odds.right)
    total = costs.open + costs.draw * odds.missed + np.bincount(candidates.image_of_box, each, len(candidates))
    # nothing is worth infinitely much for costing nothing
    return np.asarray(np.maximum(total, 1e-3))


def by_probability(candidates: Candidates) -> Odds:
    """What a box's probability p of being right tells: calibrated where it is known, else the confidence.

    To be right takes two things, the class and the place, here independent and alike, sqrt(p) each. A person keeps what is right in both,
    nudges what is right in one, and deletes the others.
    """
    p = measures.probability(candidates)
    half = np.sqrt(p)
    return Odds(np.stack([p, 2 * half * (1 - half), (1 - half) ** 2], 1), p)


def by_experience(candidates: Candidates, learned: LearnedDrafts) -> Odds:
    """What became of boxes of the same class and score in held-out images and at people's hands: `expected_cost.of_image`, in columns."""
    score = candidates.column(PROBABILITY) if learned.score == PROBABILITY else candidates.confidence
    score = np.where(np.isnan(score), candidates.confidence, score)
    grade = np.maximum(np.searchsorted(learned.edges, score, "right") - 1, 0)
    rates = np.array([learned.rates.get(name, learned.other_rates) for name in candidates.classes]).reshape(-1, len(learned.edges), 3)
    factors = np.array([learned.factors.get(name, learned.other_factors) for name in candidates.classes]).reshape(-1, 3)
    held_out = rates[candidates.class_id, grade]
    weighed = held_out * factors[candidates.class_id]
    right = (1 - held_out[:, DELETE]) * learned.missed_factor
    return Odds(weighed / weighed.sum(1, keepdims=True), right, learned.missed * learned.missed_factor)


def _is_shown(candidates: Candidates, rules: DraftRules) -> np.ndarray:
    by_class = np.array([rules.thresholds.get(name, rules.other) for name in candidates.classes])[candidates.class_id]
    score = candidates.column(PROBABILITY) if rules.score == PROBABILITY else candidates.confidence
    sure = np.where(np.isnan(score), candidates.confidence >= rules.floor, score >= by_class)
    return np.asarray(sure & (candidates.confidence <= rules.max_confidence))
