"""One turn of the loop, stage by stage: labelled set, training, evaluation, prediction of the pool, commit.

Rule: a stage writes its results create-once under the run's own names and is passed over when they are there, so a turn that was
killed at any instruction goes on where it was. Nothing of it counts before the commit, which comes last.
"""

import hashlib
import platform
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import onnxruntime
import torch
from activelearning import claims, commits, journal, labelled, layout, steps
from activelearning.commits import Commit
from activelearning.errors import BlobExists, BlobMissing, UserError
from activelearning.iterations import Status
from activelearning.labels import ImageLabels, Problem
from activelearning.settings import Prediction, Selection, Settings
from activelearning.state import TRAIN, Job
from activelearning.store import Store

from trainer import dataset, detectors, evaluation, export, performance, pool_prediction, split, totag, training, weights
from trainer.evaluation import Metrics
from trainer.ground_truth import ground_truth
from trainer.pool_prediction import PinnedPool
from trainer.predictor import Failed, Predictor

_EVALUATION_CONFIDENCE = 0.02
"""Average precision wants the weak detections too, which people are never shown."""
_PARITY_IMAGES = 8


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn works with. `tell` hears of progress and may raise to stop the work; `clock` gives seconds since the epoch."""

    store: Store
    settings: Settings
    job: Job
    tell: Callable[[str], None]
    clock: Callable[[], float]

    def move(self, status: Status) -> None:
        """Note where the iteration stands."""
        steps.move_iteration(self.store, self.job.run, status, self.clock())

    def report(self, problems: Iterable[Problem]) -> None:
        """Say what had to be left out, on the way and in the journal."""
        found = [str(problem) for problem in problems]
        for problem in found:
            self.tell(f"warning: {problem}")
        if found:
            journal.write(self.store.labels, "trainer", "left out", self.clock(), run=self.job.run, problems=found)


def run(turn: Turn) -> Commit | None:
    """Do the job and return its commit; None if another commit came first."""
    commit = _train(turn) if turn.job.kind == TRAIN else _predict_only(turn)
    if not commits.publish(turn.store.labels, commit, turn.job.parent):
        return None
    return commit


def _train(turn: Turn) -> Commit:
    blobs, job = turn.store.labels, turn.job
    parent = commits.latest(blobs)
    tagged = _labelled_set(turn, parent)
    split.grow(blobs, tagged, turn.settings.test)
    test = labelled.read(blobs, layout.TEST).images
    train_images = _without(tagged, test)
    turn.move(Status.TRAINING)
    onnx = _trained_model(turn, train_images, parent)
    turn.move(Status.TRAINING_COMPLETE)
    predictor = Predictor(onnx, turn.settings.detector.family, turn.settings.prediction)
    turn.move(Status.EVALUATING)
    _evaluate(turn, onnx, train_images, test, parent)
    turn.move(Status.EVALUATION_COMPLETE)
    turn.move(Status.INFERENCE)
    pool = pool_prediction.pin(blobs, job.id, lambda: _list_pool(turn, {labels.image for labels in (*tagged, *test)}))
    pool_prediction.predict(turn.store, job.id, pool, predictor, turn.settings.classes, turn.tell)
    totag.write(blobs, layout.totag(job.run), pool_prediction.predictions(blobs, job.id, pool), turn.settings.selection)
    turn.move(Status.INFERENCE_COMPLETE)
    return _commit(turn, job.run, layout.totag(job.run), layout.tagged(job.run), pool)


def _commit(turn: Turn, model: str, totag_name: str, tagged_name: str, pool: PinnedPool) -> Commit:
    unreadable = pool_prediction.unreadable(turn.store.labels, turn.job.id, pool)
    turn.report(Problem(image, f"{reason}; it is not in totag") for image, reason in unreadable.items())
    sequence, now = turn.job.parent + 1, turn.clock()
    return Commit(
        sequence, turn.job.id, turn.job.run, model, totag_name, tagged_name, pool.listed_at, pool.container_images, len(unreadable), now
    )


def _labelled_set(turn: Turn, parent: Commit | None) -> tuple[ImageLabels, ...]:
    """The run's labelled set: its parent's and the job's uploads, written once."""
    blobs, job = turn.store.labels, turn.job
    known = parent.run if parent and parent.tagged else ""
    gathered = labelled.gather(blobs, known, job.uploads)
    turn.report(gathered.problems)
    if not gathered.images:
        raise UserError("no image is reviewed in the uploads of this job, so there is nothing to train on")
    before = commits.consumed(blobs, known) if known else frozenset()
    labelled.write(blobs, job.run, gathered.images, before | frozenset(job.uploads))
    return labelled.read(blobs, layout.tagged(job.run)).images


