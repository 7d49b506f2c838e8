"""What torchvision's detectors look through: classification networks with a feature pyramid on top (Lin et al. 2017).

Rule: the names of the weights are torchvision's own, so that its published weights, of a classifier or of a whole detector, fit as they
are. ResNet-50 (He et al. 2016), RegNetY-3.2GF (Radosavovic et al. 2020), ConvNeXt-T (Liu et al. 2022), and each of them at toy size.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeAlias

from torch import nn
from torchvision.models import convnext_tiny, regnet_y_3_2gf, resnet50
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from trainer.detectors import Published
from trainer.recipe import Recipe

Network: TypeAlias = ResNet | RegNet | ConvNeXt
Norm = Callable[[int], nn.Module]
"""A normalisation of so many channels."""

group_norm: Norm = partial(nn.GroupNorm, 32)
"""The one that does not depend on how many images there are in a batch (Wu and He 2018)."""

_LICENCE = "BSD-3-Clause"


@dataclass(frozen=True, slots=True)
class Backbone:
    """A classification network, and where in it there are features at strides 4, 8, 16 and 32.

    `full` and `tiny` make it with a batch norm of choice; `widths` of its four stages, full and tiny. `trunk` is the part of it whose
    children are its layers, in order, `stages` the names of those that end a stage; `head`: where the names of the weights begin that
    only classification needs. `published`: the name that torchvision gives its ImageNet weights.
    """

    full: Callable[[Norm], Network]
    tiny: Callable[[Norm], Network]
    widths: tuple[tuple[int, ...], tuple[int, ...]]
    trunk: Callable[[Network], nn.Module]
    stages: tuple[str, ...]
    head: str
    published: str


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The `levels` deepest stages become levels of so many `channels`, with a `norm` or without; `further` is what adds coarser ones, by
    the width of the deepest stage; None: torchvision's own, every second point of the coarsest."""

    levels: int
    channels: int
    norm: Norm | None
    further: Callable[[int], ExtraFPNBlock] | None = None


def classifier(name: str, tiny: bool, frozen: bool) -> Network:
    """The classification network, with fresh weights; `frozen`: its batch norms never learn, neither scales nor statistics."""
    backbone = BACKBONES[name]
    return (backbone.tiny if tiny else backbone.full)(FrozenBatchNorm2d if frozen else nn.BatchNorm2d)


def with_pyramid(name: str, network: Network, tiny: bool, pyramid: Pyramid) -> BackboneWithFPN:
    """A classification network without its head, with a fresh feature pyramid; it takes over the network's layers."""
    backbone = BACKBONES[name]
    widths = list(backbone.widths[tiny][-pyramid.levels :])
    places = {place: str(level) for level, place in enumerate(backbone.stages[-pyramid.levels :])}
    further = pyramid.further(widths[-1]) if pyramid.further else None
    return BackboneWithFPN(backbone.trunk(network), places, widths, pyramid.channels, further, pyramid.norm)


def layers(model: nn.Module, body: str) -> tuple[str, ...]:
    """The names of the backbone's layers that learn, the one next to the image first; `body` is its own name in the model."""
    children = model.get_submodule(body).named_children()
    return tuple(f"{body}.{name}." for name, child in children if any(True for _ in child.parameters()))


def published(name: str, detector: str) -> Published:
    """What torchvision publishes: a whole `detector` on ResNet-50, and of the other backbones what they learned on ImageNet."""
    if name == "resnet50":
        return Published(f"torchvision:{detector}", _LICENCE, "118,000 photographs of COCO 2017, with boxes or outlines of 80 classes")
    return Published(
        f"torchvision:{BACKBONES[name].published}", _LICENCE, "1.3 million photographs of ImageNet; the detector on top is untrained"
    )


def recipe(name: str) -> Recipe:
    """AdamW in place of the SGD of torchvision's reference, which freezes a pretrained backbone's lower layers; here they learn slowly."""
    return Recipe(2e-4, 1e-4, layer_decay=0.8 if name == "convnext" else 0.7, multi_scale=0.2)


def _tiny_resnet(norm: Norm) -> ResNet:
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=1, norm_layer=norm)


def _tiny_regnet(norm: Norm) -> RegNet:
    blocks = BlockParams([1, 1, 1, 1], [16, 32, 64, 128], [8, 8, 16, 16], [1.0] * 4, [2] * 4, 0.25)
    return RegNet(blocks, num_classes=1, stem_width=16, norm_layer=norm)


def _tiny_convnext(_: Norm) -> ConvNeXt:
    widths: tuple[int | None, ...] = (16, 32, 64, 128, None)
    # at the usual scale of 1e-6 a block learns nothing within a short run
    stages = [CNBlockConfig(before or 0, after, 1) for before, after in pairwise(widths)]
    return ConvNeXt(stages, layer_scale=0.1, num_classes=1)


def _regnet_trunk(network: RegNet) -> nn.Module:
    # its stages lie in a module of their own, and only children can be picked from
    return _Flat({"stem": network.stem, **dict(network.trunk_output.named_children())})


class _Flat(nn.Sequential):
    def __init__(self, children: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)


BACKBONES: Mapping[str, Backbone] = {
    "resnet50": Backbone(
        full=lambda norm: resnet50(norm_layer=norm),
        tiny=_tiny_resnet,
        widths=((256, 512, 1024, 2048), (64, 128, 256, 512)),
        trunk=lambda network: network,
        stages=("layer1", "layer2", "layer3", "layer4"),
        head="fc.",
        published="ResNet50_Weights.IMAGENET1K_V2",
    ),
    "regnet": Backbone(
        full=lambda norm: regnet_y_3_2gf(norm_layer=norm),
        tiny=_tiny_regnet,
        widths=((72, 216, 576, 1512), (16, 32, 64, 128)),
        trunk=_regnet_trunk,
        stages=("block1", "block2", "block3", "block4"),
        head="fc.",
        published="RegNet_Y_3_2GF_Weights.IMAGENET1K_V2",
    ),
    "convnext": Backbone(
        full=lambda _: convnext_tiny(),
        tiny=_tiny_convnext,
        widths=((96, 192, 384, 768), (16, 32, 64, 128)),
        trunk=lambda network: network.features,
        stages=("1", "3", "5", "7"),
        head="classifier.",
        published="ConvNeXt_Tiny_Weights.IMAGENET1K_V1",
    ),
}
