"""RF-DETR (Robinson et al. 2025): a windowed DINOv2 backbone, one level of features and a light decoder; with a mask head as rfdetr-seg.

Sizes as their makers publish them (`rfdetr/config.py` of roboflow/rf-detr, and the configurations of the converted weights). A folder of
weights brings its own configuration, which then decides.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trainer.detectors import BOXES, MASKS, Blueprint, Family, Published, queries, queries_network
from trainer.detectors.queries import Answers, Cells, Colours, Labels, Parts, QueryDetector
from trainer.detectors.queries_decode import decode
from trainer.detectors.queries_network import Make
from trainer.recipe import Recipe

_WIDTH = 256
_IMAGENET = Colours((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))

_BOX_MAKE = Make("RF-DETR", "rf_detr", "RfDetrConfig", "RfDetrForObjectDetection", ("class_embed", "model.enc_out_class_embed"))
_MASK_MAKE = Make(
    "RF-DETR with masks",
    "rf_detr",
    "RfDetrConfig",
    "RfDetrForInstanceSegmentation",
    ("model.class_embed", "model.model.enc_out_class_embed"),
)
_BACKBONE = {"model_type": "rf_detr_dinov2", "hidden_size": 384, "num_attention_heads": 6, "patch_size": 16, "num_windows": 2}
_LAST_LAYERS = {"out_features": ["stage3", "stage6", "stage9", "stage12"]}
_DECODER = {"d_model": _WIDTH, "decoder_self_attention_heads": 8, "decoder_cross_attention_heads": 16, "decoder_n_points": 2}


def _settings(side: int, layers: int, **further: Any) -> Mapping[str, Any]:
    return _DECODER | {"decoder_layers": layers, "backbone_config": _BACKBONE | _LAST_LAYERS | {"image_size": side}} | further


def _drawing(side: int, layers: int, objects: int, **backbone: Any) -> Mapping[str, Any]:
    plain = _settings(side, layers, num_queries=objects, class_loss_coefficient=5.0)
    return dict(plain) | {"backbone_config": plain["backbone_config"] | {"patch_size": 12} | backbone}


_SIZES = {
    "rfdetr-nano": _settings(384, 2),
    "rfdetr-small": _settings(512, 3),
    "rfdetr-medium": _settings(576, 4),
    "rfdetr-large": _settings(704, 4),
    "rfdetr-seg-nano": _drawing(312, 4, 100, num_windows=1),
    "rfdetr-seg-small": _drawing(384, 4, 100),
    "rfdetr-seg-medium": _drawing(432, 5, 200),
    "rfdetr-seg-large": _drawing(504, 5, 300),
}
_TINY = {
    "decoder_layers": 2,
    "decoder_ffn_dim": 128,
    "num_queries": 30,
    "group_detr": 2,
    "hidden_expansion": 0.25,
    "c2f_num_blocks": 1,
    "intermediate_size": 256,
}
_TINY_BACKBONE = {
    "hidden_size": 96,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "out_features": ["stage1", "stage2"],
    "image_size": 192,
}

# of their training code: the rates of decoder and backbone, less by the layer, and a fast moving average
_RECIPE = Recipe(
    learning_rate=1e-4,
    warm_learning_rate=5e-5,
    weight_decay=1e-4,
    clip_norm=0.1,
    ema_decay=0.993,
    backbone_rate=0.7,
    layer_decay=0.8,
    small_share=0.0,
    multi_scale=0.25,
)
_COST = {
    "loss_ce": "class_loss_coefficient",
    "loss_bbox": "bbox_loss_coefficient",
    "loss_giou": "giou_loss_coefficient",
    "loss_mask_ce": "mask_class_loss_coefficient",
    "loss_mask_dice": "mask_dice_loss_coefficient",
}


def family(name: str) -> Family:
    """One of the sizes, for boxes or for masks."""
    draws = MASKS if "-seg-" in name else BOXES
    return Family(
        name,
        {BOXES: queries.OUTPUTS, MASKS: queries.MASK_OUTPUTS}[draws],
        partial(_build, name),
        decode,
        {"class_masks": _WIDTH, "box_masks": _WIDTH},
        queries.DROPOUT,
        draws,
        _RECIPE,
        Published(name.replace("rfdetr", "Roboflow/rf-detr"), "Apache-2.0", "COCO"),
    )


def _build(name: str, blueprint: Blueprint) -> nn.Module:
    make, detector = (_MASK_MAKE, RfDetrSeg) if "-seg-" in name else (_BOX_MAKE, RfDetr)
    made = queries_network.make(make, _tiny(_SIZES[name]) if blueprint.tiny else _SIZES[name], blueprint, _WIDTH)
    return detector(made.network, make.class_layers, made.colours or _IMAGENET, blueprint.likelihood)


def _tiny(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**settings, **_TINY, "backbone_config": settings["backbone_config"] | _TINY_BACKBONE}


class _Asked(NamedTuple):
    """The model's own output, and of one with masks their logits from each decoder layer, and from the queries before the first."""

    model: Any
    masks: Sequence[Tensor] = ()
    first_masks: Tensor | None = None


