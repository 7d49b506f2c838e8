"""Give somebody without an account a batch: claim it for them, and sign for its blobs, a few hours at a time.

Rule: the claim comes first and is the record; a link is made from it, as often as needed, and kept nowhere.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from activelearning import claims, handouts, journal, layout, state, steps, table
from activelearning.claims import Wanted
from activelearning.errors import UserError
from activelearning.labels import ImageLabels
from activelearning.links import Link
from activelearning.state import Batch
from activelearning.store import Store
from activelearning.store.azure_address import parse
from activelearning.store.azure_sas import CREATE, LONGEST_SECONDS, READ, Sign, signer

_NOBODY = "somebody"
_UPLOADS_AHEAD = 10
"""So many more times can a batch be handed in before its link must be made anew."""


@dataclass(frozen=True, slots=True)
class Order:
    """How many images for whom, and which; `hours` is how long the link works; `batch` is its id, empty: a new one."""

    tagger: str
    count: int
    wanted: Wanted = field(default_factory=Wanted)
    hours: float = 8.0
    batch: str = ""


def share(store: Store, url: str, order: Order, now: float) -> Link:
    """Claim a batch and return the link to it. `url` is how the store was opened: a connection string signs with its key.

    The same order twice is one claim. Raises `UserError` where nothing is free, and where this store has no links or we may not sign;
    then nothing is claimed.
    """
    settings = steps.project(store)
    layout.check_id(order.tagger)
    # Who may not sign must not claim either.
    until = now + _seconds(order.hours)
    sign = signer(url, until)
    steps.adopt(store)
    offered = handouts.offer(store.labels)
    days = settings.policy.claim_days
    known = order.batch in state.load(store.labels).batches
    batch, rows = claims.claim(store.labels, order.batch or claims.new_id(now), order.tagger, order.count, order.wanted, now, days)
    handouts.hand_out(store.labels, batch, rows, offered, settings, order.wanted)
    if not known:
        journal.write(store.labels, order.tagger, "claimed", now, batch=batch.id, images=len(rows), by="link")
    return _link(store, url, sign, batch, rows, until)


def again(store: Store, url: str, batch_id: str, now: float, hours: float = 8.0) -> Link:
    """A fresh link to a batch. When its claim is over, what is reviewed can still be handed in: then it opens no images."""
    until = now + _seconds(hours)
    layout.check_id(batch_id)
    batch = state.load(store.labels).batches.get(batch_id)
    if batch and now < batch.expires_at:
        return _link(store, url, signer(url, until), batch, claims.rows_of(store.labels, batch), until)
    if not store.labels.exists(layout.batch_totag(batch_id)):
        raise UserError(f"there is no batch {batch_id}, or it was given back before anything of it was fetched: share a new one")
    over = Batch(batch_id, batch.tagger if batch else _NOBODY, "", (), 0.0, 0.0)
    return _link(store, url, signer(url, until), over, (), until)


@contextmanager
def new_file(path: Path) -> Iterator[Callable[[Link], None]]:
    """A file for a link, made before anything is claimed, that only its owner can read; gone again if no link was put into it."""
    try:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
    except FileExistsError:
        raise UserError(f"{path} exists and stays as it is: choose another file") from None
    try:
        with file:
            yield lambda link: json.dump(link.to_json(), file)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _seconds(hours: float) -> float:
    if not 0 < hours <= LONGEST_SECONDS / 3600:
        raise UserError(f"a link cannot be valid for {hours:g} hours: choose more than 0 and at most {LONGEST_SECONDS / 3600:.0f}")
    return hours * 3600


def _link(store: Store, url: str, sign: Sign, batch: Batch, rows: Sequence[ImageLabels], until: float) -> Link:
    uploads = tuple(_uploads(store, batch.id))
    readable = (layout.PROJECT, layout.batch_totag(batch.id), *_handed_out(store, batch.id), *uploads)
    return Link(
        store=store.url,
        endpoint=parse(url)[0].blobs,
        images_container=store.images_container,
        labels_container=store.labels_container,
        batch=batch.id,
        tagger=batch.tagger,
        count=len(rows),
        expires_at=batch.expires_at,
        valid_until=until,
        rows="".join(table.write_labels(rows)) if rows else "",
        read_images=_signed(sign, store.images_container, (c.image for c in batch.claimed), READ),
        read_labels=_signed(sign, store.labels_container, readable, READ),
        create_labels=_signed(sign, store.labels_container, (layout.batch_totag(batch.id), *uploads), CREATE),
    )


def _handed_out(store: Store, batch: str) -> Iterator[str]:
    """What says which of the batch's boxes are shown."""
    yield layout.batch_handout(batch)
    handout, _ = handouts.if_intact(store.labels, batch)  # who downloads the batch hears of a damaged one
    if handout and handout.model:
        yield layout.drafts(handout.model)
        yield layout.threshold_meaning(handout.model)


def _signed(sign: Sign, container: str, names: Iterable[str], permission: str) -> dict[str, str]:
    return {name: sign(container, name, permission) for name in names}


def _uploads(store: Store, batch: str) -> Iterator[str]:
    """What the batch was handed in as, and what it can be handed in as next, with the tool's file as it may be called."""
    done = max(map(layout.version_of_reviewed, _names(store, layout.batch_folder(batch))), default=0)
    for version in range(1, done + _UPLOADS_AHEAD + 1):
        yield layout.batch_reviewed(batch, version)
    for version, suffix in product(range(1, done + _UPLOADS_AHEAD + 1), layout.ORIGINAL_SUFFIXES):
        yield layout.batch_original(batch, suffix, version)


def _names(store: Store, prefix: str) -> list[str]:
    return [info.name for info in store.labels.list(prefix)]
