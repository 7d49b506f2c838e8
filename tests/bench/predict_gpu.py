"""Images a second by detector and by what runs it, the network alone and end to end from JPEG files, on a machine with a CUDA GPU.

One command fills the table of tests/bench/README.md: `python -m tests.bench predict_gpu --json`. Without a GPU it says so and measures
nothing; `--device cpu --quick` goes the same way with networks of toy size, to see that the way is open.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from activelearning.settings import Prediction
from tests.bench import bccd
from trainer import detectors, engine, quantise
from trainer.engine import CPU, CUDA, TENSORRT
from trainer.export import export
from trainer.predictor import INPUT, Predictor

NETWORKS = {
    "compact": ("compact", 640),
    "rfdetr-nano": ("rfdetr-nano", 640),
    "rfdetr-small": ("rfdetr-small", 640),
    "dfine-small": ("dfine-small", 640),
    "fasterrcnn-resnet50": ("fasterrcnn-resnet50", 640),
    # MegaDetector 5 is YOLOv5x6: 140 million parameters, 840 GFLOP at 1280 pixels; of ours this comes nearest, 62 million and 810 GFLOP
    "megadetector-sized": ("dfine-xlarge", 1280),
}
"""By its name in the table the family, and the pixels of its square input's side."""
_QUICK_SIDE = 128
_WARM_UP = 3
_CLASSES = 3

Run = Callable[[np.ndarray], object]


@dataclass(frozen=True, slots=True)
class _Machine:
    """Where it is measured: torch's device, images in a batch, how many batches, how often, and whether with networks of toy size."""

    device: str
    batch: int
    batches: int
    rounds: int
    quick: bool


def run(args: list[str]) -> dict[str, object]:
    """Keys: `device`; `networks`: by name `side`, `parameters` (millions) and by engine `[least, median, most]` images a second, or why
    there is none: `torch`, `torch_compile`, `onnxruntime`, `onnxruntime_float16`, `tensorrt_float16`, and `end_to_end` from JPEG files
    with the engine that a trainer would choose, `engine`."""
    options = _parser().parse_args(args)
    if options.device == "cuda" and not torch.cuda.is_available():
        return {"device": "none", "note": "this machine has no CUDA GPU, so nothing is measured; --device cpu --quick tries the way out"}
    machine = _Machine(options.device, options.batch, options.batches, options.rounds, options.quick)
    name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    return {"device": name, "batch": options.batch, "networks": {one: _network(one, machine) for one in options.networks or NETWORKS}}


def _network(name: str, machine: _Machine) -> dict[str, object]:
    family, side = NETWORKS[name]
    side = _QUICK_SIDE if machine.quick else side
    print(f"{name} at {side}", file=sys.stderr, flush=True)
    try:
        model = detectors.build(family, _CLASSES, seed=0, tiny=machine.quick).eval()
        onnx = export(model, family, (side, side))
    except Exception as error:  # noqa: BLE001  one network that cannot be made must not cost the others' figures
        return {"side": side, "error": f"{type(error).__name__}: {str(error)[:300]}"}
    millions = round(sum(one.numel() for one in model.parameters()) / 1e6, 1)
    engines = {key: _measured(make, machine, side) for key, make in _engines(model, onnx, family, machine)}
    return {"side": side, "parameters": millions, **engines, **_end_to_end(onnx, family, machine)}


def _engines(model: nn.Module, onnx: bytes, family: str, machine: _Machine) -> Iterator[tuple[str, Callable[[], Run]]]:
    """What may run a network, each with how to get it ready."""
    yield "torch", partial(_torch, model, machine)
    yield "torch_compile", partial(_torch_compile, model, machine)
    provider = CUDA if machine.device == "cuda" else CPU
    masks = Predictor(onnx, family, Prediction(), threads=1).masks
    yield "onnxruntime", partial(_session, onnx, masks, provider)
    yield "onnxruntime_float16", lambda: _session(quantise.to_float16(onnx), masks, provider)
    yield "tensorrt_float16", lambda: _session(quantise.to_float16(onnx), masks, TENSORRT)


def _measured(make: Callable[[], Run], machine: _Machine, side: int) -> list[float] | str:
    """Images a second of the network alone: least, median and most of the rounds; or why it does not run here."""
    images = np.random.default_rng(0).uniform(0, 255, (machine.batch, 3, side, side)).astype(np.float32)
    try:
        ready = make()
        for _ in range(_WARM_UP):
            ready(images)
        return _spread([_rate(partial(_repeat, ready, images, machine.batches), machine) for _ in range(machine.rounds)])
    except Exception as error:  # noqa: BLE001  an engine that is not there is a line of the table
        return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"


def _repeat(ready: Run, images: np.ndarray, batches: int) -> None:
    for _ in range(batches):
        ready(images)


def _rate(work: Callable[[], None], machine: _Machine) -> float:
    started = time.perf_counter()
    work()
    if machine.device == "cuda":
        torch.cuda.synchronize()
    return machine.batch * machine.batches / (time.perf_counter() - started)


def _torch(model: nn.Module, machine: _Machine) -> Run:
    on_device = model.to(machine.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def look(images: np.ndarray) -> object:
        with torch.inference_mode(), torch.autocast(machine.device, torch.float16, enabled=machine.device == "cuda"):
            tensor: Tensor = torch.from_numpy(images).to(machine.device, memory_format=torch.channels_last)
            return [one.cpu() for one in on_device(tensor)]

    return look


def _torch_compile(model: nn.Module, machine: _Machine) -> Run:
    compiled: Any = torch.compile(model)
    return _torch(compiled, machine)


def _session(onnx: bytes, masks: Mapping[str, np.ndarray], provider: str) -> Run:
    if provider not in onnxruntime.get_available_providers():
        raise RuntimeError(f"onnxruntime here has no {provider}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx, options, providers=[provider, *([CUDA] if provider == TENSORRT else [])])
    if session.get_providers()[0] != provider:
        raise RuntimeError(f"onnxruntime fell back to {session.get_providers()[0]}")
    return lambda images: session.run(None, {INPUT: images, **masks})


def _end_to_end(onnx: bytes, family: str, machine: _Machine) -> dict[str, object]:
    """From JPEG files on disk to boxes, as a trainer predicts a pool: float16 on a GPU."""
    on_gpu = engine.here() != CPU
    predictor = Predictor(quantise.to_float16(onnx) if on_gpu else onnx, family, Prediction(), batch=machine.batch)
    count = machine.batch * machine.batches
    with tempfile.TemporaryDirectory() as folder:
        files = [(path.name, path) for path in _copies(Path(folder), count)]

        def predict() -> None:
            for _ in predictor.predict(files):
                pass

        predict()
        rates = _spread([_rate(predict, machine) for _ in range(machine.rounds)])
    return {"end_to_end": rates, "engine": str(predictor.engine)}


def _copies(folder: Path, count: int) -> Iterator[Path]:
    """So many JPEG files, of the blood cells."""
    contents = [path.read_bytes() for path in sorted((bccd.DATA / "images").glob("*.jpg"))]
    for number in range(count):
        path = folder / f"{number:06d}.jpg"
        path.write_bytes(contents[number % len(contents)])
        yield path


def _spread(rates: list[float]) -> list[float]:
    return [round(value, 1) for value in (min(rates), statistics.median(rates), max(rates))]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench predict_gpu")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, help="default: all")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=20, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="networks of toy size at a small input")
    return parser
