"""The labelled set: every reviewed image once, its last review winning; and the test split, which no image ever leaves."""

import json
from collections.abc import Iterable

from activelearning import layout, table
from activelearning.errors import BlobChanged, BlobMissing
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
    """The labelled set of a run: its parent's (run name, or empty) and new reviewed uploads on top, in review order."""
    readings = [read(blobs, layout.tagged(parent))] if parent else []
    readings += [read(blobs, name) for name in uploads]
    problems: tuple[Problem, ...] = sum((r.problems for r in readings), ())
    return Reading(union(*(r.images for r in readings)), problems)


def write(blobs: Blobs, run: str, images: Iterable[ImageLabels], uploads: Iterable[str]) -> None:
    """Write a run's labelled set and the list of uploads in it; what a killed predecessor wrote is the same and stays."""
    _create_once(blobs, layout.tagged(run), table.table_bytes(images))
    _create_once(blobs, layout.uploads(run), json.dumps(sorted(uploads), indent=0).encode())


def _create_once(blobs: Blobs, name: str, content: bytes) -> None:
    if not blobs.exists(name):
        blobs.create(name, content)


def join_test(blobs: Blobs, images: Iterable[ImageLabels]) -> int:
    """Put reviewed images into the test split, newer labels replacing older ones, and return how many images are new in it."""
    joining = union(images)
    while True:
        etag, present = _test(blobs)
        merged = union(present, joining)
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
    return blob.etag, table.read_labels(blob.content.decode("utf-8-sig"), layout.TEST).images
