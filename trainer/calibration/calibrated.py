"""The value of a calibration: which maps it holds, what it was fitted on, and what it makes of detections.

Rule: applying it needs numpy alone; and it belongs to one model, one list of classes and one setting of prediction.
"""

from dataclasses import dataclass, fields

import numpy as np

from activelearning.errors import UserError
from trainer.calibration import boxes, closed_set, conformal, context, scores
from trainer.calibration.box_metrics import BoxFigures
from trainer.calibration.boxes import BoxMap
from trainer.calibration.closed_set import OneVersusRest, Temperatures
from trainer.calibration.conformal import Margins
from trainer.calibration.context import Context
from trainer.calibration.score_metrics import ClassFigures, ScoreFigures
from trainer.calibration.scores import PerClass
from trainer.detections import Detections

_METHODS = {
    "detection": (*scores.METHODS, context.METHOD),
    "closed_set": closed_set.METHODS,
    "box": boxes.METHODS,
    "joint": conformal.JOINTS,
    "unit": conformal.UNITS,
}


@dataclass(frozen=True, slots=True)
class Options:
    """What is fitted, and how.

    `detection`, `closed_set` and `box` name a method of `scores` or `context`, of `closed_set` and of `boxes`. A detection is right at
    `iou`; a class rarer than `least` boxes is calibrated like all. Margins hold with probability 1 − `alpha`, see `conformal` for
    `joint` and `unit`. Figures come from `folds` over images, drawn by `seed`.

    The defaults did best, or next to it, on BCCD with 10 to 50 images: see the benchmark `calibration`.
    """

    detection: str = context.METHOD
    closed_set: str = "ts_all"
    box: str = "rel_iso_all"
    iou: float = 0.5
    least: int = 30
    alpha: float = 0.1
    joint: str = "max"
    unit: str = "deviation"
    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in _METHODS.items():
            chosen: str = getattr(self, name)
            if chosen not in known:
                raise UserError(f"calibration: {chosen[:40]!r} is no {name} method; it is one of: {', '.join(known)}")
        if not (0 < self.iou <= 1 and 0 < self.alpha < 1 and self.folds >= 2 and self.least >= 1 and self.seed >= 0):
            raise UserError("calibration: iou and alpha lie between 0 and 1, folds are at least 2, least at least 1, and seed at least 0")


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """What a calibration makes of N detections of C classes, parallel to them, all float32.

    `probability` (N,) to be right; `class_probabilities` (N, C) of the object's class if there is one, and their `entropy` (N,) in bits;
    `aleatoric`, `epistemic` and `total` (N, 4) calibrated standard deviations of the corners in pixels, each None where the model does
    not tell; `margin` (N, 4) pixels that each corner stays within as the options promise, infinite where nothing is promised.
    """

    probability: np.ndarray
    class_probabilities: np.ndarray
    entropy: np.ndarray
    aleatoric: np.ndarray | None
    epistemic: np.ndarray | None
    total: np.ndarray | None
    margin: np.ndarray

    def __len__(self) -> int:
        return len(self.probability)

    def __getitem__(self, index: np.ndarray | slice) -> "Calibrated":
        """The rows that a mask, an array of indices or a slice picks, in its order."""
        values = (getattr(self, field.name) for field in fields(self))
        return Calibrated(*(None if value is None else value[index] for value in values))


@dataclass(frozen=True, slots=True)
class Maps:
    """One map for each thing that is calibrated; None: the model tells no such deviation, or it was never positive."""

    detection: PerClass | Context
    closed_set: Temperatures | OneVersusRest
    aleatoric: BoxMap | None
    epistemic: BoxMap | None
    total: BoxMap | None
    margins: Margins

    def apply(self, found: Detections, wh: tuple[float, float]) -> Calibrated:
        """The detections of one image of size `wh` (w, h), calibrated."""
        class_probabilities = self.closed_set(found.class_scores)
        total = None if found.spread is None else found.spread.total
        parts = (
            self._probability(found, wh),
            class_probabilities,
            closed_set.entropy(class_probabilities),
            *(self._deviation(name, found) for name in ("aleatoric", "epistemic", "total")),
            self.margins(found.xyxy, total),
        )
        return Calibrated(*(None if part is None else part.astype(np.float32) for part in parts))

    def _probability(self, found: Detections, wh: tuple[float, float]) -> np.ndarray:
        if isinstance(self.detection, Context):
            return self.detection(found.confidence, found.class_id, context.surroundings(found, wh))
        return self.detection(found.confidence, found.class_id)

    def _deviation(self, name: str, found: Detections) -> np.ndarray | None:
        one: BoxMap | None = getattr(self, name)
        if one is None or (found.spread is None and len(found)):
            return None
        # no boxes may come without a spread even from a model that tells it
        std = np.zeros((0, 4)) if found.spread is None else getattr(found.spread, name)
        return one(std, found.xyxy, found.class_id)


@dataclass(frozen=True, slots=True)
class Figures:
    """How good probabilities and deviations are, None where there is nothing to judge; `inside_margins` is the share of right boxes
    whose four corners all lie within their margins, of those with margins."""

    detection: ScoreFigures | None
    closed_set: ClassFigures | None
    aleatoric: BoxFigures | None
    epistemic: BoxFigures | None
    total: BoxFigures | None
    inside_margins: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """What was fitted on: how many `images`, `detections` in them, and how many of those are `right`."""

    images: int
    detections: int
    right: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted calibration of one model for the classes named, in their order.

    `before` are the figures of the model's own values, `after` those of values calibrated out of fold; `maps` are fitted on everything.
    `date` is when, as the caller writes it, or None.
    """

    classes: tuple[str, ...]
    options: Options
    sample: Sample
    maps: Maps
    before: Figures
    after: Figures
    date: str | None = None

    def __post_init__(self) -> None:
        allowed = 1, len(self.classes)
        if not all(count in allowed for count in _rows(self.maps)):
            raise ValueError(f"there must be one map, or one for each of {len(self.classes)} classes")

    def apply(self, found: Detections, wh: tuple[float, float]) -> Calibrated:
        """The detections of one image of size `wh` (w, h), calibrated. Raises `ValueError` for another number of classes."""
        if found.class_scores.shape[1] != len(self.classes):
            raise ValueError(f"a calibration of {len(self.classes)} classes is not for detections of {found.class_scores.shape[1]}")
        return self.maps.apply(found, wh)


def _rows(maps: Maps) -> list[int]:
    """How many classes each map is for; 1 may mean all."""
    view, closed = maps.detection, maps.closed_set
    one = len(view.bias) if isinstance(view, Context) else len(view.maps)
    other = len(closed.values) if isinstance(closed, Temperatures) else len(closed.maps)
    return [one, other, *(len(box.maps) for box in (maps.aleatoric, maps.epistemic, maps.total) if box is not None)]
