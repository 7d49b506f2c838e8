"""One training run: labelled images in, a model out.

Rule: iteration k depends only on the weights before it and on (seed, k) - its batch, its augmentation and its dropout - so a run
that resumes from a checkpoint ends in the same weights as one that was never stopped.
"""

import copy
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from activelearning.errors import UserError
from activelearning.jobs import Stopped
from activelearning.settings import Training
from trainer import letterbox
from trainer.augment import augment
from trainer.detectors import Targets, pad_targets
from trainer.weights import read_archive

_WEIGHT_DECAY = 0.05
_WARM_UP = 0.05
"""Share of the iterations in which the learning rate climbs to its peak."""
_FLOOR = 0.02
"""What the cosine leaves of the peak learning rate in the end."""
_CLIP_NORM = 10.0
_EMA_DECAY = 0.998
_SMALL = 0.75
"""How much smaller the images are in the first `SMALL_SHARE` of the iterations."""
SMALL_SHARE = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A labelled image as the detector sees it.

    `pixels` (H, W, 3) uint8 RGB, letterboxed, the same size for all examples; `boxes` (G, 4) float32 corners in its pixels;
    `labels` (G,) int64. An image without objects has G = 0.
    """

    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise ValueError("pixels must be uint8 of shape (H, W, 3)")
        if self.boxes.dtype != np.float32 or self.boxes.shape != (len(self.labels), 4) or self.labels.dtype != np.int64:
            raise ValueError("boxes must be float32 (G, 4), labels int64 (G,)")


@dataclass(frozen=True, slots=True)
class Progress:
    """One finished iteration: how many are done, of how many, and the loss terms by name."""

    iteration: int
    iterations: int
    losses: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A run after `iteration` steps: the states of the model, of its moving average and of the optimizer."""

    iteration: int
    model: Mapping[str, Any]
    average: Mapping[str, Any]
    optimizer: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """The checkpoint as torch's zip archive."""
        buffer = io.BytesIO()
        torch.save({field.name: getattr(self, field.name) for field in fields(self)}, buffer)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, encoded: bytes) -> "Checkpoint":
        """The inverse of `to_bytes`. Raises `UserError` when it is no such file."""
        names = {field.name for field in fields(cls)}
        return cls(**read_archive(encoded, names, "the run's checkpoint is damaged; delete it, and the run starts anew"))


def train(
    model: nn.Module,
    examples: Sequence[Example],
    config: Training,
    *,
    iterations: int,
    learning_rate: float,
    small_share: float = SMALL_SHARE,
    checkpoint: Checkpoint | None = None,
    on_checkpoint: Callable[[Checkpoint], None] = lambda checkpoint: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> nn.Module:
    """Train the model in place for so many iterations, and return the moving average of its weights, on the CPU, ready to export.

    The first `small_share` of the iterations see smaller images; a model that knows what things look like needs none of that.
    Resumes after `checkpoint` when one is given. `on_progress` is called after each iteration, `on_checkpoint` every
    `config.checkpoint_every` iterations and when `on_progress` raises `Stopped`; whatever either raises stops the run. Raises
    `UserError` without examples, and when the loss is no longer a number.
    """
    if not examples:
        raise UserError("there is no labelled image to train on; review some first")
    if config.threads:
        torch.set_num_threads(config.threads)
    run = _start(model, learning_rate, checkpoint)
    for iteration in range(checkpoint.iteration if checkpoint else 0, iterations):
        losses = _step(run, _batch(examples, config, iteration, small_share * iterations), config, iteration, iterations, learning_rate)
        try:
            on_progress(Progress(iteration + 1, iterations, losses))
        except Stopped:
            on_checkpoint(_checkpoint(run, iteration + 1))
            raise
        if (iteration + 1) % config.checkpoint_every == 0 and iteration + 1 < iterations:
            on_checkpoint(_checkpoint(run, iteration + 1))
    return run.average.cpu()


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    bfloat16: bool


def _start(model: nn.Module, learning_rate: float, checkpoint: Checkpoint | None) -> _Run:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device, memory_format=torch.channels_last).train()
    average = copy.deepcopy(model).eval()
    optimizer = _optimizer(model, learning_rate)
    if checkpoint:
        model.load_state_dict(checkpoint.model)
        average.load_state_dict(checkpoint.average)
        # the optimizer would go on writing into the checkpoint's own tensors
        optimizer.load_state_dict(copy.deepcopy(checkpoint.optimizer))
    return _Run(model, average, optimizer, device, _has_bfloat16(device))


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


