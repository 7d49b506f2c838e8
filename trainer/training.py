"""One training run: labelled images in, a model out.

Rule: iteration k depends only on the weights before it and on (seed, k) - its batch, its size, its augmentation and its dropout - so a
run that resumes from a checkpoint ends in the same weights as one that was never stopped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from activelearning.errors import UserError
from activelearning.jobs import Stopped
from activelearning.labels import Rle
from activelearning.settings import Training
from trainer import collage, learning, letterbox, ranks, run_lengths, sampling, schedule
from trainer.accumulation import Batch
from trainer.augment import augment
from trainer.checkpoint import Checkpoint
from trainer.detectors import pad_targets
from trainer.learning import Step
from trainer.ranks import Ranks
from trainer.recipe import Plan
from trainer.schedule import Schedule

NO_EXAMPLES = "there is no labelled image to train on; review some first"
_SMALL = 0.75
"""How much smaller the images are in the first `Plan.small_share` of the iterations."""
_MOST_LEFT_OUT = 5
"""So many steps in a row whose loss is no number are no accident."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A labelled image as the detector sees it.

    `pixels` (H, W, 3) uint8 RGB, letterboxed, the same size for all examples; `boxes` (G, 4) float32 corners in its pixels;
    `labels` (G,) int64. An image without objects has G = 0. `masks`, G of them at the size of the pixels, None for an object without;
    None altogether where only boxes are learned.
    """

    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: tuple[Rle | None, ...] | None = None

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise ValueError("pixels must be uint8 of shape (H, W, 3)")
        if self.boxes.dtype != np.float32 or self.boxes.shape != (len(self.labels), 4) or self.labels.dtype != np.int64:
            raise ValueError("boxes must be float32 (G, 4), labels int64 (G,)")
        if self.masks is not None and len(self.masks) != len(self.labels):
            raise ValueError("masks must be G run lengths or None")
        if any(mask and (mask.height, mask.width) != self.pixels.shape[:2] for mask in self.masks or ()):
            raise ValueError("masks must be of the pixels' size")


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
    plan: Plan,
    *,
    checkpoint: Checkpoint | None = None,
    on_checkpoint: Callable[[Checkpoint], None] = lambda checkpoint: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    tell: Callable[[str], None] = lambda sentence: None,
    together: Ranks | None = None,
) -> nn.Module:
    """Train the model in place by the plan, and return the moving average of its weights, on the CPU, ready to export.

    Where `plan.validation_share` of the examples is enough of them, these are looked at from time to time instead of learned from, until
    their loss has stopped falling; then the learning rate falls, and they are learned from like all others. Resumes after `checkpoint`
    when one is given. `on_progress` is called after each iteration, `on_checkpoint` every `config.checkpoint_every` iterations and when
    `on_progress` raises `Stopped`; whatever either raises stops the run. `tell` hears, in a sentence, what a person should know.
    `together`: this is one of several processes that train the same model (`trainer.parallel` starts them); else it is the only one.
    Raises `UserError` without examples, when the loss stays no number, and when not one image fits into memory.
    """
    if not examples:
        raise UserError(NO_EXAMPLES)
    if config.threads:
        torch.set_num_threads(config.threads)
    together = together or ranks.alone()
    course = _course(examples, config, plan, checkpoint, together)
    state = learning.start(model, plan, together, checkpoint)
    iteration, left_out, at_once = checkpoint.iteration if checkpoint else 0, 0, config.micro_batch or config.batch_size
    while iteration < course.iterations:
        rate, seed = course.rate(iteration), _seed(config.seed, iteration)
        step = learning.step(state, course.batch(iteration), rate, seed, iteration + 1, at_once)
        iteration += 1
        left_out = 0 if step.taken else left_out + 1
        if left_out == _MOST_LEFT_OUT:
            raise UserError(learning.diverged(iteration, step.losses, rate))
        if course.is_time_to_look(iteration):
            course.looks.append(learning.loss(state, course.watched_batches()))
        try:
            for sentence in _news(iteration, step, at_once):
                tell(sentence)
            on_progress(Progress(iteration, course.iterations, step.losses))
        except Stopped:
            on_checkpoint(learning.checkpoint(state, iteration, course.looks))
            raise
        at_once = step.at_once
        if iteration % config.checkpoint_every == 0 and iteration < course.iterations:
            on_checkpoint(learning.checkpoint(state, iteration, course.looks))
    return state.average.cpu()


def _news(iteration: int, step: Step, at_once: int) -> Iterator[str]:
    """What a person should know of a step that was to take so many images at once."""
    if step.at_once < at_once:
        yield f"memory holds {step.at_once} images at once while training, so a step takes its batch in parts"
    if not step.taken:
        yield f"iteration {iteration}: the loss or its gradient is no number, so the step is left out"


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
    plan: Plan
    looks: list[float]
    together: Ranks

    @property
    def schedule(self) -> Schedule:
        """How fast and how long."""
        return Schedule(self.plan.iterations, self.plan.learning_rate, self.plan.small_share, self.plan.recipe.warm_up)

    @property
    def falls_from(self) -> int | None:
        """The iteration from which the rate falls; None where that is not known yet, or nothing is watched."""
        return schedule.decay_from(self.schedule, self.looks) if self.watched else None

    @property
    def iterations(self) -> int:
        """How many there will be, as far as is known."""
        return self.plan.iterations if self.falls_from is None else schedule.end(self.schedule, self.falls_from)

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration."""
        if not self.watched:
            return schedule.cosine(self.schedule, iteration)
        return schedule.stable_then_decay(self.schedule, iteration, self.falls_from)

    def is_time_to_look(self, iteration: int) -> bool:
        """Whether the watched examples are to be looked at after so many iterations."""
        return bool(self.watched) and self.falls_from is None and iteration % self.schedule.check_every == 0

    def batch(self, iteration: int) -> Batch:
        """What an iteration learns from, changed at random, on the rank's device. Each rank makes the whole, and takes its part of it."""
        everything = self.falls_from is not None and iteration >= self.falls_from
        seed, recipe = self.config.seed, self.plan.recipe
        chosen = sampling.batch_indices(self.epochs[everything], self.config.batch_size, seed, iteration)
        images, targets = _stacked([self.examples[index] for index in chosen])
        generator = torch.Generator().manual_seed(_seed(seed, iteration))
        images, targets = collage.compose(images.to(self.together.device), targets, recipe, generator)
        size = training_size((images.shape[3], images.shape[2]), iteration, self.schedule.small_until)
        return augment(images, targets, self.config, generator, scaled_size(size, recipe.multi_scale, seed, iteration))

    def watched_batches(self) -> Iterator[Batch]:
        """The watched examples as they are."""
        size = self.config.batch_size
        return (_stacked(self.watched[start : start + size]) for start in range(0, len(self.watched), size))


