"""How a model is shown an image: whole or in tiles, and which mirror images beside. The exported file says so itself.

Rule: a model is always shown images as it was when it was evaluated and calibrated, by whoever predicts, whatever the settings say by
then; so what was noted in the file when it was made counts, and nothing else.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from activelearning.errors import UserError
from activelearning.settings import FLIPS, Detector, Prediction
from trainer import letterbox
from trainer.letterbox import DetectorImage

_KEY = "activelearning.view"
_AXES = {"none": ((),), "horizontal": ((), (1,)), "vertical": ((), (0,)), "both": ((), (1,), (0,))}
"""The axes of (H, W, 3) to reverse, for each look at an image; the first look is at the image as it is."""


@dataclass(frozen=True, slots=True)
class View:
    """`tile`: pixels of the upright image that the longer side of the network's input shows at a time, 0: the whole image, however
    large. `overlap`: the least share of a tile's side that it has in common with the next. `flips`: one of `settings.FLIPS`."""

    tile: int = 0
    overlap: float = 0.2
    flips: str = "none"

    def __post_init__(self) -> None:
        if self.tile < 0 or not 0 <= self.overlap <= 0.9 or self.flips not in FLIPS:
            raise ValueError(f"{self} is no way to look at an image")

    @property
    def axes(self) -> tuple[tuple[int, ...], ...]:
        """For each look at an image the axes of (H, W, 3) to reverse; the first is at the image as it is."""
        return _AXES[self.flips]


WHOLE = View()


def of_settings(detector: Detector, prediction: Prediction) -> View:
    """How the next model is to be shown images."""
    return View(detector.tile, detector.tile_overlap, prediction.augmented)


def noted(model: bytes, view: View) -> bytes:
    """The exported model with a note of how it is shown images; one that sees them whole and once needs none."""
    if view == WHOLE or (not view.tile and view.flips == "none"):
        return model
    made = onnx.load_from_string(model)
    onnx.helper.set_model_props(made, {one.key: one.value for one in made.metadata_props} | {_KEY: json.dumps(asdict(view))})
    return bytes(made.SerializeToString())


def of_session(session: onnxruntime.InferenceSession) -> View:
    """How the model of an open session is shown images. Raises `UserError` for a note that makes no sense."""
    note = session.get_modelmeta().custom_metadata_map.get(_KEY)
    if note is None:
        return WHOLE
    try:
        return View(**json.loads(note))
    except (ValueError, TypeError) as error:
        raise UserError(f"the model's note of how it sees images is damaged ({error}): put a copy in its place, or retrain") from None


def tiles(size: tuple[int, int], into: tuple[int, int], view: View) -> np.ndarray:
    """The tiles (T, 4) int, corners xmin, ymin, xmax, ymax in pixels of an image of `size` (w, h), row by row; the whole image without
    tiling.

    Each has the shape of the network's input `into` (W, H); they are evenly spread and overlap by `view.overlap` or more. A side that is
    shorter than a tile is shown whole.
    """
    if not view.tile:
        return np.array([[0, 0, *size]])
    sides = (max(1, round(view.tile * side / max(into))) for side in into)
    lefts, tops = (_starts(length, side, view.overlap) for length, side in zip(size, sides, strict=True))
    return np.array([[left, top, right, bottom] for top, bottom in tops for left, right in lefts])


def crops(source: bytes | Path, into: tuple[int, int], view: View) -> tuple[tuple[DetectorImage, ...], np.ndarray, tuple[int, int]]:
    """Decode an image file: what the network is shown of it, the tiles (T, 4) that these are, and the full upright size (w, h).

    Raises `UserError` as `letterbox.decode_image` does.
    """
    if not view.tile:
        image = letterbox.read_image(source, into)
        return (image,), tiles(image.size, into, view), image.size
    pixels, size = letterbox.decode_scaled(source, max(into) / view.tile)
    return of_pixels(pixels, size, into, view), tiles(size, into, view), size


def of_pixels(pixels: np.ndarray, size: tuple[int, int], into: tuple[int, int], view: View) -> tuple[DetectorImage, ...]:
    """What the network is shown of pixels (h, w, 3) uint8 RGB of an image whose full upright size is `size` (w, h), tile by tile."""
    scale = np.tile([pixels.shape[1] / size[0], pixels.shape[0] / size[1]], 2)
    return tuple(_crop(pixels, tile, scale, into) for tile in tiles(size, into, view))


def _crop(pixels: np.ndarray, tile: np.ndarray, scale: np.ndarray, into: tuple[int, int]) -> DetectorImage:
    left, top, right, bottom = (tile * scale).round().astype(int).tolist()
    part = pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
    return letterbox.letterboxed(part, (int(tile[2] - tile[0]), int(tile[3] - tile[1])), into)


def _starts(length: int, side: int, overlap: float) -> list[tuple[int, int]]:
    """Where tiles along a line begin and end."""
    if length <= side:
        return [(0, length)]
    count = 1 + math.ceil((length - side) / max(1, math.floor(side * (1 - overlap))))
    starts = (round(number * (length - side) / (count - 1)) for number in range(count))
    return [(start, start + side) for start in starts]
