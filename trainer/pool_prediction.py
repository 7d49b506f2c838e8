"""Predict many images in shards, so that a run that was killed goes on with the first shard that is missing."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from activelearning import layout, table
from activelearning.errors import BlobExists, BlobMissing
from activelearning.images import content_hash
from activelearning.labels import MODEL, Box, ImageLabels, Review
from activelearning.ordering import box_entropy, box_margin
from activelearning.store import Blobs, Store
from trainer.predictor import Failed, Predicted, Predictor

SHARD_IMAGES = 256
_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class PinnedPool:
    """The images a job predicts, with the time they were listed and how many images the container held then."""

    images: tuple[str, ...]
    listed_at: float
    container_images: int

    @property
    def shards(self) -> range:
        """The numbers of its shards."""
        return range(-(-len(self.images) // SHARD_IMAGES))

    def shard(self, number: int) -> Sequence[str]:
        """The images of one shard."""
        return self.images[number * SHARD_IMAGES : (number + 1) * SHARD_IMAGES]


def pin(blobs: Blobs, job: str, list_pool: Callable[[], PinnedPool]) -> PinnedPool:
    """The job's pool as its first attempt listed it."""
    name = layout.prediction_pool(job)
    if not blobs.exists(name):
        listed = list_pool()
        head = json.dumps({"listed_at": listed.listed_at, "container_images": listed.container_images})
        with suppress(BlobExists):
            blobs.create(name, "\n".join((head, *listed.images)).encode())
    head, *images = blobs.read(name).content.decode().split("\n")
    return PinnedPool(tuple(images), **json.loads(head))


def predict(
    store: Store, job: str, pool: PinnedPool, predictor: Predictor | None, classes: Sequence[str], tell: Callable[[str], None]
) -> None:
    """Create every shard that is missing. Without a predictor, images are listed unseen. `tell` hears of the progress."""
    for number in pool.shards:
        name = layout.prediction_shard(job, number)
        if not store.labels.exists(name):
            _predict_shard(store, job, number, pool.shard(number), predictor, classes)
        tell(f"{min((number + 1) * SHARD_IMAGES, len(pool.images)):,} of {len(pool.images):,} images predicted")


def _predict_shard(store: Store, job: str, number: int, images: Sequence[str], predictor: Predictor | None, classes: Sequence[str]) -> None:
    found = list(_labels(store.images, images, predictor, classes))
    unreadable = {one.name: one.reason for one in found if isinstance(one, Failed)}
    # The reasons go first: a shard that is there is complete.
    with suppress(BlobExists):
        if unreadable:
            store.labels.create(layout.unreadable(job, number), json.dumps(unreadable, ensure_ascii=False).encode())
    with suppress(BlobExists):
        store.labels.create(layout.prediction_shard(job, number), table.table_bytes(one for one in found if isinstance(one, ImageLabels)))


def _labels(blobs: Blobs, images: Sequence[str], predictor: Predictor | None, classes: Sequence[str]) -> Iterator[ImageLabels | Failed]:
    if predictor is None:
        yield from (ImageLabels(image, review=Review.UNOPENED) for image in images)
        return
    hashes: dict[str, str] = {}

    def read(image: str) -> bytes:
        content = blobs.read(image).content
        hashes[image] = content_hash(content)
        return content

    for found in predictor.predict((image, partial(read, image)) for image in images):
        yield found if isinstance(found, Failed) else image_labels(found, classes, hashes[found.name])


def image_labels(found: Predicted, classes: Sequence[str], image_hash: str = "") -> ImageLabels:
    """A prediction as drafts: fractions of the image, rounded to a millionth; a box that rounding leaves without area is dropped."""
    width, height = found.size
    detections = found.detections
    corners = (detections.xyxy / [width, height, width, height]).clip(0, 1).round(_DECIMALS).tolist()
    rows = zip(corners, detections.confidence.tolist(), detections.class_id.tolist(), detections.class_scores.tolist(), strict=True)
    boxes = (
        Box(classes[label], *xyxy, confidence=round(score, _DECIMALS), source=MODEL, measures=_measures(scores))
        for xyxy, score, label, scores in rows
        if xyxy[0] < xyxy[2] and xyxy[1] < xyxy[3]
    )
    return ImageLabels(found.name, width, height, tuple(boxes), Review.UNOPENED, image_hash)


def _measures(class_scores: Sequence[float]) -> tuple[tuple[str, float], ...]:
    return ("entropy", round(box_entropy(class_scores), _DECIMALS)), ("margin", round(box_margin(class_scores), _DECIMALS))


def predictions(blobs: Blobs, job: str, pool: PinnedPool) -> Iterator[ImageLabels]:
    """All predicted images of a finished prediction, shard by shard."""
    for number in pool.shards:
        name = layout.prediction_shard(job, number)
        yield from table.read_labels(blobs.read(name).content.decode(), name).images


def unreadable(blobs: Blobs, job: str, pool: PinnedPool) -> dict[str, str]:
    """The images that could not be predicted, with the reason."""
    found: dict[str, str] = {}
    for number in pool.shards:
        with suppress(BlobMissing):
            found |= json.loads(blobs.read(layout.unreadable(job, number)).content)
    return found
