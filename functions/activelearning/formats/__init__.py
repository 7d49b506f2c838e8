"""The label files of other tools: read any to `Reading`, write any from `ImageLabels`. One module a format.

    reading = formats.read(Path("labels.json"))                  # which format is seen from the content
    formats.write(images, Path("draft.json"), "vott", classes=("cat", "dog"))

Coordinates become fractions, and `image` is the name as the file states it: mapping it to a blob's name is the caller's.
"""

from collections.abc import Sequence
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Protocol, cast

from activelearning.errors import FormatError
from activelearning.formats.detection import detect
from activelearning.labels import ImageLabels, Reading

__all__ = ["FORMATS", "detect", "read", "write"]

FORMATS = {
    "csv": "our CSV",
    "vott": "VoTT 1",
    "vott2": "a VoTT 2 project",
    "vott2-export": "a VoTT 2 export",
    "cvat": "CVAT for images 1.1",
    "coco": "COCO",
    "voc": "Pascal VOC",
    "yolo": "YOLO",
}
"""What `--format` may say, and what that is."""

_MODULES = {"csv": "csv_table", "vott": "vott1", "vott2-export": "vott2_export"}

_FILES = {
    "csv": "labels.csv",
    "vott": "images.json",
    "vott2-export": "labels-export.json",
    "cvat": "annotations.xml",
    "coco": "instances.json",
}
"""What a format of one file calls it, where a folder is given to write to."""


class _Format(Protocol):
    def read(self, path: Path, **options: object) -> Reading: ...

    def write(self, images: Sequence[ImageLabels], path: Path, *, classes: Sequence[str]) -> object: ...


def read(path: Path, format: str | None = None, **options: object) -> Reading:
    """Read labels. `options` are those of the formats' own `read` (`unmarked`, `size_of`, …); one that a format doesn't have is unused.

    `FormatError` if the file is not of that format, naming the one that it is.
    """
    name = format or detect(path)
    module = _module(name)
    known = signature(module.read).parameters
    try:
        return module.read(path, **{key: value for key, value in options.items() if key in known})
    except FormatError:
        actual = _detected(path)
        if actual in (None, name):
            raise
        raise FormatError(f"{path}: this is {FORMATS[str(actual)]}, not {FORMATS[name]}; say --format {actual}") from None


def write(images: Sequence[ImageLabels], path: Path, format: str, classes: Sequence[str] = ()) -> None:
    """Write labels to a new file, or into a folder. `classes` come first, in their order, where a format lists classes."""
    target = path / _FILES[format] if format in _FILES and path.is_dir() else path
    _module(format).write(images, target, classes=classes)


def _module(name: str) -> _Format:
    if name not in FORMATS:
        raise FormatError(f"'{name}' is not a format; it is one of {', '.join(FORMATS)}")
    return cast(_Format, import_module(f"activelearning.formats.{_MODULES.get(name, name)}"))


def _detected(path: Path) -> str | None:
    try:
        return detect(path)
    except FormatError:
        return None
