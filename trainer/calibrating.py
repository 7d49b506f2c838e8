"""A run's calibration: fitted on the test split after training, kept beside the model, applied to whatever the model predicts."""

from contextlib import suppress

import numpy as np

from activelearning import jobs, journal, layout, state
from activelearning.errors import BlobExists, BlobMissing, UserError
from activelearning.store import Blobs
from trainer import calibration
from trainer.calibration import Calibration, Options
from trainer.held_out import HeldOut
from trainer.judged import Judged
from trainer.work import Work

_FILE = "calibration.json"


def write(work: Work, run: str, test: HeldOut) -> None:
    """Calibrate a run's model, unless that was done; where there is too little to learn from, say so and leave it."""
    blobs, name = work.store.labels, layout.model(run, _FILE)
    if blobs.exists(name) or not len(test):
        return
    try:
        fitted = fit(work, test, Options())
    except (UserError, ArithmeticError) as error:
        work.tell(f"the model is not calibrated: {error}")
        return
    with suppress(BlobExists):
        blobs.create(name, calibration.to_json(fitted).encode())
    before, after = (figures.detection for figures in (fitted.before, fitted.after))
    if before and after:
        work.tell(f"calibrated: D-ECE {before.d_ece:.4f} before, {after.d_ece:.4f} after")


def replace(work: Work, run: str, fitted: Calibration) -> None:
    """Put another calibration in the place of a run's; what is predicted from now on goes by it.

    Raises `UserError` while a job is queued or running: all shards of a prediction are to be calibrated alike.
    """
    jobs.refuse_if_busy(state.load(work.store.labels))
    replace_file(work.store.labels, layout.model(run, _FILE), calibration.to_json(fitted).encode())
    journal.write(work.store.labels, "trainer", "calibrated anew", work.clock(), run=run)


def replace_file(blobs: Blobs, name: str, content: bytes) -> None:
    """Write a blob, whatever was there. Raises `BlobChanged` when a rival writes it at this very moment."""
    try:
        etag: str | None = blobs.read(name).etag
    except BlobMissing:
        etag = None
    blobs.replace(name, content, etag)


def fit(work: Work, test: HeldOut, options: Options) -> Calibration:
    """A calibration from what the model found in the test split. Raises `UserError` where that is too little."""
    return calibration.fit(judged(work, test), np.array(test.sizes, np.float64).reshape(-1, 2), work.settings.classes, options)


def judged(work: Work, test: HeldOut) -> Judged:
    """The detections that would be written into tables, beside the truth."""
    return test.judged(len(work.settings.classes), work.settings.prediction.min_confidence)


def read(blobs: Blobs, run: str) -> Calibration | None:
    """A run's calibration, or None where there is none. Raises `UserError` for one that is damaged."""
    name = layout.model(run, _FILE)
    try:
        content = blobs.read(name).content
    except BlobMissing:
        return None
    return calibration.from_json(content.decode("utf-8", "replace"), name)
