"""Where people's labels and a model's detections disagree, and how likely it is that the label is at fault.

Rule: every disagreement is one suspicion with a probability of its own, and what an image is suspected of is their sum: the number of
errors to be expected in it. The probability of at least one error puts as many errors first where few images hold all of them, and fewer
where every image has some (88 and 23 % on BCCD, against 87 and 25 % by the sum; see the benchmark `label_errors`).

Each probability is a posterior. Before the image is looked at, one label in fifty is at fault in each of four ways; the detections, worth
what their calibrated probabilities say, speak for it or against. One in a hundred or one in thirty finds nearly as much.
"""

from dataclasses import dataclass

import numpy as np

from trainer.calibration import Calibrated, closed_set
from trainer.detections import Detections, box_iou, nms
from trainer.ground_truth import GroundTruth

KINDS = ("missed", "shifted", "swapped", "spurious")
"""An object without a label; a label beside its object; a label of another class than its object; a label without an object."""

_RATE = 0.02
"""How often people err in each way, before the image is looked at."""
_UNSEEN = 0.1
"""How often the model finds nothing at all where an object is."""
_LEAST_IOU = 0.1
"""A label and a detection that overlap less have nothing to do with one another."""
_SAME_IOU = 0.5
"""Two boxes that overlap so much are taken to be of one object."""
_FREEDOM = 4.0
"""Degrees of freedom of Student's t for how far a right label lies from its detection: tails heavy enough for a careful person."""
_SHIFT = 0.25
"""How far a shifted label lies off, as a share of the object's side."""
_UNKNOWN_DEVIATION = 0.05
"""Standard deviation of a corner, as a share of the object's side, where the model tells none."""
_LEAST_DEVIATION = 1.0
"""Pixels: nobody draws more exactly."""


@dataclass(frozen=True, slots=True, eq=False)
class Suspicions:
    """What N labels or places of one image are suspected of.

    `kind` (N,) int64 is an index of `KINDS`; `probability` (N,) float64 that it is so; `label` and `seen` (N,) int64 the class on the
    label and the one that the model sees, -1 where there is none; `xyxy` (N, 4) float32 the label's corners in pixels, of a missed
    object the detection's.
    """

    kind: np.ndarray
    probability: np.ndarray
    label: np.ndarray
    seen: np.ndarray
    xyxy: np.ndarray

    def __post_init__(self) -> None:
        if self.xyxy.shape != (len(self.kind), 4) or any(
            len(column) != len(self.kind) for column in (self.probability, self.label, self.seen)
        ):
            raise ValueError("the columns must be parallel")

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, index: np.ndarray) -> "Suspicions":
        """The suspicions that a mask or an array of indices picks, in its order."""
        return Suspicions(self.kind[index], self.probability[index], self.label[index], self.seen[index], self.xyxy[index])

    @property
    def expected_errors(self) -> float:
        """The number of errors to be expected in the image."""
        return float(self.probability.sum())


def suspicions(labels: GroundTruth, found: Detections, calibrated: Calibrated | None = None) -> Suspicions:
    """What the labels of one image are suspected of, most probable first, ties in the order of `KINDS`, then of labels and detections.

    `found` (D) is what a model detects, weak detections too, and `calibrated` what its calibration makes of them; without one, its
    scores are taken at their word. Labels (G) and detections are paired one to one, whatever their classes: the pair of the largest
    IoU × probability first. With p the probability of the detection:

    - missed: a detection without a label, if nobody overlooks more than `_RATE` of the objects: odds `_RATE` p / (1 − p);
    - shifted: odds of the pair's distances, in centre and size, under Student's t as wide as the calibrated deviation of the corners,
      against one as wide as shifts are; each distance may be right. A larger distance is never less suspicious while the boxes overlap;
    - swapped: odds of another class than the label's by the calibrated class probabilities. Both times p, for else the detection
      says nothing;
    - spurious: a label that no detection overlaps, of which a tenth are right all the same.

    A pair that overlaps by less than half may be a pair by chance: unless it is shifted, each of the two stands alone.
    """
    known = _taken_at_its_word(found) if calibrated is None else calibrated
    iou = box_iou(labels.xyxy.astype(np.float64), found.xyxy.astype(np.float64))
    detection = _detections_of(iou, known.probability)
    paired = np.flatnonzero(detection >= 0)
    own = detection[paired]
    sure = known.probability[own].astype(np.float64)
    shifted = sure * _posterior(_shift_odds(labels.xyxy[paired], found.xyxy[own], _deviation(known, found)[own]))
    swapped = sure * _swapped(known.class_probabilities[own], labels.class_id[paired])
    alone = np.where(iou[paired, own] < _SAME_IOU, 1 - shifted, 0.0)
    free = _unlabelled(iou, own, found.xyxy, known.probability)
    unseen = np.ones(len(detection))
    unseen[paired] = alone
    missed = np.concatenate([free, own])
    overlooked = np.concatenate([np.ones(len(free)), alone]) * _missed(known.probability[missed])
    spurious = unseen * float(_posterior(np.array(1 / _UNSEEN)))
    seen, none = found.class_id, np.int64(-1)
    return _sorted(
        (overlooked, np.full(len(missed), none), seen[missed], found.xyxy[missed]),
        (shifted, labels.class_id[paired], seen[own], labels.xyxy[paired]),
        (swapped, labels.class_id[paired], _other_class(known.class_probabilities[own], labels.class_id[paired]), labels.xyxy[paired]),
        (spurious, labels.class_id, np.full(len(unseen), none), labels.xyxy),
    )


