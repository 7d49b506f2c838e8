"""Images that the model was not trained on, with what it finds in them and what people say of them: all evidence of how good it is."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from activelearning.labels import ImageLabels, Problem
from activelearning.settings import Prediction
from trainer.detections import Detections
from trainer.ground_truth import TRUTH, GroundTruth
from trainer.judged import Judged, judge
from trainer.predictor import Failed, Predictor
from trainer.work import Work

_NO_MASK = "mask AP passes over them; draw the masks and hand the image in again"


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Parallel: names, upright sizes (w, h), what was found and what is true, in pixels of the image."""

    images: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    found: tuple[Detections, ...]
    truth: tuple[GroundTruth, ...]

    def __len__(self) -> int:
        return len(self.images)

    def judged(self, classes: int, min_confidence: float = 0.0) -> Judged:
        """The detections above a confidence beside the truth."""
        kept = [one[one.confidence >= min_confidence] for one in self.found]
        return judge(kept, self.truth, classes)


def joined(first: HeldOut, second: HeldOut) -> HeldOut:
    """The images of both."""
    return HeldOut(*(getattr(first, field.name) + getattr(second, field.name) for field in fields(HeldOut)))


def predict(work: Work, onnx: bytes, family: str, images: Sequence[ImageLabels], settings: Prediction) -> HeldOut:
    """Predict reviewed images. Those that cannot be read are reported and left out.

    Raises `UserError` for a class that is not among the project's.
    """
    found, problems = look(work, onnx, family, images, settings)
    work.report(problems)
    return found


def look(work: Work, onnx: bytes, family: str, images: Sequence[ImageLabels], settings: Prediction) -> tuple[HeldOut, tuple[Problem, ...]]:
    """The same, without a report: what was found, and what is to be reported."""
    blobs, settings_of = work.store.images, work.settings
    truth_of = TRUTH[settings_of.task]
    predictor = Predictor(onnx, family, settings)
    predicted = predictor.predict((labels.image, lambda name=labels.image: blobs.read(name).content) for labels in images)
    rows, problems = [], list[Problem]()
    for labels, one in zip(images, predicted, strict=True):
        if isinstance(one, Failed):
            problems.append(Problem(one.name, f"{one.reason}; it is left out of the evaluation"))
            continue
        truth = truth_of(labels, settings_of.classes, one.size)
        rows.append((one.name, one.size, one.detections, truth))
        if truth.without_mask:
            problems.append(Problem(one.name, f"{truth.without_mask} of its objects have no mask, or a damaged one; {_NO_MASK}"))
    found = HeldOut(*(tuple(column) for column in zip(*rows, strict=True))) if rows else HeldOut((), (), (), ())
    return found, tuple(problems)
