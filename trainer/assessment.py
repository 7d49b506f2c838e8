"""How good the run's model is: figures on the test split, the model card, the rows of `performance.csv`."""

import hashlib
import platform
from dataclasses import asdict, replace
from typing import Any

import onnxruntime
import torch

from activelearning import journal
from activelearning.commits import Commit
from activelearning.errors import BlobMissing
from activelearning.labels import ImageLabels, Problem
from activelearning.settings import Prediction
from trainer import evaluation, performance
from trainer.evaluation import Metrics
from trainer.ground_truth import ground_truth
from trainer.predictor import Failed, Predictor
from trainer.work import Work

_EVALUATION_CONFIDENCE = 0.02
"""Average precision wants the weak detections too, which people are never shown."""


def assess(work: Work, onnx: bytes, train_images: tuple[ImageLabels, ...], test: tuple[ImageLabels, ...], parent: Commit | None) -> None:
    """Write the model card and the run's rows of `performance.csv`."""
    blobs, run_name = work.store.labels, work.job.run
    try:
        card = performance.read_card(blobs, run_name)
    except BlobMissing:
        metrics = evaluate(work, onnx, test)
        at = journal.utc(work.clock())
        rows = performance.rows(run_name, metrics, len(train_images), len(test), at) if metrics else []
        card = _card(work, onnx, train_images, test, parent, rows, at)
        performance.write_card(blobs, run_name, card)
    performance.publish(blobs, card["metrics"])


def evaluate(work: Work, onnx: bytes, test: tuple[ImageLabels, ...]) -> Metrics | None:
    """The figures of a model on the test split; None without one. Test images that cannot be read are reported and left out."""
    if not test:
        work.tell("there is no test split yet, so the model is not evaluated")
        return None
    classes = work.settings.classes
    predictor = Predictor(onnx, work.settings.detector.family, for_evaluation(work.settings.prediction))
    images = work.store.images
    predicted = list(predictor.predict((labels.image, lambda name=labels.image: images.read(name).content) for labels in test))
    work.report(Problem(one.name, f"{one.reason}; it is left out of the evaluation") for one in predicted if isinstance(one, Failed))
    pairs = [
        (ground_truth(labels, classes, one.size), one.detections)
        for labels, one in zip(test, predicted, strict=True)
        if not isinstance(one, Failed)
    ]
    if not pairs:
        return None
    metrics = evaluation.evaluate(*map(list, zip(*pairs, strict=True)), classes, silent_below=work.settings.drafts.min_confidence)
    work.tell(f"AP50 {_shown(metrics.value('ap50'))}, AP {_shown(metrics.value('ap'))} on {len(pairs)} test images")
    return metrics


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def for_evaluation(settings: Prediction) -> Prediction:
    """The same post-processing, with the weak detections that average precision wants."""
    return replace(settings, min_confidence=min(settings.min_confidence, _EVALUATION_CONFIDENCE))


def _card(
    work: Work,
    onnx: bytes,
    train: tuple[ImageLabels, ...],
    test: tuple[ImageLabels, ...],
    parent: Commit | None,
    rows: list[dict[str, Any]],
    at: str,
) -> dict[str, Any]:
    """What the model is: data, settings, figures, versions, hashes."""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    return {
        "run": work.job.run,
        "job": work.job.id,
        "made_at": at,
        "family": work.settings.detector.family,
        "classes": list(work.settings.classes),
        "warm_start_from": parent.model if parent and work.settings.training.warm_iterations else "",
        "labelled_images": len(train),
        "labelled_boxes": sum(len(labels.boxes) for labels in train),
        "test_images": len(test),
        "uploads": list(work.job.uploads),
        "settings": asdict(work.settings),
        "sha256": {"model.onnx": hashlib.sha256(onnx).hexdigest()},
        "versions": versions,
        "metrics": rows,
    }
