"""What a job predicts, and what with: pinned in the store before the first image, so that all trainers at work on it agree.

Rule: the pool is created once and never read from anywhere else again, whatever is edited in `project.toml` or trained meanwhile.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from activelearning import layout
from activelearning.errors import BlobExists, BlobMissing
from activelearning.settings import Prediction
from activelearning.store import Blobs

SHARD_IMAGES = 256


@dataclass(frozen=True, slots=True)
class Recipe:
    """What images are predicted with: a run's model (empty: there is none, images are listed unseen) and what to keep of its output.

    `objects`: what objects look like to the model is kept too; `mirror`: the mirror image is predicted too, for `consistency`. Neither
    changes a box.
    """

    model: str = ""
    family: str = ""
    classes: tuple[str, ...] = ()
    prediction: Prediction = field(default_factory=Prediction)
    objects: bool = field(default=False, compare=False)
    mirror: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class PinnedPool:
    """The images a job predicts, with the time they were listed and how many images the container held then.

    `before` are the jobs that predicted, the last first, what its totag lists beside these images.
    """

    images: tuple[str, ...]
    listed_at: float
    container_images: int
    recipe: Recipe = field(default_factory=Recipe)
    shard_images: int = SHARD_IMAGES
    before: tuple[str, ...] = ()

    @property
    def shards(self) -> range:
        """The numbers of its shards."""
        return range(-(-len(self.images) // self.shard_images))

    def shard(self, number: int) -> Sequence[str]:
        """The images of one shard."""
        return self.images[number * self.shard_images : (number + 1) * self.shard_images]


def pin(blobs: Blobs, job: str, recipe: Callable[[], Recipe], list_pool: Callable[[], PinnedPool]) -> PinnedPool:
    """The job's pool and recipe as its first attempt found them; neither callable is asked again."""
    name = layout.prediction_pool(job)
    if not blobs.exists(name):
        found = recipe()
        with suppress(BlobExists):
            blobs.create(name, _encode(replace(list_pool(), recipe=found)))
    head, images = _parts(blobs.read(name).content)
    # Version 0.1.0 did not note what it predicts with.
    return _pool(head, images) if "recipe" in head else PinnedPool(images, recipe=recipe(), **head)


def pinned(blobs: Blobs, job: str) -> PinnedPool | None:
    """The job's pool; None where the job has not come that far, or where nobody noted what it is predicted with."""
    try:
        head, images = _parts(blobs.read(layout.prediction_pool(job)).content)
    except BlobMissing:
        return None
    return _pool(head, images) if "recipe" in head else None


def same_model(blobs: Blobs, pool: PinnedPool) -> Iterator[tuple[str, PinnedPool]]:
    """The jobs before this one that predicted with the same model, with their pools; what another model sees cannot be compared."""
    for job in pool.before:
        found = pinned(blobs, job)
        if found and found.recipe.model == pool.recipe.model:
            yield job, found


def _encode(pool: PinnedPool) -> bytes:
    head = {f.name: getattr(pool, f.name) for f in fields(pool) if f.name != "images"}
    return "\n".join((json.dumps(head | {"recipe": asdict(pool.recipe)}), *pool.images)).encode()


def _parts(content: bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
    head, *images = content.decode().split("\n")
    return json.loads(head), tuple(images)


def _pool(head: dict[str, Any], images: tuple[str, ...]) -> PinnedPool:
    return PinnedPool(images, **head | {"recipe": _recipe(**head["recipe"]), "before": tuple(head.get("before", ()))})


def _recipe(classes: Sequence[str], prediction: dict[str, Any], **others: Any) -> Recipe:
    return Recipe(classes=tuple(classes), prediction=Prediction(**prediction), **others)
