"""How fast and how long a run learns: the learning rate of each step, and the step at which it has learned what the labels teach.

Rule: everything follows from the budget, the step and the losses on the validation share so far, so a run that resumes goes the same way.

Without a validation share the rate falls along a half cosine over the whole budget. With one it stays at its peak until the loss
there has not fallen for a while (a plateau), or the budget says so, and falls to almost nothing from then on: warm-up, stable, decay
(Hu et al. 2024), whose end need not be known beforehand as the cosine's must.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_FLOOR = 0.02
"""What is left of the peak learning rate in the end."""
_DECAY = 0.3
"""Share of a run's steps in which the rate falls, where the plateau decides."""
_LEAST_GAIN = 0.005
"""A fall of the loss by less than this share of it is none."""
CHECKS = 40
"""So often within a budget the validation loss is looked at."""
_PATIENCE = 6
"""So many looks without a gain are a plateau."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A run's budget of steps and its highest learning rate, to which it climbs in the share `warm_up` of the budget; the first
    `small_share` of the budget sees smaller images."""

    iterations: int
    learning_rate: float
    small_share: float = 0.0
    warm_up: float = 0.05

    @property
    def check_every(self) -> int:
        """Steps between two looks at the validation loss."""
        return max(self.iterations // CHECKS, 1)

    @property
    def latest_decay(self) -> int:
        """The step after which the rate must fall, or the budget would be overrun."""
        return max(self.iterations - round(_DECAY * self.iterations), 1)

    @property
    def small_until(self) -> float:
        """The step from which images are no longer small."""
        return self.small_share * self.iterations


def cosine(schedule: Schedule, iteration: int) -> float:
    """The learning rate of a step: linear warm-up to the peak, then a half cosine down to 2 % of it at the end of the budget."""
    progress = iteration / schedule.iterations
    if progress < schedule.warm_up:
        return _warming_up(schedule, iteration)
    return schedule.learning_rate * _half_cosine((progress - schedule.warm_up) / (1 - schedule.warm_up))


def stable_then_decay(schedule: Schedule, iteration: int, decay_from: int | None) -> float:
    """The learning rate of a step that stays at the peak until `decay_from` (None: not known yet), then falls along a half cosine."""
    if decay_from is None or iteration < decay_from:
        return _warming_up(schedule, iteration) if iteration < schedule.warm_up * schedule.iterations else schedule.learning_rate
    return schedule.learning_rate * _half_cosine((iteration - decay_from) / (end(schedule, decay_from) - decay_from))


def decay_from(schedule: Schedule, losses: Sequence[float]) -> int | None:
    """The step from which the rate falls, given the validation losses of all looks so far; None while that is not decided.

    The k-th loss, from 1, was seen after k · `check_every` steps. Looks at small images count as none.
    """
    ripe = [loss for look, loss in enumerate(losses, 1) if look * schedule.check_every > schedule.small_until]
    skipped = len(losses) - len(ripe)
    best, since = math.inf, 0
    for look, loss in enumerate(ripe, skipped + 1):
        since = 0 if loss < best * (1 - _LEAST_GAIN) else since + 1
        best = min(best, loss)
        if since >= _PATIENCE:
            return min(look * schedule.check_every, schedule.latest_decay)
    return schedule.latest_decay if len(losses) * schedule.check_every >= schedule.latest_decay else None


def end(schedule: Schedule, decaying_from: int) -> int:
    """How many steps a run has whose rate falls from a step on: that many more that the fall is its share of them all."""
    return min(max(round(decaying_from / (1 - _DECAY)), decaying_from + 1), schedule.iterations)


def _warming_up(schedule: Schedule, iteration: int) -> float:
    return schedule.learning_rate * (iteration + 1) / (schedule.warm_up * schedule.iterations + 1)


def _half_cosine(progress: float) -> float:
    return _FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * progress))
