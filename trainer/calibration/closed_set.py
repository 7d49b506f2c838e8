"""The class view: which class an object has, given that the box is on one. Closed set: the probabilities of the classes sum to 1.

Rule: learnt from boxes on an object of whatever class, since among boxes matched by class there would be nothing to learn.
"""

import math
from dataclasses import dataclass

import numpy as np

from trainer.calibration import isotonic, logistic
from trainer.calibration.logistic import Prior
from trainer.calibration.maps import Knots, logit

METHODS = ("ts_all", "ts_percls", "iso_all", "iso_percls")

_WIDE, _NARROW = 1.0, 0.5
"""Standard deviations of the priors: of ln T around 0, and of a class's around that of all classes."""


@dataclass(frozen=True, slots=True)
class Temperatures:
    """softmax(z / T) of the logits z of the class scores (Guo et al. 2017); one T > 0 for all classes, or one a class."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or not all(0 < value < math.inf for value in self.values):
            raise ValueError("temperatures must be positive and finite")

    def __call__(self, class_scores: np.ndarray) -> np.ndarray:
        """(N, C) probabilities, rows sum to 1."""
        return _softmax(logit(class_scores) / np.array(self.values))


@dataclass(frozen=True, slots=True)
class OneVersusRest:
    """Isotonic maps of softmax(z), one for all classes or one a class, and then rows that sum to 1 again (Zadrozny and Elkan 2002)."""

    maps: tuple[Knots, ...]

    def __post_init__(self) -> None:
        if not self.maps:
            raise ValueError("there must be one map, or one a class")

    def __call__(self, class_scores: np.ndarray) -> np.ndarray:
        """(N, C) probabilities, rows sum to 1; a row whose every class is mapped to 0 stays as it was."""
        raw = uncalibrated(class_scores)
        maps = self.maps * raw.shape[1] if len(self.maps) == 1 else self.maps
        mapped = np.stack([one(raw[:, label]) for label, one in enumerate(maps)], 1)
        total = mapped.sum(1, keepdims=True)
        return np.divide(mapped, total, out=raw, where=total > 0)


def uncalibrated(class_scores: np.ndarray) -> np.ndarray:
    """(N, C) softmax of the logits of the sigmoid scores."""
    return _softmax(logit(class_scores))


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """(N,) bits of the rows of (N, C); 0 where one class is certain, log2 C where all are equal."""
    logs = np.log2(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return np.maximum(-(probabilities * logs).sum(1), 0)


def fit(method: str, class_scores: np.ndarray, truth_class: np.ndarray, least: int) -> Temperatures | OneVersusRest:
    """By one of `METHODS`, from n >= 1 boxes on objects: scores (n, C) and true classes (n,).

    Temperatures of a class are held near that of all classes by a prior; isotonic has none, so a class with fewer than `least` objects
    gets the map of all.
    """
    kind, scope = method.split("_")
    if kind == "iso":
        return _isotonic(class_scores, truth_class, scope == "percls", least)
    logits = logit(class_scores)
    common = _sharpness(logits, truth_class, Prior(np.zeros(1), np.full(1, _WIDE)))
    if scope == "all":
        return Temperatures((math.exp(-common[0]),))
    classes = logits.shape[1]
    own = _sharpness(logits, truth_class, Prior(np.full(classes, common[0]), np.full(classes, _NARROW)))
    return Temperatures(tuple(np.exp(-own).tolist()))


def _sharpness(logits: np.ndarray, truth_class: np.ndarray, prior: Prior) -> np.ndarray:
    """−ln T, one for all or one a class: as many as the prior has."""
    true = np.eye(logits.shape[1])[truth_class]

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = logits * logistic.exponential(parameters)
        probabilities = _softmax(scaled)
        slopes = ((probabilities - true) * scaled).sum(0)
        penalty, penalty_slope = prior.penalty(parameters)
        loss = -_log_softmax(scaled)[true > 0].sum() + penalty
        return loss / len(logits), ((slopes if len(parameters) > 1 else slopes.sum(keepdims=True)) + penalty_slope) / len(logits)

    return logistic.minimise(objective, prior.centre)


def _isotonic(class_scores: np.ndarray, truth_class: np.ndarray, each: bool, least: int) -> OneVersusRest:
    raw = uncalibrated(class_scores)
    true = np.eye(raw.shape[1])[truth_class]
    whole = isotonic.probability(raw.ravel(), true.ravel())
    if not each:
        return OneVersusRest((whole,))
    seen = true.sum(0) >= max(least, 1)
    return OneVersusRest(tuple(isotonic.probability(raw[:, label], true[:, label]) if seen[label] else whole for label in range(len(seen))))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True, initial=-math.inf)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def _softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(_log_softmax(logits))
