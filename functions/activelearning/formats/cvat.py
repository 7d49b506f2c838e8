"""CVAT for images 1.1: one XML, plain or as `annotations.xml` in a zip, of a task, a job or a project.

Source: CVAT 2.54's own exports, and the format's page in CVAT's manual. Boxes, polygons and masks are objects. The image-level tag
`reviewed` is ours: CVAT cannot tell an image somebody looked at from an untouched one (its issue 10493).

Provenance: CVAT's `source` is auto (a model's), manual (a person's), semi-auto (a model's, changed by a person) or file (imported,
which wipes what it was). So our own word for it rides in the attribute `source`, believed where CVAT says auto or file.

Cannot hold: outlines of several rings (they become masks), masks of another size than the image (they become their box), a box other than
its polygon's or mask's bounds, the confidence of a box whose source reads manual (CVAT fills in its default there).
"""

from collections.abc import Iterator
from math import cos, radians, sin
from pathlib import Path
from xml.etree.ElementTree import Element

from activelearning import rle, shapes
from activelearning.errors import FormatError
from activelearning.formats import archive, parsing, places
from activelearning.formats.cvat_write import REVIEWED_TAG, write
from activelearning.labels import HUMAN, MODEL, Box, ImageLabels, Mask, Problem, Reading, Review, box_from_pixels

__all__ = ["read", "write"]

_MEMBER = "annotations.xml"
_SHAPES = frozenset({"box", "polygon", "mask"})
_OTHER_SHAPES = frozenset({"polyline", "points", "ellipse", "cuboid", "skeleton"})


def read(path: Path, *, unmarked: Review = Review.REVIEWED) -> Reading:
    """Read an export.

    An image with the tag `reviewed` is reviewed; one without it is unopened, unless the file doesn't know that tag at all (neither
    on an image nor among its labels): then it is `unmarked`. A rotated box becomes the upright box around it, with a problem.
    """
    root = parsing.parse_xml(_xml(path), str(path))
    if root.tag != "annotations":
        raise FormatError(f"{path}: its outermost element is <{root.tag}>, so it is not a file of 'CVAT for images 1.1'")
    return places.collect(_images(path.name, root, Review.UNOPENED if _knows_review(root) else unmarked), path.name)


def _xml(path: Path) -> bytes:
    if not archive.is_zip(path):
        return parsing.read_bytes(path)
    content = archive.read(path, lambda name: name == _MEMBER).content
    if _MEMBER not in content:
        raise FormatError(f"{path}: holds no {_MEMBER}, so it is not an export of 'CVAT for images 1.1'")
    return content[_MEMBER]


def _knows_review(root: Element) -> bool:
    named = any(name.text == REVIEWED_TAG for name in root.iterfind("meta//labels/label/name"))
    return named or any(_is_reviewed(image) for image in root.iterfind("image"))


def _is_reviewed(image: Element) -> bool:
    return any(tag.get("label") == REVIEWED_TAG for tag in image.iterfind("tag"))


def _images(file: str, root: Element, unmarked: Review) -> Iterator[ImageLabels | Problem]:
    for track in root.iterfind("track"):
        yield Problem(f"{file}, track {track.get('id')}", "is a track of a video; export the task as 'CVAT for images 1.1'")
    for at, element in enumerate(root.iterfind("image"), 1):
        where = f"{file}, image {at}"
        name = yield from places.attempt(where, places.image_name, element.get("name"))
        if name is not None:
            yield from _image(f"{file}, image '{name}'", name, element, unmarked)


def _image(where: str, name: str, element: Element, unmarked: Review) -> Iterator[ImageLabels | Problem]:
    width = (yield from places.attempt_detail(where, places.pixels, element.get("width"), "width")) or 0
    height = (yield from places.attempt_detail(where, places.pixels, element.get("height"), "height")) or 0
    frame = ImageLabels(name, width, height)
    numbered = enumerate((child for child in element if child.tag != "tag" or child.get("label") != REVIEWED_TAG), 1)
    boxes, problems = places.split(one for at, shape in numbered for one in _found(f"{where}, {shape.tag} {at}", shape, frame))
    yield from problems
    yield ImageLabels(name, width, height, boxes, Review.REVIEWED if _is_reviewed(element) else unmarked)


