"""Tiny torchvision detectors, without weights; importing this skips the test module where torchvision cannot be used."""

import importlib.util
import math
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn


def _operators_load() -> bool:
    # built for another torch, it fails when it is imported or when its first operator is called
    try:
        from torchvision import ops

        ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, RuntimeError, OSError):
        return False
    return True


if importlib.util.find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed, and its detectors are only for those who have it", allow_module_level=True)
if not _operators_load():
    pytest.skip("torchvision is installed, but its operators do not load with this build of torch", allow_module_level=True)

from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN, RetinaNet  # noqa: E402, F401
from torchvision.models.detection.anchor_utils import AnchorGenerator  # noqa: E402, F401
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone  # noqa: E402
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor  # noqa: E402, F401

CLASSES = 3
SIZE = (96, 64)
"""Width and height of the images."""


def images() -> list[Tensor]:
    """Two images RGB 0..1 of noise; the first with a bright square and a dark one."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 3, SIZE[1], SIZE[0], generator=generator) * 0.2 + 0.4
    first[:, 8:40, 8:40] += 0.4
    first[:, 16:56, 48:88] -= 0.4
    return [first, second]


def targets() -> list[dict[str, Tensor]]:
    """Of those images: two objects, as large as their boxes, and none."""
    boxes = torch.tensor([[8.0, 8, 40, 40], [48, 16, 88, 56]])
    masks = torch.zeros(2, SIZE[1], SIZE[0], dtype=torch.bool)
    masks[0, 8:40, 8:40] = masks[1, 16:56, 48:88] = True
    return [
        {"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks},
        {"boxes": boxes[:0], "labels": torch.zeros(0, dtype=torch.long), "masks": masks[:0]},
    ]


def faster_rcnn(cls: type[FasterRCNN] = FasterRCNN) -> FasterRCNN:
    """A two-stage detector on ResNet-18."""
    torch.manual_seed(0)
    return cls(_backbone(), CLASSES, min_size=SIZE[1], max_size=SIZE[0], rpn_post_nms_top_n_test=60, box_batch_size_per_image=64)


def mask_rcnn() -> MaskRCNN:
    """One with a mask head."""
    return faster_rcnn(MaskRCNN)


def retinanet() -> RetinaNet:
    """A one-stage detector on ResNet-18."""
    torch.manual_seed(0)
    return RetinaNet(_backbone(), CLASSES, min_size=SIZE[1], max_size=SIZE[0])


def _backbone() -> nn.Module:
    return resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)


def losses(model: nn.Module) -> dict[str, Tensor]:
    """In training, with the same proposals sampled and the same channels dropped every time."""
    torch.manual_seed(1)
    return model.train()(images(), targets())


def step(model: nn.Module, learning_rate: float) -> None:
    """One step of gradient descent."""
    optimiser = torch.optim.SGD(model.parameters(), learning_rate)
    torch.stack(list(losses(model).values())).sum().backward()
    optimiser.step()


class Noise:
    """Codes (N, 4) of which the mean and the spread depend on x: every spread is met at all the quantiles of its distribution.

    Nothing is drawn, so that what is learnt from it is off only by how well it was learnt.
    """

    def __init__(self, kind: str) -> None:
        share = (torch.arange(80) + 0.5) / 80
        unit = {"laplace": torch.distributions.Laplace(0.0, 1.0), "gaussian": torch.distributions.Normal(0.0, 1.0)}[kind]
        x, quantile = torch.cartesian_prod(torch.linspace(0, 1, 20), share).unbind(1)
        self.x = x
        # from 0.05 to 0.25 in one coordinate, from 0.25 to 0.05 in the next
        rise = x[:, None] * torch.tensor([1.0, -1, 1, -1]) + torch.tensor([0.0, 1, 0, 1])
        self.scale = 0.05 * torch.exp(rise * math.log(5))
        self.codes = 0.3 * torch.sin(3 * x)[:, None] + self.scale * unit.icdf(quantile)[:, None]

    def features(self) -> nn.Module:
        """A small network from x (N, 1) to features (N, 32)."""
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())


def fit(parameters: Iterable[Tensor], loss: Callable[[], Tensor], steps: int = 800) -> None:
    """Adam from 0.02 down to nothing."""
    optimiser = torch.optim.Adam(parameters, 0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
        schedule.step()
