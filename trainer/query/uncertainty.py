"""Uncertainty sampling: strategies that score an image by how unsure the model is of its boxes.

Rule: a score is measures, an aggregation over boxes and a combination, each by name; what is not of that form is a function of its own.
Sources: the names mcbox to sota and their formulas, "uncertainty-detection-autolabeling" (Continental, 2024); there the boxes' maximum
or mean, here any aggregation; and mcclass the mean over all classes' logits, here the score of the own class, which tables hold.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from activelearning.settings import Selection
from trainer.query import aggregation, measures
from trainer.query.candidates import Candidates
from trainer.query.combinations import COMBINATIONS
from trainer.query.measures import MEASURES
from trainer.query.strategy import Extra, Ranking, Strategy, by_score

Boxes = Callable[[Candidates, Selection], np.ndarray]
"""How unsure the model is of each box, (B,)."""


def image_confidence(candidates: Candidates, selection: Selection) -> np.ndarray:
    """How sure the model is of each image, (N,) 0..1: 1 - the aggregated 1 - confidence; 0 for an image without detections.

    A sum may pass 1, and is as unsure as an image can be.
    """
    return np.asarray(np.clip(1 - _of_measure(candidates, "unconfidence", selection, calibrated=False), 0.0, 1.0))


def _of_measure(candidates: Candidates, name: str, selection: Selection, calibrated: bool) -> np.ndarray:
    values = measures.of_boxes(candidates, name, calibrated)
    how, top_k = selection.box_aggregation, selection.top_k
    return aggregation.of_images(values, candidates, how, top_k, MEASURES[name].without_boxes)


def one_measure(selection: Selection) -> str:
    """The measure of a strategy that goes by one, empty for the others."""
    names = _ONE_MEASURE.get(selection.strategy)
    return names[selection.relative] if names else ""


def _columns(names: Sequence[str]) -> frozenset[str]:
    return frozenset().union(*(MEASURES[name].columns for name in names))


# Strategies of one measure.


def _by_one(candidates: Candidates, selection: Selection, extra: Extra) -> Ranking:
    return by_score(_of_measure(candidates, one_measure(selection), selection, selection.calibrated))


def _by_confidence(candidates: Candidates, selection: Selection, extra: Extra) -> Ranking:
    return by_score(1 - _of_measure(candidates, "unconfidence", selection, selection.calibrated))


def _by_weighted(candidates: Candidates, selection: Selection, extra: Extra) -> Ranking:
    weights = {name: weight for name, weight in selection.weights.items() if weight}
    parts = (weight * measures.of_boxes(candidates, name, selection.calibrated) for name, weight in sorted(weights.items()))
    without = sum(weight * MEASURES[name].without_boxes for name, weight in sorted(weights.items()))
    values = np.asarray(sum(parts))
    return by_score(aggregation.of_images(values, candidates, selection.box_aggregation, selection.top_k, without))


def _by_several(names: Sequence[str], combination: str, candidates: Candidates, selection: Selection, extra: Extra) -> Ranking:
    filled = candidates.counts > 0
    if not filled.any():
        return by_score(np.zeros(len(candidates)))
    components = [_of_measure(candidates, name, selection, selection.calibrated) for name in names]
    return by_score(COMBINATIONS[combination](components, filled))


_ONE_MEASURE: Mapping[str, tuple[str, str]] = {
    "least-confidence": ("unconfidence", "unconfidence"),
    "margin": ("margin", "margin"),
    "entropy": ("entropy", "entropy"),
    "mcbox": ("epistemic_px", "epistemic"),
    "albox": ("aleatoric_px", "aleatoric"),
    "mcclass": ("class_epistemic", "class_epistemic"),
}
"""By absolute and by relative measure."""

_SEVERAL: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "ental": (("aleatoric", "entropy"), "minmax-sum", "entropy and aleatoric deviation"),
    "alluncert": (("epistemic", "aleatoric", "class_epistemic"), "minmax-sum", "all three deviations"),
    "highep_lowal": (("epistemic", "class_epistemic", "aleatoric"), "minmax-difference", "epistemic deviations, less the aleatoric one"),
    "epuncert": (("epistemic", "class_epistemic"), "minmax-sum", "epistemic deviations of box and class"),
    "sota": (("epistemic", "aleatoric", "class_epistemic"), "zscore-max", "the most unusual of all three deviations"),
}


def _single(name: str) -> Strategy:
    measure = MEASURES[_ONE_MEASURE[name][True]]
    return Strategy(_by_one, measure.meaning, measure.source, columns=lambda selection: _columns([one_measure(selection)]))


def _several(name: str) -> Strategy:
    names, combination, meaning = _SEVERAL[name]
    source = "uncertainty-detection-autolabeling, 2024" if name != "sota" else "Choi et al., ICCV 2021"
    return Strategy(partial(_by_several, names, combination), meaning, source, columns=lambda selection: _columns(names))


STRATEGIES: Mapping[str, Strategy] = {
    "least-confidence": _single("least-confidence"),
    "most-confidence": Strategy(
        _by_confidence,
        "confidence: what the model is surest of, quick to check",
        "active-learning-detect, 2018 (pick_max)",
        columns=lambda selection: _columns(["unconfidence"]),
    ),
    **{name: _single(name) for name in ("margin", "entropy", "mcbox", "albox", "mcclass")},
    "combo": Strategy(
        _by_weighted,
        "weighted sum of uncertainties of each box",
        "uncertainty-detection-autolabeling, 2024",
        columns=lambda selection: _columns([name for name, weight in selection.weights.items() if weight]),
    ),
    **{name: _several(name) for name in _SEVERAL},
}
