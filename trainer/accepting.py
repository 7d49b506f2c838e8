"""The machine's own labels in a turn of the loop: what of the last ones may be trained on, and which images are accepted now.

Rule: what a person said counts more. Accepted images that people audited are not trained on as long as anything is to be accepted: no
later rule stands that they refute. Where they refute the promise itself, nothing of that division is trained on, and its images go back
to the pool.
"""

import hashlib
import heapq
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import BinaryIO

from activelearning import autolabels, journal, layout, table
from activelearning.autolabels import Audit, Record
from activelearning.commits import Commit
from activelearning.errors import BlobExists
from activelearning.labels import ImageLabels
from trainer import autolabel, fitting, held_out
from trainer.auditing import audited
from trainer.pinned_pool import Recipe
from trainer.work import Work

Images = Callable[[], Iterable[ImageLabels]]


@dataclass(frozen=True, slots=True)
class Accepted:
    """Of the last division: the images whose labels may be trained on, those that people audited until now, and what came of it."""

    images: tuple[ImageLabels, ...] = ()
    audited: frozenset[str] = frozenset()
    audit: Audit | None = None

    @property
    def broken(self) -> bool:
        """Whether the promise was refuted, so that what was learned from accepted images is not to be trusted."""
        return self.audit is not None and self.audit.broken


@dataclass(frozen=True, slots=True)
class Division:
    """The images that nobody need see, and the accepted ones that people are to see all the same, in the order to see them.

    `name` is what its record lies under; empty: nothing is accepted.
    """

    name: str = ""
    settled: frozenset[str] = frozenset()
    audits: tuple[str, ...] = ()


def last_accepted(work: Work, parent: Commit | None, reviewed: Sequence[ImageLabels], name: str) -> Accepted:
    """What the last commit's accepted images are good for, now that people reviewed those images; `name` is the next division's."""
    blobs = work.store.labels
    record = autolabels.read(blobs, parent.autolabelled) if parent and parent.autolabelled else None
    if record is None or not parent:
        return Accepted()
    people = {labels.image: labels for labels in reviewed}
    seen = [labels for labels in autolabels.labels(blobs, parent.autolabelled) if labels.image in people and record.is_audit(labels.image)]
    audit = audited(record, seen, people, work.settings.classes)
    if audit.broken:
        _report(work, audit, name)
    stands = _standing(audit, record, parent)
    if not work.settings.autolabel.precision:
        return Accepted(audit=stands)
    held = frozenset(record.held_out).union(labels.image for labels in seen)
    usable = () if audit.broken else _usable(work, parent.autolabelled, record, people.keys() | held)
    most = round(work.settings.autolabel.train_share * len(people))
    return Accepted(tuple(sampled(usable, most)), held, stands)


def _report(work: Work, audit: Audit, name: str) -> None:
    work.tell(f"warning: {audit}")
    if not work.store.labels.exists(layout.autolabel_record(name)):
        journal.write(work.store.labels, "trainer", "promise broken", work.clock(), run=audit.run, boxes=audit.boxes, wrong=audit.wrong)


def _usable(work: Work, name: str, record: Record, left_out: Iterable[str]) -> Iterable[ImageLabels]:
    """Accepted images to train on: none if the classes are others now, since who made them did not look for these."""
    if record.classes != work.settings.classes:
        return
    unusable = frozenset(left_out)
    for labels in autolabels.labels(work.store.labels, name):
        if labels.image not in unusable and not record.is_audit(labels.image):
            yield labels


def _standing(audit: Audit, record: Record, parent: Commit) -> Audit:
    """The audit that counts: one that a broken promise was found in stands until a model is trained without what it let in."""
    untrained = parent.autolabelled != layout.division(parent.run)
    return record.audit if untrained and not audit.broken and record.audit and record.audit.broken else audit


def sampled(images: Iterable[ImageLabels], most: int) -> list[ImageLabels]:
    """At most so many of the images, drawn by a hash of their names, in the order of the names."""
    drawn = heapq.nsmallest(most, images, key=lambda labels: hashlib.sha256(labels.image.encode("utf-8", "surrogatepass")).digest())
    return sorted(drawn, key=lambda labels: labels.image)


