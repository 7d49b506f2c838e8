"""`tagger release`: give back what is not reviewed. Reviews that are not handed in stop it, unless they are to be discarded."""

from collections.abc import Callable
from pathlib import Path

from activelearning import steps
from activelearning.commandline import plural
from activelearning.errors import FormatError, UserError
from activelearning.store import Store
from tagger_client import batch_folder, tools
from tagger_client.batch_folder import Manifest
from tagger_client.review import review_of

Free = Callable[[Store, Manifest, float], int]
"""Gives a claim back; returns how many images are free again."""


def free_in_store(store: Store, manifest: Manifest, now: float) -> int:
    """For a tagger who may write the state."""
    return steps.give_back(store, manifest.batch, manifest.tagger, now)


def release(store: Store, folder: Path, discard_reviews: bool, now: float, free: Free = free_in_store) -> tuple[Manifest, int]:
    """Return the batch and how many images are free again. The files in the folder stay as they are."""
    manifest = batch_folder.read_manifest(folder)
    steps.project(store)
    if manifest.ready and not discard_reviews:
        _require_handed_in(store, folder, manifest)
    freed = free(store, manifest, now)
    return batch_folder.mark(folder, released=True), freed


def _require_handed_in(store: Store, folder: Path, manifest: Manifest) -> None:
    if not (folder / tools.TOOLS[manifest.tool].file).exists():
        return
    try:
        waiting = len(review_of(store, folder, manifest).fresh)
    except FormatError as error:
        raise UserError(f"{error}; mend the file, or say --discard-reviews to give the images back all the same") from None
    if waiting:
        unsaved = f"{folder} holds {plural(waiting, 'reviewed image')} not handed in"
        raise UserError(f"{unsaved}: run `tagger upload {folder}` first, or say --discard-reviews")
