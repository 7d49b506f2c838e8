"""How torchvision's detectors find boxes, with tensors of fixed shape, so that the whole way exports for any number of images.

Rule: the same boxes that torchvision finds. It drops what it does not want, so that shapes follow from the image; here everything keeps
its place, and what does not count is marked. Boxes are corners (..., 4) in pixels of the input.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import roi_align

SWEEPS = 24
"""How long a chain of boxes of which each suppresses the next `suppressed` follows to its end."""

_LARGEST_GROWTH = math.log(1000 / 16)
"""Of a side over its anchor's, as a logarithm; torchvision's own limit."""
_CANONICAL_SIDE = 224.0
_CANONICAL_LEVEL = 4
_LEVELS = (2, 5)
"""Logarithms of the strides of the finest and the coarsest level that regions are cut out of (Lin et al. 2017)."""


class Normalise(nn.Module):
    """Images RGB 0..255 as the backbones know them from ImageNet."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", (123.675, 116.28, 103.53)), ("std", (58.395, 57.12, 57.375))):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) of mean 0 and standard deviation 1, about."""
        return torch.addcmul(-self.mean / self.std, images, 1 / self.std)


def by_anchor(outputs: Tensor, values: int) -> Tensor:
    """From (..., anchors of a point · values, H, W) to (..., H · W · anchors of a point, values)."""
    outputs = outputs.unflatten(-3, (-1, values))
    return outputs.movedim((-2, -1), (-4, -3)).flatten(-4, -2)


def anchors(generator: AnchorGenerator, images: Tensor, levels: Sequence[Tensor]) -> list[Tensor]:
    """The anchors (A, 4) of each level, row by row, the same for every image: torchvision's, but float32 whatever the levels are."""
    kinds = zip(levels, generator.sizes, generator.aspect_ratios, strict=True)
    return [
        _level_anchors(generator.generate_anchors(sizes, ratios, device=images.device), images, level) for level, sizes, ratios in kinds
    ]


def _level_anchors(cell: Tensor, images: Tensor, level: Tensor) -> Tensor:
    rows, columns = (torch.arange(level.shape[axis], device=cell.device) * (images.shape[axis] // level.shape[axis]) for axis in (2, 3))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return (torch.stack([x, y, x, y], -1)[:, :, None] + cell).flatten(0, 2)


def decoded(codes: Tensor, reference: Tensor) -> Tensor:
    """Boxes of log-encoded codes dx, dy, dw, dh (Girshick 2015), in shares of their anchor or region."""
    low, high = reference[..., :2], reference[..., 2:]
    centre = codes[..., :2] * (high - low) + (low + high) / 2
    half = codes[..., 2:].clamp(max=_LARGEST_GROWTH).exp() * (high - low) / 2
    return torch.cat([centre - half, centre + half], -1)


def clipped(boxes: Tensor, images: Tensor) -> Tensor:
    """The part of each box that lies in the images."""
    x, y = boxes[..., 0::2].clamp(0, images.shape[3]), boxes[..., 1::2].clamp(0, images.shape[2])
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1)


def has_sides(boxes: Tensor, least: float) -> Tensor:
    """Which boxes (...,) are at least so wide and high."""
    return (boxes[..., 2:] - boxes[..., :2] >= least).all(-1)


def kept(boxes: Tensor, alive: Tensor, iou: float, labels: Tensor | None = None) -> Tensor:
    """Greedy non-maximum suppression of boxes (..., N, 4), most confident first: which of those alive (..., N) stay, True or False.

    A box goes when one that stays, of its own label where there are labels (..., N), overlaps it by more than `iou`. All boxes are decided
    at once, again and again, each by what was decided of those before it; so a decision is final as soon as those are which it hangs on,
    and after `SWEEPS` times all are, but at the end of chains of more boxes of which each suppresses the next (Cluster-NMS, Zheng et al.
    2021). Such a box may stay, or go, wrongly.
    """
    suppresses = torch.triu(_iou(boxes) > iou, 1)
    if labels is not None:
        suppresses = suppresses & (labels[..., :, None] == labels[..., None, :])
    by_those_before, count = suppresses.float().transpose(-2, -1), alive.float()[..., None]
    stays = count
    for _ in range(SWEEPS):
        # as numbers, 1 for a box that stays: few and plain operations, since a graph holds every sweep
        stays = functional.relu(count - torch.matmul(by_those_before, stays))
    return stays[..., 0] > 0


def _iou(boxes: Tensor) -> Tensor:
    """Of every box with every other (..., N, N); 0 where both have no area."""
    first, second = boxes[..., :, None, :], boxes[..., None, :, :]
    sides = (torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])).clamp(min=0)
    overlap = sides[..., 0] * sides[..., 1]
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return overlap / (area[..., :, None] + area[..., None, :] - overlap).clamp(min=1e-9)


