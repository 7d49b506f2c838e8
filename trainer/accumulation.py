"""The gradient of a batch, in as many pieces as memory wants: each piece's losses weigh as much as it is of the batch.

Rule: the sum over the pieces is the whole batch's gradient as far as the losses allow. Exactly so where they are means over images, and,
for a model whose `losses_per_object` is true, where they are sums divided by the number of objects (DETR and its heirs). Not quite where
something looks at several images at once: batch norm's statistics, norms over what was assigned (the compact detector's), dropout's masks.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from activelearning.errors import UserError
from trainer.detectors import Targets

Batch = tuple[Tensor, Targets]
"""Images (B, 3, H, W) float RGB 0..255, and their objects."""

LossesOf = Callable[[Tensor, Targets], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Part:
    """Some images of a batch, and what share of the batch's loss is theirs."""

    images: slice
    weight: float


def parts(valid: Tensor, own: slice, at_once: int, per_object: bool) -> Iterator[Part]:
    """Cut the images `own` of a batch, whose objects are `valid` (B, G), into pieces of at most so many images, in order.

    By objects, a piece weighs as much as it has; without any it weighs like one, as the losses that divide by their number divide by one.
    """
    counts = valid.sum(1).tolist() if per_object else [1] * len(valid)
    whole = max(sum(counts), 1)
    for start in range(own.start, own.stop, at_once):
        piece = slice(start, min(start + at_once, own.stop))
        yield Part(piece, max(sum(counts[piece]), 1) / whole)


def accumulate(
    losses_of: LossesOf, batch: Batch, own: slice, at_once: int, per_object: bool, begin: Callable[[], None]
) -> tuple[dict[str, float], int]:
    """Add the gradient of the images `own` to the weights'; returns their part of the batch's losses, and how many images may go at once.

    Where so many do not fit into memory, half of them are tried, from the beginning: `begin` forgets what was added and sets the random
    state. How many fit is the machine's, so with batch norm or dropout the run then depends on the machine too.
    Raises `UserError` where a single image does not fit.
    """
    while True:
        begin()
        try:
            return _accumulated(losses_of, batch, parts(batch[1].valid, own, at_once, per_object)), at_once
        except torch.OutOfMemoryError as error:
            if min(at_once, own.stop - own.start) == 1:
                raise UserError(_too_large(batch[0])) from error
        # outside of the handler, whose traceback holds on to the tensors
        at_once = (min(at_once, own.stop - own.start) + 1) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _accumulated(losses_of: LossesOf, batch: Batch, pieces: Iterator[Part]) -> dict[str, float]:
    total: dict[str, float] = {}
    for piece in pieces:
        losses = losses_of(batch[0][piece.images], _some(batch[1], piece.images))
        torch.stack([*losses.values()]).sum().mul(piece.weight).backward()
        for name, value in losses.items():
            total[name] = total.get(name, 0.0) + value.item() * piece.weight
    return total


def _some(targets: Targets, images: slice) -> Targets:
    masks = None if targets.masks is None else targets.masks[images]
    return Targets(targets.boxes[images], targets.labels[images], targets.valid[images], masks)


def _too_large(images: Tensor) -> str:
    size = f"{images.shape[3]}×{images.shape[2]}"
    return f"not one image of {size} fits into memory while training: lower detector.long_side, or choose a smaller detector.family"
