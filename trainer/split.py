"""The test split: stratified by what is in the images, and sticky: an image never leaves it, new labels may join."""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import islice

from activelearning import apportionment, labelled, layout
from activelearning.labels import BACKGROUND, ImageLabels
from activelearning.settings import TestSplit
from activelearning.store import Blobs


def joining(
    tagged: Sequence[ImageLabels], test: Sequence[ImageLabels], candidates: Collection[str], split: TestSplit
) -> tuple[ImageLabels, ...]:
    """Images of the labelled set that join the test split, so that it holds `split.percentage` of all labelled images.

    Those already in it come too, for their labels may be newer. The new ones are drawn from `candidates` by a hash of name and
    seed, in the proportion of their strata; a stratum is an image's rarest class.
    """
    names = {labels.image for labels in test}
    again = tuple(labels for labels in tagged if labels.image in names)
    others = [labels for labels in tagged if labels.image not in names]
    missing = round(split.percentage * (len(names) + len(others))) - len(names)
    return again + _stratified([labels for labels in others if labels.image in candidates], max(missing, 0), split.seed)


def _stratified(images: Sequence[ImageLabels], count: int, seed: int) -> tuple[ImageLabels, ...]:
    strata: dict[str, list[ImageLabels]] = {}
    rarity = _counts(images)
    for labels in sorted(images, key=lambda one: _draw(one.image, seed)):
        strata.setdefault(_rarest(labels, rarity), []).append(labels)
    members = [strata[name] for name in sorted(strata)]
    seats = Counter(islice(apportionment.seats([len(stratum) for stratum in members]), min(count, len(images))))
    return tuple(labels for index, stratum in enumerate(members) for labels in stratum[: seats[index]])


def _counts(images: Sequence[ImageLabels]) -> Counter[str]:
    return Counter(name for labels in images for name in {box.label for box in labels.boxes})


def _rarest(labels: ImageLabels, counts: Counter[str]) -> str:
    return min({box.label for box in labels.boxes}, key=lambda name: (counts[name], name), default=BACKGROUND)


def _draw(image: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\0{image}".encode()).hexdigest()


def grow(blobs: Blobs, tagged: Sequence[ImageLabels], candidates: Collection[str], split: TestSplit) -> int:
    """Let some of the candidates join `test.csv`, and return how many are new in it."""
    return labelled.join_test(blobs, joining(tagged, labelled.read(blobs, layout.TEST).images, candidates, split))