def _without(images: Iterable[ImageLabels], left_out: Iterable[ImageLabels]) -> tuple[ImageLabels, ...]:
    names = {labels.image for labels in left_out}
    return tuple(labels for labels in images if labels.image not in names)


def _trained_model(turn: Turn, images: tuple[ImageLabels, ...], parent: Commit | None) -> bytes:
    """The run's model as ONNX: the one that an earlier attempt finished, or a newly trained one."""
    blobs, name = turn.store.labels, layout.model(turn.job.run, "model.onnx")
    with suppress(BlobMissing):
        return blobs.read(name).content
    settings = turn.settings
    size = dataset.input_size(settings.detector.long_side, images, turn.store.images)
    data = dataset.load(turn.store.images, images, settings.classes, size)
    turn.report(data.problems)
    model = _fit(turn, data, parent)
    family = settings.detector.family
    onnx = export.export(model, family, size)
    samples = [example.pixels for example in data.examples[:_PARITY_IMAGES]]
    parity = export.check_parity(model, onnx, family, samples, settings.prediction)
    turn.tell(f"exported to ONNX: {parity.detections} detections compared, largest score difference {parity.score_difference:.1g}")
    trained = weights.weights_of(model, family, settings.classes).to_bytes()
    with suppress(BlobExists):
        blobs.create(layout.model(turn.job.run, "weights.pt"), trained)
    with suppress(BlobExists):
        blobs.create(name, onnx)
    return blobs.read(name).content


def _fit(turn: Turn, data: dataset.Dataset, parent: Commit | None) -> torch.nn.Module:
    settings = turn.settings
    model = detectors.build(settings.detector.family, len(settings.classes), settings.training.seed)
    warm = _warm_start(turn, model, parent)
    config = replace(settings.training, seed=settings.training.seed + int(turn.job.run.rpartition("/")[2]))
    iterations = config.warm_iterations if warm else config.iterations
    turn.tell(f"training on {len(data.examples)} images of {data.input_size[0]}×{data.input_size[1]}, {iterations} iterations")
    keeper = _CheckpointKeeper(turn)

    def on_progress(progress: training.Progress) -> None:
        if progress.iteration % 10 == 0:
            loss = sum(progress.losses.values())
            turn.tell(f"iteration {progress.iteration} of {progress.iterations}, loss {loss:.3f}")

    return training.train(
        model,
        data.examples,
        config,
        iterations=iterations,
        learning_rate=config.warm_learning_rate if warm else config.learning_rate,
        checkpoint=keeper.load(),
        on_checkpoint=keeper.save,
        on_progress=on_progress,
    )


def _warm_start(turn: Turn, model: torch.nn.Module, parent: Commit | None) -> bool:
    settings = turn.settings
    if not (parent and parent.model and settings.training.warm_iterations):
        return False
    last = weights.Weights.from_bytes(turn.store.labels.read(layout.model(parent.model, "weights.pt")).content)
    turn.tell(weights.warm_start(model, last, settings.detector.family, settings.classes))
    return True


