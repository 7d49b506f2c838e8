"""Pixels and fractions: boxes and outlines of any format to ours and back.

Rule: coordinates inside are fractions; only here do they meet an image's width and height.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from math import isfinite

from activelearning.errors import FormatError
from activelearning.labels import Box, ImageLabels, Polygons

Corners = tuple[float, float, float, float]


def to_pixels(box: Box, image: ImageLabels) -> Corners:
    """Corners xmin, ymin, xmax, ymax in pixels."""
    return box.xmin * image.width, box.ymin * image.height, box.xmax * image.width, box.ymax * image.height


def outline(rings: Iterable[Sequence[float]], width: float, height: float) -> Polygons:
    """An outline from rings of x, y pixels; points outside the image are moved to its edge."""
    if not (width > 0 and height > 0):
        raise FormatError("an outline lies in an image of no size")
    return Polygons(tuple(_fractions(finite(ring), width, height) for ring in rings))


def _fractions(ring: Sequence[float], width: float, height: float) -> tuple[float, ...]:
    return tuple(min(max(value / (height if at % 2 else width), 0.0), 1.0) for at, value in enumerate(ring))


def ring_pixels(ring: Sequence[float], image: ImageLabels) -> list[float]:
    """One ring x0, y0, x1, y1, … in pixels."""
    return [value * (image.height if at % 2 else image.width) for at, value in enumerate(ring)]


def bounds(rings: Iterable[Sequence[float]]) -> Corners:
    """The box around rings of x, y, in their own unit."""
    points = list(rings)
    xs, ys = list(chain.from_iterable(ring[::2] for ring in points)), list(chain.from_iterable(ring[1::2] for ring in points))
    if not xs or not ys:
        raise FormatError("an outline has no points")
    return min(xs), min(ys), max(xs), max(ys)


def ring_area(ring: Sequence[float]) -> float:
    """Area inside a ring (shoelace), in its unit squared."""
    xs, ys = ring[::2], ring[1::2]
    turned = zip(xs, ys, [*xs[1:], xs[0]], [*ys[1:], ys[0]], strict=True)
    return abs(sum(x * next_y - next_x * y for x, y, next_x, next_y in turned)) / 2


def single_ring(box: Box) -> tuple[float, ...] | None:
    """The outline, if it is one ring: all that most formats can hold."""
    return box.mask.rings[0] if isinstance(box.mask, Polygons) and len(box.mask.rings) == 1 else None


def measured(image: ImageLabels) -> ImageLabels:
    """The image itself; `FormatError` if it has boxes but nobody knows its size in pixels."""
    if image.boxes and not (image.width > 0 and image.height > 0):
        raise FormatError(f"image '{image.image}': its width and height are unknown; measure it before writing pixels")
    return image


def finite(values: Iterable[float]) -> tuple[float, ...]:
    """The values, or `FormatError` if one is not a finite number."""
    numbers = tuple(values)
    if not all(isfinite(value) for value in numbers):
        raise FormatError("a coordinate is not a number")
    return numbers
