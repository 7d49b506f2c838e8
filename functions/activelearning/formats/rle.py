"""Masks as run lengths: COCO's compressed string, plain counts, and CVAT's row-wise crop.

COCO's runs go down the columns and begin with zeros (`maskApi.c`: rleToString, rleFrString, BSD). CVAT's go along the rows of a
rectangle inside the image, and begin with zeros too.
"""

from collections.abc import Iterator, Sequence

from activelearning.errors import FormatError
from activelearning.labels import Rle

MAX_PIXELS = 2**27
"""Images above this many pixels are refused: a few bytes of run lengths could else claim any amount of memory."""

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


def _check(runs: Sequence[int], height: int, width: int) -> None:
    if not (height > 0 and width > 0 and height * width <= MAX_PIXELS):
        raise FormatError(f"a mask of {width} × {height} pixels makes no sense")
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
    end = 0
    for at, run in enumerate(runs):
        start, end = end, end + run
        if not at % 2 or not run:
            continue
        left, top, right, bottom = start // height, start % height, (end - 1) // height + 1, (end - 1) % height + 1
        # a run that goes on into the next column touches both the upper and the lower edge
        yield (left, 0, right, height) if right - left > 1 else (left, top, right, bottom)


def from_crop(runs: Sequence[int], crop: Crop, height: int, width: int) -> Rle:
    """A mask of the whole image from CVAT's row-wise run lengths of a rectangle in it."""
    left, top, crop_width, crop_height = crop
    if min(left, top) < 0 or left + crop_width > width or top + crop_height > height:
        raise FormatError("a mask lies outside the image")
    _check(runs, crop_height, crop_width)
    if height * width > MAX_PIXELS:
        raise FormatError(f"a mask of {width} × {height} pixels makes no sense")
    rows, above, below = _bits(runs), bytes(top), bytes(height - top - crop_height)
    columns = (above + rows[x::crop_width] + below for x in range(crop_width))
    stream = b"".join((bytes(left * height), *columns, bytes((width - left - crop_width) * height)))
    return from_runs(_runs(stream), height, width)


def to_crop(mask: Rle) -> tuple[list[int], Crop]:
    """CVAT's form: row-wise run lengths of the rectangle around the mask, and that rectangle."""
    left, top, right, bottom = bounds(mask)
    columns = _bits(runs_of(mask))[left * mask.height : right * mask.height]
    rows = (columns[y :: mask.height] for y in range(top, bottom))
    return _runs(b"".join(rows)), (left, top, right - left, bottom - top)


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
