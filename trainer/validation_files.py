"""Validation tables as files: CSV with its schema beside it, or Parquet with the schema inside.

Rule: a value that there is none of is empty in CSV and null in Parquet, never text such as "nan"; numbers are float32, as the detections
are, and come back as they were. The schema is a JSON Table Schema (Frictionless Data).
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from activelearning.errors import FormatError, UserError
from trainer.validation import KINDS, NUMBER, REQUIRED, STRING, VERSION, Column, Table

_METADATA = b"table_schema"


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
        {"name": one.name, "type": one.type, "unit": one.unit, "description": one.meaning} | _constraints(one.name) for one in columns
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


def _constraints(name: str) -> dict[str, Any]:
    if name not in REQUIRED:
        return {}
    return {"constraints": {"required": True} | ({"enum": KINDS} if name == "kind" else {})}


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
