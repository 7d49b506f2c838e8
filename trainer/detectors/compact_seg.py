"""The compact detector with masks: prototypes of the image, and for each box how to mix them (YOLACT, Bolya et al. 2019).

Every grid point predicts P coefficients beside its box, and the image has P prototypes at a quarter of its size. A box's mask is the
sigmoid of the prototypes' sum, each times its coefficient, cropped to the box. So a mask costs one product, and only kept boxes have one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from activelearning.errors import UserError
from activelearning.settings import Prediction
from trainer.detections import Detections
from trainer.detectors import MASKS, Blueprint, Family, Targets, compact, compact_decode, compact_loss, compact_seg_loss
from trainer.detectors.compact import CompactDetector
from trainer.masks import Masks

outputs = (*compact.outputs, "prototypes", "coefficients")

_PROTOTYPES = 16
_WIDTH = 32
_CELL = 4
"""Input pixels between the cells of the prototypes."""


def family(name: str) -> Family:
    """The one size that there is."""
    return Family(name, outputs, build, decode, compact.masks, compact.dropout, MASKS)


def build(blueprint: Blueprint) -> nn.Module:
    """A fresh compact detector with masks, which is small as it is. Raises `UserError` of weights to start from: nobody publishes any."""
    if blueprint.pretrained:
        raise UserError("there are no pretrained weights of compact-seg: leave out detector.weights, or set it to 'scratch'")
    return CompactSegmenter(blueprint.classes, blueprint.likelihood)


class CompactSegmenter(CompactDetector):
    """The network; A below is the number of grid points of all levels, P that of prototypes."""

    def __init__(self, classes: int, likelihood: str = "laplace") -> None:
        super().__init__(classes, likelihood)
        self.prototypes = _Prototypes()
        self.mix = nn.Conv2d(self.regress.in_channels, _PROTOTYPES, 1)
        nn.init.normal_(self.mix.weight, std=0.01)
        nn.init.zeros_(self.mix.bias)

    def forward(self, images: Tensor, class_masks: Tensor | None = None, box_masks: Tensor | None = None) -> tuple[Tensor, ...]:
        """What the compact detector gives, and then prototypes (B, P, H/4, W/4) and coefficients (B, A, P), -1..1."""
        seen = self._seen(images)
        levels = self.pyramid(seen[1:])
        features = self._features(levels)
        return *self._told(levels, features, class_masks, box_masks), *self._drawn(seen[0], levels[0], features)

    def losses(self, images: Tensor, targets: Targets) -> Mapping[str, Tensor]:
        """The compact detector's terms, and `masks`; see `compact_seg_loss`."""
        seen = self._seen(images)
        levels = self.pyramid(seen[1:])
        features = self._features(levels)
        logits, distances, log_scales = self._heads(features)
        prototypes, coefficients = self._drawn(seen[0], levels[0], features)
        points = compact.points_of(images)
        with torch.autocast(images.device.type, enabled=False):
            assigned = compact_loss.assigned_now(logits, distances, points, targets)
            terms = compact_loss.losses(logits, distances, log_scales, points, targets, assigned, self.likelihood)
            return terms | {"masks": compact_seg_loss.loss(prototypes, coefficients, targets, assigned)}

    def _drawn(self, finest: Tensor, level: Tensor, features: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        mixed = [self.mix(for_boxes).flatten(2).transpose(1, 2) for _, for_boxes in features]
        return self.prototypes(finest, level).float(), torch.cat(mixed, 1).float().tanh()


class _Prototypes(nn.Module):
    """What the masks are mixed of, from the backbone's features at stride 4, which know where, and the pyramid's at stride 8."""

    def __init__(self) -> None:
        super().__init__()
        self.where = compact.conv_norm(compact.FINEST, _WIDTH, 1)
        self.what = compact.conv_norm(compact.CHANNELS, _WIDTH, 1)
        self.smooth = nn.Sequential(compact.conv_norm(_WIDTH, _WIDTH, 3), compact.conv_norm(_WIDTH, _WIDTH, 3))
        self.last = nn.Conv2d(_WIDTH, _PROTOTYPES, 1)
        compact.initialise_convolutions(self)

    def forward(self, finest: Tensor, level: Tensor) -> Tensor:
        what = functional.interpolate(self.what(level), scale_factor=2.0, mode="nearest")
        found: Tensor = self.last(self.smooth(self.where(finest) + what))
        return found.relu()


def decode(results: Sequence[np.ndarray], input_size: tuple[int, int], settings: Prediction) -> list[Detections]:
    """The detections of each image as the compact detector's, each with its mask, whose frame is the whole input."""
    *own, prototypes, coefficients = results
    kept = compact_decode.decode_points(own, input_size, settings)
    return [
        replace(found, masks=_masks(prototypes[image], coefficients[image, point], found.xyxy, input_size))
        for image, (found, point) in enumerate(kept)
    ]


def _masks(prototypes: np.ndarray, coefficients: np.ndarray, boxes: np.ndarray, input_size: tuple[int, int]) -> Masks:
    """Masks of N boxes (N, 4) from prototypes (P, h, w) and coefficients (N, P); cells more than one off the box are empty."""
    grids = np.zeros((len(boxes), *prototypes.shape[1:]), np.float32)
    low, high = np.floor(boxes[:, :2] / _CELL).astype(int) - 1, np.ceil(boxes[:, 2:] / _CELL).astype(int) + 1
    for grid, mix, (left, top), (right, bottom) in zip(grids, coefficients, low.clip(0).tolist(), high.tolist(), strict=True):
        summed = np.tensordot(mix, prototypes[:, top:bottom, left:right], 1)
        # by way of tanh it cannot overflow
        grid[top:bottom, left:right] = 0.5 + 0.5 * np.tanh(0.5 * summed)
    return Masks(grids.clip(0, 1), np.tile(np.array([0, 0, *input_size], np.float32), (len(boxes), 1)))
