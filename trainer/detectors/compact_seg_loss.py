"""How far a compact detector's masks are from the truth, compared where each object is.

Rule: what a mask costs does not grow with the image: prototypes and truth are read at the same lattice of places over the object's box and
its surroundings, another one in every step. Binary cross-entropy (YOLACT, Bolya et al. 2019) and soft Dice (Milletari et al. 2016).
"""

import torch
from torch import Tensor
from torch.nn import functional

from trainer.detectors import Targets
from trainer.detectors.compact_loss import Assignment

_PLACES = 28
"""Places of the lattice in each direction."""
_AROUND = 0.15
"""Share of the box's sides that is looked at beyond each of them, so that the mask learns to end there."""
_AROUND_PIXELS = 6.0
_MOST = 100
"""So many points of an image are compared at most, those of the highest quality."""
_WEIGHT = 1.0


def loss(prototypes: Tensor, coefficients: Tensor, targets: Targets, assigned: Assignment) -> Tensor:
    """The mean over the points with an object that has a mask, by their quality, of cross-entropy plus one less Dice.

    `prototypes` (B, P, h, w), `coefficients` (B, A, P). Raises `ValueError` without any masks in the targets.
    """
    if targets.masks is None:
        raise ValueError("masks cannot be learned from targets without masks")
    drawn = targets.masks.flatten(2).any(2)
    parts = [
        _of_image(*one) for one in zip(prototypes, coefficients, targets.boxes, targets.masks, *_of_masked(assigned, drawn), strict=True)
    ]
    errors, weights = (torch.cat(each) for each in zip(*parts, strict=True))
    return _WEIGHT * (errors * weights).sum() / weights.sum().clamp(min=1)


def _of_masked(assigned: Assignment, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """For every point (B, A) its object, and its quality, 0 where the object has no mask."""
    has = torch.gather(drawn, 1, assigned.target) & assigned.positive
    return assigned.target, assigned.quality * has


def _of_image(
    prototypes: Tensor, coefficients: Tensor, boxes: Tensor, masks: Tensor, target: Tensor, quality: Tensor
) -> tuple[Tensor, Tensor]:
    """Error and weight of each compared point, (N,) both."""
    weight, point = quality.topk(min(_MOST, len(quality)))
    point, weight = point[weight > 0], weight[weight > 0]
    places = _lattices(boxes[target[point]])
    read = functional.grid_sample(prototypes[None], _spanning(places, masks).flatten(0, 1)[None], align_corners=False)[0]
    logits = torch.einsum("np,pnyx->nyx", coefficients[point], read.unflatten(1, (len(point), _PLACES)))
    truth = _truth(masks, target[point], places)
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2))
    return entropy + 1 - _dice(logits.sigmoid(), truth), weight


@torch.no_grad()
def _lattices(boxes: Tensor) -> Tensor:
    """Places x, y in input pixels over N boxes and what is around them, shifted at random by up to half a step, (N, 28, 28, 2)."""
    sides = boxes[:, 2:] - boxes[:, :2]
    around = (sides * _AROUND).clamp(min=_AROUND_PIXELS)
    low, whole = boxes[:, :2] - around, sides + 2 * around
    steps = torch.arange(_PLACES, device=boxes.device) + torch.rand(len(boxes), 2, 1, device=boxes.device)
    x, y = (low[:, :, None] + whole[:, :, None] * steps / _PLACES).unbind(1)
    return torch.stack([x[:, None, :].expand(-1, _PLACES, -1), y[:, :, None].expand(-1, -1, _PLACES)], -1)


def _spanning(places: Tensor, masks: Tensor) -> Tensor:
    """The places with -1..1 spanning the input."""
    return places / torch.tensor([masks.shape[2], masks.shape[1]], device=places.device) * 2 - 1


def _truth(masks: Tensor, target: Tensor, places: Tensor) -> Tensor:
    """The masks (G, H, W) of N objects at their places (N, 28, 28, 2); nothing outside of the input."""
    x, y = places.floor().long().unbind(-1)
    height, width = masks.shape[1:]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return (masks[target[:, None, None], y.clamp(0, height - 1), x.clamp(0, width - 1)] & inside).float()


def _dice(found: Tensor, truth: Tensor) -> Tensor:
    """Soft Dice of N masks, 0..1; the squares in the denominator (Milletari et al. 2016)."""
    shared = 2 * (found * truth).sum((1, 2))
    return (shared + 1) / ((found**2).sum((1, 2)) + (truth**2).sum((1, 2)) + 1)
