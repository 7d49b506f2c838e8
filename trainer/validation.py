"""The validation table: every detection beside the object that it answers for, and every object that nothing answered for.

Rule: a table is flat, and each column has a unit and one sentence that says what it means. It is the same for what nobody has reviewed:
what cannot be known there is missing, and so is what a model does not tell. `validation_files` keeps tables.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer import detections, uncertainties
from trainer.detections import Detections
from trainer.ground_truth import GroundTruth
from trainer.judged import Judged, missed_objects

VERSION = 1
"""Of the schema; it grows when a column of `COLUMNS` changes its meaning or goes."""
KINDS = ("matched", "false", "missed", "detected")
"""What a row is: a detection with an object for itself, one without, an object without detection; one whose truth nobody knows."""
STRING, NUMBER = "string", "number"
REQUIRED = ("image_name", "kind")
"""The columns that no row leaves empty."""
CORNERS = ("xmin", "ymin", "xmax", "ymax")

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Column:
    """`type` is `string` or `number`, `unit` empty where there is none, `meaning` one sentence."""

    name: str
    type: str
    unit: str
    meaning: str

    def __post_init__(self) -> None:
        if not self.name or self.type not in (STRING, NUMBER):
            raise ValueError(f"column '{self.name}' must have a name and be a {STRING} or a {NUMBER}, not '{self.type}'")


def _per_corner(name: str, unit: str, meaning: str) -> tuple[Column, ...]:
    return tuple(Column(f"{name}{corner}", NUMBER, unit, f"{meaning} {corner}") for corner in CORNERS)


COLUMNS = (
    Column("image_name", STRING, "", "the image; always given"),
    Column("kind", STRING, "", f"one of {', '.join(KINDS)}; always given"),
    Column("class", STRING, "", "the predicted class"),
    Column("confidence", NUMBER, "0..1", "the score of the predicted class"),
    *_per_corner("", "px", "the detection's"),
    Column("truth_class", STRING, "", "class of the true object; of a false detection that of the object that it overlaps most"),
    *_per_corner("truth_", "px", "the true object's"),
    Column("iou", NUMBER, "0..1", "intersection over union of the two boxes"),
    Column("entropy", NUMBER, "bits", "sum over the classes of the binary entropy of the class score"),
    Column("margin", NUMBER, "0..1", "1 less the distance of the best two of the class scores and the background's"),
    Column("mutual_information", NUMBER, "bits", "what the Monte-Carlo samples tell about the classes"),
    Column("class_epistemic", NUMBER, "0..1", "standard deviation over the samples of the predicted class's score"),
    Column("aleatoric", NUMBER, "sides", "mean over the corners of the predicted standard deviation by the box's width or height"),
    Column("epistemic", NUMBER, "sides", "mean over the corners of that over the samples by the box's width or height"),
    Column("total", NUMBER, "sides", "mean over the corners of both together, variances added"),
    *_per_corner("aleatoric_", "px", "standard deviation that the model predicts for"),
    *_per_corner("epistemic_", "px", "standard deviation over the Monte-Carlo samples of"),
)
"""What every table has first, in this order. Then come the scores of each class, their standard deviations, and the `Extra` ones."""


@dataclass(frozen=True, slots=True, eq=False)
class Extra:
    """What somebody else knows about N detections, such as a calibration: `values` (N,), or (N, 4) a corner, or (N, C) a class.

    `per_class` says which of the two, as there may be four classes. Its columns are `name`, `name_xmin` … or `name_0` …; NaN is missing.
    """

    name: str
    values: np.ndarray
    unit: str
    meaning: str
    per_class: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """`values` holds each column's (R,): float32, NaN where there is none, or objects, str or None where there is none.

    Raises `ValueError` unless the columns are those of `values`, parallel, each name there once, the numbers finite, no text empty, and
    each row has an image name and one of `KINDS`.
    """

    columns: tuple[Column, ...]
    values: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice or names != list(self.values) or names[: len(COLUMNS)] != [column.name for column in COLUMNS]:
            raise ValueError(f"column '{twice[0]}' is there twice" if twice else "the columns must be those of COLUMNS, then others")
        for column in self.columns:
            _check(column, self.values[column.name], len(self))

    def __len__(self) -> int:
        return len(self.values["image_name"])

    def __getitem__(self, name: str) -> np.ndarray:
        """A column's values (R,)."""
        return self.values[name]

    def rows(self) -> Iterator[tuple[str | float | None, ...]]:
        """Row by row in the order of the columns, None for what is missing."""
        lists = ([None if value != value else value for value in self[column.name].tolist()] for column in self.columns)
        return zip(*lists, strict=True)


def validation_table(
    judged: Judged, image_names: Sequence[str], ground_truth: Sequence[GroundTruth], classes: Sequence[str], extras: Sequence[Extra] = ()
) -> Table:
    """One row a detection and one a missed object, image by image; within an image the detections in their order, then what was missed.

    `ground_truth` is what the M images were judged by. Raises `ValueError` when it is not.
    """
    image, label, xyxy = missed_objects(judged, ground_truth)
    kind = np.where(judged.matched, "matched", "false").astype(object)
    truth_class = np.append(judged.truth_class, label)
    truth = _texts("truth_class", classes, truth_class) | _corners("truth_", np.concatenate([judged.truth_xyxy, xyxy]))
    found = _found(judged.detections, classes, extras) | {"kind": kind, "iou": judged.iou}
    rows = {name: _padded(column, len(image), "missed" if name == "kind" else None) for name, column in found.items()}
    return _ordered(rows | truth, np.append(judged.image, image), image_names, _all_columns(classes, extras))


