"""How good the run's model is: figures on the test split, the model card, the rows of `performance.csv`."""

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import PurePosixPath
from typing import Any

import onnxruntime
import torch

from activelearning import journal, layout, threshold_meaning
from activelearning.commits import Commit
from activelearning.errors import BlobMissing
from activelearning.labels import ImageLabels
from activelearning.settings import Prediction
from trainer import calibrating, draft_learning, engine, engine_record, evaluation, held_out, outlook, performance, start, training_record
from trainer.evaluation import Metrics
from trainer.held_out import HeldOut
from trainer.work import Work

_EVALUATION_CONFIDENCE = 0.02
"""Average precision wants the weak detections too, which people are never shown."""


def assess(
    work: Work,
    onnx: bytes,
    people: tuple[ImageLabels, ...],
    trained: tuple[ImageLabels, ...],
    test: tuple[ImageLabels, ...],
    parent: Commit | None,
) -> None:
    """Write the model card, the calibration and the run's rows of `performance.csv`.

    `people` are the images of the labelled set that the model was trained on, `trained` these and the machine's own.
    """
    blobs, run_name = work.store.labels, work.job.run
    try:
        card = performance.read_card(blobs, run_name)
    except BlobMissing:
        known = predict_test(work, onnx, work.settings.detector.family, test)
        metrics = evaluate(work, known)
        calibrating.write(work, run_name, known)
        _note_thresholds(work, known, parent)
        draft_learning.write(work, run_name, known, parent)
        at = journal.utc(work.clock())
        rows = performance.rows(run_name, metrics, len(people), len(test), at) if metrics else []
        card = _card(work, onnx, (people, trained), test, parent, rows, at)
        card[outlook.STANDARD_ERROR] = outlook.standard_error(work, known)
        performance.write_card(blobs, run_name, card)
    performance.publish(blobs, card["metrics"])


def _note_thresholds(work: Work, test: HeldOut, parent: Commit | None) -> None:
    """Write what thresholds that people set mean with the run's model, unless that was done; without a test split nobody knows."""
    blobs, run = work.store.labels, work.job.run
    if not len(test):
        return
    judged = calibrating.judged(work, test)
    found = threshold_meaning.curve(judged.detections.confidence[judged.correct()].tolist(), int(judged.objects.sum()))
    before = threshold_meaning.read(blobs, parent.model) if parent else None
    threshold_meaning.create(blobs, threshold_meaning.learned(run, found, work.settings, before))
    kept = threshold_meaning.read(blobs, run)
    for sentence in threshold_meaning.told(kept) if kept else ():
        work.tell(sentence)


def predict_test(work: Work, onnx: bytes, family: str, test: Sequence[ImageLabels]) -> HeldOut:
    """What a model finds in the test split, weak detections too. Test images that cannot be read are reported and left out."""
    return held_out.predict(work, onnx, family, test, for_evaluation(work.settings.prediction))


def evaluate(work: Work, test: HeldOut) -> Metrics | None:
    """The figures of a model on the test split; None without one."""
    if not len(test):
        work.tell("there is no test split yet, so the model is not evaluated")
        return None
    metrics = evaluation.evaluate(test.truth, test.found, work.settings.classes, silent_below=work.settings.drafts.min_confidence)
    work.tell(f"AP50 {_shown(metrics.value('ap50'))}, AP {_shown(metrics.value('ap'))}{_of_masks(metrics)} on {len(test)} test images")
    return metrics


def _of_masks(metrics: Metrics) -> str:
    if not any(row.name == "mask_ap50" for row in metrics.rows):
        return ""
    return f", of masks AP50 {_shown(metrics.value('mask_ap50'))}, AP {_shown(metrics.value('mask_ap'))}"


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def for_evaluation(settings: Prediction) -> Prediction:
    """The same post-processing, with the weak detections that average precision wants."""
    return replace(settings, min_confidence=min(settings.min_confidence, _EVALUATION_CONFIDENCE))


def _card(
    work: Work,
    onnx: bytes,
    images: tuple[tuple[ImageLabels, ...], tuple[ImageLabels, ...]],
    test: tuple[ImageLabels, ...],
    parent: Commit | None,
    rows: list[dict[str, Any]],
    at: str,
) -> dict[str, Any]:
    """What the model is: data, settings, figures, versions, hashes."""
    train, trained = images
    versions = {"python": platform.python_version(), "torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    return {
        "run": work.job.run,
        "job": work.job.id,
        "made_at": at,
        "family": work.settings.detector.family,
        "classes": list(work.settings.classes),
        **_start_of(work, parent),
        "labelled_images": len(train),
        "labelled_boxes": sum(len(labels.boxes) for labels in train),
        "accepted_images": len(trained) - len(train),
        "test_images": len(test),
        "uploads": list(work.job.uploads),
        "settings": asdict(work.settings),
        "training": training_record.read(work.store.labels, work.job.run),
        **_file_of(work, onnx),
        "versions": versions,
        "metrics": rows,
    }


def _file_of(work: Work, onnx: bytes) -> dict[str, Any]:
    """Which file predicts, why that one, and what ran it here."""
    choice = engine_record.read(work.store.labels, work.job.run)
    file = PurePosixPath(layout.model_in(work.job.run, choice.numbers if choice else engine_record.FLOAT32)).name
    known = {"engine": {**asdict(choice), "ran_on": engine.here()}} if choice else {}
    return known | {"sha256": {file: hashlib.sha256(onnx).hexdigest()}}


def _start_of(work: Work, parent: Commit | None) -> dict[str, Any]:
    """What the model started from: an earlier run, published weights with source, hash and licence, or neither."""
    noted = start.read(work.store.labels, work.job.run)
    known = noted["warm_start_from"] if noted else parent.model if parent and work.settings.training.warm_iterations else ""
    weights = {key: noted[key] for key in ("source", "sha256", "licence") if key in noted}
    return {"warm_start_from": known, "weights": weights}
