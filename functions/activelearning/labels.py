"""The values in the middle: boxes, and the labels of one image.

Rule: a value that exists is valid. Coordinates are fractions of the upright image's width and height (EXIF orientation applied),
origin top left. A model's box on an image that nobody opened never becomes truth, so every image says whether it was reviewed
and every box where it comes from.
"""

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum

from activelearning.errors import BoxError

HUMAN = "human"
HUMAN_CONFIRMED = "human-confirmed"
MODEL = "model"
PSEUDO = "pseudo@"
"""Before the name of a run: a box that the machine accepted by itself."""
_SOURCE = re.compile(r"human|human-confirmed|model|pseudo@.+")

BACKGROUND = "NULL"
"""The class literal of the one row that stands for an image without boxes (the ancestor's convention)."""


class Review(StrEnum):
    """Whether a person looked at the image. Reviewed without boxes is a negative; unopened goes back to the pool."""

    REVIEWED = "reviewed"
    UNOPENED = "unopened"


@dataclass(frozen=True, slots=True)
class Polygons:
    """An outline as rings of x, y fractions: `((x0, y0, x1, y1, …), …)`, at least three points a ring."""

    rings: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if not self.rings or any(len(ring) < 6 or len(ring) % 2 for ring in self.rings):
            raise BoxError("a polygon needs at least three x, y points")
        if not all(math.isfinite(value) for ring in self.rings for value in ring):
            raise BoxError("a polygon has a coordinate that is not a number")


@dataclass(frozen=True, slots=True)
class Rle:
    """A mask as COCO's compressed run-length string, column-major, first run zeros; `height` and `width` in pixels.

    Whether the runs fill that size shows when they are read (`activelearning.rle.runs_of`).
    """

    counts: str
    height: int
    width: int

    def __post_init__(self) -> None:
        if not (self.height > 0 and self.width > 0):
            raise BoxError(f"a mask of {self.width} × {self.height} pixels makes no sense")


Mask = Polygons | Rle


@dataclass(frozen=True, slots=True)
class Box:
    """One object: class name, corners as fractions, and how we know it.

    `confidence` is the detector's score, None where no detector was asked. `measures` are further figures of a detection by
    column name (`entropy`, `margin`, …), sorted by name.
    """

    label: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    confidence: float | None = None
    source: str = HUMAN
    mask: Mask | None = None
    measures: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        corners = (self.xmin, self.ymin, self.xmax, self.ymax)
        if not all(math.isfinite(value) for value in corners):
            raise BoxError(f"a box of class '{self.label}' has a coordinate that is not a number")
        if not (0 <= self.xmin < self.xmax <= 1 and 0 <= self.ymin < self.ymax <= 1):
            raise BoxError(f"a box of class '{self.label}' has no area inside the image: {corners}")
        if not self.label or self.label == BACKGROUND:
            raise BoxError(f"'{self.label}' is not a class name")
        if not _SOURCE.fullmatch(self.source):
            raise BoxError(f"'{self.source}' is not a source of labels")

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """Corners xmin, ymin, xmax, ymax as fractions."""
        return self.xmin, self.ymin, self.xmax, self.ymax


def box_from_pixels(label: str, xyxy: tuple[float, float, float, float], width: float, height: float, **fields: object) -> Box:
    """Make a box from pixel corners, clipped to the image.

    `width` and `height` are of the frame the corners were drawn in. `fields` go to `Box` as they are.
    Raises `BoxError` when nothing of the box is left, with the corners as they were given.
    """
    if not (width > 0 and height > 0):
        raise BoxError(f"a box of class '{label}' lies in an image of no size ({width} × {height})")
    if not all(math.isfinite(value) for value in xyxy):
        raise BoxError(f"a box of class '{label}' has a coordinate that is not a number")
    xmin, ymin, xmax, ymax = xyxy[0] / width, xyxy[1] / height, xyxy[2] / width, xyxy[3] / height
    clipped = (max(xmin, 0.0), max(ymin, 0.0), min(xmax, 1.0), min(ymax, 1.0))
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        numbers = ", ".join(f"{value:g}" for value in xyxy)
        raise BoxError(f"a box of class '{label}' has no area inside the image ({numbers} in {width:g} × {height:g})")
    return Box(label, *clipped, **fields)  # type: ignore[arg-type]


def iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    width = min(first.xmax, second.xmax) - max(first.xmin, second.xmin)
    height = min(first.ymax, second.ymax) - max(first.ymin, second.ymin)
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (area(first) + area(second) - width * height)


def area(box: Box) -> float:
    """Share of the image that the box covers."""
    return (box.xmax - box.xmin) * (box.ymax - box.ymin)


@dataclass(frozen=True, slots=True)
class ImageLabels:
    """All that is known of one image's objects.

    `image` is the blob name with its folders, never the bare file name. `width` and `height` are pixels of the upright image,
    0 where nobody has measured yet. `content_hash` travels along so that a replaced image is noticed (empty: unknown).
    `acquisition_score` (higher comes earlier) and `chosen_for`, a short text, say why a totag lists the image where it does.
    """

    image: str
    width: int = 0
    height: int = 0
    boxes: tuple[Box, ...] = ()
    review: Review = Review.REVIEWED
    content_hash: str = ""
    image_confidence: float | None = None
    acquisition_score: float | None = None
    chosen_for: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one place of a file, as one plain sentence: where, what, what to do."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader made of a file: the labels, in the file's order, and every place it had to leave out."""

    images: tuple[ImageLabels, ...] = ()
    problems: tuple[Problem, ...] = field(default=())
