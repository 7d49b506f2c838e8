"""One turn of the loop, stage by stage: labelled set, training, evaluation, prediction of the pool, commit.

Rule: a stage writes its results create-once under the run's own names and is passed over when they are there, so a turn that was
killed at any instruction goes on where it was. Nothing of it counts before the commit, which comes last.
"""

from collections.abc import Iterable

from activelearning import commits, labelled, layout
from activelearning.commits import Commit
from activelearning.errors import UserError
from activelearning.iterations import Status
from activelearning.labels import ImageLabels
from activelearning.state import TRAIN
from trainer import assessment, fitting, pinned_pool, pool_prediction, prepredict, shards, split, totag
from trainer.work import Work, commit_of, list_pool, recipe_of


def run(work: Work) -> Commit:
    """Do the job and return its commit, which is not published yet."""
    return _train(work) if work.job.kind == TRAIN else prepredict.predict_only(work)


def _train(work: Work) -> Commit:
    blobs, job = work.store.labels, work.job
    parent = commits.latest(blobs)
    tagged = _labelled_set(work, parent)
    test = _test_split(work, tagged, parent)
    train_images = _without(tagged, test)
    work.move(Status.TRAINING)
    onnx = fitting.trained_model(work, train_images, test, parent)
    work.move(Status.TRAINING_COMPLETE)
    work.move(Status.EVALUATING)
    assessment.assess(work, onnx, train_images, test, parent)
    work.move(Status.EVALUATION_COMPLETE)
    work.move(Status.INFERENCE)
    labelled_names = {labels.image for labels in (*tagged, *test)}
    pool = pinned_pool.pin(blobs, job.id, lambda: recipe_of(work, job.run), lambda: list_pool(work, labelled_names))
    shards.predict(work, pool)
    totag.write(blobs, layout.totag(job.run), pool_prediction.predictions(blobs, job.id, pool), work.settings.selection)
    work.move(Status.INFERENCE_COMPLETE)
    return commit_of(work, job.run, layout.totag(job.run), layout.tagged(job.run), pool)


def _labelled_set(work: Work, parent: Commit | None) -> tuple[ImageLabels, ...]:
    """The run's labelled set: its parent's and the job's uploads, written once."""
    blobs, job = work.store.labels, work.job
    known = parent.run if parent and parent.tagged else ""
    gathered = labelled.gather(blobs, known, job.uploads)
    work.report(gathered.problems)
    if not gathered.images:
        raise UserError("no image is reviewed in the uploads of this job, so there is nothing to train on")
    before = commits.consumed(blobs, known) if known else frozenset()
    labelled.write(blobs, job.run, gathered.images, before | frozenset(job.uploads))
    return labelled.read(blobs, layout.tagged(job.run)).images


def _test_split(work: Work, tagged: tuple[ImageLabels, ...], parent: Commit | None) -> tuple[ImageLabels, ...]:
    """The test split after new labels may have joined it. What the last model was trained on may not: it would test on its own lessons."""
    blobs = work.store.labels
    before = labelled.read(blobs, parent.tagged).images if parent and parent.tagged else ()
    split.grow(blobs, tagged, {labels.image for labels in _without(tagged, before)}, work.settings.test)
    return labelled.read(blobs, layout.TEST).images


def _without(images: Iterable[ImageLabels], left_out: Iterable[ImageLabels]) -> tuple[ImageLabels, ...]:
    names = {labels.image for labels in left_out}
    return tuple(labels for labels in images if labels.image not in names)
