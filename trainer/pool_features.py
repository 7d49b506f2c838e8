"""What query strategies go by beside the predictions, gathered from beside the shards.

Rule: only what is needed is read; of objects only those of the images that a strategy asks for. Of an image that another model predicted
nothing is known: its embedding is not a number, and it has no objects.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from activelearning import layout
from activelearning.errors import UserError
from activelearning.labels import ImageLabels
from activelearning.settings import Selection
from activelearning.store import Blobs
from trainer import arrays, labelled_features, pinned_pool, review_seconds, shard_features
from trainer.labelled_features import NOTHING_SEEN
from trainer.pinned_pool import PinnedPool
from trainer.query import near_duplicates, objects, ranking, sequences
from trainer.query.candidates import Candidates
from trainer.query.objects import Objects
from trainer.query.registry import in_force
from trainer.query.strategy import DIFFICULTY, EMBEDDINGS, LABELLED, OBJECTS, Extra
from trainer.shard_features import ShardFeatures
from trainer.work import Work


@dataclass(frozen=True, slots=True, eq=False)
class PoolFeatures:
    """Of N images, in their order: `embeddings` (N, D) float16, rows of NaN where unknown; `hashes` (N,) uint64, `taken` (N,) float64 in
    seconds, NaN where unknown; `is_known` (N,) bool, whether anything is known of the image, and `has_objects` (N,), whether its objects
    are."""

    embeddings: np.ndarray
    hashes: np.ndarray
    taken: np.ndarray
    is_known: np.ndarray
    has_objects: np.ndarray
    _blobs: Blobs
    _classes: tuple[str, ...]
    _shards: list[str] = field(default_factory=list)
    _place: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int32))

    def objects(self, indices: np.ndarray) -> Objects:
        """The objects of the images that are named by index (n,), in that order; read now."""
        wanted, parts, rows = self._place[indices], [], []
        for shard in np.unique(wanted[:, 0]):
            of_shard = np.flatnonzero(wanted[:, 0] == shard)
            parts.append(self._objects_of(int(shard), wanted[of_shard, 1]))
            rows.append(of_shard)
        if not parts:
            return objects.no_objects(0)
        return objects.concatenated(parts).at(np.argsort(np.concatenate(rows)))

    def clusters(self, bits: int, labelled: Sequence[int] | np.ndarray = ()) -> np.ndarray:
        """Near-duplicates among the images and the `labelled` hashes (L,) after them, as `near_duplicates.clusters` counts them, (N + L,)
        int64; an image of which nothing is known is a cluster of its own."""
        hashes = np.concatenate([self.hashes, np.asarray(labelled, np.uint64)])
        found, known = np.arange(len(hashes)), np.flatnonzero(np.append(self.is_known, np.ones(len(labelled), bool)))
        found[known] = known[near_duplicates.clusters(hashes[known], bits)]
        return found

    def _objects_of(self, shard: int, rows: np.ndarray) -> Objects:
        if shard < 0:
            return objects.no_objects(len(rows))
        name = self._shards[shard]
        found = shard_features.decode(self._blobs.read(name).content, name, self._classes).objects
        return objects.no_objects(len(rows)) if found is None else found.at(rows)


def loader(
    work: Work, pool: PinnedPool, selection: Selection, labelled: Callable[[], Sequence[ImageLabels]], drafts_of: str
) -> Callable[[Candidates], Extra]:
    """What gives the extras of the candidates that a job ranks; `labelled` gives the images people labelled, if they are needed;
    `drafts_of` is the run whose model all boxes of the candidates are of, empty where that is not one.

    What it returns raises `UserError` where the strategy needs what the model does not tell.
    """
    return lambda candidates: _extra(work, pool, selection, candidates, labelled, drafts_of)


def gather(blobs: Blobs, job: str, pool: PinnedPool, images: Sequence[str]) -> PoolFeatures:
    """What is known of some images from a job's prediction, and from those of the same model before it. Damaged blobs raise `UserError`."""
    index = {image: number for number, image in enumerate(images)}
    is_known, has_objects = np.zeros((2, len(images)), bool)
    embeddings = np.zeros((len(images), 0), np.float16)
    hashes, taken = np.zeros(len(images), np.uint64), np.full(len(images), np.nan)
    place, shards = np.full((len(images), 2), -1, np.int32), list[str]()
    for name, found, with_objects in _shards(blobs, job, pool):
        row = np.array([index.get(image, -1) for image in found.images], np.int64)
        fresh = np.flatnonzero((row >= 0) & ~is_known[row])
        width = found.embeddings.shape[1]
        if width and not embeddings.shape[1]:
            embeddings = np.full((len(images), width), np.nan, np.float16)
        if width and width != embeddings.shape[1]:
            raise UserError(f"{name} is of another model than the shards before it: delete it to do without")
        if width:
            embeddings[row[fresh]] = found.embeddings[fresh]
        hashes[row[fresh]], taken[row[fresh]], is_known[row[fresh]] = found.hashes[fresh], found.taken[fresh], True
        has_objects[row[fresh]] = with_objects
        place[row[fresh]] = np.stack([np.full(len(fresh), len(shards)), fresh], 1)
        shards.append(name)
    return PoolFeatures(embeddings, hashes, taken, is_known, has_objects, blobs, pool.recipe.classes, shards, place)


