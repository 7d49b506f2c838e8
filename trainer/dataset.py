"""From labelled images in the store to examples in memory. An image that is gone, damaged or replaced is reported and left out."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from activelearning.errors import BlobMissing, UserError
from activelearning.images import content_hash
from activelearning.labels import ImageLabels, Problem
from activelearning.store import Blobs
from trainer import letterbox, view
from trainer.ground_truth import TRUTH, example, inside
from trainer.training import Example
from trainer.view import WHOLE, View

_CONCURRENT_READS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Examples of one input size (W, H), and the images that had to be left out."""

    examples: tuple[Example, ...]
    input_size: tuple[int, int]
    problems: tuple[Problem, ...]


def load(
    blobs: Blobs,
    images: Sequence[ImageLabels],
    classes: Sequence[str],
    input_size: tuple[int, int],
    task: str = "boxes",
    shown: View = WHOLE,
) -> Dataset:
    """Read, decode and letterbox the images, several at a time; the order is kept. `task`, one of `settings.TASKS`, says what is learned.

    Where they are `shown` in tiles, each tile is an example, with what of the objects can be seen in it.

    Where that is masks, an object without one is learned as a box, nothing is learned of its mask, and the image is among the problems.
    """
    loaded = [one for part in _load_all(blobs, images, classes, input_size, task, shown) for one in part]
    problems = tuple(one for one in loaded if isinstance(one, Problem))
    return Dataset(tuple(one for one in loaded if isinstance(one, Example)), input_size, problems)


def _load_all(
    blobs: Blobs, images: Sequence[ImageLabels], classes: Sequence[str], size: tuple[int, int], task: str, shown: View
) -> Iterator[tuple[Example | Problem, ...]]:
    with ThreadPoolExecutor(_CONCURRENT_READS) as pool:
        yield from pool.map(lambda labels: _load(blobs, labels, classes, size, task, shown), images)


def _load(
    blobs: Blobs, labels: ImageLabels, classes: Sequence[str], size: tuple[int, int], task: str, shown: View
) -> tuple[Example | Problem, ...]:
    try:
        content = blobs.read(labels.image).content
        if labels.content_hash not in ("", content_hash(content)):
            return (Problem(labels.image, "the image was replaced after it was reviewed; its labels are left out, review it again"),)
        crops, tiles, whole = view.crops(content, size, shown)
        truth = TRUTH[task](labels, classes, whole)
        seen = [inside(truth, tile) for tile in tiles] if shown.tile else [truth]
        return *map(example, crops, seen), *_lacking(labels, truth.without_mask)
    except BlobMissing:
        return (Problem(labels.image, "the image is gone from the container; its labels are left out"),)
    except UserError as error:
        return (Problem(labels.image, f"{str(error).removeprefix(f'{labels.image}: ')}; its labels are left out"),)


def _lacking(labels: ImageLabels, without_mask: int) -> Iterator[Problem]:
    if without_mask:
        what = f"{without_mask} of its {len(labels.boxes)} objects have no mask, or a damaged one, so only their boxes are learned"
        yield Problem(labels.image, f"{what}; draw the masks and hand the image in again")


def input_size(long_side: int, images: Sequence[ImageLabels], blobs: Blobs) -> tuple[int, int]:
    """The network's input (W, H) for these images; where the tables hold no size, the first images tell theirs."""
    sizes = [(labels.width, labels.height) for labels in images if labels.width and labels.height]
    return letterbox.input_size(long_side, sizes or _measured(blobs, images))


def _measured(blobs: Blobs, images: Sequence[ImageLabels]) -> Iterator[tuple[int, int]]:
    from activelearning.importing import size_reader

    size_of = size_reader(blobs)
    return (size for labels in images[:100] if all(size := size_of(labels.image)))
