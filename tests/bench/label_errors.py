"""How many label errors stand in the images that are handed out first: BCCD with errors put in, beside ObjectLab's score, chance and
the truth.

The annotators of BCCD left cells out; a detector finds some of them. They are not counted as errors, so they are false alarms, for us and
for the peer alike.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from activelearning.settings import Prediction, Training
from tests.bench import bccd, objectlab
from tests.bench.bccd import Labelled
from trainer import detectors, label_errors, training
from trainer.calibration import Calibrated, Options, cross_fitted
from trainer.detections import Detections
from trainer.export import export
from trainer.ground_truth import GroundTruth, example
from trainer.judged import judge
from trainer.predictor import Predictor

RATES = (0.10, 0.10, 0.05)
"""Share of boxes that are left out, shifted, and given another class."""
CARELESS = 0.12
"""Share of the images that a careless annotator labelled."""
SETTINGS = {"uniform": (1.0, RATES), "careless": (CARELESS, RATES), "twice_as_careless": (CARELESS, tuple(2 * rate for rate in RATES))}
"""Share of the images with errors, and the rates in those. All errors of `uniform` do not fit into an eighth of the images."""
_NEAREST, _FURTHEST = 0.15, 0.40
"""A shifted box moves by so much of its width, and of its height."""


@dataclass(frozen=True, slots=True, eq=False)
class Corrupted:
    """Labels with errors, and the number of errors in each image."""

    labels: tuple[GroundTruth, ...]
    errors: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a model finds in images, with the true labels."""

    found: tuple[Detections, ...]
    truth: tuple[GroundTruth, ...]
    sizes: tuple[tuple[int, int], ...]


def run(args: list[str]) -> dict[str, object]:
    """Keys: by setting the mean over the seeds of the share of errors in the first 15 % of the images, `ours`, `objectlab` on the same
    detections, `objectlab_calibrated` with our calibrated probabilities as their scores, `chance` and `ceiling` (by the true number of
    errors), with the `worst` seed of ours. With `--trained-on-errors N`, `trained_on_errors`: a model of N iterations on 200 images with
    uniform errors, how many of those are found in `seen` images, and in `unseen` ones with errors alike."""
    options = _parser().parse_args(args)
    onnx = options.model.read_bytes() if options.model else bccd.model_of_200(options.iterations, options.seed, options.threads)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    unseen = _seen(onnx, bccd.held_out_of_200(options.seed), options.threads)
    result: dict[str, object] = {name: measure(unseen, name, options.first, seeds) for name in SETTINGS}
    if options.trained_on_errors:
        result["trained_on_errors"] = _trained_on_errors(options, seeds)
    return result | {"seeds": options.seeds, "images": len(unseen.truth), "boxes": sum(len(one.class_id) for one in unseen.truth)}


def measure(seen: Seen, setting: str, first: float, seeds: Sequence[int]) -> dict[str, float]:
    """The figures of one setting."""
    rows = [_shares(seen, corrupted(seen, *SETTINGS[setting], seed), first, seed) for seed in seeds]
    means = {name: round(float(np.mean([row[name] for row in rows])), 3) for name in rows[0]}
    return means | {"worst": round(min(row["ours"] for row in rows), 3)}


def corrupted(seen: Seen, share: float, rates: Sequence[float], seed: int) -> Corrupted:
    """Errors at these rates in a share of the images."""
    rng = np.random.default_rng(seed)
    count = len(seen.truth)
    chosen = set(rng.permutation(count)[: round(share * count)].tolist())
    made = [_corrupt(truth, size, rates, rng) for truth, size in zip(seen.truth, seen.sizes, strict=True)]
    labels = tuple(labels if at in chosen else seen.truth[at] for at, (labels, _) in enumerate(made))
    return Corrupted(labels, np.array([errors if at in chosen else 0 for at, (_, errors) in enumerate(made)]))


