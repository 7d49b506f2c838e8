"""What reviewed images prove: of which classes boxes are accepted, from which sureness on, and whether images with boxes are at all.

Rule: an image is accepted only if each of its boxes that counts is accepted by the rule of its class (`promise`), and if the share of
objects that such images miss is proved to be small. An image without such a box is a claim too, that it is empty, with a rule of its own.
"""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from activelearning import autolabels
from activelearning.autolabels import Audit, Record
from activelearning.labels import BACKGROUND, ImageLabels
from activelearning.settings import Settings
from trainer import design_effect, promise
from trainer.drafts import DECIMALS
from trainer.held_out import HeldOut, joined
from trainer.promise import Rule


@dataclass(frozen=True, slots=True)
class Decision:
    """The rule of each class and of the background, and what is known of missed objects.

    `objects` is how many objects there are in the reviewed images with boxes that the rules accept, and `missed` for how many of them
    no right box stands. `few_missed`: that proves that no more are missed than is allowed.
    """

    rules: tuple[Rule, ...]
    objects: int
    missed: int
    few_missed: bool

    @property
    def thresholds(self) -> dict[str, float]:
        """What is accepted: without proof that few objects are missed, images without boxes alone."""
        return {name: threshold for name, threshold in _thresholds(self.rules).items() if self.few_missed or name == BACKGROUND}


def decide(held_out: HeldOut, audited: HeldOut, images: Callable[[], Iterable[ImageLabels]], settings: Settings) -> Decision:
    """The loosest rules that reviewed images prove for `images`, which are gone through a few times.

    `held_out` are like the pool. `audited` were reviewed because a model was sure of them, so they prove nothing by themselves; but no
    rule stands that the evidence does not prove with them too.
    """
    asked, pool = settings.autolabel, _pool(images(), settings.drafts.min_confidence)
    alone, together = (_Evidence.of(one, settings) for one in (held_out, joined(held_out, audited)))
    rules = tuple(
        promise.stricter(
            *(
                promise.class_rule(
                    label, *one.of_label(label), np.array(pool[label]), precision=asked.precision, confidence=asked.confidence
                )
                for one in (alone, together)
            )
        )
        for label in (*settings.classes, BACKGROUND)
    )
    rules = _proved_where_accepted(rules, alone, images, settings)
    objects, missed, effect = alone.missed_by(_thresholds(rules))
    few = 1 - promise.share_bound(math.ceil(missed / effect), int(objects / effect), asked.confidence) <= asked.max_missed
    return Decision(rules, objects, missed, few)


def _thresholds(rules: Iterable[Rule]) -> dict[str, float]:
    return {rule.label: rule.threshold for rule in rules if rule.threshold is not None}


def _proved_where_accepted(
    rules: tuple[Rule, ...], evidence: "_Evidence", images: Callable[[], Iterable[ImageLabels]], settings: Settings
) -> tuple[Rule, ...]:
    """The rules that also hold for the boxes of images of which every box is accepted: others stand beside worse ones, and those alone
    are never accepted."""
    thresholds = _thresholds(rules)
    if not thresholds.keys() - {BACKGROUND}:
        # no need to go through the pool
        return rules
    accepted = _accepted(images(), thresholds, settings.drafts.min_confidence)
    failed = {label for label in thresholds if accepted[label] and not evidence.proves(label, thresholds, settings)}
    if not failed:
        return rules
    kept = tuple(evidence.without(rule, thresholds, settings) if rule.label in failed else rule for rule in rules)
    return _proved_where_accepted(kept, evidence, images, settings)


def _accepted(images: Iterable[ImageLabels], thresholds: Mapping[str, float], floor: float) -> Counter[str]:
    """How many boxes of each class there are in images of which every box is accepted."""
    found: Counter[str] = Counter()
    for labels in images:
        boxes = autolabels.shown(labels, floor)
        if all(autolabels.confidence_of(box) >= thresholds.get(box.label, math.inf) for box in boxes):
            found.update(box.label for box in boxes)
    return found


def record(decision: Decision, run: str, settings: Settings, held_out: Iterable[str], audit: Audit | None) -> Record:
    """The record of a division that nothing is counted of yet."""
    asked = settings.autolabel
    return Record(
        run=run,
        classes=settings.classes,
        precision=asked.precision,
        confidence=asked.confidence,
        floor=settings.drafts.min_confidence,
        audit_share=asked.audit_share,
        seed=asked.seed,
        thresholds=decision.thresholds,
        rules=tuple(map(_sentence, decision.rules)),
        missed=_missed(decision, asked.max_missed),
        held_out=tuple(sorted(held_out)),
        audit=audit,
    )


def _sentence(rule: Rule) -> str:
    said = str(rule)
    return said.replace(f"class {BACKGROUND}", "that kind").replace(BACKGROUND, "empty images") if rule.label == BACKGROUND else said