def _course(examples: Sequence[Example], config: Training, plan: Plan, checkpoint: Checkpoint | None, together: Ranks) -> _Course:
    whole = sampling.epoch_of([one.labels.tolist() for one in examples], config.rare_class_share, config.most_empty)
    watched = frozenset(sampling.watched(whole.repeats, plan.validation_share, config.seed))
    others = sampling.Epoch(tuple(0.0 if index in watched else times for index, times in enumerate(whole.repeats))) if watched else whole
    seen = tuple(example for index, example in enumerate(examples) if index in watched)
    looks = list(checkpoint.looks) if checkpoint else []
    return _Course(examples, seen, {True: whole, False: others}, config, plan, looks, together)


def _stacked(chosen: Sequence[Example]) -> Batch:
    # each colour in one piece: what is done by colour to interleaved ones takes several times as long
    images = torch.from_numpy(np.stack([example.pixels.transpose(2, 0, 1) for example in chosen])).float()
    targets = pad_targets([example.boxes for example in chosen], [example.labels for example in chosen])
    masks = [example.masks for example in chosen if example.masks is not None]
    if len(masks) < len(chosen):
        return images, targets
    count, size = targets.labels.shape[1], (images.shape[3], images.shape[2])
    return images, replace(targets, masks=torch.from_numpy(np.stack([run_lengths.stacked(one, count, size) for one in masks])))


def training_size(full: tuple[int, int], iteration: int, small_until: float) -> tuple[int, int]:
    """The (W, H) that an iteration trains at: three quarters of `full` before `small_until`, where it is learned what things look like,
    which costs less the smaller they are (progressive resizing, Tan and Le 2021)."""
    if iteration >= small_until:
        return full
    width, height = (max(letterbox.STRIDE, round(_SMALL * side / letterbox.STRIDE) * letterbox.STRIDE) for side in full)
    return width, height


def scaled_size(size: tuple[int, int], multi_scale: float, seed: int, iteration: int) -> tuple[int, int]:
    """The (W, H) up to `multi_scale` smaller or larger, drawn for the iteration: both sides by the same factor, then to the next stride."""
    if not multi_scale:
        return size
    factor = np.random.default_rng([seed, iteration, 1]).uniform(1 - multi_scale, 1 + multi_scale)
    width, height = (max(letterbox.STRIDE, round(factor * side / letterbox.STRIDE) * letterbox.STRIDE) for side in size)
    return width, height


def _seed(seed: int, iteration: int) -> int:
    """Of the augmentation and the dropout of an iteration."""
    return int(np.random.SeedSequence([seed, iteration]).generate_state(1)[0])
