"""Prediction-only runs: list new images and give them drafts, or predict a folder or the whole pool anew with a named model."""

from collections.abc import Iterable
from dataclasses import replace

from activelearning import claims, commits, labelled, layout
from activelearning.commits import Commit
from activelearning.errors import UserError
from activelearning.labels import ImageLabels
from activelearning.settings import Selection
from trainer import performance, pool_prediction, totag
from trainer.pool_prediction import PinnedPool
from trainer.predictor import Predictor
from trainer.work import Work, commit_of, list_pool, read_onnx


def predict_only(work: Work) -> Commit:
    """List new images and predict them with the model there is; or, where the job names a model or a folder, predict those anew."""
    blobs, job = work.store.labels, work.job
    parent = commits.latest(blobs)
    model = job.model or (parent.model if parent else "")
    labelled_names = _labelled_names(work, parent)
    old = parent.totag if parent else ""
    pool = pool_prediction.pin(blobs, job.id, lambda: _pool_to_predict(work, labelled_names, old))
    pool_prediction.predict(work.store, job.id, pool, _predictor_of(work, model), work.settings.classes, work.tell)
    name = layout.totag(job.run, job.id)
    gone = labelled_names | frozenset(pool_prediction.unreadable(blobs, job.id, pool))
    images = _merged(work, pool, old, gone)
    totag.write(blobs, name, images, _selection(work.settings.selection, model))
    tagged = parent.tagged if parent else ""
    return commit_of(work, (parent.model if parent else "") or model, name, tagged, pool)


def _labelled_names(work: Work, parent: Commit | None) -> frozenset[str]:
    tagged = labelled.read(work.store.labels, parent.tagged).images if parent and parent.tagged else ()
    test = labelled.read(work.store.labels, layout.TEST).images
    return frozenset(labels.image for labels in (*tagged, *test))


def _pool_to_predict(work: Work, labelled_names: frozenset[str], old: str) -> PinnedPool:
    job = work.job
    if job.folder:
        return list_pool(work, set(labelled_names), lambda image: image.startswith(job.folder.strip("/") + "/"))
    # Named anew or with another threshold, every image is predicted again; else only those that the totag does not list.
    again = bool(job.model) or job.min_confidence >= 0
    known = set() if again or not old else {group.labels.image for group in claims.walk(work.store.labels, old)}
    return list_pool(work, known | labelled_names)


def _predictor_of(work: Work, model: str) -> Predictor | None:
    if not model:
        work.tell("there is no model yet: images are listed in random order, without drafts")
        return None
    onnx = read_onnx(work.store, model)
    card = performance.read_card(work.store.labels, model)
    if tuple(card["classes"]) != work.settings.classes:
        raise UserError(f"model {model} knows the classes {', '.join(card['classes'])}, the project others: train first")
    low = work.job.min_confidence if work.job.min_confidence >= 0 else work.settings.prediction.min_confidence
    return Predictor(onnx, card["family"], replace(work.settings.prediction, min_confidence=low))


def _merged(work: Work, pool: PinnedPool, old: str, gone: frozenset[str]) -> Iterable[ImageLabels]:
    """New predictions first, for the first of two counts; then what the old totag says of all other images."""
    yield from pool_prediction.predictions(work.store.labels, work.job.id, pool)
    if old:
        yield from (group.labels for group in claims.walk(work.store.labels, old) if group.labels.image not in gone)


def _selection(selection: Selection, model: str) -> Selection:
    # Without a model every image is as unknown as the next: by name would be one camera's night after the other.
    return selection if model else replace(selection, strategy="random")
