"""The order in which people review the pool: query strategies, class balance, folder quotas.

Rule: the order is a pure function of the set of images and the settings, and every prefix of it honours the quotas while supply
lasts, so whoever takes the next forty need not know what was taken before.
"""

import hashlib
import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from activelearning import apportionment
from activelearning.errors import BoxError
from activelearning.labels import BACKGROUND, Box, ImageLabels
from activelearning.settings import OTHER_FOLDERS, Selection


@dataclass(slots=True)
class Pool:
    """Images to review as parallel columns, filled by `add`: a million of them fit in memory."""

    images: list[str] = field(default_factory=list)
    scores: "array[float]" = field(default_factory=lambda: array("d"))
    """Lower comes earlier."""
    confidences: "array[float]" = field(default_factory=lambda: array("d"))
    labels: list[frozenset[str]] = field(default_factory=list)
    """Class names of each image's detections; equal sets are one object."""
    _known: dict[frozenset[str], frozenset[str]] = field(default_factory=dict, init=False, repr=False)

    def add(self, image: str, score: float, confidence: float, labels: Iterable[str]) -> None:
        """Append one image. Raises `BoxError` if a number is none, for it would have no place in any order."""
        if not (math.isfinite(score) and math.isfinite(confidence)):
            raise BoxError(f"'{image}' has a score or confidence that is not a number; predict the image again")
        names = frozenset(labels)
        self.images.append(image)
        self.scores.append(score)
        self.confidences.append(confidence)
        self.labels.append(self._known.setdefault(names, names))


def order_pool(pool: Pool, selection: Selection) -> "array[int]":
    """The indices of the pool's images in the order of review, each once.

    First the images whose confidence lies within the bounds, then the others; both parts by class balance, then by folder quotas
    within the class, then by score, then by name. An image without detections has confidence 0, so a lower bound puts it last.
    """
    ranked = sorted(range(len(pool.images)), key=pool.images.__getitem__)
    ranked.sort(key=pool.scores.__getitem__)
    low, high = selection.min_confidence, selection.max_confidence
    inside = [low <= confidence <= high for confidence in pool.confidences]
    parts = ([index for index in ranked if inside[index] is part] for part in (True, False))
    return array("L", chain.from_iterable(_by_quota(pool, part, selection) for part in parts))


# Strategies: how much a box, and then an image, is worth looking at.


def image_score(labels: ImageLabels, selection: Selection) -> float:
    """Place of an image in the order of its strategy; lower comes earlier. Equal for equal labels, names and seeds.

    An image without boxes counts as one box of confidence 0: least sure of all by confidence, surest of all by entropy and margin.
    """
    return _STRATEGIES[selection.strategy](labels, selection)


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


def _confidence(box: Box) -> float:
    # what no detector scored came from a person or another tool, which was sure
    return 1.0 if box.confidence is None else box.confidence


def _entropy(box: Box) -> float:
    return _measure(box, "entropy", box_entropy)


def _margin(box: Box) -> float:
    return _measure(box, "margin", box_margin)


def _measure(box: Box, column: str, of_scores: Callable[[Sequence[float]], float]) -> float:
    """A column of the detection; where it is missing, what the confidence alone says."""
    measures = dict(box.measures)
    return measures[column] if column in measures else of_scores((_confidence(box),))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


_AGGREGATIONS: Mapping[str, Callable[[Sequence[float]], float]] = {"min": min, "mean": _mean, "max": max, "sum": math.fsum}
"""From the sureness of each box to that of the image: `min` is the least sure box, `max` the surest; with `sum` many boxes weigh more."""


def _by_sureness(sureness: Callable[[Box], float], without_boxes: float, sign: int = 1) -> Callable[[ImageLabels, Selection], float]:
    def score(labels: ImageLabels, selection: Selection) -> float:
        return sign * _AGGREGATIONS[selection.aggregation]([sureness(box) for box in labels.boxes] or [without_boxes])

    return score


def _random(labels: ImageLabels, selection: Selection) -> float:
    digest = hashlib.blake2b(f"{selection.seed} {labels.image}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


_STRATEGIES: Mapping[str, Callable[[ImageLabels, Selection], float]] = {
    "least-confidence": _by_sureness(_confidence, 0.0),
    "most-confidence": _by_sureness(_confidence, 0.0, sign=-1),
    "random": _random,
    "entropy": _by_sureness(lambda box: -_entropy(box), 0.0),
    "margin": _by_sureness(_margin, 1.0),
}


# Quotas: class first, then folder.


def top_folder(image: str) -> str:
    """The first part of an image's path, empty for an image in no folder."""
    return image.partition("/")[0] if "/" in image else ""


def _by_quota(pool: Pool, ranked: Sequence[int], selection: Selection) -> Iterator[int]:
    """Images by class balance, and each class by folder quotas; images of classes that have no share come last.

    An image of several classes fills the place it is drawn for, and has then left every other queue.
    """
    taken, quotas = bytearray(len(pool.images)), selection.folder_quotas
    shares = apportionment.in_millionths(selection.class_balance)
    members = _by_class(pool, ranked) if shares else {}
    queues = {name: _by_folder(pool, members.get(name, ()), quotas, taken) for name in shares}
    yield from apportionment.in_turn(shares, queues)
    yield from _by_folder(pool, [index for index in ranked if not taken[index]], quotas, taken)


def _by_folder(pool: Pool, ranked: Sequence[int], quotas: Mapping[str, float], taken: bytearray) -> Iterator[int]:
    """Images by folder quotas, the folders not named one after the other in the turns of `*`; those without a share come last."""
    shares = apportionment.in_millionths(quotas)
    members = _by_top_folder(pool, ranked) if shares else {}
    queues = {name: _queue(members.get(name, ()), taken) for name in shares}
    others = [_queue(members[name], taken) for name in sorted(members) if name not in quotas]
    yield from apportionment.in_turn(shares, queues | {OTHER_FOLDERS: apportionment.alternately(others)})
    yield from _queue(ranked, taken)


def _queue(ranked: Iterable[int], taken: bytearray) -> Iterator[int]:
    """The images nobody has drawn yet."""
    for index in ranked:
        if not taken[index]:
            taken[index] = 1
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
