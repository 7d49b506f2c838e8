"""What detectors with object queries have in common: a decoder turns a fixed number of queries into a class and a box each (DETR, Carion
et al. 2020).

Rule: the network is its makers' own and learns by their losses with their weights; nothing in it is changed but what would be wrong.
Around it stands what the contract asks for and they do not have: pixels from 0 to 255, input of any size, how far off each box is likely
to be (`box_likelihood`), and Monte-Carlo dropout before the last layers (`compact` tells how), with masks as inputs.

Shapes: B images, Q queries, C classes, F channels of a query, T Monte-Carlo samples. Boxes are centre x, centre y, width and height, as
shares of the image.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.detectors import EMBEDDING, Targets, box_likelihood

OUTPUTS = ("logits", "boxes", "log_stds", "sampled_logits", "sampled_boxes", "features", EMBEDDING)
MASK_OUTPUTS = (*OUTPUTS, "mask_logits")
DROPOUT = 0.1
"""The share of channels that are dropped before the last layers."""

Labels = list[dict[str, Tensor]]
"""The objects of each image as the networks take them: `class_labels` (G,), `boxes` (G, 4); `masks` (G, H, W) where they are learned."""

_TERMS = {"ce": "classes", "vfl": "classes", "bbox": "boxes", "giou": "overlap", "fgl": "sides", "ddf": "distillation"} | {
    "mask_ce": "masks",
    "mask_dice": "mask_overlap",
}
_TERM = re.compile(r"loss_(mask_ce|mask_dice|[a-z]+)")
# the optimizer divides by a gradient's own size, so the scales learn as fast; and they hardly lengthen the gradient that is clipped
_SCALE_WEIGHT = 0.01
_FIRST_LOG_SCALE = math.log(0.1)


class Answers(NamedTuple):
    """What a network says of each query: `logits` (B, Q, C), `boxes` (B, Q, 4), and the decoder's last state, `hidden` (B, Q, F);
    and of each image, `scene` (B, D)."""

    logits: Tensor
    boxes: Tensor
    hidden: Tensor
    scene: Tensor


@dataclass(frozen=True, slots=True)
class Cells:
    """What a network needs of its input: sides that are multiples of `step`, and at least `queries` cells to choose from, of all `strides`
    together."""

    step: int
    strides: tuple[int, ...]
    queries: int

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The smallest size that will do, not below (height, width) and nearly of that shape."""
        share = sum(1 / stride**2 for stride in self.strides)
        larger = max(1.0, math.sqrt(self.queries / (height * width * share)))
        return math.ceil(height * larger / self.step) * self.step, math.ceil(width * larger / self.step) * self.step


