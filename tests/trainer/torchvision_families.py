"""Toy-sized detectors of torchvision's families that have seen a few scenes, and torchvision's own answers to compare theirs with."""

import copy
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from activelearning.settings import Prediction
from tests.trainer import scenes
from trainer import detections, detectors, run_lengths
from trainer.detections import Detections
from trainer.detectors import Targets, pad_targets
from trainer.monte_carlo import draw_masks
from trainer.training import Example

SETTINGS = Prediction()


def outlined(seed: int, objects: int = 3) -> Example:
    """A scene whose objects are ellipses, with their outlines."""
    plain = scenes.scene(seed, objects)
    pixels, inside = plain.pixels.copy(), [_ellipse(box) for box in plain.boxes]
    for one in inside:
        corner = (~one) & _box(one)
        pixels[corner] = 115
    return Example(pixels, plain.boxes, plain.labels, tuple(run_lengths.of_patch(one, (0, 0), scenes.SIZE) for one in inside))


def _ellipse(box: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: scenes.SIZE[1], : scenes.SIZE[0]] + 0.5
    return np.asarray(
        (2 * x - box[0] - box[2]) ** 2 / (box[2] - box[0]) ** 2 + (2 * y - box[1] - box[3]) ** 2 / (box[3] - box[1]) ** 2 <= 1
    )


def _box(inside: np.ndarray) -> np.ndarray:
    return np.logical_and.outer(inside.any(1), inside.any(0))


def images(examples: Sequence[Example]) -> Tensor:
    """(B, 3, H, W) RGB 0..255."""
    return torch.from_numpy(np.stack([one.pixels for one in examples])).permute(0, 3, 1, 2).float()


def targets(examples: Sequence[Example]) -> Targets:
    """With masks, of objects that are ellipses."""
    plain = pad_targets([one.boxes for one in examples], [one.labels for one in examples])
    masks = torch.zeros(*plain.labels.shape, scenes.SIZE[1], scenes.SIZE[0], dtype=torch.bool)
    for row, one in enumerate(examples):
        for column, box in enumerate(one.boxes):
            masks[row, column] = torch.from_numpy(_ellipse(box))
    return Targets(plain.boxes, plain.labels, plain.valid, masks)


def steps(model: nn.Module, examples: Sequence[Example], count: int) -> list[float]:
    """So many steps on the same images, in the same random state each; the sums of the losses."""
    torch.set_num_threads(1)
    batch, truth, sums = images(examples), targets(examples), []
    optimiser = torch.optim.AdamW(model.train().parameters(), 1e-3)
    for _ in range(count):
        torch.manual_seed(0)
        total = sum(model.losses(batch, truth).values())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        sums.append(total.item())
    return sums


@cache
def trained(name: str, count: int = 25) -> nn.Module:
    """One that has learned enough of four scenes to be sure of something."""
    model = detectors.build(name, len(scenes.CLASSES), 0, tiny=True)
    steps(model, [outlined(seed) for seed in range(4)], count)
    return model.eval()


def found(name: str, model: nn.Module, batch: Tensor, samples: int = 1) -> list[Detections]:
    """What the exported way finds."""
    family = detectors.family(name)
    masks = draw_masks(family.masks, samples, family.dropout)
    with torch.inference_mode():
        outputs = model(batch, *(torch.from_numpy(one) for one in masks.values()))
    return family.decode([one.numpy() for one in outputs], scenes.SIZE, SETTINGS)


def by_torchvision(model: nn.Module, batch: Tensor) -> list[dict[str, np.ndarray]]:
    """What torchvision's own forward finds, with the same thresholds."""
    network = copy.deepcopy(model.network).eval()
    network.transform = _AsTheyAre(scenes.SIZE[1], scenes.SIZE[0], [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    judge = network.roi_heads if hasattr(network, "roi_heads") else network
    judge.score_thresh, judge.nms_thresh, judge.detections_per_img = SETTINGS.min_confidence, SETTINGS.nms_iou, SETTINGS.max_detections
    with torch.inference_mode():
        return [{name: value.numpy() for name, value in one.items()} for one in network(list(batch / 255))]


def same(ours: Detections, theirs: dict[str, np.ndarray], first_label: int) -> bool:
    """Whether both are the same set: each of one has its own partner in the other."""
    overlap = detections.box_iou(ours.xyxy, theirs["boxes"])
    agree = (overlap > 0.99) & (ours.class_id[:, None] + first_label == theirs["labels"][None])
    agree &= np.abs(ours.confidence[:, None] - theirs["scores"][None]) < 1e-3
    return len(ours) == len(theirs["boxes"]) and bool(agree.any(0).all() and agree.any(1).all())


class _AsTheyAre(GeneralizedRCNNTransform):
    """Images are of the right size already, and masks stay grids."""

    def postprocess(self, result, image_shapes, original_image_sizes):
        return result
