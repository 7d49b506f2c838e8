"""Hundreds of uploads through a loop where everything goes wrong: kills at any store call, lost, doubled and late events, time jumps."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from activelearning import claims, commits, consume, labelled, layout, state, steps
from activelearning.claims import Wanted
from activelearning.errors import BlobChanged, BlobExists, MessageLost, UserError
from activelearning.iterations import Status
from activelearning.state import DONE
from activelearning.store import Store
from activelearning.store._announce import announcer
from activelearning.store.memory import MemoryBlobs, MemoryQueues
from tests.clock import Clock
from tests.core import loops

JUMPS = (1, 5, 20, 70, 70, 400, 400, 4000, 100_000, 300_000)


class Killed(BaseException):
    """The process is gone."""


class Luck:
    """One dice for everything; `kills` is the share of store calls around which the process dies, 0 when all is well again."""

    def __init__(self, seed: int):
        self.dice = random.Random(seed)
        self.kills = 0.02
        self.events = 0.35

    def strike(self) -> None:
        """Die, sometimes."""
        if self.dice.random() < self.kills / 2:
            raise Killed


class Mortal:
    """Blobs or queues around each of whose calls the caller may die. Events get lost, come twice and late; other messages don't."""

    def __init__(self, real: Any, luck: Luck):
        self._real, self._luck = real, luck

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self._luck.strike()
            done = getattr(self._real, method)(*arguments)
            self._luck.strike()
            return done

        return call

    def send(self, queue: str, body: str, delay: float = 0) -> None:
        """Send a message as Event Grid would on its worst day."""
        self._luck.strike()
        event, dice = queue != layout.JOBS_QUEUE, self._luck.dice
        for _ in range(dice.choice((0, 1, 2)) if event and dice.random() < self._luck.events else 1):
            self._real.send(queue, body, dice.choice((0, 0, 30, 500)) if event else delay)
        self._luck.strike()


class Town:
    """A store, its functions, two trainers and some taggers, all of them mortal."""

    def __init__(self, seed: int):
        self.luck, self.clock = Luck(seed), Clock()
        queues: Any = Mortal(MemoryQueues(self.clock), self.luck)
        images: Any = Mortal(MemoryBlobs(self.clock, announcer(layout.IMAGES, queues, self.clock)), self.luck)
        labels: Any = Mortal(MemoryBlobs(self.clock, announcer(layout.LABELS, queues, self.clock)), self.luck)
        self.store = Store("memory:", images, labels, queues)
        self.trainers: dict[str, Iterator[bool]] = {}
        self.batches: dict[str, tuple[str, ...]] = {}
        self.numbers = itertools.count()
        self.uploads = 0
        self.published: set[tuple[int, str]] = set()

    def images_come(self) -> None:
        """New images."""
        for _ in range(self.luck.dice.randint(1, 6)):
            self.store.images.create(f"cam-{self.luck.dice.randint(0, 2)}/{next(self.numbers):04d}.jpg", b"image")

    def somebody_claims(self) -> None:
        """A tagger, who may ask again with the same batch after being cut off."""
        batch = f"b{next(self.numbers)}"
        for _ in range(2):
            with suppress(Killed, UserError):
                claim, rows = claims.claim(self.store.labels, batch, "me", self.luck.dice.randint(1, 5), Wanted(), self.clock(), 3)
                self.batches[batch] = tuple(labels.image for labels in rows)
                assert self.batches[batch] == tuple(claimed.image for claimed in claim.claimed)
                return

    def somebody_uploads(self) -> None:
        """Some of a batch's images, perhaps for the second time; the next version only when the last one is there for sure."""
        if not self.batches:
            return
        batch = self.luck.dice.choice([*self.batches])
        images = self.luck.dice.sample(self.batches[batch], self.luck.dice.randint(1, len(self.batches[batch])))
        version = 1
        with suppress(Killed):
            while self.store.labels.exists(layout.batch_reviewed(batch, version)):
                version += 1
            with suppress(BlobExists):
                loops.hand_in(self.store, batch, images, version, 0.1 + version / 100)
                self.uploads += 1

    def somebody_releases(self) -> None:
        """A tagger goes home."""
        if self.batches:
            claims.release(self.store.labels, self.luck.dice.choice([*self.batches]))

    def functions_run(self) -> None:
        """Every queue-triggered function takes one message, as the host lets it."""
        for queue, step in ((layout.REVIEWED_QUEUE, steps.take_in_upload), (layout.NEW_IMAGES_QUEUE, steps.images_arrived)):
            for message in consume.take(self.store.queues, queue, 30.0, 8):
                step(self.store, message.body, self.clock())
                with suppress(MessageLost):
                    self.store.queues.delete(queue, message)

    def timer_ticks(self) -> None:
        """A minute is over."""
        steps.tick(self.store, self.clock())

    def a_trainer_works(self) -> None:
        """One of up to three trainers does its next step; one that sleeps for long is a zombie when it wakes."""
        owner = f"trainer-{self.luck.dice.randint(0, 2)}"
        working = self.trainers.setdefault(owner, loops.turn(self.store, self.clock, owner))
        try:
            going = next(working, None)
        except BaseException:
            del self.trainers[owner]
            raise
        if going is None:
            del self.trainers[owner]

    def time_passes(self) -> None:
        """More or less of it."""
        self.clock.later(self.luck.dice.choice(JUMPS))

    def anything_happens(self) -> None:
        """One of all that, perhaps with a deadly end."""
        deeds = (self.images_come, self.somebody_claims, self.somebody_uploads, self.somebody_releases, self.time_passes)
        work = (self.functions_run, self.timer_ticks, *[self.a_trainer_works] * 5)
        with suppress(Killed, BlobChanged):
            self.luck.dice.choice((*deeds, *work))()

    def all_is_well_again(self) -> None:
        """No more faults; the trainers that were left lying about wake first."""
        self.luck.kills = self.luck.events = 0.0
        for working in self.trainers.values():
            with suppress(BlobChanged):
                list(working)
        for _ in range(5):
            self.functions_run()
            loops.settle(self.store, self.clock)
            self.clock.later(90_000)

    def reviews(self) -> set[str]:
        """Every reviewed upload in the store."""
        return {info.name for info in self.store.labels.list(layout.BATCHES) if layout.batch_of_reviewed(info.name)}

    def committed_uploads(self) -> Counter[str]:
        """How many commits each upload was in, by what was said when they were published."""
        found: Counter[str] = Counter()
        for info in self.store.labels.list("models/main"):
            _, _, sequence = info.name.partition("/card-")
            if sequence and (int(sequence.removesuffix(".json")), info.name.split("/card-")[0]) in self.published:
                found.update(json.loads(self.store.labels.read(info.name).content))
        return found