def inference_table(found: Sequence[Detections], image_names: Sequence[str], classes: Sequence[str], extras: Sequence[Extra] = ()) -> Table:
    """The same columns where nobody knows the truth: one row a detection, image by image, in their order."""
    image = np.repeat(np.arange(len(found)), np.array([len(one) for one in found], np.int64))
    # an image without detections need not say how unsure the model is
    together = detections.concatenate([one for one in found if len(one)], len(classes))
    kind = np.full(len(together), "detected", object)
    return _ordered(_found(together, classes, extras) | {"kind": kind}, image, image_names, _all_columns(classes, extras))


def _check(column: Column, values: np.ndarray, count: int) -> None:
    wanted = np.dtype(object if column.type == STRING else np.float32)
    if values.shape != (count,) or values.dtype != wanted:
        raise ValueError(f"{column.name} must be {wanted} of shape ({count},), not {values.dtype} of shape {values.shape}")
    if column.type == NUMBER and np.isinf(values).any():
        raise ValueError(f"{column.name} must be finite, or NaN where there is none")
    if column.type == STRING:
        _check_texts(column.name, values.tolist())


def _check_texts(name: str, texts: Sequence[Any]) -> None:
    present = {text for text in texts if text is not None}
    if not all(isinstance(text, str) and text and not _SURROGATE.search(text) for text in present):
        raise ValueError(f"{name} must be Unicode text, not empty, or None where there is none")
    if name in REQUIRED and None in texts:
        raise ValueError(f"{name} must be given in every row")
    if name == "kind" and not present <= set(KINDS):
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {min(present - set(KINDS))!r}")


def _all_columns(classes: Sequence[str], extras: Sequence[Extra]) -> tuple[Column, ...]:
    scores = [Column(f"class_score_{index}", NUMBER, "0..1", f"score of class '{name}'") for index, name in enumerate(classes)]
    spreads = [
        Column(f"class_epistemic_{index}", NUMBER, "0..1", f"standard deviation over the samples of the score of class '{name}'")
        for index, name in enumerate(classes)
    ]
    return *COLUMNS, *scores, *spreads, *(column for extra in extras for column in _extra_columns(extra, classes))


def _extra_columns(extra: Extra, classes: Sequence[str]) -> tuple[Column, ...]:
    if extra.values.ndim == 1:
        return (Column(extra.name, NUMBER, extra.unit, extra.meaning),)
    if not extra.per_class:
        return _per_corner(f"{extra.name}_", extra.unit, extra.meaning)
    return tuple(
        Column(f"{extra.name}_{index}", NUMBER, extra.unit, f"{extra.meaning} of class '{name}'") for index, name in enumerate(classes)
    )


def _found(found: Detections, classes: Sequence[str], extras: Sequence[Extra]) -> dict[str, np.ndarray]:
    """The columns of the detections (N,) by name; those of the spread only where there is one."""
    measured = uncertainties.of(found)
    values = {column.name: measured[column.name] for column in COLUMNS if column.name in measured}
    values |= {"confidence": found.confidence} | _texts("class", classes, found.class_id) | _corners("", found.xyxy)
    values |= _numbered("class_score", found.class_scores)
    if found.spread:
        values |= _corners("aleatoric_", found.spread.aleatoric) | _corners("epistemic_", found.spread.epistemic)
        values |= _numbered("class_epistemic", found.spread.class_epistemic)
    for extra in extras:
        values |= _extra_values(extra, (len(found), len(classes)))
    return values


def _extra_values(extra: Extra, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    wanted = (shape[0],) if extra.values.ndim == 1 else (shape[0], shape[1] if extra.per_class else len(CORNERS))
    if extra.values.shape != wanted:
        raise ValueError(f"'{extra.name}' must be of shape {wanted}, not {extra.values.shape}")
    if extra.values.ndim == 1:
        return {extra.name: extra.values}
    return _numbered(extra.name, extra.values) if extra.per_class else _corners(f"{extra.name}_", extra.values)


def _texts(name: str, classes: Sequence[str], label: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.array([None if one < 0 else classes[one] for one in label], object)}


def _corners(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{name}{corner}": column for corner, column in zip(CORNERS, values.T, strict=True)}


def _numbered(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{name}_{index}": column for index, column in enumerate(values.T)}


def _padded(values: np.ndarray, count: int, text: str | None) -> np.ndarray:
    return np.concatenate([values, np.full(count, text, object) if values.dtype == object else np.full(count, np.nan)])


def _ordered(values: Mapping[str, np.ndarray], image: np.ndarray, image_names: Sequence[str], columns: Sequence[Column]) -> Table:
    order = np.argsort(image, kind="stable")
    names = np.array([image_names[index] for index in image], object)
    full = {column.name: _filled(column, {**values, "image_name": names}.get(column.name), len(image)) for column in columns}
    return Table(tuple(columns), {name: column[order] for name, column in full.items()})


def _filled(column: Column, values: np.ndarray | None, count: int) -> np.ndarray:
    if column.type == STRING:
        return np.full(count, None, object) if values is None else values
    # what is too large for float32 becomes infinite, which the table refuses
    with np.errstate(over="ignore"):
        return np.full(count, np.nan, np.float32) if values is None else values.astype(np.float32)
