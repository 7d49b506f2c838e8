"""The labelled set: every reviewed image once, its last review winning; and the test split, which no image ever leaves."""

import json
from collections.abc import Iterable
from contextlib import suppress

from activelearning import commits, layout, table
from activelearning.errors import BlobChanged, BlobExists, BlobMissing, FormatError, UserError
from activelearning.labels import ImageLabels, Problem, Reading, Review
from activelearning.store import Blobs


def union(*readings: Iterable[ImageLabels]) -> tuple[ImageLabels, ...]:
    """Reviewed images of all readings in order of first appearance, each with its last labels."""
    found: dict[str, ImageLabels] = {}
    for images in readings:
        found.update((labels.image, labels) for labels in images if labels.review is Review.REVIEWED)
    return tuple(found.values())


def read(blobs: Blobs, name: str) -> Reading:
    """A label table of the store; nothing where there is no such blob yet."""
    try:
        text = blobs.read(name).content.decode("utf-8-sig")
    except BlobMissing:
        return Reading()
    return table.read_labels(text, name)


def gather(blobs: Blobs, parent: str, uploads: Iterable[str]) -> Reading:
    """The labelled set of a run: its parent's (run name, or empty) and new reviewed uploads on top, in review order.

    An upload that is gone or unreadable is a problem, not the end of the others. Raises `UserError` for a parent's set that is:
    a run must not shrink what people have done.
    """
    readings = [_whole(blobs, layout.tagged(parent))] if parent else []
    readings += [read_upload(blobs, name) for name in uploads]
    problems: tuple[Problem, ...] = sum((r.problems for r in readings), ())
    return Reading(union(*(r.images for r in readings)), problems)


def read_upload(blobs: Blobs, name: str) -> Reading:
    """A reviewed upload; where it is gone or no label table, a reading without images whose problem says so."""
    try:
        return table.read_labels(blobs.read(name).content.decode("utf-8-sig"), name)
    except BlobMissing:
        return Reading(problems=(Problem(name, "this upload is gone from the store; hand it in again"),))
    except (FormatError, UnicodeDecodeError) as error:
        return Reading(problems=(Problem(name, f"this upload cannot be read ({error}); hand it in again"),))


def _whole(blobs: Blobs, name: str) -> Reading:
    if not blobs.exists(name):
        raise UserError(f"{name} is gone from the store, and with it what was labelled until then: put a copy back")
    return _flawless(read(blobs, name))


def _flawless(reading: Reading) -> Reading:
    if reading.problems:
        raise UserError(f"{reading.problems[0]}; mend that row, or put a copy of the table in its place")
    return reading


def write(blobs: Blobs, run: str, images: Iterable[ImageLabels], uploads: Iterable[str]) -> None:
    """Write the list of uploads in a run's labelled set, then the set; what a killed predecessor wrote is the same and stays.

    Raises `UserError` where the run belongs to other uploads, which can only be when `state.json` was lost.
    """
    names = sorted(uploads)
    _create_once(blobs, layout.uploads(run), json.dumps(names, indent=0).encode())
    if commits.consumed(blobs, run) != set(names):
        raise UserError(f"run {run} was begun before with other uploads than this job's; the next upload begins another run")
    _create_once(blobs, layout.tagged(run), table.table_bytes(images))


def _create_once(blobs: Blobs, name: str, content: bytes) -> None:
    with suppress(BlobExists):
        blobs.create(name, content)


def join_test(blobs: Blobs, images: Iterable[ImageLabels]) -> int:
    """Put reviewed images into the test split, newer labels replacing older ones, and return how many images are new in it.

    Raises `UserError` for a test split with a row that cannot be read: writing it back would lose that image.
    """
    joining = {labels.image: labels for labels in union(images)}
    while True:
        etag, present = _test(blobs)
        merged = tuple(({labels.image: labels for labels in present} | joining).values())
        if merged == present:
            return 0
        try:
            blobs.replace(layout.TEST, table.table_bytes(merged), etag)
        except BlobChanged:
            continue
        return len(merged) - len(present)


def _test(blobs: Blobs) -> tuple[str | None, tuple[ImageLabels, ...]]:
    try:
        blob = blobs.read(layout.TEST)
    except BlobMissing:
        return None, ()
    return blob.etag, _flawless(table.read_labels(blob.content.decode("utf-8-sig"), layout.TEST)).images
