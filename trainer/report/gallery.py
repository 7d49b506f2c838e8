"""Thumbnails of test images with what was found, what was missed and how unsure the corners are drawn in.

Rule: a kind of box differs by its line as well as by its colour. An image that cannot be read is None, never an error.
"""

import io
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from trainer.report.facts import EvaluatedImage

CORRECT, FALSE, MISSED = "#38b6ff", "#ff7f2a", "#ffe45c"
LONGEST_SIDE = 480
"""Pixels of a thumbnail's longer side at most."""

_FINER = 2
_FONT_PIXELS = 11
_DASHES = {CORRECT: (1, 0), FALSE: (8, 5), MISSED: (2, 3)}
_JPEG_QUALITY = 82

Drawn = tuple[np.ndarray, str, str]
"""A box (4,) in pixels of the thumbnail, its colour and its label."""


def load(image: Callable[[str], Image.Image | None], one: EvaluatedImage) -> Image.Image | None:
    """The thumbnail of an image, upright and in colour; None when it cannot be read."""
    try:
        loaded = image(one.name)
        if loaded is None:
            return None
        loaded.draft("RGB", (2 * LONGEST_SIDE, 2 * LONGEST_SIDE))
        return _thumbnail(ImageOps.exif_transpose(loaded), one.size)
    except OSError:
        # half a file opens, and fails only when its pixels are asked for
        return None


def draw(thumbnail: Image.Image, boxes: list[Drawn], spread: np.ndarray | None) -> bytes:
    """The thumbnail as JPEG with its boxes, and around the first ones a band of one standard deviation (K, 4) to either side."""
    large = thumbnail.resize((thumbnail.width * _FINER, thumbnail.height * _FINER), Image.Resampling.BICUBIC)
    bands = Image.new("L", large.size)
    colours = Image.new("RGB", large.size)
    for (xyxy, colour, _), std in zip(boxes, () if spread is None else spread, strict=False):
        _band(ImageDraw.Draw(bands), ImageDraw.Draw(colours), xyxy * _FINER, std * _FINER, colour)
    large.paste(colours, mask=bands)
    for xyxy, colour, _ in boxes:
        _outline(ImageDraw.Draw(large), xyxy * _FINER, colour)
    small = large.resize(thumbnail.size, Image.Resampling.LANCZOS)
    for xyxy, colour, label in boxes:
        _tag(ImageDraw.Draw(small), xyxy, colour, label)
    return _jpeg(small)


def _thumbnail(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """In the shape of its stated size, so that boxes given in it fit."""
    scale = min(1.0, LONGEST_SIDE / max(size))
    shape = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    return image.convert("RGB").resize(shape, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _band(mask: ImageDraw.ImageDraw, colours: ImageDraw.ImageDraw, xyxy: np.ndarray, std: np.ndarray, colour: str) -> None:
    outer, inner = xyxy + std * [-1, -1, 1, 1], xyxy + std * [1, 1, -1, -1]
    mask.rectangle(tuple(outer.tolist()), fill=90)
    colours.rectangle(tuple(outer.tolist()), fill=colour)
    if inner[0] < inner[2] and inner[1] < inner[3]:
        mask.rectangle(tuple(inner.tolist()), fill=0)


def _outline(draw: ImageDraw.ImageDraw, xyxy: np.ndarray, colour: str) -> None:
    # a dark rim keeps any colour visible on any image
    for fill, width in (("#10141b", 3 * _FINER + 1), (colour, 5 * _FINER // 2)):
        for start, end in _strokes(xyxy, *_DASHES[colour]):
            draw.line([start, end], fill=fill, width=width)


def _strokes(xyxy: np.ndarray, dash: int, gap: int) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Lines along the four sides; without a gap, one a side."""
    left, top, right, bottom = xyxy.tolist()
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    for start, end in pairwise(corners):
        length = abs(end[0] - start[0]) + abs(end[1] - start[1])
        step, drawn = ((dash + gap) * _FINER, dash * _FINER) if gap else (length or 1.0, length)
        for at in np.arange(0, length, step).tolist():
            yield _between(start, end, at / length), _between(start, end, min(at + drawn, length) / length)


def _between(start: tuple[float, float], end: tuple[float, float], share: float) -> tuple[float, float]:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def _tag(draw: ImageDraw.ImageDraw, xyxy: np.ndarray, colour: str, label: str) -> None:
    if not label:
        return
    font = _font()
    width, height = int(draw.textlength(label, font)) + 6, _FONT_PIXELS + 4
    left = min(max(0, int(xyxy[0])), max(0, draw.im.size[0] - width))
    top = int(xyxy[1]) - height if xyxy[1] >= height else int(xyxy[1])
    draw.rectangle((left, top, left + width, top + height), fill=colour)
    draw.text((left + 3, top + 1), label, fill="#10141b", font=font)


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), _FONT_PIXELS)


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return out.getvalue()
