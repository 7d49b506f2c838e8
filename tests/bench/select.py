"""Choosing 1,000 of a million images from predictions in memory: seconds and peak memory of every strategy that goes by predictions.

    python -m tests.bench select [--images 1000000] [--boxes 5] [--first 1000] [--strategies entropy,sota]

Each strategy runs in a process of its own on the same made-up pool, ten classes of which one is in most images, every measure known,
every hundredth image without detections, and is given what it needs of people: labelled boxes by class. `quotas` is
the default strategy with class balance and folder quotas. A tenth of the images is drawn by lot, as by default.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from activelearning.settings import Selection

_CLASSES = tuple(f"class-{number}" for number in range(10))
_SETTINGS = {
    "quotas": Selection("gain-per-second", class_balance=dict.fromkeys((*_CLASSES[:9], "NULL"), 0.1), folder_quotas={"*": 1.0}),
}
"""Settings to measure beside the plain strategies."""


def run(arguments: Sequence[str]) -> dict[str, Any]:
    """The benchmark: per strategy `seconds` and `cpu_seconds` to rank the pool and name its head, `peak_mb` of its process, and what the
    pool and the program take of it, `pool_mb`."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench select")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--boxes", type=int, default=5, help="mean boxes an image")
    parser.add_argument("--first", type=int, default=1000, help="images to choose")
    parser.add_argument("--strategies", default="", help="names, separated by commas; all that go by predictions by default")
    options = parser.parse_args(arguments)
    names = options.strategies.split(",") if options.strategies else _by_predictions()
    found = {}
    for name in names:
        command = [sys.executable, "-m", "tests.bench.select", name, *map(str, (options.images, options.boxes, options.first))]
        found[name] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        print(f"select: {name} {found[name]}", file=sys.stderr, flush=True)
    return {"images": options.images, "boxes": options.images * options.boxes, "first": options.first, "strategies": found}


def _by_predictions() -> list[str]:
    from trainer.query.registry import STRATEGIES
    from trainer.query.strategy import LABELLED

    return [*(name for name, one in STRATEGIES.items() if one.needs <= {LABELLED}), *_SETTINGS]


def _measure(name: str, images: int, boxes: int, first: int) -> dict[str, float]:
    import resource

    from activelearning import draft_rules, settings
    from trainer import totag
    from trainer.query import cost, ranking
    from trainer.query.registry import in_force
    from trainer.query.strategy import Extra

    selection = _SETTINGS.get(name) or Selection(name)
    pool = _pool(images, boxes, ranking.columns(selection))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.perf_counter(), time.process_time()
    labelled = {label: 10 * 2**number for number, label in enumerate(_CLASSES)}
    by_the_second = in_force(selection).per_second
    rules = draft_rules.fixed(0.4)
    seconds = cost.expected_seconds(pool, settings.Costs(), rules, cost.by_probability(pool)) if by_the_second else None
    ranked = ranking.rank(pool, selection, Extra(labelled_boxes=labelled, seconds=seconds, first=first))
    order = totag.in_shares(pool, ranked, selection).indices if selection.class_balance else ranked.order
    head = [pool.images[index] for index in order[:first]]
    taken, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert len(set(head)) == min(first, images)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": round(taken, 2), "cpu_seconds": round(cpu, 2), "peak_mb": round(peak / 1024, 1), "pool_mb": round(before / 1024, 1)}


def _pool(images: int, boxes: int, columns: frozenset[str]) -> Any:
    import numpy as np

    from trainer.query.candidates import Candidates

    chance = np.random.default_rng(0)
    counts = chance.poisson(boxes, images)
    counts[::100] = 0
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    total = int(offsets[-1])
    class_id = np.minimum(chance.geometric(0.6, total) - 1, len(_CLASSES) - 1).astype(np.int32)
    measures = {name: chance.random(total, np.float32) for name in sorted(columns)}
    names = [f"site-{number // 20_000:02d}/IMG_{number:07d}.JPG" for number in range(images)]
    return Candidates(names, offsets, class_id, chance.random(total, np.float32), _CLASSES, measures)


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], *map(int, sys.argv[2:]))))
