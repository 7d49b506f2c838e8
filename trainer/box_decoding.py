"""From what a box head predicts, means and standard deviations of its code, to corners and theirs.

Rule: boxes and anchors are corners xmin, ymin, xmax, ymax in pixels, codes are in the order x, y, w, h; every spread is a standard
deviation, and a mean is kept through what is not linear (Kassem-Sbeyti et al., ECML-PKDD 2023).

A log-encoded box (Faster R-CNN) is cx = tx wa + xa, w = wa exp(tw), likewise y and h, with an anchor of size wa, ha at the centre xa,
ya. With tw normal, of standard deviation s, w is log-normal: its mean, which is what is returned, is exp(s²/2) times the w of the mean
code, which a decoder that knows no spread returns and which is the median. The centre is linear and does not move.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from activelearning.errors import UserError

_NODES = 64
_CORNERS_OF = np.array([[1, 0, -0.5, 0], [0, 1, 0, -0.5], [1, 0, 0.5, 0], [0, 1, 0, 0.5]])
"""Corners xmin, ymin, xmax, ymax from cx, cy, w, h."""
_SIZE_OF = np.array([[-1.0, 0, 1, 0], [0, -1, 0, 1]])
"""Width and height from the corners."""
_TOO_LARGE = "decoded boxes must be finite: the predicted code or its standard deviation is too large"


@dataclass(frozen=True, slots=True, eq=False)
class DecodedBoxes:
    """`xyxy` (..., 4) float64 mean corners and `std` (..., 4) their standard deviations, both in pixels."""

    xyxy: np.ndarray
    std: np.ndarray

    def __post_init__(self) -> None:
        if self.xyxy.shape != self.std.shape or not (np.isfinite(self.xyxy).all() and np.isfinite(self.std).all()):
            raise ValueError(_TOO_LARGE)


@dataclass(frozen=True, slots=True)
class Sampling:
    """What `sample` draws from, and how often for each box."""

    random: np.random.Generator
    draws: int = 1000


def decode(
    method: str,
    prediction: np.ndarray,
    std: np.ndarray,
    anchors: np.ndarray,
    *,
    weights: tuple[float, float, float, float] = (1, 1, 1, 1),
    sampling: Sampling | None = None,
) -> DecodedBoxes:
    """Log-encoded boxes: codes and their standard deviations (..., 4) in the order x, y, w, h, of anchors (..., 4) by corners.

    The code was multiplied by the coder's `weights` (torchvision's detectors: 10, 10, 5, 5). `method` is `l-norm`, the moments in
    closed form; `n-flow`, the same moments by quadrature through the transforms; `sample`, mean and population standard deviation of
    the draws of `sampling`; or `falsedec`, variances decoded as though they were boxes, which is wrong and there to be compared with.
    Raises `UserError` for any other, `ValueError` for arrays that make no boxes.
    """
    if method not in _METHODS:
        raise UserError(f"'{method}' is no way to decode the spread of boxes; it is one of: {', '.join(sorted(_METHODS))}")
    # DecodedBoxes refuses in words what overflows
    with np.errstate(over="ignore", invalid="ignore"):
        return _METHODS[method](_coded(prediction, std, anchors, weights), sampling)


def covariance(
    prediction: np.ndarray, std: np.ndarray, anchors: np.ndarray, *, weights: tuple[float, float, float, float] = (1, 1, 1, 1)
) -> np.ndarray:
    """Exact covariance (..., 4, 4) of the corners xmin, ymin, xmax, ymax of log-encoded boxes whose codes are independent normals.

    xmin and xmax share centre and width: their covariance is Var cx - Var w / 4, their variances Var cx + Var w / 4.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        _, variance = _log_normal_moments(_coded(prediction, std, anchors, weights))
    if not np.isfinite(variance).all():
        raise ValueError(_TOO_LARGE)
    return np.asarray((_CORNERS_OF * variance[..., None, :]) @ _CORNERS_OF.T)


def size_std(corner_covariance: np.ndarray) -> np.ndarray:
    """Standard deviation of width and height (..., 2) from the covariance (..., 4, 4) of the corners."""
    variance = np.einsum("ij,...jk,ik->...i", _SIZE_OF, corner_covariance, _SIZE_OF)
    return np.asarray(np.sqrt(np.maximum(variance, 0)))


def decode_distances(distances: np.ndarray, std: np.ndarray, points: np.ndarray) -> DecodedBoxes:
    """Boxes by distances (..., 4) from points (..., 2) x, y to the left, top, right and bottom side, all in pixels.

    A corner is a point minus or plus a distance, so its mean is decoded and its standard deviation is the distance's: exact whatever
    the distribution, and nothing is shifted.
    """
    signs = np.array([-1.0, -1, 1, 1])
    return DecodedBoxes(np.concatenate([points, points], -1) + signs * distances, _checked_std(std))


