"""D-FINE (Peng et al. 2024): an HGNetv2, an encoder over two or three levels, and a decoder that says of each side of a box how likely
it is to be how far off.

Sizes as their makers publish them (the configurations of Peterande/D-FINE, and of the converted weights). A folder of weights brings its
own configuration, which then decides.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainer.detectors import Blueprint, Family, Published, queries, queries_hybrid, queries_network
from trainer.detectors.queries import Answers
from trainer.detectors.queries_decode import decode
from trainer.detectors.queries_hybrid import HybridDetector
from trainer.detectors.queries_network import Make
from trainer.recipe import Recipe

_MAKE = Make("D-FINE", "d_fine", "DFineConfig", "DFineForObjectDetection", queries_hybrid.CLASS_LAYERS, queries_hybrid.ANY_SIZE)
_WIDTH = {"dfine-nano": 128}
_USUAL_WIDTH = 256


def _backbone(stem: list[int], outs: list[int], mids: list[int], blocks: list[int], layers: int, **further: Any) -> Mapping[str, Any]:
    """An HGNetv2 by its channels and its numbers of blocks, stage by stage."""
    settings = {
        "model_type": "hgnet_v2",
        "stem_channels": stem,
        "hidden_sizes": outs,
        "stage_in_channels": [stem[2], *outs[:-1]],
        "stage_mid_channels": mids,
        "stage_out_channels": outs,
        "stage_num_blocks": blocks,
        "stage_numb_of_layers": [layers] * 4,
        "out_features": ["stage2", "stage3", "stage4"],
    }
    return settings | further


_B0 = _backbone([3, 16, 16], [64, 256, 512, 1024], [16, 32, 64, 128], [1, 1, 2, 1], 3, use_learnable_affine_block=True)
_B2 = _backbone([3, 24, 32], [96, 384, 768, 1536], [32, 64, 128, 256], [1, 1, 3, 1], 4, use_learnable_affine_block=True)
_B4 = _backbone([3, 32, 48], [128, 512, 1024, 2048], [48, 96, 192, 384], [1, 1, 3, 1], 6)
_B5 = _backbone([3, 32, 64], [128, 512, 1024, 2048], [64, 128, 256, 512], [1, 2, 5, 2], 6)
_POINTS = {"decoder_n_points": [3, 6, 3]}
_TWO_LEVELS = {"num_feature_levels": 2, "feat_strides": [16, 32], "encode_proj_layers": [1]}

_SIZES: Mapping[str, Mapping[str, Any]] = {
    "dfine-nano": _TWO_LEVELS
    | {
        "backbone_config": {**_B0, "out_features": ["stage3", "stage4"]},
        "encoder_in_channels": [512, 1024],
        "encoder_hidden_dim": 128,
        "encoder_ffn_dim": 512,
        "d_model": 128,
        "decoder_in_channels": [128, 128],
        "decoder_ffn_dim": 512,
        "decoder_n_points": [6, 6],
        "decoder_layers": 3,
        "depth_mult": 0.5,
        "hidden_expansion": 0.34,
    },
    "dfine-small": _POINTS
    | {"backbone_config": _B0, "encoder_in_channels": [256, 512, 1024], "decoder_layers": 3, "depth_mult": 0.34, "hidden_expansion": 0.5},
    "dfine-medium": _POINTS | {"backbone_config": _B2, "encoder_in_channels": [384, 768, 1536], "decoder_layers": 4, "depth_mult": 0.67},
    "dfine-large": _POINTS | {"backbone_config": _B4},
    "dfine-xlarge": _POINTS
    | {
        "backbone_config": _B5,
        "encoder_hidden_dim": 384,
        "encoder_ffn_dim": 2048,
        "decoder_in_channels": [384, 384, 384],
        "reg_scale": 8.0,
    },
}
# published backbones keep the statistics of their norms; one from scratch has none to keep
_SCRATCH = {"freeze_backbone_batch_norms": False}
_TINY: Mapping[str, Any] = queries_hybrid.TINY | {
    "backbone_config": _backbone([3, 8, 16], [16, 32, 64, 96], [16, 16, 16, 32], [1, 1, 1, 1], 1),
    "depth_mult": 0.34,
    "max_num_bins": 8,
}
_TINY_LEVELS = {
    3: {"encoder_in_channels": [32, 64, 96], "encoder_hidden_dim": 64, "decoder_in_channels": [64, 64, 64], "decoder_n_points": [2, 2, 2]},
    2: {"encoder_in_channels": [64, 96], "encoder_hidden_dim": 64, "decoder_in_channels": [64, 64], "decoder_n_points": [2, 2]},
}

# of their training code, but for a learning rate that does not undo what was learned on COCO, and for a moving average that is short
# enough for runs of some hundred iterations
_RECIPE = Recipe(
    learning_rate=1e-4, warm_learning_rate=5e-5, weight_decay=1e-4, clip_norm=0.1, ema_decay=0.998, small_share=0.0, multi_scale=0.25
)
_BACKBONE_RATE = {"dfine-nano": 0.5, "dfine-small": 0.5, "dfine-medium": 0.1, "dfine-large": 0.05, "dfine-xlarge": 0.01}


def family(name: str) -> Family:
    """One of the sizes."""
    width = _WIDTH.get(name, _USUAL_WIDTH)
    return Family(
        name,
        queries.OUTPUTS,
        partial(_build, name),
        decode,
        {"class_masks": width, "box_masks": width},
        queries.DROPOUT,
        recipe=replace(_RECIPE, backbone_rate=_BACKBONE_RATE[name]),
        published=Published(f"ustc-community/{name}-coco", "Apache-2.0", "COCO"),
        strict_export=True,
    )


def _build(name: str, blueprint: Blueprint) -> nn.Module:
    settings = _tiny(name) if blueprint.tiny else _SIZES[name]
    made = queries_network.make(_MAKE, {**settings, **_SCRATCH}, blueprint, _WIDTH.get(name, _USUAL_WIDTH))
    if blueprint.pretrained:
        # the loss goes by the configuration, which need not say what was published with the weights
        decoder = made.network.model.decoder
        made.network.config.reg_scale, made.network.config.up = decoder.reg_scale.item(), decoder.up.item()
    return DFine(made.network, _MAKE.class_layers, made.colours or queries_hybrid.UNIT, blueprint.likelihood)


def _tiny(name: str) -> Mapping[str, Any]:
    if name != "dfine-nano":
        return {**_TINY, **_TINY_LEVELS[3]}
    backbone = {**_TINY["backbone_config"], "out_features": ["stage3", "stage4"]}
    return {**_TINY, **_TINY_LEVELS[2], **_TWO_LEVELS, "d_model": _WIDTH[name], "backbone_config": backbone}


class DFine(HybridDetector):
    """The network."""

    def loss_arguments(self, asked: Any) -> Mapping[str, Tensor]:
        """See `HybridDetector`."""
        return {
            "predicted_corners": asked.intermediate_predicted_corners.float(),
            "initial_reference_points": asked.initial_reference_points.float(),
        }

    def answers(self, asked: Any) -> Answers:
        """The same, of the layer that is meant to be the last in use."""
        hidden = asked.intermediate_hidden_states[self.network.model.decoder.eval_idx]
        return super().answers(asked)._replace(hidden=hidden[:, -self.cells.queries :])

    def sampled(self, asked: Any, answers: Answers, class_masks: Tensor, box_masks: Tensor) -> tuple[Tensor, Tensor]:
        """See `QueryDetector`. Both are what the last layer adds to what it was given, so only that part is sampled."""
        decoder = self.network.model.decoder
        last = decoder.eval_idx
        classify, layers = decoder.class_embed[last], decoder.bbox_embed[last].layers
        logits = (answers.logits - classify(answers.hidden))[:, None] + queries.masked(answers.hidden, classify, class_masks)
        before = asked.intermediate_hidden_states[last - 1] if last else torch.zeros_like(answers.hidden)
        inner = queries.before_last(layers, answers.hidden + before)
        given = asked.intermediate_predicted_corners[:, -1] - layers[-1](inner)
        corners = given[:, None] + queries.masked(inner, layers[-1], box_masks)
        return logits, self._boxes(asked.initial_reference_points[:, -1], corners)

    def _boxes(self, references: Tensor, corners: Any) -> Tensor:
        """From the likelihoods (B, T, Q, 4 · bins) of how far each side is off those of the `references` (B, Q, 4)."""
        # imported by name, for torch's exporter follows nothing else
        from transformers.models.d_fine.modeling_d_fine import distance2bbox, weighting_function

        decoder = self.network.model.decoder
        steps = weighting_function(decoder.max_num_bins, decoder.up, decoder.reg_scale)
        offsets = (corners.unflatten(-1, (4, -1)).softmax(-1) * steps).sum(-1)
        boxes: Tensor = distance2bbox(references[:, None], offsets, decoder.reg_scale)
        return boxes