@dataclass(frozen=True, slots=True)
class Colours:
    """What a network takes a pixel's red, green and blue 0..255 for: less `mean`, by `std`."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """Where things are in a network: `class_layers` and `backbone_layers` as `Detector` has them, but by the network's own names; `last`:
    the linear layers that give classes and boxes; `width`: the channels F of a query."""

    class_layers: tuple[str, ...]
    backbone_layers: tuple[str, ...]
    last: tuple[nn.Linear, ...]
    width: int


class QueryDetector(nn.Module, ABC):
    """A network of the library `transformers` as a `Detector`; a family says how its network is asked, and what it costs."""

    own_state = ("log_std_of_scale",)
    losses_per_object = True
    log_std_of_scale: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, network: Any, parts: Parts, cells: Cells, colours: Colours, likelihood: str, architecture: str) -> None:
        super().__init__()
        self.class_layers = tuple(f"network.{name}" for name in parts.class_layers)
        self.backbone_layers = tuple(f"network.{name}" for name in parts.backbone_layers)
        self.architecture = architecture
        self.likelihood = likelihood
        self.cells = cells
        self.network = network
        self.log_scales = nn.Linear(parts.width, 4)
        nn.init.zeros_(self.log_scales.weight)
        nn.init.constant_(self.log_scales.bias, _FIRST_LOG_SCALE)
        # beside the weights, so that it is known what their scales mean whatever the settings say by then
        self.register_buffer("log_std_of_scale", torch.tensor(box_likelihood.LOG_STD_OF_SCALE[likelihood]))
        self.register_buffer("mean", torch.tensor(colours.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(colours.std).view(1, 3, 1, 1))
        for layer in parts.last:
            layer.register_forward_pre_hook(_drop)

    @abstractmethod
    def ask(self, pixels: Tensor, labels: Labels | None) -> Any:
        """What the network makes of normalised pixels (B, 3, H, W); some learn from noisy `labels` too."""

    @abstractmethod
    def answers(self, asked: Any) -> Answers:
        """What its last layer says."""

    @abstractmethod
    def terms(self, asked: Any, labels: Labels) -> Mapping[str, Tensor]:
        """Its loss terms by their own names, weighted."""

    @abstractmethod
    def sampled(self, asked: Any, answers: Answers, class_masks: Tensor, box_masks: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, T, Q, C) and boxes (B, T, Q, 4) under masks (T, F) of what goes into the last layers."""

    def drawn(self, asked: Any) -> tuple[Tensor, ...]:
        """The mask logits (B, Q, h, w), of a network that draws masks."""
        return ()

    def forward(self, images: Tensor, class_masks: Tensor | None = None, box_masks: Tensor | None = None) -> tuple[Tensor, ...]:
        """(B, 3, H, W) RGB 0..255 to logits (B, Q, C), boxes (B, Q, 4), and the logarithm of the standard deviation of each of their
        corners xmin, ymin, xmax, ymax, as shares of the image (B, Q, 4).

        With masks, (T, F) each, 0 for a channel that is dropped and 1 / (1 - rate) for one that is kept, also logits (B, T, Q, C) and boxes
        (B, T, Q, 4) under each of them; then, of no mask, features (B, Q, F), the image embedding (B, D), and mask logits if any."""
        asked = self.ask(self._pixels(images), None)
        answers = self.answers(asked)
        log_stds = self._log_scales(answers.hidden) + _sides(answers.boxes).log() + self.log_std_of_scale
        plain = answers.logits, answers.boxes, log_stds
        if class_masks is None or box_masks is None:
            return plain
        return *plain, *self.sampled(asked, answers, class_masks, box_masks), answers.hidden, answers.scene, *self.drawn(asked)

    def losses(self, images: Tensor, targets: Targets) -> Mapping[str, Tensor]:
        """The network's own terms, those of a kind from all its layers added up, and `scales`, the likelihood of the boxes' errors."""
        labels = labels_of(targets, (images.shape[3], images.shape[2]))
        asked = self.ask(self._pixels(images), labels)
        with torch.autocast(images.device.type, enabled=False):
            answers = Answers(*(one.float() for one in self.answers(asked)))
            if not (answers.boxes.isfinite().all() and answers.logits.isfinite().all()):
                # the library would say that they are no corners; whoever trains says that training diverged
                return {"classes": answers.logits.sum(), "boxes": answers.boxes.sum()}
            return added_up(self.terms(asked, labels)) | {"scales": self._scale_loss(answers, labels)}

    @abstractmethod
    def matched(self, answers: Answers, labels: Labels) -> Sequence[tuple[Tensor, Tensor]]:
        """Of each image which queries answer for which of its objects, as the network's own loss pairs them."""

    def _pixels(self, images: Tensor) -> Tensor:
        pixels = torch.addcmul(-self.mean / self.std, images, 1 / self.std)
        height, width = images.shape[2:]
        size = self.cells.size(height, width)
        return pixels if size == (height, width) else functional.interpolate(pixels, size, mode="bilinear", align_corners=False)

    def _log_scales(self, hidden: Tensor) -> Tensor:
        """Of each corner's error, which is a share of the box's side."""
        return box_likelihood.soft_bounded(self.log_scales(hidden))

    def _scale_loss(self, answers: Answers, labels: Labels) -> Tensor:
        """Only `log_scales` learns from it, so that boxes are learned as their makers meant them to be."""
        pairs = self.matched(answers, labels)
        image = torch.cat([torch.full_like(query, number) for number, (query, _) in enumerate(pairs)])
        query = torch.cat([query for query, _ in pairs])
        truth = torch.cat([one["boxes"][of] for one, (_, of) in zip(labels, pairs, strict=True)])
        boxes = answers.boxes[image, query].detach()
        # a box that is off by more than its own side is not yet on its object at all
        errors = ((_corners(boxes) - _corners(truth)) / _sides(boxes)).clamp(-1, 1)
        costs = box_likelihood.nll(self.likelihood, errors, self._log_scales(answers.hidden[image, query].detach()))
        return _SCALE_WEIGHT * costs.sum() / max(1, costs.numel())


class FullPrecision(nn.Module):
    """From here on float32, in the middle of a network that runs in bfloat16, whose 8 bits tell an image of 1000 pixels only by fours."""

    def forward(self, features: Tensor) -> Tensor:
        """The same numbers."""
        return features.float()


def labels_of(targets: Targets, size: tuple[int, int]) -> Labels:
    """Of each image without padding, its boxes as shares of an input of `size` (W, H)."""
    corners = targets.boxes / targets.boxes.new_tensor([*size, *size])
    boxes = torch.cat([(corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]], -1)
    named = {"class_labels": targets.labels, "boxes": boxes} | ({} if targets.masks is None else {"masks": targets.masks})
    return [{name: value[row][valid] for name, value in named.items()} for row, valid in enumerate(targets.valid)]


def added_up(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Terms named loss_KIND, loss_KIND_aux_0, …, by kind; what is no loss is left out."""
    total: dict[str, Tensor] = {}
    for name, value in terms.items():
        if found := _TERM.match(name):
            kind = _TERMS[found[1]]
            # of nothing to learn some terms are empty instead of 0
            total[kind] = total.get(kind, value.new_zeros(())) + value.sum()
    return total


def masked(features: Tensor, layer: nn.Linear, masks: Tensor) -> Tensor:
    """The layer's answers (B, T, Q, K) for features (B, Q, F) under each of T masks (T, F): one product with T times as many columns."""
    thinned = (masks[:, None, :] * layer.weight[None]).flatten(0, 1)
    product: Any = functional.linear(features, thinned)
    answers: Tensor = product.unflatten(2, (-1, layer.out_features)).transpose(1, 2) + layer.bias
    return answers


def before_last(layers: Iterable[nn.Linear], features: Tensor) -> Tensor:
    """What goes into the last layer of a perceptron with rectifiers between its `layers`."""
    for layer in [*layers][:-1]:
        features = functional.relu(layer(features))
    return features


def _drop(layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (functional.dropout(inputs[0], DROPOUT, layer.training),)


def _corners(boxes: Tensor) -> Tensor:
    return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)


def _sides(boxes: Tensor) -> Tensor:
    """Width, height, width, height; of a box without extent not quite nothing."""
    return torch.cat([boxes[..., 2:], boxes[..., 2:]], -1).clamp(min=1e-3)
