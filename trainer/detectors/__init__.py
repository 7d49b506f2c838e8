"""The families of detectors, and what each must be able to do.

Rule: a family is one module of this package with `family(name)`, imported when it is asked for; a module may hold several sizes. In
training a model turns images and targets into losses; exported it turns images (B, 3, H, W), float RGB 0..255, into fixed tensors, which
`Family.decode` reads with numpy alone. A family with dropout before its last layers takes masks of it as further inputs, (T, channels)
each, for any T.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from activelearning.errors import UserError
from activelearning.settings import Prediction
from trainer.detections import Detections
from trainer.recipe import Recipe

EMBEDDING = "embedding"
"""The output, where a family has it, that says what each image as a whole looks like to the model, (B, D): alike images, alike rows."""

BOXES, MASKS = "boxes", "masks"
"""What a family may draw (`settings.TASKS`)."""

_SIZES = ("nano", "small", "medium", "large")
_BACKBONES = ("resnet50", "regnet", "convnext")
_MODULES = {
    "trainer.detectors.compact": ("compact",),
    "trainer.detectors.compact_seg": ("compact-seg",),
    "trainer.detectors.rfdetr": (*(f"rfdetr-{size}" for size in _SIZES), *(f"rfdetr-seg-{size}" for size in _SIZES)),
    "trainer.detectors.dfine": tuple(f"dfine-{size}" for size in (*_SIZES, "xlarge")),
    "trainer.detectors.rtdetrv2": tuple(f"rtdetrv2-r{depth}" for depth in (18, 34, 50, 101)),
    "trainer.detectors.rcnn": (*(f"fasterrcnn-{name}" for name in _BACKBONES), *(f"maskrcnn-{name}" for name in _BACKBONES)),
    "trainer.detectors.dense": (*(f"retinanet-{name}" for name in _BACKBONES), *(f"fcos-{name}" for name in _BACKBONES)),
}
FAMILIES = {name: module for module, names in _MODULES.items() for name in names}
"""The module of each family, by the family's name."""
_EXTRAS = {"transformers": "transformers", "scipy": "transformers", "torchvision": "torchvision"}
"""The extra of this project that installs a package which not every family needs."""


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """The objects of B images, padded to the largest number G.

    `boxes` (B, G, 4) input pixel corners xmin, ymin, xmax, ymax; `labels` (B, G) int64; `valid` (B, G) bool, False for padding; `masks`
    (B, G, H, W) bool over the input, None where only boxes are learned; an object whose mask is empty has none, so only its box is learned.
    """

    boxes: Tensor
    labels: Tensor
    valid: Tensor
    masks: Tensor | None = None

    def to(self, device: torch.device) -> "Targets":
        """The same targets on another device."""
        masks = None if self.masks is None else self.masks.to(device)
        return Targets(self.boxes.to(device), self.labels.to(device), self.valid.to(device), masks)


class Detector(Protocol):
    """A model of a family, an `nn.Module`; `model(images, *masks)` is what is exported.

    It may also have `backbone_layers`, prefixes of its parameters' names from the layer next to the image to the top of the backbone, for
    recipes that let these learn slower (`trainer.optimizer`), and `losses_per_object = True` where its losses are divided by the number of
    objects in the batch, not of images, for a batch that is learned in parts (`trainer.accumulation`).
    """

    class_layers: tuple[str, ...]
    """Names of the sub-modules that depend on the classes: a warm start with other classes leaves them fresh."""

    own_state: tuple[str, ...]
    """Names in its state that say how this model was built; a warm start never takes them from another."""

    architecture: str
    """What makes this model the one it is where its family, its classes and `likelihood` do not say it all: JSON; mostly empty."""

    def losses(self, images: Tensor, targets: Targets) -> Mapping[str, Tensor]:
        """The weighted loss terms by name, each a scalar; training minimises their sum."""
        ...

    def __call__(self, images: Tensor, *masks: Tensor) -> tuple[Tensor, ...]: ...


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What to build: a model for so many classes, whose boxes err as `likelihood` says (one of `settings.LIKELIHOODS`).

    `tiny`: the same kind of network at toy size, for trying a family out on a CPU. `pretrained`: the folder or file whose weights to start
    from, made by the family's own library; None: from scratch. `architecture`: of a model that there was before (`Detector.architecture`),
    to be built once more, without its weights.
    """

    classes: int
    likelihood: str = "laplace"
    tiny: bool = False
    pretrained: Path | None = None
    architecture: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """Weights that a family's makers publish: where, and under which licence (SPDX).

    `hub`: the id of a repository on the Hugging Face hub, or `torchvision:<enum>.<name>`; `trained_on` in words, for people.
    """

    hub: str
    licence: str
    trained_on: str


Decode = Callable[[Sequence[np.ndarray], tuple[int, int], Prediction], list[Detections]]


@dataclass(frozen=True, slots=True)
class Family:
    """What is to be known of a family of detectors.

    `outputs`: names of the exported tensors, in order; one may be `EMBEDDING`; new ones are added at the end, for older models lack them.
    `build`: a fresh `Detector`. `decode`: from all outputs, or the first of them in a model that was exported before there were more, to
    the detections of each image of the batch, most confident first, in pixels of the input (W, H); a family that can tell what each object
    looks like gives it as `Detections.features`. `masks`: names of the inputs that take Monte-Carlo dropout's masks, in order, and how many
    channels each masks; `dropout`: the share of channels that they drop, as in training. `draws`: `BOXES` or `MASKS`. `recipe`: how it is
    best trained. `published`: weights to start from; None: it learns from scratch. `strict_export`: torch's exporter must trace its Python.
    """

    name: str
    outputs: tuple[str, ...]
    build: Callable[[Blueprint], nn.Module]
    decode: Decode
    masks: Mapping[str, int] = field(default_factory=dict)
    dropout: float = 0.0
    draws: str = BOXES
    recipe: Recipe = field(default_factory=Recipe)
    published: Published | None = None
    strict_export: bool = False


def family(name: str) -> Family:
    """The family of that name. Raises `UserError` that lists the known ones, or says what must be installed for it."""
    if name not in FAMILIES:
        raise UserError(f"'{name}' is not a family of detectors; detector.family is one of: {', '.join(FAMILIES)}")
    try:
        found: Family = import_module(FAMILIES[name]).family(name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        raise UserError(f"detector '{name}' needs {package}: pip install 'activelearning[{_EXTRAS[package]}]'") from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        raise UserError(f"detector '{name}' needs torchvision, and the one here was built for another torch: install both anew") from error
    return found


def check_task(name: str, task: str) -> None:
    """Raise `UserError` where what the family draws is not what the project's people draw."""
    draws = family(name).draws
    if draws != task:
        raise UserError(
            f"detector '{name}' draws {draws}, and the project's task is \"{task}\": "
            f'choose another detector.family (`trainer families` lists what each draws), or set task = "{draws}"'
        )


def build(
    name: str,
    classes: int,
    seed: int,
    likelihood: str = "laplace",
    *,
    tiny: bool = False,
    pretrained: Path | None = None,
    architecture: str = "",
) -> nn.Module:
    """A fresh model of a family; what is not pretrained of its weights is drawn from `seed`. The global random state stays as it was.

    For the other arguments see `Blueprint`. Raises `UserError` when the pretrained weights are none of this family.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return family(name).build(Blueprint(classes, likelihood, tiny, pretrained, architecture))


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
