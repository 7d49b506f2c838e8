"""Writing CVAT for images 1.1; the reading half, and what the format can hold, is in `cvat`."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

from activelearning import outlines, rle, shapes
from activelearning.errors import FormatError
from activelearning.formats import output
from activelearning.formats.colours import palette
from activelearning.labels import HUMAN, Box, ImageLabels, Polygons, Review, Rle

REVIEWED_TAG = "reviewed"

# A number whose default is a number: an empty score breaks CVAT's COCO export of the whole task.
_ATTRIBUTES = (("score", "number", "0", "0\n100\n1"), ("source", "text", "", ""))


def write(images: Sequence[ImageLabels], path: Path, *, classes: Sequence[str] = ()) -> None:
    """Write a new plain XML with labels and colours in its head.

    A person's box has source manual (semi-auto if it has a confidence too), any other auto; CVAT's import makes it "file".
    """
    names = output.class_names(images, classes)
    if REVIEWED_TAG in names:
        raise FormatError(f"class '{REVIEWED_TAG}': this name marks images that were looked at; rename the class")
    output.refuse_twins(images, [image.image for image in images], "CVAT needs distinct names")
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    root.append(_meta(names, len(images)))
    root.extend([_image(number, shapes.measured(image)) for number, image in enumerate(images)])
    output.create_xml(path, root)


def _meta(names: Sequence[str], size: int) -> Element:
    meta = Element("meta")
    task = SubElement(meta, "task")
    SubElement(task, "size").text = str(size)
    SubElement(task, "mode").text = "annotation"
    labels = SubElement(task, "labels")
    for name, colour in palette([*names, REVIEWED_TAG]).items():
        labels.append(_label(name, colour))
    return meta


def _label(name: str, colour: str) -> Element:
    is_tag = name == REVIEWED_TAG
    label = _with_texts(Element("label"), name=name, color=colour, type="tag" if is_tag else "any")
    attributes = SubElement(label, "attributes")
    for attribute, kind, default, values in () if is_tag else _ATTRIBUTES:
        element = SubElement(attributes, "attribute")
        _with_texts(element, name=attribute, mutable="False", input_type=kind, default_value=default, values=values)
    return label


def _with_texts(parent: Element, **texts: str) -> Element:
    for tag, text in texts.items():
        SubElement(parent, tag).text = text
    return parent


def _image(number: int, image: ImageLabels) -> Element:
    element = Element("image", id=str(number), name=image.image, width=str(image.width), height=str(image.height))
    if image.review is Review.REVIEWED:
        SubElement(element, "tag", label=REVIEWED_TAG, source="manual")
    element.extend([_shape(image, box) for box in image.boxes])
    return element


def _shape(image: ImageLabels, box: Box) -> Element:
    tag, geometry = _geometry(image, box)
    manual = "manual" if box.confidence is None else "semi-auto"
    source = manual if box.source == HUMAN else "auto"
    shape = Element(tag, {"label": box.label, "source": source, "occluded": "0", **geometry, "z_order": "0"})
    if box.confidence is not None:
        SubElement(shape, "attribute", name="score").text = str(box.confidence)
    SubElement(shape, "attribute", name="source").text = box.source
    return shape


def _geometry(image: ImageLabels, box: Box) -> tuple[str, dict[str, str]]:
    ring = shapes.single_ring(box)
    mask = _pixels(image, box)
    if mask:
        runs, crop = rle.to_crop(mask)
        place = dict(zip(("left", "top", "width", "height"), map(str, crop), strict=True))
        return "mask", {"rle": ", ".join(map(str, runs)), **place}
    if ring:
        return "polygon", {"points": _points(shapes.ring_pixels(ring, image))}
    return "box", dict(zip(("xtl", "ytl", "xbr", "ybr"), map(str, shapes.to_pixels(box, image)), strict=True))


def _pixels(image: ImageLabels, box: Box) -> Rle | None:
    """The mask as run lengths, where it is one, or an outline of several rings, for which CVAT has no other shape."""
    if isinstance(box.mask, Polygons) and len(box.mask.rings) > 1:
        filled = outlines.fill(box.mask, image.width, image.height)
        return filled if len(rle.runs_of(filled)) > 1 else None
    # a mask of another size than its image would land in the wrong place
    fits = isinstance(box.mask, Rle) and (box.mask.width, box.mask.height) == (image.width, image.height)
    return box.mask if fits and isinstance(box.mask, Rle) else None


def _points(ring: Sequence[float]) -> str:
    return ";".join(f"{x},{y}" for x, y in zip(ring[::2], ring[1::2], strict=True))
