"""`tagger download`: claim a batch, fetch its images, lay out the drafts for the tool."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from activelearning import (
    claims,
    draft_rules,
    drafts_record,
    handouts,
    intact,
    journal,
    layout,
    learned_drafts,
    state,
    steps,
    table,
    threshold_meaning,
)
from activelearning.claims import Wanted
from activelearning.draft_rules import DraftRules
from activelearning.errors import BlobExists, BlobMissing, UserError
from activelearning.expected_cost import Expected
from activelearning.handouts import Handout
from activelearning.images import content_hash
from activelearning.labels import ImageLabels, Problem, Review
from activelearning.settings import Settings
from activelearning.store import Blobs, Store
from tagger_client import batch_folder, label_review, records, tools
from tagger_client.batch_folder import IMAGES, MANIFEST, LocalImage, Manifest

_CONCURRENT_FETCHES = 8

Progress = Callable[[Iterator["Fetched"], str, int], Iterator["Fetched"]]
Rows = tuple[ImageLabels, ...]
Claim = Callable[[Store, Manifest, Wanted, float], tuple[float, Rows]]
"""Makes the manifest's claim, or finds it made: when it runs out, and its images with the model's boxes."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a tagger asks for: how many images, laid out for which tool, for whom, and which ones; `batch` if it has an id already;
    `review`: of those reviewed before."""

    count: int
    tool: str
    tagger: str
    wanted: Wanted
    batch: str = ""
    review: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image that was fetched, with its drafts; `note` says what is wrong with it."""

    local: LocalImage
    drafts: ImageLabels
    note: str = ""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A batch that is ready: its folder's manifest, until when it is claimed, its draft boxes, what went wrong on the way, and how long
    it is expected to take, None where that is not known."""

    manifest: Manifest
    expires_at: float
    drafts: int
    problems: tuple[Problem, ...]
    expected: Expected | None = None


def claim_in_store(store: Store, manifest: Manifest, wanted: Wanted, now: float) -> tuple[float, Rows]:
    """Claim for a tagger who may write the state."""
    if manifest.images and manifest.batch not in state.load(store.labels).batches:
        raise UserError("its claim has run out since")
    steps.adopt(store)
    settings, offered = steps.project(store), handouts.offer(store.labels)
    days = settings.policy.claim_days
    batch, rows = claims.claim(store.labels, manifest.batch, manifest.tagger, manifest.count, wanted, now, days)
    handouts.hand_out(store.labels, batch, rows, offered, settings, wanted)
    if not manifest.images:
        journal.write(store.labels, manifest.tagger, "claimed", now, batch=manifest.batch, images=len(rows))
    return batch.expires_at, rows


def download(store: Store, folder: Path, order: Order, now: float, progress: Progress, claim: Claim = claim_in_store) -> Downloaded:
    """Claim and lay out a batch in `folder`; a download that was cut off there goes on with its claim."""
    settings = steps.project(store)
    _check(order, settings)
    manifest = _begin(store, folder, order, now)
    expires_at, rows = _claimed(claim, store, folder, manifest, order.wanted, now)
    if not manifest.images:
        manifest = batch_folder.write_manifest(folder, replace(manifest, images=batch_folder.local_names(rows)))
    handout, damage = handouts.if_intact(store.labels, manifest.batch)
    rules = _rules(store, settings, order.wanted, handout)
    drafts = map(label_review.as_labelled, rows) if manifest.review else (_drafts(labels, rules) for labels in rows)
    pairs = list(zip(manifest.images, drafts, strict=True))
    fetched = list(progress(_fetch_all(store.images, folder / IMAGES, pairs), "fetching images", len(pairs)))
    if manifest.review:
        label_review.write_suspicions(store.labels, folder, manifest.batch, [one.local for one in fetched])
    done = _lay_out(store, folder, manifest, fetched, settings, expires_at)
    expected = handout.expected(local.image for local in done.manifest.usable) if handout else None
    return replace(done, expected=expected, problems=(*damage, *done.problems))


def _check(order: Order, settings: Settings) -> None:
    label = order.wanted.label
    if label and label not in settings.classes:
        raise UserError(f"--class {label}: the project has no such class, only {', '.join(settings.classes)}")
    tools.check_classes(order.tool, settings.classes)


def _begin(store: Store, folder: Path, order: Order, now: float) -> Manifest:
    if (folder / MANIFEST).exists():
        return _resumed(store, folder, order)
    return begin(folder, replace(order, batch=order.batch or claims.new_id(now)), store.url)


def begin(folder: Path, order: Order, url: str) -> Manifest:
    """Note in a new folder which batch it is going to hold, before that batch is claimed."""
    if folder.exists() and not _is_empty(folder):
        raise UserError(f"{folder} is not an empty folder, and nothing in it will be touched: choose a new one")
    return batch_folder.write_manifest(folder, Manifest(url, order.batch, order.tagger, order.tool, order.count, review=order.review))


def _is_empty(folder: Path) -> bool:
    # A killed predecessor may have left its unfinished batch.json.
    return folder.is_dir() and all(path.name == f".{MANIFEST}.part" for path in folder.iterdir())


def _resumed(store: Store, folder: Path, order: Order) -> Manifest:
    manifest = batch_folder.read_manifest(folder)
    if manifest.ready or manifest.released:
        done = "was given back" if manifest.released else "is handed in" if manifest.uploaded else "is here and not handed in yet"
        raise UserError(f"{folder} holds batch {manifest.batch}, which {done}; nothing in it will be touched: choose a new folder")
    if order.batch == manifest.batch and order.tool == manifest.tool:
        # By link: the store and the number of images are the link's.
        return batch_folder.write_manifest(folder, replace(manifest, store=store.url, tagger=order.tagger))
    if (manifest.store, manifest.tool, manifest.count, manifest.review) != (store.url, order.tool, order.count, order.review):
        again = f"`{manifest.command} --to {folder} --tool {manifest.tool}`"
        raise UserError(f"{folder} holds a download that was cut off: go on with {again}, or choose a new folder")
    return manifest


def _claimed(claim: Claim, store: Store, folder: Path, manifest: Manifest, wanted: Wanted, now: float) -> tuple[float, Rows]:
    try:
        expires_at, rows = claim(store, manifest, wanted, now)
    except UserError as error:
        if not manifest.images:
            batch_folder.abandon(folder)
            raise
        raise _lost(folder, str(error)) from None
    if manifest.images and [local.image for local in manifest.images] != [labels.image for labels in rows]:
        raise _lost(folder, "the claim holds other images now")
    return expires_at, rows


def _lost(folder: Path, reason: str) -> UserError:
    return UserError(f"{folder} holds a download that was cut off, and cannot go on ({reason}): download into a new folder")


def _rules(store: Store, settings: Settings, wanted: Wanted, handout: Handout | None) -> DraftRules:
    """Which drafts a person is shown: as was learned of those of the model that the batch was handed out with."""
    learned = drafts_record.read(store.labels, handout.model) if handout and settings.drafts.learned else None
    meant = threshold_meaning.drafts(store.labels, settings.drafts, handout.model) if handout else settings.drafts
    return learned_drafts.rules(meant, learned, wanted)


def _drafts(labels: ImageLabels, rules: DraftRules) -> ImageLabels:
    """The model's boxes that a person is shown."""
    return replace(draft_rules.shown(labels, rules), review=Review.UNOPENED)


