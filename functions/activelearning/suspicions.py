"""What the model suspects of reviewed labels, in a CSV beside the list of images to review again.

Rule: images stand in the order of that list, each at least once, so that who has images from its head reads no more than its head. A row
that makes no sense is passed over: the labels lie in the list, this only points at them.
"""

import csv
import io
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from activelearning import ranged, setting_rules, table
from activelearning.errors import BlobMissing, BlobNameError, BoxError
from activelearning.labels import Box
from activelearning.layout import check_blob_name, join_image, split_image
from activelearning.store import Blobs

COLUMNS = ("filename", "folder", "kind", "class", "seen_as", "xmin", "xmax", "ymin", "ymax", "probability")
"""`kind` is empty, and all after it, for an image of which nothing is suspected; `seen_as` is the class that the model sees, empty for
none; the corners are fractions of the upright image."""
_FORMULA = "=+-@"
"""What a formula of a spreadsheet begins with."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One thing that is probably wrong with an image's labels.

    `kind` is one word of `trainer.label_errors.KINDS`; `box` is the label in question, or where one is missing, its class what is
    written on it; `seen_as` is the class that the model sees there, empty for none.
    """

    kind: str
    box: Box
    seen_as: str
    probability: float

    def __post_init__(self) -> None:
        if not (self.kind.isidentifier() and math.isfinite(self.probability) and 0 <= self.probability <= 1):
            raise BoxError(f"'{self.kind}' with {self.probability} is no suspicion")


def to_bytes(images: Iterable[tuple[str, Sequence[Suspicion]]]) -> bytes:
    """The whole file, images and their suspicions in the order given."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for image, found in images:
        folder, filename = split_image(image)
        writer.writerows([filename, folder, *_fields(one)] for one in found or (None,))
    return out.getvalue().encode()


def _fields(one: Suspicion | None) -> Sequence[object]:
    if one is None:
        return [""] * 8
    box = one.box
    return [one.kind, box.label, one.seen_as, box.xmin, box.xmax, box.ymin, box.ymax, one.probability]


def read(blobs: Blobs, name: str, images: Collection[str]) -> dict[str, list[Suspicion]]:
    """What is suspected of these images, read from the head until all were found; nothing where the file is gone."""
    found: dict[str, list[Suspicion]] = {image: [] for image in images}
    left = set(images)
    try:
        for image, one in _rows(blobs, name):
            # one row further, for the last image may have several
            if not left and image not in found:
                break
            left.discard(image)
            if one and image in found:
                found[image].append(one)
    except BlobMissing:
        pass
    return found


def _rows(blobs: Blobs, name: str) -> Iterator[tuple[str, Suspicion | None]]:
    for start, line in ranged.lines(blobs, name, 0, blobs.head(name).size):
        try:
            row = table.split_line(line.decode())
            if start and len(row) == len(COLUMNS):
                yield check_blob_name(join_image(row[1], row[0])), _suspicion(row[2:])
        except (ValueError, BoxError, BlobNameError):
            continue


def _suspicion(fields: Sequence[str]) -> Suspicion | None:
    kind, label, seen_as, *numbers = fields
    if not kind:
        return None
    xmin, xmax, ymin, ymax, probability = map(float, numbers)
    return Suspicion(kind, Box(_class(label), xmin, ymin, xmax, ymax), _class(seen_as) if seen_as else "", probability)


def _class(name: str) -> str:
    # it becomes a cell of what a person opens as a table: nothing else than text gets there
    if setting_rules.class_names((name,)) or (name[0] in _FORMULA and len(name) > 1):
        raise BoxError(f"{name!r} is no class name, or reads as a formula")
    return name
