"""How well `compact-seg` learns masks on a CPU: drawn shapes of 640 × 480 pixels, whose every pixel is known."""

import argparse
import sys
import time

from activelearning.settings import Prediction, Training
from tests.trainer import shapes
from trainer import detectors, letterbox, run_lengths, training
from trainer.assessment import for_evaluation
from trainer.evaluation import Metrics, evaluate
from trainer.export import export
from trainer.ground_truth import GroundTruth
from trainer.predictor import Predictor
from trainer.recipe import Plan
from trainer.training import Progress

FAMILY = "compact-seg"
_TEST_FROM = 10_000
"""The seed of the first test scene; training scenes begin at 0."""


def run(args: list[str]) -> dict[str, object]:
    """Keys: `mask_ap50`, `mask_ap`, `ap50` and `ap` of the exported model on scenes it never saw; `cpu_seconds` of training, of all
    threads; and what it was trained with."""
    options = _parser().parse_args(args)
    size = letterbox.input_size(options.long_side, [(4, 3)])
    examples = [shapes.example(seed, size) for seed in range(options.images)]
    config = Training(batch_size=options.batch, threads=options.threads, seed=options.seed, checkpoint_every=10**6, vertical_flip=True)
    model = detectors.build(FAMILY, len(shapes.CLASSES), options.seed)
    started = time.process_time()
    plan = Plan(options.iterations, options.learning_rate)
    trained = training.train(model, examples, config, plan, on_progress=_tell)
    seconds = time.process_time() - started
    metrics = judge(Predictor(export(trained, FAMILY, size), FAMILY, for_evaluation(Prediction())), size, options.test)
    figures = {name: metrics.value(name) for name in ("mask_ap50", "mask_ap", "mask_ap75", "ap50", "ap")}
    shape = {"input": list(size), "images": options.images, "test_images": options.test, "batch": options.batch}
    return figures | {"cpu_seconds": round(seconds, 1), "iterations": options.iterations} | shape


def judge(predictor: Predictor, size: tuple[int, int], count: int) -> Metrics:
    """Predict so many test scenes and compare."""
    scenes = [shapes.draw(seed, size) for seed in range(_TEST_FROM, _TEST_FROM + count)]
    truth = [GroundTruth(one.xyxy, one.class_id, tuple(map(run_lengths.of_pixels, one.masks))) for one in scenes]
    found = [predictor.detect(letterbox.letterboxed(one.pixels, size, size)).with_rle(size) for one in scenes]
    return evaluate(truth, found, shapes.CLASSES)


def _tell(progress: Progress) -> None:
    if progress.iteration % 20 == 0:
        losses = ", ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
        print(f"iteration {progress.iteration} of {progress.iterations}: {losses}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench masks")
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--images", type=int, default=96, help="training scenes")
    parser.add_argument("--test", type=int, default=40, help="test scenes")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--long-side", type=int, default=640)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="one thread costs the least processor time")
    return parser
