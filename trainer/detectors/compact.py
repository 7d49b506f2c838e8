"""The compact detector: a small anchor-free network that learns from scratch on two CPU cores.

ResNet-like backbone, feature pyramid at strides 8, 16 and 32, and a decoupled head with two towers, whose convolutions are shared
by the levels. Every grid point predicts class scores, the distances to its box's four sides (FCOS, Tian et al. 2019), and how far
off each distance is likely to be (`box_likelihood`). About 2 million parameters. Exported, it also tells what it saw: features of each
point and an embedding of the image, which are there anyway.

Monte-Carlo dropout (Gal and Ghahramani 2016) before the last layers: a mask of channels is a thinned copy of those layers, so T samples
are one product with T times as many rows, and the masks are inputs, so that the same ones give the same result everywhere.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from activelearning.errors import UserError
from trainer.detectors import EMBEDDING, Blueprint, Family, Targets, box_likelihood, compact_loss
from trainer.detectors.compact_decode import STRIDES, grid
from trainer.detectors.compact_decode import decode as decode

outputs = ("logits", "distances", "log_stds", "sampled_logits", "sampled_distances", "features", EMBEDDING)

_WIDTHS = (24, 32, 64, 128, 192)
_DEPTHS = (1, 2, 2, 1)
FINEST = _WIDTHS[1]
"""Channels of the backbone's finest features, at stride 4."""
CHANNELS = 64
"""Channels of each level of the pyramid."""
_TOWER_DEPTH = 2
_DROPOUT = 0.1

masks = {"class_masks": CHANNELS, "box_masks": CHANNELS}
dropout = _DROPOUT

_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)


def family(name: str) -> Family:
    """The one size that there is."""
    return Family(name, outputs, build, decode, masks, dropout)


def build(blueprint: Blueprint) -> nn.Module:
    """A fresh compact detector, which is small as it is. Raises `UserError` of weights to start from: nobody publishes any."""
    if blueprint.pretrained:
        raise UserError("there are no pretrained weights of the compact detector: leave out detector.weights, or set it to 'scratch'")
    return CompactDetector(blueprint.classes, blueprint.likelihood)


