"""A store in this process's memory, for tests and for trying things out; threads may share it.

Rule: it keeps every promise of the port but one: it ends with the process.
"""

import bisect
import heapq
import itertools
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from activelearning import layout
from activelearning.errors import BlobChanged, BlobExists, BlobMissing, MessageLost
from activelearning.store import port
from activelearning.store._announce import Announce, announcer
from activelearning.store.port import Blob, BlobInfo, Content, Message, Store

_named: dict[str, Store] = {}
_naming = threading.Lock()


def open_memory(url: str, clock: Callable[[], float]) -> Store:
    """Return the store of the name after `memory:`, or a fresh one when there is no name. The first opener sets the clock."""
    name = url.partition(":")[2]
    with _naming:
        return _named.setdefault(name, _fresh(url, clock)) if name else _fresh(url, clock)


def _fresh(url: str, clock: Callable[[], float]) -> Store:
    queues = MemoryQueues(clock)
    images = MemoryBlobs(clock, announcer(layout.IMAGES, queues, clock))
    return Store(url, images, MemoryBlobs(clock, announcer(layout.LABELS, queues, clock)), queues)


@dataclass(frozen=True, slots=True)
class _Entry:
    content: bytes
    etag: str
    modified: float


class MemoryBlobs:
    """One container. An etag is new with every write, as in the cloud, even if the content is the old one."""

    def __init__(self, clock: Callable[[], float], announce: Announce) -> None:
        self._clock = clock
        self._announce = announce
        self._entries: dict[str, _Entry] = {}
        self._names: list[str] = []
        self._lock = threading.Lock()

    def read(self, name: str) -> Blob:
        entry = self._entry(name)
        return Blob(entry.content, entry.etag)

    def read_range(self, name: str, start: int, length: int) -> bytes:
        port.check_range(start, length)
        return self._entry(name).content[start : start + length]

    def stream(self, name: str, chunk: int = port.CHUNK) -> Iterator[bytes]:
        yield from port.pieces(self._entry(name).content, chunk)

    def head(self, name: str) -> BlobInfo:
        entry = self._entry(name)
        return BlobInfo(name, len(entry.content), entry.modified)

    def exists(self, name: str) -> bool:
        return name in self._entries

    def create(self, name: str, content: Content) -> None:
        try:
            self.replace(name, content, None)
        except BlobChanged:
            raise BlobExists(f"blob '{name}' exists") from None

    def replace(self, name: str, content: Content, etag: str | None) -> str:
        layout.check_blob_name(name)
        entry = _Entry(b"".join(port.pieces(content)), _new_etag(), self._clock())
        with self._lock:
            before = self._entries.get(name)
            if etag != (before and before.etag):
                raise BlobChanged(f"blob '{name}' is not what it was")
            self._entries[name] = entry
            if not before:
                bisect.insort(self._names, name)
        self._announce(name, len(entry.content), entry.etag)
        return entry.etag

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        name = self._next(bisect.bisect_left, prefix)
        while name is not None and name.startswith(prefix):
            yield self.head(name)
            name = self._next(bisect.bisect_right, name)

    def _next(self, position: Callable[..., int], bound: str) -> str | None:
        with self._lock:
            index = position(self._names, bound)
            return self._names[index] if index < len(self._names) else None

    def _entry(self, name: str) -> _Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise BlobMissing(f"there is no blob '{name}'") from None


def _new_etag() -> str:
    return uuid.uuid4().hex


@dataclass(slots=True)
class _Queue:
    """The messages by id, and a heap of (visible at, receipt, id) whose outdated places are skipped when they surface."""

    messages: dict[str, Message] = field(default_factory=dict)
    order: list[tuple[float, str, str]] = field(default_factory=list)

    def hide(self, message: Message, until: float) -> None:
        self.messages[message.id] = message
        heapq.heappush(self.order, (until, message.receipt, message.id))

    def take(self, now: float) -> Message | None:
        while self.order and self.order[0][0] <= now:
            _, receipt, key = heapq.heappop(self.order)
            message = self.messages.get(key)
            if message and message.receipt == receipt:
                return message
        return None


class MemoryQueues:
    """All queues of a store."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._queues: dict[str, _Queue] = {}
        self._lock = threading.RLock()
        self._receipts = (f"{number:020d}" for number in itertools.count())

    def send(self, queue: str, body: str, delay: float = 0) -> None:
        port.check_message(queue, body)
        with self._lock:
            now = self._clock()
            message = Message(uuid.uuid4().hex, body, 0, next(self._receipts), now)
            self._queues.setdefault(queue, _Queue()).hide(message, now + delay)

    def receive(self, queue: str, visibility: float, limit: int = 1) -> list[Message]:
        port.check_visibility(visibility)
        with self._lock:
            waiting, now = self._queue(queue), self._clock()
            taken = list(itertools.islice(iter(lambda: waiting.take(now), None), limit))
            delivered = [replace(message, dequeue_count=message.dequeue_count + 1) for message in taken]
            return [self._hide(queue, message, visibility) for message in delivered]

    def renew(self, queue: str, message: Message, visibility: float) -> Message:
        with self._lock:
            return self._hide(queue, self._held(queue, message), visibility)

    def delete(self, queue: str, message: Message) -> None:
        with self._lock:
            del self._queue(queue).messages[self._held(queue, message).id]

    def count(self, queue: str) -> int:
        return len(self._queue(queue).messages)

    def peek(self, queue: str, limit: int = 32) -> list[Message]:
        with self._lock:
            messages = itertools.islice(self._queue(queue).messages.values(), limit)
            return [replace(message, receipt="") for message in messages]

    def _queue(self, queue: str) -> _Queue:
        return self._queues.get(queue) or _Queue()

    def _hide(self, queue: str, message: Message, visibility: float) -> Message:
        renewed = replace(message, receipt=next(self._receipts))
        self._queues[queue].hide(renewed, self._clock() + visibility)
        return renewed

    def _held(self, queue: str, message: Message) -> Message:
        held = self._queue(queue).messages.get(message.id)
        if not held or held.receipt != message.receipt:
            raise MessageLost(f"message {message.id} of '{queue}' is with another consumer, or gone")
        return held
