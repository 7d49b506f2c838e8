"""COCO's JSON of instances, plain or as `annotations/instances_*.json` in a zip such as CVAT's.

Source: cocodataset.org, "Data format", and CVAT 2.54's own exports. Boxes are x, y, width, height in pixels; outlines are lists of
rings, masks run lengths. Our own keys: `reviewed` of an image; `score` of an annotation and `source` in its `attributes`, both as
CVAT passes them on.

Cannot hold: content hashes and further measures. A crowd region (`iscrowd` without CVAT's `attributes`) stands for many objects, so
it is a problem and no box; CVAT calls every single mask a crowd, and those are read.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from activelearning import rle, shapes
from activelearning.errors import FormatError
from activelearning.formats import archive, output, parsing, places
from activelearning.labels import HUMAN, MODEL, Box, ImageLabels, Mask, Polygons, Problem, Reading, Review, Rle, box_from_pixels

Keys = Mapping[str, object]


def read(path: Path, *, unmarked: Review = Review.REVIEWED) -> Reading:
    """Read a file, or all `annotations/instances_*.json` of a zip. An image without `reviewed` is `unmarked`."""
    return places.collect((one for where, raw in _files(path) for one in _images(where, _instances(where, raw), unmarked)), path.name)


def _files(path: Path) -> list[tuple[str, bytes]]:
    if not archive.is_zip(path):
        return [(path.name, parsing.read_bytes(path))]
    content = archive.read(path, is_instances).content
    if not content:
        raise FormatError(f"{path}: holds no annotations/instances_….json, so it is not a COCO export")
    return [(f"{path.name}/{name}", raw) for name, raw in content.items()]


def is_instances(name: str) -> bool:
    """Whether a member of a zip is COCO's file of instances."""
    return name.startswith("annotations/instances_") and name.endswith(".json")


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
    annotations = _by_image(instances)
    twins = frozenset(output.repeated(_identity(value, "id") for value in _list(instances, "images")))
    for at, value in enumerate(_list(instances, "images"), 1):
        image = yield from places.attempt(f"{where}, image {at}", _image, value, unmarked, twins)
        if image is not None:
            own = annotations.pop(_identity(value, "id"), [])
            boxes, problems = places.split(
                one for number, keys in own for one in _boxes(f"{where}, annotation {number}", keys, image, categories)
            )
            yield from problems
            yield replace(image, boxes=boxes)
    for number, _ in (one for orphans in annotations.values() for one in orphans):
        yield Problem(f"{where}, annotation {number}", "belongs to no image that could be read; it was left out, correct its image_id")


def _list(instances: Keys, key: str) -> list[object]:
    return places.entries(instances.get(key), key)


def _identity(value: object, key: str) -> str:
    """An id as text (files mix 1 and "1"); empty where there is none."""
    identity = value.get(key) if isinstance(value, dict) else None
    return str(identity) if isinstance(identity, int | str) else ""


def _categories(where: str, instances: Keys) -> Generator[Problem, None, dict[str, str]]:
    names = dict[str, str]()
    for at, value in enumerate(_list(instances, "categories"), 1):
        name = yield from places.attempt(f"{where}, category {at}", _category, value)
        if name is not None:
            names[_identity(value, "id")] = name
    return names


def _category(value: object) -> str:
    return places.label(places.record(value).get("name"))


def _by_image(instances: Keys) -> dict[str, list[tuple[int, object]]]:
    annotations: dict[str, list[tuple[int, object]]] = {}
    for at, value in enumerate(_list(instances, "annotations"), 1):
        annotations.setdefault(_identity(value, "image_id"), []).append((at, value))
    return annotations


def _image(value: object, unmarked: Review, twins: frozenset[str]) -> ImageLabels:
    keys, identity = places.record(value), _identity(value, "id")
    if not identity or identity in twins:
        raise FormatError("this image has no id, or shares it with another image")
    reviewed = keys.get("reviewed")
    review = (Review.REVIEWED if reviewed else Review.UNOPENED) if isinstance(reviewed, bool) else unmarked
    width, height = places.pixels(keys.get("width"), "width"), places.pixels(keys.get("height"), "height")
    return ImageLabels(places.image_name(keys.get("file_name")), width, height, review=review)


def _boxes(where: str, value: object, image: ImageLabels, categories: Mapping[str, str]) -> Iterator[Box | Problem]:
    keys = yield from places.attempt(where, _one_object, value)
    if keys is None:
        return
    mask = yield from places.attempt_detail(where, _mask, keys.get("segmentation"), image)
    confidence = yield from places.attempt_detail(where, places.score, keys.get("score"))
    box = yield from places.attempt(where, _box, keys, image, categories, confidence, mask)
    if box:
        yield box


