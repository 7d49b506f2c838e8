"""A labelled dataset in memory: what the detector sees, what is true, and which images are held out for the test.

Rule: the same files and the same options give the same images in the same order, and a fingerprint that says so.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from activelearning import layout
from activelearning.importing import read_truth
from activelearning.labels import ImageLabels
from activelearning.matching import with_blob_names
from trainer import letterbox
from trainer.ground_truth import GroundTruth, ground_truth
from trainer.letterbox import DetectorImage

_TEST_SHARE = 5


@dataclass(frozen=True, slots=True)
class Source:
    """Where a dataset lies; `test` names its test images, with or without suffix (empty: a fifth, by a hash of the names)."""

    images: Path
    labels: Path
    form: str | None = None
    test: tuple[str, ...] = ()
    long_side: int = 320


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """`names` sorted, below `folder`; `images`, `labels` and `truth` parallel to them; `pool` and `test` are places in them, in order."""

    folder: Path
    classes: tuple[str, ...]
    names: tuple[str, ...]
    images: tuple[DetectorImage, ...]
    labels: tuple[ImageLabels, ...]
    truth: tuple[GroundTruth, ...]
    pool: tuple[int, ...]
    test: tuple[int, ...]
    input_size: tuple[int, int]
    fingerprint: str


def load(source: Source) -> Dataset:
    """Read a dataset. Images without any label in the files are images without objects. Raises `SystemExit` without images or test."""
    names = tuple(sorted(p.relative_to(source.images).as_posix() for p in source.images.rglob("*") if layout.is_image(p.name)))
    if not names:
        raise SystemExit(f"there is no image in {source.images}")
    known = {one.image: one for one in with_blob_names(read_truth(source.labels, source.form), list(names), str(source.labels)).images}
    sizes = [(one.width, one.height) for one in known.values() if one.width and one.height]
    size = letterbox.input_size(source.long_side, sizes or [letterbox.read_image(source.images / names[0], (320, 320)).size])
    with ThreadPoolExecutor(2) as readers:
        images = tuple(readers.map(lambda name: letterbox.read_image(source.images / name, size), names))
    labels = tuple(_sized(known.get(name, ImageLabels(name)), image.size) for name, image in zip(names, images, strict=True))
    classes = tuple(sorted({box.label for one in labels for box in one.boxes}))
    truth = tuple(ground_truth(one, classes, image.size) for one, image in zip(labels, images, strict=True))
    test = _test(names, source.test)
    if not test or len(test) == len(names):
        raise SystemExit("no image, or every image, is in the test split: check the names in the file of --test")
    pool = tuple(index for index in range(len(names)) if index not in set(test))
    return Dataset(source.images, classes, names, images, labels, truth, pool, test, size, _fingerprint(names, images, labels, test))


def _sized(labels: ImageLabels, size: tuple[int, int]) -> ImageLabels:
    return ImageLabels(labels.image, *size, labels.boxes)


def _test(names: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[int, ...]:
    if wanted:
        return tuple(i for i, name in enumerate(names) if name in wanted or name.rpartition(".")[0] in wanted)
    ranked = sorted(range(len(names)), key=lambda i: hashlib.sha256(names[i].encode()).hexdigest())
    return tuple(sorted(ranked[: max(len(names) // _TEST_SHARE, 1)]))


def _fingerprint(names: tuple[str, ...], images: tuple[DetectorImage, ...], labels: tuple[ImageLabels, ...], test: tuple[int, ...]) -> str:
    digest = hashlib.sha256(repr((names, test)).encode())
    for image, one in zip(images, labels, strict=True):
        digest.update(image.pixels.tobytes())
        digest.update(repr((image.size, [(box.label, box.xyxy) for box in one.boxes])).encode())
    return digest.hexdigest()[:12]
