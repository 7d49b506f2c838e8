"""The processes that train one model together, one a device: each takes its part of the same batch, and their gradients are added up.

Rule: after every step all ranks hold the same weights, averages and norm statistics, so that any of them could go on alone. Up to rounding
they are those of one process with the whole batch; but batch norm sees only its own rank's part, and dropout draws its own masks there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among the `count` that train together; each has its device. All others know the process group of `torch.distributed`."""

    rank: int
    count: int
    device: torch.device

    def part(self, size: int) -> slice:
        """Which of so many images are this rank's; the first ranks take one more where they cannot be divided."""
        least, more = divmod(size, self.count)
        first = self.rank * least + min(self.rank, more)
        return slice(first, first + least + (self.rank < more))


def alone() -> Ranks:
    """One process, on the first GPU where there is one."""
    return Ranks(0, 1, device_of(0))


def device_of(rank: int) -> torch.device:
    """A rank's device: its own GPU, or the CPU that all share."""
    return torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")


def add_up(ranks: Ranks, values: Sequence[float]) -> list[float]:
    """The sums over all ranks, the same numbers in each."""
    if ranks.count == 1:
        return list(values)
    summed = torch.tensor(values, dtype=torch.float64)
    distributed.all_reduce(summed)
    found: list[float] = summed.tolist()
    return found


def from_first(ranks: Ranks, value: float) -> float:
    """The value that the first rank has."""
    if ranks.count == 1:
        return value
    told = torch.tensor(value, dtype=torch.float64)
    distributed.broadcast(told, 0)
    return float(told)


@torch.no_grad()
def add_up_gradients(ranks: Ranks, weights: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by the sum over all ranks; a weight that nowhere has one keeps none, so that it does not decay either."""
    if ranks.count == 1:
        return
    learning = [weight for weight in weights if weight.requires_grad]
    present = torch.tensor([weight.grad is not None for weight in learning], dtype=torch.float32)
    distributed.all_reduce(present)
    used = [weight for weight, count in zip(learning, present.tolist(), strict=True) if count]
    for weight in used:
        weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
    _summed([weight.grad for weight in used if weight.grad is not None])


@torch.no_grad()
def average_statistics(ranks: Ranks, model: nn.Module, share: float) -> None:
    """Replace the norms' statistics, which are buffers, by their mean over the ranks, each weighing `share`, its part of the batch."""
    if ranks.count == 1:
        return
    found = statistics(model)
    for one in found:
        one.mul_(share)
    _summed(found)


def statistics(model: nn.Module) -> list[Tensor]:
    """The running means and variances of a model's norms."""
    return [buffer for name, buffer in model.named_buffers() if name.endswith(("running_mean", "running_var"))]


def _summed(tensors: Sequence[Tensor]) -> None:
    """Add up in place, all in one message."""
    if not tensors:
        return
    flat = torch.cat([one.reshape(-1).float() for one in tensors])
    distributed.all_reduce(flat)
    for one, summed in zip(tensors, flat.split([one.numel() for one in tensors]), strict=True):
        one.copy_(summed.view(one.shape))
