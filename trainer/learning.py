"""A model while it learns: its weights, their moving average, the optimizer; one step, and its loss on images only looked at.

Rule: a step depends on the weights, the batch, the rate and the seed it is given, and on nothing else.
"""

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from activelearning.errors import UserError
from trainer import accumulation, optimizer, ranks
from trainer.accumulation import Batch
from trainer.checkpoint import Checkpoint
from trainer.detectors import Targets
from trainer.ranks import Ranks
from trainer.recipe import Plan, Recipe


@dataclass(frozen=True, slots=True, eq=False)
class Learning:
    """A model that learns on its rank's device, and the moving average of its weights, which is what is used in the end.

    `scales`: of the optimizer's groups, at which share of the rate each learns.
    """

    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    scales: tuple[float, ...]
    recipe: Recipe
    ranks: Ranks
    bfloat16: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What came of a step: the batch's loss terms by name, how many images went at once, and whether the weights were changed: they are
    not where the loss or its gradient is no number."""

    losses: Mapping[str, float]
    at_once: int
    taken: bool


def start(model: nn.Module, plan: Plan, together: Ranks, checkpoint: Checkpoint | None) -> Learning:
    """Begin with the model as it is, or go on from a checkpoint. The model is changed in place.

    Raises `UserError` when the checkpoint is of another network, or of other groups of weights.
    """
    model = model.to(together.device, memory_format=torch.channels_last).train()
    average = copy.deepcopy(model).eval()
    groups = optimizer.groups(model, plan.recipe)
    adamw = optimizer.adamw(groups, plan.learning_rate)
    if checkpoint:
        _load(checkpoint, model, average, adamw)
    scales = tuple(group.scale for group in groups)
    return Learning(model, average, adamw, scales, plan.recipe, together, has_bfloat16(together.device))


def step(learning: Learning, batch: Batch, learning_rate: float, seed: int, number: int, at_once: int) -> Step:
    """Do the step of this number, from 1, with at most so many images at once. `seed` is of its dropout.

    Raises `UserError` when a norm's statistics are no longer numbers, which no later step mends, and when not one image fits into memory.
    """
    for group, scale in zip(learning.optimizer.param_groups, learning.scales, strict=True):
        group["lr"] = learning_rate * scale
    own, together = learning.ranks.part(len(batch[0])), learning.ranks

    def begin() -> None:
        learning.optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(seed + together.rank)

    def losses_of(images: Tensor, targets: Targets) -> Mapping[str, Tensor]:
        return _losses(learning, learning.model, images, targets)

    per_object = bool(getattr(learning.model, "losses_per_object", False))
    losses, at_once = accumulation.accumulate(losses_of, batch, own, at_once, per_object, begin)
    losses = dict(zip(losses, ranks.add_up(together, [*losses.values()]), strict=True))
    ranks.add_up_gradients(together, learning.model.parameters())
    ranks.average_statistics(together, learning.model, (own.stop - own.start) / len(batch[0]))
    length = nn.utils.clip_grad_norm_(learning.model.parameters(), learning.recipe.clip_norm, foreach=True)
    taken = bool(length.isfinite()) and all(math.isfinite(value) for value in losses.values())
    if taken:
        learning.optimizer.step()
        _update_average(learning, number)
    elif not _is_whole(learning.model):
        raise UserError(diverged(number, losses, learning_rate))
    return Step(losses, at_once, taken)


@torch.no_grad()
def loss(learning: Learning, batches: Iterable[Batch]) -> float:
    """The mean loss of an image under the averaged weights; the first rank's figure counts for all."""
    total, count = 0.0, 0
    for images, targets in batches if learning.ranks.rank == 0 else ():
        total += float(torch.stack([*_losses(learning, learning.average, images, targets).values()]).sum()) * len(images)
        count += len(images)
    return ranks.from_first(learning.ranks, total / max(count, 1))


def checkpoint(learning: Learning, iteration: int, looks: Iterable[float]) -> Checkpoint:
    """The state after so many steps, as a copy."""
    states = learning.model.state_dict(), learning.average.state_dict(), learning.optimizer.state_dict()
    return Checkpoint(iteration, *copy.deepcopy(states), tuple(looks))


def diverged(number: int, losses: Mapping[str, float], learning_rate: float) -> str:
    """What to say when the loss of a step is no number, and will not be one again."""
    terms = ", ".join(f"{name} {value:g}" for name, value in losses.items())
    return (
        f"training diverged at iteration {number} (loss: {terms}; learning rate {learning_rate:.2g}): "
        "lower the learning rate in project.toml and train again"
    )


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 here; without the instructions it is emulated, and far slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(errors="replace") if cpuinfo.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _load(checkpoint: Checkpoint, model: nn.Module, average: nn.Module, adamw: torch.optim.Optimizer) -> None:
    try:
        model.load_state_dict(checkpoint.model)
        average.load_state_dict(checkpoint.average)
        # the optimizer would go on writing into the checkpoint's own tensors
        adamw.load_state_dict(copy.deepcopy(dict(checkpoint.optimizer)))
    except (RuntimeError, ValueError) as error:
        raise UserError(
            "the run's checkpoint is of another network than project.toml asks for now; delete it, and the run starts anew"
        ) from error


def _losses(learning: Learning, model: nn.Module, images: Tensor, targets: Targets) -> Mapping[str, Tensor]:
    device = learning.ranks.device
    with torch.autocast(device.type, torch.bfloat16, enabled=learning.bfloat16):
        found: Mapping[str, Tensor] = model.losses(images.to(device), targets.to(device))
    return found


def _is_whole(model: nn.Module) -> bool:
    """Whether all statistics are numbers: a step that is left out leaves the weights alone, but its pass has gone into these."""
    return all(bool(one.isfinite().all()) for one in ranks.statistics(model))


@torch.no_grad()
def _update_average(learning: Learning, number: int) -> None:
    """Exponential moving average of weights and norm statistics; short-sighted at first, so the start is soon forgotten."""
    decay = min(learning.recipe.ema_decay, (1 + number) / (10 + number))
    torch._foreach_lerp_(list(learning.average.parameters()), list(learning.model.parameters()), 1 - decay)
    for kept, now in zip(learning.average.buffers(), learning.model.buffers(), strict=True):
        kept.lerp_(now, 1 - decay) if kept.is_floating_point() else kept.copy_(now)
