"""From a detection's score to the probability that it is right.

Rule: of one class, at one place, a higher score never means a lower probability. A class that is seen rarely is judged like the others.
"""

from dataclasses import dataclass

import numpy as np

from trainer.calibration import isotonic, logistic
from trainer.calibration.logistic import Prior
from trainer.calibration.maps import Knots, Logistic, logarithms, per_class

METHODS = ("ts_all", "ts_percls", "platt_all", "platt_percls", "beta_all", "beta_percls", "iso_all", "iso_percls")
"""Temperature, Platt, beta and isotonic, one map for all classes or one a class."""

_PARAMETERS = {"ts": 1, "platt": 2, "beta": 3}
_WIDE, _NARROW = 1.0, 0.5
"""Standard deviations of the priors: around the score as it is, and of a class around all classes. The narrow one and .25 gave the
lowest negative log-likelihood of .25, .5 and 1 on BCCD with 10, 25 and 50 images."""


@dataclass(frozen=True, slots=True)
class PerClass:
    """One map for all classes, or one a class in their order; applied to the confidence by the predicted class."""

    maps: tuple[Knots | Logistic, ...]

    def __post_init__(self) -> None:
        if not self.maps:
            raise ValueError("there must be one map, or one a class")

    def __call__(self, confidence: np.ndarray, class_id: np.ndarray) -> np.ndarray:
        """(N,) probabilities."""
        return np.clip(per_class(self.maps, confidence, class_id), 0, 1)


def fit(method: str, confidence: np.ndarray, class_id: np.ndarray, right: np.ndarray, classes: int, least: int) -> PerClass:
    """By one of `METHODS`, from n >= 1 detections of so many classes.

    A class's own parameters are held near those of all classes by a prior; isotonic has none, so a class with fewer than `least`
    detections gets the map of all.
    """
    kind, scope = method.split("_")
    groups = [class_id == label for label in range(classes)] if scope == "percls" else []
    if kind == "iso":
        whole = isotonic.probability(confidence, right)
        own = [isotonic.probability(confidence[one], right[one]) if one.sum() >= max(least, 1) else whole for one in groups]
        return PerClass(tuple(own) or (whole,))
    centre = _logistic(kind, confidence, right, Prior(np.zeros(_PARAMETERS[kind]), np.full(_PARAMETERS[kind], _WIDE)))
    near = Prior(centre, np.full(len(centre), _NARROW))
    parameters = [_logistic(kind, confidence[one], right[one], near) if one.any() else centre for one in groups]
    return PerClass(tuple(_map(one) for one in parameters or [centre]))


def _logistic(kind: str, confidence: np.ndarray, right: np.ndarray, prior: Prior) -> np.ndarray:
    below, above = logarithms(confidence)
    ones = np.ones(len(right))
    columns = {"ts": [below + above], "platt": [below + above, ones], "beta": [below, above, ones]}[kind]
    return logistic.fit(np.stack(columns, 1), right, _slopes(len(columns)), prior)


def _slopes(parameters: int) -> np.ndarray:
    return np.arange(3)[:parameters] < max(parameters - 1, 1)


def _map(parameters: np.ndarray) -> Logistic:
    """T, or slope and bias, or two slopes and bias, as the fit orders them."""
    w = logistic.weights(parameters, _slopes(len(parameters))).tolist()
    bias = w.pop() if len(w) > 1 else 0.0
    return Logistic(w[0], w[-1], bias)
