"""The audit trail: who did what, when. One create-once blob an entry, so entries are never lost to a rival and sort by time."""

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from activelearning import layout
from activelearning.store import Blobs

_DAYS = 7
_DAY_SECONDS = 86_400.0


def write(blobs: Blobs, who: str, what: str, now: float, **facts: Any) -> None:
    """Add an entry. `facts` are names and counts, never contents and never secrets."""
    stamp = utc(now)
    entry = {"at": stamp, "who": who, "what": what, **facts}
    blobs.create(layout.journal(stamp, secrets.token_hex(4)), json.dumps(entry, ensure_ascii=False).encode())


def read(blobs: Blobs, day: str = "") -> Iterator[dict[str, Any]]:
    """All entries in the order of their times; `day` as `2026-11-20` limits them to one."""
    for info in blobs.list(layout.journal_of(day)):
        yield json.loads(blobs.read(info.name).content)


def newest(blobs: Blobs, now: float) -> dict[str, Any] | None:
    """The last entry of the last week, or None. Only the days are looked at in which it may be, so it costs no more than a day's names."""
    for day in range(_DAYS):
        names = [info.name for info in blobs.list(layout.journal_of(utc(now - day * _DAY_SECONDS)[:10]))]
        if names:
            entry: dict[str, Any] = json.loads(blobs.read(names[-1]).content)
            return entry
    return None


def seconds(stamp: str) -> float:
    """The inverse of `utc`."""
    return datetime.fromisoformat(stamp).timestamp()


def utc(now: float) -> str:
    """Seconds since the epoch as `2026-11-20T13:26:01.123456Z`."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
