"""The bundled blood-cell images (BCCD) as the benchmarks use them: pool and test split, and a detector trained on the whole pool."""

import hashlib
import os
import sys
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from torch import nn

import trainer
from activelearning.formats import voc
from activelearning.settings import Detector, Prediction, Training
from trainer import detectors, recipe, training
from trainer.export import export
from trainer.ground_truth import GroundTruth, example, ground_truth
from trainer.judged import Judged, judge
from trainer.letterbox import DetectorImage, input_size, read_image
from trainer.predictor import Predictor
from trainer.recipe import Plan

DATA = Path(__file__).parents[2] / "demo" / "data" / "bccd"
_CACHE = Path(__file__).parents[2] / ".cache"
_TRAINED_ON = 200
CLASSES = ("RBC", "WBC", "Platelets")
FAMILY = Detector().family


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """One image: where its file lies, what the detector sees, and what is in it."""

    path: Path
    image: DetectorImage
    truth: GroundTruth


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A detector trained on the pool, and the processor time that took, all threads together."""

    model: nn.Module
    cpu_seconds: float


def shape() -> tuple[int, int]:
    """The detector's input (W, H) for these images."""
    return input_size(Detector().long_side, [(640, 480)])


def plan(config: Training, iterations: int) -> Plan:
    """A run from scratch by the default detector's recipe."""
    return recipe.plan(replace(config, iterations=iterations), detectors.family(FAMILY).recipe, warm=False)


@cache
def load(split: str) -> tuple[Labelled, ...]:
    """The images of `pool` or `test`, in the order of its list. Boxes that the VOC reader refuses are left out."""
    labels = {Path(one.image).stem: one for one in voc.read(DATA / "annotations").images}
    paths = [DATA / "images" / f"{name}.jpg" for name in (DATA / f"{split}.txt").read_text().split()]
    images = [read_image(path, shape()) for path in paths]
    return tuple(
        Labelled(path, image, ground_truth(labels[path.stem], CLASSES, image.size)) for path, image in zip(paths, images, strict=True)
    )


@cache
def train_on_pool(iterations: int, seed: int, threads: int) -> Trained:
    """Train the default detector from scratch on the whole pool; once a process for the same arguments."""
    config = Training(vertical_flip=True, seed=seed, threads=threads)
    examples = [example(one.image, one.truth) for one in load("pool")]
    model = detectors.build(FAMILY, len(CLASSES), seed)
    start = time.process_time()
    trained = training.train(model, examples, config, plan(config, iterations), on_progress=_report)
    return Trained(trained, time.process_time() - start)


@cache
def model_of_200(iterations: int, seed: int, threads: int) -> bytes:
    """The default detector trained on 200 of all images, exported. Kept in a file until anything changes that it is made of."""
    kept = _CACHE / f"bccd-200-{iterations}-{seed}-{_fingerprint()}.onnx"
    if not kept.exists():
        config = Training(vertical_flip=True, seed=seed, threads=threads)
        examples = [example(one.image, one.truth) for one in _drawn(seed)[:_TRAINED_ON]]
        model = detectors.build(FAMILY, len(CLASSES), seed)
        trained = training.train(model, examples, config, plan(config, iterations), on_progress=_report)
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}")
        partial.write_bytes(export(trained, FAMILY, shape()))
        partial.replace(kept)
    return kept.read_bytes()


def held_out_of_200(seed: int) -> tuple[Labelled, ...]:
    """The 164 images that `model_of_200` was not trained on."""
    return _drawn(seed)[_TRAINED_ON:]


def trained_on_of_200(seed: int) -> tuple[Labelled, ...]:
    """The 200 images that it was trained on."""
    return _drawn(seed)[:_TRAINED_ON]


@cache
def judged_by_200(iterations: int, seed: int, threads: int) -> Judged:
    """What `model_of_200` finds in the images it was not trained on, beside the truth."""
    predictor = Predictor(model_of_200(iterations, seed, threads), FAMILY, Prediction(), threads=threads)
    images = held_out_of_200(seed)
    return judge([predictor.detect(one.image) for one in images], [one.truth for one in images], len(CLASSES))


def _drawn(seed: int) -> tuple[Labelled, ...]:
    everything = (*load("pool"), *load("test"))
    return tuple(everything[index] for index in np.random.default_rng(seed).permutation(len(everything)))


def _fingerprint() -> str:
    """Of the code that a detector is made of."""
    folder = Path(trainer.__file__).parent
    training_modules = ("training", "learning", "optimizer", "recipe", "accumulation", "collage", "schedule", "sampling", "augment")
    others = (*training_modules, "export", "letterbox", "detectors/box_likelihood")
    files = sorted((*folder.glob("detectors/compact*.py"), *(folder / f"{name}.py" for name in others)))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _report(progress: training.Progress) -> None:
    if progress.iteration % 100 == 0:
        losses = ", ".join(f"{name} {value:.2f}" for name, value in progress.losses.items())
        print(f"iteration {progress.iteration}/{progress.iterations}: {losses}", file=sys.stderr, flush=True)
