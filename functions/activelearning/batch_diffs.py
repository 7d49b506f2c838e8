"""What people made of the drafts they were handed, batch by batch.

Rule: every review is held against the drafts that were handed out, never against an earlier review; of an image that was reviewed again
the last review counts. The blobs of a batch never change, so a diff is computed when it is asked for and kept nowhere.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from activelearning import diff, handouts, labelled, layout
from activelearning.diff import Diff, Pair, Totals
from activelearning.expected_cost import Expected
from activelearning.handouts import Handout
from activelearning.journal import utc
from activelearning.labels import ImageLabels, Problem
from activelearning.store import Blobs

_CONCURRENT_READS = 8

KEPT, NUDGED, RELABELLED, DELETED, ADDED = "kept", "nudged", "relabelled", "deleted", "added"


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one draft, or a box that was added: `label` is the draft's class, or the added box's, `became` the class it has now,
    empty for a deleted one; `iou` is that of draft and reviewed box where there are both."""

    what: str
    label: str
    became: str
    iou: float | None
    confidence: float | None


@dataclass(frozen=True, slots=True)
class ImageDiff:
    """One reviewed image: the drafts as they were shown, the review that counts, and the difference."""

    drafts: ImageLabels
    reviewed: ImageLabels
    diff: Diff

    def changes(self) -> Iterator[Change]:
        """Every draft and every added box."""
        found = self.diff
        for what, pairs in ((KEPT, found.kept), (NUDGED, found.moved), (RELABELLED, found.relabelled)):
            yield from (_changed(what, pair) for pair in pairs)
        yield from (Change(DELETED, box.label, "", None, box.confidence) for box in found.deleted)
        yield from (Change(ADDED, box.label, box.label, None, None) for box in found.added)

    @property
    def totals(self) -> Totals:
        """In numbers."""
        return diff.tally(self.drafts.boxes, self.reviewed)


@dataclass(frozen=True, slots=True)
class BatchDiff:
    """A batch that came back: who had it, when it came back last, in how many `versions`, and its reviewed images.

    `handout` is None for a batch of an older version; then nobody knows its tagger or model.
    """

    batch: str
    returned_at: float
    versions: int
    images: tuple[ImageDiff, ...]
    handout: Handout | None = None
    problems: tuple[Problem, ...] = field(default=())

    @property
    def tagger(self) -> str:
        """Who had it, `unknown` where that is not noted."""
        return self.handout.tagger if self.handout and self.handout.tagger else "unknown"

    @property
    def is_review(self) -> bool:
        """Whether people's labels were looked at again: then it says nothing of a model's drafts."""
        return self.handout is not None and self.handout.review

    @property
    def day(self) -> str:
        """When it came back, as `2026-11-21`."""
        return utc(self.returned_at)[:10]

    @property
    def expected(self) -> Expected | None:
        """What was expected of the reviewed images."""
        return self.handout.expected(one.drafts.image for one in self.images) if self.handout else None

    @property
    def totals(self) -> Totals:
        """All its images together."""
        return diff.total(one.totals for one in self.images)

    @property
    def drafts(self) -> int:
        """How many drafts were shown in the reviewed images."""
        return sum(len(one.drafts.boxes) for one in self.images)

    def changes(self) -> Iterator[Change]:
        """Every draft and every added box of its images."""
        return (change for image in self.images for change in image.changes())


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A batch as it is listed: its reviewed uploads in the order of their versions, and when the last of them came."""

    batch: str
    uploads: tuple[str, ...]
    returned_at: float


def listed(blobs: Blobs, prefix: str = layout.BATCHES) -> list[Reviewed]:
    """The batches that were handed out with drafts and came back, the last one last; labels that were imported are none of them.

    Names are all that is read.
    """
    uploads: dict[str, list[tuple[int, str]]] = {}
    returned: dict[str, float] = {}
    handed_out = set()
    for info in blobs.list(prefix):
        batch = layout.batch_of_reviewed(info.name)
        if batch:
            uploads.setdefault(batch, []).append((layout.version_of_reviewed(info.name), info.name))
            returned[batch] = max(info.modified, returned.get(batch, 0.0))
        elif layout.batch_of_totag(info.name):
            handed_out.add(layout.batch_of_totag(info.name))
    found = [Reviewed(batch, tuple(name for _, name in sorted(names)), returned[batch]) for batch, names in uploads.items()]
    return sorted((one for one in found if one.batch in handed_out), key=lambda one: (one.returned_at, one.batch))


def read_all(blobs: Blobs, reviewed: Sequence[Reviewed]) -> Iterator[BatchDiff]:
    """The diffs of these batches in their order, a few read at a time."""
    with ThreadPoolExecutor(_CONCURRENT_READS) as pool:
        yield from pool.map(lambda one: read(blobs, one), reviewed)


def of_drafts(found: Iterable[BatchDiff]) -> list[BatchDiff]:
    """Without the batches in which labels were looked at again."""
    return [one for one in found if not one.is_review]


def newest(blobs: Blobs, most: int) -> list[BatchDiff]:
    """The diffs of drafts among the batches that came back last, at most so many, the last one last."""
    return of_drafts(read_all(blobs, listed(blobs)[-most:]))


def read(blobs: Blobs, reviewed: Reviewed) -> BatchDiff:
    """The diff of one batch. What of it cannot be read is a problem."""
    totag = labelled.read_upload(blobs, layout.batch_totag(reviewed.batch))
    readings = [labelled.read_upload(blobs, name) for name in reviewed.uploads]
    handout, damage = handouts.if_intact(blobs, reviewed.batch)
    problems = (*(problem for one in (totag, *readings) for problem in one.problems), *damage)
    images = _images(totag.images, labelled.union(*(one.images for one in readings)))
    return BatchDiff(reviewed.batch, reviewed.returned_at, len(reviewed.uploads), tuple(images), handout, problems)


def relabelled(changes: Iterable[Change]) -> Mapping[tuple[str, str], int]:
    """How many drafts of which class became which other, the most frequent first."""
    found = Counter((one.label, one.became) for one in changes if one.what == RELABELLED)
    return dict(found.most_common())


def mean_nudge_iou(changes: Iterable[Change]) -> float | None:
    """The mean IoU of nudged drafts and what they became; None without any."""
    overlaps = [one.iou for one in changes if one.what == NUDGED and one.iou is not None]
    return sum(overlaps) / len(overlaps) if overlaps else None


def by_class(changes: Iterable[Change]) -> Mapping[str, Totals]:
    """What became of the drafts of each class, and the boxes of it that were added, in the order of the names."""
    found: dict[str, Counter[str]] = {}
    for one in changes:
        found.setdefault(one.label, Counter())[one.what] += 1
    return {label: _totals(found[label]) for label in sorted(found)}


def _totals(counts: Mapping[str, int]) -> Totals:
    return Totals(*(counts.get(what, 0) for what in (KEPT, NUDGED, RELABELLED, ADDED, DELETED)))


def _images(shown: Iterable[ImageLabels], reviewed: Iterable[ImageLabels]) -> Iterator[ImageDiff]:
    drafts = {labels.image: labels for labels in shown}
    for labels in reviewed:
        if labels.image in drafts:
            mine = drafts[labels.image]
            yield ImageDiff(mine, labels, diff.compare(mine.boxes, labels.boxes, labels.width, labels.height))


def _changed(what: str, pair: Pair) -> Change:
    return Change(what, pair.draft.label, pair.reviewed.label, pair.iou, pair.draft.confidence)
