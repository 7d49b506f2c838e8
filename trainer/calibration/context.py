"""From a detection's score and where it lies to the probability that it is right.

Two boxes of one score are not equally often right: objects cut off by the border are marked less reliably, small ones are found less
surely, and in an image where all scores are low they mean something else. So the score's two logarithms are joined by the border, the
size, the image's median logit and the class in one logistic regression. Sources: position and size as in Küppers et al., "Multivariate
confidence calibration for object detection" (2020), the logarithms as in beta calibration (Kull et al. 2017).

Rule: in one image, at one place, a higher score never means a lower probability.
"""

from dataclasses import dataclass

import numpy as np

from trainer import detections
from trainer.calibration import logistic
from trainer.calibration.logistic import Prior
from trainer.calibration.maps import logarithms, logit, sigmoid
from trainer.detections import Detections

METHOD = "context"

_BORDER = 0.02
"""A box is cut off when it is nearer to the border than this share of its own side."""
_STD, _BIAS_STD = 0.5, 2.0
"""Standard deviations of the prior: of the logarithms of the slopes, of the surroundings in units of their own spread, and of a class;
and of the bias. Half and twice of each change the D-ECE on BCCD by .002 at most, with 10, 25 and 50 images."""


@dataclass(frozen=True, slots=True)
class Context:
    """Weights: of ln s and −ln(1 − s), not negative; of the surroundings cut off, log size and median logit; and a bias a class."""

    slopes: tuple[float, float]
    surroundings: tuple[float, float, float]
    bias: tuple[float, ...]

    def __post_init__(self) -> None:
        if not np.isfinite([*self.slopes, *self.surroundings, *self.bias]).all() or min(self.slopes) < 0:
            raise ValueError("weights must be finite, and slopes not negative")

    def __call__(self, confidence: np.ndarray, class_id: np.ndarray, surroundings: np.ndarray) -> np.ndarray:
        """(N,) probabilities of boxes with these surroundings (N, 3)."""
        scores = np.stack(logarithms(confidence), 1) @ np.array(self.slopes)
        return sigmoid(scores + surroundings @ np.array(self.surroundings) + np.array(self.bias)[class_id])


def surroundings(found: Detections, wh: tuple[float, float]) -> np.ndarray:
    """(N, 3) of the detections of one image of size `wh`: 1 where the border cuts the box off; the logarithm of its size, the root of
    its share of the image's area; and the median logit of all N."""
    width, height = wh
    corners = found.xyxy.astype(np.float64)
    gaps = np.stack([corners[:, :2], np.array(wh) - corners[:, 2:]], 1)
    cut = (gaps <= _BORDER * (corners[:, 2:] - corners[:, :2])[:, None]).any((1, 2))
    share = np.maximum(detections.box_area(corners) / (width * height), 1e-9)
    median = np.median(logit(found.confidence)) if len(found) else 0.0
    return np.stack([cut, np.log(share) / 2, np.full(len(found), median)], 1)


def fit(confidence: np.ndarray, class_id: np.ndarray, right: np.ndarray, around: np.ndarray, classes: int) -> Context:
    """From n >= 1 detections of so many classes with surroundings `around` (n, 3)."""
    mean, std = around.mean(0), np.where(around.std(0) > 1e-9, around.std(0), 1.0)
    columns = [np.stack(logarithms(confidence), 1), (around - mean) / std, np.ones((len(right), 1)), np.eye(classes)[class_id]]
    features = np.concatenate(columns, 1)
    std_of_prior = np.where(np.arange(features.shape[1]) == 5, _BIAS_STD, _STD)
    slopes = np.arange(features.shape[1]) < 2
    prior = Prior(np.zeros(features.shape[1]), std_of_prior)
    w = logistic.weights(logistic.fit(features, right, slopes, prior), slopes)
    scaled = w[2:5] / std
    bias = w[6:] + w[5] - scaled @ mean
    return Context((float(w[0]), float(w[1])), (float(scaled[0]), float(scaled[1]), float(scaled[2])), tuple(bias.tolist()))
