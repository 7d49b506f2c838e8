"""From an image file to the pixels a detector sees, and back: the one preprocessing of training, evaluation and prediction.

Rule: the aspect ratio is kept to within a tenth; what is left of the network's input is filled with grey. EXIF orientation is applied
first, so `(w, h)` is always the size of the upright image.
"""

import io
import math
import statistics
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from activelearning.errors import UserError

FILL = 114
"""Grey level of the padding (YOLOv5's)."""
STRIDE = 32
"""The input's sides are multiples of it, so that a detector's coarsest grid fits."""

_NEARLY = 0.9
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its EXIF orientation (1 is upright)."""
_SIDEWAYS = frozenset({5, 6, 7, 8})


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How an image lies in the network's input: input = image · `scale` + `pad`, each as (x, y)."""

    scale: tuple[float, float]
    pad: tuple[int, int]

    def to_input(self, xyxy: np.ndarray) -> np.ndarray:
        """Corners (N, 4) from pixels of the upright image to pixels of the input."""
        return (xyxy * np.array(self.scale * 2) + np.array(self.pad * 2)).astype(np.float32)

    def to_image(self, xyxy: np.ndarray) -> np.ndarray:
        """Corners (N, 4) from pixels of the input to pixels of the upright image, not clipped."""
        return ((xyxy - np.array(self.pad * 2)) / np.array(self.scale * 2)).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class DetectorImage:
    """An image as the detector gets it: RGB `pixels` (H, W, 3) uint8, where it lies in them, and its full upright size (w, h)."""

    pixels: np.ndarray
    letterbox: Letterbox
    size: tuple[int, int]

    @property
    def without_padding(self) -> np.ndarray:
        """The part of the pixels that the image fills, (h, w, 3)."""
        left, top = self.letterbox.pad
        width, height = (round(side * scale) for side, scale in zip(self.size, self.letterbox.scale, strict=True))
        return self.pixels[top : top + height, left : left + width]


