"""Small drawn scenes whose truth is known, and a detector trained on them, for the tests of training, export and prediction."""

from functools import cache

import numpy as np
from torch import nn

from activelearning.settings import Training
from trainer import detectors, export, training
from trainer.recipe import Plan
from trainer.training import Example

CLASSES = ("square", "bar")
SIZE = (128, 96)
CONFIG = Training(batch_size=4, threads=1, checkpoint_every=1000)
_COLOURS = np.array([[220, 60, 40], [40, 80, 220]], np.uint8)
_SIDES = ((24, 24), (40, 16))


def scene(seed: int, objects: int = 3) -> Example:
    """Red squares and blue bars, one to each third of a grey noisy image."""
    random = np.random.default_rng(seed)
    pixels = random.integers(100, 130, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    labels = random.integers(0, 2, objects)
    boxes = np.array([_place(random, column, label) for column, label in enumerate(labels)], np.float32).reshape(-1, 4)
    for (xmin, ymin, xmax, ymax), label in zip(boxes.astype(int), labels, strict=True):
        pixels[ymin:ymax, xmin:xmax] = _COLOURS[label]
    return Example(pixels, boxes, labels)


def _place(random: np.random.Generator, column: int, label: int) -> list[float]:
    width, height = _SIDES[label]
    left = column * 43 + int(random.integers(0, 43 - width + 1))
    top = int(random.integers(0, SIZE[1] - height))
    return [left, top, left + width, top + height]


@cache
def scenes(count: int = 8) -> tuple[Example, ...]:
    """The training set of `trained`."""
    return tuple(scene(seed) for seed in range(count))


@cache
def trained() -> nn.Module:
    """A compact detector that has learned the eight scenes by heart."""
    model = detectors.build("compact", len(CLASSES), seed=0)
    return training.train(model, scenes(), CONFIG, Plan(150, 2e-3))


@cache
def onnx() -> bytes:
    """`trained` as ONNX."""
    return export.export(trained(), "compact", SIZE)