def divide(work: Work, onnx: bytes, recipe: Recipe, evidence: Sequence[ImageLabels], images: Images, name: str, last: Accepted) -> Division:
    """Accept what reviewed images prove, write record and table of `name`, and return how the pool is divided.

    `evidence` are reviewed images, of which those count that the model was not trained on; `images` is the pool with its predictions,
    gone through a few times. The decision of an earlier attempt stands.
    """
    if not work.settings.autolabel.precision:
        return Division()
    if recipe.classes != work.settings.classes:
        work.tell("warning: nothing is accepted without a look, since project.toml names other classes than the model was trained on")
        return Division()
    found = autolabels.read(work.store.labels, name) or _decided(work, onnx, recipe, evidence, images, last)
    return _written(work, name, found, images)


def _decided(work: Work, onnx: bytes, recipe: Recipe, evidence: Sequence[ImageLabels], images: Images, last: Accepted) -> Record:
    trained = fitting.trained_on(work.store.labels, recipe.model)
    unknown = [labels for labels in evidence if labels.image not in trained]
    parts = ([one for one in unknown if (one.image in last.audited) == audited] for audited in (False, True))
    known, audited = (held_out.predict(work, onnx, recipe.family, part, recipe.prediction) for part in parts)
    decision = autolabel.decide(known, audited, images, work.settings)
    return autolabel.record(decision, recipe.model, work.settings, last.audited, last.audit)


def _written(work: Work, name: str, asked: Record, images: Images) -> Division:
    with tempfile.TemporaryFile() as rows:
        rows.write(table.header_line().encode())
        counted = _Counted()
        for labels in images():
            counted.add(labels, asked, rows)
        record = autolabels.create(work.store.labels, name, replace(asked, **counted.counts()))
        if record.thresholds != asked.thresholds:
            # Of two trainers that both believe they hold the job, the first one's decision stands.
            return _written(work, name, record, images)
        rows.seek(0)
        with suppress(BlobExists):
            work.store.labels.create(layout.autolabelled(name), rows)
    work.progressed()
    _tell(work, record)
    return Division(name, frozenset(counted.settled), in_order(counted.audits, record))


def _tell(work: Work, record: Record) -> None:
    for sentence in (*record.rules, record.missed):
        work.tell(f"auto-labelling at {record.precision:g}: {sentence}")
    work.tell(f"{record.images:,} images accepted without a look, {record.audits:,} of them for the audit; {record.examine:,} to examine")


class _Counted:
    """The pool as it is divided, image by image."""

    def __init__(self) -> None:
        self.settled: list[str] = []
        self.audits: list[str] = []
        self._boxes = self._examine = 0

    def add(self, labels: ImageLabels, record: Record, rows: BinaryIO) -> None:
        if not record.accepts(labels):
            self._examine += 1
            return
        (self.audits if record.is_audit(labels.image) else self.settled).append(labels.image)
        self._boxes += len(autolabels.shown(labels, record.floor))
        rows.write(table.image_rows(record.marked(labels)).encode())

    def counts(self) -> Mapping[str, int]:
        audits = len(self.audits)
        return {"images": len(self.settled) + audits, "boxes": self._boxes, "examine": self._examine, "audits": audits}


def standing(work: Work, commit: Commit | None) -> Division:
    """How a commit divided the pool; not at all where nothing is to be accepted any more."""
    name = commit.autolabelled if commit and work.settings.autolabel.precision else ""
    record = autolabels.read(work.store.labels, name) if name else None
    if record is None:
        return Division()
    audits, settled = [], []
    for labels in autolabels.predictions(work.store.labels, name):
        (audits if record.is_audit(labels.image) else settled).append(labels.image)
    return Division(name, frozenset(settled), in_order(audits, record))


def in_order(audits: Iterable[str], record: Record) -> tuple[str, ...]:
    """Audits by their draw: so those that people come to first are a random share too."""
    return tuple(sorted(audits, key=lambda image: (autolabels.draw(image, record.seed), image)))
