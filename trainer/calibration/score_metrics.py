"""How well probabilities keep their word.

Rule: all functions want N >= 1 rows; `of_scores` and `of_classes` are None where there are none. Bins are closed below and open above,
the last one on both sides, and empty ones count for nothing. The order of the rows does not matter.
"""

import math
from dataclasses import dataclass

import numpy as np

BINS = 10
LAECE_BINS = 25


@dataclass(frozen=True, slots=True)
class ScoreFigures:
    """Of the probabilities of `count` detections to be right: `d_ece`, the same with bins of `d_ece_equal_mass`, and `d_ece_of_chance`,
    which true probabilities would show; `mce`, `brier`, `nll` in nats and `la_ece`."""

    count: int
    d_ece: float
    d_ece_equal_mass: float
    d_ece_of_chance: float
    mce: float
    brier: float
    nll: float
    la_ece: float


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """Of the closed-set probabilities of `count` boxes on objects: `ece` and `mce` of the likeliest class, `sce`, `brier` and `nll`."""

    count: int
    ece: float
    mce: float
    sce: float
    brier: float
    nll: float


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """The points of a reliability diagram, one a bin that is not empty: `count`, mean `confidence` and mean `target`, all (B,)."""

    count: np.ndarray
    confidence: np.ndarray
    target: np.ndarray

    @property
    def gap(self) -> np.ndarray:
        """(B,) how far each bin's mean confidence is from its mean target."""
        return np.abs(self.confidence - self.target)


def of_scores(probability: np.ndarray, class_id: np.ndarray, correct: np.ndarray, iou: np.ndarray) -> ScoreFigures | None:
    """All figures of N detections; None: there are none."""
    if not len(probability):
        return None
    return ScoreFigures(
        len(probability),
        ece(probability, correct),
        ece(probability, correct, equal_mass=True),
        ece_of_chance(probability),
        mce(probability, correct),
        brier(probability, correct),
        nll(probability, correct),
        la_ece(probability, class_id, correct, iou),
    )


def of_classes(probabilities: np.ndarray, truth_class: np.ndarray) -> ClassFigures | None:
    """All figures of probabilities (N, C) beside true classes (N,); None: there are none."""
    if not len(probabilities):
        return None
    top, right = probabilities.max(1), probabilities.argmax(1) == truth_class
    scores = brier(probabilities, truth_class), nll(probabilities, truth_class)
    return ClassFigures(len(top), ece(top, right), mce(top, right), sce(probabilities, truth_class), *scores)


def reliability(confidence: np.ndarray, target: np.ndarray, bins: int = BINS, *, equal_mass: bool = False) -> Reliability:
    """Bins of confidences (N,) in 0..1 beside what they promise (N,), 0..1; of equal width, or cut at quantiles, equals together."""
    confidence, target = confidence.astype(np.float64), target.astype(np.float64)
    edges = _quantiles(confidence, bins) if equal_mass else np.linspace(0, 1, bins + 1)
    index = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, max(len(edges) - 2, 0))
    _, index, count = np.unique(index, return_inverse=True, return_counts=True)
    return Reliability(count, np.bincount(index, confidence) / count, np.bincount(index, target) / count)


def ece(confidence: np.ndarray, target: np.ndarray, bins: int = BINS, *, equal_mass: bool = False) -> float:
    """Expected calibration error (Naeini et al. 2015): the mean gap, bins weighted by their count.

    With a detection's confidence and whether it is right at an IoU it is D-ECE (Küppers et al. 2020, confidence alone).
    """
    points = reliability(confidence, target, bins, equal_mass=equal_mass)
    return float(points.gap @ points.count / len(confidence))


def ece_of_chance(probability: np.ndarray, bins: int = BINS) -> float:
    """The D-ECE that probabilities (N,) would be expected to show were every one of them true: what no calibration can go below.

    The mean of |x| of a normal x, √(2/π) σ, in each bin; Bröcker, "Estimating reliability and resolution of probability forecasts"
    (2012) has the like for squared gaps. Boxes of one image depend on each other, which adds to it.
    """
    probability = probability.astype(np.float64)
    index = np.minimum((probability * bins).astype(int), bins - 1)
    variance = np.bincount(index, probability * (1 - probability))
    return float(math.sqrt(2 / math.pi) * np.sqrt(variance).sum() / len(probability))


def mce(confidence: np.ndarray, target: np.ndarray, bins: int = BINS) -> float:
    """Maximum calibration error (Naeini et al. 2015): the greatest gap of a bin of equal width."""
    return float(reliability(confidence, target, bins).gap.max())


def la_ece(confidence: np.ndarray, class_id: np.ndarray, correct: np.ndarray, iou: np.ndarray, bins: int = LAECE_BINS) -> float:
    """Localisation-aware ECE (Kuzucu et al., ECCV 2024; Oksuz et al., CVPR 2023): a bin's confidence against precision times the mean
    IoU of the right ones, the mean over the classes that are predicted. All arrays (N,); 25 bins in both papers."""
    target = np.where(correct, iou, 0)
    labels = np.unique(class_id)
    return float(np.mean([ece(confidence[class_id == label], target[class_id == label], bins) for label in labels]))


def sce(probabilities: np.ndarray, truth_class: np.ndarray, bins: int = BINS) -> float:
    """Static calibration error (Nixon et al. 2019): the mean over classes of the ECE of each class against all others.

    Probabilities (N, C), true classes (N,).
    """
    return float(np.mean([ece(probabilities[:, label], truth_class == label, bins) for label in range(probabilities.shape[1])]))


def brier(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Brier score: of yes-or-no probabilities (N,) the mean square error; of (N, C) and classes (N,) Brier's own (1950), the squares
    of a row summed, so 0..2."""
    true = truth if probabilities.ndim == 1 else np.eye(probabilities.shape[1])[truth]
    return float(((probabilities.astype(np.float64) - true) ** 2).sum() / len(probabilities))


def nll(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean negative log-likelihood in nats, of probabilities (N,) and right or not (N,), or of (N, C) and classes (N,).

    Probabilities are kept as far from 0 as a float32 distinguishes from 1, so a certain mistake costs 16.
    """
    probabilities = probabilities.astype(np.float64)
    yes = np.where(truth, probabilities, 1 - probabilities) if probabilities.ndim == 1 else probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.clip(yes, np.finfo(np.float32).eps, 1)).mean())


def _quantiles(confidence: np.ndarray, bins: int) -> np.ndarray:
    return np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)))
