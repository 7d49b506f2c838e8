"""What Monte-Carlo dropout costs: the whole way from letterboxed image to detections, with samples and without, in turns in one run."""

import argparse
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from activelearning.settings import Prediction, Training
from tests.bench import bccd
from trainer.predictor import Predictor


def run(args: list[str]) -> dict[str, object]:
    """Keys: `overhead`, the share by which prediction with `samples` takes longer than without (median of the rounds' ratios), and
    images a second of both; `samples_1_overhead`, that of one unit mask over the model exported without any."""
    options = _parser().parse_args(args)
    onnx = bccd.model_of_200(options.iterations, options.seed, 1)
    rounds = [_round(onnx, options, number) for number in range(options.rounds)]
    plain, sampled = (statistics.median(one[index] for one in rounds) for index in (0, 1))
    return {
        "overhead": round(statistics.median(one[1] / one[0] for one in rounds) - 1, 3),
        "plain_ips": round(options.images / plain, 1),
        "sampled_ips": round(options.images / sampled, 1),
        "samples": options.samples,
        "threads": options.threads or "one a core",
    }


def _round(onnx: bytes, options: argparse.Namespace, number: int) -> tuple[float, float]:
    predictors = [Predictor(onnx, bccd.FAMILY, replace(Prediction(), mc_samples=samples)) for samples in (1, options.samples)]
    order = (0, 1) if number % 2 == 0 else (1, 0)
    seconds = {index: _seconds(predictors[index], options) for index in order}
    print(f"round {number + 1}: {seconds[0]:.2f} s with one sample, {seconds[1]:.2f} s with {options.samples}", file=sys.stderr, flush=True)
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