class CompactDetector(nn.Module):
    """The network; A below is the number of grid points of all levels, T that of Monte-Carlo samples."""

    class_layers = ("classify",)
    own_state = ("log_std_of_scale",)
    architecture = ""

    def __init__(self, classes: int, likelihood: str = "laplace") -> None:
        super().__init__()
        self.likelihood = likelihood
        self.backbone = _Backbone()
        self.pyramid = _Pyramid(_WIDTHS[2:])
        self.class_tower = _Tower()
        self.box_tower = _Tower()
        self.dropout = nn.Dropout2d(_DROPOUT)
        self.classify = nn.Conv2d(CHANNELS, classes, 1)
        self.regress = nn.Conv2d(CHANNELS, 8, 1)
        self.level_scale = nn.Parameter(torch.zeros(len(STRIDES)))
        # beside the weights, so that it is known what their scales mean whatever the settings say by then
        self.register_buffer("log_std_of_scale", torch.tensor(box_likelihood.LOG_STD_OF_SCALE[likelihood]))
        self.register_buffer("strides", torch.tensor(STRIDES, dtype=torch.float32), persistent=False)
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(1, 3, 1, 1))
        self._initialise()

    def forward(self, images: Tensor, class_masks: Tensor | None = None, box_masks: Tensor | None = None) -> tuple[Tensor, ...]:
        """(B, 3, H, W) RGB 0..255 to logits (B, A, C), distances (B, A, 4) to left, top, right, bottom in pixels, and the logarithm
        of each distance's standard deviation in strides (B, A, 4).

        With masks, (T, 64) each, 0 for a channel that is dropped and 1 / (1 - rate) for one that is kept, also logits (B, T, A, C) and
        distances (B, T, A, 4) under each of them; then, of no mask, what tells the classes apart at each point, features (B, 64, A), and
        the image embedding (B, 192), the mean of each pyramid level."""
        levels = self._levels(images)
        return self._told(levels, self._features(levels), class_masks, box_masks)

    def _told(
        self, levels: Sequence[Tensor], features: list[tuple[Tensor, Tensor]], class_masks: Tensor | None, box_masks: Tensor | None
    ) -> tuple[Tensor, ...]:
        logits, distances, log_scales = self._heads(features)
        plain = logits, distances, log_scales + self.log_std_of_scale
        if class_masks is None or box_masks is None:
            return plain
        for_classes, for_boxes = (torch.cat([level.flatten(2) for level in levels], 2) for levels in zip(*features, strict=True))
        sampled_logits = _masked(for_classes, self.classify.weight, self.classify.bias, class_masks)
        sampled_sides = _masked(for_boxes, self.regress.weight[:4], self.regress.bias[:4], box_masks)
        counts = [level.shape[2] * level.shape[3] for level, _ in features]
        scales, strides = (
            torch.cat([one[level].expand(count) for level, count in enumerate(counts)]) for one in (self.level_scale, self.strides)
        )
        embedding = torch.cat([level.mean((2, 3)) for level in levels], 1)
        return *plain, sampled_logits, _distances(sampled_sides, scales[:, None], strides[:, None]), for_classes, embedding

    def losses(self, images: Tensor, targets: Targets) -> Mapping[str, Tensor]:
        """Varifocal, GIoU and likelihood terms; see `compact_loss`."""
        logits, distances, log_scales = self._heads(self._features(self._levels(images)))
        points = points_of(images)
        with torch.autocast(images.device.type, enabled=False):
            assigned = compact_loss.assigned_now(logits, distances, points, targets)
            return compact_loss.losses(logits, distances, log_scales, points, targets, assigned, self.likelihood)

    def _levels(self, images: Tensor) -> list[Tensor]:
        """The feature pyramid, (B, 64, h, w) each."""
        levels: list[Tensor] = self.pyramid(self._seen(images)[1:])
        return levels

    def _seen(self, images: Tensor) -> list[Tensor]:
        """What the backbone makes of images (B, 3, H, W), RGB 0..255."""
        seen: list[Tensor] = self.backbone(torch.addcmul(-self.mean / self.std, images, 1 / self.std))
        return seen

    def _features(self, levels: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """What the last layers get, for classes and for boxes, (B, 64, h, w) each, level by level."""
        return [(self.class_tower(features, level), self.box_tower(features, level)) for level, features in enumerate(levels)]

    def _heads(self, features: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        heads = [self._head(*level, number) for number, level in enumerate(features)]
        logits, distances, log_scales = (torch.cat(parts, 1) for parts in zip(*heads, strict=True))
        return logits, distances, log_scales

    def _head(self, for_classes: Tensor, for_boxes: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.classify(self.dropout(for_classes))
        sides = self.regress(self.dropout(for_boxes)).flatten(2).transpose(1, 2).float()
        log_scales = box_likelihood.soft_bounded(sides[..., 4:])
        return logits.flatten(2).transpose(1, 2).float(), _distances(sides[..., :4], self.level_scale[level], STRIDES[level]), log_scales

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *further: Any) -> None:
        # weights from before there was a choice are of the only kind there was
        state_dict.setdefault(f"{prefix}log_std_of_scale", torch.tensor(box_likelihood.LOG_STD_OF_SCALE["laplace"]))
        super()._load_from_state_dict(state_dict, prefix, *further)

    def _initialise(self) -> None:
        initialise_convolutions(self)
        for layer in (self.classify, self.regress):
            nn.init.normal_(layer.weight, std=0.01)
        # nearly all points are background at first, else their loss drowns the rest (RetinaNet's prior of 0.01)
        nn.init.constant_(self.classify.bias, -math.log(99))
        nn.init.zeros_(self.regress.bias)
        nn.init.constant_(self.regress.bias[:4], math.log(3))


def initialise_convolutions(module: nn.Module) -> None:
    """Draw the weights of all convolutions within (He et al. 2015)."""
    for layer in (layer for layer in module.modules() if isinstance(layer, nn.Conv2d)):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def points_of(images: Tensor) -> compact_loss.Points:
    """The grid over images (B, 3, H, W), on their device."""
    centres, strides = (torch.from_numpy(one).to(images.device) for one in grid(images.shape[3], images.shape[2]))
    return compact_loss.Points(centres, strides)


class _Backbone(nn.Module):
    """Features (32, 64, 128, 192 channels) at strides 4, 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, _WIDTHS[0], 3, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(conv_norm(before, after, 3, stride=2), *(_Residual(after) for _ in range(depth)))
            for before, after, depth in zip(_WIDTHS, _WIDTHS[1:], _DEPTHS, strict=False)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        features = [self.stem(images)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[1:]


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_norm(channels, channels, 3)
        self.second = nn.Sequential(*conv_norm(channels, channels, 3)[:2])
        # the block starts as the identity
        nn.init.zeros_(self.second[1].weight)

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(features + self.second(self.first(features)))


class _Pyramid(nn.Module):
    """Feature pyramid (Lin et al. 2017): every level gets what the coarser ones know; 64 channels each."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(conv_norm(width, CHANNELS, 1) for width in widths)
        self.smooth = nn.ModuleList(conv_norm(CHANNELS, CHANNELS, 3) for _ in widths)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        levels = [lateral(one) for lateral, one in zip(self.lateral, features, strict=True)]
        for finer in range(len(levels) - 2, -1, -1):
            levels[finer] = levels[finer] + functional.interpolate(levels[finer + 1], scale_factor=2.0, mode="nearest")
        return [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]


class _Tower(nn.Module):
    """Convolutions shared by the levels, with a batch norm for each level, since their statistics differ."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False) for _ in range(_TOWER_DEPTH))
        self.norms = nn.ModuleList(nn.ModuleList(_norm(CHANNELS) for _ in STRIDES) for _ in range(_TOWER_DEPTH))

    def forward(self, features: Tensor, level: int) -> Tensor:
        for conv, norms in zip(self.convs, self.norms, strict=True):
            features = functional.relu(norms[level](conv(features)), inplace=True)
        return features


def _distances(sides: Tensor, scale: Tensor, stride: Tensor | float) -> Tensor:
    return (sides + scale).clamp(-6, 6).exp() * stride


def _masked(features: Tensor, weight: Tensor, bias: Tensor, masks: Tensor) -> Tensor:
    """The layer's answers (B, T, A, K) for features (B, F, A) under each of T masks (T, F); `weight` is (K, F, 1, 1)."""
    thinned = (masks[:, None, :] * weight[None, :, :, 0, 0]).flatten(0, 1)
    product = torch.matmul(thinned, features).unflatten(1, (-1, weight.shape[0]))
    return (product + bias[None, None, :, None]).transpose(2, 3).float()


def conv_norm(before: int, after: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution without bias, batch norm and ReLU."""
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, _norm(after), nn.ReLU(inplace=True))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)
