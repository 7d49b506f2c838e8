"""Queues as folders: a message is a file, and all that changes about it is in its name.

Rule: every change is one `rename` or `unlink` of the name last seen. Of many rivals one succeeds, the others find no such file;
so nobody locks, and a consumer killed anywhere leaves a message that turns up again.
"""

import contextlib
import heapq
import itertools
import os
import re
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from activelearning import layout
from activelearning.errors import MessageLost
from activelearning.store import _files, port
from activelearning.store._files import Scratch
from activelearning.store.port import Message

_NAME = re.compile(r"(\d{20})~(\d+)~(\d+)~(\w+)")
_NANOSECONDS = 1_000_000_000
_AHEAD = 10_000
"""So many names of a listing are kept in memory."""


@dataclass(frozen=True, slots=True)
class _Name:
    """A message's file name: `<visible at>~<dequeue count>~<inserted>~<id>`, times in nanoseconds since the epoch."""

    visible_at: int
    dequeue_count: int
    inserted: int
    id: str

    def __str__(self) -> str:
        return f"{self.visible_at:020d}~{self.dequeue_count}~{self.inserted}~{self.id}"


class DirectoryQueues:
    """All queues of a store, one folder each.

    A listing is used up before the next is made, so that draining a long queue does not list it once per message. Therefore a
    message that was given back may come after younger ones.
    """

    def __init__(self, root: Path, scratch: Scratch, clock: Callable[[], float]) -> None:
        self._root = root
        self._scratch = scratch
        self._clock = clock
        self._waiting: dict[str, deque[str]] = {}
        # Messages of the same instant keep their order.
        self._numbers = itertools.count()

    def send(self, queue: str, body: str, delay: float = 0) -> None:
        port.check_message(queue, body)
        name = _Name(self._after(delay), 0, self._after(0), f"{next(self._numbers):08d}{uuid.uuid4().hex}")
        with _files.plain_errors(self._root.parent, queue):
            self._scratch.make_folder(self._root / queue)
            with self._scratch.written(body.encode()) as written:
                written.path.rename(self._path(queue, str(name)))
                _files.sync_folder(self._root / queue)

    def receive(self, queue: str, visibility: float, limit: int = 1) -> list[Message]:
        port.check_visibility(visibility)
        taken = (self._take(queue, name, visibility) for name in self._candidates(queue))
        return list(itertools.islice((message for message in taken if message), limit))

    def renew(self, queue: str, message: Message, visibility: float) -> Message:
        name = replace(_parse(message.receipt), visible_at=self._after(visibility))
        try:
            self._rename(queue, message.receipt, name)
        except FileNotFoundError:
            raise _lost(queue, message) from None
        return replace(message, receipt=str(name))

    def delete(self, queue: str, message: Message) -> None:
        try:
            _files.patiently(self._path(queue, message.receipt).unlink)
        except FileNotFoundError:
            raise _lost(queue, message) from None

    def count(self, queue: str) -> int:
        return sum(1 for _ in self._names(queue))

    def peek(self, queue: str, limit: int = 32) -> list[Message]:
        seen = (self._message(queue, name) for name in sorted(self._names(queue)))
        return list(itertools.islice((replace(message, receipt="") for message in seen if message), limit))

    def _candidates(self, queue: str) -> Iterator[str]:
        """Names that were visible when last listed; each is handed out once, and when none is left one new listing is made."""
        waiting = self._waiting.setdefault(queue, deque())
        for listed in (False, True):
            if listed:
                waiting.extend(self._visible(queue))
            # Threads share the deque: another may take the last name, and a name that is listed twice is taken once.
            with contextlib.suppress(IndexError):
                while True:
                    yield waiting.popleft()

    def _visible(self, queue: str) -> list[str]:
        bound = f"{self._after(0) + 1:020d}"
        return heapq.nsmallest(_AHEAD, (name for name in self._names(queue) if name < bound))

    def _take(self, queue: str, seen: str, visibility: float) -> Message | None:
        before = _parse(seen)
        after = replace(before, visible_at=self._after(visibility), dequeue_count=before.dequeue_count + 1)
        try:
            self._rename(queue, seen, after)
        except FileNotFoundError:
            return None
        return self._message(queue, str(after))

    def _rename(self, queue: str, seen: str, name: _Name) -> None:
        # Not flushed: after a power failure the message is back under an older name, and so delivered again.
        _files.patiently(lambda: self._path(queue, seen).rename(self._path(queue, str(name))))

    def _message(self, queue: str, receipt: str) -> Message | None:
        name = _parse(receipt)
        try:
            body = self._path(queue, receipt).read_bytes().decode()
        except FileNotFoundError:
            return None
        return Message(name.id, body, name.dequeue_count, receipt, name.inserted / _NANOSECONDS)

    def _names(self, queue: str) -> Iterator[str]:
        try:
            with os.scandir(self._root / layout.check_id(queue)) as entries:
                yield from (entry.name for entry in entries if _NAME.fullmatch(entry.name))
        except FileNotFoundError:
            return

    def _path(self, queue: str, name: str) -> Path:
        return self._root / layout.check_id(queue) / name

    def _after(self, seconds: float) -> int:
        return int((self._clock() + seconds) * _NANOSECONDS)


def _parse(name: str) -> _Name:
    match = _NAME.fullmatch(name)
    if not match:
        raise ValueError(f"'{name}' is not a receipt of a message")
    visible_at, dequeue_count, inserted, key = match.groups()
    return _Name(int(visible_at), int(dequeue_count), int(inserted), key)


def _lost(queue: str, message: Message) -> MessageLost:
    return MessageLost(f"message {message.id} of '{queue}' is with another consumer, or gone")
