"""How the compact detector learns: which grid points answer for which object, and what their answers cost.

Task-aligned assignment (TOOD, Feng et al. 2021), varifocal classification (Zhang et al. 2021), GIoU (Rezatofighi et al. 2019) and
the likelihood of the four sides (`box_likelihood`). Shapes: B images, A grid points, C classes, G objects.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainer.detectors import Targets, box_likelihood

_TOP_POINTS = 10
_SCORE_POWER = 0.5
_IOU_POWER = 4.0
_BOX_WEIGHT = 2.0
_LIKELIHOOD_WEIGHT = 0.1
_NEGATIVE_WEIGHT = 0.75


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """The grid: `centres` (A, 2) in input pixels and `strides` (A,)."""

    centres: Tensor
    strides: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """For every point (B, A): the index of its object, whether it has one, and the score it should give (0 for background)."""

    target: Tensor
    positive: Tensor
    quality: Tensor


def losses(
    logits: Tensor, distances: Tensor, log_scales: Tensor, points: Points, targets: Targets, assigned: Assignment, likelihood: str
) -> dict[str, Tensor]:
    """The weighted terms `classes`, `boxes` and `sides`, each divided by the batch's sum of target scores (at least 1).

    `likelihood` is one of `settings.LIKELIHOODS`.
    """
    boxes = _corners(points, distances)
    norm = assigned.quality.sum().clamp(min=1)
    positive = assigned.positive
    weight = assigned.quality[positive]
    truth = torch.gather(targets.boxes, 1, assigned.target[..., None].expand_as(boxes))[positive]
    image, point = positive.nonzero(as_tuple=True)
    errors = _side_errors(distances[image, point], truth, points.centres[point]) / points.strides[point, None]
    sides = box_likelihood.nll(likelihood, errors, log_scales[image, point]).mean(-1)
    return {
        "classes": _varifocal(logits, assigned, targets) / norm,
        "boxes": _BOX_WEIGHT * ((1 - giou(boxes[image, point], truth)) * weight).sum() / norm,
        "sides": _LIKELIHOOD_WEIGHT * (sides * weight).sum() / norm,
    }


def assigned_now(logits: Tensor, distances: Tensor, points: Points, targets: Targets) -> Assignment:
    """The assignment by what the points say now."""
    return assign(logits.detach().sigmoid(), _corners(points, distances.detach()), points.centres, targets)


def _corners(points: Points, distances: Tensor) -> Tensor:
    return torch.cat([points.centres - distances[..., :2], points.centres + distances[..., 2:]], -1)


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, centres: Tensor, targets: Targets) -> Assignment:
    """Give each object the 10 points inside its box that agree best with it: score^0.5 · IoU^4.

    `scores` (B, A, C) and `boxes` (B, A, 4) are what the points say now. A point wanted by several objects goes to the one it
    overlaps most. Its target score is its agreement, scaled so that the object's best point gets the object's best IoU.
    """
    offsets = torch.cat([centres - targets.boxes[:, :, None, :2], targets.boxes[:, :, None, 2:] - centres], -1)
    inside = (offsets.amin(-1) > 1e-3) & targets.valid[:, :, None]
    overlap = iou(boxes[:, None], targets.boxes[:, :, None]) * inside
    score = torch.gather(scores.transpose(1, 2), 1, targets.labels[:, :, None].expand_as(overlap))
    agreement = (score**_SCORE_POWER * overlap**_IOU_POWER + _nearness(offsets)) * inside
    chosen = _one_object_a_point(_top_points(agreement) & inside, overlap + 1e-9 * agreement)
    agreement = agreement * chosen
    best = agreement.amax(2, keepdim=True)
    quality = (agreement / (best + 1e-12) * (overlap * chosen).amax(2, keepdim=True)).amax(1)
    return Assignment(chosen.int().argmax(1), chosen.any(1), quality)


def _nearness(offsets: Tensor) -> Tensor:
    # while no box overlaps its object yet, the points nearest the object's centre learn it
    off_centre = (offsets[..., :2] - offsets[..., 2:]).abs().sum(-1)
    return 1e-9 / (1 + off_centre)


def _top_points(agreement: Tensor) -> Tensor:
    best, index = agreement.topk(min(_TOP_POINTS, agreement.shape[2]), 2)
    return torch.zeros_like(agreement, dtype=torch.bool).scatter_(2, index, best > 0)


def _one_object_a_point(wanted: Tensor, overlap: Tensor) -> Tensor:
    contested = wanted.sum(1, keepdim=True) > 1
    winner = torch.zeros_like(wanted).scatter_(1, overlap.argmax(1, keepdim=True), True)
    return torch.where(contested, winner, wanted)


def _varifocal(logits: Tensor, assigned: Assignment, targets: Targets) -> Tensor:
    label = torch.gather(targets.labels, 1, assigned.target)
    wanted = torch.zeros_like(logits).scatter_(2, label[..., None], assigned.quality[..., None])
    weight = torch.where(wanted > 0, wanted, _NEGATIVE_WEIGHT * logits.detach().sigmoid() ** 2)
    return (functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * weight).sum()


def _side_errors(distances: Tensor, truth: Tensor, centres: Tensor) -> Tensor:
    return distances - torch.cat([centres - truth[:, :2], truth[:, 2:] - centres], -1)


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of corners (…, 4), broadcast."""
    overlap, union = _overlap_and_union(first, second)
    return overlap / union


def giou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU of corners (…, 4), broadcast: IoU less the share of the enclosing box that neither covers."""
    overlap, union = _overlap_and_union(first, second)
    hull = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2])
    hull_area = _product(hull.clamp(min=0)) + 1e-7
    return overlap / union - (hull_area - union) / hull_area


def _overlap_and_union(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    corner = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
    overlap = _product(corner.clamp(min=0))
    return overlap, _area(first) + _area(second) - overlap + 1e-7


def _area(boxes: Tensor) -> Tensor:
    return _product(boxes[..., 2:] - boxes[..., :2])


def _product(sides: Tensor) -> Tensor:
    # `prod` would do, but its gradient is slow
    return sides[..., 0] * sides[..., 1]
