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
from trainer.checkpoint import Checkpoint
from trainer.detectors import Targets

_WEIGHT_DECAY = 0.05
_CLIP_NORM = 10.0
_EMA_DECAY = 0.998

Batch = tuple[Tensor, Targets]
"""Images (B, 3, H, W) float RGB 0..255, and their objects."""


@dataclass(frozen=True, slots=True, eq=False)
class Learning:
    """A model that learns on a device, and the moving average of its weights, which is what is used in the end."""

    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    bfloat16: bool


def start(model: nn.Module, learning_rate: float, checkpoint: Checkpoint | None) -> Learning:
    """Begin with the model as it is, or go on from a checkpoint. The model is changed in place."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device, memory_format=torch.channels_last).train()
    average = copy.deepcopy(model).eval()
    optimizer = _optimizer(model, learning_rate)
    if checkpoint:
        model.load_state_dict(checkpoint.model)
        average.load_state_dict(checkpoint.average)
        # the optimizer would go on writing into the checkpoint's own tensors
        optimizer.load_state_dict(copy.deepcopy(checkpoint.optimizer))
    return Learning(model, average, optimizer, device, _has_bfloat16(device))


def step(learning: Learning, batch: Batch, learning_rate: float, seed: int, number: int) -> dict[str, float]:
    """Do the step of this number, from 1, and return the loss terms by name. `seed` is of its dropout.

    Raises `UserError` when the loss is no longer a number.
    """
    for group in learning.optimizer.param_groups:
        group["lr"] = learning_rate
    torch.manual_seed(seed)
    losses = _losses(learning, learning.model, *batch)
    values = {name: loss.item() for name, loss in losses.items()}
    if not all(math.isfinite(value) for value in values.values()):
        raise UserError(_diverged(number, values))
    learning.optimizer.zero_grad(set_to_none=True)
    sum(losses.values()).backward()
    nn.utils.clip_grad_norm_(learning.model.parameters(), _CLIP_NORM, foreach=True)
    learning.optimizer.step()
    _update_average(learning, number)
    return values


@torch.no_grad()
def loss(learning: Learning, batches: Iterable[Batch]) -> float:
    """The mean loss of an image under the averaged weights."""
    total, count = 0.0, 0
    for images, targets in batches:
        total += float(torch.stack([*_losses(learning, learning.average, images, targets).values()]).sum()) * len(images)
        count += len(images)
    return total / count


def checkpoint(learning: Learning, iteration: int, looks: Iterable[float]) -> Checkpoint:
    """The state after so many steps, as a copy."""
    states = learning.model.state_dict(), learning.average.state_dict(), learning.optimizer.state_dict()
    return Checkpoint(iteration, *copy.deepcopy(states), tuple(looks))


def _optimizer(model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    # norms, biases and scalars are not decayed: their size is no sign of overfitting
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": _WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def _has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 here; without the instructions it is emulated, and far slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(errors="replace") if cpuinfo.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _losses(learning: Learning, model: nn.Module, images: Tensor, targets: Targets) -> Mapping[str, Tensor]:
    with torch.autocast(learning.device.type, torch.bfloat16, enabled=learning.bfloat16):
        found: Mapping[str, Tensor] = model.losses(images.to(learning.device), targets.to(learning.device))
    return found


def _diverged(number: int, values: Mapping[str, float]) -> str:
    terms = ", ".join(f"{name} {value:g}" for name, value in values.items())
    return f"training diverged at iteration {number} (loss: {terms}): lower the learning rate in project.toml and train again"


@torch.no_grad()
def _update_average(learning: Learning, number: int) -> None:
    """Exponential moving average of weights and norm statistics; short-sighted at first, so the start is soon forgotten."""
    decay = min(_EMA_DECAY, (1 + number) / (10 + number))
    torch._foreach_lerp_(list(learning.average.parameters()), list(learning.model.parameters()), 1 - decay)
    for kept, now in zip(learning.average.buffers(), learning.model.buffers(), strict=True):
        kept.lerp_(now, 1 - decay) if kept.is_floating_point() else kept.copy_(now)
