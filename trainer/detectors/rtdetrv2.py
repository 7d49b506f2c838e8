"""RT-DETRv2 (Lv et al. 2024): a ResNet, an encoder over three levels, and a decoder that refines its boxes layer by layer.

Sizes as their makers publish them (`rtdetrv2_pytorch/configs` of lyuwenyu/RT-DETR, and the configurations of the converted weights). A
folder of weights brings its own configuration, which then decides.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from trainer.detectors import Blueprint, Family, Published, queries, queries_hybrid, queries_network
from trainer.detectors.queries import Answers
from trainer.detectors.queries_decode import decode
from trainer.detectors.queries_hybrid import HybridDetector
from trainer.detectors.queries_network import Make
from trainer.recipe import Recipe

_WIDTH = 256
_MAKE = Make(
    "RT-DETRv2", "rt_detr_v2", "RTDetrV2Config", "RTDetrV2ForObjectDetection", queries_hybrid.CLASS_LAYERS, queries_hybrid.ANY_SIZE
)
_RESNET = {"model_type": "rt_detr_resnet", "out_features": ["stage2", "stage3", "stage4"]}


def _basic(depths: list[int], layers: int) -> Mapping[str, Any]:
    backbone = _RESNET | {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": depths}
    return {"backbone_config": backbone, "encoder_in_channels": [128, 256, 512], "hidden_expansion": 0.5, "decoder_layers": layers}


_SIZES: Mapping[str, Mapping[str, Any]] = {
    "rtdetrv2-r18": _basic([2, 2, 2, 2], 3),
    "rtdetrv2-r34": _basic([3, 4, 6, 3], 4),
    "rtdetrv2-r50": {"backbone_config": _RESNET},
    "rtdetrv2-r101": {
        "backbone_config": _RESNET | {"depths": [3, 4, 23, 3]},
        "encoder_ffn_dim": 2048,
        "encoder_hidden_dim": 384,
        "decoder_in_channels": [384, 384, 384],
    },
}
# published backbones keep the statistics of their norms; one from scratch has none to keep
_SCRATCH = {"freeze_backbone_batch_norms": False}
_TINY: Mapping[str, Any] = queries_hybrid.TINY | {
    "backbone_config": _RESNET | {"embedding_size": 16, "hidden_sizes": [16, 32, 64, 96], "depths": [1, 1, 1, 1], "layer_type": "basic"},
    "encoder_in_channels": [32, 64, 96],
    "encoder_hidden_dim": 64,
    "decoder_in_channels": [64, 64, 64],
    "decoder_n_points": 2,
}

# of their training code, but for a moving average that is short enough for runs of some hundred iterations
_RECIPE = Recipe(
    learning_rate=1e-4, warm_learning_rate=5e-5, weight_decay=1e-4, clip_norm=0.1, ema_decay=0.998, small_share=0.0, multi_scale=0.25
)
_BACKBONE_RATE = {"rtdetrv2-r18": 1.0, "rtdetrv2-r34": 0.5, "rtdetrv2-r50": 0.1, "rtdetrv2-r101": 0.01}


def family(name: str) -> Family:
    """One of the sizes."""
    return Family(
        name,
        queries.OUTPUTS,
        partial(_build, name),
        decode,
        {"class_masks": _WIDTH, "box_masks": _WIDTH},
        queries.DROPOUT,
        recipe=replace(_RECIPE, backbone_rate=_BACKBONE_RATE[name]),
        published=Published(f"PekingU/rtdetr_v2_{name.partition('-')[2]}vd", "Apache-2.0", "COCO"),
        strict_export=True,
    )


def _build(name: str, blueprint: Blueprint) -> nn.Module:
    made = queries_network.make(_MAKE, {**(_TINY if blueprint.tiny else _SIZES[name]), **_SCRATCH}, blueprint, _WIDTH)
    if not blueprint.architecture and not blueprint.pretrained:
        _begin_norms(made.network)
    return RtDetrV2(made.network, _MAKE.class_layers, made.colours or queries_hybrid.UNIT, blueprint.likelihood)


def _begin_norms(network: nn.Module) -> None:
    """At 1, as their makers do; the library begins them near 0, and then hardly anything gets through."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)


class RtDetrV2(HybridDetector):
    """The network."""

    def sampled(self, asked: Any, answers: Answers, class_masks: Tensor, box_masks: Tensor) -> tuple[Tensor, Tensor]:
        """See `QueryDetector`."""
        decoder = self.network.model.decoder
        layers = decoder.bbox_embed[-1].layers
        shifts = queries.masked(queries.before_last(layers, answers.hidden), layers[-1], box_masks)
        logits = queries.masked(answers.hidden, decoder.class_embed[-1], class_masks)
        return logits, (shifts + self._before(asked)[:, None]).sigmoid()

    def _before(self, asked: Any) -> Tensor:
        """The boxes that the last layer starts from, as what `sigmoid` makes them of."""
        if len(self.network.model.decoder.layers) == 1:
            first: Tensor = asked.init_reference_points
            return first
        earlier: Tensor = asked.intermediate_reference_points[:, -2]
        # clamped as the network does it
        return earlier.clamp(0, 1).logit(1e-5)
