"""Validation tables as CSV and as Parquet and back, with odd names and missing values; what was spoilt is refused with its place."""

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activelearning.errors import FormatError, UserError
from tests.trainer.judged_scene import hostile, table, values_of
from trainer import validation_files
from trainer.validation import COLUMNS, KINDS, NUMBER, STRING, Column, Extra, Table


def csv_round(one: Table) -> Table:
    return validation_files.from_csv(
        validation_files.to_csv(one), validation_files.from_schema(validation_files.to_schema(one.columns), "s"), "t.csv"
    )


def parquet_round(one: Table) -> Table:
    pytest.importorskip("pyarrow")
    return validation_files.from_parquet(validation_files.to_parquet(one), "t.parquet")


ROUNDS = pytest.mark.parametrize("round_trip", [csv_round, parquet_round])

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.sampled_from(
    ["=1+1", "+1", "-1", "@a", 'a"b', '"', "a,b", "a\nb", "a\rb", "\r", "\n", "a\r\nb", "nan", "NULL", " ", "\ufeff", "\x00", "ä😀"]
)
NUMBERS = st.floats(width=32, allow_infinity=False) | st.sampled_from([0.0, -0.0, 1e-45, 3.4028234663852886e38, 0.1, 16777217.0])


@st.composite
def tables(draw: st.DrawFn) -> Table:
    count = draw(st.integers(0, 4))
    more = draw(st.lists(TEXT.filter(lambda name: name not in {column.name for column in COLUMNS}), unique=True, max_size=2))
    columns = (*COLUMNS, *(Column(name, NUMBER, "px", name) for name in more))
    return Table(columns, {column.name: _values(draw, column, count) for column in columns})


def _values(draw: st.DrawFn, column: Column, count: int) -> np.ndarray:
    if column.type != STRING:
        return np.array(draw(st.lists(NUMBERS, min_size=count, max_size=count)), np.float32)
    given = st.sampled_from(KINDS) if column.name == "kind" else TEXT
    some = given if column.name in ("kind", "image_name") else st.none() | given
    return np.array(draw(st.lists(some, min_size=count, max_size=count)), object)


@ROUNDS
@given(one=tables())
@settings(max_examples=60, deadline=None)
def test_a_table_comes_back_as_it_was(round_trip: Callable[[Table], Table], one: Table) -> None:
    back = round_trip(one)
    assert back.columns == one.columns and list(back.rows()) == list(one.rows())
    for column in one.columns:
        assert back[column.name].dtype == one[column.name].dtype
        if column.type != STRING:
            # bit by bit, so that -0.0 is not taken for 0.0; every NaN is the same missing value
            assert (np.signbit(back[column.name]) == np.signbit(one[column.name]))[~np.isnan(one[column.name])].all()


@ROUNDS
def test_a_real_table_comes_back_as_it_was(round_trip: Callable[[Table], Table]) -> None:
    assert list(round_trip(hostile()).rows()) == list(hostile().rows())


def test_another_reader_finds_the_same_in_the_csv() -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import csv as arrow_csv

    read = arrow_csv.read_csv(
        io.BytesIO(validation_files.to_csv(hostile())),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=True),
    )
    for one in hostile().columns:
        values = read[one.name].to_pylist()
        if one.type != STRING:
            values = [None if value is None else float(np.float32(value)) for value in values]
        assert values == values_of(hostile(), one.name), one.name


def test_what_is_missing_is_empty_in_csv_and_null_in_parquet() -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    header, *rows = csv.reader(io.StringIO(validation_files.to_csv(table()).decode(), newline=""))
    missed = dict(zip(header, rows[3], strict=True))
    assert missed["kind"] == "missed" and missed["confidence"] == missed["class"] == missed["entropy"] == ""
    assert not any("nan" in field.lower() or field == "None" for row in rows for field in row)
    stored = parquet.read_table(io.BytesIO(validation_files.to_parquet(table())))
    for one in table().columns:
        assert stored[one.name].null_count == values_of(table(), one.name).count(None), one.name
        assert not any(value != value for value in stored[one.name].to_pylist())


def test_a_number_in_csv_is_no_longer_than_it_must_be() -> None:
    header, first, *_ = csv.reader(io.StringIO(validation_files.to_csv(table(Extra("m", np.full(4, 0.1), "", ""))).decode(), newline=""))
    assert (header[-1], first[-1]) == ("m", "0.1")


def test_the_schema_is_a_json_table_schema_that_says_what_every_column_is() -> None:
    one = table(Extra("iso_all", np.zeros(4), "0..1", "calibrated"))
    schema = json.loads(validation_files.to_schema(one.columns))
    assert schema["version"] == 1 and schema["missingValues"] == [""]
    assert [field["name"] for field in schema["fields"]] == list(one.values)
    for field in schema["fields"]:
        assert field["type"] in ("string", "number") and field["description"]
        assert field["unit"] or field["type"] == "string"
    by_name = {field["name"]: field for field in schema["fields"]}
    assert by_name["kind"]["constraints"] == {"required": True, "enum": list(KINDS)}
    assert by_name["iso_all"] == {"name": "iso_all", "type": "number", "unit": "0..1", "description": "calibrated"}


