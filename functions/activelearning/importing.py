"""Labels that exist already: into the labelled set as one reviewed upload, or into the test split; and out of it again."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from activelearning import commits, decisions, formats, labelled, layout, state, table
from activelearning.errors import BlobExists, BlobMissing, UserError
from activelearning.images import upright_size
from activelearning.labels import ImageLabels, Problem, Reading, Review
from activelearning.store import Blobs, Store

_HEADER_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Imported:
    """How many images and boxes were taken in, how many of the images are new there, and what had to be left out."""

    images: int
    boxes: int
    new: int
    problems: tuple[Problem, ...]


def import_labels(store: Store, path: Path, classes: Sequence[str], form: str | None, split: str) -> Imported:
    """Take in the labels of a file or folder. `split` is `train` or `test`. The same labels twice are taken in once.

    An image that the container doesn't hold, or with a box of an unknown class, is left out and named.
    """
    reading = formats.read(path, form, size_of=size_reader(store.images))
    renamed = with_blob_names(reading, [info.name for info in store.images.list() if layout.is_image(info.name)], str(path))
    known = with_known_classes(renamed, classes)
    images = labelled.union(known.images)
    if not images:
        raise UserError(f"{path}: no image of it can be taken in; the first reason: {next(map(str, known.problems), 'it holds none')}")
    new = labelled.join_test(store.labels, images) if split == "test" else _as_upload(store.labels, images)
    return Imported(len(images), sum(len(i.boxes) for i in images), new, known.problems)


def _as_upload(blobs: Blobs, images: Iterable[ImageLabels]) -> int:
    content = table.table_bytes(images)
    batch = f"import-{hashlib.sha256(content).hexdigest()[:16]}"
    try:
        blobs.create(layout.batch_reviewed(batch), content)
    except BlobExists:
        return 0
    return sum(1 for _ in images)


def size_reader(images: Blobs) -> Callable[[str], tuple[int, int]]:
    """A function that tells an image's upright width and height from the head of its blob, 0, 0 where it cannot."""

    @cache
    def size_of(image: str) -> tuple[int, int]:
        try:
            return upright_size(images.read_range(image, 0, _HEADER_BYTES), image)
        except (BlobMissing, UserError):
            return 0, 0

    return size_of


def with_blob_names(reading: Reading, blobs: Sequence[str], where: str) -> Reading:
    """Give the images of a file their blob names: the very name, or one that ends in it, or has the same bare name, if only one does.

    Files of other tools know an image by its bare name, or without its suffix.
    """
    index = _NameIndex(blobs)
    images, problems = [], list(reading.problems)
    for labels in reading.images:
        found = index.find(labels.image)
        if len(found) == 1:
            images.append(replace(labels, image=found[0]))
        else:
            problems.append(Problem(f"{where} image {labels.image!r}", _no_one_image(found)))
    return Reading(tuple(images), tuple(problems))


def _no_one_image(found: Sequence[str]) -> str:
    if not found:
        return "no image of the container has this name; upload it first, or correct the name"
    return f"{len(found)} images have this name ({', '.join(found[:3])}, …); write it with its folder"


class _NameIndex:
    """Blob names by themselves, by bare file name and by bare name without suffix."""

    def __init__(self, blobs: Sequence[str]):
        self._names = frozenset(blobs)
        self._bare: dict[str, list[str]] = {}
        for name in blobs:
            filename = layout.split_image(name)[1]
            for key in {filename, Path(filename).stem}:
                self._bare.setdefault(key, []).append(name)

    def find(self, image: str) -> Sequence[str]:
        if image in self._names:
            return [image]
        candidates = self._bare.get(image.rpartition("/")[2], [])
        ending = [name for name in candidates if f"/{name}".endswith(f"/{image}") or f"/{name}".rpartition(".")[0].endswith(f"/{image}")]
        return ending or candidates


def with_known_classes(reading: Reading, classes: Sequence[str]) -> Reading:
    """Leave out every image with a box of a class that the project doesn't have: without that box it would be a false truth."""
    images, problems = [], list(reading.problems)
    for labels in reading.images:
        unknown = sorted({box.label for box in labels.boxes} - set(classes))
        if unknown:
            what = f"class '{unknown[0]}' is not in {layout.PROJECT} ({', '.join(classes)}); correct it and hand it in again, the image was left out"
            problems.append(Problem(f"image {labels.image!r}", what))
        else:
            images.append(labels)
    return Reading(tuple(images), tuple(problems))


def current_labels(store: Store) -> tuple[ImageLabels, ...]:
    """All that people have reviewed until now, the test split included."""
    current = state.load(store.labels)
    commit = commits.latest(store.labels)
    run = commit.run if commit and commit.tagged else ""
    uploads = decisions.in_review_order(current.uploads.values())
    reviewed = labelled.gather(store.labels, run, uploads).images
    return labelled.union(labelled.read(store.labels, layout.TEST).images, reviewed)


def export_labels(store: Store, form: str, target: Path, classes: Sequence[str]) -> int:
    """Write the labelled set in a tool's format into a new or empty folder and return the number of images."""
    images = tuple(replace(labels, review=Review.REVIEWED) for labels in current_labels(store))
    if not images:
        raise UserError("nothing has been reviewed yet, so there is nothing to export")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists and is not an empty folder: choose another one")
    target.mkdir(parents=True, exist_ok=True)
    formats.write(images, target, form, classes)
    return len(images)
