"""Claims: who has which images. A claim is one compare-and-swap on the state; the rows are read from the head of a table: of `totag`,
or of the list of reviewed images whose labels the model doubts.

Rule: two taggers never share an image, and a claim costs what its batch costs. Images that are with somebody are known by name; long
ranges of the table that are handed out are jumped over unread. A released or expired claim is simply gone, so its rows,
which stand nearer to the head than any unclaimed ones, are handed out first.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import gmtime, strftime

from activelearning import layout, ranged, state, table, uploads
from activelearning.errors import BlobNameError, BoxError, FormatError, UserError
from activelearning.labels import Box, ImageLabels
from activelearning.overlap import within_confidence
from activelearning.state import Batch, Claimed, State
from activelearning.store import Blobs

_MAX_CLAIM = 10_000

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which images a tagger asks for: of one folder (and below), with a box of one class, with a box in a confidence range."""

    folder: str = ""
    label: str = ""
    min_confidence: float | None = None
    max_confidence: float | None = None

    def accepts(self, labels: ImageLabels) -> bool:
        """Whether the image is one of those asked for."""
        folder = self.folder.strip("/")
        in_folder = not folder or labels.image.startswith(f"{folder}/")
        return in_folder and (not self._asks_for_boxes or any(self._box(box) for box in labels.boxes))

    @property
    def _asks_for_boxes(self) -> bool:
        return bool(self.label) or self.min_confidence is not None or self.max_confidence is not None

    def _box(self, box: Box) -> bool:
        low = 0.0 if self.min_confidence is None else self.min_confidence
        high = 1.0 if self.max_confidence is None else self.max_confidence
        return (not self.label or box.label == self.label) and bool(within_confidence([box], low, high))


POOL = "pool"
"""To claim from images that nobody reviewed."""
REVIEW = "review"
"""To claim from reviewed images whose labels the model doubts, as far as nobody has reviewed them again since."""


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one image in a totag, and the bytes they take."""

    labels: ImageLabels
    start: int
    stop: int


def new_id(now: float) -> str:
    """A batch's id: it sorts by time, and nobody else has it."""
    return f"{strftime('%Y%m%dT%H%M%S', gmtime(now))}-{secrets.token_hex(3)}"


def claim(
    blobs: Blobs, batch: str, tagger: str, count: int, wanted: Wanted, now: float, days: float, source: str = POOL
) -> tuple[Batch, tuple[ImageLabels, ...]]:
    """Claim up to `count` images under the id `batch` and return the claim with its images' rows, in the order to review them.

    `source` is `POOL` or `REVIEW`. A batch id that is claimed already is returned as it is, so a tagger that was cut off asks again.
    Raises `UserError` when there is nothing to hand out, and when the batch was given back.
    """
    if not 1 <= count <= _MAX_CLAIM:
        raise UserError(f"{count} images cannot be claimed at once: ask for 1 to {_MAX_CLAIM:,}")
    layout.check_id(batch)
    groups: list[Group] = []

    def add(before: State) -> State:
        groups.clear()
        if batch in before.batches:
            return _not_given_back(before, batch)
        name = _TABLES[source](blobs, before)
        groups[:] = _free(blobs, before, name, wanted, count)
        if not groups:
            raise UserError(_nothing_left(source, wanted))
        claimed = tuple(Claimed(g.labels.image, g.start, g.stop) for g in groups)
        return before.with_batch(Batch(batch, tagger, name, claimed, now, now + days * 86400))

    after = state.update(blobs, add).batches[batch]
    return after, tuple(g.labels for g in groups) or rows_of(blobs, after)


def _not_given_back(current: State, batch: str) -> State:
    if not current.batches[batch].expires_at:
        raise UserError(f"batch {batch} was given back or has expired: download into a new folder")
    return current


def _pool(blobs: Blobs, current: State) -> str:
    if not current.totag:
        raise UserError("there is nothing to review yet: upload images and let `activelearning up` or `trainer predict` list them first")
    return current.totag


def _review_list(blobs: Blobs, current: State) -> str:
    name = layout.review(current.run)
    if not (current.run and blobs.exists(name)):
        raise UserError(
            "there is no list of doubtful labels: each training writes one, unless policy.review is false in project.toml; train first"
        )
    return name


_TABLES: dict[str, Callable[[Blobs, State], str]] = {POOL: _pool, REVIEW: _review_list}
_NOTHING_LEFT = {
    POOL: "every image of the pool is reviewed or with a tagger: upload more images, or wait for claims to be released",
    REVIEW: "every image on the list of doubtful labels is with a tagger or was reviewed again: the next training writes a new list",
}


def _nothing_left(source: str, wanted: Wanted) -> str:
    return _NOTHING_LEFT[source] if wanted == Wanted() else "no image that is free matches these filters: ask with fewer of them"


