"""The machine's own labels in a turn of the loop: what of the last ones may be trained on, and which images are accepted now.

Rule: what a person said counts more. Accepted images that people audited are kept out of training for good: they are evidence. Where
they refute the promise, nothing of that run is trained on, and its images go back to the pool.
"""

import hashlib
import heapq
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from activelearning import autolabels, claims, journal, layout, table
from activelearning.autolabels import Audit, Record
from activelearning.commits import Commit
from activelearning.labels import ImageLabels
from trainer import autolabel, held_out, promise
from trainer.detections import Detections
from trainer.ground_truth import GroundTruth
from trainer.judged import judge
from trainer.pinned_pool import Recipe
from trainer.work import Work

_UNIT = 1 << 20
"""Boxes are compared in an image of this many pixels a side, since tables hold fractions."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Of the last run: the images whose labels may be trained on, those that people audited until now, and what came of it."""

    images: tuple[ImageLabels, ...] = ()
    audited: frozenset[str] = frozenset()
    audit: Audit | None = None

    @property
    def broken(self) -> bool:
        """Whether the promise was refuted."""
        return self.audit is not None and self.audit.broken


@dataclass(frozen=True, slots=True)
class Division:
    """The images that nobody need see, and the accepted ones that people are to see all the same."""

    settled: frozenset[str] = frozenset()
    audits: frozenset[str] = frozenset()
    made: bool = False


def last_accepted(work: Work, parent: Commit | None, reviewed: Sequence[ImageLabels]) -> Accepted:
    """What the last commit's accepted images are good for, now that people reviewed those images."""
    record = autolabels.read(work.store.labels, parent.autolabelled) if parent and parent.autolabelled else None
    if record is None or not parent:
        return Accepted()
    people = {labels.image: labels for labels in reviewed}
    table_name, asked = layout.autolabelled(parent.autolabelled), work.settings.autolabel
    accepted = [group.labels for group in claims.walk(work.store.labels, table_name)] if record.images else []
    drawn = [labels for labels in accepted if autolabels.is_audit(labels.image, asked.seed, asked.audit_share)]
    seen = [labels for labels in drawn if labels.image in people]
    audit = audited(record, seen, [people[labels.image] for labels in seen], work.settings.classes)
    held = frozenset(record.held_out).union(labels.image for labels in seen)
    if audit.broken:
        work.tell(f"warning: {audit}")
        journal.write(work.store.labels, "trainer", "promise broken", work.clock(), run=record.run, boxes=audit.boxes, wrong=audit.wrong)
        return Accepted((), held, audit)
    unseen = people.keys() | {labels.image for labels in drawn} | held
    usable = [labels for labels in accepted if labels.image not in unseen]
    return Accepted(tuple(sampled(usable, round(asked.train_share * len(people)))), held, audit)


def audited(record: Record, accepted: Sequence[ImageLabels], reviewed: Sequence[ImageLabels], classes: Sequence[str]) -> Audit:
    """Compare accepted labels with what people said of the same images."""
    known = {name: index for index, name in enumerate(classes)}
    found = [_detections(labels, known) for labels in accepted]
    truth = [_truth(labels, known) for labels in reviewed]
    correct = judge(found, truth, len(classes)).correct()
    empty = [not len(one.class_id) for one, boxes in zip(truth, found, strict=True) if not len(boxes)]
    boxes, wrong = len(correct) + len(empty), int((~correct).sum()) + empty.count(False)
    return Audit(record.run, boxes, wrong, promise.is_refuted(wrong, boxes, record.precision, record.confidence))


def sampled(images: Iterable[ImageLabels], most: int) -> list[ImageLabels]:
    """At most so many of the images, drawn by a hash of their names, in the order of the names."""
    drawn = heapq.nsmallest(most, images, key=lambda labels: hashlib.sha256(labels.image.encode("utf-8", "surrogatepass")).digest())
    return sorted(drawn, key=lambda labels: labels.image)


def divide(
    work: Work,
    onnx: bytes,
    recipe: Recipe,
    evidence: Sequence[ImageLabels],
    images: Callable[[], Iterable[ImageLabels]],
    name: str,
    last: Accepted,
) -> Division:
    """Accept what reviewed images prove, write table and record of `name`, and return how the pool is divided.

    `evidence` are reviewed images that the model was not trained on, `images` the pool with its predictions, gone through twice.
    """
    asked = work.settings.autolabel
    if not asked.precision:
        return Division()
    known = held_out.predict(work, onnx, recipe.family, evidence, recipe.prediction)
    decision = autolabel.decide(known, images, work.settings)
    with tempfile.TemporaryFile() as rows:
        rows.write(table.header_line().encode())
        counted = _Counted()
        for one in autolabel.divided(images(), decision, name, asked):
            counted.add(*one, rows)
        found = autolabel.record(decision, name, asked, counted.counts(), last.audited)
        rows.seek(0)
        autolabels.write(work.store.labels, name, rows, replace(found, audit=last.audit))
    for sentence in (*found.rules, found.missed):
        work.tell(f"auto-labelling at {asked.precision:g}: {sentence}")
    work.tell(f"{found.images:,} images accepted without a look, {found.audits:,} of them for the audit; {found.examine:,} to examine")
    return Division(frozenset(counted.settled), frozenset(counted.audits), made=True)


class _Counted:
    """The pool as it is divided, image by image."""

    def __init__(self) -> None:
        self.settled: list[str] = []
        self.audits: list[str] = []
        self._boxes = self._examine = 0

    def add(self, labels: ImageLabels, accepted: ImageLabels | None, is_seen: bool, rows: BinaryIO) -> None:
        if accepted is None:
            self._examine += 1
            return
        (self.audits if is_seen else self.settled).append(labels.image)
        self._boxes += len(accepted.boxes)
        rows.write(table.image_rows(accepted).encode())

    def counts(self) -> tuple[int, int, int, int]:
        return len(self.settled) + len(self.audits), self._boxes, self._examine, len(self.audits)


def settled(work: Work, commit: Commit | None) -> frozenset[str]:
    """The names of the images that a commit accepted and that nobody need see."""
    if not (commit and commit.autolabelled):
        return frozenset()
    asked, rows = work.settings.autolabel, claims.walk(work.store.labels, layout.autolabelled(commit.autolabelled))
    names = (group.labels.image for group in rows)
    return frozenset(name for name in names if not autolabels.is_audit(name, asked.seed, asked.audit_share))


def _detections(labels: ImageLabels, known: dict[str, int]) -> Detections:
    boxes = [box for box in labels.boxes if box.label in known]
    class_id = np.array([known[box.label] for box in boxes], np.int64)
    confidence = np.array([1.0 if box.confidence is None else box.confidence for box in boxes], np.float32)
    return Detections(_corners([box.xyxy for box in boxes]), confidence, class_id, np.eye(len(known), dtype=np.float32)[class_id])


def _truth(labels: ImageLabels, known: dict[str, int]) -> GroundTruth:
    boxes = [box for box in labels.boxes if box.label in known]
    return GroundTruth(_corners([box.xyxy for box in boxes]), np.array([known[box.label] for box in boxes], np.int64))


def _corners(fractions: Sequence[tuple[float, float, float, float]]) -> np.ndarray:
    return (np.array(fractions, np.float64).reshape(-1, 4) * _UNIT).astype(np.float32)