def _found(where: str, shape: Element, frame: ImageLabels) -> Iterator[Box | Problem]:
    if shape.tag in _SHAPES:
        source = _source(shape)
        confidence = None if _by_hand(shape) else (yield from places.attempt_detail(where, _confidence, shape))
        box = yield from places.attempt(where, _box, shape, frame, source, confidence)
        if box:
            yield from _turned(where, shape)
            yield box
    elif shape.tag in _OTHER_SHAPES:
        yield Problem(where, f"a {shape.tag} is neither a box, a polygon nor a mask; it was left out, draw it as one of these")
    elif shape.tag == "tag":
        yield Problem(where, f"the tag '{shape.get('label')}' belongs to the whole image and has no box; it was left out")


def _source(shape: Element) -> str:
    stated = shape.get("source", "manual")
    if stated not in ("auto", "file"):
        return HUMAN
    pseudo = (_attribute(shape, "is_pseudo") or "").lower() == "true"
    return places.source(_attribute(shape, "source"), MODEL if stated == "auto" or pseudo else HUMAN)


def _by_hand(shape: Element) -> bool:
    return shape.get("source", "manual") == "manual"


def _confidence(shape: Element) -> float | None:
    return places.score(shape.get("score") or _attribute(shape, "score"))


def _attribute(shape: Element, name: str) -> str | None:
    return next((attribute.text for attribute in shape.iterfind("attribute") if attribute.get("name") == name), None)


def _turned(where: str, shape: Element) -> Iterator[Problem]:
    if shape.tag == "box" and float(shape.get("rotation") or 0) % 360:
        yield Problem(where, f"is turned by {shape.get('rotation')}°; the upright box around it was taken, check that it fits")


def _box(shape: Element, frame: ImageLabels, source: str, confidence: float | None) -> Box:
    label = places.label(shape.get("label"))
    corners, mask = _FORMS[shape.tag](shape, frame)
    return box_from_pixels(label, corners, frame.width, frame.height, confidence=confidence, source=source, mask=mask)


def _plain_box(shape: Element, frame: ImageLabels) -> tuple[shapes.Corners, Mask | None]:
    left, top, right, bottom = (places.number(shape.get(key), key) for key in ("xtl", "ytl", "xbr", "ybr"))
    (turn,) = shapes.finite([places.number(shape.get("rotation") or 0, "rotation")])
    half_width = (abs(cos(radians(turn)) * (right - left)) + abs(sin(radians(turn)) * (bottom - top))) / 2
    half_height = (abs(sin(radians(turn)) * (right - left)) + abs(cos(radians(turn)) * (bottom - top))) / 2
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    around = (middle_x - half_width, middle_y - half_height, middle_x + half_width, middle_y + half_height)
    return around if turn % 360 else (left, top, right, bottom), None


def _polygon(shape: Element, frame: ImageLabels) -> tuple[shapes.Corners, Mask | None]:
    points = (shape.get("points") or "").split(";")
    ring = [places.number(value, "points") for point in points for value in _pair(point)]
    return shapes.bounds([shapes.finite(ring)]), shapes.outline([ring], frame.width, frame.height)


def _pair(point: str) -> list[str]:
    pair = point.split(",")
    if len(pair) != 2:
        raise FormatError(f"the point '{point[:40]}' is not 'x,y'")
    return pair


def _mask(shape: Element, frame: ImageLabels) -> tuple[shapes.Corners, Mask | None]:
    runs = [places.whole(run, "rle") for run in (shape.get("rle") or "").split(",")]
    left, top, width, height = (places.whole(shape.get(key), key) for key in ("left", "top", "width", "height"))
    mask = rle.from_crop(runs, (left, top, width, height), frame.height, frame.width)
    return rle.bounds(mask), mask


_FORMS = {"box": _plain_box, "polygon": _polygon, "mask": _mask}
