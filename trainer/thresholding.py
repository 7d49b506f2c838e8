"""Which detections to remove because the model is unsure of them: cost-sensitive thresholds on any mix of uncertainties.

Rule: a detection is removed when its mixed uncertainty reaches the threshold. What that must not cost, and what a threshold promises, is
the budget's to say (`budgets`); which mix leaves it the most to gain is `mixing`'s.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from activelearning.errors import FormatError, UserError
from trainer import mixing, uncertainties
from trainer.budgets import CORRECT, Budget, is_number, threshold
from trainer.detections import Detections
from trainer.judged import Judged
from trainer.mixing import Protected
from trainer.uncertainties import IOUS

VERSION = 1


@dataclass(frozen=True, slots=True)
class Rule:
    """`weights` of the uncertainties in their raw units, and a threshold for each IoU level: inf removes nothing, -inf everything."""

    weights: tuple[float, ...]
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(is_number(weight) and 0 <= weight < math.inf for weight in self.weights):
            raise ValueError("weights must be finite numbers, not negative")
        if not all(is_number(threshold) and not math.isnan(threshold) for threshold in self.thresholds):
            raise ValueError("thresholds must be numbers")


@dataclass(frozen=True, slots=True)
class FittedOn:
    """What thresholds were learnt from: `source` names model and data, `correct` counts the correct detections of each level."""

    source: str
    images: int
    detections: int
    objects: int
    correct: tuple[int, ...]

    def __post_init__(self) -> None:
        counts = (self.images, self.detections, self.objects, *self.correct)
        if not isinstance(self.source, str) or not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("source must be text, counts whole numbers")


@dataclass(frozen=True, slots=True)
class Effect:
    """What a removal does at one IoU level. An object is missed when no correct detection of it is left."""

    iou: float
    correct_kept: int
    correct_removed: int
    false_kept: int
    false_removed: int
    missed_before: int
    missed_after: int


@dataclass(frozen=True, slots=True)
class Thresholding:
    """Thresholds on mixes of the uncertainties `names`: those of `own` for its predicted classes, `rest` for all others."""

    names: tuple[str, ...]
    ious: tuple[float, ...]
    classes: tuple[str, ...]
    budget: Budget
    rest: Rule
    own: Mapping[str, Rule]
    fitted_on: FittedOn

    def __post_init__(self) -> None:
        texts = (*self.names, *self.classes, *self.own)
        if not all(isinstance(text, str) for text in texts) or not set(self.own) <= set(self.classes):
            raise ValueError("names and classes must be texts, and a rule's class one of the classes")
        if not self.names or not self.ious or len(set(self.names)) < len(self.names) or len(set(self.classes)) < len(self.classes):
            raise ValueError("there must be uncertainties and IoU levels, and no name twice")
        if not all(is_number(iou) and 0 < iou <= 1 for iou in self.ious) or len(self.fitted_on.correct) != len(self.ious):
            raise ValueError("IoU levels must lie above 0 and up to 1, each with a count")
        for rule in (self.rest, *self.own.values()):
            if (len(rule.weights), len(rule.thresholds)) != (len(self.names), len(self.ious)):
                raise ValueError("a rule must have a weight for each uncertainty and a threshold for each IoU level")

    def removed(self, detections: Detections, iou: float | None = None) -> np.ndarray:
        """Which detections to remove, (N,) bool; see `removes`. Raises `UserError` where they are not those it was fitted for."""
        if len(self.classes) != detections.class_scores.shape[1]:
            raise UserError(f"the thresholds are for {len(self.classes)} classes, the detections have others: fit the thresholds again")
        return self.removes(uncertainties.of(detections), detections.class_id, iou)

    def removes(self, values: Mapping[str, np.ndarray], class_id: np.ndarray, iou: float | None = None) -> np.ndarray:
        """The same from uncertainties and predicted classes (N,).

        At one IoU level, or, without one, by the threshold at which the budget holds at every level. `KeyError` for a level unknown.
        """
        places = range(len(self.ious)) if iou is None else [{level: at for at, level in enumerate(self.ious)}[iou]]
        removed = np.zeros(len(class_id), bool)
        for mask, rule, mixed in self._mixed(values, class_id):
            thresholds = [rule.thresholds[place] for place in places]
            removed[mask] = mixed >= (max(thresholds) if self.budget.of == CORRECT else min(thresholds))
        return removed

    def mixed(self, values: Mapping[str, np.ndarray], class_id: np.ndarray) -> np.ndarray:
        """The mixed uncertainty (N,) that the thresholds are compared with; comparable within a class that has its own rule."""
        total = np.zeros(len(class_id))
        for mask, _, mixed in self._mixed(values, class_id):
            total[mask] = mixed
        return total

    def to_json(self) -> str:
        """As a file."""
        document = {"activelearning_thresholding": VERSION, **asdict(self), "rest": _encoded(self.rest)}
        return json.dumps(document | {"own": {name: _encoded(rule) for name, rule in self.own.items()}}, indent=1, allow_nan=False)

    def _mixed(self, values: Mapping[str, np.ndarray], class_id: np.ndarray) -> list[tuple[np.ndarray, Rule, np.ndarray]]:
        """Each rule with the mask (N,) of the detections it is for and their mixed uncertainty."""
        missing = [name for name in self.names if name not in values]
        if missing:
            raise UserError(f"the thresholds need '{missing[0]}', which is not known of these detections: predict again or fit again")
        columns = _columns({name: values[name] for name in self.names}, len(class_id))
        masks = {name: class_id == self.classes.index(name) for name in self.own}
        others = ~np.any([np.zeros(len(class_id), bool), *masks.values()], 0)
        parts = [(others, self.rest), *((mask, self.own[name]) for name, mask in masks.items())]
        return [(mask, rule, mixing.mixed(columns[:, mask], rule.weights)) for mask, rule in parts]


def fit(
    judged: Judged,
    values: Mapping[str, np.ndarray],
    classes: Sequence[str],
    budget: Budget,
    source: str,
    *,
    ious: Sequence[float] = IOUS,
    own_from: int | None = None,
    seed: int = 0,
) -> Thresholding:
    """Learn weights and thresholds from judged detections and any uncertainties (N,) of theirs, higher being less sure.

    The weights are those of the highest mean over the IoU levels of what the budget leaves to gain. What a confidence promises, it
    promises for a mix that was chosen without looking: so with more than one uncertainty a half of the images, drawn by `seed`, finds
    the weights, and the other half the thresholds. With `own_from`, each class of at least so many correct and so many false detections
    at every level has a rule of its own, and all others have one together; the budget then holds in each of these parts. A confidence
    is that of one part at one level.

    Where nothing can be promised, for there are too few detections, the correct budget removes nothing and the false one everything.
    """
    if len(classes) != judged.objects.shape[1]:
        raise ValueError(f"the detections are of {judged.objects.shape[1]} classes, not of {len(classes)}")
    levels = np.array([judged.correct(iou) for iou in ious])
    everything = _Part(_columns(values, len(judged)), levels, judged.image)
    splits = budget.confidence is not None and len(values) > 1
    weighing, bounding = _halves(judged, seed) if splits else (np.ones(len(judged), bool),) * 2
    label = judged.detections.class_id
    own = [] if own_from is None else [at for at in range(len(classes)) if _enough(levels[:, label == at], own_from)]
    masks = [label == at for at in own] + [~np.isin(label, own)]
    *rules, rest = [_rule(everything.of(mask & weighing), everything.of(mask & bounding), budget) for mask in masks]
    counts = FittedOn(source, len(judged.objects), len(judged), int(judged.objects.sum()), tuple(levels.sum(1).tolist()))
    by_class = {classes[at]: rule for at, rule in zip(own, rules, strict=True)}
    return Thresholding(tuple(values), tuple(ious), tuple(classes), budget, rest, by_class, counts)


def from_json(text: str | bytes, where: str, source: str) -> Thresholding:
    """Read what `to_json` has made. Raises `FormatError` that names `where` if it is damaged, or was not fitted on `source`."""
    try:
        document = json.loads(text)
        if document.pop("activelearning_thresholding") != VERSION:
            raise ValueError
        found = _decoded(document)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, UserError):
        raise FormatError(f"{where} holds no thresholds, or damaged ones: fit them again") from None
    if found.fitted_on.source != source:
        raise FormatError(f"{where} holds thresholds that were fitted on another model or other data: fit them again")
    return found


def effect(judged: Judged, removed: np.ndarray, iou: float) -> Effect:
    """What it does to remove those detections (N,) bool."""
    correct, objects = judged.correct(iou), int(judged.objects.sum())
    kept, lost, false_kept, false_removed = (int((a & b).sum()) for a in (correct, ~correct) for b in (~removed, removed))
    return Effect(iou, kept, lost, false_kept, false_removed, objects - kept - lost, objects - kept)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Uncertainties (k, N), which are correct at each level (T, N), and their images (N,)."""

    columns: np.ndarray
    levels: np.ndarray
    image: np.ndarray

    def of(self, mask: np.ndarray) -> "_Part":
        return _Part(self.columns[:, mask], self.levels[:, mask], self.image[mask])


