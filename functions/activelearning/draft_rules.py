"""Which of a model's boxes a person is shown as drafts: the one place where that is decided, for taggers, trainers and simulations alike.

Rule: boxes are taken away, never changed, added or put in another order. Only a detector's own boxes are: what a person drew or confirmed,
and what has no confidence, stays.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from activelearning import overlap
from activelearning.labels import MODEL, Box, ImageLabels, iou

NEVER = 2.0
"""The threshold of a class whose drafts do not pay: no box is that sure."""

CONFIDENCE, PROBABILITY = "confidence", "probability"
SCORES = (CONFIDENCE, PROBABILITY)
"""What thresholds are of: the detector's confidence, or its calibrated `probability` measure."""

DUPLICATE_IOU = 0.5
"""Of two boxes of one class that overlap so much, the less sure one is a duplicate. Measured on 164 held-out blood-cell images: seconds
saved an image at 0.3, 0.4, 0.45, 0.5, 0.55: 0.07, 0.15, 0.16, 0.15, 0.11."""

OTHER_CLASS_IOU = 0.8
"""The same for boxes of two classes. A draft is kept untouched from IoU 0.8, so two such boxes mean one object. No such pair is among the
blood cells, so this value is reasoned, not measured."""

SLIVER_SIDE = 0.5
"""A box at the image's border whose side away from it is less than this share of its side along it is cut off. Seconds saved an image at
0.4, 0.5, 0.6, 0.7, same images, drafts from confidence 0.4: 0.56, 1.45, 1.37, -0.29."""

_BORDER = 0.005
"""A box so near to the border, as a share of the image, touches it."""


@dataclass(frozen=True, slots=True)
class DraftRules:
    """What a box must have to be shown.

    `thresholds` are the least scores by class, `other` that of classes without one; a box that has no such score needs a confidence of
    `floor`. No box is shown whose confidence is above `max_confidence`. `duplicates`, `other_class` and `slivers` say whether these are
    taken away; `max_tags_per_pixel` as in `overlap.cap_overlap`.
    """

    thresholds: Mapping[str, float] = field(default_factory=dict)
    other: float = 0.0
    score: str = CONFIDENCE
    floor: float = 0.0
    max_confidence: float = 1.0
    duplicates: bool = False
    other_class: bool = False
    slivers: bool = False
    max_tags_per_pixel: int = 0


def fixed(low: float, high: float = 1.0, max_tags_per_pixel: int = 0) -> DraftRules:
    """One range of confidence for all classes, and nothing cleaned away."""
    return DraftRules(other=low, floor=low, max_confidence=high, max_tags_per_pixel=max_tags_per_pixel)


def shown(labels: ImageLabels, rules: DraftRules) -> ImageLabels:
    """The image with only the boxes that a person is shown, in their order. Raises `BoxError` as `overlap.cap_overlap` does."""
    return replace(labels, boxes=tuple(labels.boxes[index] for index in kept(labels, rules)))


def kept(labels: ImageLabels, rules: DraftRules) -> list[int]:
    """Indices of the boxes that a person is shown, in their order."""
    boxes = labels.boxes
    chosen = [index for index, box in enumerate(boxes) if _is_sure(box, rules)]
    if rules.slivers:
        chosen = [index for index in chosen if not is_draft(boxes[index]) or not is_sliver(boxes[index], labels.width, labels.height)]
    chosen = sorted(_without_duplicates(boxes, chosen, rules))
    return _capped(labels, chosen, rules.max_tags_per_pixel)


def is_draft(box: Box) -> bool:
    """Whether a box is a detector's, as it scored it."""
    return box.source == MODEL and box.confidence is not None


def score_of(box: Box, score: str) -> float | None:
    """What thresholds go by; None where the box has no such score."""
    return box.confidence if score == CONFIDENCE else dict(box.measures).get(score)


def is_sliver(box: Box, width: int, height: int) -> bool:
    """Whether a box is what the image's border left of an object: at the border, and short away from it. Sizes of 0 count as square."""
    wide, high = (box.xmax - box.xmin) * (width or 1), (box.ymax - box.ymin) * (height or 1)
    beside = box.xmin <= _BORDER or box.xmax >= 1 - _BORDER
    above = box.ymin <= _BORDER or box.ymax >= 1 - _BORDER
    return (beside and wide < SLIVER_SIDE * high) or (above and high < SLIVER_SIDE * wide)


def _is_sure(box: Box, rules: DraftRules) -> bool:
    if not is_draft(box) or box.confidence is None:
        return True
    score = score_of(box, rules.score)
    sure = box.confidence >= rules.floor if score is None else score >= rules.thresholds.get(box.label, rules.other)
    return sure and box.confidence <= rules.max_confidence


def _without_duplicates(boxes: Sequence[Box], chosen: Sequence[int], rules: DraftRules) -> list[int]:
    """The surest first, ties in their order: each stays unless it repeats one that stays."""
    if not (rules.duplicates or rules.other_class):
        return list(chosen)
    stay: list[int] = []
    for index in sorted(chosen, key=lambda index: -_sureness(boxes[index], rules)):
        if not is_draft(boxes[index]) or not any(_repeats(boxes[index], boxes[other], rules) for other in stay):
            stay.append(index)
    return stay


def _sureness(box: Box, rules: DraftRules) -> float:
    if not is_draft(box) or box.confidence is None:
        return math.inf
    score = score_of(box, rules.score)
    return box.confidence if score is None else score


def _repeats(box: Box, surer: Box, rules: DraftRules) -> bool:
    same = box.label == surer.label
    return (rules.duplicates if same else rules.other_class) and iou(box, surer) >= (DUPLICATE_IOU if same else OTHER_CLASS_IOU)


def _capped(labels: ImageLabels, chosen: list[int], most: int) -> list[int]:
    if not most:
        return chosen
    capped = overlap.cap_overlap([labels.boxes[index] for index in chosen], labels.width, labels.height, most)
    left = Counter(map(id, capped))
    stay = []
    for index in chosen:
        if left[id(labels.boxes[index])]:
            left[id(labels.boxes[index])] -= 1
            stay.append(index)
    return stay
