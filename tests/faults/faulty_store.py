"""A real store on its worst day: around every call the caller may die, messages get lost, doubled, late and out of order, rivals write.

Rule: only the weather is made up. Every call that is let through is the real store's, and what it wrote is remembered, so that a reader
who sees anything else, half a table say, is noticed. A kill is an exception that nobody catches: `finally` still runs, which a real kill
spares; the store's own tests kill processes.
"""

import io
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from activelearning import layout
from activelearning.store import Blob, BlobInfo, Blobs, Content, Message, Queues, Store
from activelearning.store._announce import announcer
from activelearning.store._files import Scratch
from activelearning.store.directory import DirectoryBlobs
from activelearning.store.directory_queues import DirectoryQueues
from activelearning.store.memory import MemoryBlobs, MemoryQueues

_LATE_SECONDS = (30, 500, 4000)


class Killed(BaseException):
    """The process is gone."""


@dataclass(slots=True)
class Weather:
    """One dice for everything that goes wrong, and the record of what did. The shares are of store calls, messages and writes."""

    dice: random.Random
    kills: float = 0.0
    messages: float = 0.0
    torn_writes: float = 0.0
    rivals: float = 0.0
    rival: Callable[[], None] = lambda: None
    counts: Counter[str] = field(default_factory=Counter)
    published: set[tuple[int, str]] = field(default_factory=set)
    """Sequence number and run of every commit that ever was current."""
    kill_at: int = 0
    """Die at exactly this chance to die, counted from 1; 0: by chance only."""
    clear: bool = False
    """Nothing goes wrong."""

    def strikes(self, share: float) -> bool:
        """Whether it happens this time."""
        return not self.clear and share > 0 and self.dice.random() < share

    def kill(self) -> None:
        """Die, sometimes."""
        if self.clear:
            return
        self.counts["chances"] += 1
        if self.counts["chances"] == self.kill_at or self.strikes(self.kills):
            self.counts["kills"] += 1
            raise Killed

    @contextmanager
    def calm(self) -> Iterator[None]:
        """Nothing goes wrong meanwhile."""
        before, self.clear = self.clear, True
        try:
            yield
        finally:
            self.clear = before


def memory_in(weather: Weather, clock: Callable[[], float]) -> Store:
    """A store in memory in this weather; its events travel through the queues that lose them."""
    queues = FaultyQueues(MemoryQueues(clock), weather)
    images, labels = (MemoryBlobs(clock, announcer(name, queues, clock)) for name in (layout.IMAGES, layout.LABELS))
    return Store("memory:", FaultyBlobs(images, weather), FaultyBlobs(labels, weather), queues)


def directory_in(weather: Weather, root: Path, clock: Callable[[], float]) -> Store:
    """A store in a directory in this weather."""
    scratch = Scratch(root, clock)
    queues = FaultyQueues(DirectoryQueues(root / "queues", scratch, clock), weather)
    images, labels = (DirectoryBlobs(root / name, scratch, announcer(name, queues, clock)) for name in (layout.IMAGES, layout.LABELS))
    return Store(root.as_uri(), FaultyBlobs(images, weather), FaultyBlobs(labels, weather), queues)