def _batch(examples: Sequence[Example], config: Training, iteration: int, small_until: float) -> tuple[Tensor, Targets]:
    chosen = [examples[index] for index in batch_indices(len(examples), config.batch_size, config.seed, iteration)]
    # each colour in one piece: what is done by colour to interleaved ones takes several times as long
    images = torch.from_numpy(np.stack([example.pixels.transpose(2, 0, 1) for example in chosen])).float()
    targets = pad_targets([example.boxes for example in chosen], [example.labels for example in chosen])
    size = training_size((images.shape[3], images.shape[2]), iteration, small_until)
    return augment(images, targets, config, _generator(config.seed, iteration), size)


def training_size(full: tuple[int, int], iteration: int, small_until: float) -> tuple[int, int]:
    """The (W, H) that an iteration trains at: three quarters of `full` before `small_until`, where it is learned what things look like,
    which costs less the smaller they are (progressive resizing, Tan and Le 2021)."""
    if iteration >= small_until:
        return full
    width, height = (max(letterbox.STRIDE, round(_SMALL * side / letterbox.STRIDE) * letterbox.STRIDE) for side in full)
    return width, height


def batch_indices(count: int, batch_size: int, seed: int, iteration: int) -> list[int]:
    """Which of `count` examples iteration `iteration` sees: the next in an endless chain of shuffled epochs.

    Every example comes once an epoch; with fewer examples than a batch holds, epochs follow one another within it.
    """
    places = range(iteration * batch_size, (iteration + 1) * batch_size)
    return [_shuffled(count, seed, place // count)[place % count] for place in places]


@lru_cache(maxsize=64)
def _shuffled(count: int, seed: int, epoch: int) -> list[int]:
    return np.random.default_rng([seed, epoch]).permutation(count).tolist()


def _generator(seed: int, iteration: int) -> torch.Generator:
    return torch.Generator().manual_seed(_iteration_seed(seed, iteration))


def _iteration_seed(seed: int, iteration: int) -> int:
    return int(np.random.SeedSequence([seed, iteration]).generate_state(1)[0])


def _step(
    run: _Run, batch: tuple[Tensor, Targets], config: Training, iteration: int, iterations: int, learning_rate: float
) -> dict[str, float]:
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate_at(iteration, iterations, learning_rate)
    # the dropout of this iteration
    torch.manual_seed(_iteration_seed(config.seed, iteration))
    losses = _losses(run, *batch)
    values = {name: loss.item() for name, loss in losses.items()}
    if not all(math.isfinite(value) for value in values.values()):
        raise UserError(_diverged(iteration, learning_rate, values))
    run.optimizer.zero_grad(set_to_none=True)
    sum(losses.values()).backward()
    nn.utils.clip_grad_norm_(run.model.parameters(), _CLIP_NORM, foreach=True)
    run.optimizer.step()
    _update_average(run, iteration + 1)
    return values


def _losses(run: _Run, images: Tensor, targets: Targets) -> Mapping[str, Tensor]:
    with torch.autocast(run.device.type, torch.bfloat16, enabled=run.bfloat16):
        return run.model.losses(images.to(run.device), targets.to(run.device))


def _diverged(iteration: int, learning_rate: float, values: Mapping[str, float]) -> str:
    terms = ", ".join(f"{name} {value:g}" for name, value in values.items())
    return (
        f"training diverged at iteration {iteration + 1} (loss: {terms}): "
        f"lower the learning rate in project.toml (now {learning_rate:g}) and train again"
    )


def learning_rate_at(iteration: int, iterations: int, peak: float) -> float:
    """Linear warm-up to `peak` over the first 5 % of the iterations, then a half cosine down to 2 % of it."""
    progress = iteration / iterations
    if progress < _WARM_UP:
        return peak * (iteration + 1) / (_WARM_UP * iterations + 1)
    return peak * (_FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP))))


@torch.no_grad()
def _update_average(run: _Run, step: int) -> None:
    """Exponential moving average of weights and norm statistics; short-sighted at first, so the start is soon forgotten."""
    decay = min(_EMA_DECAY, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(run.average.parameters()), list(run.model.parameters()), 1 - decay)
    for kept, now in zip(run.average.buffers(), run.model.buffers(), strict=True):
        kept.lerp_(now, 1 - decay) if kept.is_floating_point() else kept.copy_(now)


def _checkpoint(run: _Run, iteration: int) -> Checkpoint:
    states = run.model.state_dict(), run.average.state_dict(), run.optimizer.state_dict()
    return Checkpoint(iteration, *copy.deepcopy(states))
