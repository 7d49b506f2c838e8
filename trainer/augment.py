"""Random changes of a training batch: size, place, mirror, light. Boxes and masks follow.

Rule: everything random comes from the generator handed in, so a batch can be drawn again. Boxes are moved by themselves, not drawn anew
around their moved masks: those are whole pixels, and a person's box may be meant otherwise than its mask's bounds.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn import functional

from activelearning.settings import Training
from trainer.detectors import Targets
from trainer.letterbox import FILL

_ZOOM = (0.7, 1.4)
_ASPECT = 0.1
_MIN_SHIFT = 0.1
_GAIN = (0.75, 1.3)
_CHANNEL_GAIN = (0.9, 1.1)
_BRIGHTNESS = 15.0
_MIN_VISIBLE = 0.35
"""A box of which less is left inside the image no longer counts as an object."""
_MIN_SIDE = 3.0
"""Pixels; a box narrower than that no longer counts as an object."""


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """Per image new = `scale` · old + `shift`, each (B, 2) for x and y; -1..1 spans the image, a negative scale mirrors."""

    scale: Tensor
    shift: Tensor


def augment(
    images: Tensor, targets: Targets, config: Training, generator: Generator, size: tuple[int, int] | None = None
) -> tuple[Tensor, Targets]:
    """Change each image (B, 3, H, W), float 0..255, in its own way; returns it with its targets, shrunk to `size` (W, H) if given."""
    moves = _draw_affine(len(images), config, generator)
    before = (images.shape[3], images.shape[2])
    moved = _resize_boxes(move_boxes(targets, moves, before), before, size or before)
    if targets.masks is not None:
        moved = replace(moved, masks=move_masks(targets.masks, moves, size or before) & moved.valid[:, :, None, None])
    return _relight(_warp(images, moves, size or before), generator), moved


def _draw_affine(count: int, config: Training, generator: Generator) -> Affine:
    zoom = _uniform((count, 1), math.log(_ZOOM[0]), math.log(_ZOOM[1]), generator).exp()
    aspect = _uniform((count, 1), -_ASPECT, _ASPECT, generator).exp()
    mirror = _mirror(count, config, generator)
    reach = (zoom - 1).abs().clamp(min=_MIN_SHIFT)
    return Affine(torch.cat([zoom * aspect, zoom / aspect], 1) * mirror, _uniform((count, 2), -1, 1, generator) * reach)


def _mirror(count: int, config: Training, generator: Generator) -> Tensor:
    allowed = torch.tensor([config.horizontal_flip, config.vertical_flip])
    flipped = (torch.rand(count, 2, generator=generator) < 0.5) & allowed
    return 1 - 2 * flipped.float()


def move_boxes(targets: Targets, moves: Affine, size: tuple[int, int]) -> Targets:
    """The boxes after the moves, clipped to the image of `size` (w, h); what has mostly left it is no longer valid."""
    bound = torch.tensor(size, dtype=torch.float32)
    scale, shift = moves.scale[:, None, None], moves.shift[:, None, None]
    corners = targets.boxes.unflatten(2, (2, 2)) / bound * 2 - 1
    corners = ((corners * scale + shift) + 1) / 2 * bound
    whole = torch.cat([corners.amin(2), corners.amax(2)], 2)
    clipped = torch.cat([torch.minimum(corner.clamp(min=0), bound) for corner in whole.split(2, 2)], 2)
    return Targets(clipped, targets.labels, targets.valid & _still_visible(whole, clipped))


def move_masks(masks: Tensor, moves: Affine, size: tuple[int, int]) -> Tensor:
    """The masks (B, G, H, W) bool after the moves, at `size` (w, h): each pixel as the nearest one before, outside of the image empty."""
    before = (masks.shape[3], masks.shape[2])
    moved = torch.zeros((*masks.shape[:2], size[1], size[0]), dtype=torch.bool)
    # there is no rotation, so rows and columns are picked, image by image: no float of this size is ever made
    columns, rows = (((_way_back(moves, axis, size[axis]) + 1) / 2 * before[axis]).floor().long() for axis in (0, 1))
    for image, (x, y) in enumerate(zip(columns, rows, strict=True)):
        inside_x, inside_y = ((at >= 0) & (at < side) for at, side in ((x, before[0]), (y, before[1])))
        picked = masks[image][:, y.clamp(0, before[1] - 1)][:, :, x.clamp(0, before[0] - 1)]
        moved[image] = picked & (inside_y[:, None] & inside_x)
    return moved


def _resize_boxes(targets: Targets, before: tuple[int, int], after: tuple[int, int]) -> Targets:
    scale = torch.tensor([after[0] / before[0], after[1] / before[1]] * 2)
    return Targets(targets.boxes * scale, targets.labels, targets.valid)


def _still_visible(whole: Tensor, clipped: Tensor) -> Tensor:
    before, after = whole[..., 2:] - whole[..., :2], clipped[..., 2:] - clipped[..., :2]
    return (after.prod(-1) > _MIN_VISIBLE * before.prod(-1)) & (after > _MIN_SIDE).all(-1)


def _warp(images: Tensor, moves: Affine, size: tuple[int, int]) -> Tensor:
    """The images, less the padding's grey, at their new places, with (W, H) pixels."""
    # `grid_sample` wants the way back, from the new place to the old; without rotation rows and columns are apart
    columns, rows = (_way_back(moves, axis, size[axis]) for axis in (0, 1))
    places = torch.stack([columns[:, None, :].expand(-1, size[1], -1), rows[:, :, None].expand(-1, -1, size[0])], -1)
    return functional.grid_sample(images - FILL, places.to(images.device), align_corners=False)


def _way_back(moves: Affine, axis: int, size: int) -> Tensor:
    """For each image and pixel centre of an axis, where it was before: (B, size)."""
    centres = (torch.arange(size) * 2 + 1) / size - 1
    return (centres - moves.shift[:, axis : axis + 1]) / moves.scale[:, axis : axis + 1]


def _relight(images: Tensor, generator: Generator) -> Tensor:
    """Put the grey back, and change gain and brightness."""
    count = len(images)
    gain = _uniform((count, 1, 1, 1), *_GAIN, generator) * _uniform((count, 3, 1, 1), *_CHANNEL_GAIN, generator)
    brightness = _uniform((count, 1, 1, 1), -_BRIGHTNESS, _BRIGHTNESS, generator)
    return torch.addcmul((FILL * gain + brightness).to(images.device), images, gain.to(images.device)).clamp_(0, 255)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: Generator) -> Tensor:
    return torch.empty(shape).uniform_(low, high, generator=generator)
