"""The bundled blood-cell images (BCCD) as the benchmarks use them: pool and test split, and a detector trained on the whole pool."""

import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torch import nn

from activelearning.formats import voc
from activelearning.settings import Detector, Training
from trainer import detectors, training
from trainer.ground_truth import GroundTruth, example, ground_truth
from trainer.letterbox import DetectorImage, input_size, read_image

DATA = Path(__file__).parents[2] / "demo" / "data" / "bccd"
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
    trained = training.train(model, examples, config, iterations=iterations, learning_rate=config.learning_rate, on_progress=_report)
    return Trained(trained, time.process_time() - start)


def _report(progress: training.Progress) -> None:
    if progress.iteration % 100 == 0:
        losses = ", ".join(f"{name} {value:.2f}" for name, value in progress.losses.items())
        print(f"iteration {progress.iteration}/{progress.iterations}: {losses}", file=sys.stderr, flush=True)