def edited(change: tuple[str, str]) -> bytes:
    text = validation_files.to_csv(table()).decode()
    assert change[0] in text
    return text.replace(*change, 1).encode()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("\r\na.jpg,matched", "\r\na.jpg,perhaps"), "t.csv: kind must be one of .*, not 'perhaps'"),
        (("\r\na.jpg,matched", "\r\n,matched"), "t.csv: image_name must be given"),
        (("deer,0.75", "deer,high"), "t.csv row 2: confidence is 'high', not a number"),
        (("deer,0.75", "deer,nan"), "t.csv row 2: confidence is 'nan', not a number"),
        (("deer,0.75", "deer,1e39"), "t.csv row 2: confidence is '1e39', not a number"),
        (("fox,0.25", "fox,-inf"), "t.csv row 4: confidence is '-inf', not a number"),
        (("fox,0.25", "fox"), "t.csv row 4: it has 32 fields, the header 33"),
        (("image_name,kind", "kind,image_name"), "t.csv: its header is not what its schema says"),
        (("a.jpg", '"a.jpg'), "t.csv: it is no CSV"),
    ],
)
def test_a_csv_that_was_spoilt_is_refused_with_its_place(change: tuple[str, str], why: str) -> None:
    with pytest.raises(FormatError, match=why):
        validation_files.from_csv(edited(change), table().columns, "t.csv")


def test_no_csv_at_all_is_refused() -> None:
    for content in (b"", b"\xff\xfe", b"\x00"):
        with pytest.raises(FormatError, match=r"^t\.csv: "):
            validation_files.from_csv(content, table().columns, "t.csv")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "holds no schema"),
        (b"[]", "holds no schema"),
        (b"3", "holds no schema"),
        (b'{"version": 1}', "holds no schema"),
        (b'{"version": 1, "fields": [{"name": "a"}]}', "holds no schema"),
        (b'{"version": 1, "fields": [{"name": "a", "type": "date", "unit": "", "description": ""}]}', "must have a name and be a string"),
        (b'{"version": 2, "fields": []}', "version 2, this program reads version 1"),
    ],
)
def test_no_schema_of_ours_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=f"^s.json: .*{why}"):
        validation_files.from_schema(content, "s.json")


def test_a_schema_without_our_columns_is_no_schema_of_a_table() -> None:
    columns = validation_files.from_schema(b'{"version": 1, "fields": []}', "s")
    with pytest.raises(FormatError, match="the columns must be those of COLUMNS"):
        validation_files.from_csv(b"", columns, "t.csv")


def test_parquet_that_is_none_or_not_ours_is_refused() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def stored(change: "pyarrow.Table") -> bytes:
        out = io.BytesIO()
        parquet.write_table(change, out)
        return out.getvalue()

    ours = parquet.read_table(io.BytesIO(validation_files.to_parquet(table())))
    wrong = {
        "it is no Parquet file": b"PAR1 but no more",
        "holds no schema": stored(ours.replace_schema_metadata(None)),
        "its columns are not what its schema says": stored(ours.drop_columns(["iou"])),
        "class must be Unicode text": stored(ours.set_column(2, ours.schema.field(2), pyarrow.array([""] * 6))),
        "class_score_1 must be finite": stored(
            ours.set_column(
                ours.schema.get_field_index("class_score_1"),
                ours.schema.field("class_score_1"),
                pyarrow.array([float("inf")] * 6, pyarrow.float32()),
            )
        ),
    }
    for why, content in wrong.items():
        with pytest.raises(FormatError, match=f"^t.parquet: .*{why}"):
            validation_files.from_parquet(content, "t.parquet")


def test_without_pyarrow_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"^Parquet needs pyarrow: install it with"):
        validation_files.write(table(), tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []
    validation_files.write(table(), tmp_path / "t.csv")
    assert len(validation_files.read(tmp_path / "t.csv")) == 6


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_is_read_as_it_was_written(ending: str, tmp_path: Path) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"run 1.{ending}"
    validation_files.write(hostile(), path)
    assert list(validation_files.read(path).rows()) == list(hostile().rows())
    assert (tmp_path / "run 1.schema.json").exists() == (ending == "csv")


def test_files_that_are_missing_or_of_another_kind_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t\.txt: a validation table is a file that ends in \.csv or \.parquet"):
        validation_files.write(table(), tmp_path / "t.txt")
    with pytest.raises(UserError, match=r"u\.csv: there is no such file|u\.schema\.json: there is no such file"):
        validation_files.read(tmp_path / "u.csv")
    validation_files.write(table(), tmp_path / "t.csv")
    (tmp_path / "t.schema.json").unlink()
    with pytest.raises(UserError, match=r"t\.schema\.json: there is no such file"):
        validation_files.read(tmp_path / "t.csv")
