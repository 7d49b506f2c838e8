"""Give somebody without an account a batch: claim it for them, and sign for its blobs, a few hours at a time.

Rule: the claim comes first and is the record; a link is made from it, as often as needed, and kept nowhere.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from activelearning import claims, journal, layout, state, steps, table
from activelearning.claims import Wanted
from activelearning.errors import UserError
from activelearning.labels import ImageLabels
from activelearning.links import Link
from activelearning.state import Batch
from activelearning.store import Store
from activelearning.store.azure_address import parse
from activelearning.store.azure_sas import CREATE, LONGEST_SECONDS, READ, Sign, signer

_UPLOADS_AHEAD = 10
"""So many more times can a batch be handed in before its link must be made anew."""


@dataclass(frozen=True, slots=True)
class Order:
    """How many images for whom, and which; `hours` is how long the link works, at most until the claim runs out."""

    tagger: str
    count: int
    wanted: Wanted = field(default_factory=Wanted)
    hours: float = 8.0


def share(store: Store, url: str, order: Order, now: float) -> Link:
    """Claim a batch and return the link to it. `url` is how the store was opened: a connection string signs with its key.

    Raises `UserError` where nothing is free, and where this store has no links or we may not sign; then nothing is claimed.
    """
    settings = steps.project(store)
    layout.check_id(order.tagger)
    # Who may not sign must not claim either.
    signer(url, now + _seconds(order.hours))
    steps.adopt(store)
    days = settings.policy.claim_days
    batch, rows = claims.claim(store.labels, claims.new_id(now), order.tagger, order.count, order.wanted, now, days)
    journal.write(store.labels, order.tagger, "claimed", now, batch=batch.id, images=len(rows), by="link")
    return _link(store, url, batch, rows, order.count, min(now + _seconds(order.hours), batch.expires_at))


def again(store: Store, url: str, batch_id: str, now: float, hours: float = 8.0) -> Link:
    """A fresh link to a batch that is still with its tagger."""
    batch = state.load(store.labels).batches.get(batch_id)
    if batch is None or not now < batch.expires_at:
        raise UserError(f"batch {batch_id} was given back, trained on or has run out: share a new one")
    rows = claims.rows_of(store.labels, batch)
    return _link(store, url, batch, rows, len(rows), min(now + _seconds(hours), batch.expires_at))


def write(link: Link, path: Path) -> None:
    """Put a link into a new file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(link.to_json(), file)


def _seconds(hours: float) -> float:
    if not 0 < hours <= LONGEST_SECONDS / 3600:
        raise UserError(f"a link cannot be valid for {hours:g} hours: choose more than 0 and at most {LONGEST_SECONDS / 3600:.0f}")
    return hours * 3600


def _link(store: Store, url: str, batch: Batch, rows: Iterable[ImageLabels], count: int, until: float) -> Link:
    sign, address = signer(url, until), parse(url)[0]
    uploads = tuple(_uploads(store, batch.id))
    readable = (layout.PROJECT, layout.batch_totag(batch.id), *uploads)
    return Link(
        store=store.url,
        endpoint=address.blobs,
        images_container=store.images_container,
        labels_container=store.labels_container,
        batch=batch.id,
        tagger=batch.tagger,
        count=count,
        expires_at=batch.expires_at,
        valid_until=until,
        rows="".join(table.write_labels(rows)),
        read_images=_signed(sign, store.images_container, (c.image for c in batch.claimed), READ),
        read_labels=_signed(sign, store.labels_container, readable, READ),
        create_labels=_signed(sign, store.labels_container, (layout.batch_totag(batch.id), *uploads), CREATE),
    )


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
