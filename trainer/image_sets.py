"""The sets of images that `trainer similarity` compares, by name: tagged, test, the head of totag, the pool.

Rule: two sets that are compared share no image, and which images are drawn follows from the seed.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from activelearning import claims, commits, labelled, layout
from activelearning.errors import UserError
from activelearning.labels import ImageLabels
from activelearning.settings import Settings
from activelearning.store import Store

FEWEST = 2
"""Images in a set that can be compared."""

_TOTAG = re.compile(r"totag:([1-9]\d{0,8})")

Images = tuple[ImageLabels, ...]


def first(store: Store, settings: Settings, name: str) -> Images:
    """The set that is asked about: tagged, test, or totag:N. Raises `UserError` for another name, and for a set without images."""
    head = _TOTAG.fullmatch(name)
    if head:
        return _some(name, _pool(store, settings)[: int(head[1])])
    return _some(name, _named(name, _OF, "totag:100")(store, settings))


def second(store: Store, settings: Settings, name: str) -> Images:
    """The set that it is held against: pool or tagged. Raises `UserError` as `first` does."""
    return _some(name, _named(name, _TO)(store, settings))


def chosen(of: Images, to: Images, most: int, seed: int, names: tuple[str, str]) -> tuple[Images, Images]:
    """The images to look at, at most so many of each: none in both sets, and of the first no more than half of those of the second, so that
    a random draw of as many leaves something to hold it against. Raises `UserError` where too few are left."""
    random = np.random.default_rng(seed)
    mine = {labels.image for labels in of}
    others = _drawn([labels for labels in to if labels.image not in mine], most, random)
    if len(of) < FEWEST or len(others) < 2 * FEWEST:
        raise UserError(f"{names[0]} has {len(of):,} images, and {names[1]} {len(others):,} others: too few to compare")
    return _drawn(of, min(most, len(others) // 2), random), others


Make = Callable[[Store, Settings], Images]


def _named(name: str, known: Mapping[str, Make], *more: str) -> Make:
    if name not in known:
        raise UserError(f"there is no set '{name}' here; choose from: {', '.join((*known, *more))}")
    return known[name]


def _some(name: str, images: Images) -> Images:
    if not images:
        raise UserError(f"there is no image in {name} yet: train once, or import labels, first")
    return images


def _tagged(store: Store, settings: Settings) -> Images:
    commit = commits.latest(store.labels)
    return labelled.read(store.labels, commit.tagged).images if commit and commit.tagged else ()


def _test(store: Store, settings: Settings) -> Images:
    return labelled.read(store.labels, layout.TEST).images


def _pool(store: Store, settings: Settings) -> Images:
    """All that is to be reviewed, in that order, with the model's boxes that are not weak."""
    commit = commits.latest(store.labels)
    if not commit or not commit.totag:
        return ()
    low = settings.drafts.min_confidence
    return tuple(_shown(group.labels, low) for group in claims.walk(store.labels, commit.totag))


def _shown(labels: ImageLabels, low: float) -> ImageLabels:
    boxes = tuple(box for box in labels.boxes if box.confidence is None or box.confidence >= low)
    return ImageLabels(labels.image, labels.width, labels.height, boxes, labels.review)


_OF: Mapping[str, Make] = {"tagged": _tagged, "test": _test}
_TO: Mapping[str, Make] = {"pool": _pool, "tagged": _tagged}


def _drawn(images: Sequence[ImageLabels], most: int, random: np.random.Generator) -> Images:
    if len(images) <= most:
        return tuple(images)
    return tuple(images[index] for index in sorted(random.choice(len(images), most, replace=False)))
