"""Drawn shapes whose every pixel is known, for whatever learns, compares or hands on masks.

Rule: a scene follows from its seed. What is drawn later covers what is there; an object's mask is what is left to see of it, its box is
around that, and one that is nearly gone is not drawn at all.
"""

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from activelearning.labels import ImageLabels, box_from_pixels
from trainer import run_lengths
from trainer.training import Example

CLASSES = ("disc", "triangle", "cross")
_COLOURS = np.array([(200, 70, 60), (60, 180, 90), (70, 90, 210)])
_LEAST_VISIBLE = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """`pixels` (H, W, 3) uint8, `masks` (G, H, W) bool, `class_id` (G,)."""

    pixels: np.ndarray
    masks: np.ndarray
    class_id: np.ndarray

    @property
    def xyxy(self) -> np.ndarray:
        """Corners (G, 4) float32 around each mask."""
        bounds = [(*(axis.min() for axis in where), *(axis.max() + 1 for axis in where)) for where in map(np.nonzero, self.masks)]
        return np.array([(left, top, right, bottom) for top, left, bottom, right in bounds], np.float32).reshape(-1, 4)


@cache
def draw(seed: int, size: tuple[int, int], objects: int = 4) -> Drawing:
    """A noisy image of `size` (w, h) with at most so many shapes, a tenth to a quarter of its shorter side in radius."""
    random = np.random.default_rng(seed)
    width, height = size
    pixels = random.uniform(90, 160) + random.normal(0, 12, (height, width, 3))
    labels, masks = [], []
    for _ in range(objects):
        label = int(random.integers(len(CLASSES)))
        mask = _shape(random, label, size)
        hidden = [(one & ~mask).sum() < _LEAST_VISIBLE * one.sum() for one in masks]
        if any(hidden):
            continue
        masks = [one & ~mask for one in masks] + [mask]
        labels.append(label)
        pixels[mask] = _COLOURS[label] + random.normal(0, 15, 3) + random.normal(0, 12, (int(mask.sum()), 3))
    return Drawing(pixels.clip(0, 255).astype(np.uint8), np.stack(masks), np.array(labels))


def _shape(random: np.random.Generator, label: int, size: tuple[int, int]) -> np.ndarray:
    radius = random.uniform(1 / 10, 1 / 4) * min(size)
    x, y = (random.uniform(radius + 1, side - radius - 1) for side in size)
    canvas = Image.new("1", size)
    pen = ImageDraw.Draw(canvas)
    if CLASSES[label] == "disc":
        pen.ellipse((x - radius, y - radius * 0.8, x + radius, y + radius * 0.8), fill=1)
    elif CLASSES[label] == "triangle":
        pen.polygon(_turned(x, y, radius, random.uniform(0, 360), 3), fill=1)
    else:
        arm = radius / 3
        pen.rectangle((x - radius, y - arm, x + radius, y + arm), fill=1)
        pen.rectangle((x - arm, y - radius, x + arm, y + radius), fill=1)
    return np.array(canvas)


def _turned(x: float, y: float, radius: float, degrees: float, corners: int) -> list[tuple[float, float]]:
    angles = np.radians(degrees) + np.arange(corners) * 2 * np.pi / corners
    return [(x + radius * np.cos(angle), y + radius * np.sin(angle)) for angle in angles]


def example(seed: int, size: tuple[int, int], objects: int = 4) -> Example:
    """The scene as training sees it."""
    drawn = draw(seed, size, objects)
    return Example(drawn.pixels, drawn.xyxy, drawn.class_id, tuple(map(run_lengths.of_pixels, drawn.masks)))


def labels(seed: int, name: str, size: tuple[int, int], objects: int = 4) -> ImageLabels:
    """The scene as a person labels it."""
    drawn = draw(seed, size, objects)
    boxes = (
        box_from_pixels(CLASSES[label], tuple(corners), *size, mask=run_lengths.of_pixels(mask))
        for label, corners, mask in zip(drawn.class_id.tolist(), drawn.xyxy.tolist(), drawn.masks, strict=True)
    )
    return ImageLabels(name, *size, tuple(boxes))


def png(seed: int, size: tuple[int, int], objects: int = 4) -> bytes:
    """The scene as an image file."""
    out = io.BytesIO()
    Image.fromarray(draw(seed, size, objects).pixels).save(out, "PNG")
    return out.getvalue()
