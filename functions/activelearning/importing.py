"""Labels that exist already: into the labelled set as one reviewed upload, or into the test split; and out of it again.

Rule: only what a person has reviewed is taken in. A Pascal VOC file's images all are: labelImg writes `verified="no"` until somebody
presses "verify", and hardly anybody does. Every other format says so itself, image by image, or is a list of finished work: VoTT by
what was visited, CVAT by the tag `reviewed` where the task has one, our CSV by its column, COCO and YOLO by our own marks.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from time import gmtime, strftime

from activelearning import autolabels, commits, decisions, formats, labelled, layout, state, steps, table
from activelearning.errors import BlobExists, BlobMissing, UserError
from activelearning.images import upright_size
from activelearning.labels import MODEL, PSEUDO, ImageLabels, Problem, Reading, Review
from activelearning.matching import with_blob_names, with_known_classes
from activelearning.state import Upload
from activelearning.store import Blobs, Store

_IMPORT = "import-"
_HEADER_BYTES = 1 << 18
_CONCURRENT_READS = 8


@dataclass(frozen=True, slots=True)
class Imported:
    """How many images and boxes were taken in, how many of the images are new there, and what had to be left out."""

    images: int
    boxes: int
    new: int
    unreviewed: int
    problems: tuple[Problem, ...]


def import_labels(store: Store, path: Path, classes: Sequence[str], form: str | None, split: str, now: float) -> Imported:
    """Take in the labels of a file or folder. `split` is `train` or `test`. The same labels twice are taken in once.

    An image that the container doesn't hold, or with a box of an unknown class, is left out and named.
    """
    reading = read_truth(path, form)
    blobs = [info.name for info in store.images.list() if layout.is_image(info.name)]
    known = with_known_classes(with_blob_names(reading, blobs, str(path)), classes)
    images = labelled.union(known.images)
    if not images:
        raise UserError(f"{path}: no image of it can be taken in; {_why_none(known)}")
    measured = tuple(_measured(store.images, images))
    new = labelled.join_test(store.labels, measured) if split == "test" else _as_upload(store, measured, now)
    return Imported(len(images), sum(len(i.boxes) for i in images), new, len(known.images) - len(images), known.problems)


def _why_none(reading: Reading) -> str:
    if reading.problems:
        return f"the first reason: {reading.problems[0]}"
    return f"none of its {len(reading.images)} images was reviewed by a person" if reading.images else "it lists no image"


def read_truth(path: Path, form: str | None) -> Reading:
    """Read a file whose labels are finished work (see the rule above); `form` None: as the content says."""
    actual = form or formats.detect(path)
    reading = formats.read(path, actual)
    return replace(reading, images=tuple(map(_finished, reading.images))) if actual == "voc" else reading


def _finished(labels: ImageLabels) -> ImageLabels:
    # A machine's box shows that this is one of our own drafts.
    drafts = any(box.source == MODEL or box.source.startswith(PSEUDO) for box in labels.boxes)
    return labels if drafts else replace(labels, review=Review.REVIEWED)


def _measured(images: Blobs, labelled_images: Sequence[ImageLabels]) -> Iterator[ImageLabels]:
    """The labels with the images' sizes, read from the images where the file didn't say (YOLO never does)."""
    size_of = size_reader(images)

    def measure(labels: ImageLabels) -> ImageLabels:
        if labels.width and labels.height:
            return labels
        width, height = size_of(labels.image)
        return replace(labels, width=width, height=height)

    with ThreadPoolExecutor(_CONCURRENT_READS) as pool:
        yield from pool.map(measure, labelled_images)


def size_reader(images: Blobs) -> Callable[[str], tuple[int, int]]:
    """A function that tells an image's upright width and height from the head of its blob, 0, 0 where it cannot."""

    @cache
    def size_of(image: str) -> tuple[int, int]:
        try:
            return upright_size(images.read_range(image, 0, _HEADER_BYTES), image)
        except (BlobMissing, UserError):
            return 0, 0

    return size_of


def _as_upload(store: Store, images: Iterable[ImageLabels], now: float) -> int:
    """Hand in what the last import of an image didn't say already: older labels again must not undo what people corrected since."""
    before = {labels.image: labels for labels in _imported(store.labels)}
    fresh = [labels for labels in images if before.get(labels.image) != labels]
    if not fresh:
        return 0
    content = table.table_bytes(fresh)
    digest = hashlib.sha256(content).hexdigest()[:8]
    name = layout.batch_reviewed(f"{_IMPORT}{strftime('%Y%m%dT%H%M%S', gmtime(now))}-{digest}")
    try:
        store.labels.create(name, content)
    except BlobExists:
        return 0
    steps.note_upload(store, name, now)
    return len(fresh)


def _imported(blobs: Blobs) -> tuple[ImageLabels, ...]:
    prefix = layout.batch_reviewed(_IMPORT).removesuffix("/reviewed.csv")
    return labelled.union(*(labelled.read(blobs, info.name).images for info in blobs.list(prefix)))


def current_labels(store: Store) -> tuple[ImageLabels, ...]:
    """All that people have reviewed until now, the test split included, and uploads of which no event has told yet."""
    current = state.load(store.labels)
    commit = commits.latest(store.labels)
    run = commit.run if commit and commit.tagged else ""
    uploads = decisions.in_review_order([*current.uploads.values(), *_untold(store)])
    reviewed = labelled.gather(store.labels, run, uploads).images
    return labelled.union(labelled.read(store.labels, layout.TEST).images, reviewed)


def _untold(store: Store) -> Iterator[Upload]:
    for name in steps.lost_uploads(store):
        yield Upload(name, layout.batch_of_reviewed(name) or "", (), store.labels.head(name).modified)


def export_labels(store: Store, form: str, target: Path, classes: Sequence[str], *, with_accepted: bool = False) -> int:
    """Write the labelled set in a tool's format into a new or empty folder and return the number of images.

    `with_accepted`: also the images that the machine accepted and nobody has reviewed, marked as not reviewed where a format can.
    """
    people = current_labels(store)
    machine = _accepted(store, {labels.image for labels in people}, classes) if with_accepted else ()
    images = (*(replace(labels, review=Review.REVIEWED) for labels in people), *machine)
    if not images:
        raise UserError(f"nothing has been reviewed{' or accepted' if with_accepted else ''} yet, so there is nothing to export")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists and is not an empty folder: choose another one")
    target.mkdir(parents=True, exist_ok=True)
    formats.write(images, target, form, classes)
    return len(images)


def _accepted(store: Store, left_out: Collection[str], classes: Sequence[str]) -> Iterator[ImageLabels]:
    """The current commit's accepted images; none where the classes are others now, since who made them did not look for these."""
    commit = commits.latest(store.labels)
    record = autolabels.read(store.labels, commit.autolabelled) if commit and commit.autolabelled else None
    if commit and record and record.classes == tuple(classes):
        yield from (one for one in autolabels.labels(store.labels, commit.autolabelled) if one.image not in left_out)