def picked(values: Tensor, index: Tensor) -> Tensor:
    """Of values (B, N, ...) those at index (B, M): (B, M, ...)."""
    first = torch.arange(values.shape[0], device=index.device)[:, None] * values.shape[1]
    rows = torch.index_select(values.flatten(0, 1), 0, (index + first).flatten())
    return rows.reshape(*index.shape, *values.shape[2:])


def own(values: Tensor, index: Tensor) -> Tensor:
    """Of values (..., N, C, V), or (..., N, C), the one of its own among the C of each, index (..., N): (..., N, V), or (..., N)."""
    if values.ndim == index.ndim + 1:
        return torch.gather(values, -1, index[..., None])[..., 0]
    return torch.gather(values, -2, index[..., None, None].expand(*index.shape, 1, values.shape[-1]))[..., 0, :]


def pooled(levels: Sequence[Tensor], boxes: Tensor, size: int, sampling: int) -> Tensor:
    """RoIAlign (He et al. 2017) of boxes (B, K, 4), each out of the level that suits its size: (B · K, F, size, size).

    Each is cut out of all levels, finest first, and all but one are thrown away: which it is depends on the image, shapes must not.
    """
    image = torch.arange(boxes.shape[0], device=boxes.device, dtype=boxes.dtype)[:, None, None].expand(-1, boxes.shape[1], 1)
    regions = torch.cat([image, boxes], 2).flatten(0, 1)
    level = _level(regions[:, 1:])
    cut = torch.zeros((), device=boxes.device)
    for number, features in enumerate(levels):
        scale = 2.0 ** -(_LEVELS[0] + number)
        one = roi_align(features, regions, (size, size), scale, sampling)
        cut = cut + torch.where((level == number)[:, None, None, None], one, 0.0)
    return cut


def _level(boxes: Tensor) -> Tensor:
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    # torchvision adds the last term, so that a box of just the right size belongs to the coarser level
    level = torch.floor(_CANONICAL_LEVEL + torch.log2(area.sqrt() / _CANONICAL_SIDE) + 1e-6)
    return level.clamp(*_LEVELS) - _LEVELS[0]


def pairs(scores: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of class scores (B, N, C) the best, at most `limit`: these, most confident first, and the row and the class of each, (B, M)."""
    # none of the best is in a row whose own best is not among the best, and sorting all is slow
    rows = scores.amax(2).topk(min(limit, scores.shape[1])).indices
    some = picked(scores, rows).flatten(1)
    best, index = some.topk(min(limit, some.shape[1]))
    return best, picked(rows, index // scores.shape[2]), index % scores.shape[2]


def patches(levels: Sequence[Tensor], points: Tensor) -> Tensor:
    """The features that a kernel of 3 x 3 covers at some points (B, M) of all levels, level by level, row by row: (B, M, 9, F), row by row,
    nothing beyond the edges."""
    padded = torch.cat([functional.pad(level, (1, 1, 1, 1)).flatten(2) for level in levels], 2).transpose(1, 2)
    around = _around(levels).to(points.device)[points]
    return picked(padded, around.flatten(1)).unflatten(1, around.shape[1:])


def _around(levels: Sequence[Tensor]) -> Tensor:
    """For every point the places (P, 9) of itself and its neighbours among all points of padded levels."""
    places, start = [], 0
    for height, width in (level.shape[2:] for level in levels):
        corner = torch.arange(height)[:, None] * (width + 2) + torch.arange(width)
        offsets = torch.arange(3)[:, None] * (width + 2) + torch.arange(3)
        places.append(start + corner.flatten()[:, None] + offsets.flatten())
        start += (height + 2) * (width + 2)
    return torch.cat(places)
