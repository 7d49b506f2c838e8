"""The label table: written and read back the same; the ancestor's files; every row that makes no sense named, none of the others lost."""

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from activelearning import rle, table
from activelearning.errors import FormatError
from activelearning.labels import HUMAN, HUMAN_CONFIRMED, MODEL, Box, ImageLabels, Polygons, Review
from activelearning.layout import check_blob_name

_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
_part = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=8).filter(
    lambda part: part not in (".", "..")
)
_name = st.lists(_part, min_size=1, max_size=3).map("/".join).map(check_blob_name)
_share = st.floats(0, 1)
_span = st.lists(_share, min_size=2, max_size=2, unique=True).map(sorted)
_ring = (
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=6, max_size=8).filter(lambda ring: len(ring) % 2 == 0).map(tuple)
)
_mask = (
    st.none()
    | st.builds(Polygons, st.lists(_ring, min_size=1, max_size=2).map(tuple))
    | st.builds(lambda runs: rle.from_runs(runs, 1, sum(runs)), st.lists(st.integers(1, 999), min_size=1, max_size=9))
)
_measures = st.dictionaries(st.sampled_from(table.MEASURES), st.floats(allow_nan=False, allow_infinity=False)).map(
    lambda found: tuple((name, found[name]) for name in table.MEASURES if name in found)
)
_source = st.sampled_from([HUMAN, HUMAN_CONFIRMED, MODEL]) | _text.map("pseudo@{}".format)
_box = st.builds(
    lambda label, x, y, score, source, mask, measures: Box(label, x[0], y[0], x[1], y[1], score, source, mask, measures),
    _text.filter(lambda name: name != "NULL"), _span, _span, st.none() | _share, _source, _mask, _measures,
)  # fmt: skip
_labels = st.builds(
    ImageLabels,
    _name,
    st.integers(0, 99_999),
    st.integers(0, 99_999),
    st.lists(_box, max_size=3).map(tuple),
    st.sampled_from(Review),
    st.text("0123456789abcdef", max_size=16),
    st.none() | _share,
)

HEADER = "filename,class,xmin,xmax,ymin,ymax,height,width"


@budget(max_examples=200, deadline=None)
@given(st.lists(_labels, max_size=4, unique_by=lambda labels: labels.image))
def test_whatever_is_written_is_read_back(images: list[ImageLabels]) -> None:
    text = "".join(table.write_labels(images))
    reading = table.read_labels(text, "t")
    assert reading.problems == () and list(reading.images) == images
    assert len(text.split("\n")) == 2 + sum(max(len(labels.boxes), 1) for labels in images)


@budget(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    for content in (text, f"{HEADER}\n{text}", f"{HEADER},folder\na.jpg,{text}"):
        try:
            table.read_labels(content, "t")
        except FormatError as error:
            assert "not a label table" in str(error)


TRUTH = f"{HEADER},folder\nIMG_1.jpg,knot,0.1,0.5,0.2,0.6,750,1000,cam-1\nIMG_1.jpg,NULL,0,0,0,0,750,1000,cam-2\n"
TRUTH_FLAT = f"{HEADER}\nIMG_1.jpg,knot,0.1,0.5,0.2,0.6,750,1000\nIMG_2.jpg,NULL,0,0,0,0,750,1000\n"
PREDICTED = (
    f"{HEADER},folder,box_confidence,image_confidence\n"
    "IMG_1.jpg,knot,0.1,0.5,0.2,0.6,750,1000,cam-1,0.75,0.75\nIMG_1.jpg,NULL,0,0,0,0,750,1000,cam-2,0,0.0\n"
)
PREDICTED_FLAT = (
    f"{HEADER},box_confidence,image_confidence\nIMG_1.jpg,knot,0.1,0.5,0.2,0.6,750,1000,0.75,0.75\nIMG_2.jpg,NULL,0,0,0,0,750,1000,0,0\n"
)


@pytest.mark.parametrize(
    ("text", "names", "review", "source", "confidence", "empty"),
    [
        (TRUTH, ["cam-1/IMG_1.jpg", "cam-2/IMG_1.jpg"], Review.REVIEWED, HUMAN, None, None),
        (TRUTH_FLAT, ["IMG_1.jpg", "IMG_2.jpg"], Review.REVIEWED, HUMAN, None, None),
        (PREDICTED, ["cam-1/IMG_1.jpg", "cam-2/IMG_1.jpg"], Review.UNOPENED, MODEL, 0.75, 0.0),
        (PREDICTED_FLAT, ["IMG_1.jpg", "IMG_2.jpg"], Review.UNOPENED, MODEL, 0.75, 0.0),
    ],
    ids=["truth", "truth-flat", "predicted", "predicted-flat"],
)
def test_the_ancestors_tables_mean_what_they_meant(
    text: str, names: list[str], review: Review, source: str, confidence: float | None, empty: float | None
) -> None:
    box = Box("knot", 0.1, 0.2, 0.5, 0.6, confidence, source)
    expected = (
        ImageLabels(names[0], 1000, 750, (box,), review, "", confidence),
        ImageLabels(names[1], 1000, 750, (), review, "", empty),
    )
    for variant in (text, text.replace("\n", "\r\n"), text.rstrip("\n"), "\ufeff" + text, text.replace("\n", "\n\n")):
        reading = table.read_labels(variant, "t")
        assert (reading.images, reading.problems) == (expected, ())


def test_columns_are_found_by_name_in_any_order() -> None:
    text = "extra,folder,ymax,ymin,xmax,xmin,class,filename\nx,a,0.6,0.2,0.5,0.1,knot,1.jpg\n"
    assert table.read_labels(text, "t").images == (ImageLabels("a/1.jpg", boxes=(Box("knot", 0.1, 0.2, 0.5, 0.6),)),)


GOOD = "good.jpg,knot,0.1,0.5,0.2,0.6,750,1000"


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("a.jpg,knot,0.1,0.5,0.2", "it has 5 fields, the header 8"),
        ("a.jpg,knot,x,0.5,0.2,0.6,1,1", "xmin is 'x', not a number"),
        ("a.jpg,knot,nan,0.5,0.2,0.6,1,1", "not a number"),
        ("a.jpg,knot,0.5,0.1,0.2,0.6,1,1", "no area"),
        ("a.jpg,knot,0.1,1.5,0.2,0.6,1,1", "no area inside the image"),
        ("a.jpg,,0.1,0.5,0.2,0.6,1,1", "not a class name"),
        ("../a.jpg,knot,0.1,0.5,0.2,0.6,1,1", "cannot be a blob name"),
        ("a.jpg,knot,0.1,0.5,0.2,0.6,-1,1", "not a number of pixels"),
        ("a.jpg,knot,0.1,0.5,0.2,0.6,1e99,1", "not a number of pixels"),
        ('"a.jpg,knot,0.1,0.5,0.2,0.6,1,1', "it has 1 fields"),
        ("a.jpg,kn\x07ot,0.1,0.5,0.2,0.6,1,1", "control character"),
    ],
)
def test_a_row_that_makes_no_sense_is_named_and_the_others_are_kept(row: str, what: str) -> None:
    reading = table.read_labels(f"{HEADER}\n{GOOD}\n{row}\n{GOOD.replace('good', 'too')}\n", "my.csv")
    assert [labels.image for labels in reading.images] == ["good.jpg", "too.jpg"]
    (problem,) = reading.problems
    assert what in str(problem) and str(problem).startswith("my.csv row 3: ") and str(problem).endswith("; the row was left out")


