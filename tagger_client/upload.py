"""`tagger upload`: read what the tool wrote, say what changed, put it into the store as one reviewed upload.

Rule: create-once and safe to repeat. The original file goes first, the normalised table last: the table is what counts as handed in.
What was handed in before from this folder is not handed in again; a corrected image is, and its last review wins.
"""

import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from activelearning import diff, importing, journal, labelled, layout, steps, table
from activelearning.diff import Totals
from activelearning.errors import BlobExists, UserError
from activelearning.labels import ImageLabels, Problem, Reading, Review
from activelearning.store import Blobs, Store
from tagger_client import batch_folder, tools
from tagger_client.batch_folder import DRAFTS, Manifest

UPLOADED = "uploaded.csv"


@dataclass(frozen=True, slots=True)
class BatchReview:
    """A batch as it stands in its folder: all its images, those that are new or changed since the last upload, and the diff to the drafts."""

    images: tuple[ImageLabels, ...]
    fresh: tuple[ImageLabels, ...]
    totals: Totals
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Handed:
    """What an upload did; `name` is empty when there was nothing new."""

    name: str
    review: BatchReview


def review_of(folder: Path, manifest: Manifest, classes: tuple[str, ...], given: Path | None, all_reviewed: bool) -> BatchReview:
    """Read the work in a batch's folder. A file of another tool, or one without any image of the batch, raises `UserError`."""
    if not manifest.ready:
        raise UserError(f"{folder}: the download of this batch was cut off; run `tagger download` again first")
    path = tools.work_file(manifest.tool, folder, given)
    reading = tools.TOOLS[manifest.tool].read(path, Review.REVIEWED if all_reviewed else Review.UNOPENED)
    named = importing.with_known_classes(_with_blob_names(reading, manifest, path), classes)
    drafts = {labels.image: labels for labels in _table(folder / DRAFTS)}
    returned = {labels.image: labels for labels in named.images}
    images = tuple(_reviewed(drafts[local.image], returned.get(local.image), all_reviewed) for local in manifest.usable)
    before = {labels.image: labels for labels in _table(folder / UPLOADED)}
    fresh = tuple(labels for labels in images if labels.review is Review.REVIEWED and before.get(labels.image) != labels)
    totals = diff.total(diff.tally(drafts[labels.image].boxes, labels) for labels in images)
    return BatchReview(images, fresh, totals, named.problems)


def _with_blob_names(reading: Reading, manifest: Manifest, path: Path) -> Reading:
    """Images by their file in the batch's folder, or, in a file that was made from the originals, by their own name."""
    by_file = {local.file: local.image for local in manifest.images}
    local = tuple(replace(labels, image=by_file.get(labels.image.rpartition("/")[2], labels.image)) for labels in reading.images)
    named = importing.with_blob_names(replace(reading, images=local), [image.image for image in manifest.images], path.name)
    if reading.images and not named.images:
        raise UserError(f"{path}: none of its images belongs to batch {manifest.batch}; is it the file of another batch?")
    return named


def _table(path: Path) -> tuple[ImageLabels, ...]:
    return table.read_labels(path.read_text("utf-8"), path.name).images if path.exists() else ()


def _reviewed(draft: ImageLabels, returned: ImageLabels | None, all_reviewed: bool) -> ImageLabels:
    """One image of the batch as it came back. Boxes that differ from the drafts prove a visit that the tool forgot to note."""
    if returned is None:
        return replace(draft, boxes=(), review=Review.UNOPENED)
    changes = diff.tally(draft.boxes, replace(returned, review=Review.REVIEWED, width=draft.width, height=draft.height))
    seen = all_reviewed or returned.review is Review.REVIEWED or bool(changes.moved + changes.relabelled + changes.added + changes.deleted)
    if not seen:
        return replace(draft, boxes=(), review=Review.UNOPENED)
    boxes = diff.provenance(draft.boxes, returned.boxes, draft.width, draft.height)
    return replace(draft, boxes=boxes, review=Review.REVIEWED, image_confidence=None)


def upload(store: Store, folder: Path, given: Path | None, all_reviewed: bool, now: float) -> Handed:
    """Hand in what is reviewed in the folder and not handed in yet."""
    manifest = batch_folder.read_manifest(folder)
    review = review_of(folder, manifest, steps.project(store).classes, given, all_reviewed)
    if not review.fresh:
        if not manifest.uploaded:
            raise UserError(_nothing_reviewed(folder, manifest, review))
        return Handed("", review)
    original, suffix = _original(tools.work_file(manifest.tool, folder, given), manifest)
    name = _create(store.labels, manifest, table.table_bytes(review.fresh), original, suffix)
    _remember(folder, manifest, name, review.fresh)
    journal.write(store.labels, manifest.tagger, "reviewed", now, batch=manifest.batch, upload=name, images=len(review.fresh))
    return Handed(name, review)


def _nothing_reviewed(folder: Path, manifest: Manifest, review: BatchReview) -> str:
    first = f" (first of {len(review.problems)} problems: {review.problems[0]})" if review.problems else ""
    advice = "tag images as 'reviewed'" if manifest.tool == "cvat" else "open and save them"
    return f"{folder}: none of the {len(review.images)} images is reviewed yet{first}: {advice} in your tool, or say --all-reviewed if you looked at every one"


def _create(blobs: Blobs, manifest: Manifest, content: bytes, original: bytes, suffix: str) -> str:
    """Create the upload under its batch's next free version; the very same content is the upload that was cut off before it was noted."""
    version = len(manifest.uploaded) + 1
    while True:
        _create_original(blobs, layout.batch_original(manifest.batch, suffix, version), original)
        name = layout.batch_reviewed(manifest.batch, version)
        try:
            blobs.create(name, content)
        except BlobExists:
            if blobs.read(name).content != content:
                version += 1
                continue
        return name


def _create_original(blobs: Blobs, name: str, content: bytes) -> None:
    try:
        blobs.create(name, content)
    except BlobExists:
        return


def _original(path: Path, manifest: Manifest) -> tuple[bytes, str]:
    """The file as it is; VoTT 2's project with its asset files as one zip."""
    if manifest.tool != "vott2":
        return path.read_bytes(), path.suffix.lower()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in sorted([path, *path.parent.glob("*-asset.json")]):
            archive.write(part, part.name)
    return packed.getvalue(), ".zip"


def _remember(folder: Path, manifest: Manifest, name: str, fresh: Iterable[ImageLabels]) -> None:
    handed_in = labelled.union(_table(folder / UPLOADED), fresh)
    batch_folder.write_file(folder / UPLOADED, table.table_bytes(handed_in))
    names = dict.fromkeys((*manifest.uploaded, name))
    batch_folder.mark(folder, uploaded=tuple(names))


def open_images(review: BatchReview) -> int:
    """How many images of the batch nobody has opened yet."""
    return sum(labels.review is Review.UNOPENED for labels in review.images)
