"""The peak memory of predicting a large pool beside that of a small one, each in a process of its own, through the trainer's own steps."""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from activelearning import layout
from activelearning.settings import Prediction, Settings
from activelearning.state import Job
from activelearning.store import Blob, Store, open_store
from trainer import detectors, pinned_pool, shards
from trainer.export import export
from trainer.pinned_pool import PinnedPool, Recipe
from trainer.work import Work

_CLASSES = ("a", "b")
_PREDICTION = Prediction(min_confidence=0.005, max_detections=5, mc_samples=2)
_SIZE = (64, 64)


def run(args: list[str]) -> dict[str, object]:
    """Keys: `ratio` of the peaks, `peak_mb` and `small_peak_mb`, `images`, `small_images`, `seconds` of the large pool."""
    options = _parser().parse_args(args)
    if options.child:
        return _predict(options.child, options.model.read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        # exporting takes more memory than predicting, and is none of it
        model = Path(folder) / "model.onnx"
        model.write_bytes(export(detectors.build("compact", len(_CLASSES), 0), "compact", _SIZE))
        small, large = (_measured(count, model) for count in (options.small, options.images))
    return {
        "ratio": round(large["peak_mb"] / small["peak_mb"], 3),
        "peak_mb": large["peak_mb"],
        "small_peak_mb": small["peak_mb"],
        "images": options.images,
        "small_images": options.small,
        "seconds": large["seconds"],
    }


def _measured(images: int, model: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench", "predict_memory", "--json", "--child", str(images), "--model", str(model)]
    found: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


def _predict(images: int, model: bytes) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        store.labels.create(layout.model("main/1", "model.onnx"), model)
        names = tuple(f"camera-{number % 7}/{number:07d}.jpg" for number in range(images))
        recipe = Recipe("main/1", "compact", _CLASSES, _PREDICTION, objects=True)
        job = Job("predict-1", "predict", "main/1", 0)
        pool = pinned_pool.pin(store.labels, job.id, lambda: recipe, lambda: PinnedPool(names, 0.0, images))
        started = time.perf_counter()
        shards.predict(_work(store, job), pool)
        seconds = time.perf_counter() - started
    return {"peak_mb": _peak_mb(), "seconds": round(seconds, 1)}


def _peak_mb() -> float:
    """The most memory that this process held: getrusage would count what the process that started it held before."""
    line = next(line for line in Path("/proc/self/status").read_text("utf-8").splitlines() if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) / 1024, 1)


def _work(store: Store, job: Job) -> Work:
    images: Any = _FewFiles([_jpeg(seed) for seed in range(8)])
    settings = Settings(_CLASSES, prediction=_PREDICTION)
    return Work(replace(store, images=images), settings, job, _teller(), time.time)


def _teller() -> Callable[[str], None]:
    """Tells what is new: the trainer speaks after every image."""
    last = [""]

    def tell(line: str) -> None:
        if line != last[0]:
            print(line, file=sys.stderr, flush=True)
        last[0] = line

    return tell


@dataclass(frozen=True, slots=True)
class _FewFiles:
    """The images of a container in which every name is one of a few files."""

    files: list[bytes]

    def read(self, name: str) -> Blob:
        """The file that stands for that name."""
        return Blob(self.files[int(Path(name).stem) % len(self.files)], "")


def _jpeg(seed: int) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((160, 120)).save(out, "JPEG")
    return out.getvalue()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench predict_memory")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--small", type=int, default=1_000)
    parser.add_argument("--child", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    return parser