def _columns(values: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    if not values:
        raise ValueError("there must be an uncertainty")
    return np.stack(list(uncertainties.checked(values, count).values()))


def _halves(judged: Judged, seed: int) -> tuple[np.ndarray, np.ndarray]:
    images = len(judged.objects)
    first = np.random.default_rng(seed).permutation(images)[: images // 2]
    mask = np.isin(judged.image, first)
    return mask, ~mask


def _enough(levels: np.ndarray, least: int) -> bool:
    correct = levels.sum(1)
    return bool((np.minimum(correct, levels.shape[1] - correct) >= least).all())


def _rule(weighing: _Part, bounding: _Part, budget: Budget) -> Rule:
    """From detections that find the weights, and others that find the thresholds."""
    masks = [budget.protected(correct) for correct in weighing.levels]
    sides = [Protected(mask, mixing.at_least(int(mask.sum()), budget.share)) for mask in masks]
    weights = mixing.best_mix(budget.safe_first(weighing.columns), sides)
    mixed = mixing.mixed(bounding.columns, weights)
    return Rule(tuple(weights.tolist()), tuple(threshold(mixed, correct, budget, bounding.image) for correct in bounding.levels))


_ENDLESS = {"nothing": math.inf, "everything": -math.inf}
"""JSON has no infinity."""


def _encoded(rule: Rule) -> dict[str, Any]:
    names = {value: name for name, value in _ENDLESS.items()}
    return {"weights": rule.weights, "thresholds": [names.get(value, value) for value in rule.thresholds]}


def _decoded(document: dict[str, Any]) -> Thresholding:
    fitted_on = document.pop("fitted_on")
    return Thresholding(
        budget=Budget(**document.pop("budget")),
        rest=_decoded_rule(document.pop("rest")),
        own={name: _decoded_rule(rule) for name, rule in document.pop("own").items()},
        fitted_on=FittedOn(**fitted_on | {"correct": _list(fitted_on["correct"])}),
        **{name: _list(value) for name, value in document.items()},
    )


def _decoded_rule(rule: dict[str, Any]) -> Rule:
    lists = {name: _list(value) for name, value in rule.items()}
    return Rule(**lists | {"thresholds": tuple(_ENDLESS[one] if isinstance(one, str) else one for one in lists["thresholds"])})


def _list(value: object) -> tuple[Any, ...]:
    # a text would be taken apart into its letters
    if not isinstance(value, list):
        raise TypeError
    return tuple(value)
