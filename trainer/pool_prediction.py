"""Predict many images in shards, so that a run that was killed goes on with what is missing, and several trainers divide the work.

Rule: a shard is created once, and what is in it follows from the pinned pool alone, so it does not matter who makes it, or how often.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from activelearning import layout, table
from activelearning.errors import BlobExists
from activelearning.images import content_hash
from activelearning.labels import ImageLabels, Review
from activelearning.store import Blobs, Store
from trainer import shard_features
from trainer.calibration import Calibration
from trainer.drafts import image_labels
from trainer.pinned_pool import PinnedPool
from trainer.predictor import Failed, Predicted, Predictor


def missing(blobs: Blobs, job: str, pool: PinnedPool) -> list[int]:
    """The shards that nobody has made yet, in order: one listing, however many there are."""
    there = _blobs_of(blobs, job)
    return [number for number in pool.shards if layout.prediction_shard(job, number) not in there]


def _blobs_of(blobs: Blobs, job: str) -> set[str]:
    return {info.name for info in blobs.list(layout.predictions_of(job))}


def predict_shard(
    store: Store,
    job: str,
    pool: PinnedPool,
    number: int,
    predictor: Predictor | None,
    calibration: Calibration | None,
    after_image: Callable[[], None],
) -> bool:
    """Create one shard unless it is there, and say whether it is ours. Without a predictor, images are listed unseen.

    `after_image` is called after each image, and may raise to stop.
    """
    if store.labels.exists(layout.prediction_shard(job, number)):
        return False
    found, looks = [], []
    for one, look in _labels(store.images, pool.shard(number), predictor, calibration, pool.recipe.classes):
        found.append(one)
        looks += [look] if look else []
        after_image()
    unreadable = {one.name: one.reason for one in found if isinstance(one, Failed)}
    # Reasons and features go first: a shard that is there is complete.
    if unreadable:
        _create(store.labels, layout.unreadable(job, number), json.dumps(unreadable, ensure_ascii=False).encode())
    if predictor is not None:
        features = shard_features.of_predicted(looks, pool.recipe.objects)
        _create(store.labels, layout.shard_features(job, number), shard_features.encode(features))
    shard = table.table_bytes(one for one in found if isinstance(one, ImageLabels))
    return _create(store.labels, layout.prediction_shard(job, number), shard)


def _create(blobs: Blobs, name: str, content: bytes) -> bool:
    try:
        blobs.create(name, content)
    except BlobExists:
        return False
    return True


def _labels(
    blobs: Blobs, images: Sequence[str], predictor: Predictor | None, calibration: Calibration | None, classes: Sequence[str]
) -> Iterator[tuple[ImageLabels | Failed, Predicted | None]]:
    """Each image's rows, or why there are none; beside it what was predicted, if anything."""
    if predictor is None:
        yield from ((ImageLabels(image, review=Review.UNOPENED), None) for image in images)
        return
    hashes: dict[str, str] = {}

    def read(image: str) -> bytes:
        content = blobs.read(image).content
        hashes[image] = content_hash(content)
        return content

    for found in predictor.predict((image, partial(read, image)) for image in images):
        if isinstance(found, Failed):
            yield found, None
        else:
            calibrated = calibration and calibration.apply(found.detections, found.size)
            yield image_labels(found, classes, hashes[found.name], calibrated), found


def predictions(blobs: Blobs, job: str, pool: PinnedPool) -> Iterator[ImageLabels]:
    """All predicted images of a finished prediction, shard by shard."""
    for number in pool.shards:
        name = layout.prediction_shard(job, number)
        yield from table.read_labels(blobs.read(name).content.decode(), name).images


def unreadable(blobs: Blobs, job: str, pool: PinnedPool) -> dict[str, str]:
    """The images that could not be predicted, with the reason."""
    found: dict[str, str] = {}
    there = _blobs_of(blobs, job)
    for name in (layout.unreadable(job, number) for number in pool.shards):
        if name in there:
            found |= json.loads(blobs.read(name).content)
    return found
