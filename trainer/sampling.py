"""Which examples a training step sees: an endless chain of shuffled epochs, in which rare classes come more often and empty images less.

Rule: step k depends on the seed, k and the examples alone.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np


@dataclass(frozen=True, eq=False)
class Epoch:
    """How often each example comes in an epoch, on average; a fraction is made up for over several epochs.

    Two are equal if they are the same object: every step asks for its epoch, and comparing a hundred thousand numbers takes time.
    """

    repeats: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.repeats or min(self.repeats) < 0 or not sum(self.repeats) > 0:
            raise ValueError("there must be an example that comes at all, and none less than never")

    @cached_property
    def length(self) -> int:
        """Places in an epoch."""
        return max(round(sum(self.repeats)), 1)


def epoch_of(labels: Sequence[Sequence[int]], rare_share: float, most_empty: float) -> Epoch:
    """The epoch of examples with these class ids; one without objects has none.

    An example comes max(1, sqrt(rare_share / f)) times, f being the share of the examples with objects that hold the rarest of its
    classes (repeat factor sampling, Gupta et al. 2019). Examples without objects come once, or less often where they would be more
    than the share `most_empty` of an epoch; where there are only such, once.
    """
    holding = Counter(label for ids in labels for label in set(ids))
    full = sum(1 for ids in labels if len(ids))
    factors = [_factor(set(ids), holding, full, rare_share) if len(ids) else 0.0 for ids in labels]
    empty = _empty_repeats(sum(factors), len(labels) - full, most_empty)
    return Epoch(tuple(factor if len(ids) else empty for factor, ids in zip(factors, labels, strict=True)))


def _factor(classes: set[int], holding: Counter[int], full: int, rare_share: float) -> float:
    rarest = min(holding[label] for label in classes) / full
    return max(1.0, (rare_share / rarest) ** 0.5)


def _empty_repeats(full: float, empty: int, most_empty: float) -> float:
    if not full or most_empty >= 1:
        return 1.0
    return min(1.0, most_empty / (1 - most_empty) * full / max(empty, 1))


def batch_indices(epoch: Epoch, batch_size: int, seed: int, iteration: int) -> list[int]:
    """Which examples iteration `iteration` sees: the next in the chain; with fewer than a batch holds, epochs follow one another in it."""
    places = range(iteration * batch_size, (iteration + 1) * batch_size)
    return [_shuffled(epoch, seed, place // epoch.length)[place % epoch.length] for place in places]


@lru_cache(maxsize=64)
def _shuffled(epoch: Epoch, seed: int, number: int) -> list[int]:
    random = np.random.default_rng([seed, number])
    order = random.permutation(epoch.length)
    return _drawn(epoch, random.random())[order].tolist()


def _drawn(epoch: Epoch, offset: float) -> np.ndarray:
    """Examples of one epoch, each ⌊repeats⌋ or ⌈repeats⌉ times (systematic sampling); each once where that is asked for."""
    ends = np.cumsum(epoch.repeats)
    places = (np.arange(epoch.length) + offset) * (ends[-1] / epoch.length)
    return np.minimum(np.searchsorted(ends, places, side="right"), len(ends) - 1)


_LEAST_WATCHED = 3
"""Fewer images than this say nothing of when to stop."""


def watched(repeats: Sequence[float], share: float, seed: int) -> list[int]:
    """Which examples are looked at instead of learned from until the learning rate falls: a random share of them, by their repeats.

    None where that share is fewer than three images, or where nothing would be left to learn from.
    """
    some = round(share * len(repeats))
    drawn = sorted(np.random.default_rng([seed, len(repeats)]).permutation(len(repeats))[:some].tolist())
    left = sum(repeats) - sum(repeats[index] for index in drawn)
    return drawn if some >= _LEAST_WATCHED and left > 0 else []
