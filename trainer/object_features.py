"""An object in numbers that say what it looks like: shape, size, texture and colour, none of which needs a model.

Rule: a pure function of the pixels. Every number is finite, and has a resolution below which two objects are alike.

After the features of object-based set similarity (OSS, Continental's uncertainty-detection-autolabeling): aspect ratio, mean coefficient
of the discrete cosine transform, mean of the colour histogram. What is changed, and why:

* The mean of a histogram is the number of pixels over the number of bins, so it never knew a colour. Here the histogram is turned into
  shares, and the colour is what it expects: brightness and the two opponent axes, red-green and yellow-blue.
* That mean did carry the object's size, which matters, so size is a feature of its own: as a share of the image, since that is what a
  detector sees.
* The plain mean of all coefficients is close to one corner pixel's value and often negative, and objects with a negative one were
  dropped before the logarithm. Here it is the mean magnitude without the constant one, which is brightness: how much texture there is.
  The logarithm is taken of one plus that, so a flat patch is 0.
* Colour is not put through a logarithm: opponent axes have a sign.
"""

import math

import numpy as np
from scipy import fft

ASPECT, SIZE, TEXTURE, BRIGHTNESS, RED_GREEN, YELLOW_BLUE = range(6)
"""The columns."""
RESOLUTION = np.array([0.03, 0.05, 0.05, 0.02, 0.01, 0.01])
"""By column: labels are not more exact, nor are pixels after JPEG."""
SMALLEST_SIDE = 2
"""In pixels; of objects that are not larger nothing is said."""

_BINS = 8


def features(crop: np.ndarray, sides: tuple[float, float], image: tuple[float, float]) -> np.ndarray:
    """(6,) float64 by column, of an object with the pixels `crop` (h, w, 3), its `sides` (w, h) and those of its `image`, in pixels."""
    share = sides[0] * sides[1] / (image[0] * image[1])
    shape = (math.log(sides[0] / sides[1]), 0.5 * math.log(share), math.log1p(mean_coefficient(crop)))
    return np.array([*shape, *colour(histogram(crop))])


def mean_coefficient(crop: np.ndarray) -> float:
    """Mean magnitude of the orthonormal DCT-II coefficients of each channel, over rows and columns, without the constant one."""
    magnitude = np.abs(fft.dctn(crop.astype(np.float64), axes=(0, 1), norm="ortho"))
    return float((magnitude.sum() - magnitude[0, 0].sum()) / max(magnitude.size - magnitude.shape[2], 1))


def histogram(crop: np.ndarray) -> np.ndarray:
    """(8, 8, 8) shares of the pixels by red, green and blue."""
    bins = (crop.reshape(-1, 3) // (256 // _BINS)).astype(np.int64) @ np.array([_BINS**2, _BINS, 1])
    return np.bincount(bins, minlength=_BINS**3).reshape(_BINS, _BINS, _BINS) / len(bins)


def colour(shares: np.ndarray) -> tuple[float, float, float]:
    """What a histogram expects: brightness 0..1, red minus green and yellow minus blue -1..1."""
    centres = (np.arange(_BINS) + 0.5) / _BINS
    red, green, blue = (float(shares.sum(axis) @ centres) for axis in ((1, 2), (0, 2), (0, 1)))
    return (red + green + blue) / 3, red - green, (red + green) / 2 - blue
