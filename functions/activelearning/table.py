"""The CSV of the label container: `totag`, `tagged`, `test` and reviewed batches share one table.

Rule: columns are found by header name. The ancestor's columns come first, in its order, ours follow; its files with and without
`folder` are read as they are. One row per box, one row with class `NULL` and zeros for an image without boxes. A field never holds
a line break, so a row is a line and any range of lines can be read by itself.
"""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from activelearning import rle
from activelearning.errors import BlobNameError, BoxError, FormatError
from activelearning.labels import BACKGROUND, HUMAN, MODEL, Box, ImageLabels, Mask, Polygons, Problem, Reading, Review, Rle
from activelearning.layout import check_blob_name, join_image, split_image

_ANCESTOR = ("filename", "class", "xmin", "xmax", "ymin", "ymax", "height", "width", "folder", "box_confidence", "image_confidence")
_OURS = ("source", "review", "content_hash", "mask")
MEASURES = (
    *("entropy", "margin", "aleatoric", "epistemic", "total", "class_epistemic", "mutual_information"),
    *("aleatoric_px", "epistemic_px", "total_px", "probability", "calibrated_px", "consistency"),
)
"""What is told of a detection beside its confidence: `entropy` of the class scores (bits, `ordering.box_entropy`); `margin` of the best
class over the next (0..1); the standard deviation of a corner coordinate, mean of the four, in pixels (`_px`) and as a share of the box's
width or height: `aleatoric` as the model predicts it, `epistemic` over Monte-Carlo samples, `total` of both, variances added;
`class_epistemic`, the standard deviation of the own class's score over the samples (0..1); `mutual_information` between classes and samples
(bits); `probability`, calibrated, that the box is right: its class, and IoU 0.5 with an object of its own; `calibrated_px`, the calibrated
`total_px`; `consistency` with what is found in the mirror image (0..2, `trainer.consistency`). Empty where it is not known."""
CHOICE = ("acquisition_score", "chosen_for")
"""Of an image in a totag: the score of its query strategy, higher comes earlier, and in words why it was chosen. Empty once reviewed."""
COLUMNS = _ANCESTOR + _OURS + MEASURES + CHOICE
_NEEDED = _ANCESTOR[:6]
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NO_CHOICE = "," * len(CHOICE)
_LONGEST_FIELD = 1 << 26  # a run-length mask of a large image is long


def read_labels(text: str | Iterable[str], where: str) -> Reading:
    """Read a whole table, the rows of an image together wherever they stand, images in order of first appearance.

    A row that makes no sense becomes a `Problem` that names it; the others are kept. Raises `FormatError` without a usable header.
    """
    lines = io.StringIO(text.removeprefix("\ufeff"), newline="") if isinstance(text, str) else iter(text)
    decode = row_decoder(split_line(next(lines, "")), where)
    images: dict[str, ImageLabels] = {}
    problems: list[Problem] = []
    # Line by line: a quote that is never closed spoils its own row, not the rest of the file.
    for number, line in enumerate(lines, 2):
        try:
            row = split_line(line)
            labels = decode(row) if row else None
        except (BoxError, BlobNameError) as error:
            problems.append(Problem(f"{where} row {number}", f"{error}; the row was left out"))
            continue
        if labels:
            known = images.get(labels.image)
            images[labels.image] = merge(known, labels) if known else labels
    return Reading(tuple(images.values()), tuple(problems))


def split_line(line: str) -> list[str]:
    """The fields of one line, none of a blank one. Raises `BoxError` for what is no CSV."""
    try:
        return next(csv.reader((line,)), [])
    except csv.Error as error:
        raise BoxError(f"it is no CSV ({error})") from None


def merge(first: ImageLabels, second: ImageLabels) -> ImageLabels:
    """Two rows, or two groups of rows, of the same image; it is reviewed only if both say so."""
    review = first.review if first.review is second.review else Review.UNOPENED
    return replace(first, boxes=first.boxes + second.boxes, review=review)


