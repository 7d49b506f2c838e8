"""From run lengths to an outline and back, for formats that hold only the one or the other.

Rule: pixels and outlines agree by the pixels' centres. An outline has no holes and one part: of a mask, the largest one's outer border.
"""

from collections.abc import Iterator, Sequence
from math import ceil, hypot

from activelearning import rle, shapes
from activelearning.errors import FormatError
from activelearning.labels import Box, Mask, Polygons, Rle

TOLERANCE_PIXELS = 1.0
"""An outline for people leaves out corners that are no further than this from it."""

Point = tuple[float, float]
Edge = tuple[Point, Point]


def trace(mask: Rle, tolerance: float = TOLERANCE_PIXELS) -> Polygons:
    """The outer border of the mask's largest part; with a tolerance of 0 pixels it is exact, along the pixels' edges.

    Parts that touch at a corner only are apart, or one. Raises `FormatError` for a mask that is damaged or empty.
    """
    rings = list(_rings(_edges(mask)))
    if not rings:
        raise FormatError("a mask is empty")
    largest = max(rings, key=lambda ring: shapes.ring_area([value for point in ring for value in point]))
    kept = _simplified(largest, tolerance)
    return Polygons((tuple(value for x, y in kept for value in (x / mask.width, y / mask.height)),))


def ring_of(box: Box) -> tuple[float, ...] | None:
    """A box's outline, if it is one ring; of run lengths, the border of their largest part; None where only the box can be shown."""
    if not isinstance(box.mask, Rle):
        return shapes.single_ring(box)
    try:
        return trace(box.mask).rings[0]
    except FormatError:
        return None


def fill(outline: Polygons, width: int, height: int) -> Rle:
    """The pixels whose centres lie inside any ring of an outline; inside by the even-odd rule where a ring crosses itself.

    Points outside the image are moved to its edge, as readers do.
    """
    rle.check_size(width, height)
    filled = (span for ring in outline.rings for span in _filled(ring, width, height))
    return rle.from_spans(filled, height, width)


def alike(first: Mask, second: Mask, step_x: float, step_y: float) -> bool:
    """Whether two masks of an image say the same, be it that the one was made of the other for a format that could not hold that.

    Outlines whose points lie no further apart than the steps, fractions of the image, are the same: formats round.
    """
    if isinstance(first, Rle) and isinstance(second, Rle):
        return first == second
    if isinstance(first, Polygons) and isinstance(second, Polygons):
        return _near(first, second, (step_x, step_y))
    mask, outline = (first, second) if isinstance(first, Rle) else (second, first)
    assert isinstance(mask, Rle) and isinstance(outline, Polygons)
    try:
        return fill(outline, mask.width, mask.height) == mask or _near(trace(mask), outline, (step_x, step_y))
    except FormatError:
        return False


def _near(first: Polygons, second: Polygons, steps: tuple[float, float]) -> bool:
    return [*map(len, first.rings)] == [*map(len, second.rings)] and all(
        abs(mine - theirs) <= steps[at % 2]
        for ring, other in zip(first.rings, second.rings, strict=True)
        for at, (mine, theirs) in enumerate(zip(ring, other, strict=True))
    )


def _edges(mask: Rle) -> Iterator[Edge]:
    """The border of all parts in pieces, each with the mask on its right hand, y growing downwards."""
    before: list[tuple[int, int]] = []
    columns = rle.columns(mask)
    for x in range(min(columns, default=0), max(columns, default=-1) + 2):
        here = columns.get(x, [])
        for top, bottom in here:
            yield (x, top), (x + 1, top)
            yield (x + 1, bottom), (x, bottom)
        # upwards where the mask begins, downwards where it has ended
        yield from (((x, bottom), (x, top)) for top, bottom in _without(here, before))
        yield from (((x, top), (x, bottom)) for top, bottom in _without(before, here))
        before = here


def _without(spans: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What of the spans, sorted and apart, none of the others covers."""
    at = 0
    for start, end in spans:
        while at < len(others) and others[at][1] <= start:
            at += 1
        for low, high in others[at:]:
            if low >= end:
                break
            if start < low:
                yield start, low
            start = max(start, high)
        if start < end:
            yield start, end


def _rings(edges: Iterator[Edge]) -> Iterator[list[Point]]:
    following: dict[Point, list[Point]] = {}
    for start, end in edges:
        following.setdefault(start, []).append(end)
    while following:
        first = point = next(iter(following))
        ring: list[Point] = []
        while point in following:
            ring.append(point)
            ends = following[point]
            point = ends.pop()
            if not ends:
                del following[ring[-1]]
            if point == first:
                break
        yield ring


def _simplified(ring: list[Point], tolerance: float) -> list[Point]:
    """The ring with fewer corners (Ramer 1972, Douglas and Peucker 1973); at least three."""
    far = max(range(len(ring)), key=lambda at: hypot(ring[at][0] - ring[0][0], ring[at][1] - ring[0][1]))
    kept = sorted({*_kept(ring, 0, far, tolerance), *_kept([*ring, ring[0]], far, len(ring), tolerance)} - {len(ring)})
    if len(kept) < 3:
        kept = sorted({*kept, max(range(len(ring)), key=lambda at: _off(ring[at], ring[0], ring[far]))})
    return [ring[at] for at in kept]


def _kept(points: Sequence[Point], first: int, last: int, tolerance: float) -> Iterator[int]:
    yield from (first, last)
    pieces = [(first, last)]
    while pieces:
        start, end = pieces.pop()
        furthest = max(range(start + 1, end), key=lambda at: _off(points[at], points[start], points[end]), default=start)
        if furthest > start and _off(points[furthest], points[start], points[end]) > tolerance:
            yield furthest
            pieces += [(start, furthest), (furthest, end)]


def _off(point: Point, start: Point, end: Point) -> float:
    """How far a point lies from the line through two others, or from the one that both are."""
    along = (end[0] - start[0], end[1] - start[1])
    length = hypot(*along)
    to = (point[0] - start[0], point[1] - start[1])
    return abs(along[0] * to[1] - along[1] * to[0]) / length if length else hypot(*to)


def _filled(ring: Sequence[float], width: int, height: int) -> Iterator[tuple[int, int]]:
    """Spans of pixels, counted down the columns, that lie inside one ring of fractions."""
    crossings: dict[int, list[float]] = {}
    inside = [min(max(value, 0.0), 1.0) for value in ring]
    points = [(x * width, y * height) for x, y in zip(inside[::2], inside[1::2], strict=True)]
    for (x, y), (other_x, other_y) in zip(points, [*points[1:], points[0]], strict=True):
        low, high = sorted((x, other_x))
        for column in range(max(ceil(low - 0.5), 0), min(ceil(high - 0.5), width)):
            crossings.setdefault(column, []).append(y + (column + 0.5 - x) / (other_x - x) * (other_y - y))
    for column, ys in crossings.items():
        ordered = [min(max(ceil(y - 0.5), 0), height) for y in sorted(ys)]
        yield from ((column * height + top, column * height + bottom) for top, bottom in zip(ordered[::2], ordered[1::2], strict=True))
