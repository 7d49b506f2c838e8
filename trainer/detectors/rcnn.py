"""Faster R-CNN (Ren et al. 2015) and Mask R-CNN (He et al. 2017) of torchvision: regions first, then what each holds, and its outline.

Rule: torchvision has the network, proposes and samples the regions in training, and has the losses but that of the boxes, which also learn
how far off they are (`torchvision_two_stage`). For prediction the way is our own, of fixed shape (`torchvision_graph`), to the same boxes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList

from activelearning.errors import UserError
from trainer.detectors import (
    BOXES,
    MASKS,
    Blueprint,
    Family,
    Targets,
    torchvision_backbones,
    torchvision_decode,
    torchvision_pretrained,
    torchvision_rcnn,
)
from trainer.detectors import torchvision_graph as graph
from trainer.detectors.torchvision_backbones import Pyramid, group_norm
from trainer.detectors.torchvision_heads import masked_linear
from trainer.detectors.torchvision_pretrained import Architecture
from trainer.detectors.torchvision_targets import listed
from trainer.detectors.torchvision_two_stage import AttenuatedRoIHeads

_DROPOUT = 0.1
_CANDIDATES = 500
"""So many pairs of region and class, the most confident, are handed out of an image, or compared before outlines are drawn."""
_OUTLINED = 100
"""So many objects of an image, at most, get an outline."""
_OUTLINED_IOU = 0.6
"""Of two objects of a class that overlap by more than this, one gets an outline, and is handed out; `prediction.nms_iou` can only be
stricter."""
_LEAST_REGION, _LEAST_BOX = 1e-3, 1e-2
"""Pixels; torchvision forgets regions and boxes that are narrower."""
_PUBLISHED = {"fasterrcnn": "FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1", "maskrcnn": "MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1"}
_DRAWS = {"fasterrcnn": BOXES, "maskrcnn": MASKS}
_NETWORKS = {BOXES: torchvision_rcnn.faster_rcnn, MASKS: torchvision_rcnn.mask_rcnn}


def family(name: str) -> Family:
    """`fasterrcnn-` or `maskrcnn-` and a backbone."""
    kind, backbone = name.split("-")
    outlines = (torchvision_decode.MASKS,) if _DRAWS[kind] == MASKS else ()
    return Family(
        name,
        (*torchvision_decode.OUTPUTS, *outlines),
        partial(_build, _DRAWS[kind], backbone),
        torchvision_decode.decoder("deltas"),
        {"feature_masks": torchvision_rcnn.FEATURES},
        _DROPOUT,
        _DRAWS[kind],
        torchvision_backbones.recipe(backbone),
        torchvision_backbones.published(backbone, _PUBLISHED[kind]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """M pairs of region and class of B images, all (B, M) but `boxes` (B, M, 4): `scores`, the class `labels`, the `regions` that they are
    of, and whether they are `real` or only fill the place."""

    scores: Tensor
    labels: Tensor
    regions: Tensor
    boxes: Tensor
    real: Tensor

    def best(self, chosen: Tensor, limit: int) -> "_Candidates":
        """At most so many of those `chosen` (B, M), the most confident."""
        scores, index = torch.where(chosen, self.scores, -1.0).topk(min(limit, chosen.shape[1]))
        labels, regions, boxes = (graph.picked(values, index) for values in (self.labels, self.regions, self.boxes))
        return _Candidates(scores, labels, regions, boxes, scores >= 0)


class TwoStage(nn.Module):
    """Both of them. K below is the number of regions, M of candidates, C of classes, F of features of a region, T of samples."""

    class_layers = ("network.roi_heads.box_predictor", "network.roi_heads.mask_predictor.mask_fcn_logits")
    own_state = ("network.roi_heads.log_std_of_scale",)
    network: GeneralizedRCNN

    def __init__(self, network: GeneralizedRCNN, architecture: Architecture) -> None:
        super().__init__()
        self.network = network
        self.normalise = graph.Normalise()
        self.architecture = str(architecture)
        self.backbone_layers = torchvision_backbones.layers(self, "network.backbone.body")

    def losses(self, images: Tensor, targets: Targets) -> Mapping[str, Tensor]:
        """torchvision's, by its names; `loss_box_reg` is the likelihood of the boxes.

        Raises `UserError` where outlines are to be learned and there are none.
        """
        heads, rpn = self.network.roi_heads, self.network.rpn
        if heads.has_mask() and targets.masks is None:
            raise UserError('Mask R-CNN learns outlines, and there are only boxes: set task = "masks", or choose a fasterrcnn family')
        # torchvision lays anchors, and cuts out regions, in the type of these
        levels = {name: level.float() for name, level in self.network.backbone(self.normalise(images)).items()}
        sizes = [(images.shape[2], images.shape[3])] * len(images)
        truth = listed(targets, first_label=1)
        with _learning(rpn, heads):
            regions, of_regions = rpn(ImageList(images, sizes), levels, truth)
            _, of_objects = heads(levels, regions, sizes, truth)
        return {**of_regions, **of_objects}

    def forward(self, images: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) RGB 0..255 and masks (T, 1024) to `torchvision_decode.OUTPUTS` and, where there is a mask head, outlines
        (B, M, 28, 28); a tiny one takes the first features of a mask."""
        heads = self.network.roi_heads
        *levels, coarsest = self.network.backbone(self.normalise(images)).values()
        regions, real = self._regions(images, [*levels, coarsest])
        cut = graph.pooled(levels, regions, heads.box_roi_pool.output_size[0], heads.box_roi_pool.sampling_ratio)
        features = heads.box_head(cut)
        said = heads.box_predictor.predict(features)
        logits, deltas, log_scales, features = (
            values.reshape(*real.shape, *values.shape[1:]) for values in (said.logits, said.deltas, said.log_scales, features)
        )
        deltas = deltas / deltas.new_tensor(heads.box_coder.weights)
        scores = logits.softmax(2)[..., 1:]
        found = _candidates(images, scores, deltas, regions, real)
        if heads.has_mask():
            found = found.best(graph.kept(found.boxes, found.real, _OUTLINED_IOU, found.labels) & found.real, _OUTLINED)
        outputs = (
            torch.where(found.real, found.labels, -1),
            graph.picked(scores, found.regions),
            graph.picked(regions, found.regions),
            self._own(deltas, found),
            self._own(log_scales, found) + heads.log_std_of_scale - log_scales.new_tensor(heads.box_coder.weights).log(),
            *self._samples(graph.picked(features, found.regions), found.labels, masks),
            graph.picked(features, found.regions),
            torch.cat([level.mean((2, 3)) for level in levels], 1),
        )
        return (*outputs, self._outlines(levels, found)) if heads.has_mask() else outputs

    def _regions(self, images: Tensor, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The regions (B, K, 4) that the first stage proposes, most likely first, and which are real (B, K): the rest fills the place."""
        rpn = self.network.rpn
        anchors = graph.anchors(rpn.anchor_generator, images, levels)
        limit = rpn.pre_nms_top_n()
        objectness, deltas = rpn.head(levels)
        each = [_best_anchors(*level, limit) for level in zip(objectness, deltas, anchors, strict=True)]
        most = max(scores.shape[1] for scores, _ in each)
        scores = torch.stack([functional.pad(one, (0, most - one.shape[1]), value=-1.0) for one, _ in each], 1)
        boxes = graph.clipped(torch.stack([functional.pad(one, (0, 0, 0, most - one.shape[1])) for _, one in each], 1), images)
        stays = graph.kept(boxes, (scores >= 0) & graph.has_sides(boxes, _LEAST_REGION), rpn.nms_thresh)
        remaining = torch.where(stays, scores, -1.0).flatten(1)
        best, index = remaining.topk(min(rpn.post_nms_top_n(), remaining.shape[1]))
        return graph.picked(boxes.flatten(1, 2), index), best >= 0

    def _own(self, values: Tensor, found: _Candidates) -> Tensor:
        """What is said of each candidate's own class (B, M, 4), of values (B, K, 1 + C, 4)."""
        return graph.own(graph.picked(values, found.regions), found.labels + 1)

    def _samples(self, features: Tensor, labels: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, T, M, C), and codes of the own class (B, T, M, 4), of features (B, M, F)."""
        predictor, coder = self.network.roi_heads.box_predictor, self.network.roi_heads.box_coder
        layers = [predictor.cls_score, predictor.bbox_pred]
        logits, deltas = masked_linear(features.flatten(0, 1), layers, masks[:, : features.shape[2]])
        label = (labels + 1).flatten()[:, None].expand(-1, masks.shape[0])
        codes = graph.own(deltas.unflatten(2, (-1, 4)), label) / deltas.new_tensor(coder.weights)
        scores, codes = (one.reshape(*labels.shape, *one.shape[1:]).transpose(1, 2) for one in (logits.softmax(2)[..., 1:], codes))
        return scores, codes

    def _outlines(self, levels: list[Tensor], found: _Candidates) -> Tensor:
        """Of each candidate the probabilities (B, M, 28, 28) of its own class."""
        heads = self.network.roi_heads
        cut = graph.pooled(levels, found.boxes, heads.mask_roi_pool.output_size[0], heads.mask_roi_pool.sampling_ratio)
        drawn = heads.mask_predictor(heads.mask_head(cut)).flatten(2)
        outlines = graph.own(drawn, (found.labels + 1).flatten()).sigmoid()
        side = 2 * heads.mask_roi_pool.output_size[0]
        return outlines.reshape(*found.labels.shape, side, side)


def _best_anchors(objectness: Tensor, deltas: Tensor, anchors: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The probability (B, N) that there is an object, and the box (B, N, 4), of the best anchors of a level, most likely first."""
    likely = graph.by_anchor(objectness, 1)[..., 0]
    best, index = likely.topk(min(limit, likely.shape[1]))
    return best.sigmoid(), graph.decoded(graph.picked(graph.by_anchor(deltas, 4), index), anchors[index])


def _candidates(images: Tensor, scores: Tensor, deltas: Tensor, regions: Tensor, real: Tensor) -> _Candidates:
    """The most confident pairs of a real region and a class: scores (B, K, C), deltas (B, K, 1 + C, 4), regions (B, K, 4)."""
    best, region, label = graph.pairs(torch.where(real[..., None], scores, -1.0), _CANDIDATES)
    codes = graph.own(graph.picked(deltas, region), label + 1)
    boxes = graph.clipped(graph.decoded(codes, graph.picked(regions, region)), images)
    return _Candidates(best, label, region, boxes, (best >= 0) & graph.has_sides(boxes, _LEAST_BOX))


@contextmanager
def _learning(*modules: nn.Module) -> Iterator[None]:
    """Within, these give losses, even of a model that is only evaluated; what they are made of stays as it is."""
    modes = [module.training for module in modules]
    for module in modules:
        module.training = True
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def _build(draws: str, backbone: str, blueprint: Blueprint) -> nn.Module:
    architecture = torchvision_pretrained.architecture_of(blueprint)
    sizes = torchvision_rcnn.TINY if architecture.tiny else torchvision_rcnn.FULL
    norm = nn.BatchNorm2d if backbone == "resnet50" else group_norm
    network = torchvision_pretrained.assembled(
        blueprint,
        backbone,
        Pyramid(4, sizes.channels, norm),
        lambda body: _NETWORKS[draws](body, blueprint.classes + 1, sizes, norm),
        TwoStage.class_layers,
    )
    network.roi_heads = AttenuatedRoIHeads(network.roi_heads, blueprint.likelihood, _DROPOUT)
    return TwoStage(network, architecture)
