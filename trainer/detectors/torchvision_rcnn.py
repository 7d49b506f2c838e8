"""torchvision's networks of two stages, Faster R-CNN and Mask R-CNN, full and at toy size.

Rule: the full ones on ResNet-50 are torchvision's second version (`fasterrcnn_resnet50_fpn_v2`), so that what it publishes fits.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead

from trainer.detectors.torchvision_backbones import Norm

FEATURES = 1024
"""Of a region, at full size."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """`channels` of the pyramid; `convolutions` before the last layers of boxes and of outlines, by their widths; `features` of a region;
    `depth`, the convolutions of the first stage; in `training`, how many anchors of a level are looked at, regions kept of them, and
    learned from; in `prediction`, how many are looked at and kept."""

    channels: int
    convolutions: tuple[int, ...]
    features: int
    depth: int
    training: tuple[int, int, int]
    # torchvision takes 1000 of each; the second stage costs in proportion
    prediction: tuple[int, int]


FULL = Sizes(256, (256, 256, 256, 256), FEATURES, 2, (2000, 2000, 512), (500, 300))
TINY = Sizes(64, (32,), 128, 1, (200, 100, 32), (100, 40))


def faster_rcnn(body: nn.Module, outputs: int, sizes: Sizes, norm: Norm) -> nn.Module:
    """Faster R-CNN on a backbone with a pyramid; `outputs`: the classes and the background."""
    return FasterRCNN(body, **_of_boxes(outputs, sizes, norm))


def mask_rcnn(body: nn.Module, outputs: int, sizes: Sizes, norm: Norm) -> nn.Module:
    """The same, with a head for outlines, 28 x 28."""
    head = MaskRCNNHeads(sizes.channels, sizes.convolutions, 1, norm_layer=norm)
    width = sizes.convolutions[-1]
    return MaskRCNN(body, mask_head=head, mask_predictor=MaskRCNNPredictor(width, width, outputs), **_of_boxes(outputs, sizes, norm))


def _of_boxes(outputs: int, sizes: Sizes, norm: Norm) -> dict[str, object]:
    """What both of torchvision's networks are made of besides the backbone."""
    anchors = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
    return {
        "rpn_anchor_generator": anchors,
        "rpn_head": _RegionHead(sizes.channels, anchors.num_anchors_per_location()[0], sizes.depth),
        "rpn_pre_nms_top_n_train": sizes.training[0],
        "rpn_post_nms_top_n_train": sizes.training[1],
        "box_batch_size_per_image": sizes.training[2],
        "rpn_pre_nms_top_n_test": sizes.prediction[0],
        "rpn_post_nms_top_n_test": sizes.prediction[1],
        "box_head": FastRCNNConvFCHead((sizes.channels, 7, 7), list(sizes.convolutions), [sizes.features], norm_layer=norm),
        "box_predictor": FastRCNNPredictor(sizes.features, outputs),
    }


class _RegionHead(RPNHead):
    """torchvision's, in float32 whatever it computed in: boxes are not to be rounded to sixteen bits."""

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = super().forward(levels)
        return [one.float() for one in logits], [one.float() for one in deltas]
