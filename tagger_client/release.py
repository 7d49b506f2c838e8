"""`tagger release`: give back what is not reviewed. Reviews that are not handed in stop it, unless they are to be discarded."""

from pathlib import Path

from activelearning import claims, journal, layout, steps
from activelearning.commandline import plural
from activelearning.errors import FormatError, UserError
from activelearning.store import Store
from tagger_client import batch_folder, tools
from tagger_client.batch_folder import Manifest
from tagger_client.review import review_of


def release(store: Store, folder: Path, discard_reviews: bool, now: float) -> tuple[Manifest, int]:
    """Return the batch and how many images are free again. The files in the folder stay as they are."""
    manifest = batch_folder.read_manifest(folder)
    steps.project(store)
    if manifest.ready and not discard_reviews:
        _require_handed_in(store, folder, manifest)
    for blob in store.labels.list(layout.batch_reviewed(manifest.batch).removesuffix(".csv")):
        # Where no function has heard of it yet, what is reviewed would go to the next tagger.
        steps.note_upload(store, blob.name, now)
    freed = claims.release(store.labels, manifest.batch)
    if freed:
        journal.write(store.labels, manifest.tagger, "released", now, batch=manifest.batch, images=freed)
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