def _corrupt(truth: GroundTruth, size: tuple[int, int], rates: Sequence[float], rng: np.random.Generator) -> tuple[GroundTruth, int]:
    count = len(truth.class_id)
    fate = np.searchsorted(np.cumsum(rates), rng.random(count), side="right")
    side = truth.xyxy[:, 2:] - truth.xyxy[:, :2]
    offset = rng.uniform(_NEAREST, _FURTHEST, (count, 2)) * rng.choice([-1, 1], (count, 2)) * side
    moved = np.clip(truth.xyxy + np.tile(offset, 2), 0, np.tile(size, 2)).astype(np.float32)
    # what the edge of the image leaves nothing of stays where it is
    fate[(fate == 1) & ((moved[:, 2:] - moved[:, :2]) < 1).any(1)] = len(rates)
    other = (truth.class_id + rng.integers(1, len(bccd.CLASSES), count)) % len(bccd.CLASSES)
    xyxy, class_id = np.where((fate == 1)[:, None], moved, truth.xyxy), np.where(fate == 2, other, truth.class_id)
    return GroundTruth(xyxy[fate != 0], class_id[fate != 0]), int((fate < len(rates)).sum())


def _shares(seen: Seen, made: Corrupted, first: float, seed: int) -> dict[str, float]:
    calibrated = _calibrated(seen, made)
    ours = [label_errors.suspicions(*one).expected_errors for one in zip(made.labels, seen.found, calibrated, strict=True)]
    probable = [replace(one, confidence=known.probability) for one, known in zip(seen.found, calibrated, strict=True)]
    doubt = {
        "ours": np.array(ours),
        "objectlab": -objectlab.quality(made.labels, seen.found),
        "objectlab_calibrated": -objectlab.quality(made.labels, probable),
        "chance": np.random.default_rng((seed, 1)).random(len(ours)),
        "ceiling": made.errors,
    }
    return {name: _share(values, made.errors, first) for name, values in doubt.items()}


def _calibrated(seen: Seen, made: Corrupted) -> list[Calibrated]:
    """By the labels as they are, errors and all, each image by a calibration that did not see it."""
    judged = judge(seen.found, made.labels, len(bccd.CLASSES))
    known = cross_fitted(judged, np.array(seen.sizes, np.float64), Options())
    return [known[judged.image == image] for image in range(len(seen.found))]


def _share(doubt: np.ndarray, errors: np.ndarray, first: float) -> float:
    order = np.argsort(-doubt, kind="stable")
    return float(errors[order[: round(first * len(errors))]].sum() / errors.sum())


def _seen(onnx: bytes, images: Sequence[Labelled], threads: int) -> Seen:
    predictor = Predictor(onnx, bccd.FAMILY, Prediction(), threads=threads)
    found = tuple(predictor.detect(one.image) for one in images)
    return Seen(found, tuple(one.truth for one in images), tuple(one.image.size for one in images))


def _trained_on_errors(options: argparse.Namespace, seeds: Sequence[int]) -> dict[str, object]:
    images = bccd.trained_on_of_200(options.seed)
    blind = Seen((), tuple(one.truth for one in images), tuple(one.image.size for one in images))
    learned = corrupted(blind, *SETTINGS["uniform"], options.first_seed)
    onnx = _train([replace(one, truth=labels) for one, labels in zip(images, learned.labels, strict=True)], options)
    known = _seen(onnx, images, options.threads)
    unseen = _seen(onnx, bccd.held_out_of_200(options.seed), options.threads)
    return {
        "iterations": options.trained_on_errors,
        "seen": {name: round(value, 3) for name, value in _shares(known, learned, options.first, options.first_seed).items()},
        "unseen": measure(unseen, "uniform", options.first, seeds),
        "unseen_careless": measure(unseen, "careless", options.first, seeds),
    }


def _train(images: Sequence[Labelled], options: argparse.Namespace) -> bytes:
    config = Training(vertical_flip=True, seed=options.seed, threads=options.threads)
    model = detectors.build(bccd.FAMILY, len(bccd.CLASSES), options.seed)
    examples = [example(one.image, one.truth) for one in images]
    trained = training.train(model, examples, config, bccd.plan(config, options.trained_on_errors))
    return export(trained, bccd.FAMILY, bccd.shape())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench label_errors")
    parser.add_argument("--first", type=float, default=0.15, help="share of the images that are handed out")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trained-on-errors", type=int, default=0, metavar="N", help="also train so many iterations on labels with errors")
    parser.add_argument("--model", type=Path, help="an exported model in place of the one that is trained on 200 images and kept")
    parser.add_argument("--iterations", type=int, default=Training().iterations)
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--threads", type=int, default=1)
    return parser
