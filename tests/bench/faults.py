"""Uploads through a loop in which everything goes wrong, and fifty taggers at once: what was lost, trained twice or read half.

    python -m tests.bench faults [--uploads 100000] [--store memory|directory|both] [--seed 0] [--taggers 50] [--folder DIR]

Functions, timer, three trainers and the taggers are the project's own code over the real stores; training itself is left out. Around
every store call the process may die, half-written files included; messages are lost, doubled, late and out of order; rivals write.
The directory store flushes every blob to the disk, which takes most of its time; `--folder` says where.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from activelearning.store import open_store
from tests.clock import Clock
from tests.faults import taggers
from tests.faults.faulty_store import directory_in, memory_in
from tests.faults.reckoning import Reckoning
from tests.faults.simulation import Plan, play
from tests.faults.taggers import Shift

_STORES = {"memory": ("memory",), "directory": ("directory",), "both": ("memory", "directory")}
_TOLD_SECONDS = 10.0
_TAGGED_IMAGES = 20_000
_ROUNDS = 3


def run(arguments: Sequence[str]) -> dict[str, Any]:
    """The benchmark: sums over the stores, and the figures of each under its name."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench faults")
    parser.add_argument("--uploads", type=int, default=100_000)
    parser.add_argument("--store", choices=tuple(_STORES), default="both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--taggers", type=int, default=50, help="that work at the same time")
    parser.add_argument("--folder", type=Path, help="where the directory store is made; default: where temporary files go")
    options = parser.parse_args(arguments)
    plan = Plan(options.uploads, options.seed, kills=0.001, reviews=12, burst=2000, train_after=60, uploads_a_tick=200)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = {store: _both(store, Path(folder), plan, options.taggers) for store in _STORES[options.store]}
    return _sums([figures for figures, _ in found.values()], [shift for _, shift in found.values()]) | {
        store: {**figures.as_dict(), "taggers_seconds": shift.seconds, "taggers_claims": shift.claims, "taggers_killed": shift.killed}
        for store, (figures, shift) in found.items()
    }


def _both(store: str, folder: Path, plan: Plan, number: int) -> tuple[Reckoning, Shift]:
    weather, clock = plan.weather(), Clock()
    faulty = memory_in(weather, clock) if store == "memory" else directory_in(weather, folder / "town", clock)
    figures = play(faulty, weather, clock, plan, _teller(store, plan.uploads))
    shared = open_store("memory:" if store == "memory" else str(folder / "taggers"))
    taggers.found(shared, _TAGGED_IMAGES)
    together = taggers.threads if store == "memory" else taggers.processes
    return figures, taggers.work(shared, number, _ROUNDS, plan.seed, together)


def _teller(store: str, total: int) -> Callable[[int], None]:
    started = time.monotonic()
    told = [started]

    def tell(uploads: int) -> None:
        now = time.monotonic()
        if now - told[0] > _TOLD_SECONDS:
            told[0] = now
            print(f"faults, {store}: {uploads:,} of {total:,} uploads after {now - started:.0f} s", file=sys.stderr, flush=True)

    return tell


def _sums(figures: Sequence[Reckoning], shifts: Sequence[Shift]) -> dict[str, Any]:
    everybody = (*figures, *shifts)
    sums = {name: sum(getattr(one, name) for one in everybody) for name in ("uploads", "lost", "torn", "handed_out_twice")}
    alone = {name: sum(getattr(one, name) for one in figures) for name in ("twice", "stuck", "kills", "sweeps", "commits")}
    events = {what: sum(one.events[what] for one in figures) for what in figures[0].events}
    seconds = round(sum(one.seconds for one in everybody), 1)
    return sums | alone | {"taggers": max(one.taggers for one in shifts), "events": events, "seconds": seconds}
