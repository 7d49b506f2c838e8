"""Whatever the bytes are, a reader returns or raises one sentence."""

import json
import re
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activelearning import formats
from activelearning.errors import UserError
from activelearning.formats import coco, cvat, voc, vott1, vott2, vott2_export, yolo

modest = settings(max_examples=60, deadline=None)

KEYS = re.findall(
    r"\S+",
    """frames visitedFrames drafts a.jpg x1 y1 x2 y2 width height tags type assets asset regions boundingBox left top points x y id name
    path size state images annotations categories bbox segmentation counts image_id category_id file_name score attributes iscrowd
    sourceConnection providerOptions folderPath 0 1""",
)
ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([*KEYS, 10**400, "RECTANGLE", "POLYGON", 1, 2])
)
VALUES = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6), max_leaves=30
)
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "frames": st.dictionaries(st.sampled_from(["a.jpg", "b.jpg", ""]), VALUES, max_size=2) | VALUES,
        "visitedFrames": VALUES,
        "assets": st.dictionaries(st.text(max_size=3), st.fixed_dictionaries({"asset": VALUES, "regions": VALUES}) | VALUES, max_size=2),
        "images": st.lists(st.fixed_dictionaries({"id": ATOMS, "file_name": ATOMS, "width": ATOMS, "height": ATOMS}) | VALUES, max_size=3),
        "categories": st.lists(st.fixed_dictionaries({"id": ATOMS, "name": ATOMS}) | VALUES, max_size=2),
        "annotations": st.lists(
            st.fixed_dictionaries({"image_id": ATOMS, "category_id": ATOMS, "bbox": VALUES, "segmentation": VALUES}), max_size=3
        ),
        "sourceConnection": VALUES,
    },
)
TAGS = re.findall(r"\w+", "annotations annotation image box polygon mask tag object bndbox xmin xmax ymin ymax name filename size width")
ATTRIBUTES = re.findall(r"\w+", "label name width height xtl ytl xbr ybr points rle left top source score rotation verified")
SHORT = st.sampled_from(["", "0", "1", "-5", "nan", "inf", "1e999", "9" * 500, "1,2;3,4;5,6", "1, 2, 1", "a", "é", "1_0", "NULL"])
READERS = [coco.read, cvat.read, voc.read, vott1.read, vott2.read, vott2_export.read, yolo.read, formats.read]


@st.composite
def xml(draw, depth=0):
    tag = draw(st.sampled_from(TAGS if depth else TAGS[:2]))
    attributes = "".join(
        f' {key}="{value}"' for key, value in draw(st.dictionaries(st.sampled_from(ATTRIBUTES), SHORT, max_size=5)).items()
    )
    inner = "".join(draw(st.lists(xml(depth + 1), max_size=3))) if depth < 4 else ""
    return f"<{tag}{attributes}>{draw(SHORT)}{inner}</{tag}>"


def read_by_all(name, content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        for read in READERS:
            for target in (path, path.parent):
                answer(read, target)


def answer(read, path):
    try:
        reading = read(path)
    except UserError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert all(problem.where and problem.what for problem in reading.problems)


@modest
@given(
    st.binary(max_size=200) | st.builds(bytes.__add__, st.sampled_from([b"{", b"<", b"PK\x03\x04", b"\xff\xfe", b"image,"]), st.binary())
)
def test_random_bytes(content):
    read_by_all("labels.json", content)


@modest
@given(LIKELY)
def test_random_json_of_likely_keys(content):
    read_by_all("labels.vott", json.dumps(content).encode())


@modest
@given(LIKELY)
def test_random_asset_files(content):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "p.vott").write_text(json.dumps({"sourceConnection": {}, "assets": {"a": {"path": "a", "state": 2}, "b": 1}}))
        (Path(folder) / "a-asset.json").write_text(json.dumps(content))
        answer(vott2.read, Path(folder))


@modest
@given(xml())
def test_random_xml_of_likely_tags(content):
    read_by_all("labels.xml", content.encode())


@modest
@given(
    st.text(alphabet="-:[]{}'\"\\, \nab01#nmes", max_size=40),
    st.lists(st.lists(SHORT, max_size=9).map(" ".join), max_size=3).map("\n".join),
)
def test_random_yolo(names, rows):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "data.yaml").write_text("names: " + names)
        (Path(folder) / "a.txt").write_text(rows)
        answer(yolo.read, Path(folder))


@modest
@given(st.integers(0, 400), st.integers(0, 255))
def test_a_zip_with_one_wrong_byte(at, value):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("annotations.xml", "<annotations/>" * 3)
            file.writestr("annotations/instances_a.json", "{}")
            file.writestr("obj.names", "cat")
        raw = bytearray(path.read_bytes())
        raw[at % len(raw)] = value
        path.write_bytes(raw)
        for read in READERS:
            answer(read, path)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000,
        b'{"frames":' * 50_000,
        b'{"frames": {"a": [{"x1": 1' + b"0" * 5000 + b"}]}}",
        b'{"frames": {"a.jpg": [{"x1": NaN, "y1": -Infinity, "x2": 1e999, "y2": 5, "width": 10, "height": 10, "tags": ["a"]}]}}',
        b'{"frames": {"\\ud800": [], "a\\nb": []}, "visitedFrames": [null, {}, "\\ud800"]}',
        b"<a>" * 100_000,
        b'<?xml version="1.0" encoding="no-such"?><annotations/>',
        b'<?xml version="1.0" encoding="utf-7"?><annotations/>',
        b"\xef\xbb\xbf",
        b"",
    ],
)
def test_nasty_files(content):
    read_by_all("labels.json", content)
