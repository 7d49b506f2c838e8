"""Claiming a batch from a huge totag on the directory store: seconds, bytes read, peak memory.

    python -m tests.bench claim [--images 1000000] [--rows 5] [--batch 40] [--claims 50]

The file is made first. `--claims` batches are handed out before, so that the claim that is measured jumps over them. The claim runs
in a process of its own, whose peak memory is the operating system's figure.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from activelearning import layout, state, table
from activelearning.state import Batch, Claimed, State
from activelearning.store import open_store

_HELD_BY_OTHERS = 40


def run(arguments: Sequence[str]) -> dict[str, Any]:
    """The benchmark: `seconds`, `bytes_read`, `peak_mb`, and how large the totag is."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench claim")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=5, help="boxes an image")
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--claims", type=int, default=50, help="batches of 40 that others hold")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        size = _make(Path(folder), options.images, options.rows, options.claims)
        command = [sys.executable, "-m", "tests.bench.claim", folder, str(options.batch)]
        figures = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {"images": options.images, "rows": options.images * options.rows, "totag_bytes": size, **figures}


def _make(folder: Path, images: int, rows: int, claims: int) -> int:
    store = open_store(str(folder))
    name = layout.totag("main/1")
    path = folder / "made.csv"
    held: list[Claimed] = []
    with path.open("wb") as file:
        position = file.write(table.header_line().encode())
        for number, text in enumerate(_rows(images, rows)):
            stop = position + file.write(text)
            if number < claims * _HELD_BY_OTHERS:
                held.append(Claimed(_image(number), position, stop))
            position = stop
    with path.open("rb") as file:
        store.labels.create(name, file)
    path.unlink()
    batches = {f"b{n}": _batch(f"b{n}", name, held[n * _HELD_BY_OTHERS : (n + 1) * _HELD_BY_OTHERS]) for n in range(claims)}
    state.update(store.labels, lambda before: State(1, "main/1", name, 2, batches=batches))
    return position


def _image(number: int) -> str:
    return f"site-{number % 50:02d}/night-{number % 365:03d}/IMG_{number:07d}.JPG"


def _rows(images: int, rows: int) -> Iterator[bytes]:
    for number in range(images):
        folder, filename = layout.split_image(_image(number))
        shape = f"3040,4032,{folder},0.5{number % 97:02d},0.5{number % 97:02d},model,unopened,0123456789abcdef,,1.234567,0.123456\n"
        yield "".join(f"{filename},deer,0.1{row}2345,0.2{row}2345,0.312345,0.412345,{shape}" for row in range(rows)).encode()


def _batch(name: str, totag: str, claimed: Sequence[Claimed]) -> Batch:
    return Batch(name, "somebody", totag, tuple(claimed), 0.0, 1e12)


class _CountingBlobs:
    """The real blobs, with a count of what is read."""

    def __init__(self, blobs: Any):
        self._blobs = blobs
        self.bytes_read = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    def read(self, name: str) -> Any:
        blob = self._blobs.read(name)
        self.bytes_read += len(blob.content)
        return blob

    def read_range(self, name: str, start: int, length: int) -> bytes:
        content: bytes = self._blobs.read_range(name, start, length)
        self.bytes_read += len(content)
        return content


def _measure(folder: str, count: int) -> dict[str, float]:
    import resource

    from activelearning import claims

    blobs = _CountingBlobs(open_store(folder).labels)
    started = time.perf_counter()
    _, labels = claims.claim(blobs, "mine", "me", count, claims.Wanted(), time.time(), 3)
    seconds = time.perf_counter() - started
    assert len(labels) == count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(seconds, 4), "bytes_read": blobs.bytes_read, "peak_mb": round(peak, 1)}


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], int(sys.argv[2]))))