def _shards(blobs: Blobs, job: str, pool: PinnedPool) -> Iterator[tuple[str, ShardFeatures, bool]]:
    """Each blob with what it says of images, and whether it tells of objects too."""
    for source, predicted in ((job, pool), *pinned_pool.same_model(blobs, pool)):
        there = {info.name for info in blobs.list(layout.predictions_of(source))}
        for name in (layout.shard_features(source, number) for number in predicted.shards):
            if name in there:
                content = blobs.read(name).content
                yield name, shard_features.decode(content, name), arrays.holds(content, "offsets")


def _extra(
    work: Work,
    pool: PinnedPool,
    selection: Selection,
    candidates: Candidates,
    labelled: Callable[[], Sequence[ImageLabels]],
    drafts_of: str,
) -> Extra:
    needs = ranking.needs(selection)
    near, moments = selection.near_duplicates, selection.sequence_seconds
    people = tuple(labelled()) if needs & {LABELLED, DIFFICULTY} or near or moments else ()
    counts = Counter(box.label for labels in people for box in labels.boxes) if LABELLED in needs else None
    blobs, model = work.store.labels, pool.recipe.model
    seconds = review_seconds.of_pool(blobs, work.settings, drafts_of, candidates) if in_force(selection).per_second else None
    if not model or not (needs & {EMBEDDINGS, OBJECTS} or near or moments):
        return Extra(labelled_boxes=counts, seconds=seconds)
    found = gather(blobs, work.job.id, pool, candidates.images)
    seen = labelled_features.of_job(work, pool, people) if needs & {EMBEDDINGS, DIFFICULTY} or near or moments else NOTHING_SEEN
    return Extra(
        embeddings=_told(found, selection, pool) if EMBEDDINGS in needs else None,
        labelled_embeddings=seen.embeddings if EMBEDDINGS in needs else None,
        objects=found.objects if OBJECTS in needs else None,
        has_objects=found.has_objects if OBJECTS in needs else None,
        labelled_boxes=counts,
        class_difficulty=seen.difficulty if DIFFICULTY in needs else None,
        seconds=seconds,
        clusters=found.clusters(near, seen.hashes) if near else None,
        bursts=sequences.bursts((*candidates.images, *seen.images), np.append(found.taken, seen.taken), moments) if moments else None,
        labelled_images=seen.images,
    )


def _told(found: PoolFeatures, selection: Selection, pool: PinnedPool) -> np.ndarray:
    if len(found.is_known) and not found.embeddings.shape[1]:
        raise UserError(
            f"the query strategy {selection.strategy} goes by what images look like to the model, which model {pool.recipe.model} does not "
            "tell: it was made by an older version; train once, or choose another selection.strategy"
        )
    return found.embeddings
