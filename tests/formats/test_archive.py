"""Zips from outside: refused whole and in one sentence, and nothing is unpacked."""

import stat
import struct
import zipfile

import pytest

from activelearning import formats
from activelearning.errors import FormatError
from activelearning.formats import archive, cvat

XML = b'<annotations><version>1.1</version><image id="0" name="a.jpg" width="4" height="4"/></annotations>'


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../evil.xml", "leave its folder"),
        ("a/../../evil.xml", "leave its folder"),
        ("/etc/evil.xml", "absolute"),
        ("C:/evil.xml", "absolute"),
        ("..\\evil.xml", "backslash"),
    ],
)
def test_a_member_that_would_leave_its_folder_refuses_the_whole_zip(tmp_path, name, why):
    path = zipped(tmp_path / "a.zip", [("annotations.xml", XML), (name, b"x")])
    with pytest.raises(FormatError, match=why):
        cvat.read(path)
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["a.zip"]


def test_a_member_whose_name_is_cut_by_a_zero_byte_refuses_the_whole_zip(tmp_path):
    path = zipped(tmp_path / "a.zip", [("annotations.xml", XML), ("#evil.xml", b"x")])
    path.write_bytes(path.read_bytes().replace(b"#evil", b"\0evil"))
    with pytest.raises(FormatError, match="zero byte"):
        cvat.read(path)


def test_a_link_refuses_the_whole_zip(tmp_path):
    link = zipfile.ZipInfo("annotations.xml")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(FormatError, match="is a link"):
        cvat.read(zipped(tmp_path / "a.zip", [(link, b"/etc/passwd")]))


def test_a_zip_bomb_is_refused_by_its_ratio_and_by_its_size(tmp_path):
    path = zipped(tmp_path / "a.zip", [("annotations.xml", bytes(30_000_000))])
    with pytest.raises(FormatError, match="zip bomb"):
        cvat.read(path)
    with pytest.raises(FormatError, match="larger than 90 bytes"):
        archive.read(zipped(tmp_path / "b.zip", [("annotations.xml", XML)]), lambda name: True, limit=90)


def test_a_size_that_lies_does_not_get_past(tmp_path):
    path = zipped(tmp_path / "a.zip", [("annotations.xml", bytes(3_000_000))])
    raw = path.read_bytes()
    path.write_bytes(raw.replace(struct.pack("<I", 3_000_000), struct.pack("<I", 3000)))
    with pytest.raises(FormatError, match="not a whole zip"):
        cvat.read(path)


@pytest.mark.parametrize("length", [10, 60, 120])
def test_a_truncated_zip_is_told(tmp_path, length):
    path = zipped(tmp_path / "a.zip", [("annotations.xml", XML)])
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(FormatError, match="not a whole zip"):
        formats.read(path)


def test_a_locked_zip_is_told(tmp_path):
    path = zipped(tmp_path / "a.zip", [("annotations.xml", XML)])
    raw = bytearray(path.read_bytes())
    for at in (raw.index(b"PK\x03\x04") + 6, raw.index(b"PK\x01\x02") + 8):
        raw[at] |= 1
    path.write_bytes(raw)
    with pytest.raises(FormatError, match="password"):
        cvat.read(path)


def test_a_zip_without_labels_says_what_is_missing(tmp_path):
    path = zipped(tmp_path / "a.zip", [("readme.md", b"")])
    with pytest.raises(FormatError, match=r"holds no annotations\.xml"):
        formats.read(path, "cvat")
    with pytest.raises(FormatError, match="holds no annotations/instances_"):
        formats.read(path, "coco")
    with pytest.raises(FormatError, match="no class names"):
        formats.read(path, "yolo")
