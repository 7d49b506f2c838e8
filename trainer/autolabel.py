"""Divide the pool: images whose boxes the machine may accept without a look, and those that people examine.

Rule: an image is accepted only if each of its boxes that a person would be shown is accepted by the rule of its class (`promise`), and if
the share of objects that such images miss is proved to be small. An image without such a box is a claim too, that it is empty, with a
rule of its own. A random share of the accepted images goes to people all the same, and is never trained on before they saw it.
"""

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from activelearning import autolabels
from activelearning.autolabels import Record
from activelearning.labels import BACKGROUND, Box, ImageLabels
from activelearning.settings import Autolabel, Settings
from trainer import promise
from trainer.held_out import HeldOut
from trainer.promise import Rule


@dataclass(frozen=True, slots=True)
class Decision:
    """The rule of each class and of the background, whether images with boxes are accepted at all, and what is known of missed objects.

    `floor` is the confidence from which a box counts, `objects` how many objects the accepted images among the reviewed ones hold and
    `missed` how many of them no accepted box stands for.
    """

    rules: tuple[Rule, ...]
    floor: float
    objects: int
    missed: int
    few_missed: bool

    def accepts(self, labels: ImageLabels) -> bool:
        """Whether all that the model says of the image is accepted."""
        boxes = shown(labels, self.floor)
        if not boxes:
            return _passes(self._threshold(BACKGROUND), emptiness(labels))
        return self.few_missed and all(_passes(self._threshold(box.label), _confidence(box)) for box in boxes)

    def _threshold(self, label: str) -> float | None:
        return next((rule.threshold for rule in self.rules if rule.label == label), None)


def shown(labels: ImageLabels, floor: float) -> tuple[Box, ...]:
    """The boxes of a prediction that count."""
    return tuple(box for box in labels.boxes if _confidence(box) >= floor)


def emptiness(labels: ImageLabels) -> float:
    """How sure it is that the image is empty: 1 minus the confidence of its surest box."""
    return 1 - max(map(_confidence, labels.boxes), default=0.0)


def decide(held_out: HeldOut, images: Callable[[], Iterable[ImageLabels]], settings: Settings) -> Decision:
    """The loosest rules that the held-out images prove for `images`, which are gone through once."""
    evidence, asked = _Evidence.of(held_out, settings), settings.autolabel
    pool = _pool(images(), settings.drafts.min_confidence)
    rules = tuple(
        promise.class_rule(label, *evidence.of_label(label), np.array(pool[label]), precision=asked.precision, confidence=asked.confidence)
        for label in (*settings.classes, BACKGROUND)
    )
    objects, missed = evidence.missed_by(rules)
    few = objects > 0 and 1 - promise.share_bound(missed, objects, asked.confidence) <= asked.max_missed
    return Decision(rules, settings.drafts.min_confidence, objects, missed, few)


def divided(
    images: Iterable[ImageLabels], decision: Decision, run: str, asked: Autolabel
) -> Iterator[tuple[ImageLabels, ImageLabels | None, bool]]:
    """Each image with what is accepted of it, None where people examine it, and whether people are to see it."""
    for labels in images:
        accepted = pseudo_labels(labels, decision.floor, run) if decision.accepts(labels) else None
        yield labels, accepted, accepted is None or autolabels.is_audit(labels.image, asked.seed, asked.audit_share)


def pseudo_labels(labels: ImageLabels, floor: float, run: str) -> ImageLabels:
    """A prediction as labels that say which run they are from."""
    return replace(labels, boxes=tuple(replace(box, source=f"pseudo@{run}") for box in shown(labels, floor)))


def record(decision: Decision, run: str, asked: Autolabel, counts: tuple[int, int, int, int], held_out: Iterable[str]) -> Record:
    """The record of a division; `counts` are accepted images, their boxes, images to examine and audits."""
    thresholds = {rule.label: rule.threshold for rule in decision.rules if rule.threshold is not None}
    sentences = tuple(_named(rule) for rule in decision.rules)
    images, boxes, examine, audits = counts
    return Record(
        run=run,
        precision=asked.precision,
        confidence=asked.confidence,
        images=images,
        boxes=boxes,
        examine=examine,
        audits=audits,
        rules=sentences,
        missed=_missed(decision, asked),
        held_out=tuple(sorted(held_out)),
        thresholds=thresholds,
    )


def _named(rule: Rule) -> str:
    return (
        str(rule).replace(BACKGROUND, "empty images").replace("class empty images", "that kind") if rule.label == BACKGROUND else str(rule)
    )


def _missed(decision: Decision, asked: Autolabel) -> str:
    found = f"{decision.missed:,} of {decision.objects:,} objects missed in reviewed images that would be accepted"
    if decision.few_missed or not decision.objects:
        return found if decision.objects else "no reviewed image with boxes would be accepted, so nothing is known of what they miss"
    return f"{found}, which does not prove that at most {asked.max_missed:.0%} are: no image with boxes is accepted"


def _passes(threshold: float | None, sureness: float) -> bool:
    return threshold is not None and sureness >= threshold


def _confidence(box: Box) -> float:
    return 1.0 if box.confidence is None else box.confidence


def _pool(images: Iterable[ImageLabels], floor: float) -> "defaultdict[str, array[float]]":
    """By class the confidences of the boxes that count, by `BACKGROUND` how empty the images without any are."""
    found: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
    for labels in images:
        boxes = shown(labels, floor)
        for box in boxes:
            found[box.label].append(_confidence(box))
        if not boxes:
            found[BACKGROUND].append(emptiness(labels))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Evidence:
    """Held-out boxes that count, N, and images, M: how many objects are in each, whether it looks empty, and how surely."""

    label: np.ndarray
    image: np.ndarray
    sureness: np.ndarray
    correct: np.ndarray
    objects: np.ndarray
    looks_empty: np.ndarray
    emptiness: np.ndarray

    @classmethod
    def of(cls, held_out: HeldOut, settings: Settings) -> "_Evidence":
        judged = held_out.judged(len(settings.classes), settings.drafts.min_confidence)
        least = settings.prediction.min_confidence
        surest = np.array([one.confidence[one.confidence > least].max(initial=0.0) for one in held_out.found], np.float64)
        # as they stand in the tables, so that a box at the threshold is on one side of it everywhere
        rounded = np.round(judged.detections.confidence.astype(np.float64), 6)
        names = np.array(settings.classes)[judged.detections.class_id]
        return cls(
            names,
            judged.image,
            rounded,
            judged.correct(),
            judged.objects.sum(1),
            surest < settings.drafts.min_confidence,
            1 - np.round(surest, 6),
        )

    def of_label(self, label: str) -> tuple[np.ndarray, np.ndarray]:
        if label == BACKGROUND:
            return self.emptiness[self.looks_empty], self.objects[self.looks_empty] == 0
        mine = self.label == label
        return self.sureness[mine], self.correct[mine]

    def missed_by(self, rules: Sequence[Rule]) -> tuple[int, int]:
        """How many objects there are in the images with boxes that the rules accept, and how many no right box stands for."""
        thresholds = {rule.label: np.inf if rule.threshold is None else rule.threshold for rule in rules}
        passed = np.array([sure >= thresholds[name] for sure, name in zip(self.sureness, self.label, strict=True)], bool)
        refused = np.bincount(self.image[~passed], minlength=len(self.objects)) > 0
        accepted = ~refused & ~self.looks_empty
        objects = int(self.objects[accepted].sum())
        return objects, objects - int((self.correct & accepted[self.image]).sum())
