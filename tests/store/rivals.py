"""Rivals for one store: processes where the store outlives one, threads for the memory store.

Run as `python -m tests.store.rivals URL JOB ME [ARGUMENT]`: says that it is ready, waits for a line, does the job, prints its
result as JSON.
"""

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from activelearning.errors import BlobChanged, BlobExists, UserError
from activelearning.store import Store, open_store

ROOT = Path(__file__).parents[2]


def race(url: str, job: str, rivals: int, argument: int) -> list[Any]:
    """Let rivals do a job at the same time, and return what each made of it."""
    if url.startswith("memory:"):
        return _race_threads(url, job, rivals, argument)
    racers = [start(url, job, me, argument) for me in range(rivals)]
    for racer in racers:
        wait_until_ready(racer)
    for racer in racers:
        let_go(racer)
    results = [racer.communicate()[0] for racer in racers]
    assert all(racer.returncode == 0 for racer in racers)
    return [json.loads(result) for result in results]


def start(url: str, job: str, me: int, argument: int) -> subprocess.Popen[bytes]:
    """Start one rival process."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'functions'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "tests.store.rivals", url, job, str(me), str(argument)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def wait_until_ready(process: subprocess.Popen[bytes]) -> None:
    """Wait until a rival stands at the line."""
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"


def let_go(process: subprocess.Popen[bytes]) -> None:
    """Drop the flag for one rival."""
    assert process.stdin
    process.stdin.write(b"go\n")
    process.stdin.flush()


def _race_threads(url: str, job: str, rivals: int, argument: int) -> list[Any]:
    line = threading.Barrier(rivals)

    def run(me: int) -> Any:
        line.wait()
        return JOBS[job](open_store(url), me, argument)

    with ThreadPoolExecutor(rivals) as pool:
        return list(pool.map(run, range(rivals)))


def claim_names(store: Store, me: int, names: int) -> list[str]:
    """Try to create every name; return those that this rival won."""
    won = []
    for number in range(names):
        try:
            store.labels.create(f"claims/{number:03d}", str(me).encode() * 50_000)
            won.append(f"claims/{number:03d}")
        except BlobExists:
            pass
    return won


def count_up(store: Store, me: int, steps: int) -> int:
    """Raise a shared number so many times; return how many attempts it took."""
    done = 0
    for attempt in itertools.count(1):
        seen = store.labels.read("number")
        try:
            store.labels.replace("number", str(int(seen.content) + 1).encode(), seen.etag)
            done += 1
        except BlobChanged:
            continue
        if done == steps:
            return attempt
    raise AssertionError


def write_or_read(store: Store, me: int, turns: int) -> int:
    """Rival 0 keeps replacing a blob by content of one letter; the others return how often they saw two letters at once."""
    if me == 0:
        etag = store.labels.read("table").etag
        for turn in range(turns):
            etag = store.labels.replace("table", _one_letter(turn), etag)
        return 0
    return sum(_torn(store.labels.read("table").content) + _torn(b"".join(store.labels.stream("table"))) for _ in range(turns))


def _one_letter(turn: int) -> bytes:
    return b"abcdefghij"[turn % 10 :][:1] * (100_000 + 10_000 * (turn % 7))


def _torn(content: bytes) -> bool:
    return len(set(content)) != 1 or len(content) < 100_000


def consume(store: Store, me: int, _: int) -> list[str]:
    """Handle messages until there are none; return their bodies."""
    bodies = []
    while messages := store.queues.receive("work", visibility=600, limit=3):
        for message in messages:
            bodies.append(message.body)
            store.queues.delete("work", message)
    return bodies


def write_until_killed(store: Store, me: int, _: int) -> None:
    """Say every name only once it is acknowledged, and never stop."""
    for number in itertools.count():
        name = f"killed/{me}-{number}"
        store.labels.create(name, whole(name))
        seen = store.labels.read("number")
        etag = store.labels.replace("number", str(int(seen.content) + 1).encode(), seen.etag)
        store.queues.send("work", name)
        assert etag != seen.etag
        print(name, flush=True)


def whole(name: str) -> bytes:
    """The content that a blob of this name must have."""
    return f"{name} ".encode() * 20_000


def fill_disk(store: Store, me: int, size: int) -> str:
    """Write more than this process may; return what it is told."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
    try:
        store.labels.create("big/table.csv", b"x" * size)
    except UserError as error:
        return str(error)
    return "written"


JOBS: dict[str, Callable[[Store, int, int], Any]] = {
    job.__name__: job for job in (claim_names, count_up, write_or_read, consume, write_until_killed, fill_disk)
}


def main(url: str, job: str, me: str, argument: str) -> None:
    store = open_store(url)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(JOBS[job](store, int(me), int(argument))))


if __name__ == "__main__":
    main(*sys.argv[1:])
