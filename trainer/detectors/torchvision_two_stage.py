"""The box head of torchvision's two-stage detectors, with a scale for every box coordinate and Monte-Carlo samples of its last layers.

Rule: torchvision matches and samples the proposals; only the loss of the boxes is ours, the likelihood in place of smooth L1, with
the same normalisation (`trainer.detectors.box_likelihood`). In training, deltas and scales are in the units of torchvision's box
coder; samples are in shares of the region, the coder's weights divided out, to be decoded with weights of 1. Shapes: N regions,
F features, C classes with the background first, T samples. Deltas are dx, dy, dw, dh (Girshick 2015).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_loss

from trainer.detectors.box_likelihood import LOG_STD_OF_SCALE, nll, soft_bounded
from trainer.detectors.torchvision_heads import masked_linear


@dataclass(frozen=True, slots=True, eq=False)
class BoxPrediction:
    """Of N regions: `logits` (N, C), `deltas` and `log_scales` (N, C, 4)."""

    logits: Tensor
    deltas: Tensor
    log_scales: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Of B images the N regions that the first stage proposes: `features` (N, F), the last that classes and boxes share;
    `xyxy` (N, 4) in pixels of the resized image; `image` (N,) whose they are; `sizes` (height, width) of the B resized images."""

    features: Tensor
    xyxy: Tensor
    image: Tensor
    sizes: list[tuple[int, int]]


class AttenuatedPredictor(FastRCNNPredictor):
    """torchvision's predictor and a third layer; the names of the other two, and so their weights, stay the same."""

    def __init__(self, plain: FastRCNNPredictor, dropout: float) -> None:
        super().__init__(plain.cls_score.in_features, plain.cls_score.out_features)
        self.load_state_dict(plain.state_dict())
        self.dropout = nn.Dropout(dropout)
        self.log_scale = nn.Linear(plain.bbox_pred.in_features, plain.bbox_pred.out_features)
        # every scale is 1 at first, and the Laplace likelihood the plain absolute error
        nn.init.zeros_(self.log_scale.weight)
        nn.init.zeros_(self.log_scale.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, C) and deltas (N, 4C), what torchvision expects of a predictor."""
        features = self.dropout(features.flatten(1))
        return self.cls_score(features), self.bbox_pred(features)

    def predict(self, features: Tensor) -> BoxPrediction:
        """All three, of one pass with one dropout mask."""
        features = self.dropout(features.flatten(1))
        deltas, log_scales = (layer(features).unflatten(1, (-1, 4)) for layer in (self.bbox_pred, self.log_scale))
        return BoxPrediction(self.cls_score(features).float(), deltas.float(), soft_bounded(log_scales.float()))


class AttenuatedRoIHeads(RoIHeads):
    """The second stage that learns how far off its boxes are; `model.roi_heads = AttenuatedRoIHeads(model.roi_heads, ...)`.

    It takes over the settings and modules of `plain`, a mask head too, but for the predictor, whose weights it copies: make the optimiser
    afterwards. Raises ValueError of a keypoint head.
    """

    def __init__(self, plain: RoIHeads, kind: str, dropout: float) -> None:
        if plain.has_keypoint():
            raise ValueError(
                "the likelihood of boxes is for box and mask heads: this model has a keypoint head, which would not be trained"
            )
        super().__init__(
            plain.box_roi_pool,
            plain.box_head,
            AttenuatedPredictor(plain.box_predictor, dropout),
            plain.proposal_matcher.high_threshold,
            plain.proposal_matcher.low_threshold,
            plain.fg_bg_sampler.batch_size_per_image,
            plain.fg_bg_sampler.positive_fraction,
            plain.box_coder.weights,
            plain.score_thresh,
            plain.nms_thresh,
            plain.detections_per_img,
            plain.mask_roi_pool,
            plain.mask_head,
            plain.mask_predictor,
        )
        self.kind = kind
        # beside the weights, so that it is known what their scales mean whatever the settings say by then
        self.register_buffer("log_std_of_scale", torch.tensor(LOG_STD_OF_SCALE[kind]))

    def forward(
        self,
        features: Mapping[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """As torchvision's: in training no detections and the losses by name, else the detections and no losses."""
        if not self.training:
            return super().forward(features, proposals, image_shapes, targets)
        proposals, matched, labels, truth = self.select_training_samples(proposals, targets)
        predicted = self.box_predictor.predict(self.box_head(self.box_roi_pool(features, proposals, image_shapes)))
        classes = functional.cross_entropy(predicted.logits, torch.cat(labels))
        losses = {"loss_classifier": classes, "loss_box_reg": box_nll(self.kind, predicted, torch.cat(labels), torch.cat(truth))}
        if self.has_mask() and targets:
            losses["loss_mask"] = self._mask_loss(features, proposals, image_shapes, targets, labels, matched)
        return [], losses

    def _mask_loss(
        self,
        features: Mapping[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]],
        labels: list[Tensor],
        matched: list[Tensor],
    ) -> Tensor:
        """torchvision's, of the regions that are objects with a mask that is not empty; 0, and no statistics of nothing in the batch norms,
        where there are none."""
        drawn_of = [(target["masks"] != 0).flatten(1).any(1) for target in targets]
        objects_at = [(one > 0).nonzero()[:, 0] for one in labels]
        foreground = [at[has[to[at]]] for at, has, to in zip(objects_at, drawn_of, matched, strict=True)]
        if not any(len(at) for at in foreground):
            return proposals[0].new_zeros(())
        regions, objects = ([one[at] for one, at in zip(parts, foreground, strict=True)] for parts in (proposals, matched))
        drawn = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, regions, image_shapes)))
        truths = [[target[name] for target in targets] for name in ("masks", "labels")]
        loss: Tensor = maskrcnn_loss(drawn.float(), regions, *truths, objects)
        return loss