def test_a_line_break_in_quotes_spoils_two_rows_and_no_more() -> None:
    reading = table.read_labels(f'{HEADER}\na.jpg,"kn\not",0.1,0.5,0.2,0.6,1,1\n{GOOD}\n', "t")
    assert [labels.image for labels in reading.images] == ["good.jpg"] and len(reading.problems) == 2


def test_rows_of_an_image_come_together_wherever_they_stand() -> None:
    reading = table.read_labels(f"{HEADER}\n{GOOD}\nb.jpg,NULL,0,0,0,0,1,1\n{GOOD.replace('knot', 'crack')}\n", "t")
    assert [(labels.image, [box.label for box in labels.boxes]) for labels in reading.images] == [
        ("good.jpg", ["knot", "crack"]),
        ("b.jpg", []),
    ]


def test_an_image_that_one_row_calls_unopened_is_not_reviewed() -> None:
    rows = "a.jpg,knot,0.1,0.5,0.2,0.6,1,1"
    (labels,) = table.read_labels(f"{HEADER},review\n{rows},reviewed\n{rows},unopened\n", "t").images
    assert labels.review is Review.UNOPENED


@pytest.mark.parametrize("text", ["", "\n", "a,b\n1,2\n", "filename,class,xmin,xmax,ymin\n", "{}"])
def test_a_table_without_the_columns_is_none(text: str) -> None:
    with pytest.raises(FormatError, match=r"t: this is not a label table, it has no column .*ymax"):
        table.read_labels(text, "t")


@pytest.mark.parametrize(
    ("mask", "what"),
    [
        ('{"size":[5,5],"counts":"1"}', "do not fill its 5 × 5 pixels"),
        ('{"size":[1000000,1000000],"counts":"0"}', "makes no sense"),
        ('{"size":[-5,5],"counts":"0"}', "makes no sense"),
        ('{"size":[1e999,5],"counts":"0"}', "neither polygons nor"),
        ('{"size":[5,5],"counts":"é"}', "damaged"),
        ("[[0,0,1,NaN,1,1]]", "not a number"),
        ("[[0,0,1e999,0,1,1]]", "not a number"),
        ("[[0,0,1,1]]", "at least three"),
        ("[" * 100_000, "neither polygons nor"),
    ],
)
def test_a_mask_that_makes_no_sense_is_named_and_the_others_are_kept(mask: str, what: str) -> None:
    quoted = mask.replace('"', '""')
    reading = table.read_labels(f'{HEADER},mask\n{GOOD},\na.jpg,knot,0.1,0.5,0.2,0.6,1,1,"{quoted}"\n', "t")
    assert [labels.image for labels in reading.images] == ["good.jpg"]
    [problem] = reading.problems
    assert what in str(problem)


def test_a_mask_longer_than_csv_usually_allows_is_read() -> None:
    long = ImageLabels("a.jpg", 1, 1, (Box("knot", 0, 0, 1, 1, mask=rle.from_runs([1] * 300_000, 500, 600)),))
    assert table.read_labels(table.table_bytes([long]).decode(), "t").images == (long,)
