"""Masks as run lengths: COCO's compressed string, plain counts, and CVAT's row-wise crop.

COCO's runs go down the columns and begin with zeros (`maskApi.c`: rleToString, rleFrString, BSD). CVAT's go along the rows of a
rectangle inside the image, and begin with zeros too.
"""

from collections.abc import Iterable, Iterator, Sequence

from activelearning.errors import FormatError
from activelearning.labels import Rle

MAX_PIXELS = 2**27
"""Images above this many pixels are refused: a few bytes of run lengths could else claim any amount of memory."""

MAX_SIDE = 2**17
"""Images longer than this are refused too: work on masks goes column by column."""

Crop = tuple[int, int, int, int]
"""left, top, width, height in pixels."""


def encode(runs: Sequence[int]) -> str:
    """COCO's string for run lengths: from the fourth on, the difference to the last but one, in 6-bit characters."""
    differences = (run - runs[at - 2] if at > 2 else run for at, run in enumerate(runs))
    return "".join(char for difference in differences for char in _characters(difference))


def _characters(value: int) -> Iterator[str]:
    more = True
    while more:
        bits, value = value & 0x1F, value >> 5
        more = value != (-1 if bits & 0x10 else 0)
        yield chr(48 + (bits | 0x20 if more else bits))


def decode(counts: str) -> list[int]:
    """Run lengths of COCO's string; the inverse of `encode`."""
    runs: list[int] = []
    value = shift = 0
    for char in counts:
        bits = ord(char) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise FormatError("a mask's run-length string is damaged")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (1 << shift) if bits & 0x10 else 0
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    if shift:
        raise FormatError("a mask's run-length string ends too early")
    return runs


def from_runs(runs: Sequence[int], height: int, width: int) -> Rle:
    """A mask from column-wise run lengths that fill the image exactly."""
    _check(runs, height, width)
    return Rle(encode(runs), height, width)


def runs_of(mask: Rle) -> list[int]:
    """Column-wise run lengths of a mask, checked against its size."""
    runs = decode(mask.counts)
    _check(runs, mask.height, mask.width)
    return runs


def checked(mask: Rle) -> Rle:
    """The mask itself; `FormatError` where its runs do not fill its size."""
    runs_of(mask)
    return mask


def check_size(width: int, height: int) -> None:
    """`FormatError` for a size that no image has."""
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE and height * width <= MAX_PIXELS):
        raise FormatError(f"a mask of {width} × {height} pixels makes no sense")


def _check(runs: Sequence[int], height: int, width: int) -> None:
    check_size(width, height)
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        raise FormatError(f"a mask's run lengths do not fill its {width} × {height} pixels")


def bounds(mask: Rle) -> tuple[int, int, int, int]:
    """The box around a mask in pixels: xmin, ymin, and the first column and row that are free again."""
    spans = list(_spans(runs_of(mask), mask.height))
    if not spans:
        raise FormatError("a mask is empty")
    lefts, tops, rights, bottoms = zip(*spans, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _spans(runs: Sequence[int], height: int) -> Iterator[tuple[int, int, int, int]]:
    for start, end in _set(runs):
        left, top, right, bottom = start // height, start % height, (end - 1) // height + 1, (end - 1) % height + 1
        # a run that goes on into the next column touches both the upper and the lower edge
        yield (left, 0, right, height) if right - left > 1 else (left, top, right, bottom)


def from_spans(spans: Iterable[tuple[int, int]], height: int, width: int) -> Rle:
    """A mask from spans of set pixels, start and end counted down the columns, in any order; they may overlap."""
    runs, end = list[int](), 0
    for start, stop in sorted(span for span in spans if span[0] < span[1]):
        if runs and start <= end:
            runs[-1] += max(stop - end, 0)
        else:
            runs += [start - end, stop - start]
        end = max(end, stop)
    left = height * width - end
    return from_runs([*runs, left] if left or not runs else runs, height, width)


def columns(mask: Rle) -> dict[int, list[tuple[int, int]]]:
    """By column, in their order, the rows of the mask's pixels as spans: first row, and the first that is free again."""
    found: dict[int, list[tuple[int, int]]] = {}
    for start, end in _set(runs_of(mask)):
        for column in range(start // mask.height, (end - 1) // mask.height + 1):
            top, bottom = max(start - column * mask.height, 0), min(end - column * mask.height, mask.height)
            found.setdefault(column, []).append((top, bottom))
    return found


def _set(runs: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Start and end of each run of set pixels."""
    end = 0
    for at, run in enumerate(runs):
        start, end = end, end + run
        if at % 2 and run:
            yield start, end


def from_crop(runs: Sequence[int], crop: Crop, height: int, width: int) -> Rle:
    """A mask of the whole image from CVAT's row-wise run lengths of a rectangle in it."""
    left, top, crop_width, crop_height = crop
    if min(left, top) < 0 or left + crop_width > width or top + crop_height > height:
        raise FormatError("a mask lies outside the image")
    _check(runs, crop_height, crop_width)
    check_size(width, height)
    rows = _bits(runs)
    placed = (
        ((left + x) * height + top + start, (left + x) * height + top + end)
        for x in range(crop_width)
        for start, end in _set(_runs(rows[x::crop_width]))
    )
    return from_spans(placed, height, width)


def to_crop(mask: Rle) -> tuple[list[int], Crop]:
    """CVAT's form: row-wise run lengths of the rectangle around the mask, and that rectangle."""
    left, top, right, bottom = bounds(mask)
    cropped = bytearray((right - left) * (bottom - top))
    for x, spans in columns(mask).items():
        for first, free in spans:
            cropped[(first - top) * (right - left) + x - left : (free - top) * (right - left) : right - left] = b"\1" * (free - first)
    return _runs(bytes(cropped)), (left, top, right - left, bottom - top)


def _bits(runs: Sequence[int]) -> bytes:
    return b"".join((b"\1" if at % 2 else b"\0") * run for at, run in enumerate(runs))


def _runs(bits: bytes) -> list[int]:
    runs, start, wanted = list[int](), 0, b"\1"
    while start < len(bits):
        end = bits.find(wanted, start)
        end = len(bits) if end < 0 else end
        runs.append(end - start)
        start, wanted = end, b"\0" if wanted == b"\1" else b"\1"
    return runs
