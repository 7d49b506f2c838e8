"""How a batch stands in its folder: read what the tool wrote, compare it with the drafts and with what was handed in before."""

from dataclasses import dataclass, replace
from pathlib import Path

from activelearning import diff, steps
from activelearning.diff import Totals
from activelearning.errors import UserError
from activelearning.labels import ImageLabels, Problem, Reading, Review
from activelearning.matching import with_blob_names, with_known_classes
from activelearning.store import Store
from tagger_client import records, tools
from tagger_client.batch_folder import Manifest


@dataclass(frozen=True, slots=True)
class BatchReview:
    """A batch as it stands: all its images, those that are new or changed since the last upload, and the diff to the drafts."""

    file: Path
    images: tuple[ImageLabels, ...]
    fresh: tuple[ImageLabels, ...]
    totals: Totals
    problems: tuple[Problem, ...]


def review_of(store: Store, folder: Path, manifest: Manifest, given: Path | None = None, all_reviewed: bool = False) -> BatchReview:
    """Read the work in a batch's folder. A file of another tool, or one without any image of the batch, raises `UserError`."""
    if not manifest.ready:
        raise UserError(f"{folder}: the download of this batch was cut off; run `tagger download` again first")
    file = tools.work_file(manifest.tool, folder, given)
    reading = tools.read(manifest, file, Review.REVIEWED if all_reviewed else Review.UNOPENED)
    named = with_known_classes(_with_blob_names(reading, manifest, file), steps.project(store).classes)
    drafts, before = records.drafts(store.labels, manifest), records.handed_in(store.labels, manifest)
    returned = {labels.image: labels for labels in named.images}
    images = tuple(
        _reviewed(drafts[local.image], returned.get(local.image), all_reviewed) or before.get(local.image) or _unopened(drafts[local.image])
        for local in manifest.usable
    )
    fresh = tuple(labels for labels in images if labels.review is Review.REVIEWED and before.get(labels.image) != labels)
    totals = diff.total(diff.tally(drafts[labels.image].boxes, labels) for labels in images)
    return BatchReview(file, images, fresh, totals, named.problems)


def _with_blob_names(reading: Reading, manifest: Manifest, path: Path) -> Reading:
    """Images by their file in the batch's folder, or, in a file that was made from the originals, by their own name."""
    by_file = {local.file: local.image for local in manifest.images}
    local = tuple(replace(labels, image=by_file.get(labels.image.rpartition("/")[2], labels.image)) for labels in reading.images)
    blobs = [image.image for image in manifest.images]
    missing = f"it is not in batch {manifest.batch}; it was left out, hand it in with its own batch"
    named = with_blob_names(replace(reading, images=local), blobs, path.name, missing)
    if reading.images and not named.images:
        raise UserError(f"{path}: none of its images belongs to batch {manifest.batch}; is it the file of another batch?")
    return named


def _reviewed(draft: ImageLabels, returned: ImageLabels | None, all_reviewed: bool) -> ImageLabels | None:
    """One image of the batch as it came back, None if nobody opened it. Boxes that differ prove a visit that the tool forgot to note."""
    if returned is None or not (all_reviewed or returned.review is Review.REVIEWED or _was_changed(draft, returned)):
        return None
    boxes = diff.provenance(draft.boxes, returned.boxes, draft.width, draft.height)
    # why the image was handed out is not kept with a review, and would make each look new
    return replace(draft, boxes=boxes, review=Review.REVIEWED, image_confidence=None, acquisition_score=None, chosen_for="")


def _was_changed(draft: ImageLabels, returned: ImageLabels) -> bool:
    changes = diff.compare(draft.boxes, returned.boxes, draft.width, draft.height)
    return bool(changes.moved or changes.relabelled or changes.added or changes.deleted)


def _unopened(draft: ImageLabels) -> ImageLabels:
    return replace(draft, boxes=(), review=Review.UNOPENED)
