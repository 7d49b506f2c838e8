"""Choosing the first thousand of a million images by variety: seconds and peak memory of each strategy, in a process of its own.

    python -m tests.bench select_diversity [--images 1000000] [--first 1000] [--labelled 1000] [NAME…]

The pool is drawn: embeddings in clusters, four objects an image, hashes at random with a tenth that are near another.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

WIDTH, FEATURES, OBJECTS, CLASSES = 192, 64, 4, ("bar", "disc", "square")
STRATEGIES = ("core-set", "max-herding", "ppal", "entropy-nms-diverse", "consistency")
SUPPRESSIONS = ("near-duplicates-3", "near-duplicates-6", "bursts")


def run(arguments: Sequence[str]) -> dict[str, Any]:
    """The benchmark: by name `seconds`, `cpu_seconds` and `peak_mb`, the pool itself included."""
    options = _parser().parse_args(arguments)
    return {"images": options.images, "first": options.first, "labelled": options.labelled} | {
        name: _in_own_process(name, options) for name in options.names or (*STRATEGIES, *SUPPRESSIONS)
    }


def _in_own_process(name: str, options: argparse.Namespace) -> dict[str, float]:
    sizes = [str(options.images), str(options.first), str(options.labelled)]
    command = [sys.executable, "-m", "tests.bench.select_diversity", name, *sizes]
    figures: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    print(f"{name}: {figures}", file=sys.stderr, flush=True)
    return figures


def _measured(work: Callable[[], object]) -> dict[str, float]:
    started, cpu_started = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2), "peak_mb": round(peak_mb, 1)}


def _measure(name: str, images: int, first: int, labelled: int) -> dict[str, float]:
    return _suppression(name, images) if name in SUPPRESSIONS else _strategy(name, images, first, labelled)


def _strategy(name: str, images: int, first: int, labelled: int) -> dict[str, float]:
    from activelearning.settings import Selection
    from trainer.query.registry import STRATEGIES as KNOWN
    from trainer.query.strategy import EMBEDDINGS, OBJECTS, Extra

    random, strategy = np.random.default_rng(0), KNOWN[name]
    pool, selection = _candidates(random, images, strategy.columns(Selection())), Selection(strategy=name)
    embeddings = _embeddings(random, images + labelled) if EMBEDDINGS in strategy.needs else np.zeros((images + labelled, 0), np.float16)
    extra = Extra(
        embeddings=embeddings[:images],
        labelled_embeddings=embeddings[images:],
        objects=_objects_of(random) if OBJECTS in strategy.needs else None,
        labelled_boxes=dict.fromkeys(CLASSES, labelled),
        class_difficulty=dict.fromkeys(CLASSES, 0.5),
        first=first,
    )
    return _measured(lambda: strategy.rank(pool, selection, extra))


def _candidates(random: np.random.Generator, images: int, columns: frozenset[str]) -> Any:
    from trainer.query.candidates import Candidates

    boxes = images * OBJECTS
    return Candidates(
        [f"site-{number % 50:02d}/IMG_{number:07d}.JPG" for number in range(images)],
        np.arange(images + 1) * OBJECTS,
        random.integers(0, len(CLASSES), boxes).astype(np.int32),
        random.random(boxes, np.float32),
        CLASSES,
        {column: random.random(boxes, np.float32) for column in sorted(columns)},
    )


def _embeddings(random: np.random.Generator, images: int) -> np.ndarray:
    centres = random.normal(size=(200, WIDTH)).astype(np.float32)
    found = np.empty((images, WIDTH), np.float16)
    for start in range(0, images, 10_000):
        part = found[start : start + 10_000]
        part[:] = centres[random.integers(0, len(centres), len(part))] + 0.5 * random.standard_normal(part.shape, np.float32)
    return found


def _objects_of(random: np.random.Generator) -> Callable[[np.ndarray], Any]:
    """Objects from a table of 65,536, as if they were read."""
    from trainer.query.objects import Objects

    table = np.abs(random.standard_normal((1 << 16, FEATURES), np.float32)).astype(np.float16)
    confidence = random.random((1 << 16), np.float32)

    def objects_of(indices: np.ndarray) -> Objects:
        rows = ((indices[:, None] * OBJECTS + np.arange(OBJECTS)) * 2_654_435_761 % (1 << 16)).ravel()
        offsets = np.arange(len(indices) + 1) * OBJECTS
        return Objects(offsets, table[rows], (rows % len(CLASSES)).astype(np.int32), confidence[rows], confidence[rows], CLASSES)

    return objects_of


def _suppression(name: str, images: int) -> dict[str, float]:
    from trainer.query import near_duplicates, sequences

    random = np.random.default_rng(0)
    if name == "bursts":
        names = [f"site-{number % 50:02d}/IMG_{number:07d}.JPG" for number in range(images)]
        taken = random.integers(0, 50 * images, images).astype(np.float64)
        return _measured(lambda: sequences.bursts(names, taken, 10))
    hashes = random.integers(0, 1 << 64, images, np.uint64)
    hashes[: images // 10] = hashes[-(images // 10) :] ^ (np.uint64(1) << random.integers(0, 64, images // 10, np.uint64))
    return _measured(lambda: near_duplicates.clusters(hashes, int(name.rpartition("-")[2])))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench select_diversity")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*STRATEGIES, *SUPPRESSIONS)))
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=1000, help="images to choose")
    parser.add_argument("--labelled", type=int, default=1000)
    return parser


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], *map(int, sys.argv[2:5]))))
