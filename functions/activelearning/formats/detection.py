"""Which tool wrote this? By content, never by the name alone.

Rule: nothing is read but what tells formats apart; whether the file is sound is its reader's to say.
"""

from collections.abc import Mapping
from pathlib import Path

from activelearning.errors import FormatError
from activelearning.formats import archive, coco, parsing

_JSON_KEYS = (("vott", "frames"), ("coco", "images"), ("vott2", "sourceConnection"), ("vott2-export", "assets"))
"""The first key that is there decides: an export of VoTT 2 is its project without connections."""

_XML_ROOTS = {"annotations": "cvat", "annotation": "voc"}
_YOLO_NAMES = ("obj.names", "classes.txt", "data.yaml", "data.yml")
_CSV_HEADS = (("vott2-export", "image,xmin,ymin,xmax,ymax,label"), ("csv", "filename,class,"))


def detect(path: Path) -> str:
    """The format's name as `FORMATS` has it; `FormatError` if it is none of them."""
    found = _of_folder(path) if path.is_dir() else _of_zip(path) if archive.is_zip(path) else _of_file(path)
    if found is None:
        raise FormatError(f"{path}: is in no format that this program knows; say which with --format")
    return found


def _of_folder(folder: Path) -> str | None:
    if next(folder.glob("*.vott"), None):
        return "vott2"
    if any(next(folder.rglob(name), None) for name in _YOLO_NAMES):
        return "yolo"
    return "voc" if next(folder.rglob("*.xml"), None) else None


def _of_zip(path: Path) -> str | None:
    names = archive.read(path, lambda name: False).names
    if "annotations.xml" in names:
        return "cvat"
    if any(coco.is_instances(name) for name in names):
        return "coco"
    if any(name.rpartition("/")[2] in _YOLO_NAMES for name in names):
        return "yolo"
    return "voc" if any(name.startswith("Annotations/") and name.endswith(".xml") for name in names) else None


def _of_file(path: Path) -> str | None:
    raw = parsing.read_bytes(path)
    if path.name in _YOLO_NAMES:
        return "yolo"
    start = parsing.decode(raw, str(path)).lstrip()[:1]
    if start == "{":
        return _of_json(parsing.json_object(raw, str(path)))
    if start == "<":
        return _XML_ROOTS.get(parsing.parse_xml(raw, str(path)).tag)
    head = raw[:200].decode(errors="replace").lstrip("\ufeff").partition("\n")[0].replace('"', "").strip()
    return next((name for name, columns in _CSV_HEADS if head.startswith(columns)), None)


def _of_json(keys: Mapping[str, object]) -> str | None:
    return next((name for name, key in _JSON_KEYS if key in keys), None)
