"""A simulated annotator: corrects a batch's drafts from ground truth, in the tool's own files, and counts the work.

Rule: it edits the raw JSON or XML as the tool would, without our readers and writers, so what it hands in tests them. A draft that
overlaps an object of its class by IoU ≥ 0.8 is kept as it is, by ≥ 0.5 moved onto it, every other one deleted; objects without a
draft are drawn. Outlines are judged by the boxes around them.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import defusedxml.ElementTree

from activelearning.cost import CostModel
from activelearning.diff import Totals
from activelearning.labels import Box, Polygons, iou

KEEP_IOU = 0.8
NUDGE_IOU = 0.5

Truth = Mapping[str, Sequence[Box]]
"""The objects of each image by blob name."""


@dataclass(frozen=True, slots=True)
class Work:
    """What the annotator did to so many images, and the time it would take a person."""

    images: int
    totals: Totals

    def seconds(self, costs: CostModel) -> float:
        """Annotator-seconds by the cost model."""
        return costs.review_seconds(self.images, self.totals)

    @property
    def boxes(self) -> int:
        """Boxes in the images when the annotator is done."""
        return self.totals.kept + self.totals.moved + self.totals.added


@dataclass(frozen=True, slots=True)
class Corrected:
    """One image: indices of the drafts that stay, drafts with the box they are moved onto, and boxes drawn anew."""

    kept: tuple[int, ...]
    moved: tuple[tuple[int, Box], ...]
    drawn: tuple[Box, ...]
    deleted: int

    @property
    def totals(self) -> Totals:
        """The actions, counted."""
        empty = not (self.kept or self.moved or self.drawn)
        return Totals(len(self.kept), len(self.moved), 0, len(self.drawn), self.deleted, int(empty), 0)


def correct(drafts: Sequence[Box], truth: Sequence[Box]) -> Corrected:
    """Decide what to do with each draft; one draft answers for one object, the best overlap first."""
    overlaps = ((iou(draft, box), d, t) for d, draft in enumerate(drafts) for t, box in enumerate(truth) if draft.label == box.label)
    pairs = sorted((o for o in overlaps if o[0] >= NUDGE_IOU), key=lambda o: (-o[0], o[1], o[2]))
    answered: dict[int, int] = {}
    kept: list[int] = []
    moved: list[tuple[int, Box]] = []
    for overlap, d, t in pairs:
        if d in answered.values() or t in answered:
            continue
        answered[t] = d
        if overlap >= KEEP_IOU:
            kept.append(d)
        else:
            moved.append((d, truth[t]))
    drawn = tuple(box for t, box in enumerate(truth) if t not in answered)
    return Corrected(tuple(sorted(kept)), tuple(moved), drawn, len(drafts) - len(answered))


def review(folder: Path, truth: Truth) -> tuple[Work, Path | None]:
    """Review the batch in a folder with its tool; returns the work and the file to hand in, None for the tool's own."""
    manifest = json.loads((folder / "batch.json").read_text("utf-8"))
    files = {image["file"]: image["image"] for image in manifest["images"] if not image["problem"]}
    reviewed = {"vott": _review_vott, "cvat": _review_cvat}[manifest["tool"]]
    return reviewed(folder, {file: truth.get(image, ()) for file, image in files.items()})


def _review_vott(folder: Path, truth: Truth) -> tuple[Work, Path | None]:
    path = folder / "images.json"
    project = json.loads(path.read_text("utf-8"))
    sizes = {image["file"]: (image["width"], image["height"]) for image in json.loads((folder / "batch.json").read_text("utf-8"))["images"]}
    totals = Totals()
    for file, objects in truth.items():
        regions = project["frames"].get(file, [])
        done = correct([_region_box(region) for region in regions], objects)
        moved = dict(done.moved)
        stay = [regions[i] for i in done.kept] + [_moved_region(regions[i], box) for i, box in moved.items()]
        project["frames"][file] = stay + [_new_region(box, number, sizes[file]) for number, box in enumerate(done.drawn, len(stay) + 1)]
        totals += done.totals
    project["visitedFrames"] = sorted(truth)
    project.pop("drafts", None)  # a key of ours, which VoTT drops when it saves
    path.write_text(json.dumps(project), "utf-8")
    return Work(len(truth), totals), None


def _region_box(region: Mapping[str, object]) -> Box:
    x1, y1, x2, y2, width, height = (float(str(region[key])) for key in ("x1", "y1", "x2", "y2", "width", "height"))
    tags = region["tags"]
    assert isinstance(tags, list)
    return Box(str(tags[0]), x1 / width, y1 / height, x2 / width, y2 / height)


