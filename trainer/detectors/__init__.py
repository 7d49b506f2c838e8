"""The families of detectors, and what each must be able to do.

Rule: a family is one module of this package with `build` and `decode`, imported when it is asked for. In training a model turns
images and targets into losses; exported it turns images (B, 3, H, W), float RGB 0..255, into fixed tensors, which `decode` reads
with numpy alone. A family with dropout before its last layers takes masks of it as further inputs, (T, channels) each, for any T.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from activelearning.errors import UserError
from activelearning.settings import Prediction
from trainer.detections import Detections

EMBEDDING = "embedding"
"""The output, where a family has it, that says what each image as a whole looks like to the model, (B, D): alike images, alike rows."""

_FAMILIES = {"compact": "trainer.detectors.compact"}


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """The objects of B images, padded to the largest number G.

    `boxes` (B, G, 4) input pixel corners xmin, ymin, xmax, ymax; `labels` (B, G) int64; `valid` (B, G) bool, False for padding.
    """

    boxes: Tensor
    labels: Tensor
    valid: Tensor

    def to(self, device: torch.device) -> "Targets":
        """The same targets on another device."""
        return Targets(self.boxes.to(device), self.labels.to(device), self.valid.to(device))


class Detector(Protocol):
    """A model of a family, an `nn.Module`; `model(images, *masks)` is what is exported."""

    class_layers: tuple[str, ...]
    """Names of the sub-modules that depend on the classes: a warm start with other classes leaves them fresh."""

    own_state: tuple[str, ...]
    """Names in its state that say how this model was built; a warm start never takes them from another."""

    def losses(self, images: Tensor, targets: Targets) -> Mapping[str, Tensor]:
        """The weighted loss terms by name, each a scalar; training minimises their sum."""
        ...

    def __call__(self, images: Tensor, *masks: Tensor) -> tuple[Tensor, ...]: ...


class Family(Protocol):
    """A module of this package."""

    outputs: tuple[str, ...]
    """Names of the exported tensors, in order; one may be `EMBEDDING`. New ones are added at the end: older models lack them."""
    masks: Mapping[str, int]
    """Names of the inputs that take Monte-Carlo dropout's masks, in order, and how many channels each masks; may be empty."""
    dropout: float
    """The share of channels that the masks drop, as in training."""

    def build(self, classes: int, likelihood: str) -> nn.Module:
        """A fresh `Detector` for so many classes, whose boxes err as `likelihood` says (one of `settings.LIKELIHOODS`)."""
        ...

    def decode(self, outputs: Sequence[np.ndarray], input_size: tuple[int, int], settings: Prediction) -> list[Detections]:
        """The detections of each image of the batch, most confident first, in pixels of the input (W, H).

        A family that can tell what each object looks like gives it as `Detections.features`. `outputs` are all of `Family.outputs`, or
        the first of them in a model that was exported before there were more."""
        ...


def family(name: str) -> Family:
    """The family of that name. Raises `UserError` that lists the known ones."""
    if name not in _FAMILIES:
        raise UserError(f"'{name}' is not a family of detectors; detector.family is one of: {', '.join(sorted(_FAMILIES))}")
    return cast(Family, import_module(_FAMILIES[name]))


def build(name: str, classes: int, seed: int, likelihood: str = "laplace") -> nn.Module:
    """A fresh model of a family, its weights drawn from `seed`; the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return family(name).build(classes, likelihood)


def pad_targets(boxes: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> Targets:
    """Stack the boxes (G, 4) and labels (G,) of several images; images without boxes are fine."""
    most = max(1, *(len(one) for one in boxes))
    count = len(boxes)
    targets = Targets(torch.zeros(count, most, 4), torch.zeros(count, most, dtype=torch.long), torch.zeros(count, most, dtype=torch.bool))
    for row, (corners, classes) in enumerate(zip(boxes, labels, strict=True)):
        targets.boxes[row, : len(corners)] = torch.from_numpy(corners)
        targets.labels[row, : len(corners)] = torch.from_numpy(classes)
        targets.valid[row, : len(corners)] = True
    return targets
