"""What all writers share: new files only, and the order of classes."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, indent, tostring

from activelearning import layout
from activelearning.errors import FormatError
from activelearning.labels import HUMAN, Box, ImageLabels


def create(path: Path, text: str) -> None:
    """Write a new UTF-8 file, whole or not at all, making its folders.

    `FormatError` if it is there already with another content; the same again is no error, so that a broken-off command can be repeated.
    """
    content = text.encode()
    try:
        if path.exists():
            return _check_same(path, content)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{os.getpid()}.part")
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise FormatError(f"{path}: cannot be written ({error.strerror})") from None


def _check_same(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        raise FormatError(f"{path}: is there already; choose another place")


def create_json(path: Path, value: object) -> None:
    """Write a new JSON file, names readable as they are."""
    create(path, json.dumps(value, ensure_ascii=False, allow_nan=False))


def create_xml(path: Path, root: Element) -> None:
    """Write a new XML file; `FormatError` if a text holds what XML cannot."""
    faulty = next((text for text in _texts(root) if any(not _allowed(char) for char in text)), None)
    if faulty is not None:
        raise FormatError(f"{path}: {faulty!r} holds a control character, which XML cannot")
    indent(root)
    create(path, '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n")


def _texts(root: Element) -> Iterable[str]:
    for element in root.iter():
        yield from element.attrib.values()
        yield element.text or ""


def _allowed(char: str) -> bool:
    """The production Char of XML 1.0, less carriage return, which parsers turn into a line feed."""
    return char in "\t\n" or " " <= char <= "\ud7ff" or "\ue000" <= char <= "\ufffd" or char >= "\U00010000"


def class_names(images: Iterable[ImageLabels], classes: Sequence[str]) -> tuple[str, ...]:
    """The given classes in their order, then the others that occur, sorted."""
    found = {box.label for image in images for box in image.boxes}
    return (*classes, *sorted(found - set(classes)))


def without_suffix(image: str) -> str:
    """An image's name without its file type: what its label file is called. `BlobNameError` if it could leave its folder."""
    folder, filename = layout.split_image(layout.check_blob_name(image))
    stem, dot, _ = filename.rpartition(".")
    return layout.join_image(folder, stem if dot and stem else filename)


def refuse_twins(images: Iterable[ImageLabels], names: Iterable[str], why: str) -> None:
    """`FormatError` if two images would be known by one of `names` (one an image, in the same order)."""
    by_name = dict[str, str]()
    for image, name in zip(images, names, strict=True):
        if name in by_name:
            raise FormatError(f"images '{by_name[name]}' and '{image.image}' cannot be in one file set: {why}")
        by_name[name] = image.image


def own_keys(box: Box) -> dict[str, object]:
    """Our own keys of a VoTT region, where there is something to say: `confidence` and `source`."""
    confidence = {} if box.confidence is None else {"confidence": box.confidence}
    return confidence | ({} if box.source == HUMAN else {"source": box.source})


def repeated(names: Iterable[str]) -> list[str]:
    """Those that occur more than once."""
    return [name for name, times in Counter(names).items() if times > 1]