def _moved_region(region: Mapping[str, object], box: Box) -> dict[str, object]:
    return {**region, **_corners(box, (float(str(region["width"])), float(str(region["height"]))))}


def _new_region(box: Box, number: int, size: tuple[int, int]) -> dict[str, object]:
    frame = {"width": size[0], "height": size[1], "UID": f"{number:08x}", "id": number, "name": number, "type": "rect"}
    return {**_corners(box, size), **frame, "tags": [box.label]}


def _corners(box: Box, size: tuple[float, float]) -> dict[str, object]:
    x1, y1, x2, y2 = box.xmin * size[0], box.ymin * size[1], box.xmax * size[0], box.ymax * size[1]
    points = [{"x": x, "y": y} for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))]
    return {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "box": {"x1": x1, "y1": y1, "x2": x2, "y2": y2}, "points": points}


def _review_cvat(folder: Path, truth: Truth) -> tuple[Work, Path | None]:
    root = defusedxml.ElementTree.parse(folder / "annotations.xml").getroot()
    totals = Totals()
    for image in root.iter("image"):
        objects = truth.get(image.attrib["name"].rpartition("/")[2], ())
        totals += _review_cvat_image(image, objects)
    export = folder / "task.zip"
    with zipfile.ZipFile(export, "w") as archive:
        archive.writestr("annotations.xml", ElementTree.tostring(root, "unicode"))
    return Work(len(truth), totals), export


def _review_cvat_image(image: ElementTree.Element, objects: Sequence[Box]) -> Totals:
    size = float(image.attrib["width"]), float(image.attrib["height"])
    elements = [element for element in image if element.tag in _CVAT_CORNERS]
    drafts = [_element_box(element, size) for element in elements]
    done = correct(drafts, objects)
    moved = dict(done.moved)
    for index, element in enumerate(elements):
        if index not in done.kept:
            image.remove(element)
        if index in moved:
            image.append(_moved_element(element, moved[index], size))
    for box in done.drawn:
        image.append(_new_element(box, size))
    ElementTree.SubElement(image, "tag", {"label": "reviewed", "source": "manual"})
    return done.totals


def _element_box(element: ElementTree.Element, size: tuple[float, float]) -> Box:
    x1, y1, x2, y2 = _CVAT_CORNERS[element.tag](element)
    width, height = size
    return Box(element.attrib["label"], max(0.0, x1 / width), max(0.0, y1 / height), min(1.0, x2 / width), min(1.0, y2 / height))


def _corners_of_box(element: ElementTree.Element) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(element.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
    return x1, y1, x2, y2


def _corners_of_polygon(element: ElementTree.Element) -> tuple[float, float, float, float]:
    points = [tuple(map(float, point.split(","))) for point in element.attrib["points"].split(";")]
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _corners_of_mask(element: ElementTree.Element) -> tuple[float, float, float, float]:
    left, top, width, height = (float(element.attrib[key]) for key in ("left", "top", "width", "height"))
    return left, top, left + width, top + height


_CVAT_CORNERS = {"box": _corners_of_box, "polygon": _corners_of_polygon, "mask": _corners_of_mask}


def _moved_element(element: ElementTree.Element, box: Box, size: tuple[float, float]) -> ElementTree.Element:
    """A draft as it reads once its edges were moved: its attributes stay, a person draws outlines as polygons."""
    kept = {key: value for key, value in element.attrib.items() if key not in ("rle", "left", "top", "width", "height")}
    made = ElementTree.Element("polygon" if box.mask else "box", {**kept, "source": "semi-auto", **_cvat_shape(box, size)})
    made.extend(list(element))
    return made


def _new_element(box: Box, size: tuple[float, float]) -> ElementTree.Element:
    attributes = {"label": box.label, "source": "manual", "occluded": "0", "z_order": "0", **_cvat_shape(box, size)}
    return ElementTree.Element("polygon" if box.mask else "box", attributes)


def _cvat_shape(box: Box, size: tuple[float, float]) -> dict[str, str]:
    if not isinstance(box.mask, Polygons):
        return _cvat_corners(box, *size)
    ring = box.mask.rings[0]
    return {"points": ";".join(f"{x * size[0]:.2f},{y * size[1]:.2f}" for x, y in zip(ring[::2], ring[1::2], strict=True))}


def _cvat_corners(box: Box, width: float, height: float) -> dict[str, str]:
    values = {"xtl": box.xmin * width, "ytl": box.ymin * height, "xbr": box.xmax * width, "ybr": box.ymax * height}
    return {name: f"{value:.2f}" for name, value in values.items()}
