"""One training run: labelled images in, a model out.

Rule: iteration k depends only on the weights before it and on (seed, k) - its batch, its augmentation and its dropout - so a run
that resumes from a checkpoint ends in the same weights as one that was never stopped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from activelearning.errors import UserError
from activelearning.jobs import Stopped
from activelearning.settings import Training
from trainer import learning, letterbox, sampling, schedule
from trainer.augment import augment
from trainer.checkpoint import Checkpoint
from trainer.detectors import pad_targets
from trainer.schedule import Schedule

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
    """Train the model in place for at most so many iterations, and return the moving average of its weights, on the CPU, ready to export.

    The first `small_share` of the iterations see smaller images; a model that knows what things look like needs none of that. Where
    `config.validation_share` of the examples is enough of them, these are looked at from time to time instead of learned from, until
    their loss has stopped falling; then the learning rate falls, and they are learned from like all others. Resumes after
    `checkpoint` when one is given. `on_progress` is called after each iteration, `on_checkpoint` every `config.checkpoint_every`
    iterations and when `on_progress` raises `Stopped`; whatever either raises stops the run. Raises `UserError` without examples, and
    when the loss is no longer a number.
    """
    if not examples:
        raise UserError("there is no labelled image to train on; review some first")
    if config.threads:
        torch.set_num_threads(config.threads)
    course = _course(examples, config, Schedule(iterations, learning_rate, small_share), checkpoint)
    state = learning.start(model, learning_rate, checkpoint)
    iteration = checkpoint.iteration if checkpoint else 0
    while iteration < course.iterations:
        losses = learning.step(state, course.batch(iteration), course.rate(iteration), _seed(config.seed, iteration), iteration + 1)
        iteration += 1
        if course.is_time_to_look(iteration):
            course.looks.append(learning.loss(state, course.watched_batches()))
        try:
            on_progress(Progress(iteration, course.iterations, losses))
        except Stopped:
            on_checkpoint(learning.checkpoint(state, iteration, course.looks))
            raise
        if iteration % config.checkpoint_every == 0 and iteration < course.iterations:
            on_checkpoint(learning.checkpoint(state, iteration, course.looks))
    return state.average.cpu()


@dataclass(frozen=True, slots=True, eq=False)
class _Course:
    """What a run learns from, and when: all `examples`, some of which are only looked at until the learning rate falls (maybe none).

    `epochs` say how often each example comes: at True all of them, at False the watched ones not at all. `looks` are the losses on the
    watched ones so far.
    """

    examples: Sequence[Example]
    watched: tuple[Example, ...]
    epochs: Mapping[bool, sampling.Epoch]
    config: Training
    plan: Schedule
    looks: list[float]

    @property
    def falls_from(self) -> int | None:
        """The iteration from which the rate falls; None where that is not known yet, or nothing is watched."""
        return schedule.decay_from(self.plan, self.looks) if self.watched else None

    @property
    def iterations(self) -> int:
        """How many there will be, as far as is known."""
        return self.plan.iterations if self.falls_from is None else schedule.end(self.plan, self.falls_from)

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration."""
        if not self.watched:
            return schedule.cosine(self.plan, iteration)
        return schedule.stable_then_decay(self.plan, iteration, self.falls_from)

    def is_time_to_look(self, iteration: int) -> bool:
        """Whether the watched examples are to be looked at after so many iterations."""
        return bool(self.watched) and self.falls_from is None and iteration % self.plan.check_every == 0

    def batch(self, iteration: int) -> learning.Batch:
        """What an iteration learns from, changed at random."""
        everything = self.falls_from is not None and iteration >= self.falls_from
        chosen = sampling.batch_indices(self.epochs[everything], self.config.batch_size, self.config.seed, iteration)
        images, targets = _stacked([self.examples[index] for index in chosen])
        size = training_size((images.shape[3], images.shape[2]), iteration, self.plan.small_until)
        return augment(images, targets, self.config, torch.Generator().manual_seed(_seed(self.config.seed, iteration)), size)

    def watched_batches(self) -> Iterator[learning.Batch]:
        """The watched examples as they are."""
        size = self.config.batch_size
        return (_stacked(self.watched[start : start + size]) for start in range(0, len(self.watched), size))


def _course(examples: Sequence[Example], config: Training, plan: Schedule, checkpoint: Checkpoint | None) -> _Course:
    whole = sampling.epoch_of([one.labels.tolist() for one in examples], config.rare_class_share, config.most_empty)
    watched = frozenset(sampling.watched(whole.repeats, config.validation_share, config.seed))
    others = sampling.Epoch(tuple(0.0 if index in watched else times for index, times in enumerate(whole.repeats))) if watched else whole
    seen = tuple(example for index, example in enumerate(examples) if index in watched)
    return _Course(examples, seen, {True: whole, False: others}, config, plan, list(checkpoint.looks) if checkpoint else [])


def _stacked(chosen: Sequence[Example]) -> learning.Batch:
    # each colour in one piece: what is done by colour to interleaved ones takes several times as long
    images = torch.from_numpy(np.stack([example.pixels.transpose(2, 0, 1) for example in chosen])).float()
    return images, pad_targets([example.boxes for example in chosen], [example.labels for example in chosen])


def training_size(full: tuple[int, int], iteration: int, small_until: float) -> tuple[int, int]:
    """The (W, H) that an iteration trains at: three quarters of `full` before `small_until`, where it is learned what things look like,
    which costs less the smaller they are (progressive resizing, Tan and Le 2021)."""
    if iteration >= small_until:
        return full
    width, height = (max(letterbox.STRIDE, round(_SMALL * side / letterbox.STRIDE) * letterbox.STRIDE) for side in full)
    return width, height


def _seed(seed: int, iteration: int) -> int:
    """Of the augmentation and the dropout of an iteration."""
    return int(np.random.SeedSequence([seed, iteration]).generate_state(1)[0])
