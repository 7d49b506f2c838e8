"""Outlines for detectors that draw masks: the bundled blood cells have boxes only, and a cell nearly fills the ellipse in its box."""

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from activelearning import formats
from activelearning.importing import read_truth
from activelearning.labels import Box, ImageLabels, Polygons

_POINTS = 24


def write(annotations: Path, target: Path) -> None:
    """Read boxes (Pascal VOC) and write them as COCO, each with the ellipse that touches its four sides."""
    images = [ellipses(labels) for labels in read_truth(annotations, "voc").images]
    formats.write(images, target, "coco", _classes(images))


def ellipses(labels: ImageLabels) -> ImageLabels:
    """The same labels, each box with an outline."""
    return replace(labels, boxes=tuple(replace(box, mask=ellipse(box)) for box in labels.boxes))


def ellipse(box: Box) -> Polygons:
    """The ellipse in a box, as a polygon of 24 points, four of them on the sides."""
    turns = (2 * math.pi * number / _POINTS for number in range(_POINTS))
    width, height = (box.xmax - box.xmin) / 2, (box.ymax - box.ymin) / 2
    points = ((box.xmin + width * (1 + math.cos(turn)), box.ymin + height * (1 + math.sin(turn))) for turn in turns)
    return Polygons((tuple(value for point in points for value in point),))


def _classes(images: Iterable[ImageLabels]) -> list[str]:
    return sorted({box.label for labels in images for box in labels.boxes})
