"""Prediction-only runs: list new images and give them drafts, or predict a folder or the whole pool anew with a named model."""

from collections.abc import Iterable
from dataclasses import replace

from activelearning import claims, commits, labelled, layout, threshold_meaning
from activelearning.commits import Commit
from activelearning.errors import UserError
from activelearning.labels import ImageLabels
from activelearning.settings import Selection
from trainer import accepting, pinned_pool, pool_features, pool_prediction, shards, totag
from trainer.accepting import Division
from trainer.pinned_pool import PinnedPool, Recipe
from trainer.work import Work, commit_of, list_pool, recipe_of

_MOST_BEFORE = 1000
"""So many earlier predictions are looked through for what is known of images; they end with the next training anyway."""


def predict_only(work: Work) -> Commit:
    """List new images and predict them with the model there is; or, where the job names a model or a folder, predict those anew.

    What the machine accepted after the last training stays accepted; new images are divided after the next one.
    """
    blobs, job = work.store.labels, work.job
    parent = commits.latest(blobs)
    model = job.model or (parent.model if parent else "")
    reviewed = _labelled_names(work, parent)
    old = parent.totag if parent else ""
    division = accepting.standing(work, parent)
    left_out = reviewed | division.settled
    pool = pinned_pool.pin(blobs, job.id, lambda: _recipe(work, model), lambda: _pool_to_predict(work, left_out, old, parent))
    shards.predict(work, pool)
    gone = left_out | frozenset(pool_prediction.unreadable(blobs, job.id, pool))
    name = layout.totag(job.run, job.id)
    selection = _selection(work, pool.recipe.model)
    drafts_of = _drafts_of(work, pool, parent)
    load = pool_features.loader(work, pool, selection, lambda: _labelled(work, parent), drafts_of)
    totag.write(blobs, name, _merged(work, pool, old, gone), selection, division.audits, load)
    made = commit_of(work, (parent.model if parent else "") or pool.recipe.model, name, parent.tagged if parent else "", pool)
    return replace(made, autolabelled=division.name, predicted=_predicted(work, pool, parent, division), drafts_of=drafts_of)


def _predicted(work: Work, pool: PinnedPool, parent: Commit | None, division: Division) -> str:
    """The job that predicted all that is listed or accepted now, or whose model and settings are the same."""
    if not (parent and parent.totag) or (_is_whole(work) and not division.name):
        return work.job.id
    before = pinned_pool.pinned(work.store.labels, parent.predicted) if parent.predicted else None
    return parent.predicted if before and before.recipe == pool.recipe else ""


def _drafts_of(work: Work, pool: PinnedPool, parent: Commit | None) -> str:
    """The run whose model all boxes that are listed now are of; empty where rows that another one predicted stay beside the new ones."""
    if not (parent and parent.totag) or _is_whole(work):
        return pool.recipe.model
    return parent.drafts_of if not pool.images or parent.drafts_of == pool.recipe.model else ""


def _is_whole(work: Work) -> bool:
    """Whether every image is predicted again, since a model or another threshold is named, and no folder."""
    return not work.job.folder and (bool(work.job.model) or work.job.min_confidence >= 0)


def _labelled_names(work: Work, parent: Commit | None) -> frozenset[str]:
    return frozenset(labels.image for labels in _labelled(work, parent))


def _labelled(work: Work, parent: Commit | None) -> tuple[ImageLabels, ...]:
    """The labelled set and the test split, each image once."""
    tagged = labelled.read(work.store.labels, parent.tagged).images if parent and parent.tagged else ()
    test = labelled.read(work.store.labels, layout.TEST).images
    return tuple({labels.image: labels for labels in (*test, *tagged)}.values())


def _pool_to_predict(work: Work, labelled_names: frozenset[str], old: str, parent: Commit | None) -> PinnedPool:
    """The images to predict, and the jobs that predicted what stays listed beside them."""
    found = _images_to_predict(work, labelled_names, old)
    if not parent or _is_whole(work):
        return found
    last = pinned_pool.pinned(work.store.labels, parent.job)
    return replace(found, before=(parent.job, *(last.before if last else ()))[:_MOST_BEFORE])


def _images_to_predict(work: Work, labelled_names: frozenset[str], old: str) -> PinnedPool:
    job = work.job
    if job.folder:
        return list_pool(work, set(labelled_names), lambda image: image.startswith(job.folder.strip("/") + "/"))
    # Else only those that the totag does not list.
    known = set() if _is_whole(work) or not old else {group.labels.image for group in claims.walk(work.store.labels, old)}
    return list_pool(work, known | labelled_names)


def _recipe(work: Work, model: str) -> Recipe:
    if not model:
        work.tell("there is no model yet: images are listed in random order, without drafts")
        return Recipe()
    recipe = recipe_of(work, model)
    if recipe.classes != work.settings.classes:
        raise UserError(f"model {model} knows the classes {', '.join(recipe.classes)}, the project others: train first")
    return recipe


def _merged(work: Work, pool: PinnedPool, old: str, gone: frozenset[str]) -> Iterable[ImageLabels]:
    """New predictions first, for the first of two counts; then what the old totag says of images that were not predicted again."""
    yield from pool_prediction.predictions(work.store.labels, work.job.id, pool)
    if old and not _is_whole(work):
        yield from (group.labels for group in claims.walk(work.store.labels, old) if group.labels.image not in gone)


def _selection(work: Work, model: str) -> Selection:
    # Without a model every image is as unknown as the next: by name would be one camera's night after the other.
    selection = work.settings.selection
    return threshold_meaning.selection(work.store.labels, selection, model) if model else replace(selection, strategy="random")
