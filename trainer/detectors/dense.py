"""RetinaNet (Lin et al. 2017) and FCOS (Tian et al. 2019) of torchvision: every point of a feature pyramid says what lies around it.

Rule: torchvision has the network and the losses, with a head that also learns how far off its boxes are. For prediction the way is our own,
of fixed shape (`torchvision_graph`): the best pairs of anchor and class, and Monte-Carlo samples of the last layers at these alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from trainer.detectors import Blueprint, Family, Targets, torchvision_backbones, torchvision_decode, torchvision_pretrained
from trainer.detectors import torchvision_graph as graph
from trainer.detectors.box_likelihood import soft_bounded
from trainer.detectors.torchvision_backbones import Pyramid, group_norm
from trainer.detectors.torchvision_fcos import ScaledFCOSHead
from trainer.detectors.torchvision_heads import masked_patches
from trainer.detectors.torchvision_pretrained import Architecture
from trainer.detectors.torchvision_retinanet import AttenuatedHead
from trainer.detectors.torchvision_targets import listed

_CHANNELS, _TINY_CHANNELS = 256, 64
_DROPOUT = 0.1
_CANDIDATES = 1000
"""So many pairs of anchor and class, the most confident, are handed out of an image; torchvision takes as many of each level."""


def family(name: str) -> Family:
    """`retinanet-` or `fcos-` and a backbone."""
    kind, backbone = name.split("-")
    chosen = _KINDS[kind]
    return Family(
        name,
        torchvision_decode.OUTPUTS,
        partial(_build, chosen, backbone),
        torchvision_decode.decoder(chosen.code),
        {"class_masks": _CHANNELS, "box_masks": _CHANNELS},
        _DROPOUT,
        recipe=torchvision_backbones.recipe(backbone),
        published=torchvision_backbones.published(backbone, chosen.published),
    )


class OneStage(nn.Module):
    """What both have in common. A below is the number of anchors of all levels, M of candidates, F of channels of a tower, T of samples."""

    class_layers = ("network.head.classification_head.cls_logits",)
    own_state = ("network.head.regression_head.log_std_of_scale",)
    sampled: ClassVar[Mapping[str, int]]
    """The last layers of the boxes that are sampled, and how many values each has for an anchor."""

    network: RetinaNet | FCOS

    def __init__(self, network: RetinaNet | FCOS, architecture: Architecture) -> None:
        super().__init__()
        self.network = network
        self.normalise = graph.Normalise()
        self.architecture = str(architecture)
        self.backbone_layers = torchvision_backbones.layers(self, "network.backbone.body")

    def losses(self, images: Tensor, targets: Targets) -> Mapping[str, Tensor]:
        """torchvision's, by its names; the likelihood of the boxes is, or is beside, `bbox_regression`."""
        levels = self._levels(images)
        outputs = {name: values.float() for name, values in self.network.head(levels).items()}
        with torch.autocast(images.device.type, enabled=False):
            anchors = graph.anchors(self.network.anchor_generator, images, levels)
            return self._losses(listed(targets), outputs, anchors)

    def forward(self, images: Tensor, class_masks: Tensor, box_masks: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) RGB 0..255, and masks (T, 256) each, to `torchvision_decode.OUTPUTS`.

        A tiny one takes a mask's first channels."""
        levels = self._levels(images)
        classes, boxes = self.network.head.classification_head, self.network.head.regression_head
        towers = [[head.conv(level) for level in levels] for head in (classes, boxes)]
        logits = _everywhere(towers[0], classes.cls_logits, classes.num_classes)
        said = [_everywhere(towers[1], getattr(boxes, name), values) for name, values in self.sampled.items()]
        scores, codes = self._read(logits, *said)
        _, anchor, label = graph.pairs(scores, _CANDIDATES)
        log_scales = graph.picked(_everywhere(towers[1], boxes.log_scale, 4), anchor)
        features, sampled_scores, sampled_codes = self._samples(towers, anchor, class_masks, box_masks)
        return (
            label,
            graph.picked(scores, anchor),
            torch.cat(graph.anchors(self.network.anchor_generator, images, levels))[anchor],
            graph.picked(codes, anchor),
            soft_bounded(log_scales) + boxes.log_std_of_scale,
            sampled_scores,
            sampled_codes,
            features,
            torch.cat([level.mean((2, 3)) for level in levels], 1),
        )

    def _samples(self, towers: list[list[Tensor]], anchor: Tensor, class_masks: Tensor, box_masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """At the anchors (B, M): features (B, M, F), and scores and codes (B, T, M, ...) of each sample."""
        classes, boxes = self.network.head.classification_head, self.network.head.regression_head
        # only what a kernel sees at the candidates: all anchors' samples would fill the memory
        around = [graph.patches(tower, anchor // classes.num_anchors).flatten(0, 1) for tower in towers]
        channels = around[0].shape[2]
        (logits,) = masked_patches(around[0], [classes.cls_logits], class_masks[:, :channels])
        said = masked_patches(around[1], [getattr(boxes, name) for name in self.sampled], box_masks[:, :channels])
        kind = (anchor % classes.num_anchors).flatten()[:, None].expand(-1, class_masks.shape[0])
        of_kind = [graph.own(one.unflatten(2, (classes.num_anchors, -1)), kind) for one in (logits, *said)]
        samples = [one.unflatten(0, anchor.shape).transpose(1, 2) for one in self._read(*of_kind)]
        return around[0][:, 4].unflatten(0, anchor.shape), samples[0], samples[1]

    def _levels(self, images: Tensor) -> list[Tensor]:
        return list(self.network.backbone(self.normalise(images)).values())

    def _losses(self, targets: list[dict[str, Tensor]], outputs: dict[str, Tensor], anchors: list[Tensor]) -> dict[str, Tensor]:
        raise NotImplementedError

    def _read(self, *said: Tensor) -> tuple[Tensor, Tensor]:
        """Class scores (..., C) and codes (..., 4), from logits (..., C) and what the layers of the boxes say (...,)."""
        raise NotImplementedError


class RetinaNetDetector(OneStage):
    """Nine anchors at each point."""

    sampled: ClassVar = {"bbox_reg": 4}

    def _losses(self, targets: list[dict[str, Tensor]], outputs: dict[str, Tensor], anchors: list[Tensor]) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.network.compute_loss(targets, outputs, [torch.cat(anchors)] * len(targets))
        return losses

    def _read(self, *said: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = said
        return logits.sigmoid(), deltas


class FcosDetector(OneStage):
    """One anchor at each point, as large as its stride."""

    sampled: ClassVar = {"bbox_reg": 4, "bbox_ctrness": 1}

    def _losses(self, targets: list[dict[str, Tensor]], outputs: dict[str, Tensor], anchors: list[Tensor]) -> dict[str, Tensor]:
        counts = [len(level) for level in anchors]
        losses: dict[str, Tensor] = self.network.compute_loss(targets, outputs, [torch.cat(anchors)] * len(targets), counts)
        return losses

    def _read(self, *said: Tensor) -> tuple[Tensor, Tensor]:
        logits, distances, centredness = said
        return (logits.sigmoid() * centredness.sigmoid()).sqrt(), distances.relu()


def _retinanet(backbone: nn.Module, classes: int) -> nn.Module:
    sizes = tuple((side, int(side * 2 ** (1 / 3)), int(side * 2 ** (2 / 3))) for side in (32, 64, 128, 256, 512))
    generator = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    head = RetinaNetHead(backbone.out_channels, generator.num_anchors_per_location()[0], classes, norm_layer=group_norm)
    return RetinaNet(backbone, classes, anchor_generator=generator, head=head, topk_candidates=_CANDIDATES)


def _fcos(backbone: nn.Module, classes: int) -> nn.Module:
    return FCOS(backbone, classes, topk_candidates=_CANDIDATES)


@dataclass(frozen=True, slots=True)
class _Kind:
    """`network` makes torchvision's, of a backbone and a number of classes; `head` replaces its head; `detector` is what we make of it.
    `code`: how a box is said (`torchvision_decode.decoder`); `published`: torchvision's name of the weights with ResNet-50; `deepest`: the
    coarsest levels are made of the backbone's deepest stage, else of the pyramid's."""

    network: Callable[[nn.Module, int], nn.Module]
    head: Callable[[nn.Module, str, float], nn.Module]
    detector: type[OneStage]
    code: str
    published: str
    deepest: bool


_KINDS = {
    "retinanet": _Kind(_retinanet, AttenuatedHead, RetinaNetDetector, "deltas", "RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1", True),
    "fcos": _Kind(_fcos, ScaledFCOSHead, FcosDetector, "distances", "FCOS_ResNet50_FPN_Weights.COCO_V1", False),
}


def _build(kind: _Kind, backbone: str, blueprint: Blueprint) -> nn.Module:
    architecture = torchvision_pretrained.architecture_of(blueprint)
    channels = _TINY_CHANNELS if architecture.tiny else _CHANNELS
    norm = None if backbone == "resnet50" else group_norm
    pyramid = Pyramid(3, channels, norm, lambda width: LastLevelP6P7(width if kind.deepest else channels, channels))
    network: RetinaNet | FCOS = torchvision_pretrained.assembled(
        blueprint, backbone, pyramid, lambda body: kind.network(body, blueprint.classes), kind.detector.class_layers
    )
    network.head = kind.head(network.head, blueprint.likelihood, _DROPOUT)
    return kind.detector(network, architecture)


def _everywhere(towers: list[Tensor], layer: nn.Module, values: int) -> Tensor:
    """What a layer says at all anchors (B, A, values)."""
    return torch.cat([graph.by_anchor(layer(features), values) for features in towers], 1)
