"""After a training: the labelled images in the order to review them again, those whose labels the model doubts most first.

Rule: two blobs, create-once, the suspicions before the list that they belong to, so a list that is there is complete. The labels in it are
the current ones as they are: who reviews again corrects what people said, not what a model says.

It is the run's own model that is asked, although it was trained on most of these labels. That was measured (benchmark `label_errors`): of
200 images with errors that a model had learned for 18 epochs, the first 15 % held 23.8 % of the errors, of images that it had never seen
24.3 %, with 30 % to be had. Longer training was not measured. The drafts that a person had before are no second opinion: what the person
made of them is the label.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from activelearning import layout, suspicions, table
from activelearning.errors import BlobExists, BoxError, UserError
from activelearning.images import content_hash
from activelearning.labels import Box, ImageLabels, Problem, Review
from activelearning.store import Blobs
from activelearning.suspicions import Suspicion
from trainer import calibrating, label_errors
from trainer.calibration import Calibration
from trainer.drafts import DECIMALS
from trainer.ground_truth import ground_truth
from trainer.label_errors import Suspicions
from trainer.predictor import Failed, Predicted, Predictor
from trainer.work import Work

_WORTH_TELLING = 0.05
"""What is less probable counts, but nobody is told of it."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A labelled image, how many errors are to be expected in it, and what is suspected, most probable first."""

    labels: ImageLabels
    expected_errors: float
    suspicions: tuple[Suspicion, ...]


def write(work: Work, onnx: bytes, images: Sequence[ImageLabels]) -> None:
    """Predict the reviewed images with the run's model, and write its list of doubtful labels, unless that was done or is not wanted.

    Ties go by name. Images that cannot be read, were replaced since they were reviewed, or hold a class that is not among the project's,
    are reported and left out.
    """
    blobs, name = work.store.labels, layout.review(work.job.run)
    if not work.settings.policy.review or blobs.exists(name):
        return
    found = sorted(_doubts(work, onnx, images), key=lambda doubt: (-doubt.expected_errors, doubt.labels.image))
    _create(blobs, layout.suspicions(name), suspicions.to_bytes((doubt.labels.image, doubt.suspicions) for doubt in found))
    _create(blobs, name, table.table_bytes(doubt.labels for doubt in found))
    work.tell(f"{sum(doubt.expected_errors for doubt in found):.0f} label errors expected in {len(found)} images: {name}")


def _create(blobs: Blobs, name: str, content: bytes) -> None:
    with suppress(BlobExists):
        blobs.create(name, content)


def _doubts(work: Work, onnx: bytes, images: Sequence[ImageLabels]) -> Iterator[Doubt]:
    calibration = calibrating.read(work.store.labels, work.job.run)
    predictor = Predictor(onnx, work.settings.detector.family, work.settings.prediction)
    predicted = predictor.predict((labels.image, partial(_read, work.store.images, labels)) for labels in images)
    left_out = []
    for labels, found in zip(images, predicted, strict=True):
        try:
            yield _doubt(labels, _readable(found), calibration, work.settings.classes)
        except UserError as error:
            left_out.append(Problem(labels.image, f"{str(error).removeprefix(f'{labels.image}: ')}; its labels are not checked"))
        # the same text each time is no news, but it is how a trainer hears that it must stop
        work.tell(f"checking the labels of {len(images)} images")
    work.report(left_out)


def _read(blobs: Blobs, labels: ImageLabels) -> bytes:
    content = blobs.read(labels.image).content
    if labels.content_hash not in ("", content_hash(content)):
        raise UserError("the image was replaced after it was reviewed")
    return content


def _readable(found: Predicted | Failed) -> Predicted:
    if isinstance(found, Failed):
        raise UserError(found.reason)
    return found


def _doubt(labels: ImageLabels, found: Predicted, calibration: Calibration | None, classes: Sequence[str]) -> Doubt:
    truth = ground_truth(labels, classes, found.size)
    calibrated = calibration.apply(found.detections, found.size) if calibration else None
    suspected = label_errors.suspicions(truth, found.detections, calibrated)
    told = tuple(_told(suspected[suspected.probability >= _WORTH_TELLING], found.size, classes))
    expected, (width, height) = suspected.expected_errors, found.size
    why = f"{expected:.1f} label errors expected"
    listed = replace(
        labels, width=width, height=height, review=Review.UNOPENED, acquisition_score=round(expected, DECIMALS), chosen_for=why
    )
    return Doubt(listed, expected, told)


def _told(suspected: Suspicions, size: tuple[int, int], classes: Sequence[str]) -> Iterator[Suspicion]:
    corners = (suspected.xyxy / np.array([*size, *size])).clip(0, 1).round(DECIMALS).tolist()
    names = (*classes, "")
    columns = (suspected.kind, suspected.label, suspected.seen, suspected.probability.round(4))
    for kind, label, seen, probability, place in zip(*(column.tolist() for column in columns), corners, strict=True):
        # rounding may leave a box without area
        with suppress(BoxError):
            yield Suspicion(label_errors.KINDS[kind], Box(names[label if label >= 0 else seen], *place), names[seen], probability)