def _fetch_all(images: Blobs, folder: Path, pairs: Sequence[tuple[LocalImage, ImageLabels]]) -> Iterator[Fetched]:
    with ThreadPoolExecutor(_CONCURRENT_FETCHES) as pool:
        yield from pool.map(lambda pair: _fetch(images, folder, *pair), pairs)


def _fetch(images: Blobs, folder: Path, local: LocalImage, drafts: ImageLabels) -> Fetched:
    path = folder / local.file
    try:
        # A file that is there came whole: it is renamed into place. A store that refuses ends the download; it can go on later.
        content = path.read_bytes() if path.exists() else images.read(local.image).content
    except BlobMissing:
        return _unusable(local, drafts, "it is gone from the container")
    try:
        width, height = intact.check_whole(content, local.image)
    except UserError as error:
        return _unusable(local, drafts, str(error).removeprefix(f"{local.image}: "))
    if not path.exists():
        batch_folder.write_file(path, content)
    found = replace(drafts, width=width, height=height, content_hash=content_hash(content))
    measured = replace(local, width=width, height=height)
    if drafts.content_hash in ("", found.content_hash):
        return Fetched(measured, found)
    return Fetched(measured, replace(found, boxes=()), "it was replaced since the model saw it; the drafts were left out")


def _unusable(local: LocalImage, drafts: ImageLabels, problem: str) -> Fetched:
    return Fetched(replace(local, problem=problem), replace(drafts, boxes=()), f"{problem}; it is not in the batch")


def _lay_out(
    store: Store, folder: Path, manifest: Manifest, fetched: Sequence[Fetched], settings: Settings, expires_at: float
) -> Downloaded:
    with suppress(BlobExists):
        store.labels.create(layout.batch_totag(manifest.batch), table.table_bytes(f.drafts for f in fetched))
    whole = replace(manifest, images=tuple(f.local for f in fetched))
    drafts = records.drafts(store.labels, whole)
    (folder / IMAGES).mkdir(exist_ok=True)
    local = [replace(drafts[image.image], image=image.file) for image in whole.usable]
    tools.write_drafts(manifest.tool, local, folder, settings.classes)
    ready = batch_folder.write_manifest(folder, replace(whole, ready=True))
    return Downloaded(ready, expires_at, sum(len(labels.boxes) for labels in local), tuple(_problems(manifest.tool, fetched)))


def _problems(tool: str, fetched: Sequence[Fetched]) -> Iterator[Problem]:
    for one in fetched:
        if one.note:
            yield Problem(one.local.image, one.note)
        elif tools.hidden(tool, one.local):
            yield Problem(one.local.image, "the tool does not show files of this kind; release the batch and take another tool")