def laplace_std(scale: np.ndarray) -> np.ndarray:
    """Standard deviation of a Laplace distribution of so large a scale b: sqrt(2) b."""
    return np.asarray(np.sqrt(2.0) * _checked_std(scale))


@dataclass(frozen=True, slots=True, eq=False)
class _Coded:
    """Normal codes without coder weights, `mean` and `std` (..., 4); `centre` and `size` (..., 2) of the anchors."""

    mean: np.ndarray
    std: np.ndarray
    centre: np.ndarray
    size: np.ndarray


def _coded(prediction: np.ndarray, std: np.ndarray, anchors: np.ndarray, weights: tuple[float, float, float, float]) -> _Coded:
    mean, corners, scale = (np.asarray(array, np.float64) for array in (prediction, anchors, weights))
    low, high = corners[..., :2], corners[..., 2:]
    if mean.shape[-1:] != (4,) or not mean.shape == corners.shape == np.shape(std):
        raise ValueError(f"codes, standard deviations and anchors must all be (..., 4): {mean.shape}, {np.shape(std)}, {corners.shape}")
    if not (np.isfinite(mean).all() and np.isfinite(corners).all() and (low < high).all() and scale.shape == (4,) and (scale > 0).all()):
        raise ValueError("codes must be finite, anchors must have area, and there must be four positive weights")
    return _Coded(mean / scale, _checked_std(std) / scale, (low + high) / 2, high - low)


def _checked_std(std: np.ndarray) -> np.ndarray:
    std = np.asarray(std, np.float64)
    if not (np.isfinite(std).all() and (std >= 0).all()):
        raise ValueError("standard deviations and scales must be finite and not negative")
    return std


def _l_norm(coded: _Coded, _: Sampling | None) -> DecodedBoxes:
    return _of_centre_and_size(*_log_normal_moments(coded))


def _log_normal_moments(coded: _Coded) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (..., 4) of cx, cy, w, h."""
    variance = coded.std[..., 2:] ** 2
    size = coded.size * np.exp(coded.mean[..., 2:] + variance / 2)
    mean = np.concatenate([coded.mean[..., :2] * coded.size + coded.centre, size], -1)
    return mean, np.concatenate([(coded.std[..., :2] * coded.size) ** 2, size**2 * np.expm1(variance)], -1)


def _of_centre_and_size(mean: np.ndarray, variance: np.ndarray) -> DecodedBoxes:
    """Corners of a box whose centre and size are independent, from their moments (..., 4)."""
    return DecodedBoxes(mean @ _CORNERS_OF.T, np.sqrt(variance @ (_CORNERS_OF.T**2)))


def _n_flow(coded: _Coded, _: Sampling | None) -> DecodedBoxes:
    """Standard normals sent through the decoder: Gauss-Hermite nodes on the way, moments at the end, no formula for the log-normal."""
    nodes, share = np.polynomial.hermite_e.hermegauss(_NODES)
    codes = coded.mean[..., None] + coded.std[..., None] * nodes
    values = _centre_and_size(np.moveaxis(codes, -1, 0), coded)
    share = (share / share.sum()).reshape(-1, *(1 for _ in coded.mean.shape))
    mean = (share * values).sum(0)
    return _of_centre_and_size(mean, (share * (values - mean) ** 2).sum(0))


def _centre_and_size(codes: np.ndarray, coded: _Coded) -> np.ndarray:
    """cx, cy, w, h (..., 4) of given codes (..., 4)."""
    return np.concatenate([codes[..., :2] * coded.size + coded.centre, coded.size * np.exp(codes[..., 2:])], -1)


def _sample(coded: _Coded, sampling: Sampling | None) -> DecodedBoxes:
    """Mean and population variance as the draws come in (Welford 1962), so that memory does not grow with them."""
    if sampling is None or sampling.draws < 1:
        raise ValueError("`sample` needs a random generator and at least one draw")
    mean, squares = np.zeros_like(coded.mean), np.zeros_like(coded.mean)
    for count in range(1, sampling.draws + 1):
        codes = sampling.random.normal(coded.mean, coded.std)
        off = _centre_and_size(codes, coded) @ _CORNERS_OF.T - mean
        mean = mean + off / count
        squares = squares + off**2 * (count - 1) / count
    return DecodedBoxes(mean, np.sqrt(squares / sampling.draws))


def _falsedec(coded: _Coded, _: Sampling | None) -> DecodedBoxes:
    xyxy = _centre_and_size(coded.mean, coded) @ _CORNERS_OF.T
    # where the anchor lies beyond the image's edge, this can be below zero
    return DecodedBoxes(xyxy, np.sqrt(np.abs(_centre_and_size(coded.std**2, coded) @ _CORNERS_OF.T)))


_METHODS: Mapping[str, Callable[[_Coded, Sampling | None], DecodedBoxes]] = {
    "l-norm": _l_norm,
    "n-flow": _n_flow,
    "sample": _sample,
    "falsedec": _falsedec,
}