def _missed(decision: Decision, most: float) -> str:
    if not decision.objects:
        unknown = "no reviewed image with boxes would be accepted, so nothing is known of what such images miss"
        return unknown if decision.few_missed else f"{unknown}: none is accepted"
    found = f"{decision.missed:,} of {decision.objects:,} objects missed in reviewed images that would be accepted"
    return found if decision.few_missed else f"{found}, which does not prove that at most {most:.0%} are: no image with boxes is accepted"


def _pool(images: Iterable[ImageLabels], floor: float) -> "defaultdict[str, array[float]]":
    """By class the confidences of the boxes that count, by `BACKGROUND` how empty the images without any are."""
    found: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
    for labels in images:
        boxes = autolabels.shown(labels, floor)
        for box in boxes:
            found[box.label].append(autolabels.confidence_of(box))
        if not boxes:
            found[BACKGROUND].append(autolabels.emptiness(labels))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Evidence:
    """Held-out boxes that count, N, with class name, image, sureness and whether they are right; and images, M, with how many objects are
    in each, whether it looks empty, and how surely."""

    label: np.ndarray
    image: np.ndarray
    sureness: np.ndarray
    correct: np.ndarray
    objects: np.ndarray
    looks_empty: np.ndarray
    emptiness: np.ndarray

    @classmethod
    def of(cls, held_out: HeldOut, settings: Settings) -> "_Evidence":
        judged = held_out.judged(len(settings.classes))
        # as they stand in the tables, so that a box at a threshold is on one side of it everywhere
        sureness = np.round(judged.detections.confidence.astype(np.float64), DECIMALS)
        surest = np.zeros(len(held_out))
        np.maximum.at(surest, judged.image, sureness)
        counts = sureness >= settings.drafts.min_confidence
        # a box that is forgotten is among the least sure of its image, so it has taken no object from another
        judged, sureness = judged[counts], sureness[counts]
        boxes = np.bincount(judged.image, minlength=len(held_out))
        names = np.array(settings.classes)[judged.detections.class_id]
        return cls(names, judged.image, sureness, judged.correct(), judged.objects.sum(1), boxes == 0, 1 - surest)

    def of_label(self, label: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sureness, whether right, and image, of the boxes of a class or of the images that look empty."""
        if label == BACKGROUND:
            return self.emptiness[self.looks_empty], self.objects[self.looks_empty] == 0, np.flatnonzero(self.looks_empty)
        mine = self.label == label
        return self.sureness[mine], self.correct[mine], self.image[mine]

    def missed_by(self, thresholds: Mapping[str, float]) -> tuple[int, int, float]:
        """How many objects there are in the images with boxes that are accepted, for how many no right box stands, and the design effect
        of the objects."""
        accepted = self._accepted(thresholds)
        found = np.bincount(self.image[self.correct], minlength=len(self.objects))[accepted]
        objects = self.objects[accepted]
        image = np.repeat(np.arange(len(objects)), objects)
        is_found = np.arange(len(image)) - np.repeat(np.cumsum(objects) - objects, objects) < np.repeat(found, objects)
        return len(image), int((~is_found).sum()), design_effect.of_all(is_found, image)

    def proves(self, label: str, thresholds: Mapping[str, float], settings: Settings) -> bool:
        """Whether boxes of the class in images of which every box is accepted are proved precise enough."""
        alike = (self.label == label) & self._accepted(thresholds)[self.image]
        mine = self.label == label
        correlated = design_effect.correlation(self.sureness[mine], self.correct[mine], self.image[mine])
        effect = float(design_effect.of_the_first(self.image[alike], correlated)[-1]) if alike.any() else 1.0
        asked = settings.autolabel
        return promise.is_proved(self.correct[alike], effect, precision=asked.precision, confidence=asked.confidence)

    def without(self, rule: Rule, thresholds: Mapping[str, float], settings: Settings) -> Rule:
        """The rule of a class that is proved for all sure boxes, but not for those of images of which every box is accepted."""
        alike, asked = (self.label == rule.label) & self._accepted(thresholds)[self.image], settings.autolabel
        reviewed, wrong = int(alike.sum()), int((alike & ~self.correct).sum())
        needed = max(1, promise.least_reviewed(wrong, asked.precision, asked.confidence) - reviewed)
        return Rule(rule.label, None, reviewed, wrong, 0.0, None if wrong > (1 - asked.precision) * reviewed else needed)

    def _accepted(self, thresholds: Mapping[str, float]) -> np.ndarray:
        """(M,) which images have boxes, and every one of them accepted."""
        least = np.array([thresholds.get(name, np.inf) for name in self.label.tolist()])
        return (np.bincount(self.image[self.sureness < least], minlength=len(self.objects)) == 0) & ~self.looks_empty
