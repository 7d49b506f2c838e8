"""Strategies that draw by lot: the yardstick for every other, and the same stratified by predicted class.

Rule: the lot of an image follows from its name and the seed alone, so it stays when the pool grows.
"""

import hashlib
from collections.abc import Mapping
from heapq import heappop, heapreplace
from itertools import pairwise

import numpy as np

from activelearning.settings import Drafts, Selection
from trainer.query.candidates import Candidates
from trainer.query.strategy import Extra, Ranking, Strategy, by_score

SHOWN_FROM = Drafts().min_confidence
"""The confidence from which a box says what is in its image."""


def lots(candidates: Candidates, seed: int) -> np.ndarray:
    """A number 0..1 for each image, (N,), as if drawn by lot."""
    start = hashlib.blake2b(f"{seed} ".encode(), digest_size=8)
    digests = bytearray()
    for image in candidates.images:
        lot = start.copy()
        lot.update(image.encode("utf-8", "surrogatepass"))
        digests += lot.digest()
    return np.frombuffer(digests, ">u8") / 2.0**64


def image_classes(candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of image and class that it shows, each once, by image and class: two (M,) int64.

    An image shows the classes of its boxes that would be drafts by default, or, without such, that of its surest box. With every box that
    the tables hold, down to hardly any confidence, nearly every image would show every class.
    """
    width = max(len(candidates.classes), 1)
    shown = (candidates.confidence >= SHOWN_FROM) | _is_surest(candidates)
    pairs = np.unique(candidates.image_of_box[shown] * width + candidates.class_id[shown])
    return pairs // width, pairs % width


def _is_surest(candidates: Candidates) -> np.ndarray:
    """(B,) bool: the surest box of each image, the first of equal ones."""
    order = np.lexsort((-candidates.confidence, candidates.image_of_box))
    first = candidates.offsets[:-1][candidates.counts > 0]
    surest = np.zeros(len(candidates.confidence), bool)
    surest[order[first]] = True
    return surest


def _random(candidates: Candidates, selection: Selection, extra: Extra) -> Ranking:
    return by_score(lots(candidates, selection.seed))


def _class_stratified(candidates: Candidates, selection: Selection, extra: Extra) -> Ranking:
    """The next image is of the class, or of none, that the fewest images before it show and that is left: the highest lot of it.

    Ties go to the class with fewer images, then to the first by name. The score falls from 1 with the place.
    """
    strata, members = _strata(candidates)
    lot = lots(candidates, selection.seed)
    order = np.array(_evenly(strata, [_last_first(each, lot) for each in members]), np.int64)
    score = np.empty(len(order))
    score[order] = np.linspace(1, 0, len(order), endpoint=False)
    return Ranking(order, score)


def _strata(candidates: Candidates) -> tuple[list[tuple[int, ...]], list[np.ndarray]]:
    """The strata of each image, and the images of each stratum, the smallest first: the classes, and none."""
    image, label = image_classes(candidates)
    empty = np.flatnonzero(candidates.counts == 0)
    members = sorted((*(image[label == number] for number in range(len(candidates.classes))), empty), key=len)
    image, stratum = np.concatenate(members), np.repeat(np.arange(len(members)), [len(each) for each in members])
    by_image = stratum[np.argsort(image, kind="stable")].tolist()
    ends = [0, *np.cumsum(np.bincount(image, minlength=len(candidates))).tolist()]
    return [tuple(by_image[start:end]) for start, end in pairwise(ends)], members


def _last_first(images: np.ndarray, lot: np.ndarray) -> list[int]:
    """The images by rising lot, so that the highest is taken off the end."""
    rising: list[int] = images[np.argsort(lot[images], kind="stable")].tolist()
    return rising


def _evenly(strata: list[tuple[int, ...]], queues: list[list[int]]) -> list[int]:
    """Each image once, always off the end of the queue whose stratum was shown least."""
    shown, taken, order = [0] * len(queues), bytearray(len(strata)), []
    due = [(0, stratum) for stratum in range(len(queues))]
    while due:
        count, stratum = due[0]
        if count != shown[stratum]:  # it was shown by the way since
            heapreplace(due, (shown[stratum], stratum))
            continue
        queue = queues[stratum]
        while queue and taken[queue[-1]]:
            queue.pop()
        if not queue:
            heappop(due)
            continue
        image = queue.pop()
        taken[image] = 1
        order.append(image)
        for each in strata[image]:
            shown[each] += 1
    return order


STRATEGIES: Mapping[str, Strategy] = {
    "random": Strategy(_random, "random", "passive learning, the baseline of Settles, 2009"),
    "class-stratified-random": Strategy(
        _class_stratified,
        "random, the predicted classes as even as they come",
        "stratified sampling: Neyman, 1934; of several labels: Sechidis et al., ECML 2011",
    ),
}
