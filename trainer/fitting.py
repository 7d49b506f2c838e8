"""From the labelled set to a model in the store: train, or go on from the checkpoint; export; prove the export."""

from contextlib import suppress
from dataclasses import replace

import torch

from activelearning import layout
from activelearning.commits import Commit
from activelearning.errors import BlobExists, BlobMissing
from activelearning.labels import ImageLabels
from activelearning.store import Blobs
from trainer import checkpoint, dataset, detectors, export, start, training, weights
from trainer.checkpoint import Checkpoint
from trainer.work import Work

_PARITY_IMAGES = 8
_OLD = "the checkpoint is of an older version, so the run starts anew"


def trained_on(blobs: Blobs, run: str) -> frozenset[str]:
    """The names of the images that a run's model, or one that it started from, was trained on; none where there is no model."""
    try:
        found = blobs.read(layout.trained_images(run)).content if run else b""
    except BlobMissing:
        return frozenset()
    return frozenset(found.decode().split("\n")) - {""}


def trained_model(work: Work, images: tuple[ImageLabels, ...], test: tuple[ImageLabels, ...], parent: Commit | None) -> bytes:
    """The run's model as ONNX: the one that an earlier attempt finished, or a newly trained one.

    It never sees the images of `test`, nor starts from the weights of a model that did.
    """
    blobs, name = work.store.labels, layout.model(work.job.run, "model.onnx")
    with suppress(BlobMissing):
        return blobs.read(name).content
    settings = work.settings
    size = dataset.input_size(settings.detector.long_side, images, work.store.images)
    data = dataset.load(work.store.images, images, settings.classes, size)
    work.report(data.problems)
    family = settings.detector.family
    model = _fitted(work, data, images, test, parent)
    onnx = export.export(model, family, size)
    samples = [example.pixels for example in data.examples[:_PARITY_IMAGES]]
    parity = export.check_parity(model, onnx, family, samples, settings.prediction)
    work.tell(f"exported to ONNX: {parity.detections} detections compared, largest score difference {parity.score_difference:.1g}")
    with suppress(BlobExists):
        blobs.create(name, onnx)
    return blobs.read(name).content


def _fitted(
    work: Work, data: dataset.Dataset, images: tuple[ImageLabels, ...], test: tuple[ImageLabels, ...], parent: Commit | None
) -> torch.nn.Module:
    """The trained model, always from the weights in the store: another machine's sums may differ in the last digit."""
    blobs, family, classes = work.store.labels, work.settings.detector.family, work.settings.classes
    name = layout.model(work.job.run, "weights.pt")
    if not blobs.exists(name):
        model, known = _fit(work, data, {labels.image for labels in test}, parent)
        names = dict.fromkeys((*(labels.image for labels in images), *sorted(known)))
        with suppress(BlobExists):
            blobs.create(layout.trained_images(work.job.run), "\n".join(names).encode())
        with suppress(BlobExists):
            blobs.create(name, weights.weights_of(model, family, classes).to_bytes())
    kept = weights.Weights.from_bytes(blobs.read(name).content)
    likelihood = work.settings.detector.box_likelihood
    model = detectors.build(family, len(classes), work.settings.training.seed, likelihood, architecture=kept.architecture)
    model.load_state_dict(kept.state)
    return model.eval()


def _fit(work: Work, data: dataset.Dataset, test: set[str], parent: Commit | None) -> tuple[torch.nn.Module, frozenset[str]]:
    """The trained model, and the images that the model it started from knows: none if it started from scratch."""
    settings = work.settings
    model, warm = start.start(work, parent, lambda run: test.isdisjoint(trained_on(work.store.labels, run)))
    config = replace(settings.training, seed=settings.training.seed + int(work.job.run.rpartition("/")[2]))
    # the last model has learned from most images by heart, so its loss on them would not tell when to stop
    config = replace(config, validation_share=0.0) if warm else config
    iterations = config.warm_iterations if warm else config.iterations
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"
    size = f"{data.input_size[0]}×{data.input_size[1]}"
    work.tell(f"training on {len(data.examples)} images of {size}, at most {iterations} iterations on {where}")
    keeper = _CheckpointKeeper(work)

    def on_progress(progress: training.Progress) -> None:
        # Each time: that is when a trainer hears that it must stop.
        loss = sum(progress.losses.values())
        work.tell(f"iteration {progress.iteration} of {progress.iterations}, loss {loss:.3f}")

    trained = training.train(
        model,
        data.examples,
        config,
        iterations=iterations,
        learning_rate=config.warm_learning_rate if warm else config.learning_rate,
        small_share=0.0 if warm else training.SMALL_SHARE,
        checkpoint=keeper.load(),
        on_checkpoint=keeper.save,
        on_progress=on_progress,
    )
    return trained, trained_on(work.store.labels, parent.model) if warm and parent else frozenset()


class _CheckpointKeeper:
    """The run's checkpoint in the store, replaced by compare-and-swap: a trainer that lost its lease cannot overwrite a rival's."""

    def __init__(self, work: Work):
        self._work = work
        self._name = layout.model(work.job.run, "checkpoint.pt")
        self._etag: str | None = None

    def load(self) -> Checkpoint | None:
        try:
            blob = self._work.store.labels.read(self._name)
        except BlobMissing:
            return None
        self._etag = blob.etag
        found = checkpoint.read(blob.content)
        self._work.tell(f"going on from the checkpoint at iteration {found.iteration}" if found else _OLD)
        return found

    def save(self, reached: Checkpoint) -> None:
        self._etag = self._work.store.labels.replace(self._name, reached.to_bytes(), self._etag)
        self._work.progressed()
