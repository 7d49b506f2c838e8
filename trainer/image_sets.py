"""The sets of images that `trainer similarity` compares, by name: tagged, test, the head of totag, the pool.

Rule: two sets that are compared share no image, and which images are drawn follows from the seed.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice

import numpy as np

from activelearning import claims, commits, layout
from activelearning.errors import UserError
from activelearning.labels import ImageLabels
from activelearning.settings import Settings
from activelearning.store import Store

FEWEST = 2
"""Images in a set that can be compared."""

_TOTAG = re.compile(r"totag:([1-9]\d{0,8})")

Images = tuple[ImageLabels, ...]


def first(store: Store, settings: Settings, name: str) -> Iterator[ImageLabels]:
    """The set that is asked about, read as far as it is asked for: tagged, test, or totag:N. Raises `UserError` for another name, and for a
    set without images."""
    head = _TOTAG.fullmatch(name)
    if head:
        return _some(name, islice(_pool(store, settings), int(head[1])))
    return _some(name, _named(name, _OF, "totag:100")(store, settings))


def second(store: Store, settings: Settings, name: str) -> Iterator[ImageLabels]:
    """The set that it is held against: pool or tagged. Raises `UserError` as `first` does."""
    return _some(name, _named(name, _TO)(store, settings))


def chosen(of: Iterable[ImageLabels], to: Iterable[ImageLabels], most: int, seed: int, names: tuple[str, str]) -> tuple[Images, Images]:
    """The images to look at, at most so many of each: none in both sets, and of the first no more than half of those of the second, so that
    a random draw of as many leaves something to hold it against. Raises `UserError` where too few are left.

    Held in memory are these images, and the names of the first set.
    """
    random, mine = np.random.default_rng(seed), set[str]()
    asked = _drawn(_noted(of, mine), most, random)
    others = _drawn((labels for labels in to if labels.image not in mine), most, random)
    if len(mine) < FEWEST or len(others) < 2 * FEWEST:
        raise UserError(f"{names[0]} has {len(mine):,} images, and {names[1]} {len(others):,} others: too few to compare")
    return _drawn(asked, min(most, len(others) // 2), random), others


Make = Callable[[Store, Settings], Iterator[ImageLabels]]


def _named(name: str, known: Mapping[str, Make], *more: str) -> Make:
    if name not in known:
        raise UserError(f"there is no set '{name}' here; choose from: {', '.join((*known, *more))}")
    return known[name]


def _some(name: str, images: Iterator[ImageLabels]) -> Iterator[ImageLabels]:
    head = next(images, None)
    if head is None:
        raise UserError(f"there is no image in {name} yet: train once, or import labels, first")
    return chain((head,), images)


def _tagged(store: Store, settings: Settings) -> Iterator[ImageLabels]:
    commit = commits.latest(store.labels)
    return _walk(store, commit.tagged if commit else "")


def _test(store: Store, settings: Settings) -> Iterator[ImageLabels]:
    return _walk(store, layout.TEST)


def _pool(store: Store, settings: Settings) -> Iterator[ImageLabels]:
    """All that is to be reviewed, in that order, with the model's boxes that are not weak."""
    commit = commits.latest(store.labels)
    return (_shown(labels, settings.drafts.min_confidence) for labels in _walk(store, commit.totag if commit else ""))


def _walk(store: Store, table: str) -> Iterator[ImageLabels]:
    """The images of a table, read piece by piece; none where there is no such blob yet."""
    if table and store.labels.exists(table):
        yield from (group.labels for group in claims.walk(store.labels, table))


def _shown(labels: ImageLabels, low: float) -> ImageLabels:
    boxes = tuple(box for box in labels.boxes if box.confidence is None or box.confidence >= low)
    return ImageLabels(labels.image, labels.width, labels.height, boxes, labels.review)


_OF: Mapping[str, Make] = {"tagged": _tagged, "test": _test}
_TO: Mapping[str, Make] = {"pool": _pool, "tagged": _tagged}


def _noted(images: Iterable[ImageLabels], names: set[str]) -> Iterator[ImageLabels]:
    for labels in images:
        names.add(labels.image)
        yield labels


def _drawn(images: Iterable[ImageLabels], most: int, random: np.random.Generator) -> Images:
    """At most so many of the images, each as likely as any other, in their order; no more are held (algorithm R of Vitter, 1985)."""
    kept: dict[int, ImageLabels] = {}
    places: list[int] = []
    for number, labels in enumerate(images):
        place = number if number < most else int(random.integers(number + 1))
        if place >= most:
            continue
        if number < most:
            places.append(number)
        else:
            del kept[places[place]]
            places[place] = number
        kept[number] = labels
    return tuple(kept.values())
