"""How long training takes and how good it gets: all pool images, judged on the test split."""

import argparse

from activelearning.settings import Prediction, Training
from tests.bench import bccd
from trainer.assessment import for_evaluation
from trainer.evaluation import Metrics, evaluate
from trainer.export import export
from trainer.predictor import Predictor


def run(args: list[str]) -> dict[str, object]:
    """Keys: `cpu_seconds` of all threads, `ap50` and `ap` of the exported model, `iterations`."""
    options = _parser().parse_args(args)
    trained = bccd.train_on_pool(options.iterations, options.seed, options.threads)
    metrics = judge(Predictor(export(trained.model, bccd.FAMILY, bccd.shape()), bccd.FAMILY, for_evaluation(Prediction())))
    figures = {"ap50": metrics.value("ap50"), "ap": metrics.value("ap")}
    return {"cpu_seconds": round(trained.cpu_seconds, 1), **figures, "iterations": options.iterations}


def judge(predictor: Predictor) -> Metrics:
    """Predict the test split and compare."""
    test = bccd.load("test")
    return evaluate([one.truth for one in test], [predictor.detect(one.image) for one in test], bccd.CLASSES)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench train")
    parser.add_argument("--iterations", type=int, default=Training().iterations)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="one thread costs the least processor time")
    return parser