def row_decoder(header: Sequence[str], where: str) -> Callable[[Sequence[str]], ImageLabels]:
    """Return a function that makes the labels of one row (no box or one) from its fields.

    It raises `BoxError` or `BlobNameError` with a plain text on a bad row; `FormatError` is raised here when columns are missing.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    names = [name.strip() for name in header]
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise FormatError(f"{where}: this is not a label table, it has no column {' and no column '.join(missing)}")
    index = {name: position for position, name in enumerate(names)}
    measures = [name for name in MEASURES if name in index]
    # The ancestor's prediction tables have a confidence and no `source`; its truth tables have neither.
    predicted = "box_confidence" in index

    def decode(row: Sequence[str]) -> ImageLabels:
        if len(row) != len(names):
            raise BoxError(f"it has {len(row)} fields, the header {len(names)}")
        return _image(_Row(row, index), predicted, measures)

    return decode


@dataclass(frozen=True, slots=True)
class _Row:
    fields: Sequence[str]
    index: dict[str, int]

    def text(self, name: str) -> str:
        position = self.index.get(name)
        return "" if position is None else self.fields[position]

    def plain(self, name: str) -> str:
        value = self.text(name)
        if _CONTROL.search(value):
            raise BoxError(f"{name} is {value!r}, which holds a line break or another control character")
        return value

    def number(self, name: str) -> float:
        try:
            return float(self.text(name))
        except ValueError:
            raise BoxError(f"{name} is {self.text(name)!r}, not a number") from None

    def optional(self, name: str) -> float | None:
        if not self.text(name):
            return None
        value = self.number(name)
        if not math.isfinite(value):
            raise BoxError(f"{name} is not a finite number")
        return value

    def pixels(self, name: str) -> int:
        value = self.optional(name) or 0
        if not 0 <= value < 1e6 or value != int(value):
            raise BoxError(f"{name} is {self.text(name)!r}, not a number of pixels")
        return int(value)


def _image(row: _Row, predicted: bool, measures: Sequence[str]) -> ImageLabels:
    confidence = row.optional("image_confidence")
    return ImageLabels(
        check_blob_name(join_image(row.text("folder").strip("/"), row.text("filename"))),
        row.pixels("width"),
        row.pixels("height"),
        () if row.text("class") == BACKGROUND else (_box(row, predicted, measures),),
        _review(row.text("review"), predicted),
        row.plain("content_hash"),
        confidence,
        row.optional("acquisition_score"),
        row.plain("chosen_for"),
    )


def _review(text: str, predicted: bool) -> Review:
    if not text:
        return Review.UNOPENED if predicted else Review.REVIEWED
    try:
        return Review(text)
    except ValueError:
        raise BoxError(f"review is {text!r}, not one of reviewed, unopened") from None


def _box(row: _Row, predicted: bool, measures: Sequence[str]) -> Box:
    return Box(
        row.plain("class"),
        row.number("xmin"),
        row.number("ymin"),
        row.number("xmax"),
        row.number("ymax"),
        row.optional("box_confidence"),
        row.plain("source") or (MODEL if predicted else HUMAN),
        _mask(row.text("mask")),
        tuple((name, value) for name in measures if (value := row.optional(name)) is not None),
    )


def _mask(text: str) -> Mask | None:
    if not text:
        return None
    try:
        value = json.loads(text)
        if isinstance(value, dict):
            return rle.checked(Rle(str(value["counts"]), int(value["size"][0]), int(value["size"][1])))
        return Polygons(tuple(tuple(float(number) for number in ring) for ring in value))
    except FormatError as error:
        raise BoxError(str(error)) from None
    except (ValueError, OverflowError, KeyError, IndexError, TypeError, RecursionError):
        raise BoxError("mask is neither polygons nor a run-length mask") from None


def header_line() -> str:
    """The header of every table we write, with its line end."""
    return ",".join(COLUMNS) + "\n"


def write_labels(images: Iterable[ImageLabels]) -> Iterator[str]:
    """Yield the table as text: the header, then the rows of each image together, in the order given."""
    yield header_line()
    for labels in images:
        yield image_rows(labels)


def image_rows(labels: ImageLabels) -> str:
    """The rows of one image, each with its line end."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows(_fields(labels, box) for box in labels.boxes or (None,))
    return out.getvalue()


def _fields(labels: ImageLabels, box: Box | None) -> list[Any]:
    folder, filename = split_image(labels.image)
    corners = [box.xmin, box.xmax, box.ymin, box.ymax] if box else [0, 0, 0, 0]
    shape = [labels.height or "", labels.width or "", folder]
    measures = dict(box.measures) if box else {}
    return [
        filename,
        box.label if box else BACKGROUND,
        *corners,
        *shape,
        _blank_if_none(box.confidence if box else None),
        _blank_if_none(labels.image_confidence),
        box.source if box else "",
        labels.review.value,
        labels.content_hash,
        _mask_text(box.mask if box else None),
        *(_blank_if_none(measures.get(name)) for name in MEASURES),
        *_choice(labels),
    ]


def _choice(labels: ImageLabels) -> tuple[float | str, str]:
    if labels.review is Review.REVIEWED:
        return "", ""
    return _blank_if_none(labels.acquisition_score), labels.chosen_for


def with_choice(rows: str, score: float, chosen_for: str) -> str:
    """The rows of an image, as `image_rows` wrote them with that left empty, now with its score and why it was chosen."""
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerow((score, chosen_for))
    # not splitlines, which breaks at signs that a field may hold
    return "".join(f"{line.removesuffix(_NO_CHOICE)},{out.getvalue()}" for line in rows.removesuffix("\n").split("\n"))


def _blank_if_none(value: float | None) -> float | str:
    return "" if value is None else value


def _mask_text(mask: Mask | None) -> str:
    if mask is None:
        return ""
    value = {"size": [mask.height, mask.width], "counts": mask.counts} if isinstance(mask, Rle) else mask.rings
    return json.dumps(value, separators=(",", ":"))


def table_bytes(images: Iterable[ImageLabels]) -> bytes:
    """A whole table in memory, for tables of a batch's size."""
    return "".join(write_labels(images)).encode()
