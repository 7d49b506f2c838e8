"""A network without batch norm or dropout, whose loss is a mean over images or over objects: one gradient, however a batch is cut."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.detectors import Targets


class PlainDetector(nn.Module):
    """Says of each image one box; `losses_per_object` chooses what its loss is a mean over. With more than `room` images memory is out."""

    class_layers: tuple[str, ...] = ()
    own_state: tuple[str, ...] = ()
    architecture = ""
    backbone_layers = ("stem", "body")

    def __init__(self, per_object: bool = False, room: int = 1000) -> None:
        super().__init__()
        self.losses_per_object = per_object
        self.room = room
        self.stem = nn.Conv2d(3, 8, 3, 4)
        self.body = nn.Sequential(nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2))
        self.head = nn.Linear(8, 4)
        # nothing ever asks for it, so it has no gradient and must not decay
        self.unused = nn.Parameter(torch.ones(2, 2))

    def losses(self, images: Tensor, targets: Targets) -> Mapping[str, Tensor]:
        """The squared distance of every object's box from the image's one."""
        if len(images) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        # in bfloat16 a sum depends on its order far more
        with torch.autocast(images.device.type, enabled=False):
            found = self.head(self.body(self.stem(images / 255)).mean((2, 3)))
        squares = ((found[:, None] - targets.boxes / 100) ** 2).sum(2) * targets.valid
        if self.losses_per_object:
            return {"boxes": squares.sum() / targets.valid.sum().clamp(min=1)}
        return {"boxes": squares.sum(1).mean(), "small": 1e-3 * (found**2).sum(1).mean()}


class DyingDetector(PlainDetector):
    """Ends its process without a word at the third batch, in the process that has the smaller part of it."""

    def losses(self, images: Tensor, targets: Targets) -> Mapping[str, Tensor]:
        """As before, twice."""
        import os

        self.seen = getattr(self, "seen", 0) + 1
        if self.seen == 3 and len(images) == 2:
            os._exit(7)
        return super().losses(images, targets)


class NumbDetector(PlainDetector):
    """Its loss is no number in the steps it is told, from 1."""

    numb: tuple[int, ...] = ()
    steps = 0

    def losses(self, images: Tensor, targets: Targets) -> Mapping[str, Tensor]:
        """As before, or not a number."""
        self.steps += 1
        found = super().losses(images, targets)
        return {name: value * float("nan") for name, value in found.items()} if self.steps in self.numb else found


def plain(kind: type[PlainDetector] = PlainDetector, **options: object) -> PlainDetector:
    """The same one each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(**options)  # type: ignore[arg-type]
