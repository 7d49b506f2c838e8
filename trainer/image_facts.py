"""What an image tells of itself beside its objects: a perceptual hash, and when it was taken.

Rule: neither ever fails. A file without a time has none, and pictures that look the same have hashes that differ in a few bits.
"""

import io
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from trainer.letterbox import DetectorImage, quiet_pillow

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_SIDE = 32
_KEPT = 8
_DECIMALS = 3
"""Grey levels closer than this are rounding, and no reason for another bit."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """`phash`, 64 bits; `taken`, seconds since 1970 by the camera's own clock, NaN where the file does not say."""

    phash: int
    taken: float


def of_image(image: DetectorImage, source: bytes | Path) -> ImageFacts:
    """Of an image as the detector gets it, and its file. The padding is left out: it would make all tall and all wide images alike."""
    return ImageFacts(perceptual_hash(image.without_padding), time_taken(source))


def perceptual_hash(pixels: np.ndarray) -> int:
    """The 64-bit DCT hash of an image (H, W, 3) uint8 RGB.

    Grey, averaged down to 32 × 32, discrete cosine transform; a bit for each of the 8 × 8 lowest frequencies that is above their median,
    the lowest frequency first, row by row, the mean grey left out of the median (Zauner 2010).
    """
    grey = pixels @ _LUMA
    found = (_lowest_frequencies(pixels.shape[0]) @ grey @ _lowest_frequencies(pixels.shape[1]).T).round(_DECIMALS)
    bits = (found > np.median(found.ravel()[1:])).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def time_taken(source: bytes | Path) -> float:
    """Seconds since 1970 of EXIF's DateTimeOriginal, as if the camera's clock were UTC; NaN without one that makes sense."""
    try:
        with quiet_pillow(), Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            text = str(_exif(image).get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal, ""))
        return datetime.strptime(text.strip("\0 "), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except Exception:  # noqa: BLE001 - damaged metadata raises nearly anything, and a time is only a help
        return float("nan")


def _exif(image: Image.Image) -> Image.Exif:
    if image.format != "PNG":
        return image.getexif()
    # asking a PNG would decode it, since its metadata may stand behind the pixels
    found = Image.Exif()
    found.load(image.info.get("exif", b""))
    return found


@cache
def _lowest_frequencies(side: int) -> np.ndarray:
    """(8, side): the 8 lowest frequencies, orthonormal DCT-II, of a line of so many pixels averaged down to 32."""
    place, frequency = np.arange(_SIDE), np.arange(_KEPT)
    cosines = np.cos(np.pi * (2 * place + 1) * frequency[:, None] / (2 * _SIDE)) * np.sqrt(2 / _SIDE)
    cosines[0] /= np.sqrt(2)
    return np.asarray(cosines @ _averaging(side), np.float32)


def _averaging(side: int) -> np.ndarray:
    """(32, side): what share of each of 32 equal parts of a line each pixel covers."""
    edges = np.linspace(0, side, _SIDE + 1)
    pixels = np.arange(side)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(np.clip(covered, 0, None) * _SIDE / side)