def input_size(long_side: int, sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """The network input (W, H) for images of `sizes` (w, h): both sides multiples of 32, the longer `long_side` rounded to one.

    The shape is the images' median aspect ratio, so it is portrait or landscape as most of them are; halves round up.
    """
    ratios = [math.log(width / height) for width, height in sizes]
    if not ratios:
        raise UserError("there is no image yet whose shape the detector's input could take")
    ratio = math.exp(statistics.median(ratios))
    long = _round_to_stride(long_side)
    short = _round_to_stride(long * min(ratio, 1 / ratio))
    return (long, short) if ratio >= 1 else (short, long)


def fit(size: tuple[int, int], into: tuple[int, int]) -> tuple[int, int]:
    """The (w, h) that an image of `size` takes inside `into`: the largest of its aspect ratio, at least one pixel each way.

    Where that leaves less than a tenth of a side empty, the image is stretched to fill it: training stretches as much at random,
    and the pixels are worth more to small objects than to the padding.
    """
    inner = _unstretched(size, into)
    return into if all(side > _NEARLY * whole for side, whole in zip(inner, into, strict=True)) else inner


def _unstretched(size: tuple[int, int], into: tuple[int, int]) -> tuple[int, int]:
    scale = min(into[0] / size[0], into[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def read_image(source: bytes | Path, into: tuple[int, int]) -> DetectorImage:
    """Decode an image file and letterbox it into an input of (W, H) pixels. Raises `UserError` as `decode_image` does."""
    return letterboxed(*decode_image(source, into), into)


def letterboxed(pixels: np.ndarray, size: tuple[int, int], into: tuple[int, int]) -> DetectorImage:
    """Letterbox pixels (h, w, 3) uint8 RGB of an image whose full upright size is `size` (w, h)."""
    inner = fit(size, into)
    left, top = (into[0] - inner[0]) // 2, (into[1] - inner[1]) // 2
    canvas = np.full((into[1], into[0], 3), FILL, np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = _resized(pixels, inner)
    return DetectorImage(canvas, Letterbox((inner[0] / size[0], inner[1] / size[1]), (left, top)), size)


def decode_image(source: bytes | Path, near_size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode to upright RGB (h, w, 3) uint8; returned with the full upright size (w, h).

    A JPEG much larger than what fits `near_size` (W, H) is decoded at a half, a quarter or an eighth, never below what fits it without
    stretching: an image of 640×480 at a half for an input of 320×256, which takes a third of the time and costs nothing (AP .5963 with the
    whole image, .5961 so). 16-bit grey is scaled by 1/256, transparent pixels show the padding's grey. Raises `UserError` with one sentence
    when the file is missing, no image, cut off, or a decompression bomb.
    """
    return _opened(source, lambda size: _unstretched(size, near_size))


def decode_scaled(source: bytes | Path, scale: float) -> tuple[np.ndarray, tuple[int, int]]:
    """As `decode_image`, where each pixel of the image counts for `scale` pixels each way of what is made of it."""
    return _opened(source, lambda size: (math.ceil(size[0] * scale), math.ceil(size[1] * scale)))


def _opened(source: bytes | Path, wanted: Callable[[tuple[int, int]], tuple[int, int]]) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode; `wanted` says from the upright size (w, h) the least that the result must have, where it may be smaller than the file's."""
    try:
        with quiet_pillow(), Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return _decode(image, wanted)
    except Exception as error:
        # a damaged file makes Pillow's parsers raise nearly anything, SyntaxError and struct.error included
        where = "" if isinstance(source, bytes) else f"{source}: "
        raise UserError(f"{where}{_reason(error)}") from error


def _decode(image: Image.Image, wanted: Callable[[tuple[int, int]], tuple[int, int]]) -> tuple[np.ndarray, tuple[int, int]]:
    stored = image.size
    if image.format in ("JPEG", "MPO"):
        least = wanted(_turned(stored, image))
        image.draft("RGB", least if _turned(stored, image) == stored else least[::-1])
    # only JPEG can tell before: PNG may carry its orientation behind the pixels
    image.load()
    method = _UPRIGHT.get(_orientation(image))
    rgb = _rgb(image)
    return np.asarray(rgb.transpose(method) if method is not None else rgb), _turned(stored, image)


def _turned(size: tuple[int, int], image: Image.Image) -> tuple[int, int]:
    return size[::-1] if _orientation(image) in _SIDEWAYS else size


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - damaged metadata raises nearly anything, and the pixels are still good
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "I":
        return Image.fromarray(np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, (FILL, FILL, FILL, 255)), layer).convert("RGB")
    return image.convert("RGB")


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if pixels.shape[1::-1] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0))


def _round_to_stride(side: float) -> int:
    return max(STRIDE, math.floor(side / STRIDE + 0.5) * STRIDE)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        return f"the image has more than {limit} million pixels; cut it into smaller ones"
    if isinstance(error, Image.UnidentifiedImageError):
        return "the file is no image, or of a kind that Pillow cannot read"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return f"the image is damaged or cut off ({error}); replace the file"


class _Readers:
    """How many threads are inside Pillow, and the warning filters to restore when the last one leaves."""

    lock = threading.Lock()
    inside = 0
    caught: warnings.catch_warnings | None = None


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silence what Pillow warns of damaged metadata and big images.

    `catch_warnings` is not safe among threads, so only the first one in changes the filters, and the last one out restores them.
    """
    with _Readers.lock:
        _Readers.inside += 1
        if _Readers.inside == 1:
            _Readers.caught = warnings.catch_warnings()
            _Readers.caught.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
    finally:
        with _Readers.lock:
            _Readers.inside -= 1
            if _Readers.inside == 0 and _Readers.caught:
                _Readers.caught.__exit__(None, None, None)
                _Readers.caught = None
