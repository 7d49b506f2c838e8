"""What a detector finds in images that were made worse step by step, and how unsure it says that it is.

Rule: the images as they are come first, to compare with; nothing is asked for ahead, and a row depends on its own step alone, so a run
that stopped goes on where it was.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from activelearning.errors import UserError
from trainer import corruption, detections, evaluation, judged, uncertainties
from trainer.corruption import SEVERITIES
from trainer.detections import Detections
from trainer.ground_truth import GroundTruth

NONE = "none"
"""The name, with severity 0, of the row for the images as they are."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """An image to test on: `pixels` RGB uint8 (H, W, 3), and what is truly in it, in its pixels; None where nobody knows."""

    name: str
    pixels: np.ndarray
    truth: GroundTruth | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What a detector found in all images under one corruption; a figure is None where there is nothing to take it of.

    `confidence` is the mean over the detections, and so is each `uncertainty`, those of `uncertainties.of` by name; without detections
    there is none. `ap50` and `recall` (at IoU 0.5, whatever the confidence) are of the images whose truth is known.
    """

    corruption: str
    severity: int
    images: int
    detections: int
    confidence: float | None
    uncertainty: Mapping[str, float]
    ap50: float | None
    recall: float | None


def suite(
    detect: Callable[[np.ndarray], Detections],
    images: Sequence[Sample],
    classes: Sequence[str],
    names: Sequence[str],
    severities: Sequence[int] = SEVERITIES,
    *,
    seed: int = 0,
    done: Collection[tuple[str, int]] = (),
) -> Iterator[Row]:
    """Run `detect`, which finds boxes in pixels of the image it gets, on all images: as they are, then under each corruption.

    Rows come one by one, as soon as they are there; those whose (corruption, severity) is in `done` are left out, so that a caller who
    kept the others goes on where it stopped. A flip is done once, at the first severity. Which detections are meant is `detect`'s to
    say: where it drops weak ones, look at their number beside the means. Raises `UserError` as `steps` does, and without images.
    """
    for name, severity in steps(names, severities):
        if (name, severity) not in done:
            yield _row(name, severity, [_seen(detect, one, name, severity, seed) for one in images], classes)


def steps(names: Sequence[str], severities: Sequence[int] = SEVERITIES) -> list[tuple[str, int]]:
    """Name and severity of each row of `suite`, in its order. Raises `UserError` for a name or a severity that there is none of."""
    corruption.check_severities(severities)
    graded = [(name, severities[:1] if corruption.named(name).axis is not None else severities) for name in names]
    return [(NONE, 0), *((name, severity) for name, some in graded for severity in some)]


def _seen(
    detect: Callable[[np.ndarray], Detections], one: Sample, name: str, severity: int, seed: int
) -> tuple[Detections, GroundTruth | None]:
    if name == NONE:
        return detect(one.pixels), one.truth
    found = detect(corruption.corrupt(name, one.pixels, severity, corruption.generator_of(one.name, seed)))
    if one.truth is None:
        return found, None
    height, width = one.pixels.shape[:2]
    return found, GroundTruth(corruption.corrupt_boxes(name, one.truth.xyxy, (width, height)), one.truth.class_id)


def _row(name: str, severity: int, seen: Sequence[tuple[Detections, GroundTruth | None]], classes: Sequence[str]) -> Row:
    if not seen:
        raise UserError("there are no images to corrupt")
    # an image without detections need not say how unsure the model is
    found = detections.concatenate([one for one, _ in seen if len(one)], len(classes))
    known = [(one, truth) for one, truth in seen if truth is not None]
    confidence = float(found.confidence.mean()) if len(found) else None
    unsure = {name: float(values.mean()) for name, values in uncertainties.of(found).items() if len(values)}
    return Row(name, severity, len(seen), len(found), confidence, unsure, *_hits(known, classes))


def _hits(known: Sequence[tuple[Detections, GroundTruth]], classes: Sequence[str]) -> tuple[float | None, float | None]:
    if not sum(len(truth.class_id) for _, truth in known):
        return None, None
    found, truths = zip(*known, strict=True)
    answers = judged.judge(found, truths, len(classes))
    return evaluation.evaluate(truths, found, classes).value("ap50"), float(answers.matched.sum() / answers.objects.sum())
