"""torchvision's RetinaNet with a scale for every box coordinate, and Monte-Carlo samples of its last layers.

Rule: torchvision matches the anchors and has the classification's focal loss; the boxes' loss is their likelihood in place of L1, with
the same normalisation (`trainer.detectors.box_likelihood`). Shapes: B images, A anchors of all levels, level by level, row by row; C
classes; T samples; F channels of a tower. Deltas are dx, dy, dw, dh in shares of the anchor (Girshick 2015).
"""

import copy
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet, RetinaNetHead, RetinaNetRegressionHead

from trainer.detectors.box_likelihood import LOG_STD_OF_SCALE, nll, soft_bounded
from trainer.detectors.torchvision_graph import by_anchor
from trainer.detectors.torchvision_heads import masked_conv


class AttenuatedRegressionHead(RetinaNetRegressionHead):
    """torchvision's tower and box layer, copied, with channel dropout between them in training, and a second layer for the scales."""

    def __init__(self, plain: RetinaNetRegressionHead, kind: str, dropout: float) -> None:
        super().__init__(plain.bbox_reg.in_channels, plain.bbox_reg.out_channels // 4)
        self.conv = copy.deepcopy(plain.conv).append(nn.Dropout2d(dropout))
        self.bbox_reg = copy.deepcopy(plain.bbox_reg)
        self.box_coder = plain.box_coder
        self.log_scale = copy.deepcopy(plain.bbox_reg)
        # every scale is 1 at first, and the Laplace likelihood the plain absolute error
        nn.init.zeros_(self.log_scale.weight)
        nn.init.zeros_(self.log_scale.bias)
        self.kind = kind
        # beside the weights, so that it is known what their scales mean whatever the settings say by then
        self.register_buffer("log_std_of_scale", torch.tensor(LOG_STD_OF_SCALE[kind]))

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Deltas and the logarithm of their scales (B, A, 4)."""
        towers = [self.conv(features) for features in levels]
        deltas, log_scales = (torch.cat([by_anchor(layer(one), 4) for one in towers], 1) for layer in (self.bbox_reg, self.log_scale))
        return deltas, soft_bounded(log_scales.float())

    def compute_loss(
        self, targets: list[dict[str, Tensor]], head_outputs: dict[str, Tensor], anchors: list[Tensor], matched_idxs: list[Tensor]
    ) -> Tensor:
        """Likelihood of the matched boxes, a mean over each image's matched anchors, summed over the coordinates; the images' mean."""
        predicted = head_outputs["bbox_regression"], head_outputs["log_scales"]
        images = zip(*predicted, anchors, targets, matched_idxs, strict=True)
        return torch.stack([self._image_loss(*image) for image in images]).mean()

    def _image_loss(self, deltas: Tensor, log_scales: Tensor, anchors: Tensor, target: dict[str, Tensor], matched: Tensor) -> Tensor:
        foreground = (matched >= 0).nonzero()[:, 0]
        truth = self.box_coder.encode_single(target["boxes"][matched[foreground]], anchors[foreground])
        return nll(self.kind, deltas[foreground] - truth, log_scales[foreground]).sum() / max(1, len(foreground))


class AttenuatedHead(RetinaNetHead):
    """The head that learns how far off its boxes are; `model.head = AttenuatedHead(model.head, ...)`.

    It copies the weights of `plain`: make the optimiser afterwards.
    """

    def __init__(self, plain: RetinaNetHead, kind: str, dropout: float) -> None:
        classes = plain.classification_head
        super().__init__(classes.cls_logits.in_channels, classes.num_anchors, classes.num_classes)
        self.classification_head = copy.deepcopy(classes)
        self.classification_head.conv.append(nn.Dropout2d(dropout))
        self.regression_head = AttenuatedRegressionHead(plain.regression_head, kind, dropout)

    def forward(self, levels: list[Tensor]) -> dict[str, Tensor]:
        """As torchvision's, with `log_scales` (B, A, 4) besides; in units of the deltas."""
        deltas, log_scales = self.regression_head(levels)
        return {"cls_logits": self.classification_head(levels), "bbox_regression": deltas, "log_scales": log_scales}


class RetinaNetSamples(nn.Module):
    """The whole network up to its last layers once, and T samples of these, for export; see `torchvision_heads.Samples`."""

    inputs: ClassVar[Mapping[str, str]] = {"images": "batch", "class_masks": "samples", "box_masks": "samples"}
    outputs: ClassVar[tuple[str, ...]] = ("logits", "deltas", "log_stds")
    mean: Tensor
    std: Tensor
    log_std_of_scale: Tensor

    def __init__(self, model: RetinaNet) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.head = model.head
        self.register_buffer("log_std_of_scale", model.head.regression_head.log_std_of_scale)
        self.register_buffer("mean", 255 * torch.tensor(model.transform.image_mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(model.transform.image_std).view(1, 3, 1, 1))

    def forward(self, images: Tensor, class_masks: Tensor, box_masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (B, 3, H, W) RGB 0..255, both sides multiples of 32, and channel masks (T, F) of both towers to logits (B, T, A, C),
        deltas and the logarithm of their standard deviations (B, T, A, 4)."""
        levels = _levels(self.backbone, (images - self.mean) / self.std)
        samples = [self._level(features, class_masks, box_masks) for features in levels]
        logits, deltas, log_scales = (torch.cat(parts, 2) for parts in zip(*samples, strict=True))
        return logits, deltas, soft_bounded(log_scales) + self.log_std_of_scale

    def _level(self, features: Tensor, class_masks: Tensor, box_masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        classes, boxes = self.head.classification_head, self.head.regression_head
        (logits,) = masked_conv(classes.conv(features), [classes.cls_logits], class_masks)
        deltas, log_scales = masked_conv(boxes.conv(features), [boxes.bbox_reg, boxes.log_scale], box_masks)
        return by_anchor(logits, classes.num_classes), by_anchor(deltas, 4), by_anchor(log_scales, 4)


@torch.no_grad()
def anchors(model: RetinaNet, input_size: tuple[int, int]) -> Tensor:
    """The anchors (A, 4) of an input (W, H), corners in its pixels, in the order of the outputs; the model stays as it is."""
    images = torch.zeros(1, 3, input_size[1], input_size[0])
    levels = _levels(copy.deepcopy(model.backbone).cpu().eval(), images)
    (corners,) = model.anchor_generator(ImageList(images, [(input_size[1], input_size[0])]), levels)
    return corners


def _levels(backbone: nn.Module, images: Tensor) -> list[Tensor]:
    features = backbone(images)
    return [features] if isinstance(features, Tensor) else list(features.values())
