"""The validation table: every detection beside the object that it answers for, and every object that nothing answered for.

Rule: a table is flat, each column has a unit, and a value that there is none of is empty in CSV and null in Parquet, never text such as
"nan". The schema travels with the table: as a JSON Table Schema (Frictionless Data) beside the CSV, and inside the Parquet file. Numbers
are float32, as the detections are, and come back as they were.
"""

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from activelearning.errors import FormatError, UserError
from trainer import detections, uncertainties
from trainer.detections import Detections
from trainer.ground_truth import GroundTruth
from trainer.judged import Judged

VERSION = 1
"""Of the schema; it grows when a column of `COLUMNS` changes its meaning or goes."""
KINDS = ("matched", "false", "missed", "detected")
"""What a row is: a detection with an object for itself, one without, an object without detection; one whose truth nobody knows."""
STRING, NUMBER = "string", "number"
CORNERS = ("xmin", "ymin", "xmax", "ymax")

_METADATA = b"table_schema"
_CONSTRAINTS: Mapping[str, dict[str, Any]] = {
    "image_name": {"constraints": {"required": True}},
    "kind": {"constraints": {"required": True, "enum": list(KINDS)}},
}
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


@dataclass(frozen=True, slots=True)
class Summary:
    """How well objects were found: their number; shares of them, 0..1, `found` by a box of their own, `misclassified`, where only a box
    of another class overlaps enough, and `missed`, where none does, which add up to 1; and the share of detections that are `false`.

    `mean_iou` and `rmse`, the root mean square of predicted minus true corner, in pixels, by corner, are of what was found. None where
    there is nothing to take a figure of.
    """

    objects: int
    found: float | None
    misclassified: float | None
    missed: float | None
    false: float | None
    mean_iou: float | None
    rmse: tuple[float, float, float, float] | None


@dataclass(frozen=True, slots=True)
class Runtime:
    """Milliseconds an image, of so many images; `left_out` counts others that took so long that something else must have been on."""

    images: int
    left_out: int
    mean_ms: float
    std_ms: float
    median_ms: float


def validation_table(
    judged: Judged, image_names: Sequence[str], ground_truth: Sequence[GroundTruth], classes: Sequence[str], extras: Sequence[Extra] = ()
) -> Table:
    """One row a detection and one a missed object, image by image; within an image the detections in their order, then what was missed.

    `ground_truth` is what the M images were judged by. Raises `ValueError` when it is not.
    """
    image, label, xyxy = _missed(judged, ground_truth)
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


def summary(judged: Judged, ground_truth: Sequence[GroundTruth], min_iou: float = 0.5) -> Summary:
    """How well the objects that the M images were judged by were found. A box of another class overlaps enough from `min_iou` on."""
    image, label, xyxy = _missed(judged, ground_truth)
    objects, matched = int(judged.objects.sum()), judged.matched
    misclassified = sum(_covered(judged, *one, min_iou) for one in zip(image, label, xyxy, strict=True))
    return Summary(
        objects,
        _share(int(matched.sum()), objects),
        _share(misclassified, objects),
        _share(len(image) - misclassified, objects),
        _share(int((~matched).sum()), len(judged)),
        float(judged.iou[matched].mean(dtype=np.float64)) if matched.any() else None,
        _rmse(judged.residual[matched]) if matched.any() else None,
    )


def runtime(seconds: np.ndarray) -> Runtime:
    """Of what each image took (M,). Those beyond the third quartile by over 50 times the distance of the quartiles are left out.

    Raises `ValueError` without an image, or for a time that is negative or no number.
    """
    if not len(seconds) or not (np.isfinite(seconds) & (seconds >= 0)).all():
        raise ValueError("there must be at least one time, and each must be a number of seconds from 0 on")
    first, third = np.quantile(seconds, [0.25, 0.75])
    kept = seconds[seconds <= third + 50 * (third - first)] * 1000
    return Runtime(len(kept), len(seconds) - len(kept), float(kept.mean()), float(kept.std()), float(np.median(kept)))


