"""The order in which people review the pool, from a ranking of it: confidence bounds, class balance, folder quotas.

Rule: the order is a pure function of the ranking and the settings, and every prefix of it honours the quotas while supply lasts, so
whoever takes the next forty need not know what was taken before. How the ranking comes about is `trainer.query`'s.
"""

import math
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from activelearning import apportionment
from activelearning.labels import BACKGROUND
from activelearning.settings import OTHER_FOLDERS, Selection


@dataclass(frozen=True, slots=True)
class Pool:
    """Images to review as parallel columns."""

    images: Sequence[str]
    confidences: Sequence[float]
    """How sure the model is of each image; without detections 0, so a lower bound puts it last."""
    labels: Sequence[Collection[str]]
    """Class names of each image's detections."""

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.confidences) == len(self.labels):
            raise ValueError("every image needs a confidence and labels")


@dataclass(frozen=True, slots=True)
class Order:
    """Each index of the pool once, in the order of review, and for which share an image was drawn, if for any."""

    indices: "array[int]"
    by_class: Mapping[int, str]
    """The class whose turn the image filled; `NULL` for images without detections."""
    by_folder: Mapping[int, str]
    """The top folder whose turn it filled."""


def order_pool(pool: Pool, ranked: Sequence[int], selection: Selection, late: Collection[int] = frozenset()) -> Order:
    """The order of review of a ranking, which holds every index of the pool once.

    First the images whose confidence lies within the bounds, then the others, and last those that are `late`; each part by class
    balance, then by folder quotas within the class, then as ranked.
    """
    low, high = selection.min_confidence, selection.max_confidence
    parts: tuple[array[int], ...] = (array("L"), array("L"), array("L"))
    for index in ranked:
        parts[2 if index in late else int(not low <= pool.confidences[index] <= high)].append(index)
    draw = _Draw(pool, selection)
    return Order(array("L", chain.from_iterable(map(draw.by_quota, parts))), draw.by_class, draw.by_folder)


# What a detection's class scores say of it.


def box_entropy(class_scores: Sequence[float]) -> float:
    """Uncertainty in bits: the sum over classes of the binary entropies of independent class scores 0..1.

    Source: PPAL (CVPR 2024), for detectors with a sigmoid a class.
    """
    return math.fsum(_binary_entropy(min(max(score, 0.0), 1.0)) for score in class_scores)


def box_margin(class_scores: Sequence[float]) -> float:
    """Best minus second best among the class scores and the background's, which is 1 minus the best class; 1 without classes."""
    best = max(class_scores, default=0.0)
    second, first = sorted((*class_scores, 1.0 - best, 0.0))[-2:]
    return first - second


def _binary_entropy(p: float) -> float:
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p) if 0 < p < 1 else 0.0


# Quotas: class first, then folder.


def top_folder(image: str) -> str:
    """The first part of an image's path, empty for an image in no folder."""
    return image.partition("/")[0] if "/" in image else ""


class _Draw:
    """Draws each image of a pool once, and notes for whose turn."""

    def __init__(self, pool: Pool, selection: Selection) -> None:
        self._pool, self._selection = pool, selection
        self._taken = bytearray(len(pool.images))
        self.by_class: dict[int, str] = {}
        self.by_folder: dict[int, str] = {}

    def by_quota(self, ranked: Sequence[int]) -> Iterator[int]:
        """Images by class balance, and each class by folder quotas; images of classes that have no share come last.

        An image of several classes fills the place it is drawn for, and has then left every other queue.
        """
        shares = apportionment.in_millionths(self._selection.class_balance)
        members = _by_class(self._pool, ranked) if shares else {}
        queues = {name: _noted(self._by_folder(members.get(name, ())), self.by_class, name) for name in shares}
        yield from apportionment.in_turn(shares, queues)
        yield from self._by_folder([index for index in ranked if not self._taken[index]])

    def _by_folder(self, ranked: Sequence[int]) -> Iterator[int]:
        """Images by folder quotas, the folders not named one after the other in the turns of `*`; those without a share come last."""
        quotas = self._selection.folder_quotas
        shares = apportionment.in_millionths(quotas)
        members = _by_top_folder(self._pool, ranked) if shares else {}
        queues = {name: self._of_folder(name, members.get(name, ())) for name in shares}
        others = [self._of_folder(name, members[name]) for name in sorted(members) if name not in quotas]
        yield from apportionment.in_turn(shares, queues | {OTHER_FOLDERS: apportionment.alternately(others)})
        yield from self._queue(ranked)

    def _of_folder(self, name: str, ranked: Iterable[int]) -> Iterator[int]:
        return _noted(self._queue(ranked), self.by_folder, name)

    def _queue(self, ranked: Iterable[int]) -> Iterator[int]:
        """The images nobody has drawn yet."""
        for index in ranked:
            if not self._taken[index]:
                self._taken[index] = 1
                yield index


def _noted(queue: Iterator[int], notes: dict[int, str], name: str) -> Iterator[int]:
    for index in queue:
        notes[index] = name
        yield index


def _by_class(pool: Pool, ranked: Sequence[int]) -> Mapping[str, "array[int]"]:
    members: dict[str, array[int]] = defaultdict(lambda: array("L"))
    for index in ranked:
        for name in pool.labels[index] or (BACKGROUND,):
            members[name].append(index)
    return members


def _by_top_folder(pool: Pool, ranked: Sequence[int]) -> Mapping[str, "array[int]"]:
    members: dict[str, array[int]] = defaultdict(lambda: array("L"))
    for index in ranked:
        members[top_folder(pool.images[index])].append(index)
    return members
