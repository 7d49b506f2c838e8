"""What a model finds in held-out images, as a person would meet it in a batch: each box kept, nudged or deleted, and the objects to draw.

Rule: a box is kept from IoU 0.8 with an object of its class that it has for itself, nudged from 0.5, deleted else; an object that no box
shown stands for is drawn. The surest box chooses its object first, so what becomes of a box does not depend on boxes less sure than it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from activelearning.cost import CostModel
from activelearning.draft_rules import CONFIDENCE, PROBABILITY, DraftRules, is_sliver, kept
from activelearning.labels import MODEL, Box, ImageLabels, Review
from activelearning.learned_drafts import DELETE, KEEP, NUDGE
from trainer.drafts import DECIMALS
from trainer.judged import Judged

KEEP_IOU = 0.8
NUDGE_IOU = 0.5
MOST_IMAGES = 500
"""More of them do not move a threshold, and every one costs time."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """N boxes of M held-out images, image by image.

    `labels` are the images with their boxes as a table lists them. `class_id` (N,) int64; `confidence` (N,) and `probability` (N,) float64,
    the latter None without a calibration; `outcome` (N,) int64 is `KEEP`, `NUDGE` or `DELETE`; `sliver` (N,) bool. `objects` (M, C) counts
    the true objects of each image and class.
    """

    labels: tuple[ImageLabels, ...]
    class_id: np.ndarray
    confidence: np.ndarray
    probability: np.ndarray | None
    outcome: np.ndarray
    sliver: np.ndarray
    objects: np.ndarray

    def __post_init__(self) -> None:
        counts = {sum(len(one.boxes) for one in self.labels), *map(len, (self.class_id, self.confidence, self.outcome, self.sliver))}
        if len(counts) != 1 or len(self.objects) != len(self.labels):
            raise ValueError("the boxes, and the images, must be the same in all parts")

    def __len__(self) -> int:
        return len(self.class_id)

    @property
    def image(self) -> np.ndarray:
        """(N,) int64: which image a box is in."""
        return np.repeat(np.arange(len(self.labels)), [len(one.boxes) for one in self.labels])

    def score(self, kind: str) -> np.ndarray:
        """(N,) what thresholds are of. Raises `ValueError` for a probability that is not there."""
        found = {CONFIDENCE: self.confidence, PROBABILITY: self.probability}[kind]
        if found is None:
            raise ValueError("there is no calibrated probability")
        return found

    def shown(self, rules: DraftRules) -> np.ndarray:
        """(N,) bool: the boxes that a person is shown, as the core decides it."""
        mask, start = np.zeros(len(self), bool), 0
        for one in self.labels:
            mask[[start + index for index in kept(one, rules)]] = True
            start += len(one.boxes)
        return mask

    def of_images(self, images: Sequence[int] | np.ndarray) -> "Evidence":
        """Only those images, in their order here."""
        chosen = np.isin(np.arange(len(self.labels)), images)
        rows = chosen[self.image]
        probability = None if self.probability is None else self.probability[rows]
        columns = (self.class_id[rows], self.confidence[rows], probability, self.outcome[rows], self.sliver[rows])
        return Evidence(tuple(one for one, mine in zip(self.labels, chosen, strict=True) if mine), *columns, self.objects[chosen])


def evidence(judged: Judged, sizes: Sequence[tuple[int, int]], classes: Sequence[str], probability: np.ndarray | None = None) -> Evidence:
    """From judged detections of images of `sizes` (w, h), with the calibrated `probability` (N,) of each, learned from other images.

    A box that rounding leaves without area stands in no table and is left out.
    """
    corners, listed = _listed(judged, sizes)
    some = judged[listed]
    given = None if probability is None else probability[listed].astype(np.float64)
    labels = _labels(some, corners[listed], sizes, classes, given)
    slivers = [is_sliver(box, one.width, one.height) for one in labels for box in one.boxes]
    outcome = np.where(some.correct(KEEP_IOU), KEEP, np.where(some.correct(NUDGE_IOU), NUDGE, DELETE))
    confidence = some.detections.confidence.astype(np.float64)
    whole = Evidence(labels, some.detections.class_id, confidence, given, outcome, np.array(slivers, bool), judged.objects)
    most = min(len(labels), MOST_IMAGES)
    return whole.of_images(np.linspace(0, max(len(labels) - 1, 0), most).round().astype(np.int64))


def shown(
    judged: Judged, sizes: Sequence[tuple[int, int]], classes: Sequence[str], probability: np.ndarray | None, rules: DraftRules
) -> np.ndarray:
    """(N,) bool: which detections a person is shown by the rules; arguments as in `evidence`."""
    corners, listed = _listed(judged, sizes)
    given = None if probability is None else probability[listed].astype(np.float64)
    mask, start = np.zeros(len(judged), bool), 0
    for one in _labels(judged[listed], corners[listed], sizes, classes, given):
        mask[listed[[start + index for index in kept(one, rules)]]] = True
        start += len(one.boxes)
    return mask


def gains(found: Evidence, costs: CostModel, factors: np.ndarray | None = None) -> np.ndarray:
    """(N,) the seconds saved by showing each box: an object need not be drawn, or a wrong box must be deleted.

    `factors` (C, 3) say how many times as often boxes of a class are kept, nudged and deleted by people as they are here.
    """
    saved = np.array([costs.draw - costs.keep, costs.draw - costs.nudge, -costs.delete])[found.outcome]
    weights = np.ones(len(found)) if factors is None else factors[found.class_id, found.outcome]
    return np.asarray(saved * weights)


def seconds_an_image(found: Evidence, saved: float, costs: CostModel) -> float:
    """The work on an image when its drafts save so many seconds in all images."""
    return costs.open + (costs.draw_seconds(float(found.objects.sum())) - saved) / max(len(found.labels), 1)


def _listed(judged: Judged, sizes: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Corners (N, 4) as a table lists them, and the indices of the boxes that it lists."""
    extent = np.array(sizes, np.float64).reshape(-1, 2)[judged.image]
    corners = (judged.detections.xyxy / np.tile(extent, 2)).clip(0, 1).round(DECIMALS)
    return corners, np.flatnonzero((corners[:, 0] < corners[:, 2]) & (corners[:, 1] < corners[:, 3]))


def _labels(
    some: Judged, corners: np.ndarray, sizes: Sequence[tuple[int, int]], classes: Sequence[str], probability: np.ndarray | None
) -> tuple[ImageLabels, ...]:
    boxes: list[list[Box]] = [[] for _ in sizes]
    measures = [()] * len(some) if probability is None else [((PROBABILITY, one),) for one in probability.tolist()]
    columns = (some.image, corners, some.detections.class_id, some.detections.confidence)
    rows = zip(*(column.tolist() for column in columns), measures, strict=True)
    for image, (xmin, ymin, xmax, ymax), label, confidence, measured in rows:
        boxes[image].append(Box(classes[label], xmin, ymin, xmax, ymax, confidence, MODEL, measures=measured))
    return tuple(
        ImageLabels(str(number), width, height, tuple(mine), Review.UNOPENED)
        for number, ((width, height), mine) in enumerate(zip(sizes, boxes, strict=True))
    )
