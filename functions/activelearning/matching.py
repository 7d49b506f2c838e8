"""Which blob a label file means by the name it gives an image, and which of its classes the project knows.

Rule: labels never land on another image. A name fits a blob if the one ends in the other, folders included, so `night-2/IMG_1.jpg` is
never `night-1/IMG_1.jpg`; a bare name fits if only one blob has it. What fits none or several is left out and named.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from activelearning import layout
from activelearning.labels import ImageLabels, Problem, Reading

MISSING = "no image of the container has this name; upload it first, or correct the name"


def with_blob_names(reading: Reading, blobs: Sequence[str], where: str, missing: str = MISSING) -> Reading:
    """Give the images of a file their blob names. Files know an image by its path, by its bare name, or without its suffix."""
    index = _NameIndex(blobs)
    problems = list(reading.problems)
    named: dict[str, list[ImageLabels]] = {}
    for labels in reading.images:
        found = index.find(labels.image)
        if len(found) == 1:
            named.setdefault(found[0], []).append(replace(labels, image=found[0]))
        else:
            problems.append(Problem(f"{where} image {labels.image!r}", _several(found) if found else missing))
    problems += [Problem(f"{where} image {name!r}", _TWICE) for name, alike in named.items() if not _agree(alike)]
    return Reading(tuple(alike[0] for alike in named.values() if _agree(alike)), tuple(problems))


_TWICE = "several entries of the file mean this image and contradict each other; it was left out, write their names with their folders"


def _agree(alike: Sequence[ImageLabels]) -> bool:
    return all(labels == alike[0] for labels in alike)


def _several(found: Sequence[str]) -> str:
    return f"{len(found)} images have this name ({', '.join(found[:3])}{', …' * (len(found) > 3)}); write it with its folder"


class _NameIndex:
    """Blob names by themselves, by bare file name and by bare name without suffix."""

    def __init__(self, blobs: Sequence[str]):
        self._names = frozenset(blobs)
        self._bare: dict[str, list[str]] = {}
        for name in blobs:
            filename = layout.split_image(name)[1]
            for key in {filename, PurePosixPath(filename).stem}:
                self._bare.setdefault(key, []).append(name)

    def find(self, image: str) -> Sequence[str]:
        """The blobs that the name may mean: itself, else those that end in it, else the longest of those that it ends in."""
        if image in self._names:
            return [image]
        folder, filename = layout.split_image(image)
        fitting = self._bare.get(filename, [])
        longer = [name for name in fitting if _ends_in(layout.split_image(name)[0], folder)]
        return longer or _deepest([name for name in fitting if _ends_in(folder, layout.split_image(name)[0])])


def _ends_in(folder: str, end: str) -> bool:
    return not end or f"/{folder}".endswith(f"/{end}")


def _deepest(names: Sequence[str]) -> Sequence[str]:
    deepest = max((name.count("/") for name in names), default=0)
    return [name for name in names if name.count("/") == deepest]


def with_known_classes(reading: Reading, classes: Sequence[str]) -> Reading:
    """Leave out every image with a box of a class that the project doesn't have: without that box it would be a false truth."""
    images, problems = [], list(reading.problems)
    for labels in reading.images:
        unknown = sorted({box.label for box in labels.boxes} - set(classes))
        if unknown:
            what = f"class '{unknown[0]}' is not in {layout.PROJECT} ({', '.join(classes)})"
            what += "; the image was left out, correct it and hand it in again"
            problems.append(Problem(f"image {labels.image!r}", what))
        else:
            images.append(labels)
    return Reading(tuple(images), tuple(problems))
