"""Images that the model was not trained on, with what it finds in them and what people say of them: all evidence of how good it is."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from activelearning.labels import ImageLabels, Problem
from activelearning.settings import Prediction
from trainer.detections import Detections
from trainer.ground_truth import GroundTruth, ground_truth
from trainer.judged import Judged, judge
from trainer.predictor import Failed, Predictor
from trainer.work import Work


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
    blobs, classes = work.store.images, work.settings.classes
    predictor = Predictor(onnx, family, settings)
    predicted = list(predictor.predict((labels.image, lambda name=labels.image: blobs.read(name).content) for labels in images))
    work.report(Problem(one.name, f"{one.reason}; it is left out of the evaluation") for one in predicted if isinstance(one, Failed))
    rows = [
        (one.name, one.size, one.detections, ground_truth(labels, classes, one.size))
        for labels, one in zip(images, predicted, strict=True)
        if not isinstance(one, Failed)
    ]
    return HeldOut(*(tuple(column) for column in zip(*rows, strict=True))) if rows else HeldOut((), (), (), ())
