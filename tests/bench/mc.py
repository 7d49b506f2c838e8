"""What Monte-Carlo dropout costs: the whole way from letterboxed image to detections, with samples and without, in turns in one run.

Without means without: the same network cut off before the masks, not with one mask that drops nothing.
"""

import argparse
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import onnx
import onnx.utils

from activelearning.settings import Prediction, Training
from tests.bench import bccd
from trainer import detectors
from trainer.predictor import INPUT, Predictor


def run(args: list[str]) -> dict[str, object]:
    """Keys: `overhead`, the share by which prediction with `samples` takes longer than without (median of the rounds' ratios), and
    images a second of both."""
    options = _parser().parse_args(args)
    sampled = bccd.model_of_200(options.iterations, options.seed, 1)
    models = _without_samples(sampled), sampled
    rounds = [_round(models, options, number) for number in range(options.rounds)]
    plain, with_samples = (statistics.median(one[index] for one in rounds) for index in (0, 1))
    return {
        "overhead": round(statistics.median(one[1] / one[0] for one in rounds) - 1, 3),
        "plain_ips": round(options.images / plain, 1),
        "sampled_ips": round(options.images / with_samples, 1),
        "samples": options.samples,
        "threads": options.threads or "one a core",
    }


def _without_samples(model: bytes) -> bytes:
    plain = onnx.utils.Extractor(onnx.load_from_string(model)).extract_model([INPUT], list(detectors.family(bccd.FAMILY).outputs[:3]))
    return plain.SerializeToString()


def _round(models: tuple[bytes, bytes], options: argparse.Namespace, number: int) -> tuple[float, float]:
    settings = replace(Prediction(), mc_samples=options.samples)
    predictors = [Predictor(model, bccd.FAMILY, settings) for model in models]
    order = (0, 1) if number % 2 == 0 else (1, 0)
    seconds = {index: _seconds(predictors[index], options) for index in order}
    print(f"round {number + 1}: {seconds[0]:.2f} s without samples, {seconds[1]:.2f} s with {options.samples}", file=sys.stderr, flush=True)
    return seconds[0], seconds[1]


def _seconds(predictor: Predictor, options: argparse.Namespace) -> float:
    images = [one.image for one in bccd.load("test")]
    predictor.detect(images[0])
    with ThreadPoolExecutor(options.threads or predictor.threads) as pool:
        start = time.perf_counter()
        list(pool.map(lambda number: predictor.detect(images[number % len(images)]), range(options.images)))
        return time.perf_counter() - start


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench mc")
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0, help="0: one a core")
    parser.add_argument("--iterations", type=int, default=Training().iterations)
    parser.add_argument("--seed", type=int, default=0)
    return parser