def box_nll(kind: str, predicted: BoxPrediction, labels: Tensor, truth: Tensor) -> Tensor:
    """Likelihood of the true deltas (N, 4) of the foreground, by the coordinates of their own class (N,), 0 being background.

    Summed over boxes and coordinates and divided by all N, as torchvision does, so that background dilutes it.
    """
    foreground = (labels > 0).nonzero()[:, 0]
    own = foreground, labels[foreground]
    return nll(kind, predicted.deltas[own] - truth[foreground], predicted.log_scales[own]).sum() / max(1, len(labels))


class BoxHeadSamples(nn.Module):
    """T samples of the last layers, for export; see `trainer.detectors.torchvision_heads.Samples`."""

    inputs: ClassVar[Mapping[str, str]] = {"features": "regions", "masks": "samples"}
    outputs: ClassVar[tuple[str, ...]] = ("logits", "deltas", "log_stds")
    coder_weights: Tensor
    log_std_of_scale: Tensor

    def __init__(self, heads: AttenuatedRoIHeads) -> None:
        super().__init__()
        self.predictor = heads.box_predictor
        self.register_buffer("log_std_of_scale", heads.log_std_of_scale)
        self.register_buffer("coder_weights", torch.tensor(heads.box_coder.weights))

    def forward(self, features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features (N, F) and masks (T, F) to logits (T, N, C), deltas and the logarithm of their standard deviations (T, N, C, 4)."""
        layers = self.predictor.cls_score, self.predictor.bbox_pred, self.predictor.log_scale
        logits, deltas, log_scales = (part.transpose(0, 1) for part in masked_linear(features, layers, masks))
        log_stds = soft_bounded(log_scales.unflatten(2, (-1, 4))) + self.log_std_of_scale
        return logits, deltas.unflatten(2, (-1, 4)) / self.coder_weights, log_stds - self.coder_weights.log()


@torch.no_grad()
def propose(model: GeneralizedRCNN, images: Sequence[Tensor]) -> Regions:
    """The regions of images (3, H, W) RGB 0..1, in torch: their number depends on the image, which no exporter can express.

    Raises ValueError of a model in training mode.
    """
    if model.training:
        raise ValueError("a model in training mode drops features and samples its proposals: call eval() first")
    batch, _ = model.transform(list(images))
    levels = model.backbone(batch.tensors)
    proposals, _ = model.rpn(batch, levels)
    pooled = model.roi_heads.box_roi_pool(levels, proposals, batch.image_sizes)
    image = torch.cat([torch.full((len(one),), index, device=one.device) for index, one in enumerate(proposals)])
    return Regions(model.roi_heads.box_head(pooled), torch.cat(proposals), image, batch.image_sizes)
