"""What RT-DETRv2 and D-FINE have in common: a convolutional backbone, an encoder over its levels, and queries that are the best cells of
all levels (RT-DETR, Zhao et al. 2024). They learn from noisy copies of the objects too (DINO, Zhang et al. 2023)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainer.detectors import queries_network
from trainer.detectors.queries import Answers, Cells, Colours, FullPrecision, Labels, Parts, QueryDetector

CLASS_LAYERS = ("class_embed", "model.decoder.class_embed", "model.enc_score_head", "model.denoising_class_embed")
"""Their layers that depend on the classes."""
ANY_SIZE = {"anchor_image_size": None, "eval_size": None}
"""Whatever size of input they were published for, they are to take any."""
UNIT = Colours((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
"""Pixels from 0 to 1, as both take them."""
TINY = {
    "encoder_ffn_dim": 128,
    "encoder_attention_heads": 4,
    "decoder_ffn_dim": 128,
    "decoder_attention_heads": 4,
    "decoder_layers": 2,
    "hidden_expansion": 0.25,
    "num_queries": 30,
    "num_denoising": 12,
}
"""What a toy-sized network of either has less of."""


class HybridDetector(QueryDetector):
    """A network of either family; each says how its samples are drawn."""

    def __init__(self, network: Any, class_layers: tuple[str, ...], colours: Colours, likelihood: str) -> None:
        model, config = network.model, network.config
        for level, projection in enumerate(model.decoder_input_proj):
            model.decoder_input_proj[level] = _ended(projection)
        stages = (f"model.backbone.model.encoder.stages.{number}." for number in range(len(model.backbone.model.encoder.stages)))
        parts = Parts(
            class_layers,
            ("model.backbone.model.embedder.", *stages),
            (model.decoder.class_embed[-1], model.decoder.bbox_embed[-1].layers[-1]),
            config.d_model,
        )
        cells = Cells(max(config.feat_strides), tuple(config.feat_strides), config.num_queries)
        super().__init__(network, parts, cells, colours, likelihood, queries_network.architecture(network))

    def ask(self, pixels: Tensor, labels: Labels | None) -> Any:
        """See `QueryDetector`."""
        return self.network.model(pixels, labels=labels)

    def answers(self, asked: Any) -> Answers:
        """Of the real queries, which stand behind those for the noisy objects."""
        real = slice(-self.cells.queries, None)
        scene = torch.cat([level.mean((2, 3)) for level in asked.encoder_last_hidden_state], 1)
        boxes = asked.intermediate_reference_points[:, -1, real]
        return Answers(asked.intermediate_logits[:, -1, real], boxes, asked.last_hidden_state[:, real], scene)

    def terms(self, asked: Any, labels: Labels) -> Mapping[str, Tensor]:
        """See `QueryDetector`."""
        names = ("enc_topk_logits", "enc_topk_bboxes")
        logits, boxes = asked.intermediate_logits.float(), asked.intermediate_reference_points.float()
        _, terms, _ = self.network.loss_function(
            logits[:, -1],
            labels,
            logits.device,
            boxes[:, -1],
            self.network.config,
            logits,
            boxes,
            denoising_meta_values=asked.denoising_meta_values,
            **{name: getattr(asked, name).float() for name in names},
            **self.loss_arguments(asked),
        )
        found: Mapping[str, Tensor] = terms
        return found

    def loss_arguments(self, asked: Any) -> Mapping[str, Tensor]:
        """What else a family's loss wants to know."""
        return {}

    def matched(self, answers: Answers, labels: Labels) -> Sequence[tuple[Tensor, Tensor]]:
        """See `QueryDetector`."""
        matcher = queries_network.part("loss.loss_rt_detr").RTDetrHungarianMatcher(self.network.config)
        pairs: Sequence[tuple[Tensor, Tensor]] = matcher({"logits": answers.logits, "pred_boxes": answers.boxes}, labels)
        return pairs


def _ended(projection: nn.Module) -> nn.Module:
    """In full precision, and its weights by their old names."""
    return projection.append(FullPrecision()) if isinstance(projection, nn.Sequential) else nn.Sequential(projection, FullPrecision())
