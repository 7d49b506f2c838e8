"""Accept now what is proved now: divide the current pool anew, with the predictions there are, and make that current at once.

Rule: this is the one commit that no job makes. It builds on the current one like any other, by compare-and-swap, and changes nothing but
what is listed and what is accepted; so the state takes it in as it does every commit, and a job that was queued meanwhile and comes to
publish on the old one is done again on top. The same question on the same labels has the same name, so asking it again does nothing.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial

from activelearning import (
    autolabels,
    claims,
    commits,
    decisions,
    importing,
    jobs,
    journal,
    labelled,
    layout,
    state,
    steps,
    table,
    threshold_meaning,
)
from activelearning.autolabels import Record
from activelearning.commits import Commit
from activelearning.errors import BlobChanged, UserError
from activelearning.labels import ImageLabels
from activelearning.settings import Settings
from activelearning.state import QUEUED, RUNNING, Job
from activelearning.store import Store
from trainer import accepting, pinned_pool, pool_features, totag
from trainer.pinned_pool import PinnedPool
from trainer.work import Work, read_onnx

KIND = "autolabel"


def run(
    store: Store,
    precision: float | None,
    confidence: float | None,
    tell: Callable[[str], None],
    clock: Callable[[], float] = time.time,
) -> Record:
    """Divide the pool by this promise (None: as project.toml has it), make that current, and return its record.

    Raises `UserError` while a job is queued or running, where there is no model, and where the pool was predicted in several ways.
    """
    settings = _asked(steps.project(store), precision, confidence)
    parent = _current(store)
    reviewed = importing.current_labels(store)
    question = _question(parent, settings, reviewed)
    if parent.job == question:
        tell("the pool is divided by this promise already, and nobody has reviewed anything since")
        return _record(store, parent)
    work = Work(store, settings, Job(question, KIND, parent.run, parent.sequence), tell, clock)
    commit = _divided(work, parent, reviewed)
    _publish(work, commit)
    if not steps.project(store).autolabel.precision:
        tell("warning: autolabel.precision is 0 in project.toml, so the next job gives these images back to the pool; set it to keep them")
    return _record(store, commit)


def _asked(settings: Settings, precision: float | None, confidence: float | None) -> Settings:
    given = {name: value for name, value in (("precision", precision), ("confidence", confidence)) if value is not None}
    asked = replace(settings, autolabel=replace(settings.autolabel, **given))
    if not asked.autolabel.precision:
        raise UserError("say which share of the accepted boxes must be right: --precision 0.99, or autolabel.precision in project.toml")
    return asked


def _current(store: Store) -> Commit:
    """The current commit, where there is a model and nothing going on."""
    current, commit = steps.adopt(store), commits.latest(store.labels)
    jobs.refuse_if_busy(current)
    if commit is None or not commit.model:
        raise UserError("there is no model yet: train one")
    return commit


def _question(parent: Commit, settings: Settings, reviewed: Sequence[ImageLabels]) -> str:
    """A name for what is asked of which predictions and labels; the same for the commit that answers it."""
    pool = (repr(parent.listed_at), str(parent.pool_images))
    asked = (*pool, repr(asdict(settings.autolabel)), repr(settings.drafts.min_confidence), repr(settings.classes))
    return decisions.job_id(KIND, parent.run, parent.predicted, *asked, *table.write_labels(reviewed))


def _record(store: Store, commit: Commit) -> Record:
    found = autolabels.read(store.labels, commit.autolabelled)
    if found is None:
        raise UserError(f"{layout.autolabel_record(commit.autolabelled)} is gone from the store; train, or ask for another precision")
    return found


def _divided(work: Work, parent: Commit, reviewed: Sequence[ImageLabels]) -> Commit:
    """Write division and totag, and return the commit that makes them current."""
    blobs, name = work.store.labels, layout.division(parent.run, work.job.id)
    pool = _predicted(work, parent)
    recipe = pool.recipe
    last = accepting.last_accepted(work, parent, reviewed, name)
    known = last.audited.union(labels.image for labels in labelled.read(blobs, layout.TEST).images)
    evidence = [labels for labels in reviewed if labels.image in known]
    images = partial(_pool, work.store, parent, frozenset(labels.image for labels in reviewed))
    division = accepting.divide(work, read_onnx(work.store, recipe.model), recipe, evidence, images, name, last)
    listed = layout.totag(parent.run, work.job.id)
    # what lies beside the predictions lies with the job that made them
    made_by = replace(work, job=replace(work.job, id=parent.predicted))
    selection = threshold_meaning.selection(blobs, work.settings.selection, recipe.model)
    load = pool_features.loader(made_by, pool, selection, lambda: reviewed, recipe.model)
    totag.write(blobs, listed, (one for one in images() if one.image not in division.settled), selection, division.audits, load)
    now = work.clock()
    made = replace(parent, sequence=parent.sequence + 1, job=work.job.id, totag=listed, committed_at=now)
    return replace(made, autolabelled=division.name, drafts_of=recipe.model)


def _predicted(work: Work, parent: Commit) -> PinnedPool:
    """The pool as it was predicted. Raises `UserError` where that is not known of all of it, for the proof would not be of this pool."""
    pool = pinned_pool.pinned(work.store.labels, parent.predicted) if parent.predicted else None
    if pool is None:
        way = "the next training makes" if parent.autolabelled else f"`trainer predict {work.store.url} --model {parent.model}` makes"
        raise UserError(f"not all of the pool was predicted by one model with the same settings: {way} it so")
    if pool.recipe.classes != work.settings.classes:
        raise UserError(f"model {pool.recipe.model} knows the classes {', '.join(pool.recipe.classes)}, the project others: train first")
    return pool


def _pool(store: Store, parent: Commit, reviewed: frozenset[str]) -> Iterator[ImageLabels]:
    """All that nobody has reviewed, as it was predicted: what is listed, and what is accepted and not listed."""
    known = set(reviewed)
    for group in claims.walk(store.labels, parent.totag):
        if group.labels.image not in known:
            known.add(group.labels.image)
            yield group.labels
    accepted = autolabels.predictions(store.labels, parent.autolabelled) if parent.autolabelled else ()
    yield from (autolabels.as_predicted(labels) for labels in accepted if labels.image not in known)


def _publish(work: Work, commit: Commit) -> None:
    """Make the commit current. Raises `UserError` where a job began or another commit came first."""
    found = state.load(work.store.labels).jobs.values()
    try:
        won = not any(job.status in (QUEUED, RUNNING) for job in found) and commits.publish(work.store.labels, commit, work.job.parent)
    except BlobChanged:
        won = False
    if not won:
        raise UserError("a job began meanwhile, so nothing was changed: wait for it and ask again")
    steps.adopt(work.store)
    facts = {"job": commit.job, "run": commit.run, "sequence": commit.sequence, "precision": work.settings.autolabel.precision}
    journal.write(work.store.labels, "person", "auto-labelled", work.clock(), **facts)