def _taken_at_its_word(found: Detections) -> Calibrated:
    """Scores as probabilities, softmax of the logits, the model's own deviation."""
    probabilities = closed_set.uncalibrated(found.class_scores)
    spread = found.spread
    total = None if spread is None else spread.total
    nowhere = np.full(found.xyxy.shape, np.inf)
    return Calibrated(found.confidence, probabilities, closed_set.entropy(probabilities), None, None, total, nowhere)


def _detections_of(iou: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(G,) the detection of each label, -1 for none."""
    own = np.full(len(iou), -1, np.int64)
    # a detection that is hardly believed is better than none
    worth = np.where(iou >= _LEAST_IOU, iou * (0.05 + probability), 0.0)
    rows, columns = np.nonzero(worth)
    taken: set[int] = set()
    for at in np.argsort(-worth[rows, columns], kind="stable").tolist():
        label, detection = int(rows[at]), int(columns[at])
        if own[label] < 0 and detection not in taken:
            own[label] = detection
            taken.add(detection)
    return own


def _posterior(odds: np.ndarray) -> np.ndarray:
    """The probability of an error that these odds speak for."""
    against = _RATE / (1 - _RATE) * odds
    return np.asarray(against / (1 + against))


def _deviation(known: Calibrated, found: Detections) -> np.ndarray:
    """(D, 4) pixels."""
    side = _side(found.xyxy)
    told = np.full(side.shape, np.nan) if known.total is None else known.total.astype(np.float64)
    usable = np.isfinite(told) & (told > 0)
    return np.maximum(np.where(usable, told, _UNKNOWN_DEVIATION * side), _LEAST_DEVIATION)


def _side(xyxy: np.ndarray) -> np.ndarray:
    """(N, 4) width, height, width, height."""
    return np.tile(xyxy[:, 2:] - xyxy[:, :2], 2).astype(np.float64)


def _shift_odds(label: np.ndarray, detection: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """(P,) how much likelier the distances are if the label is shifted."""
    residual = label.astype(np.float64) - detection
    low, high = residual[:, :2], residual[:, 2:]
    width = np.hypot(deviation[:, :2], deviation[:, 2:])
    distance = np.concatenate([(low + high) / 2, high - low], 1)
    narrow = np.concatenate([width / 2, width], 1)
    wide = np.hypot(narrow, _SHIFT * _side(detection))
    return np.asarray((0.5 + 0.5 * np.exp(_log_t(distance, wide) - _log_t(distance, narrow))).prod(1))


def _log_t(distance: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Logarithm of the density of Student's t, but for a constant."""
    return np.asarray(-np.log(scale) - (_FREEDOM + 1) / 2 * np.log1p((distance / scale) ** 2 / _FREEDOM))


def _swapped(probabilities: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(P,) that the object's class is another than the label's."""
    own = probabilities[np.arange(len(label)), label].astype(np.float64)
    # a wrong class is one of the others, each as likely
    others = max(probabilities.shape[1] - 1, 1)
    return _posterior((1 - own).clip(0) / np.maximum(own, 1e-9) / others)


def _other_class(probabilities: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(P,) the most probable class that is not the label's."""
    others = probabilities.astype(np.float64)
    others[np.arange(len(label)), label] = -1
    return np.asarray(others.argmax(1)) if len(label) else label


def _unlabelled(iou: np.ndarray, own: np.ndarray, xyxy: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Indices of the detections that have no label, and are no second box of an object that has one or of another such."""
    owned = np.isin(np.arange(len(xyxy)), own)
    kept = nms(xyxy, np.where(owned, 2.0, probability), np.zeros(len(xyxy), np.int64), _SAME_IOU)
    return np.asarray(kept[~owned[kept] & (iou.max(0, initial=0.0)[kept] < _SAME_IOU)])


def _missed(probability: np.ndarray) -> np.ndarray:
    p = probability.astype(np.float64).clip(0, 1)
    return _posterior(p / np.maximum(1 - p, 1e-9))


def _sorted(*columns: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> Suspicions:
    """Of each kind in their order: probability, label, seen, xyxy."""
    probability, label, seen, xyxy = (np.concatenate(column) for column in zip(*columns, strict=True))
    kind = np.repeat(np.arange(len(columns)), [len(one[0]) for one in columns])
    order = np.argsort(-probability, kind="stable")
    return Suspicions(kind, probability, label.astype(np.int64), seen.astype(np.int64), xyxy.astype(np.float32))[order]