def write(table: Table, path: Path) -> None:
    """Write a table to a file that ends in `.csv`, its schema beside it in `.schema.json`, or in `.parquet`."""
    if _suffix(path) == ".parquet":
        path.write_bytes(to_parquet(table))
        return
    path.with_suffix(".schema.json").write_bytes(to_schema(table.columns))
    path.write_bytes(to_csv(table))


def read(path: Path) -> Table:
    """Read what `write` wrote. Raises `UserError` for another ending or a file that is not there, `FormatError` for a wrong value."""
    try:
        if _suffix(path) == ".parquet":
            return from_parquet(path.read_bytes(), path.name)
        schema = path.with_suffix(".schema.json")
        return from_csv(path.read_bytes(), from_schema(schema.read_bytes(), schema.name), path.name)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: there is no such file; a table in CSV needs its schema beside it") from None


def to_csv(table: Table) -> bytes:
    """UTF-8, as RFC 4180 has it. A number is the shortest text that gives the same float32."""
    out = io.StringIO(newline="")
    # with a bare "\n" at the ends of rows, a carriage return inside a field would stay unquoted and break it
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(column.name for column in table.columns)
    writer.writerows(zip(*(_to_texts(column, table[column.name]) for column in table.columns), strict=True))
    return out.getvalue().encode()


def from_csv(content: bytes, columns: Sequence[Column], where: str) -> Table:
    """Raises `FormatError` that names the row, the header's being 1, and the column."""
    try:
        header, *rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{where}: it is no CSV in UTF-8 ({error})") from None
    if header != [column.name for column in columns]:
        raise FormatError(f"{where}: its header is not what its schema says; write both anew")
    short = next((number for number, row in enumerate(rows, 2) if len(row) != len(header)), None)
    if short:
        raise FormatError(f"{where} row {short}: it has {len(rows[short - 2])} fields, the header {len(header)}")
    texts = zip(*rows, strict=True) if rows else [()] * len(columns)
    values = {column.name: _from_texts(column, column_texts, where) for column, column_texts in zip(columns, texts, strict=True)}
    return _table(columns, values, where)


def to_parquet(table: Table) -> bytes:
    """With the schema as metadata. Raises `UserError` without pyarrow."""
    arrow, parquet = _arrow()
    kinds = {STRING: arrow.string(), NUMBER: arrow.float32()}
    fields = [arrow.field(column.name, kinds[column.type]) for column in table.columns]
    schema = arrow.schema(fields, metadata={_METADATA: to_schema(table.columns)})
    # NaN becomes null
    arrays = [arrow.array(table[one.name], kinds[one.type], from_pandas=True) for one in table.columns]
    out = io.BytesIO()
    parquet.write_table(arrow.Table.from_arrays(arrays, schema=schema), out)
    return out.getvalue()


def from_parquet(content: bytes, where: str) -> Table:
    """Raises `FormatError` when it is no Parquet or no such table, `UserError` without pyarrow."""
    arrow, parquet = _arrow()
    try:
        found = parquet.read_table(io.BytesIO(content))
    except (arrow.ArrowInvalid, OSError) as error:
        raise FormatError(f"{where}: it is no Parquet file ({error})") from None
    columns = from_schema((found.schema.metadata or {}).get(_METADATA, b""), where)
    kinds = {STRING: arrow.string(), NUMBER: arrow.float32()}
    if [(field.name, field.type) for field in found.schema] != [(column.name, kinds[column.type]) for column in columns]:
        raise FormatError(f"{where}: its columns are not what its schema says")
    values = {column.name: _from_arrow(column, found[column.name].to_pylist()) for column in columns}
    return _table(columns, values, where)


def to_schema(columns: Iterable[Column]) -> bytes:
    """The JSON Table Schema of the Frictionless Data standard, with a `unit` a field, and the `version`."""
    fields = [
        {"name": one.name, "type": one.type, "unit": one.unit, "description": one.meaning} | _CONSTRAINTS.get(one.name, {})
        for one in columns
    ]
    return json.dumps({"version": VERSION, "fields": fields, "missingValues": [""]}, indent=1, ensure_ascii=False).encode()


