"""torchvision's FCOS head (Tian et al. 2019) with a scale for the distance to every side.

Rule: torchvision assigns the points and has its three losses; the likelihood of the distances is a fourth (`box_likelihood`), which
teaches the scales. Shapes: B images, A points of all levels, level by level, row by row. Distances are in strides of the point's level.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOSHead, FCOSRegressionHead

from trainer.detectors.box_likelihood import LOG_STD_OF_SCALE, nll, soft_bounded
from trainer.detectors.torchvision_graph import by_anchor

_LIKELIHOOD_WEIGHT = 0.1
"""The boxes learn mostly from their GIoU, as in torchvision; beside it, this is enough for the scales."""


class ScaledRegressionHead(FCOSRegressionHead):
    """torchvision's tower and its two layers, copied, with channel dropout before them in training, and a third layer for the scales."""

    def __init__(self, plain: FCOSRegressionHead, kind: str, dropout: float) -> None:
        super().__init__(plain.bbox_reg.in_channels, 1)
        self.conv = copy.deepcopy(plain.conv).append(nn.Dropout2d(dropout))
        self.bbox_reg, self.bbox_ctrness = copy.deepcopy(plain.bbox_reg), copy.deepcopy(plain.bbox_ctrness)
        self.log_scale = copy.deepcopy(plain.bbox_reg)
        # every scale is one stride at first
        nn.init.zeros_(self.log_scale.weight)
        nn.init.zeros_(self.log_scale.bias)
        # beside the weights, so that it is known what their scales mean whatever the settings say by then
        self.register_buffer("log_std_of_scale", torch.tensor(LOG_STD_OF_SCALE[kind]))

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Distances (B, A, 4), centredness (B, A, 1) and the logarithm of the distances' scales (B, A, 4)."""
        towers = [self.conv(features) for features in levels]
        heads = (self.bbox_reg, 4), (self.bbox_ctrness, 1), (self.log_scale, 4)
        distances, centredness, scales = (torch.cat([by_anchor(layer(one), n) for one in towers], 1) for layer, n in heads)
        return distances.relu(), centredness, soft_bounded(scales.float())


class ScaledFCOSHead(FCOSHead):
    """The head that learns how far off its sides are; `model.head = ScaledFCOSHead(model.head, ...)`.

    It copies the weights of `plain`: make the optimiser afterwards.
    """

    def __init__(self, plain: FCOSHead, kind: str, dropout: float) -> None:
        classes = plain.classification_head
        super().__init__(classes.cls_logits.in_channels, 1, classes.num_classes)
        self.classification_head = copy.deepcopy(classes)
        self.classification_head.conv.append(nn.Dropout2d(dropout))
        self.regression_head = ScaledRegressionHead(plain.regression_head, kind, dropout)
        self.kind = kind

    def forward(self, levels: list[Tensor]) -> dict[str, Tensor]:
        """As torchvision's, with `log_scales` (B, A, 4) besides."""
        distances, centredness, scales = self.regression_head(levels)
        logits = self.classification_head(levels)
        return {"cls_logits": logits, "bbox_regression": distances, "bbox_ctrness": centredness, "log_scales": scales}

    def compute_loss(
        self, targets: list[dict[str, Tensor]], head_outputs: dict[str, Tensor], anchors: list[Tensor], matched_idxs: list[Tensor]
    ) -> dict[str, Tensor]:
        """torchvision's losses, and `bbox_scales`: the likelihood of the distances, a mean over the sides of all points on objects."""
        losses: dict[str, Tensor] = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        predicted = zip(head_outputs["bbox_regression"], head_outputs["log_scales"], anchors, targets, matched_idxs, strict=True)
        sides = torch.cat([self._sides(*image) for image in predicted])
        return losses | {"bbox_scales": _LIKELIHOOD_WEIGHT * sides.sum() / max(1, sides.numel())}

    def _sides(self, distances: Tensor, log_scales: Tensor, anchors: Tensor, target: dict[str, Tensor], matched: Tensor) -> Tensor:
        """The likelihood (N, 4) of one image's sides."""
        foreground = (matched >= 0).nonzero()[:, 0]
        truth = self.box_coder.encode(anchors[foreground], target["boxes"][matched[foreground]])
        return nll(self.kind, distances[foreground] - truth, log_scales[foreground])