def _watch_commits(town: Town) -> None:
    """Remember what was ever made current, beneath all faults."""
    real = town.store.labels._real  # type: ignore[attr-defined]
    replace = real.replace

    def watched(name: str, content: bytes, etag: str | None) -> str:
        written: str = replace(name, content, etag)
        if name == layout.LATEST:
            commit = json.loads(content)
            town.published.add((commit["sequence"], f"models/{commit['run']}"))
        return written

    real.replace = watched


def _no_image_is_with_two(town: Town) -> None:
    current = state.load(town.store.labels._real)  # type: ignore[attr-defined]
    live = Counter(claimed.image for batch in current.batches.values() if batch.expires_at for claimed in batch.claimed)
    assert not [image for image, count in live.items() if count > 1]


@pytest.mark.parametrize("seed", range(12))
def test_every_upload_is_trained_on_exactly_once_and_nothing_is_stuck(seed: int) -> None:
    town = Town(seed)
    _watch_commits(town)
    town.luck.kills = 0.0
    loops.make_project(town.store)
    town.images_come()
    loops.settle(town.store, town.clock, 2)
    town.luck.kills = (0.005, 0.02, 0.06)[seed % 3]
    while town.uploads < 40:
        town.anything_happens()
        _no_image_is_with_two(town)
    town.all_is_well_again()
    _all_is_as_promised(town)


def _all_is_as_promised(town: Town) -> None:
    reviews, current, commit = town.reviews(), state.load(town.store.labels), commits.latest(town.store.labels)
    assert commit and commits.consumed(town.store.labels, commit.run) == reviews
    assert town.committed_uploads() == Counter(reviews)
    assert current.uploads == {} and current.batches == {} and current.sequence == commit.sequence
    assert {job.status for job in current.jobs.values()} == {DONE}
    # a run whose job was begun five times in vain stays failed; the next job took its uploads
    assert {iteration.status for iteration in current.iterations.values()} <= {Status.COMPLETED, Status.TRAINING_FAILED}
    _last_reviews_won(town, commit.tagged)


def _last_reviews_won(town: Town, tagged: str) -> None:
    boxes = {labels.image: labels.boxes for labels in labelled.read(town.store.labels, tagged).images}
    reviews: dict[str, dict[str, tuple[int, Any]]] = {}
    for name in town.reviews():
        batch, version = layout.batch_of_reviewed(name) or "", layout.version_of_reviewed(name)
        for labels in labelled.read(town.store.labels, name).images:
            newest = reviews.setdefault(labels.image, {})
            newest[batch] = max(newest.get(batch, (0, ())), (version, labels.boxes), key=lambda pair: pair[0])
    assert boxes.keys() == reviews.keys()
    assert all(boxes[image] in [newest for _, newest in by_batch.values()] for image, by_batch in reviews.items())
