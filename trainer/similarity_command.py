"""`trainer similarity`: does a selection, or the test split, stand for the pool? And how would a random draw of as many images do?

Rule: it only reads. Which images are looked at follows from the seed, so asking again gives the same answer.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from activelearning import steps
from activelearning.commandline import Commands, add_json, emit, plural, warn
from activelearning.errors import BlobMissing, UserError
from activelearning.labels import ImageLabels, Problem
from activelearning.settings import Settings
from activelearning.store import Store, open_store
from trainer.study_commands import say

if TYPE_CHECKING:
    import numpy as np

    from trainer.set_similarity import Objects, Similarity

DRAWS = 20
"""Random draws that the similarity is held against."""

_NEAR = (640, 640)
"""Images are decoded at about so many pixels: more tell no colour."""
_AT_ONCE = 8
_QUIET_SECONDS = 2.0
_LOW, _HIGH = 0.1, 0.9

_FEWEST_IMAGES = 4

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Found:
    """An answer: the sets as they were asked for, how many images of each were looked at, their similarity, and that of each random draw
    of as many images of the second, held against the others of it."""

    of: str
    to: str
    of_images: int
    to_images: int
    similarity: "Similarity"
    draws: tuple[float, ...]


def add(program: Commands) -> None:
    """Add the command."""
    example = "similarity ./birds --of totag:100 --to pool"
    parser = program.add("similarity", _run, "see whether a selection, or the test split, stands for the pool", example)
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--of", required=True, metavar="SET", help="tagged, test, or totag:100 for the first 100 to review")
    parser.add_argument("--to", required=True, metavar="SET", help="pool (all that is not reviewed) or tagged")
    parser.add_argument("--images", type=int, default=500, metavar="N", help="look at no more than N images of each, drawn at random")
    parser.add_argument("--seed", type=int, default=0, metavar="K", help="of the draws")
    add_json(parser)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.images < _FEWEST_IMAGES or arguments.seed < 0:
        raise UserError(f"--images must be at least {_FEWEST_IMAGES}, and --seed not below 0")
    found = similarity(open_store(arguments.store), arguments.of, arguments.to, arguments.images, arguments.seed, say)
    value = {**asdict(found), "draw_low": _quantile(found.draws, _LOW), "draw_high": _quantile(found.draws, _HIGH)}
    emit(arguments, {**value, "sentence": sentence(found)}, "\n".join(_lines(found)))


def similarity(store: Store, of: str, to: str, most: int, seed: int, tell: Told) -> Found:
    """Compare the objects of two sets of images. Raises `UserError` for a set that there is none of, or that holds too few images."""
    import numpy as np

    from trainer import image_sets, set_similarity

    settings = steps.project(store)
    asked = image_sets.first(store, settings, of), image_sets.second(store, settings, to)
    first, second = image_sets.chosen(*asked, most, seed, (of, to))
    known = _read(store, settings, [*first, *second], tell)
    here, there = ([one.image for one in part if one.image in known] for part in (first, second))
    if len(here) < image_sets.FEWEST or len(there) <= len(here):
        raise UserError(f"of {of} only {len(here):,} images can be read, and of {to} {len(there):,}: too few to compare")
    random = np.random.default_rng(seed)
    drawn = [_parted(there, random.permutation(len(there)), len(here)) for _ in range(DRAWS)]
    counts = [sum(len(known[name].class_id) for name in draw) for draw, _ in drawn]

    def compared(mine: Sequence[str], theirs: Sequence[str]) -> "Similarity":
        return set_similarity.compare(_joined(known, mine), _joined(known, theirs), settings.classes, counts)

    values = (compared(draw, rest).value for draw, rest in drawn)
    told = tuple(sorted(value for value in values if value is not None))
    return Found(of, to, len(here), len(there), compared(here, there), told)


def _parted(names: Sequence[str], order: "np.ndarray", count: int) -> tuple[list[str], list[str]]:
    """The first so many names of an order, and the others."""
    return [names[index] for index in order[:count]], [names[index] for index in order[count:]]


def _joined(known: "dict[str, Objects]", names: Sequence[str]) -> "Objects":
    import numpy as np

    from trainer.set_similarity import Objects

    parts = [known[name] for name in names]
    return Objects(np.concatenate([one.class_id for one in parts]), np.concatenate([one.features for one in parts]))


def _read(store: Store, settings: Settings, images: Sequence[ImageLabels], tell: Told) -> "dict[str, Objects]":
    """The objects of each image, by its name; what cannot be read is left out, and said."""
    known, problems, told = {}, [], time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for number, (labels, one) in enumerate(zip(images, pool.map(lambda one: _objects(store, settings, one), images), strict=True), 1):
            if isinstance(one, Problem):
                problems.append(one)
            else:
                known[labels.image] = one
            if time.monotonic() - told > _QUIET_SECONDS:
                told = time.monotonic()
                tell(f"looked at {number:,} of {len(images):,} images")
    warn(problems)
    return known


def _objects(store: Store, settings: Settings, labels: ImageLabels) -> "Objects | Problem":
    from trainer import letterbox

    try:
        pixels, size = letterbox.decode_image(store.images.read(labels.image).content, _NEAR)
    except BlobMissing:
        return Problem(labels.image, "it is gone from the store; it is left out")
    except UserError as error:
        return Problem(labels.image, f"{error}; it is left out")
    return _described(pixels, size, labels, settings.classes)


def _described(pixels: "np.ndarray", size: tuple[int, int], labels: ImageLabels, classes: Sequence[str]) -> "Objects":
    """The objects of known classes that are larger than two pixels."""
    import numpy as np

    from trainer import object_features
    from trainer.set_similarity import Objects

    height, width = pixels.shape[:2]
    rows, class_id = [], []
    for box in labels.boxes:
        left, top, right, bottom = (round(value * side) for value, side in zip(box.xyxy, (width, height, width, height), strict=True))
        if box.label in classes and min(right - left, bottom - top) > object_features.SMALLEST_SIDE:
            sides = ((box.xmax - box.xmin) * size[0], (box.ymax - box.ymin) * size[1])
            rows.append(object_features.features(pixels[top:bottom, left:right], sides, size))
            class_id.append(classes.index(box.label))
    return Objects(np.array(class_id, np.int64), np.array(rows, np.float64).reshape(-1, len(object_features.RESOLUTION)))


def sentence(found: Found) -> str:
    """What the answer means, in one plain sentence."""
    value = found.similarity.value
    if value is None or not found.draws:
        return f"{found.of} and {found.to} cannot be compared: every class has too few objects in one of them"
    low, high = _quantile(found.draws, _LOW), _quantile(found.draws, _HIGH)
    named = f"random draws of as many images have {low:.2f} to {high:.2f}"
    if value >= (low or 0):
        return f"{found.of} stands for {found.to} as well as a random draw would: similarity {value:.2f}, {named}"
    return f"{found.of} is less like {found.to} than a random draw would be: similarity {value:.2f}, {named}{_most_apart(found.similarity)}"


def _most_apart(found: "Similarity") -> str:
    from trainer.set_similarity import FEATURES

    apart = [(bits, one.label, name) for one in found.classes for name, bits in zip(FEATURES, one.divergence or (), strict=False)]
    if not apart:
        return ""
    _, label, name = max(apart)
    return f"; most apart is the {name} of {label}"


def _quantile(draws: Sequence[float], share: float) -> float | None:
    import numpy as np

    return float(np.quantile(draws, share)) if draws else None


def _lines(found: Found) -> Iterator[str]:
    from trainer.set_similarity import FEATURES

    yield f"{plural(found.of_images, 'image')} of {found.of} beside {found.to_images:,} of {found.to}"
    names = "".join(f"{name:>9}" for name in FEATURES)
    yield f"{'class':20} {'objects':>15} {'similarity':>10}   differs in{names}   (bits, 0 to 1)"
    for one in found.similarity.classes:
        bits = "".join(f"{value:9.3f}" for value in one.divergence) if one.divergence else f"{'too few objects':>36}"
        objects = f"{one.objects_of:,} / {one.objects_to:,}"
        yield f"{one.label:20} {objects:>15} {'-' if one.similarity is None else f'{one.similarity:.3f}':>10}   {'':10}{bits}"
    if found.to == "pool" or found.of.startswith("totag"):
        yield "objects of images that nobody has reviewed are the model's boxes, from drafts.min_confidence on"
    yield sentence(found)