class RfDetr(QueryDetector):
    """The network for boxes."""

    def __init__(self, network: Any, class_layers: tuple[str, ...], colours: Colours, likelihood: str) -> None:
        head = self.head_of(network)
        config = network.config
        backbone = head.model.backbone.backbone
        backbone.embeddings.window_partition = MethodType(_windows, backbone.embeddings)
        [prefix] = [name for name, module in network.named_modules() if module is backbone]
        blocks = (f"{prefix}.encoder.layer.{number}." for number in range(len(backbone.encoder.layer)))
        parts = Parts(
            class_layers,
            (f"{prefix}.embeddings.", *blocks, f"{prefix}.layernorm."),
            (head.class_embed, head.bbox_embed.layers[-1]),
            config.d_model,
        )
        patch = backbone.config.patch_size
        cells = Cells(patch * backbone.config.num_windows, (patch,), config.num_queries)
        super().__init__(network, parts, cells, colours, likelihood, queries_network.architecture(network))

    def head_of(self, network: Any) -> Any:
        """The network that gives classes and boxes."""
        return network

    @property
    def head(self) -> Any:
        """The network that gives classes and boxes."""
        return self.head_of(self.network)

    def ask(self, pixels: Tensor, labels: Labels | None) -> _Asked:
        """See `QueryDetector`."""
        return _Asked(self.head.model(pixels))

    def answers(self, asked: _Asked) -> Answers:
        """In training of the first of several groups of queries, which is the one that is used afterwards."""
        hidden = asked.model.last_hidden_state[:, : self.cells.queries]
        logits, boxes = self.head.predict_class_and_boxes(hidden.float(), self._references(asked))
        return Answers(logits, boxes, hidden, asked.model.backbone_features.mean((2, 3)))

    def terms(self, asked: _Asked, labels: Labels) -> Mapping[str, Tensor]:
        """See `QueryDetector`."""
        logits, boxes = self.head.predict_class_and_boxes(
            asked.model.intermediate_hidden_states.float(), asked.model.intermediate_reference_points.float()
        )
        *earlier, last = (
            {"logits": one, "pred_boxes": two, **three} for one, two, three in zip(logits, boxes, self._drawings(asked), strict=True)
        )
        first = {
            "logits": self.head.predict_encoder_class_logits(asked.model.enc_outputs_class.float()),
            "pred_boxes": asked.model.enc_outputs_coord_logits.float(),
            **self._first_drawing(asked),
        }
        terms = self._criterion()(last | {"auxiliary_outputs": earlier, "enc_outputs": first}, labels)
        weights = {name: getattr(self.network.config, setting) for name, setting in _COST.items()}
        return {name: value * weights[_kind(name)] for name, value in terms.items()}

    def sampled(self, asked: _Asked, answers: Answers, class_masks: Tensor, box_masks: Tensor) -> tuple[Tensor, Tensor]:
        """See `QueryDetector`."""
        layers = self.head.bbox_embed.layers
        shifts = queries.masked(queries.before_last(layers, answers.hidden), layers[-1], box_masks)
        references = self._references(asked)[:, None]
        centre, sides = references[..., :2], references[..., 2:]
        boxes = torch.cat([shifts[..., :2] * sides + centre, shifts[..., 2:].exp() * sides], -1)
        return queries.masked(answers.hidden, self.head.class_embed, class_masks), boxes

    def matched(self, answers: Answers, labels: Labels) -> Sequence[tuple[Tensor, Tensor]]:
        """See `QueryDetector`."""
        config = self.network.config
        matcher = queries_network.part("loss.loss_lw_detr").LwDetrHungarianMatcher(config.class_cost, config.bbox_cost, config.giou_cost)
        pairs: Sequence[tuple[Tensor, Tensor]] = matcher({"logits": answers.logits, "pred_boxes": answers.boxes}, labels, 1)
        return pairs

    def _references(self, asked: _Asked) -> Tensor:
        references: Tensor = asked.model.intermediate_reference_points[-1][:, : self.cells.queries]
        return references

    @property
    def _groups(self) -> int:
        # of queries, each of which answers for all objects; only in training there are several
        return int(self.network.config.group_detr) if self.training else 1

    def _criterion(self) -> Any:
        loss, config = queries_network.part("loss.loss_lw_detr"), self.network.config
        matcher = loss.LwDetrHungarianMatcher(config.class_cost, config.bbox_cost, config.giou_cost)
        return loss.LwDetrImageLoss(matcher, config.num_labels, config.focal_alpha, ["labels", "boxes"], self._groups)

    def _drawings(self, asked: _Asked) -> Iterable[Mapping[str, Tensor]]:
        """The masks of each decoder layer, by the loss's name."""
        return [{}] * len(asked.model.intermediate_hidden_states)

    def _first_drawing(self, asked: _Asked) -> Mapping[str, Tensor]:
        """Those of the queries before the first layer."""
        return {}