def _one_object(value: object) -> Keys:
    keys = places.record(value)
    if keys.get("iscrowd") and "attributes" not in keys:
        raise FormatError("a crowd region stands for many objects")
    return keys


def _mask(segmentation: object, image: ImageLabels) -> Mask | None:
    if isinstance(segmentation, dict):
        return _rle(segmentation)
    rings = [places.entries(ring, "segmentation") for ring in places.entries(segmentation, "segmentation")]
    numbers = [[places.number(value, "segmentation") for value in ring] for ring in rings]
    return shapes.outline(numbers, image.width, image.height) if numbers else None


def _rle(segmentation: Keys) -> Rle:
    size = [places.whole(value, "size") for value in places.entries(segmentation.get("size"), "size")]
    if len(size) != 2:
        raise FormatError("a mask's size is not [height, width]")
    counts = segmentation.get("counts")
    runs = rle.decode(counts) if isinstance(counts, str) else [places.whole(run, "counts") for run in places.entries(counts, "counts")]
    return rle.from_runs(runs, size[0], size[1])


def _box(keys: Keys, image: ImageLabels, categories: Mapping[str, str], confidence: float | None, mask: Mask | None) -> Box:
    label = categories.get(_identity(keys, "category_id"))
    if label is None:
        raise FormatError("its category_id is not among the 'categories'")
    fields = {"confidence": confidence, "source": _source(keys), "mask": mask}
    return box_from_pixels(label, _corners(keys, image, mask), image.width, image.height, **fields)


def _source(keys: Keys) -> str:
    attributes = keys.get("attributes")
    if not isinstance(attributes, dict):
        return HUMAN
    return places.source(attributes.get("source"), MODEL if attributes.get("is_pseudo") is True else HUMAN)


def _corners(keys: Keys, image: ImageLabels, mask: Mask | None) -> shapes.Corners:
    values = [places.number(value, "bbox") for value in places.entries(keys.get("bbox"), "bbox")]
    if values and len(values) != 4:
        raise FormatError("'bbox' is not [x, y, width, height]")
    if values:
        return values[0], values[1], values[0] + values[2], values[1] + values[3]
    if isinstance(mask, Rle):
        return rle.bounds(mask)
    return shapes.bounds(shapes.ring_pixels(ring, image) for ring in (mask.rings if mask else ()))


def write(images: Sequence[ImageLabels], path: Path, *, classes: Sequence[str] = ()) -> None:
    """Write a new JSON. Ids begin at 1: categories in the order of `classes`, images and annotations in theirs."""
    output.refuse_twins(images, [image.image for image in images], "COCO needs distinct names")
    names = output.class_names(images, classes)
    category_ids = {name: at for at, name in enumerate(names, 1)}
    placed = [(image_id, image, box) for image_id, image in enumerate(images, 1) for box in shapes.measured(image).boxes]
    instances = {
        "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""},
        "licenses": [{"id": 0, "name": "", "url": ""}],
        "categories": [{"id": at, "name": name, "supercategory": ""} for name, at in category_ids.items()],
        "images": [_image_keys(image_id, image) for image_id, image in enumerate(images, 1)],
        "annotations": [
            {"id": at, "image_id": image_id, "category_id": category_ids[box.label], **_annotation(image, box)}
            for at, (image_id, image, box) in enumerate(placed, 1)
        ],
    }
    output.create_json(path, instances)


def _image_keys(identity: int, image: ImageLabels) -> dict[str, object]:
    size = {"width": image.width, "height": image.height}
    return {"id": identity, "file_name": image.image, **size, "license": 0, "reviewed": image.review is Review.REVIEWED}


def _annotation(image: ImageLabels, box: Box) -> dict[str, object]:
    xmin, ymin, xmax, ymax = shapes.to_pixels(box, image)
    segmentation, area = _segmentation(image, box)
    keys = {"bbox": [xmin, ymin, xmax - xmin, ymax - ymin], "segmentation": segmentation, "area": area, "iscrowd": 0}
    score = {} if box.confidence is None else {"score": box.confidence}
    return keys | score | {"attributes": {"source": box.source}}


def _segmentation(image: ImageLabels, box: Box) -> tuple[object, float]:
    """The mask as COCO has it, and the pixels it covers."""
    if isinstance(box.mask, Rle):
        runs = rle.runs_of(box.mask)
        return {"counts": box.mask.counts, "size": [box.mask.height, box.mask.width]}, sum(runs[1::2])
    if isinstance(box.mask, Polygons):
        rings = [shapes.ring_pixels(ring, image) for ring in box.mask.rings]
        return rings, sum(map(shapes.ring_area, rings))
    xmin, ymin, xmax, ymax = shapes.to_pixels(box, image)
    return [], (xmax - xmin) * (ymax - ymin)