def from_schema(content: bytes, where: str) -> tuple[Column, ...]:
    """Raises `FormatError` for what is no schema of ours, or a newer one."""
    try:
        schema = json.loads(content)
        version = schema["version"]
        columns = tuple(Column(one["name"], one["type"], one["unit"], one["description"]) for one in schema["fields"])
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{where}: it holds no schema of a validation table ({error})") from None
    if version != VERSION:
        raise FormatError(f"{where}: its schema has version {version}, this program reads version {VERSION}")
    return columns


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
    if name in _CONSTRAINTS and None in texts:
        raise ValueError(f"{name} must be given in every row")
    if name == "kind" and not present <= set(KINDS):
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {min(present - set(KINDS))!r}")


def _missed(judged: Judged, ground_truth: Sequence[GroundTruth]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (K,), class (K,) and corners (K, 4) of the objects that no detection is matched with."""
    own = zip(judged.image, judged.truth_class, judged.truth_xyxy, strict=True)
    taken = Counter(_key(*one) for one, matched in zip(own, judged.matched, strict=True) if matched)
    missed = []
    for image, truth in enumerate(ground_truth):
        for label, xyxy in zip(truth.class_id, truth.xyxy, strict=True):
            key = _key(image, label, xyxy)
            if taken[key]:
                taken[key] -= 1
            else:
                missed.append((image, label, xyxy))
    if taken.total() or len(ground_truth) != len(judged.objects):
        raise ValueError("the ground truth is not what the detections were judged by")
    places = np.array([(image, label) for image, label, _ in missed], np.int64).reshape(-1, 2)
    return places[:, 0], places[:, 1], np.array([xyxy for *_, xyxy in missed], np.float32).reshape(-1, 4)


def _key(image: int, label: int, xyxy: np.ndarray) -> tuple[int, int, bytes]:
    return int(image), int(label), xyxy.astype(np.float32).tobytes()


def _covered(judged: Judged, image: int, label: int, xyxy: np.ndarray, min_iou: float) -> bool:
    """Whether a detection of another class that has no object for itself lies on the object."""
    others = (judged.image == image) & ~judged.matched & (judged.detections.class_id != label)
    return bool((detections.box_iou(judged.detections.xyxy[others].astype(np.float64), xyxy[None].astype(np.float64)) >= min_iou).any())


def _share(count: int, of: int) -> float | None:
    return count / of if of else None


def _rmse(residual: np.ndarray) -> tuple[float, float, float, float]:
    xmin, ymin, xmax, ymax = np.sqrt((residual.astype(np.float64) ** 2).mean(0)).tolist()
    return xmin, ymin, xmax, ymax


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


def _suffix(path: Path) -> str:
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"{path}: a validation table is a file that ends in .csv or .parquet")
    return path.suffix


def _to_texts(column: Column, values: np.ndarray) -> list[str]:
    if column.type == STRING:
        return [text or "" for text in values]
    return list(np.where(np.isnan(values), "", values.astype(str)))


def _from_texts(column: Column, texts: Sequence[str], where: str) -> np.ndarray:
    if column.type == STRING:
        return np.array([text or None for text in texts], object)
    return np.array([_number(column.name, text, f"{where} row {number}") for number, text in enumerate(texts, 2)], np.float32)


def _number(name: str, text: str, where: str) -> float:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        value = math.inf
    # the text of the largest float32 is a little more than it: only as float32 can a value be told to be too large
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.float32(value))
    if text and not finite:
        raise FormatError(f"{where}: {name} is {text!r}, not a number; leave it empty where there is none")
    return value


def _from_arrow(column: Column, values: Sequence[Any]) -> np.ndarray:
    if column.type == STRING:
        return np.array(values, object)
    return np.array([math.nan if value is None else value for value in values], np.float32)


def _table(columns: Sequence[Column], values: Mapping[str, np.ndarray], where: str) -> Table:
    try:
        return Table(tuple(columns), values)
    except ValueError as error:
        raise FormatError(f"{where}: {error}") from None


def _arrow() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError("Parquet needs pyarrow: install it with 'pip install pyarrow', or write .csv") from None
    return pyarrow, parquet
