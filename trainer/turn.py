"""One turn of the loop, stage by stage: labelled set, training, evaluation, prediction of the pool, commit.

Rule: a stage writes its results create-once under the run's own names and is passed over when they are there, so a turn that was
killed at any instruction goes on where it was. Nothing of it counts before the commit, which comes last.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from activelearning import claims, commits, labelled, layout, threshold_meaning
from activelearning.commits import Commit
from activelearning.errors import ActiveLearningError, UserError
from activelearning.iterations import Status
from activelearning.labels import ImageLabels, Problem
from activelearning.state import TRAIN
from trainer import (
    accepting,
    assessment,
    engine_choice,
    fitting,
    label_review,
    outlook,
    pinned_pool,
    pool_features,
    pool_prediction,
    prepredict,
    reporting,
    shards,
    split,
    study,
    totag,
)
from trainer.accepting import Accepted
from trainer.work import Work, commit_of, list_pool, recipe_of


def run(work: Work) -> Commit:
    """Do the job and return its commit, which is not published yet."""
    return _train(work) if work.job.kind == TRAIN else prepredict.predict_only(work)


def _train(work: Work) -> Commit:
    blobs, job = work.store.labels, work.job
    parent = commits.latest(blobs)
    tagged = _labelled_set(work, parent)
    last = accepting.last_accepted(work, parent, tagged, layout.division(job.run))
    test = _test_split(work, tagged, parent, last)
    evidence = (*test, *(labels for labels in _without(tagged, test) if labels.image in last.audited))
    people = _without(tagged, evidence)
    train_images = (*people, *_without(last.images, (*tagged, *test)))
    work.move(Status.TRAINING)
    # What a broken promise let in may be in the last model, so nothing of it is taken over.
    onnx = fitting.trained_model(work, train_images, evidence, None if last.broken else parent)
    work.move(Status.TRAINING_COMPLETE)
    work.move(Status.EVALUATING)
    onnx = engine_choice.settle(work, onnx, people, test)
    assessment.assess(work, onnx, people, train_images, test, None if last.broken else parent)
    outlook.write(work, parent)
    work.move(Status.EVALUATION_COMPLETE)
    work.move(Status.INFERENCE)
    labelled_names = {labels.image for labels in (*tagged, *test)}
    pool = pinned_pool.pin(blobs, job.id, lambda: recipe_of(work, job.run), lambda: list_pool(work, labelled_names))
    shards.predict(work, pool)
    images = partial(pool_prediction.predictions, blobs, job.id, pool)
    division = accepting.divide(work, onnx, pool.recipe, evidence, images, layout.division(job.run), last)
    unsettled = (labels for labels in images() if labels.image not in division.settled)
    people_said = (*tagged, *_without(test, tagged))
    selection = threshold_meaning.selection(blobs, work.settings.selection, job.run)
    load = pool_features.loader(work, pool, selection, lambda: people_said, job.run)
    totag.write(blobs, layout.totag(job.run), unsettled, selection, division.audits, load)
    if work.settings.policy.report and test:
        _report(work, onnx, test)
    label_review.write(work, onnx, people_said)
    work.move(Status.INFERENCE_COMPLETE)
    made = commit_of(work, job.run, layout.totag(job.run), layout.tagged(job.run), pool)
    return replace(made, autolabelled=division.name, predicted=job.id, drafts_of=job.run)


def _report(work: Work, onnx: bytes, test: tuple[ImageLabels, ...]) -> None:
    """Write the run's report. It is for people to look at: what is wrong with it is said, and a training of days is not lost for it."""
    page = layout.model(work.job.run, reporting.PAGE)
    if work.store.labels.exists(page):
        return
    try:
        found = study.of_model(work, work.job.run, onnx, test, None)
        pool = (group.labels for group in claims.walk(work.store.labels, layout.totag(work.job.run)))
        made = reporting.make(found, work.clock(), pool)
    except Exception as error:
        if isinstance(error, ActiveLearningError) and not isinstance(error, UserError):
            raise
        work.report([Problem(page, f"the report could not be made ({type(error).__name__}: {error})")])
        return
    reporting.write(found, made)
    work.tell(f"report: {page}")


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


def _test_split(work: Work, tagged: tuple[ImageLabels, ...], parent: Commit | None, last: Accepted) -> tuple[ImageLabels, ...]:
    """The test split after new labels may have joined it.

    What the last model was trained on may not, for it would test on its own lessons; nor what was audited, for those images are the
    easy ones.
    """
    blobs = work.store.labels
    before = labelled.read(blobs, parent.tagged).images if parent and parent.tagged else ()
    new = {labels.image for labels in _without(tagged, before)} - last.audited
    split.grow(blobs, tagged, new - fitting.trained_on(blobs, parent.model if parent else ""), work.settings.test)
    return labelled.read(blobs, layout.TEST).images


def _without(images: Iterable[ImageLabels], left_out: Iterable[ImageLabels]) -> tuple[ImageLabels, ...]:
    names = {labels.image for labels in left_out}
    return tuple(labels for labels in images if labels.image not in names)
