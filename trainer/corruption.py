"""Images made worse on purpose, by known amounts, to see whether a detector then says that it is less sure.

Rule: everything random comes from the generator handed in, what is handed in is never changed, and only flips move boxes. Lengths are
pixels of the image handed in, chosen by their authors for images of some hundred pixels, so hand it in at about the size that the
detector sees. Severities are those of Hendrycks & Dietterich 2019 (ImageNet-C) unless a comment says otherwise.
"""

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.random import Generator
from PIL import Image

from activelearning.errors import UserError

SEVERITIES = (1, 2, 3, 4, 5)
_LUMA = np.array([0.299, 0.587, 0.114])
"""What red, green and blue add to the luma (ITU-R BT.601)."""
_FLAKE = 3
"""Pixels, about the size of a flake of snow."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """`apply(pixels, generator, *parameters)` turns RGB uint8 (H, W, 3) into the like; `parameters` are those of severity 1 to 5.

    A flip has no degree: it names the `axis` of corners that it mirrors, 0 for x and 1 for y, and every severity is the same.
    """

    apply: Callable[..., np.ndarray]
    parameters: tuple[tuple[float, ...], ...]
    axis: int | None = None


def corrupt(name: str, pixels: np.ndarray, severity: int, generator: Generator) -> np.ndarray:
    """RGB uint8 (H, W, 3) after the corruption, a new array. Raises `UserError` for a name or a severity that there is none of."""
    _check_pixels(pixels)
    chosen = named(name)
    check_severities([severity])
    return chosen.apply(pixels, generator, *chosen.parameters[severity - 1])


def corrupt_boxes(name: str, xyxy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Where corners (G, 4) lie after the corruption of an image of `size` (w, h). Raises `UserError` for an unknown name."""
    axis = named(name).axis
    moved = xyxy.copy()
    if axis is not None:
        moved[:, [axis, axis + 2]] = size[axis] - xyxy[:, [axis + 2, axis]]
    return moved


def generator_of(image: str, seed: int) -> Generator:
    """The same generator for the same image name and seed (0 or more), on every machine.

    It does not depend on corruption and severity: all severities start from the same random numbers, and differ by their strength.
    """
    digest = hashlib.sha256(image.encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, "<u4").tolist()])


def named(name: str) -> Corruption:
    """The corruption of that name. Raises `UserError` that lists what there is."""
    if name not in CORRUPTIONS:
        raise UserError(f"there is no corruption '{name}', only {', '.join(CORRUPTIONS)}")
    return CORRUPTIONS[name]


def check_severities(severities: Sequence[int]) -> None:
    """Raises `UserError` for a severity that there is none of."""
    unknown = [severity for severity in severities if severity not in SEVERITIES]
    if unknown:
        raise UserError(f"there is no severity {unknown[0]} of a corruption, only {', '.join(map(str, SEVERITIES))}")


def _check_pixels(pixels: np.ndarray) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"pixels must be uint8 of shape (H, W, 3), not {pixels.dtype} of shape {pixels.shape}")


def _rounded(light: np.ndarray) -> np.ndarray:
    """Light 0..1 as uint8, what is beyond cut off."""
    return np.rint(np.clip(light, 0, 1) * 255).astype(np.uint8)


def _gaussian_noise(pixels: np.ndarray, random: Generator, std: float) -> np.ndarray:
    return _rounded(pixels / 255 + random.normal(scale=std, size=pixels.shape))


def _shot_noise(pixels: np.ndarray, random: Generator, photons: float) -> np.ndarray:
    return _rounded(random.poisson(pixels / 255 * photons) / photons)


def _gaussian_blur(pixels: np.ndarray, random: Generator, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return _rounded(gaussian_filter(pixels / 255, sigma, axes=(0, 1), mode="nearest"))


def _defocus_blur(pixels: np.ndarray, random: Generator, radius: float) -> np.ndarray:
    x, y = _grid(radius + 1)
    # a pixel at the rim counts for the share of it that the disc covers
    return _rounded(_convolved(pixels / 255, np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)))


def _motion_blur(pixels: np.ndarray, random: Generator, radius: float, sigma: float) -> np.ndarray:
    return _rounded(_convolved(pixels / 255, _streak(radius, sigma, random.uniform(-45, 45))))


def _streak(radius: float, sigma: float, degrees: float) -> np.ndarray:
    """A line at an angle to the x axis, fading as a Gaussian from its middle, so that what it blurs stays where its box is."""
    x, y = _grid(radius)
    angle = np.deg2rad(degrees)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    inside = np.clip(radius + 0.5 - np.abs(along), 0, 1)
    return np.clip(1 - np.abs(across), 0, 1) * inside * np.exp(-0.5 * (along / sigma) ** 2)


def _grid(radius: float) -> tuple[np.ndarray, np.ndarray]:
    side = np.arange(-int(radius), int(radius) + 1)
    x, y = np.meshgrid(side, side)
    return x, y


