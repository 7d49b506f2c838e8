"""`tagger download`: claim a batch, fetch its images, lay out the drafts for the tool."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import gmtime, strftime

from activelearning import claims, journal, layout, overlap, steps, table
from activelearning.claims import Wanted
from activelearning.errors import BlobExists, BlobMissing, UserError
from activelearning.images import content_hash, upright_size
from activelearning.labels import ImageLabels, Problem, Review
from activelearning.settings import Settings
from activelearning.store import Blobs, Store
from tagger_client import batch_folder, tools
from tagger_client.batch_folder import DRAFTS, IMAGES, LocalImage, Manifest

_CONCURRENT_FETCHES = 8

Progress = Callable[[Iterator["Fetched"], str, int], Iterator["Fetched"]]


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image that was fetched, with its drafts; or why it could not be."""

    local: LocalImage
    drafts: ImageLabels
    note: str = ""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A batch that is ready: its folder's manifest, the number of draft boxes, what to open, and what went wrong on the way."""

    manifest: Manifest
    drafts: int
    open_this: str
    problems: tuple[Problem, ...]


def download(store: Store, folder: Path, count: int, tool: str, tagger: str, wanted: Wanted, now: float, progress: Progress) -> Downloaded:
    """Claim and lay out a batch in `folder`; a download that was cut off there goes on with its claim."""
    settings = steps.project(store)
    manifest = _begin(store, folder, count, tool, tagger, now)
    steps.adopt(store)
    batch, rows = claims.claim(store.labels, manifest.batch, tagger, manifest.count, wanted, now, settings.policy.claim_days)
    if not manifest.images:
        journal.write(store.labels, tagger, "claimed", now, batch=batch.id, images=len(rows))
        manifest = batch_folder.write_manifest(folder, replace(manifest, images=batch_folder.local_names(rows)))
    pairs = list(zip(manifest.images, (_drafts(labels, settings, wanted) for labels in rows), strict=True))
    fetched = list(progress(_fetch_all(store.images, folder / IMAGES, pairs), "fetching images", len(pairs)))
    return _lay_out(store, folder, manifest, fetched, settings)


def _begin(store: Store, folder: Path, count: int, tool: str, tagger: str, now: float) -> Manifest:
    if not (folder / batch_folder.MANIFEST).exists():
        if folder.exists() and any(not name.name.startswith(".batch.json") for name in folder.iterdir()):
            raise UserError(f"{folder} is not empty, and nothing in it will be touched: choose a new folder")
        batch = f"{strftime('%Y%m%dT%H%M%S', gmtime(now))}-{secrets.token_hex(3)}"
        return batch_folder.write_manifest(folder, Manifest(store.url, batch, tagger, tool, count))
    manifest = batch_folder.read_manifest(folder)
    if manifest.ready or manifest.released:
        done = "is handed in" if manifest.uploaded else "was given back" if manifest.released else "is not handed in yet (`tagger upload`)"
        raise UserError(f"{folder} holds batch {manifest.batch}, which {done}; nothing in it will be touched: choose a new folder")
    if manifest.tool != tool or manifest.store != store.url:
        raise UserError(
            f"{folder} holds a download for {manifest.tool} from {manifest.store} that was cut off: go on with these, or choose a new folder"
        )
    return manifest


def _drafts(labels: ImageLabels, settings: Settings, wanted: Wanted) -> ImageLabels:
    """The model's boxes that a person is shown."""
    low = settings.drafts.min_confidence if wanted.min_confidence is None else wanted.min_confidence
    high = settings.drafts.max_confidence if wanted.max_confidence is None else wanted.max_confidence
    shown = overlap.within_confidence(labels.boxes, low, high)
    capped = overlap.cap_overlap(shown, labels.width, labels.height, settings.drafts.max_tags_per_pixel)
    return replace(labels, boxes=tuple(capped), review=Review.UNOPENED)


def _fetch_all(images: Blobs, folder: Path, pairs: list[tuple[LocalImage, ImageLabels]]) -> Iterator[Fetched]:
    folder.mkdir(exist_ok=True)
    with ThreadPoolExecutor(_CONCURRENT_FETCHES) as pool:
        yield from pool.map(lambda pair: _fetch(images, folder, *pair), pairs)


def _fetch(images: Blobs, folder: Path, local: LocalImage, drafts: ImageLabels) -> Fetched:
    path = folder / local.file
    try:
        # A file that is there came whole: it is renamed into place.
        content = path.read_bytes() if path.exists() else images.read(local.image).content
        width, height = upright_size(content, local.image)
    except (BlobMissing, UserError) as error:
        problem = "it is gone from the container" if isinstance(error, BlobMissing) else str(error).partition(": ")[2]
        return Fetched(replace(local, problem=problem), replace(drafts, boxes=()), problem)
    if not path.exists():
        batch_folder.write_file(path, content)
    found = replace(drafts, width=width, height=height, content_hash=content_hash(content))
    if drafts.content_hash not in ("", found.content_hash):
        found = replace(found, boxes=())
        return Fetched(
            replace(local, width=width, height=height), found, "it was replaced since the model saw it; the drafts were left out"
        )
    return Fetched(replace(local, width=width, height=height), found)


def _lay_out(store: Store, folder: Path, manifest: Manifest, fetched: list[Fetched], settings: Settings) -> Downloaded:
    handed_out = table.table_bytes(f.drafts for f in fetched)
    with suppress(BlobExists):
        store.labels.create(layout.batch_totag(manifest.batch), handed_out)
    batch_folder.write_file(folder / DRAFTS, handed_out)
    drafts = [replace(f.drafts, image=f.local.file) for f in fetched if not f.local.problem]
    open_this = tools.write_drafts(manifest.tool, drafts, folder, settings.classes)
    ready = batch_folder.write_manifest(folder, replace(manifest, images=tuple(f.local for f in fetched), ready=True))
    problems = tuple(Problem(f.local.image, f.note) for f in fetched if f.note)
    return Downloaded(ready, sum(len(labels.boxes) for labels in drafts), open_this, problems)
