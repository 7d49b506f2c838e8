"""A model beside its test split, ready to be looked into: what the commands that calibrate, threshold, validate and report work on."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from activelearning import commits, labelled, layout, steps
from activelearning.commits import Commit
from activelearning.errors import BlobMissing, UserError
from activelearning.labels import ImageLabels
from activelearning.state import Job
from activelearning.store import Store
from trainer import assessment, calibrating, letterbox, performance
from trainer.detections import Detections
from trainer.held_out import HeldOut
from trainer.judged import Judged
from trainer.predictor import Predictor
from trainer.work import Work, read_onnx


@dataclass(frozen=True)
class Study:
    """A run's model, and the images of the test split; predicted when they are first asked for."""

    work: Work
    run: str
    onnx: bytes
    family: str
    test: tuple[ImageLabels, ...]
    commit: Commit | None

    @cached_property
    def held_out(self) -> HeldOut:
        """What the model finds in the test split. Raises `UserError` where no image of it can be read."""
        found = assessment.predict_test(self.work, self.onnx, self.family, self.test)
        if not len(found):
            raise UserError("no image of the test split can be read, so there is nothing to judge the model by")
        return found

    @cached_property
    def judged(self) -> Judged:
        """The detections that would be written into tables, beside the truth."""
        return calibrating.judged(self.work, self.held_out)

    @property
    def sizes(self) -> np.ndarray:
        """(M, 2) float64 width and height of the images."""
        return np.array(self.held_out.sizes, np.float64).reshape(-1, 2)

    def pixels(self, image: str) -> np.ndarray | None:
        """An image as RGB uint8 (h, w, 3), upright; None where it can no longer be read."""
        size = self.held_out.sizes[self.held_out.images.index(image)]
        try:
            return letterbox.decode_image(self.work.store.images.read(image).content, size)[0]
        except (BlobMissing, UserError):
            return None

    def predictor(self) -> Callable[[np.ndarray], Detections]:
        """What finds boxes in RGB pixels (h, w, 3), in pixels of that image; as for tables, without weak detections."""
        predictor = Predictor(self.onnx, self.family, self.work.settings.prediction)
        return lambda pixels: predictor.detect(letterbox.letterboxed(pixels, (pixels.shape[1], pixels.shape[0]), predictor.input_size))

    @property
    def source(self) -> str:
        """What names the model and the labels that figures of this study are about."""
        digest = hashlib.sha256(self.onnx)
        for labels in sorted(self.test, key=lambda one: one.image):
            digest.update(repr((labels.image, labels.boxes)).encode())
        return f"{self.run} {digest.hexdigest()[:16]}"


def of_run(store: Store, run: str, tell: Callable[[str], None]) -> Study:
    """A run's model, or the current one where none is named. Raises `UserError` without a model or without a test split."""
    settings, commit = steps.project(store), commits.latest(store.labels)
    model = run or (commit.model if commit else "")
    test = labelled.read(store.labels, layout.TEST).images
    if not model:
        raise UserError("there is no model yet: train one")
    if not test:
        raise UserError("there is no test split: `trainer repartition` or `activelearning import --split test`")
    onnx = read_onnx(store, model)
    return of_model(Work(store, settings, Job("study", "study", model, 0), tell, time.time), model, onnx, test, commit)


def of_model(work: Work, run: str, onnx: bytes, test: tuple[ImageLabels, ...], commit: Commit | None) -> Study:
    """A model that is at hand. Raises `UserError` for one of other classes than the project's."""
    try:
        card = performance.read_card(work.store.labels, run)
    except BlobMissing:
        raise UserError(f"there is no model '{run}' in {work.store.url}; name a run such as main/1") from None
    if tuple(card["classes"]) != work.settings.classes:
        raise UserError(f"model {run} knows the classes {', '.join(card['classes'])}, the project others: train first")
    return Study(work, run, onnx, card["family"], test, commit)
