"""`tagger upload`: what is reviewed in a batch's folder goes into the store as one reviewed upload.

Rule: create-once and safe to repeat. The original file goes first, the normalised table last: the table is what counts as handed in.
What was handed in before from this folder is not handed in again; a corrected image is, and its last review wins.
"""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from activelearning import cost, handouts, journal, layout, steps, table
from activelearning.errors import BlobExists, UserError
from activelearning.labels import Review
from activelearning.store import Blobs, Store
from tagger_client import batch_folder, tools
from tagger_client.batch_folder import Manifest
from tagger_client.review import BatchReview, review_of


@dataclass(frozen=True, slots=True)
class Handed:
    """What an upload did; `name` is empty when there was nothing new.

    `seconds` is the work on all that is reviewed in the folder by the cost model, `expected_seconds` as it was expected when the batch was
    claimed, None where nothing was.
    """

    name: str
    review: BatchReview
    seconds: float = 0.0
    expected_seconds: float | None = None


Note = Callable[[Store, Manifest, Handed, float], None]
"""Says in the records that something was handed in."""


def note_in_store(store: Store, manifest: Manifest, done: Handed, now: float) -> None:
    """For a tagger who may write the records; of an upload by link, its event tells."""
    steps.note_upload(store, done.name, now)
    journal.write(store.labels, manifest.tagger, "reviewed", now, batch=manifest.batch, upload=done.name, images=len(done.review.fresh))


def upload(store: Store, folder: Path, given: Path | None, all_reviewed: bool, now: float, note: Note = note_in_store) -> Handed:
    """Hand in what is reviewed in the folder and not handed in yet."""
    manifest = batch_folder.read_manifest(folder)
    review = review_of(store, folder, manifest, given, all_reviewed)
    if not review.fresh:
        if not manifest.uploaded:
            raise UserError(_nothing_reviewed(folder, manifest, review))
        return _with_seconds(store, manifest, Handed("", review))
    created = _create(store.labels, manifest, table.table_bytes(review.fresh), *_original(review.file, manifest))
    done = Handed(created, review)
    # What is stored is noted before anything else is read: that may be damaged.
    note(store, manifest, done, now)
    batch_folder.mark(folder, uploaded=(*manifest.uploaded, done.name))
    return _with_seconds(store, manifest, done)


def _with_seconds(store: Store, manifest: Manifest, done: Handed) -> Handed:
    """With the work on it, and with what was expected; a handout that cannot be read is a problem and no more."""
    review = done.review
    reviewed = [labels.image for labels in review.images if labels.review is Review.REVIEWED]
    seconds = cost.model(steps.project(store).costs).review_seconds(len(reviewed), review.totals)
    handout, damage = handouts.if_intact(store.labels, manifest.batch)
    expected = handout.expected(reviewed) if handout else None
    told = replace(review, problems=(*review.problems, *damage))
    return replace(done, review=told, seconds=seconds, expected_seconds=expected.seconds if expected else None)


def _nothing_reviewed(folder: Path, manifest: Manifest, review: BatchReview) -> str:
    first = f" (first of {len(review.problems)} problems: {review.problems[0]})" if review.problems else ""
    none = f"{review.file}: none of the {len(review.images)} images is reviewed yet{first}"
    if tools.TOOLS[manifest.tool].exports and review.file.parent == folder:
        return f"{none}: hand in the file that your tool has exported, {tools.hand_in(manifest.tool, folder)}"
    advice = "tag images as 'reviewed'" if manifest.tool == "cvat" else "open and save them"
    return f"{none}: {advice} in your tool, or say --all-reviewed if you looked at every one"


def _create(blobs: Blobs, manifest: Manifest, content: bytes, original: bytes, suffix: str) -> str:
    """Create the upload under its batch's next free version; the very same content is the upload that was cut off before it was noted.

    An original that a cut-off upload left, and that is another by now, keeps its version to itself.
    """
    last = max(map(layout.version_of_reviewed, manifest.uploaded), default=0)
    for version in count(last + 1):
        name = layout.batch_reviewed(manifest.batch, version)
        if blobs.exists(name) and blobs.read(name).content != content:
            continue
        if _holds(blobs, layout.batch_original(manifest.batch, suffix, version), original) and _holds(blobs, name, content):
            return name
    raise AssertionError("there is always a next version")


def _holds(blobs: Blobs, name: str, content: bytes) -> bool:
    """Whether the blob is this content, now that it was created if there was none."""
    try:
        blobs.create(name, content)
    except BlobExists:
        return blobs.read(name).content == content
    return True


def _original(path: Path, manifest: Manifest) -> tuple[bytes, str]:
    """The file as it is and its suffix; VoTT 2's project with its asset files as one zip."""
    if manifest.tool != "vott2":
        return path.read_bytes(), path.suffix.lower()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in sorted([path, *path.parent.glob("*-asset.json")]):
            # Without the file's time, so that the same work is the same zip.
            archive.writestr(zipfile.ZipInfo(part.name), part.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue(), ".zip"