class _CheckpointKeeper:
    """The run's checkpoint in the store, replaced by compare-and-swap: a trainer that lost its lease cannot overwrite a rival's."""

    def __init__(self, turn: Turn):
        self._turn = turn
        self._name = layout.model(turn.job.run, "checkpoint.pt")
        self._etag: str | None = None

    def load(self) -> training.Checkpoint | None:
        try:
            blob = self._turn.store.labels.read(self._name)
        except BlobMissing:
            return None
        self._etag = blob.etag
        checkpoint = training.Checkpoint.from_bytes(blob.content)
        self._turn.tell(f"going on from the checkpoint at iteration {checkpoint.iteration}")
        return checkpoint

    def save(self, checkpoint: training.Checkpoint) -> None:
        self._etag = self._turn.store.labels.replace(self._name, checkpoint.to_bytes(), self._etag)


def _evaluate(turn: Turn, onnx: bytes, train_images: tuple[ImageLabels, ...], test: tuple[ImageLabels, ...], parent: Commit | None) -> None:
    """Write the model card and the run's rows of `performance.csv`."""
    blobs, run_name = turn.store.labels, turn.job.run
    try:
        card = performance.read_card(blobs, run_name)
    except BlobMissing:
        metrics = evaluate(turn, onnx, test)
        at = journal.utc(turn.clock())
        rows = performance.rows(run_name, metrics, len(train_images), len(test), at) if metrics else []
        card = _card(turn, onnx, train_images, test, parent, rows, at)
        performance.write_card(blobs, run_name, card)
    performance.publish(blobs, card["metrics"])


def evaluate(turn: Turn, onnx: bytes, test: tuple[ImageLabels, ...]) -> Metrics | None:
    """The figures of a model on the test split; None without one. Test images that cannot be read are reported and left out."""
    if not test:
        turn.tell("there is no test split yet, so the model is not evaluated")
        return None
    classes = turn.settings.classes
    predictor = Predictor(onnx, turn.settings.detector.family, for_evaluation(turn.settings.prediction))
    images = turn.store.images
    predicted = list(predictor.predict((labels.image, lambda name=labels.image: images.read(name).content) for labels in test))
    turn.report(Problem(one.name, f"{one.reason}; it is left out of the evaluation") for one in predicted if isinstance(one, Failed))
    pairs = [
        (ground_truth(labels, classes, one.size), one.detections)
        for labels, one in zip(test, predicted, strict=True)
        if not isinstance(one, Failed)
    ]
    if not pairs:
        return None
    metrics = evaluation.evaluate(*map(list, zip(*pairs, strict=True)), classes, silent_below=turn.settings.drafts.min_confidence)
    turn.tell(f"AP50 {_shown(metrics.value('ap50'))}, AP {_shown(metrics.value('ap'))} on {len(pairs)} test images")
    return metrics


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def for_evaluation(settings: Prediction) -> Prediction:
    """The same post-processing, with the weak detections that average precision wants."""
    return replace(settings, min_confidence=min(settings.min_confidence, _EVALUATION_CONFIDENCE))


def _card(
    turn: Turn,
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
        "run": turn.job.run,
        "job": turn.job.id,
        "made_at": at,
        "family": turn.settings.detector.family,
        "classes": list(turn.settings.classes),
        "warm_start_from": parent.model if parent and turn.settings.training.warm_iterations else "",
        "labelled_images": len(train),
        "labelled_boxes": sum(len(labels.boxes) for labels in train),
        "test_images": len(test),
        "uploads": list(turn.job.uploads),
        "settings": asdict(turn.settings),
        "sha256": {"model.onnx": hashlib.sha256(onnx).hexdigest()},
        "versions": versions,
        "metrics": rows,
    }


