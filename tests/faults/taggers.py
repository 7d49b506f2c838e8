"""Many taggers at once at one store: threads or processes that claim, hand in, release and die, while the functions run.

Rule: every version of `state.json` is looked at by whoever wrote it, so an image that was with two people for a moment is noticed.
"""

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from activelearning import claims, consume, layout, state, steps, table
from activelearning.claims import Wanted
from activelearning.errors import MessageLost, UserError
from activelearning.settings import Policy, Settings
from activelearning.state import State
from activelearning.store import Blobs, Content, Store, open_store
from tests.core import loops
from tests.faults.faulty_store import Killed, with_two

_DEEDS = 4
"""What a tagger does in a round."""
_MOST_IMAGES = 6
_KILLS = 0.004
"""Share of a tagger's store calls at which it dies."""
_TWICE, _TORN = 3, 4
"""Exit codes of a process that saw it."""
Finding = int


class Seen(BaseException):
    """Somebody saw what must never be; the finding says what."""

    def __init__(self, finding: Finding):
        super().__init__(finding)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class Shift:
    """What the taggers did together, and what they saw of what must never be."""

    taggers: int
    rounds: int
    claims: int
    uploads: int
    lost: int
    torn: int
    handed_out_twice: int
    killed: int
    seconds: float


class WatchedBlobs:
    """The real blobs, around each of whose calls the tagger may die, and who looks at every state it writes."""

    def __init__(self, real: Blobs, dice: random.Random, die: Callable[[], None]):
        self._real, self._dice, self._die = real, dice, die

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self._strike()
            done = getattr(self._real, method)(*arguments)
            self._strike()
            return done

        return call

    def replace(self, name: str, content: Content, etag: str | None) -> str:
        self._strike()
        written = self._real.replace(name, content, etag)
        if name == layout.STATE and isinstance(content, bytes) and with_two(content):
            raise Seen(_TWICE)
        self._strike()
        return written

    def _strike(self) -> None:
        if self._dice.random() < _KILLS / 2:
            self._die()


def found(store: Store, images: int) -> None:
    """A project whose pool is listed, and in which nothing is trained."""
    loops.make_project(store, Settings(("bird", "fish"), policy=Policy(train_after=1_000_000, quiet_seconds=1e6)))
    name = layout.totag("main/0")
    store.labels.create(name, table.table_bytes(loops.drafts(f"cam-{n % 7}/{n:06d}.jpg") for n in range(images)))
    state.update(store.labels, lambda before: State(1, "main/0", name))


def tag(store: Store, name: str, die: Callable[[], None]) -> None:
    """One tagger's round: claim some images, then hand some in, go on, or give them back."""
    dice = random.Random(name)
    labels: Any = WatchedBlobs(store.labels, dice, die)
    mine = replace(store, labels=labels)
    for number in range(_DEEDS):
        try:
            current = state.load(labels)
        except UserError:
            raise Seen(_TORN) from None
        held = [batch for batch in current.batches if batch.startswith(name.partition(".")[0] + ".")]
        batch, rows = claims.claim(labels, f"{name}-{number}", name, dice.randint(1, _MOST_IMAGES), Wanted(), time.time(), 3)
        if dice.random() < 0.5:
            loops.hand_in(mine, batch.id, [row.image for row in rows[: dice.randint(1, len(rows))]])
        if held and dice.random() < 0.7:
            claims.release(labels, dice.choice(held))


def functions_run(store: Store) -> None:
    """What the functions do meanwhile, the timer included."""
    for message in consume.take(store.queues, layout.REVIEWED_QUEUE, 30.0, 32):
        steps.take_in_upload(store, message.body, time.time())
        with suppress(MessageLost):
            store.queues.delete(layout.REVIEWED_QUEUE, message)
    steps.tick(store, time.time())


def _kill_thread() -> None:
    raise Killed


def _kill_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


def _thread(store: Store, name: str) -> Finding:
    try:
        tag(store, name, _kill_thread)
    except Killed:
        return -1
    except Seen as seen:
        return seen.finding
    return 0


def _process(url: str, name: str) -> None:
    try:
        tag(open_store(url), name, _kill_process)
    except Seen as seen:
        sys.exit(seen.finding)


def threads(store: Store, names: list[str]) -> list[Finding]:
    """A round of taggers as threads, and what they found; a killed one says -1."""
    with ThreadPoolExecutor(len(names)) as pool:
        working = [pool.submit(_thread, store, name) for name in names]
        while not all(future.done() for future in working):
            functions_run(store)
    return [future.result() for future in working if future.result()]


def processes(store: Store, names: list[str]) -> list[Finding]:
    """A round of taggers as processes, killed by the system's own means. Raises `RuntimeError` when one ends in another way."""
    context = _context()
    working = [context.Process(target=_process, args=(store.url, name)) for name in names]
    for process in working:
        process.start()
    while any(process.is_alive() for process in working):
        functions_run(store)
    codes = [process.exitcode for process in working]
    if any(code not in (0, _TWICE, _TORN) and (code or 0) > 0 for code in codes):
        raise RuntimeError(f"taggers ended with {codes}: what they said is on stderr")
    return [code for code in codes if code]


def _context() -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def work(store: Store, taggers: int, rounds: int, seed: int, together: Callable[[Store, list[str]], list[Finding]]) -> Shift:
    """Some rounds of taggers at one store that `found` has prepared; after each the records are looked at."""
    started, findings = time.monotonic(), []
    for round_ in range(rounds):
        findings += together(store, [f"t{number}.{seed}-{round_}" for number in range(taggers)])
        findings += [_TWICE] * with_two(store.labels.read(layout.STATE).content)
    steps.sweep(store, time.time())
    current, reviews = state.load(store.labels), set(_reviews(store.labels))
    return Shift(
        taggers,
        rounds,
        claims=len({upload.batch for upload in current.uploads.values()} | current.batches.keys()),
        uploads=len(reviews),
        lost=len(reviews - current.uploads.keys()),
        torn=findings.count(_TORN),
        handed_out_twice=findings.count(_TWICE),
        killed=sum(finding < 0 for finding in findings),
        seconds=round(time.monotonic() - started, 1),
    )


def _reviews(blobs: Blobs) -> Iterator[str]:
    return (info.name for info in blobs.list(layout.BATCHES) if layout.batch_of_reviewed(info.name))