def _convolved(light: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Each channel of (H, W, K) convolved with the kernel (2r + 1, 2r + 1) scaled to sum 1; the outermost pixels go on outside."""
    # half a second to import, which who lists the names need not wait for
    from scipy.signal import fftconvolve

    reach = len(kernel) // 2
    padded = np.pad(light, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    return fftconvolve(padded, (kernel / kernel.sum())[..., None], mode="valid", axes=(0, 1))


def _contrast(pixels: np.ndarray, random: Generator, share: float) -> np.ndarray:
    mean = pixels.mean((0, 1)) / 255
    return _rounded((pixels / 255 - mean) * share + mean)


def _brightness(pixels: np.ndarray, random: Generator, added: float) -> np.ndarray:
    """More of the value of HSV, hue and saturation kept: all channels grow in proportion, black turns grey."""
    light = pixels / 255
    value = light.max(2, keepdims=True)
    brighter = np.minimum(value + added, 1)
    return _rounded(np.where(value > 0, light / np.where(value > 0, value, 1), 1) * brighter)


def _jpeg(pixels: np.ndarray, random: Generator, quality: float) -> np.ndarray:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=int(quality))
    return np.array(Image.open(encoded))


def _fog(pixels: np.ndarray, random: Generator, thickness: float) -> np.ndarray:
    light = pixels / 255
    brightest = light.max()
    hazy = light + thickness * _clouds(light.shape[:2], random)[..., None]
    return _rounded(hazy * brightest / (brightest + thickness))


def _clouds(shape: tuple[int, ...], random: Generator) -> np.ndarray:
    """A plasma fractal (H, W), 0..1: noise on ever finer grids, each a third as strong as the one before."""
    sky, side, strength = np.zeros(shape), 2, 1.0
    while side < 2 * max(shape):
        sky += strength * _stretched(random.uniform(-1, 1, (side + 1, side + 1)), shape)
        side, strength = side * 2, strength / 3
    return (sky - sky.min()) / max(float(np.ptp(sky)), 1e-12)


def _stretched(noise: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(Image.fromarray(noise.astype(np.float32)).resize((shape[1], shape[0]), Image.Resampling.BICUBIC), np.float64)


def _snow(pixels: np.ndarray, random: Generator, mean: float, kept: float) -> np.ndarray:
    """Flakes, where noise of that mean is high, blurred as they fall, and a whiter scene of which a share is `kept`."""
    light = pixels / 255
    coarse = [-(-side // _FLAKE) for side in light.shape[:2]]
    flakes = _stretched(random.normal(mean, 0.3, coarse), light.shape[:2])
    bright = np.where(flakes < 0.7, 0, np.clip(flakes, 0, 1))
    falling = _convolved(bright[..., None], _streak(12, 4, random.uniform(-135, -45)))
    grey = light @ _LUMA
    whiter = kept * light + (1 - kept) * np.maximum(light, grey[..., None] * 1.5 + 0.5)
    return _rounded(whiter + falling)


def _rain(pixels: np.ndarray, random: Generator, share: float, length: float, dimmed: float) -> np.ndarray:
    """Grey streaks, all of one slant, begun at a `share` of the pixels, under a darker sky."""
    kernel = _streak(length // 2, length / 2, random.uniform(75, 105))
    drops = (random.random(pixels.shape[:2]) < share).astype(np.float64)
    covered = np.clip(_convolved(drops[..., None], kernel) * kernel.sum(), 0, 1) * 0.6
    return _rounded(pixels / 255 * dimmed * (1 - covered) + 0.75 * covered)


def _equalised(pixels: np.ndarray, random: Generator, share: float) -> np.ndarray:
    """Mixed with its histogram equalisation: the luma's levels become equally frequent, what else is in the colour stays."""
    luma = np.rint(pixels @ _LUMA).astype(np.int64)
    reached = np.cumsum(np.bincount(luma.ravel(), minlength=256))
    darkest = reached[reached > 0][0]
    if darkest == luma.size:
        return pixels.copy()
    levels = (reached - darkest) / (luma.size - darkest) * 255
    equal = np.clip(pixels + (levels[luma] - luma)[..., None], 0, 255)
    return _rounded((pixels * (1 - share) + equal * share) / 255)


def _mirrored_x(pixels: np.ndarray, random: Generator) -> np.ndarray:
    return pixels[:, ::-1].copy()


def _mirrored_y(pixels: np.ndarray, random: Generator) -> np.ndarray:
    return pixels[::-1].copy()


def _each(*values: float) -> tuple[tuple[float, ...], ...]:
    return tuple((value,) for value in values)


# Of the paper's fog only the thickness grows here, and of its snow only density and whiteness: with all numbers changed at once,
# severity 4 of fog and 3 of snow lay nearer to the demo's images than the one before.
_SNOW = ((0.1, 0.8), (0.2, 0.75), (0.25, 0.7), (0.3, 0.65), (0.35, 0.55))
# The paper has no rain; these streaks are ours.
_RAIN = ((0.002, 10, 0.95), (0.004, 14, 0.9), (0.006, 18, 0.85), (0.009, 22, 0.8), (0.012, 26, 0.75))

CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        "gaussian_noise": Corruption(_gaussian_noise, _each(0.08, 0.12, 0.18, 0.26, 0.38)),
        "shot_noise": Corruption(_shot_noise, _each(60, 25, 12, 5, 3)),
        "gaussian_blur": Corruption(_gaussian_blur, _each(1, 2, 3, 4, 6)),
        "defocus_blur": Corruption(_defocus_blur, _each(3, 4, 6, 8, 10)),
        "motion_blur": Corruption(_motion_blur, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
        "contrast": Corruption(_contrast, _each(0.4, 0.3, 0.2, 0.1, 0.05)),
        "brightness": Corruption(_brightness, _each(0.1, 0.2, 0.3, 0.4, 0.5)),
        "jpeg": Corruption(_jpeg, _each(25, 18, 15, 10, 7)),
        "fog": Corruption(_fog, _each(1.5, 2, 2.5, 2.75, 3)),
        "snow": Corruption(_snow, _SNOW),
        "rain": Corruption(_rain, _RAIN),
        "histogram_equalisation": Corruption(_equalised, _each(0.2, 0.4, 0.6, 0.8, 1)),
        "horizontal_flip": Corruption(_mirrored_x, ((),) * 5, axis=0),
        "vertical_flip": Corruption(_mirrored_y, ((),) * 5, axis=1),
    }
)
"""All corruptions by name."""
