"""What reviewed images prove: of which classes boxes are accepted, from which sureness on, and whether images with boxes are at all.

Rule: an image is accepted only if each of its boxes that counts is accepted by the rule of its class (`promise`), and if the share of
objects that such images miss is proved to be small. An image without such a box is a claim too, that it is empty, with a rule of its own.
"""

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from activelearning import autolabels
from activelearning.autolabels import Audit, Record
from activelearning.labels import BACKGROUND, ImageLabels
from activelearning.settings import Settings
from trainer import promise
from trainer.drafts import DECIMALS
from trainer.held_out import HeldOut
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
        found = {rule.label: rule.threshold for rule in self.rules if rule.threshold is not None}
        return {name: threshold for name, threshold in found.items() if self.few_missed or name == BACKGROUND}


def decide(held_out: HeldOut, images: Callable[[], Iterable[ImageLabels]], settings: Settings) -> Decision:
    """The loosest rules that the held-out images prove for `images`, which are gone through once."""
    evidence, asked = _Evidence.of(held_out, settings), settings.autolabel
    pool = _pool(images(), settings.drafts.min_confidence)
    rules = tuple(
        promise.class_rule(label, *evidence.of_label(label), np.array(pool[label]), precision=asked.precision, confidence=asked.confidence)
        for label in (*settings.classes, BACKGROUND)
    )
    objects, missed = evidence.missed_by({rule.label: rule.threshold for rule in rules if rule.threshold is not None})
    few = 1 - promise.share_bound(missed, objects, asked.confidence) <= asked.max_missed
    return Decision(rules, objects, missed, few)


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

    def missed_by(self, thresholds: Mapping[str, float]) -> tuple[int, int]:
        """How many objects there are in the images with boxes that are accepted, and for how many no right box stands."""
        least = np.array([thresholds.get(name, np.inf) for name in self.label.tolist()])
        refused = np.bincount(self.image[self.sureness < least], minlength=len(self.objects)) > 0
        accepted = ~refused & ~self.looks_empty
        objects = int(self.objects[accepted].sum())
        return objects, objects - int((self.correct & accepted[self.image]).sum())
