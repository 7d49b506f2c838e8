"""Ordering and writing a totag: rows, seconds, peak memory of a process that does nothing else.

    python -m tests.bench totag [--images 200000] [--rows 5]

The predictions come from shards in a directory store, as after a real prediction, with class balance and folder quotas.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from activelearning import layout, table
from activelearning.labels import Box, ImageLabels, Review
from activelearning.settings import Selection
from activelearning.store import open_store

_SELECTION = Selection("least-confidence", random_share=0.0, class_balance={"deer": 0.5, "fox": 0.3, "NULL": 0.2}, folder_quotas={"*": 1.0})
_JOB = "predict-benchmark"
_SHARD = 1000


def run(arguments: Sequence[str]) -> dict[str, Any]:
    """The benchmark: `rows`, `seconds`, `peak_mb`."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench totag")
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--rows", type=int, default=5, help="boxes an image")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        _make(folder, options.images, options.rows)
        command = [sys.executable, "-m", "tests.bench.totag", folder, str(options.images)]
        figures = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {"images": options.images, "rows": options.images * options.rows, **figures}


def _make(folder: str, images: int, rows: int) -> None:
    labels = open_store(folder).labels
    made = _images(images, rows)
    for shard in range(-(-images // _SHARD)):
        labels.create(layout.prediction_shard(_JOB, shard), table.table_bytes(one for _, one in zip(range(_SHARD), made, strict=False)))


def _images(images: int, rows: int) -> Iterator[ImageLabels]:
    chance = random.Random(0)
    for number in range(images):
        name = f"site-{number % 50:02d}/IMG_{number:07d}.JPG"
        yield ImageLabels(name, 4032, 3040, tuple(_box(chance) for _ in range(rows)), Review.UNOPENED, "0123456789abcdef")


def _box(chance: random.Random) -> Box:
    x, y, score = (round(chance.uniform(0, 0.8), 6) for _ in range(3))
    measures = (("entropy", score), ("margin", score))
    return Box(chance.choice(("deer", "fox")), x, y, round(x + 0.1, 6), round(y + 0.1, 6), score, "model", None, measures)


def _measure(folder: str, images: int) -> dict[str, float]:
    import resource

    from trainer import pinned_pool, pool_prediction, totag

    labels = open_store(folder).labels
    pool = pinned_pool.PinnedPool(tuple(map(str, range(-(-images // _SHARD) * pinned_pool.SHARD_IMAGES))), 0.0, images)
    started = time.perf_counter()
    listed = totag.write(labels, layout.totag("main/1"), pool_prediction.predictions(labels, _JOB, pool), _SELECTION)
    seconds = time.perf_counter() - started
    assert listed == images
    return {"seconds": round(seconds, 2), "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], int(sys.argv[2]))))
