"""Pascal VOC: one XML an image, in a folder tree that mirrors the images'.

Source: the VOC 2007 development kit, and files of labelImg, VoTT 2 and CVAT. Corners are plain pixels: the 1-based convention of
the original kit is not undone, as the tools of today write what they draw. `verified` on <annotation> is labelImg's review mark.
Our own elements in an object, which other tools pass over: `confidence` and `label_source`.

Cannot hold: masks. Two images that differ only in their file type cannot be in one folder.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, SubElement

from activelearning import layout, shapes
from activelearning.errors import FormatError
from activelearning.formats import archive, output, parsing, places
from activelearning.labels import HUMAN, Box, ImageLabels, Problem, Reading, Review, box_from_pixels

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read(path: Path) -> Reading:
    """Read one XML, or all of a folder or a zip (below its `Annotations`, where it has one), by name.

    An image's folder is its XML's folder below the one that is read; the file name is what the XML states. `verified="no"` is
    unopened, anything else reviewed. A file that is no readable VOC XML is a problem; given by itself, a `FormatError`.
    """
    if path.is_file() and not archive.is_zip(path):
        return places.collect(_image(path.name, parsing.read_bytes(path), PurePosixPath()), path.name)
    files = _zipped(path) if path.is_file() else _folder(path)
    if not files:
        raise FormatError(f"{path}: holds no XML files, so it is not a folder of Pascal VOC labels")
    return places.collect((one for name, raw in files for one in _file(name, raw)), path.name)


def _zipped(path: Path) -> list[tuple[str, bytes]]:
    content = archive.read(path, lambda name: name.endswith(".xml")).content
    return [(name.removeprefix("Annotations/"), raw) for name, raw in sorted(content.items())]


def _folder(path: Path) -> list[tuple[str, bytes]]:
    root = path / "Annotations" if (path / "Annotations").is_dir() else path
    return [(file.relative_to(root).as_posix(), parsing.read_bytes(file)) for file in sorted(root.rglob("*.xml"))]


def _file(name: str, raw: bytes) -> Iterator[ImageLabels | Problem]:
    yield from (yield from places.attempt(name, _whole_image, name, raw)) or ()


def _whole_image(name: str, raw: bytes) -> list[ImageLabels | Problem]:
    return list(_image(name, raw, PurePosixPath(name).parent))


def _image(where: str, raw: bytes, folder: PurePosixPath) -> Iterator[ImageLabels | Problem]:
    root = parsing.parse_xml(raw, where)
    if root.tag != "annotation":
        raise FormatError(f"{where}: its outermost element is <{root.tag}>, so it is not a Pascal VOC file")
    name = _in_folder(places.image_name(root.findtext("filename")), folder)
    width = (yield from places.attempt_detail(where, places.pixels, root.findtext("size/width"), "width")) or 0
    height = (yield from places.attempt_detail(where, places.pixels, root.findtext("size/height"), "height")) or 0
    objects = enumerate(root.iterfind("object"), 1)
    boxes, problems = places.split(one for at, element in objects for one in _boxes(f"{where}, object {at}", element, width, height))
    yield from problems
    review = Review.UNOPENED if root.get("verified") == "no" else Review.REVIEWED
    yield ImageLabels(name, width, height, boxes, review)


def _in_folder(filename: str, folder: PurePosixPath) -> str:
    # CVAT writes the folder into the file name as well
    stated = PurePosixPath(filename)
    return filename if folder in (PurePosixPath(), stated.parent) else str(folder / stated.name)


def _boxes(where: str, element: Element, width: int, height: int) -> Iterator[Box | Problem]:
    confidence = yield from places.attempt_detail(where, places.score, element.findtext("confidence"))
    box = yield from places.attempt(where, _box, element, width, height, confidence)
    if box:
        yield box


def _box(element: Element, width: int, height: int, confidence: float | None) -> Box:
    label, source = places.label(element.findtext("name")), places.source(element.findtext("label_source"))
    xmin, ymin, xmax, ymax = (places.number(element.findtext(f"bndbox/{key}"), key) for key in _CORNERS)
    return box_from_pixels(label, (xmin, ymin, xmax, ymax), width, height, confidence=confidence, source=source)


def write(images: Sequence[ImageLabels], folder: Path, *, classes: Sequence[str] = ()) -> None:
    """Write `<image without its file type>.xml` for every image below `folder`. VOC has no list of classes."""
    names = [output.without_suffix(image.image) for image in images]
    output.refuse_twins(images, names, "their label files would have the same name; rename one")
    for name, image in zip(names, images, strict=True):
        output.create_xml(folder / f"{name}.xml", _annotation(shapes.measured(image)))


def _annotation(image: ImageLabels) -> Element:
    folder, filename = layout.split_image(image.image)
    root = Element("annotation", verified="yes" if image.review is Review.REVIEWED else "no")
    SubElement(root, "folder").text = folder
    SubElement(root, "filename").text = filename
    SubElement(SubElement(root, "source"), "database").text = "Unknown"
    size = SubElement(root, "size")
    for key, value in (("width", image.width), ("height", image.height), ("depth", 3)):
        SubElement(size, key).text = str(value)
    SubElement(root, "segmented").text = "0"
    root.extend([_object(image, box) for box in image.boxes])
    return root


def _object(image: ImageLabels, box: Box) -> Element:
    element = Element("object")
    own = {} if box.confidence is None else {"confidence": str(box.confidence)}
    own |= {} if box.source == HUMAN else {"label_source": box.source}
    plain = {"name": box.label, "pose": "Unspecified", "truncated": "0", "difficult": "0"}
    for tag, text in (plain | own).items():
        SubElement(element, tag).text = text
    corners = SubElement(element, "bndbox")
    for key, value in zip(_CORNERS, shapes.to_pixels(box, image), strict=True):
        SubElement(corners, key).text = str(value)
    return element
