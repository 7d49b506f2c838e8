"""The compact detector: a small anchor-free network that learns from scratch on two CPU cores.

ResNet-like backbone, feature pyramid at strides 8, 16 and 32, and a decoupled head with two towers, whose convolutions are shared
by the levels. Every grid point predicts class scores, the distances to its box's four sides (FCOS, Tian et al. 2019), and the
scale of each distance's Laplace distribution (loss attenuation, Kendall and Gal 2017). About 2 million parameters.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from activelearning.settings import Prediction
from trainer import detections
from trainer.detections import Detections
from trainer.detectors import Targets, compact_loss

outputs = ("logits", "distances", "log_scales")

STRIDES = (8, 16, 32)
_WIDTHS = (24, 32, 64, 128, 192)
_DEPTHS = (1, 2, 2, 1)
_CHANNELS = 64
_TOWER_DEPTH = 2
_DROPOUT = 0.1
_BEFORE_NMS = 300
"""So many boxes of an image, the most confident, go into non-maximum suppression; it takes time with their square."""
_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)


def build(classes: int) -> nn.Module:
    """A fresh compact detector."""
    return CompactDetector(classes)


class CompactDetector(nn.Module):
    """The network; A below is the number of grid points of all levels."""

    class_layers = ("classify",)

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = _Backbone()
        self.pyramid = _Pyramid(_WIDTHS[2:])
        self.class_tower = _Tower()
        self.box_tower = _Tower()
        self.dropout = nn.Dropout2d(_DROPOUT)
        self.classify = nn.Conv2d(_CHANNELS, classes, 1)
        self.regress = nn.Conv2d(_CHANNELS, 8, 1)
        self.level_scale = nn.Parameter(torch.zeros(len(STRIDES)))
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(1, 3, 1, 1))
        self._initialise()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) RGB 0..255 to logits (B, A, C), distances (B, A, 4) to left, top, right, bottom in pixels,
        and the logarithm of each distance's Laplace scale in strides (B, A, 4)."""
        levels = self.pyramid(self.backbone(torch.addcmul(-self.mean / self.std, images, 1 / self.std)))
        heads = [self._head(features, level) for level, features in enumerate(levels)]
        logits, distances, log_scales = (torch.cat(parts, 1) for parts in zip(*heads, strict=True))
        return logits, distances, log_scales

    def losses(self, images: Tensor, targets: Targets) -> Mapping[str, Tensor]:
        """Varifocal, GIoU and Laplace terms; see `compact_loss`."""
        logits, distances, log_scales = self(images)
        centres, strides = grid(images.shape[3], images.shape[2])
        with torch.autocast(images.device.type, enabled=False):
            points = compact_loss.Points(torch.from_numpy(centres).to(images.device), torch.from_numpy(strides).to(images.device))
            return compact_loss.losses(logits, distances, log_scales, points, targets)

    def _head(self, features: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.classify(self.dropout(self.class_tower(features, level)))
        sides = self.regress(self.dropout(self.box_tower(features, level)))
        sides = sides.flatten(2).transpose(1, 2).float()
        distances = (sides[..., :4] + self.level_scale[level]).clamp(-6, 6).exp() * STRIDES[level]
        return logits.flatten(2).transpose(1, 2).float(), distances, sides[..., 4:].clamp(-8, 8)

    def _initialise(self) -> None:
        for layer in (layer for layer in self.modules() if isinstance(layer, nn.Conv2d)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        for layer in (self.classify, self.regress):
            nn.init.normal_(layer.weight, std=0.01)
        # nearly all points are background at first, else their loss drowns the rest (RetinaNet's prior of 0.01)
        nn.init.constant_(self.classify.bias, -math.log(99))
        nn.init.zeros_(self.regress.bias)
        nn.init.constant_(self.regress.bias[:4], math.log(3))


class _Backbone(nn.Module):
    """Features (64, 128, 192 channels) at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv_norm(3, _WIDTHS[0], 3, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(_conv_norm(before, after, 3, stride=2), *(_Residual(after) for _ in range(depth)))
            for before, after, depth in zip(_WIDTHS, _WIDTHS[1:], _DEPTHS, strict=False)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        features = [self.stem(images)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[2:]


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv_norm(channels, channels, 3)
        self.second = nn.Sequential(*_conv_norm(channels, channels, 3)[:2])
        # the block starts as the identity
        nn.init.zeros_(self.second[1].weight)

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(features + self.second(self.first(features)))


class _Pyramid(nn.Module):
    """Feature pyramid (Lin et al. 2017): every level gets what the coarser ones know; 64 channels each."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_conv_norm(width, _CHANNELS, 1) for width in widths)
        self.smooth = nn.ModuleList(_conv_norm(_CHANNELS, _CHANNELS, 3) for _ in widths)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        levels = [lateral(one) for lateral, one in zip(self.lateral, features, strict=True)]
        for finer in range(len(levels) - 2, -1, -1):
            levels[finer] = levels[finer] + functional.interpolate(levels[finer + 1], scale_factor=2.0, mode="nearest")
        return [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]


class _Tower(nn.Module):
    """Convolutions shared by the levels, with a batch norm for each level, since their statistics differ."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1, bias=False) for _ in range(_TOWER_DEPTH))
        self.norms = nn.ModuleList(nn.ModuleList(_norm(_CHANNELS) for _ in STRIDES) for _ in range(_TOWER_DEPTH))

    def forward(self, features: Tensor, level: int) -> Tensor:
        for conv, norms in zip(self.convs, self.norms, strict=True):
            features = functional.relu(norms[level](conv(features)), inplace=True)
        return features


def _conv_norm(before: int, after: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, _norm(after), nn.ReLU(inplace=True))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)


def grid(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres (A, 2) in input pixels and strides (A,) of all grid points, level by level, row by row."""
    centres, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        centres.append((np.stack([columns, rows], -1).reshape(-1, 2) + 0.5) * stride)
        strides.append(np.full(len(centres[-1]), stride))
    return np.concatenate(centres).astype(np.float32), np.concatenate(strides).astype(np.float32)


def decode(outputs: Sequence[np.ndarray], input_size: tuple[int, int], settings: Prediction) -> list[Detections]:
    """The detections of each image, most confident first, clipped to the input (W, H).

    A point may stand for several classes; non-maximum suppression works within a class.
    """
    centres, _ = grid(*input_size)
    logits, distances = outputs[0], outputs[1]
    boxes = np.concatenate([centres - distances[..., :2], centres + distances[..., 2:]], -1)
    boxes = np.clip(boxes, 0, np.array([*input_size, *input_size], np.float32))
    return [_suppress(*image, settings) for image in zip(_sigmoid(logits), boxes, strict=True)]


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    # by way of tanh it cannot overflow
    return 0.5 + 0.5 * np.tanh(0.5 * logits)


def _suppress(scores: np.ndarray, boxes: np.ndarray, settings: Prediction) -> Detections:
    point, label = _candidates(scores, settings.min_confidence)
    found = Detections(boxes[point], scores[point, label], label, scores[point])
    return found[detections.nms(found.xyxy, found.confidence, found.class_id, settings.nms_iou, settings.max_detections)]


def _candidates(scores: np.ndarray, min_confidence: float) -> tuple[np.ndarray, np.ndarray]:
    point, label = np.nonzero(scores > min_confidence)
    best = np.argsort(-scores[point, label], kind="stable")[:_BEFORE_NMS]
    return point[best], label[best]