def _list_pool(turn: Turn, left_out: set[str], wanted: Callable[[str], bool] = lambda image: True) -> PinnedPool:
    now, names, refused, count = turn.clock(), [], [], 0
    for info in turn.store.images.list():
        if not layout.is_image(info.name):
            continue
        count += 1
        try:
            layout.check_blob_name(info.name)
        except UserError as error:
            refused.append(Problem("images container", str(error)))
            continue
        if info.name not in left_out and wanted(info.name):
            names.append(info.name)
    turn.report(refused)
    return PinnedPool(tuple(names), now, count)


def _predict_only(turn: Turn) -> Commit:
    """List new images and predict them with the model there is; or, where the job names a model or a folder, predict those anew."""
    blobs, job = turn.store.labels, turn.job
    parent = commits.latest(blobs)
    model = job.model or (parent.model if parent else "")
    labelled_names = _labelled_names(turn, parent)
    old = parent.totag if parent else ""
    pool = pool_prediction.pin(blobs, job.id, lambda: _pool_to_predict(turn, labelled_names, old))
    pool_prediction.predict(turn.store, job.id, pool, _predictor_of(turn, model), turn.settings.classes, turn.tell)
    name = layout.totag(job.run, job.id)
    gone = labelled_names | frozenset(pool_prediction.unreadable(blobs, job.id, pool))
    images = _merged(turn, pool, old, gone)
    totag.write(blobs, name, images, _selection(turn.settings.selection, model))
    tagged = parent.tagged if parent else ""
    return _commit(turn, parent.model if parent else "", name, tagged, pool)


def _labelled_names(turn: Turn, parent: Commit | None) -> frozenset[str]:
    tagged = labelled.read(turn.store.labels, parent.tagged).images if parent and parent.tagged else ()
    test = labelled.read(turn.store.labels, layout.TEST).images
    return frozenset(labels.image for labels in (*tagged, *test))


def _pool_to_predict(turn: Turn, labelled_names: frozenset[str], old: str) -> PinnedPool:
    job = turn.job
    if job.folder:
        return _list_pool(turn, set(labelled_names), lambda image: image.startswith(job.folder.strip("/") + "/"))
    # Named anew or with another threshold, every image is predicted again; else only those that the totag does not list.
    again = bool(job.model) or job.min_confidence >= 0
    known = set() if again or not old else {group.labels.image for group in claims.walk(turn.store.labels, old)}
    return _list_pool(turn, known | labelled_names)


def _predictor_of(turn: Turn, model: str) -> Predictor | None:
    if not model:
        turn.tell("there is no model yet: images are listed in random order, without drafts")
        return None
    try:
        card = performance.read_card(turn.store.labels, model)
    except BlobMissing:
        raise UserError(_no_model(turn.store, model)) from None
    if tuple(card["classes"]) != turn.settings.classes:
        raise UserError(f"model {model} knows the classes {', '.join(card['classes'])}, the project others: train first")
    low = turn.job.min_confidence if turn.job.min_confidence >= 0 else turn.settings.prediction.min_confidence
    return Predictor(read_onnx(turn.store, model), card["family"], replace(turn.settings.prediction, min_confidence=low))


def read_onnx(store: Store, model: str) -> bytes:
    """A run's exported model. Raises `UserError` when there is none."""
    try:
        return store.labels.read(layout.model(model, "model.onnx")).content
    except BlobMissing:
        raise UserError(_no_model(store, model)) from None


def _no_model(store: Store, model: str) -> str:
    return f"there is no model '{model}' in {store.url}; name a run such as main/1"


def _merged(turn: Turn, pool: PinnedPool, old: str, gone: frozenset[str]) -> Iterable[ImageLabels]:
    """New predictions first, for the first of two counts; then what the old totag says of all other images."""
    yield from pool_prediction.predictions(turn.store.labels, turn.job.id, pool)
    if old:
        yield from (group.labels for group in claims.walk(turn.store.labels, old) if group.labels.image not in gone)


def _selection(selection: Selection, model: str) -> Selection:
    # Without a model every image is as unknown as the next: by name would be one camera's night after the other.
    return selection if model else replace(selection, strategy="random")
