"""How fast the exported model predicts, beside the model it came from, and what it finds on the test split."""

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from activelearning.settings import Prediction, Training
from tests.bench import bccd
from tests.bench.train import judge
from trainer import detectors
from trainer.export import check_parity, export
from trainer.predictor import INPUT, Predictor, open_session
from trainer.weights import Weights, warm_start

Work = TypeVar("Work")


def run(args: list[str]) -> dict[str, object]:
    """Keys: images a second at batch 1 of the networks alone (`onnx_ips`, `torch_ips`) and from JPEG files to boxes (`jpeg_ips`),
    `ap_fp32`; `int8_ips` and `ap_int8` are null until there is a quantised model."""
    options = _parser().parse_args(args)
    model = _model(options)
    onnx = export(model, bccd.FAMILY, bccd.shape())
    batches = [one.image.pixels.transpose(2, 0, 1)[None].astype(np.float32) for one in bccd.load("test")]
    check_parity(model, onnx, bccd.FAMILY, [one.image.pixels for one in bccd.load("test")], Prediction())
    predictor = Predictor(onnx, bccd.FAMILY, Prediction(), threads=options.threads)
    return {
        "onnx_ips": _onnx_ips(onnx, [{INPUT: batch} | predictor.masks for batch in batches], predictor.threads, options.images),
        "torch_ips": _torch_ips(model, batches, predictor.threads, options.images),
        "jpeg_ips": _jpeg_ips(predictor, options.images),
        "int8_ips": None,
        "ap_fp32": judge(predictor).value("ap"),
        "ap_int8": None,
        "note": "int8: no quantised model yet",
        "threads": predictor.threads,
        "providers": predictor.providers,
    }


def _model(options: argparse.Namespace) -> nn.Module:
    if not options.weights:
        return bccd.train_on_pool(options.iterations, options.seed, threads=1).model
    model = detectors.build(bccd.FAMILY, len(bccd.CLASSES), seed=0)
    warm_start(model, Weights.from_bytes(options.weights.read_bytes()), bccd.FAMILY, bccd.CLASSES)
    return model.eval()


def _onnx_ips(onnx: bytes, inputs: Sequence[dict[str, np.ndarray]], threads: int, count: int) -> float:
    session = open_session(onnx, threads=1)
    with ThreadPoolExecutor(threads) as pool:
        return _rate(lambda some: list(pool.map(lambda one: session.run(None, one), some)), inputs, count)


def _torch_ips(model: nn.Module, batches: Sequence[np.ndarray], threads: int, count: int) -> float:
    torch.set_num_threads(threads)
    tensors = [torch.from_numpy(batch).contiguous(memory_format=torch.channels_last) for batch in batches]
    with torch.inference_mode():
        return _rate(lambda some: [model(images) for images in some], tensors, count)


def _jpeg_ips(predictor: Predictor, count: int) -> float:
    files = [(one.path.name, one.path) for one in bccd.load("test")]
    return _rate(lambda some: list(predictor.predict(some)), files, count)


def _rate(work: Callable[[list[Work]], object], things: Sequence[Work], count: int) -> float:
    work(list(things[:4]))
    some = list(itertools.islice(itertools.cycle(things), count))
    start = time.perf_counter()
    work(some)
    return round(count / (time.perf_counter() - start), 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench predict")
    parser.add_argument("--weights", type=Path, help="weights to predict with; else a detector is trained on the pool")
    parser.add_argument("--iterations", type=int, default=Training().iterations)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    parser.add_argument("--images", type=int, default=200)
    return parser
