"""From the labelled set to a model in the store: train, or go on from the checkpoint; export; prove the export."""

from contextlib import suppress
from dataclasses import replace

import torch

from activelearning import layout
from activelearning.commits import Commit
from activelearning.errors import BlobExists, BlobMissing
from activelearning.labels import ImageLabels
from activelearning.store import Blobs
from trainer import checkpoint, custom, dataset, detectors, export, parallel, recipe, start, training, training_record, view, weights
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
    detectors.check_task(settings.detector.family, settings.task)
    size = dataset.input_size(settings.detector.long_side, images, work.store.images)
    # what our own training has begun, it ends: the weights and the model must be of one network
    if work.means.program and not blobs.exists(layout.model(work.job.run, "weights.pt")):
        return _by_program(work, images, test, parent, size)
    shown = view.of_settings(settings.detector, settings.prediction)
    data = dataset.load(work.store.images, images, settings.classes, size, settings.task, shown)
    work.report(data.problems)
    family = settings.detector.family
    model = _fitted(work, data, images, test, parent)
    onnx = export.export(model, family, size)
    samples = [example.pixels for example in data.examples[:_PARITY_IMAGES]]
    parity = export.check_parity(model, onnx, family, samples, settings.prediction)
    work.tell(f"exported to ONNX: {parity.detections} detections compared, largest score difference {parity.score_difference:.1g}")
    with suppress(BlobExists):
        blobs.create(name, view.noted(onnx, shown))
    return blobs.read(name).content


def _by_program(
    work: Work, images: tuple[ImageLabels, ...], test: tuple[ImageLabels, ...], parent: Commit | None, size: tuple[int, int]
) -> bytes:
    """What somebody else's program makes of the images; it is given the last model unless that one knows images of `test`."""
    blobs, run, settings = work.store.labels, work.job.run, work.settings
    known = trained_on(blobs, parent.model) if parent and parent.model else frozenset()
    last = parent if parent and parent.model and known.isdisjoint(labels.image for labels in test) else None
    seed = settings.training.seed + layout.iteration_of(run)
    made = custom.train(work, images, size, seed, last)
    _note_images(blobs, run, images, known if last else frozenset())
    noted = {"program": work.means.program, "seed": seed, "last": last.model if last else "", "input_size": made.input_size}
    training_record.note(blobs, run, {**noted, "versions": training_record.versions()})
    if made.weights:
        with suppress(BlobExists):
            blobs.create(layout.model(run, "weights.pt"), made.weights.to_bytes())
    with suppress(BlobExists):
        blobs.create(layout.model(run, "model.onnx"), view.noted(made.onnx, view.of_settings(settings.detector, settings.prediction)))
    return blobs.read(layout.model(run, "model.onnx")).content


def _note_images(blobs: Blobs, run: str, images: tuple[ImageLabels, ...], known: frozenset[str]) -> None:
    """Keep the names of what a model was trained on, and of what the one before it knew already."""
    names = dict.fromkeys((*(labels.image for labels in images), *sorted(known)))
    with suppress(BlobExists):
        blobs.create(layout.trained_images(run), "\n".join(names).encode())


def _fitted(
    work: Work, data: dataset.Dataset, images: tuple[ImageLabels, ...], test: tuple[ImageLabels, ...], parent: Commit | None
) -> torch.nn.Module:
    """The trained model, always from the weights in the store: another machine's sums may differ in the last digit."""
    blobs, family, classes = work.store.labels, work.settings.detector.family, work.settings.classes
    name = layout.model(work.job.run, "weights.pt")
    if not blobs.exists(name):
        model, known = _fit(work, data, {labels.image for labels in test}, parent)
        _note_images(blobs, work.job.run, images, known)
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
    config = replace(settings.training, seed=settings.training.seed + layout.iteration_of(work.job.run))
    plan = recipe.plan(config, detectors.family(settings.detector.family).recipe, warm)
    devices = parallel.device_count(work.means.devices)
    work.tell(f"training on {_shown(data)}, at most {plan.iterations} iterations at {plan.learning_rate:g} on {_where(devices)}")
    keeper = _CheckpointKeeper(work)
    before = keeper.load()
    done = [before.iteration if before else 0]

    def on_progress(progress: training.Progress) -> None:
        done.append(progress.iteration)
        # Each time: that is when a trainer hears that it must stop.
        work.tell(f"iteration {progress.iteration} of {progress.iterations}, loss {sum(progress.losses.values()):.3f}")

    trained = parallel.train(
        model,
        data.examples,
        config,
        plan,
        devices,
        checkpoint=before,
        on_checkpoint=keeper.save,
        on_progress=on_progress,
        tell=work.tell,
    )
    noted = training_record.record(config, settings.training.seed, plan, done[-1], data.input_size, devices)
    training_record.note(work.store.labels, work.job.run, noted)
    return trained, trained_on(work.store.labels, parent.model) if warm and parent else frozenset()


def _shown(data: dataset.Dataset) -> str:
    return f"{len(data.examples)} images of {data.input_size[0]}×{data.input_size[1]}"


def _where(devices: int) -> str:
    kind = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"
    return kind if devices == 1 else f"{devices} processes, {kind}"


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
