"""`tagger download --review`: claim reviewed images whose labels the model doubts, and say beside them what it doubts.

Rule: the drafts are the labels as they are, every one, and what the model suspects never gets into the tool: a person decides.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from activelearning import claims, handouts, journal, layout, state, steps, suspicions
from activelearning.claims import Wanted
from activelearning.errors import UserError
from activelearning.handouts import Offer
from activelearning.labels import ImageLabels, Review
from activelearning.store import Blobs, Store
from activelearning.suspicions import Suspicion
from tagger_client import batch_folder
from tagger_client.batch_folder import LocalImage, Manifest

SUSPICIONS = "suspicions.csv"
COLUMNS = ("file", "kind", "class", "seen_as", "xmin", "ymin", "xmax", "ymax", "probability")
"""`kind`: missed, shifted, swapped or spurious; the corners in pixels of the file; `seen_as`: the class that the model sees there."""


def claim(store: Store, manifest: Manifest, wanted: Wanted, now: float) -> tuple[float, tuple[ImageLabels, ...]]:
    """Claim for a tagger who may write the state; images come in the order of doubt, with their labels."""
    if wanted.min_confidence is not None or wanted.max_confidence is not None:
        raise UserError("--min-confidence and --max-confidence choose a model's drafts, and --review hands out labels: leave them out")
    if manifest.images and manifest.batch not in state.load(store.labels).batches:
        raise UserError("its claim has run out since")
    steps.adopt(store)
    settings = steps.project(store)
    days = settings.policy.claim_days
    batch, rows = claims.claim(store.labels, manifest.batch, manifest.tagger, manifest.count, wanted, now, days, claims.REVIEW)
    # who had it and when; of labels, no model led to expect anything
    handouts.hand_out(store.labels, batch, rows, Offer(batch.totag), settings, wanted)
    if not manifest.images:
        journal.write(store.labels, manifest.tagger, "claimed", now, batch=manifest.batch, images=len(rows), review=batch.totag)
    return batch.expires_at, rows


def as_labelled(labels: ImageLabels) -> ImageLabels:
    """The labels as drafts; the image waits for somebody to open it."""
    return replace(labels, review=Review.UNOPENED)


def write_suspicions(blobs: Blobs, folder: Path, batch: str, images: Sequence[LocalImage]) -> None:
    """Write what the model suspects of a claimed batch's images, in their order, each image's most probable first."""
    claimed = state.load(blobs).batches.get(batch)
    if claimed is None:
        raise UserError(f"the claim of batch {batch} has run out: download into a new folder")
    usable = [image for image in images if not image.problem]
    found = suspicions.read(blobs, layout.suspicions(claimed.totag), [image.image for image in usable])
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows([COLUMNS, *_rows((image, found[image.image]) for image in usable)])
    batch_folder.write_file(folder / SUSPICIONS, out.getvalue().encode())


def _rows(images: Iterable[tuple[LocalImage, Sequence[Suspicion]]]) -> Iterator[Sequence[object]]:
    for local, found in images:
        for one in found:
            xmin, ymin, xmax, ymax = one.box.xyxy
            pixels = [round(xmin * local.width), round(ymin * local.height), round(xmax * local.width), round(ymax * local.height)]
            yield [local.file, one.kind, one.box.label, one.seen_as, *pixels, f"{one.probability:.2f}"]
