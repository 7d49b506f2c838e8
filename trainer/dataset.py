"""From labelled images in the store to examples in memory. An image that is gone, damaged or replaced is reported and left out."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from activelearning.errors import BlobMissing, UserError
from activelearning.images import content_hash
from activelearning.labels import ImageLabels, Problem
from activelearning.store import Blobs
from trainer import letterbox
from trainer.ground_truth import example, ground_truth
from trainer.training import Example

_CONCURRENT_READS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Examples of one input size (W, H), and the images that had to be left out."""

    examples: tuple[Example, ...]
    input_size: tuple[int, int]
    problems: tuple[Problem, ...]


def load(blobs: Blobs, images: Sequence[ImageLabels], classes: Sequence[str], input_size: tuple[int, int]) -> Dataset:
    """Read, decode and letterbox the images, several at a time; the order is kept."""
    loaded = list(_load_all(blobs, images, classes, input_size))
    problems = tuple(one for one in loaded if isinstance(one, Problem))
    return Dataset(tuple(one for one in loaded if isinstance(one, Example)), input_size, problems)


def _load_all(blobs: Blobs, images: Sequence[ImageLabels], classes: Sequence[str], size: tuple[int, int]) -> Iterator[Example | Problem]:
    with ThreadPoolExecutor(_CONCURRENT_READS) as pool:
        yield from pool.map(lambda labels: _load(blobs, labels, classes, size), images)


def _load(blobs: Blobs, labels: ImageLabels, classes: Sequence[str], size: tuple[int, int]) -> Example | Problem:
    try:
        content = blobs.read(labels.image).content
        if labels.content_hash not in ("", content_hash(content)):
            return Problem(labels.image, "the image was replaced after it was reviewed; its labels are left out, review it again")
        image = letterbox.read_image(content, size)
        return example(image, ground_truth(labels, classes, image.size))
    except BlobMissing:
        return Problem(labels.image, "the image is gone from the container; its labels are left out")
    except UserError as error:
        return Problem(labels.image, f"{error}; its labels are left out")


def input_size(long_side: int, images: Sequence[ImageLabels], blobs: Blobs) -> tuple[int, int]:
    """The network's input (W, H) for these images; where the tables hold no size, the first images tell theirs."""
    sizes = [(labels.width, labels.height) for labels in images if labels.width and labels.height]
    return letterbox.input_size(long_side, sizes or _measured(blobs, images))


def _measured(blobs: Blobs, images: Sequence[ImageLabels]) -> Iterator[tuple[int, int]]:
    from activelearning.importing import size_reader

    size_of = size_reader(blobs)
    return (size for labels in images[:100] if all(size := size_of(labels.image)))
