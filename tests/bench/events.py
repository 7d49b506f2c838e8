"""How long a reviewed upload takes to become a job: functions run by `activelearning up`, a stand-in trains in no time.

The clock starts before the upload's blob is written and stops when the state shows a job that trains on it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from activelearning import state
from activelearning.store import Store, open_store
from tests import azurite
from tests.core import loops

_STORES = ("directory", "azurite")
_PATIENCE_SECONDS = 60.0


def run(args: list[str]) -> dict[str, object]:
    """Keys: `p95_seconds` over all stores, and for each store median and p95."""
    options = _parser().parse_args(args)
    seconds = {kind: _measure(kind, options.uploads) for kind in options.stores}
    each = {kind: {"p50_seconds": _percentile(waits, 50), "p95_seconds": _percentile(waits, 95)} for kind, waits in seconds.items()}
    worst = max(figures["p95_seconds"] for figures in each.values())
    return {"p95_seconds": worst, **each, "uploads": options.uploads}


def _percentile(waits: list[float], share: int) -> float:
    return round(float(np.percentile(waits, share)), 3)


def _measure(kind: str, uploads: int) -> list[float]:
    with _store(kind) as store, _functions(store):
        waits = []
        for number in range(uploads):
            waits.append(_wait_for_job(store, f"batch-{number:04d}"))
            _train(store)
        print(f"{kind}: median {_percentile(waits, 50)} s of {uploads} uploads", file=sys.stderr)
        return waits


@contextmanager
def _store(kind: str) -> Iterator[Store]:
    if kind == "directory":
        with tempfile.TemporaryDirectory() as folder:
            yield loops.make_project(open_store(folder))
        return
    azurite.install()
    with azurite.running() as connection:
        os.environ["AZURE_STORAGE_CONNECTION_STRING"] = connection
        yield loops.make_project(open_store(connection))


@contextmanager
def _functions(store: Store) -> Iterator[None]:
    command = [sys.executable, "-m", "activelearning.cli", "up", store.url, "--no-trainer"]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    try:
        # the first upload is not the one that waits for the interpreter
        _wait_for_job(store, "warm-up")
        _train(store)
        yield
    finally:
        process.terminate()
        process.wait()


def _wait_for_job(store: Store, batch: str) -> float:
    started = time.perf_counter()
    name = loops.hand_in(store, batch, [f"{batch}.jpg"])
    while not any(name in job.uploads for job in state.load(store.labels).jobs.values()):
        if time.perf_counter() - started > _PATIENCE_SECONDS:
            raise SystemExit(f"no job was queued for {name} in {_PATIENCE_SECONDS:.0f} s")
        time.sleep(0.005)
    return time.perf_counter() - started


def _train(store: Store) -> None:
    """Commit everything that waits, as a trainer would."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while state.load(store.labels).uploads and time.monotonic() < deadline:
        if not loops.work(store, time.time):
            time.sleep(0.02)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench events")
    parser.add_argument("--uploads", type=int, default=50)
    parser.add_argument("--stores", nargs="+", choices=_STORES, default=list(_STORES))
    return parser
