"""How fast the exported model predicts, in float32 and in bytes, beside the model it came from, and what it finds on the test split."""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from activelearning.settings import Prediction, Training
from tests.bench import bccd
from tests.bench.train import judge
from trainer import detectors, quantise
from trainer.assessment import for_evaluation
from trainer.export import check_parity, export
from trainer.predictor import Predictor, open_session
from trainer.weights import Weights, warm_start

Work = TypeVar("Work")
_CALIBRATED_ON = 48


@dataclass(frozen=True, slots=True)
class _Speed:
    """Images a second of all threads together, and milliseconds of processor time an image."""

    ips: float
    cpu_ms: float


def run(args: list[str]) -> dict[str, object]:
    """Keys: images a second at batch 1 of the networks alone (`onnx_ips` in float32, `torch_ips`, `int8_ips`) and from JPEG files to boxes
    (`jpeg_ips` with the model of bytes, `jpeg_float32_ips`): medians of the rounds, in which all take turns; `ranges`: least and most;
    `cpu_ms`: least processor time an image, which other work on the machine changes little; `int8_speedup`, the median of the rounds'
    ratios of the networks; `ap_fp32` and `ap_int8` on the test split."""
    options = _parser().parse_args(args)
    model = _model(options)
    onnx = export(model, bccd.FAMILY, bccd.shape())
    images = [one.image for one in bccd.load("test")]
    check_parity(model, onnx, bccd.FAMILY, [image.pixels for image in images], Prediction())
    float32 = Predictor(onnx, bccd.FAMILY, Prediction(), threads=options.threads)
    small = quantise.to_int8(onnx, (float32.inputs(one.image) for one in bccd.load("pool")[:: len(bccd.load("pool")) // _CALIBRATED_ON]))
    ways = _ways(model, onnx, small, float32)
    rounds = [_round(ways, options.images, number) for number in range(options.rounds)]
    columns = {name: [one[name].ips for one in rounds] for name in ways}
    return {
        **{name: round(statistics.median(values), 1) for name, values in columns.items()},
        "ranges": {name: [round(min(values), 1), round(max(values), 1)] for name, values in columns.items()},
        "cpu_ms": {name: round(min(one[name].cpu_ms for one in rounds), 2) for name in ways},
        "int8_speedup": round(statistics.median(one["int8_ips"].ips / one["onnx_ips"].ips for one in rounds), 2),
        "ap_fp32": judge(Predictor(onnx, bccd.FAMILY, for_evaluation(Prediction()))).value("ap"),
        "ap_int8": judge(Predictor(small, bccd.FAMILY, for_evaluation(Prediction()))).value("ap"),
        "rounds": options.rounds,
        "threads": float32.threads,
        "providers": float32.providers,
    }


def _model(options: argparse.Namespace) -> nn.Module:
    if not options.weights:
        return bccd.train_on_pool(options.iterations, options.seed, threads=1).model
    model = detectors.build(bccd.FAMILY, len(bccd.CLASSES), seed=0)
    warm_start(model, Weights.from_bytes(options.weights.read_bytes()), bccd.FAMILY, bccd.CLASSES)
    return model.eval()


def _ways(model: nn.Module, onnx: bytes, small: bytes, float32: Predictor) -> dict[str, Callable[[int], _Speed]]:
    """What is measured, by its key, each over so many images."""
    threads = float32.threads
    inputs = [float32.inputs(one.image) for one in bccd.load("test")]
    predictor = Predictor(small, bccd.FAMILY, Prediction(), threads=threads)
    files = [(one.path.name, one.path) for one in bccd.load("test")]
    return {
        "onnx_ips": lambda count: _onnx_ips(onnx, inputs, threads, count),
        "int8_ips": lambda count: _onnx_ips(small, inputs, threads, count),
        "torch_ips": lambda count: _torch_ips(model, [one["images"] for one in inputs], threads, count),
        "jpeg_float32_ips": lambda count: _rate(lambda some: list(float32.predict(some)), files, count),
        "jpeg_ips": lambda count: _rate(lambda some: list(predictor.predict(some)), files, count),
    }


def _round(ways: dict[str, Callable[[int], _Speed]], count: int, number: int) -> dict[str, _Speed]:
    names = list(ways)
    found = {name: ways[name](count) for name in (*names[number % len(names) :], *names[: number % len(names)])}
    print(f"round {number + 1}: {', '.join(f'{name} {found[name].ips:.0f}' for name in names)}", file=sys.stderr, flush=True)
    return found


def _onnx_ips(onnx: bytes, inputs: Sequence[dict[str, np.ndarray]], threads: int, count: int) -> _Speed:
    session = open_session(onnx, threads=1)
    with ThreadPoolExecutor(threads) as pool:
        return _rate(lambda some: list(pool.map(lambda one: session.run(None, one), some)), inputs, count)


def _torch_ips(model: nn.Module, batches: Sequence[np.ndarray], threads: int, count: int) -> _Speed:
    torch.set_num_threads(threads)
    tensors = [torch.from_numpy(batch).contiguous(memory_format=torch.channels_last) for batch in batches]
    with torch.inference_mode():
        return _rate(lambda some: [model(images) for images in some], tensors, count)


def _rate(work: Callable[[list[Work]], object], things: Sequence[Work], count: int) -> _Speed:
    work(list(things[:4]))
    some = list(itertools.islice(itertools.cycle(things), count))
    start, cpu = time.perf_counter(), time.process_time()
    work(some)
    return _Speed(count / (time.perf_counter() - start), (time.process_time() - cpu) / count * 1000)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench predict")
    parser.add_argument("--weights", type=Path, help="weights to predict with; else a detector is trained on the pool")
    parser.add_argument("--iterations", type=int, default=Training().iterations)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    return parser
