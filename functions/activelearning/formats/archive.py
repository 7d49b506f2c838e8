"""Label files inside a zip, read in memory: nothing is ever unpacked onto the disk.

Rule: a zip with a member that could leave its folder, is a link, or is too large is refused as a whole, before anything is read.
"""

import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from activelearning.errors import FormatError

LIMIT = 2**30
"""Bytes that all members read from one zip may have together, unpacked."""

_RATIO, _RATIO_FROM = 200, 2**20
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Members:
    """Names of all files in a zip, in its order, and the content of those that were wanted."""

    names: tuple[str, ...]
    content: Mapping[str, bytes]


def is_zip(path: Path) -> bool:
    """Whether a file is a zip, by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except (OSError, ValueError):
        return False


def read(path: Path, wanted: Callable[[str], bool], limit: int = LIMIT) -> Members:
    """Names and wanted members of a zip; `FormatError` in one sentence if it is damaged, locked, unsafe or too large."""
    try:
        with zipfile.ZipFile(path) as opened:
            _refuse_unsafe(path, opened.infolist())
            infos = [info for info in opened.infolist() if not info.is_dir()]
            chosen = [info for info in infos if wanted(info.filename)]
            _refuse_unreadable(path, chosen, limit)
            return Members(tuple(info.filename for info in infos), {info.filename: opened.read(info) for info in chosen})
    except _BROKEN as error:
        raise FormatError(f"{path}: is not a whole zip file ({error}); fetch it again") from None


def _refuse_unsafe(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    for info in infos:
        fault = _unsafe(info)
        if fault:
            raise FormatError(f"{path}: its member {info.orig_filename!r} {fault}; the whole zip was refused")


def _refuse_unreadable(path: Path, chosen: list[zipfile.ZipInfo], limit: int) -> None:
    for info in chosen:
        if info.flag_bits & 1:
            raise FormatError(f"{path}: is locked with a password; save it without one")
        if info.file_size > max(_RATIO_FROM, _RATIO * info.compress_size):
            raise FormatError(f"{path}: its member {info.filename!r} is packed so densely that it looks like a zip bomb")
    if sum(info.file_size for info in chosen) > limit:
        raise FormatError(f"{path}: its label files are larger than {limit:,} bytes together; export fewer images at a time")


def _unsafe(info: zipfile.ZipInfo) -> str:
    name = info.orig_filename
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link"
    if not name or "\\" in name or "\0" in name:
        return "has no name, or one with a backslash or a zero byte"
    if name.startswith("/") or ":" in name.split("/")[0]:
        return "has an absolute path"
    return "would leave its folder" if ".." in name.split("/") else ""
