"""One prediction, many trainers: the one that holds the job puts messages into a queue, and whoever is free makes the shards they name.

Rule: what counts is which shards are there. A message that is lost, late, doubled or held by a dead trainer costs time and nothing
else, for the holder of the job takes part like everybody and makes by itself what nobody finishes.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from activelearning import layout, state
from activelearning.state import RUNNING
from activelearning.store import Message, Store
from trainer import calibrating, pinned_pool, pool_prediction, ray_prediction, shard_messages
from trainer.calibration import Calibration
from trainer.pinned_pool import PinnedPool
from trainer.predictor import Predictor
from trainer.work import Work, read_onnx

ALONE_SHARDS = 4
"""So few are made sooner than another trainer has loaded the model."""
_POLL_SECONDS = 0.5
_LOOK_SECONDS = 5.0
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A job's pool, and the model to predict it with; None: there is none, images are listed unseen. And its calibration, if it has one."""

    job: str
    pool: PinnedPool
    predictor: Predictor | None
    calibration: Calibration | None


@dataclass(frozen=True, slots=True, eq=False)
class Took:
    """What came of a message: the job that is loaded now, for the next message, and how many shards were made."""

    loaded: Loaded | None
    made: int


def predict(work: Work, pool: PinnedPool) -> None:
    """Create every shard of the job that is missing, together with other trainers where there are many.

    The job hears of the progress after every image, and may raise to stop.
    """
    missing = pool_prediction.missing(work.store.labels, work.job.id, pool)
    if not missing:
        return
    if work.means.ray and pool.recipe.model:
        ray_prediction.predict(work, pool, missing)
        # what machines that were lost left undone
        missing = pool_prediction.missing(work.store.labels, work.job.id, pool)
        if not missing:
            return
    mine = load(work.store, work.job.id, pool)
    if mine.predictor is not None:
        work.tell(f"predicting with {mine.predictor.engine}")
    # Listing images unseen takes longer to divide than to do.
    if len(missing) <= ALONE_SHARDS or mine.predictor is None:
        _make_alone(work, mine, missing)
    else:
        _Holder(work, mine, missing).work_until_complete()


def _make_alone(work: Work, mine: Loaded, missing: Sequence[int]) -> None:
    for done, number in enumerate(missing):
        make(work.store, mine, number, partial(work.tell, _progress(mine.pool, missing[done:])))
        if not done:
            work.progressed()
    work.tell(_progress(mine.pool, ()))


def work_on(store: Store, message: Message, ready: Loaded | None, after_image: Callable[[], None]) -> Took:
    """Make what is missing of the shards that a message names; `ready` is what was loaded for the last one.

    A message whose job is over, unknown or not yet predicting is dropped. `after_image` may raise to stop: then, and after any
    error, the message comes back a little later.
    """
    with shard_messages.held(store.queues, message, after_image) as keep:
        asked = shard_messages.decode(message.body)
        found = _predicting(store, asked.job, ready) if asked else None
        if asked is None or found is None:
            return Took(ready, 0)
        numbers = range(max(asked.first, 0), min(asked.stop, len(found.pool.shards)))
        return Took(found, sum(make(store, found, number, keep) for number in numbers))


def _predicting(store: Store, job: str, ready: Loaded | None) -> Loaded | None:
    """The job if somebody holds it and its pool is pinned, loaded unless it is the one that is `ready`."""
    known = state.load(store.labels).jobs.get(job)
    if known is None or known.status != RUNNING:
        return None
    if ready and ready.job == job:
        return ready
    pool = pinned_pool.pinned(store.labels, job)
    return load(store, job, pool) if pool else None


def load(store: Store, job: str, pool: PinnedPool, threads: int = 0) -> Loaded:
    """A job's pool with what it is predicted with; `threads` as for `Predictor`."""
    recipe = pool.recipe
    if not recipe.model:
        return Loaded(job, pool, None, None)
    predictor = Predictor(read_onnx(store, recipe.model), recipe.family, recipe.prediction, threads=threads, mirror=recipe.mirror)
    return Loaded(job, pool, predictor, calibrating.read(store.labels, recipe.model))


def make(store: Store, job: Loaded, number: int, after_image: Callable[[], None]) -> bool:
    """Create a shard unless it is there, and say whether it is ours. `after_image` may raise to stop."""
    return pool_prediction.predict_shard(store, job.job, job.pool, number, job.predictor, job.calibration, after_image)


@dataclass(slots=True)
class _Holder:
    """The trainer that holds the job. It alone knows when the prediction is complete."""

    work: Work
    mine: Loaded
    missing: list[int]
    made: int = 0
    """Shards of our own since the last look."""
    made_by_others: int = 0
    slowest_seconds: float = 0.0
    looked_at: float = field(default_factory=time.monotonic)
    heard_at: float = field(default_factory=time.monotonic)
    """When a look last showed a shard of another trainer."""

    def work_until_complete(self) -> None:
        """Make shards, or wait for those that others make, until none is missing."""
        self._ask()
        while self.missing:
            if not self._take():
                self._make_last() if self._is_patience_over() else time.sleep(_POLL_SECONDS)
                self._look()
            elif time.monotonic() - self.looked_at > _LOOK_SECONDS:
                self._look()
            self._say()

    def _say(self) -> None:
        self.work.tell(_progress(self.mine.pool, self.missing, self.made_by_others))

    def _ask(self) -> None:
        for asked in shard_messages.divided(self.mine.job, self.missing):
            self.work.store.queues.send(layout.SHARDS_QUEUE, asked.encode())

    def _take(self) -> bool:
        """Work on a message like everybody else; False: the queue shows none."""
        message = shard_messages.take(self.work.store.queues)
        if message is None:
            return False
        started = time.monotonic()
        took = work_on(self.work.store, message, self.mine, self._say)
        if took.loaded is self.mine:
            self._count(took.made, time.monotonic() - started)
        return True

    def _make_last(self) -> None:
        """Make a shard that nobody finishes: the last, since whoever is still at work on several comes to it last."""
        started = time.monotonic()
        made = make(self.work.store, self.mine, self.missing[-1], self._say)
        self._count(made, time.monotonic() - started)

    def _count(self, made: int, seconds: float) -> None:
        self.made += made
        self.slowest_seconds = max(self.slowest_seconds, seconds / max(made, 1))

    def _is_patience_over(self) -> bool:
        # What is missing then may be made twice, which costs less than waiting for a trainer that is gone.
        return time.monotonic() - self.heard_at > max(_PATIENCE_SECONDS, 2 * self.slowest_seconds)

    def _look(self) -> None:
        """Find out what is missing now. Not after every message: a long listing takes as long as a quick shard."""
        before, self.looked_at = len(self.missing), time.monotonic()
        self.missing = pool_prediction.missing(self.work.store.labels, self.mine.job, self.mine.pool)
        by_others = before - len(self.missing) - self.made
        if len(self.missing) < before:
            self.work.progressed()
        self.made = 0
        if by_others:
            self.made_by_others, self.heard_at = self.made_by_others + by_others, self.looked_at


def _progress(pool: PinnedPool, missing: Sequence[int], made_by_others: int = 0) -> str:
    shards = len(pool.shards)
    lacks = shards * pool.shard_images - len(pool.images) if missing and missing[-1] == shards - 1 else 0
    images = len(pool.images) - len(missing) * pool.shard_images + lacks
    others = f", {made_by_others:,} by other trainers" if made_by_others else ""
    return f"{images:,} of {len(pool.images):,} images predicted: {shards - len(missing):,} of {shards:,} shards{others}"
