"""YOLO: one text file an image, rows of `class cx cy width height` or `class x0 y0 x1 y1 …` (an outline) in fractions.

Source: Darknet, Ultralytics' dataset pages, and CVAT's "YOLO 1.1" export. Labels lie beside the images, or in `labels/` parallel to
`images/`; class names are in `obj.names`, `classes.txt` or `data.yaml`. An empty file is a negative, a missing one an unopened image.
Our own file `reviewed.txt` lists the reviewed images; without it all that have a file are reviewed.

Cannot hold: confidences (a sixth column is read, but trainers choke on it, so it is not written), sources, image sizes, holes and all but
the largest part of a run-length mask, outlines of several rings, a box other than its outline's bounds, two images that differ only in
their file type.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from activelearning import layout, outlines, shapes
from activelearning.errors import FormatError
from activelearning.formats import archive, output, parsing, places, yolo_names
from activelearning.labels import Box, ImageLabels, Problem, Reading, Review, box_from_pixels

SizeOf = Callable[[str], tuple[int, int]]

_REVIEWED = "reviewed.txt"
_NAME_FILES = ("data.yaml", "data.yml", "obj.names", "classes.txt")
_LISTS = frozenset({"train.txt", "val.txt", "test.txt", "images.txt"})
_WRAPPER = re.compile(r"(^|/)(?:images|labels|obj_[^/]*_data)/")
"""Folders that are no part of an image's name: Ultralytics', Roboflow's (`train/images/`), CVAT's."""


@dataclass(frozen=True, slots=True)
class _Tree:
    """The files of a folder or a zip: all names, and the bytes of the texts among them."""

    names: tuple[str, ...]
    texts: Mapping[str, bytes]


def read(path: Path, *, size_of: SizeOf | None = None) -> Reading:
    """Read a folder, a zip, or the folder of a given file of class names.

    Images are those that lie there or are in a list such as CVAT's `train.txt`. A label file of none of them is an image whose name lacks
    its file type. `size_of(image)` gives width and height in pixels; without it they are 0.
    """
    tree = _zipped(path) if archive.is_zip(path) else _folder(path if path.is_dir() else path.parent)
    names = _class_names(path, tree)
    found = (one for source in _sources(tree) for one in _image(path.name, source, names, size_of))
    return places.collect(found, path.name)


def _zipped(path: Path) -> _Tree:
    members = archive.read(path, _is_text)
    return _Tree(members.names, members.content)


def _folder(folder: Path) -> _Tree:
    names = tuple(file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file())
    return _Tree(names, {name: parsing.read_bytes(folder / name) for name in names if _is_text(name)})


def _is_text(name: str) -> bool:
    return name.endswith((".txt", ".names", ".yaml", ".yml"))


def _class_names(path: Path, tree: _Tree) -> list[str]:
    named = [name for file in (path.name, *_NAME_FILES) for name in tree.texts if PurePosixPath(name).name == file]
    if not named:
        raise FormatError(f"{path}: has no class names (obj.names, classes.txt or data.yaml), so it is not a YOLO folder")
    text = parsing.decode(tree.texts[named[0]], named[0])
    return yolo_names.from_yaml(text, named[0]) if named[0].endswith(("yaml", "yml")) else yolo_names.from_lines(text)


@dataclass(frozen=True, slots=True)
class _Source:
    """An image's name, the name and content of its label file (empty if it has none), and its review."""

    image: str
    file: str
    labels: bytes
    review: Review


def _sources(tree: _Tree) -> Iterator[_Source]:
    lists = {name for name in tree.texts if _is_list(name, tree.texts[name])}
    labels = {_stem(_inner(name)): name for name in tree.texts if _is_labels(name) and name not in lists}
    listed = [image for name in tree.texts if name in lists for image in _listed(tree.texts[name])]
    images = dict.fromkeys([*listed, *map(_inner, filter(layout.is_image, tree.names))])
    stems = {_stem(image) for image in images}
    files = [(image, labels.get(_stem(image), "")) for image in images] + [one for one in labels.items() if one[0] not in stems]
    reviewed = _reviewed(tree)
    for image, file in files:
        opened = file and (reviewed is None or image in reviewed)
        yield _Source(image, file, tree.texts.get(file, b""), Review.REVIEWED if opened else Review.UNOPENED)


def _reviewed(tree: _Tree) -> frozenset[str] | None:
    return frozenset(tree.texts[_REVIEWED].decode(errors="replace").split("\n")) if _REVIEWED in tree.texts else None


