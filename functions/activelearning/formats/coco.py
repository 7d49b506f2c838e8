"""COCO's JSON of instances, plain or as `annotations/instances_*.json` in a zip such as CVAT's.

Source: cocodataset.org, "Data format", and CVAT 2.54's own exports. Boxes are x, y, width, height in pixels; outlines are lists of
rings, masks run lengths. Our own keys: `reviewed` of an image; `score` of an annotation and `source` in its `attributes`, both as
CVAT passes them on.

Cannot hold: content hashes and further measures. A crowd region (`iscrowd` without CVAT's `attributes`) stands for many objects, so
it is a problem and no box; CVAT calls every single mask a crowd, and those are read.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from activelearning.errors import FormatError
from activelearning.formats import archive, output, parsing, places, rle, shapes
from activelearning.labels import HUMAN, MODEL, Box, ImageLabels, Mask, Polygons, Problem, Reading, Review, Rle, box_from_pixels

Keys = Mapping[str, object]


def read(path: Path, *, unmarked: Review = Review.REVIEWED) -> Reading:
    """Read a file, or all `annotations/*.json` of a zip. An image without `reviewed` is `unmarked`."""
    return places.collect((one for where, raw in _files(path) for one in _images(where, _instances(where, raw), unmarked)), path.name)


def _files(path: Path) -> list[tuple[str, bytes]]:
    if not archive.is_zip(path):
        return [(path.name, parsing.read_bytes(path))]
    content = archive.read(path, lambda name: name.startswith("annotations/") and name.endswith(".json")).content
    if not content:
        raise FormatError(f"{path}: holds no annotations/instances_….json, so it is not a COCO export")
    return [(f"{path.name}/{name}", raw) for name, raw in content.items()]


def _instances(where: str, raw: bytes) -> Keys:
    instances = parsing.json_object(raw, where)
    for key in ("images", "annotations", "categories"):
        if not isinstance(instances.get(key, []), list):
            raise FormatError(f"{where}: its '{key}' is not a list")
    if "images" not in instances:
        raise FormatError(f"{where}: has no 'images', so it is not a COCO file of instances")
    return instances


def _images(where: str, instances: Keys, unmarked: Review) -> Iterator[ImageLabels | Problem]:
    categories = yield from _categories(where, instances)
    annotations = yield from _by_image(where, instances)
    for at, value in enumerate(places.entries(instances["images"], "images")):
        image = yield from places.attempt(f"{where}, image {at + 1}", _image, value, unmarked)
        if image is not None:
            yield from _with_boxes(where, image, annotations.pop(_id(value), []), categories)
    for number, _ in (one for orphans in annotations.values() for one in orphans):
        yield Problem(f"{where}, annotation {number}", "names an image_id that is not in 'images'; it was left out")


def _categories(where: str, instances: Keys) -> Iterator[Problem]:  # type: ignore[misc]
    raise NotImplementedError
