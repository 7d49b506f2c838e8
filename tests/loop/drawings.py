"""A folder of drawn images of one class and very different sizes, with COCO labels, as a stranger might bring it."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

_SIZES = ((160, 120), (64, 128), (320, 200), (33, 47))


def draw(folder: Path, count: int) -> None:
    """Write `images/` (nested folders, repeated names, spaces, an empty image) and `labels.json`."""
    chance = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(count):
        name = f"site {number % 3}/né_{number // 3:02d}.jpg"
        width, height = _SIZES[number % len(_SIZES)]
        pixels = chance.integers(90, 120, (height, width, 3), dtype=np.uint8)
        images.append({"id": number + 1, "file_name": name, "width": width, "height": height})
        for _ in range(0 if number == 5 else 2):
            x, y, w, h = _place(chance, width, height)
            pixels[y : y + h, x : x + w] = (230, 60, 40)
            box = {"bbox": [x, y, w, h], "area": w * h, "iscrowd": 0, "segmentation": []}
            annotations.append({"id": len(annotations) + 1, "image_id": number + 1, "category_id": 1, **box})
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=95)
    labels = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "red-thing"}]}
    (folder / "labels.json").write_text(json.dumps(labels), "utf-8")


def _place(chance: np.random.Generator, width: int, height: int) -> tuple[int, int, int, int]:
    side = min(width, height) // 3
    return int(chance.integers(0, width - side)), int(chance.integers(0, height - side)), side, side