def _is_labels(name: str) -> bool:
    file = PurePosixPath(name).name
    return file.endswith(".txt") and name != _REVIEWED and file not in _NAME_FILES and not file.lower().startswith("readme")


def _is_list(name: str, raw: bytes) -> bool:
    lines = [line for line in raw.decode(errors="replace").split("\n") if line.strip()]
    return name in _LISTS or (name != _REVIEWED and bool(lines) and all(layout.is_image(line.strip()) for line in lines))


def _listed(raw: bytes) -> Iterator[str]:
    for line in raw.decode(errors="replace").split("\n"):
        path = line.strip("\r\ufeff").replace("\\", "/").removeprefix("./").removeprefix("data/")
        if path.startswith("/") or ":" in path.partition("/")[0]:
            # absolute on another machine: only what follows its images folder can be meant here
            path = path.rpartition("/images/")[2] if "/images/" in path else path.rpartition("/")[2]
            yield path
        elif path:
            yield _inner(path)


def _inner(name: str) -> str:
    return _WRAPPER.sub(r"\1", name, count=1)


def _stem(name: str) -> str:
    folder, filename = layout.split_image(name)
    stem, dot, _ = filename.rpartition(".")
    return layout.join_image(folder, stem if dot else filename)


def _image(folder: str, found: _Source, names: Sequence[str], size_of: SizeOf | None) -> Iterator[ImageLabels | Problem]:
    where = f"{folder}, {found.file or found.image}"
    image = yield from places.attempt(where, places.image_name, found.image)
    text = yield from places.attempt(where, parsing.decode, found.labels, where)
    if image is None or text is None:
        return
    boxes, problems = places.split(_rows(where, text, names))
    yield from problems
    width, height = size_of(image) if size_of else (0, 0)
    yield ImageLabels(image, width, height, boxes, found.review)


def _rows(where: str, text: str, names: Sequence[str]) -> Iterator[Box | Problem]:
    for at, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield from _row(f"{where} row {at}", line.split(), names)


def _row(where: str, columns: Sequence[str], names: Sequence[str]) -> Iterator[Box | Problem]:
    confidence = (yield from places.attempt_detail(where, places.score, columns[5])) if len(columns) == 6 else None
    box = yield from places.attempt(where, _box, columns, names, confidence)
    if box:
        yield box


def _box(columns: Sequence[str], names: Sequence[str], confidence: float | None) -> Box:
    label = yolo_names.name_at(names, places.whole(columns[0], "class"))
    numbers = [places.number(column, "coordinate") for column in columns[1:]]
    if len(columns) >= 7 and len(columns) % 2:
        return box_from_pixels(label, shapes.bounds([shapes.finite(numbers)]), 1, 1, mask=shapes.outline([numbers], 1, 1))
    if len(columns) not in (5, 6):
        raise FormatError(f"a row of {len(columns)} columns is neither a box nor an outline")
    x, y, width, height = numbers[:4]
    return box_from_pixels(label, (x - width / 2, y - height / 2, x + width / 2, y + height / 2), 1, 1, confidence=confidence)


def write(images: Sequence[ImageLabels], folder: Path, *, classes: Sequence[str] = ()) -> None:
    """Write a new folder: `data.yaml`, `labels/…`, `images.txt` (all images, as `./images/…`: put them there) and `reviewed.txt`."""
    stems = [output.without_suffix(image.image) for image in images]
    output.refuse_twins(images, stems, "their label files would have the same name; rename one")
    names = output.class_names(images, classes)
    output.create(folder / "data.yaml", "train: images\nval: images\n" + yolo_names.to_yaml(names))
    output.create(folder / "images.txt", "".join(f"./images/{image.image}\n" for image in images))
    reviewed = [image.image for image in images if image.review is Review.REVIEWED]
    output.create(folder / _REVIEWED, "".join(f"{image}\n" for image in reviewed))
    for stem, image in zip(stems, images, strict=True):
        if image.boxes or image.review is Review.REVIEWED:
            output.create(folder / "labels" / f"{stem}.txt", "".join(_line(box, names) for box in image.boxes))


def _line(box: Box, names: Sequence[str]) -> str:
    ring = outlines.ring_of(box)
    centre = ((box.xmin + box.xmax) / 2, (box.ymin + box.ymax) / 2, box.xmax - box.xmin, box.ymax - box.ymin)
    return " ".join([str(names.index(box.label)), *(f"{value:.9f}" for value in ring or centre)]) + "\n"