def rows_of(blobs: Blobs, batch: Batch) -> tuple[ImageLabels, ...]:
    """Read a claim's rows again, in its order; rows in one piece are read in one piece."""
    decode = _decoder(_header(blobs, batch.totag), batch.totag)
    found = {
        g.labels.image: g.labels for start, stop in _merge(_ranges(batch.claimed)) for g in _groups(blobs, batch.totag, decode, start, stop)
    }
    return tuple(found[claimed.image] for claimed in batch.claimed)


def taken(current: State, name: str) -> list[Range]:
    """The bytes of a table that are handed out in long pieces, in order; a short one is read through faster than skipped."""
    claimed = (r for batch in current.batches.values() if batch.totag == name for r in _ranges(batch.claimed))
    return [(start, stop) for start, stop in _merge(claimed) if stop - start >= ranged.FIRST_READ]


def _ranges(claimed: Iterable[Claimed]) -> Iterator[Range]:
    return ((c.start, c.stop) for c in claimed)


def _merge(ranges: Iterable[Range]) -> list[Range]:
    merged: list[Range] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def _with_people(current: State) -> set[str]:
    """Images that somebody has, or has reviewed and no model was trained on since, wherever in a table their rows may stand."""
    claimed = {c.image for batch in current.batches.values() for c in batch.claimed}
    return claimed.union(*(upload.images for upload in current.uploads.values()))


def _free(blobs: Blobs, current: State, name: str, wanted: Wanted, count: int) -> list[Group]:
    skip = _with_people(current)
    found: list[Group] = []
    for group in walk(blobs, name, taken(current, name)):
        if group.labels.image not in skip and wanted.accepts(group.labels):
            found.append(group)
            skip.add(group.labels.image)  # a foreign totag may list an image in two places
        if len(found) == count:
            break
    return found


def walk(blobs: Blobs, totag: str, holes: Sequence[Range] = ()) -> Iterator[Group]:
    """Every group of a totag from its head, but for those in the holes, which are never read."""
    header = _header(blobs, totag)
    decode, position = _decoder(header, totag), len(header)
    for start, stop in holes:
        yield from _groups(blobs, totag, decode, position, start)
        position = stop
    yield from _groups(blobs, totag, decode, position, blobs.head(totag).size)


def _header(blobs: Blobs, totag: str) -> bytes:
    return next((line for _, line in ranged.lines(blobs, totag, 0, blobs.head(totag).size)), b"")


def _decoder(header: bytes, totag: str) -> Callable[[Sequence[str]], ImageLabels]:
    try:
        return table.row_decoder(table.split_line(header.decode("utf-8-sig")), totag)
    except UnicodeDecodeError:
        raise FormatError(f"{totag}: this is not a label table, it is no UTF-8 text") from None


def _groups(blobs: Blobs, totag: str, decode: Callable[[Sequence[str]], ImageLabels], start: int, stop: int) -> Iterator[Group]:
    """Rows of one image that stand together. A row that makes no sense ends nothing: it belongs to no group and is passed over."""
    group: Group | None = None
    for line_start, line in ranged.lines(blobs, totag, start, stop):
        try:
            labels = decode(table.split_line(line.decode()))
        except (BoxError, BlobNameError, UnicodeDecodeError):
            continue
        line_stop = line_start + len(line)
        if group and group.labels.image == labels.image:
            group = Group(table.merge(group.labels, labels), group.start, line_stop)
            continue
        if group:
            yield group
        group = Group(labels, line_start, line_stop)
    if group:
        yield group


def release(blobs: Blobs, batch: str) -> int:
    """Give a claim back and return how many images that frees. Doing it twice is harmless.

    What was reviewed of it stays reviewed, even if no event has told of the upload yet.
    """
    uploads.take_in(blobs, layout.check_id(batch))
    freed: list[int] = [0]

    def drop(before: State) -> State:
        freed[0] = _unreviewed(before, batch)
        return without_claim(before, batch)

    state.update(blobs, drop)
    return freed[0]


def _unreviewed(current: State, batch: str) -> int:
    if batch not in current.batches:
        return 0
    reviewed = _reviewed(current, batch)
    return sum(c.image not in reviewed for c in current.batches[batch].claimed)


def _reviewed(current: State, batch: str) -> frozenset[str]:
    return frozenset(image for upload in current.uploads.values() if upload.batch == batch for image in upload.images)


def without_claim(before: State, batch: str) -> State:
    """The state in which the batch keeps only what was reviewed of it and waits for training; nothing at all, and it is gone."""
    if batch not in before.batches:
        return before
    reviewed = _reviewed(before, batch)
    kept = tuple(c for c in before.batches[batch].claimed if c.image in reviewed)
    if not kept:
        return before.without_batch(batch)
    return before.with_batch(replace(before.batches[batch], claimed=kept, expires_at=0.0))