class RfDetrSeg(RfDetr):
    """The network for masks, which gives boxes too."""

    def head_of(self, network: Any) -> Any:
        """See `RfDetr`."""
        return network.model

    def ask(self, pixels: Tensor, labels: Labels | None) -> _Asked:
        """See `QueryDetector`."""
        model, size = self.head.model(pixels), pixels.shape[2:]
        masks = self.network.segmentation_head(model.backbone_features, model.intermediate_hidden_states, size)
        first = self.network.segmentation_head(model.backbone_features, model.enc_outputs_class, size, skip_blocks=True) if labels else None
        return _Asked(model, masks, first)

    def drawn(self, asked: _Asked) -> tuple[Tensor, ...]:
        """See `QueryDetector`."""
        return (asked.masks[-1],)

    def terms(self, asked: _Asked, labels: Labels) -> Mapping[str, Tensor]:
        """See `QueryDetector`. An object without a mask is matched by its box's area, and its mask costs nothing."""
        return super().terms(asked, [_with_areas(one) for one in labels])

    def _criterion(self) -> Any:
        loss, config = queries_network.part("loss.loss_rf_detr"), self.network.config
        points = config.mask_point_sample_ratio
        costs = config.mask_class_loss_coefficient, config.mask_dice_loss_coefficient
        matcher = loss.RfDetrHungarianMatcher(config.class_cost, config.bbox_cost, config.giou_cost, points, *costs)
        terms = ["labels", "boxes", "masks"]
        criterion = loss.RfDetrImageLoss(matcher, config.num_labels, config.focal_alpha, terms, self._groups, points)
        criterion.loss_masks = partial(_of_drawn, criterion.loss_masks)
        return criterion

    def _drawings(self, asked: _Asked) -> Iterable[Mapping[str, Tensor]]:
        return [{"pred_masks": one.float()} for one in asked.masks]

    def _first_drawing(self, asked: _Asked) -> Mapping[str, Tensor]:
        return {} if asked.first_masks is None else {"pred_masks": asked.first_masks.float()}


def _kind(name: str) -> str:
    """loss_ce_0 and loss_ce_enc are of the kind loss_ce."""
    return name.rpartition("_")[0] if name.endswith("_enc") or name[-1].isdigit() else name


def _with_areas(labels: dict[str, Tensor]) -> dict[str, Tensor]:
    """Where a mask is empty, the box's area in its place; `drawn` (G,) says where it was not."""
    masks, boxes = labels["masks"], labels["boxes"]
    drawn = masks.flatten(1).any(1)
    inside = [
        ((torch.arange(side, device=boxes.device) + 0.5) / side - boxes[:, axis, None]).abs() <= boxes[:, axis + 2, None] / 2
        for axis, side in ((1, masks.shape[1]), (0, masks.shape[2]))
    ]
    areas = inside[0][:, :, None] & inside[1][:, None]
    return labels | {"masks": torch.where(drawn[:, None, None], masks, areas), "drawn": drawn}


def _of_drawn(loss_masks: Any, outputs: Any, labels: Labels, pairs: Sequence[tuple[Tensor, Tensor]], count: float) -> Mapping[str, Tensor]:
    """The library's mask terms, of the objects that have masks."""
    kept = [(one["drawn"][of.to(one["drawn"].device)].to(of.device), query, of) for one, (query, of) in zip(labels, pairs, strict=True)]
    terms: Mapping[str, Tensor] = loss_masks(outputs, labels, [(query[drawn], of[drawn]) for drawn, query, of in kept], count)
    return terms


def _windows(embeddings: Any, tokens: Tensor, height: int, width: int) -> Tensor:
    """The library's own division of (B, 1 + cells, F) into windows holds of square images only: of others it mixes up the cells."""
    count, patch = embeddings.config.num_windows, embeddings.patch_size
    cells = tokens[:, 1:].reshape(tokens.shape[0], count, height // patch // count, count, width // patch // count, -1)
    windows = cells.transpose(2, 3).flatten(3, 4).flatten(0, 2)
    return torch.cat([tokens[:, :1].repeat(count**2, 1, 1), windows], 1)
