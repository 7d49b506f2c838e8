"""A second dataset, made rather than found: six kinds of shapes, some rare, of many sizes, as four cameras see them.

    python -m tests.bench.label_efficiency.scenes DIR [--images 400] [--seed 0]

Rule: the same seed draws the same pixels. It writes `images/<camera>/…jpg` and `labels.json` in COCO's format. Cameras differ in
background, light and what passes before them; every fifth image is empty, and some follow one another as a burst of near-duplicates.
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

CLASSES = ("disc", "square", "triangle", "ring", "cross", "star")
_SHARES = (0.40, 0.27, 0.16, 0.09, 0.05, 0.03)
SIZE = (320, 240)
_CAMERAS = 4
_SIDES = (9.0, 90.0)
"""Pixels, log-uniform."""
_EMPTY = 0.2
_BURST = 0.15
_MEAN_OBJECTS = 4.0
_QUALITY = 88


@dataclass(frozen=True, slots=True)
class Thing:
    """One object: its class, centre, side and turn (radians), and its colour."""

    label: int
    centre: tuple[float, float]
    side: float
    turn: float
    colour: tuple[int, int, int]


def write(folder: Path, count: int, seed: int) -> None:
    """Draw so many images and their labels into a folder."""
    random = np.random.default_rng(seed)
    camera, things = 0, list[Thing]()
    rows: list[tuple[str, list[tuple[int, list[float]]]]] = []
    for number in range(count):
        burst = bool(rows) and random.random() < _BURST
        camera = camera if burst else int(random.integers(_CAMERAS))
        things = [_moved(thing, random) for thing in things] if burst else _things(random, camera)
        name = f"cam-{camera}/{number:05d}.jpg"
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image, boxes = _draw(things, camera, random)
        image.save(path, quality=_QUALITY)
        rows.append((name, boxes))
    (folder / "labels.json").write_text(json.dumps(_coco(rows)), "utf-8")


def _things(random: np.random.Generator, camera: int) -> list[Thing]:
    if random.random() < _EMPTY:
        return []
    # what passes before each camera differs
    shares = np.roll(_SHARES, camera) * 0.3 + np.array(_SHARES) * 0.7
    labels = random.choice(len(CLASSES), 1 + random.poisson(_MEAN_OBJECTS - 1), p=shares / shares.sum())
    return [_thing(random, int(label)) for label in labels]


def _thing(random: np.random.Generator, label: int) -> Thing:
    side = math.exp(random.uniform(math.log(_SIDES[0]), math.log(_SIDES[1])))
    centre = (float(random.uniform(0, SIZE[0])), float(random.uniform(0, SIZE[1])))
    colour = random.integers(40, 220, 3)
    return Thing(label, centre, side, float(random.uniform(0, math.tau)), (int(colour[0]), int(colour[1]), int(colour[2])))


def _moved(thing: Thing, random: np.random.Generator) -> Thing:
    across, down = random.normal(0, 2, 2)
    return Thing(thing.label, (thing.centre[0] + across, thing.centre[1] + down), thing.side, thing.turn + 0.05, thing.colour)


def _draw(things: list[Thing], camera: int, random: np.random.Generator) -> tuple[Image.Image, list[tuple[int, list[float]]]]:
    """The image, and of each object that can be seen its class and box x, y, w, h in pixels; what is covered by others stays labelled."""
    image = _background(camera, random)
    boxes = []
    for thing in things:
        mask = _mask(thing)
        image.paste(thing.colour, mask=mask)
        if (box := mask.getbbox()) and (box[2] - box[0]) * (box[3] - box[1]) >= thing.side**2 / 4:
            boxes.append((thing.label, [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]))
    noisy = np.asarray(image.filter(ImageFilter.GaussianBlur(0.7)), np.float32) + random.normal(0, 10, (SIZE[1], SIZE[0], 1))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), boxes


def _background(camera: int, random: np.random.Generator) -> Image.Image:
    """Blotches in the camera's colours, in the light of the moment."""
    fixed = np.random.default_rng(camera)
    light = random.uniform(0.6, 1.2)
    small = fixed.integers(60, 190, (6, 8, 3)) * 0.6 + random.integers(60, 190, (6, 8, 3)) * 0.4
    return Image.fromarray((small * light).clip(0, 255).astype(np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)


def _mask(thing: Thing) -> Image.Image:
    mask = Image.new("L", SIZE, 0)
    pen, radius, (x, y) = ImageDraw.Draw(mask), thing.side / 2, thing.centre
    around = (x - radius, y - radius, x + radius, y + radius)
    if CLASSES[thing.label] == "disc":
        pen.ellipse(around, fill=255)
    elif CLASSES[thing.label] == "ring":
        pen.ellipse(around, outline=255, width=max(int(radius / 3), 2))
    else:
        pen.polygon(
            [(x + radius * r * math.cos(a + thing.turn), y + radius * r * math.sin(a + thing.turn)) for r, a in _OUTLINES[thing.label]],
            fill=255,
        )
    return mask


def _regular(corners: int) -> list[tuple[float, float]]:
    return [(1.0, math.tau * corner / corners) for corner in range(corners)]


def _pointed(points: int, inner: float) -> list[tuple[float, float]]:
    return [(1.0 if corner % 2 == 0 else inner, math.pi * corner / points) for corner in range(2 * points)]


def _cross() -> list[tuple[float, float]]:
    arm, notch = math.atan2(0.3, 1), math.hypot(0.3, 0.3)
    quarter = [(1.0, -arm), (1.0, arm), (notch, math.pi / 4)]
    return [(radius, angle + math.pi / 2 * turn) for turn in range(4) for radius, angle in quarter]


_OUTLINES = {1: _regular(4), 2: _regular(3), 4: _cross(), 5: _pointed(5, 0.4)}
"""Corners of the kinds that have some: radius as a share of the half side, and angle."""


def _coco(rows: list[tuple[str, list[tuple[int, list[float]]]]]) -> dict[str, object]:
    boxes = [(image, label, box) for image, (_, found) in enumerate(rows) for label, box in found]
    return {
        "images": [{"id": i, "file_name": name, "width": SIZE[0], "height": SIZE[1]} for i, (name, _) in enumerate(rows)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
        "annotations": [
            {"id": i, "image_id": image, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for i, (image, label, box) in enumerate(boxes)
        ],
    }


def main() -> None:
    """Draw a dataset."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.label_efficiency.scenes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write(options.folder, options.images, options.seed)


if __name__ == "__main__":
    main()