class BrokenSource(io.BytesIO):
    """A file that cannot be read to its end: the writer dies over it."""

    def __init__(self, content: bytes, weather: Weather):
        super().__init__(content)
        self._length, self._weather = max(len(content) // 2, 1), weather

    def read(self, size: int | None = -1, /) -> bytes:
        """The first half, then the end of the process."""
        piece = super().read(self._length if self.tell() == 0 else 0)
        if not piece:
            self._weather.counts["torn_writes"] += 1
            raise Killed
        return piece


class FaultyBlobs:
    """Blobs around each of whose calls the caller may die; what is read is compared with what was ever written."""

    def __init__(self, real: Blobs, weather: Weather):
        self._real, self._weather = real, weather
        self._written: dict[str, set[int]] = {}
        self._claims = b""

    def read(self, name: str) -> Blob:
        blob = self._mortal(self._real.read, name)
        if hash(blob.content) not in self._written.get(name, ()):
            self._weather.counts["torn"] += 1
        return blob

    def read_range(self, name: str, start: int, length: int) -> bytes:
        return self._mortal(self._real.read_range, name, start, length)

    def stream(self, name: str, chunk: int = 1 << 20) -> Iterator[bytes]:
        return self._mortal(self._real.stream, name, chunk)

    def head(self, name: str) -> BlobInfo:
        return self._mortal(self._real.head, name)

    def exists(self, name: str) -> bool:
        return self._mortal(self._real.exists, name)

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        return self._mortal(self._real.list, prefix)

    def create(self, name: str, content: Content) -> None:
        self._mortal(self._real.create, name, self._source(name, content))

    def replace(self, name: str, content: Content, etag: str | None) -> str:
        if name == layout.STATE and self._weather.strikes(self._weather.rivals):
            self._weather.counts["rivals"] += 1
            with self._weather.calm():
                self._weather.rival()
        self._weather.kill()
        written = self._real.replace(name, self._source(name, content), etag)
        self._watch(name, content)
        self._weather.kill()
        return written

    def _mortal(self, call: Callable[..., Any], *arguments: Any) -> Any:
        self._weather.kill()
        done = call(*arguments)
        self._weather.kill()
        return done

    def _source(self, name: str, content: Content) -> Content:
        assert isinstance(content, bytes)
        self._written.setdefault(name, set()).add(hash(content))
        return BrokenSource(content, self._weather) if self._weather.strikes(self._weather.torn_writes) else content

    def _watch(self, name: str, content: Content) -> None:
        assert isinstance(content, bytes)
        if name == layout.LATEST:
            commit = json.loads(content)
            self._weather.published.add((commit["sequence"], commit["run"]))
        if name == layout.STATE:
            # Claims change seldom; comparing their text is far cheaper than reading it.
            claims = content.partition(b'"batches"')[2].partition(b'"uploads"')[0]
            if claims != self._claims:
                self._claims = claims
                self._weather.counts["handed_out_twice"] += with_two(content)


def with_two(content: bytes) -> int:
    """How many images of a `state.json` are in more than one active claim."""
    batches = json.loads(content)["batches"].values()
    live = Counter(claimed[0] for batch in batches if batch["expires_at"] for claimed in batch["claimed"])
    return sum(count > 1 for count in live.values())


class FaultyQueues:
    """Queues around each of whose calls the caller may die, and whose messages travel as badly as they can."""

    def __init__(self, real: Queues, weather: Weather):
        self._real, self._weather = real, weather

    def send(self, queue: str, body: str, delay: float = 0) -> None:
        self._weather.kill()
        for late in self._fate():
            self._real.send(queue, body, delay + late)
        self._weather.kill()

    def _fate(self) -> tuple[float, ...]:
        """Delays of the copies that arrive."""
        weather, dice = self._weather, self._weather.dice
        if not weather.strikes(weather.messages):
            return (0.0,)
        what = dice.choice(("lost", "duplicated", "late"))
        weather.counts[what] += 1
        late = float(dice.choice(_LATE_SECONDS))
        return {"lost": (), "duplicated": (0.0, late), "late": (late,)}[what]

    def receive(self, queue: str, visibility: float, limit: int = 1) -> list[Message]:
        self._weather.kill()
        messages = self._real.receive(queue, visibility, limit)
        if len(messages) > 1 and self._weather.strikes(self._weather.messages):
            self._weather.dice.shuffle(messages)
            self._weather.counts["reordered"] += len(messages)
        self._weather.kill()
        return messages

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self._weather.kill()
            done = getattr(self._real, method)(*arguments)
            self._weather.kill()
            return done

        return call
