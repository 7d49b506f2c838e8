"""A whole town of taggers, functions and trainers at one store in bad weather, and the reckoning when it has cleared up.

Rule: what they do is the project's own code; only the expensive part of training is left out. Nobody helps when the weather is over:
timer, functions and trainer find by themselves what was lost.
"""

import itertools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from activelearning import claims, consume, layout, project_file, state, steps
from activelearning.claims import Wanted
from activelearning.errors import BlobChanged, BlobExists, BlobMissing, MessageLost, UserError
from activelearning.settings import Policy, Settings
from activelearning.store import Store
from tests.clock import Clock
from tests.core import loops
from tests.faults import reckoning, stage
from tests.faults.faulty_store import Killed, Weather
from tests.faults.reckoning import Reckoning

_JUMPS = (1, 1, 5, 20, 70, 70, 400, 4000, 100_000)
_TRAINERS = 3
_BATCHES_AT_ONCE = 30
_PATIENCE_ROUNDS = 40
_UPLOADS_OF_A_DECK = 40
_WHOLE_TURN = 20
_LABEL = 0.9
"""Right edges of boxes stay below, and tell one review from another."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is to be simulated, and how bad the weather is: shares of store calls, messages and writes that go wrong."""

    uploads: int
    seed: int = 0
    kills: float = 0.002
    messages: float = 0.3
    torn_writes: float = 0.002
    rivals: float = 0.02
    batch: int = 4
    """Images that a tagger asks for at most."""
    reviews: int = 3
    """Reviews of a batch after which it is left alone."""
    burst: int = 60
    """Images that arrive at once at most."""
    train_after: int = 10
    uploads_a_tick: int = 40
    """The timer ticks after about so many uploads: one tick costs a look at everything there is."""

    def weather(self) -> Weather:
        """The weather that this plan asks for."""
        return Weather(random.Random(self.seed), self.kills, self.messages, self.torn_writes, self.rivals)


class Town:
    """A store, its functions, three trainers and some taggers, all of them mortal."""

    def __init__(self, store: Store, weather: Weather, clock: Clock, plan: Plan):
        self.store, self.weather, self.clock, self.plan = store, weather, clock, plan
        self.dice = weather.dice
        self.trainers: dict[str, Iterator[None]] = {}
        self.open: dict[str, tuple[str, ...]] = {}
        """Batches that are still being reviewed, with their images."""
        self.numbers = itertools.count()
        self.dry = False
        """Nothing was left to claim when last somebody asked."""
        self.uploads = self.images = self.claimed = self.sweeps = self.largest_state = 0
        weather.rival = self.a_rival_writes

    def found(self) -> None:
        """Make the project and list the first images, in fair weather."""
        with self.weather.calm():
            policy = Policy(train_after=self.plan.train_after, quiet_seconds=10.0)
            loops.make_project(self.store, Settings(("bird", "fish"), policy=policy))
            self.images_come()
            self.settle(2)

    def images_come(self) -> None:
        """New images, unless enough are there that nobody has asked for."""
        if self.images > self.claimed + self.plan.burst:
            return
        for _ in range(self.dice.randint(1, self.plan.burst)):
            number = next(self.numbers)
            self.images += 1
            self.store.images.create(f"cam-{number % 7}/{number // 1000:04d}/{number:07d}.jpg", b"image")

    def somebody_claims(self) -> None:
        """A tagger, who asks again with the same batch after being cut off."""
        if self.dry:
            return self.images_come()
        batch, count = f"b{next(self.numbers)}", self.dice.randint(1, self.plan.batch)
        try:
            with suppress(Killed):
                return self._claim(batch, count)
            return self._claim(batch, count)
        except UserError:
            # Asking again costs a look at the whole table, so not before the timer has ticked.
            self.dry = True

    def _claim(self, batch: str, count: int) -> None:
        claim, rows = claims.claim(self.store.labels, batch, "ann", count, Wanted(), self.clock(), 3)
        self.open[batch] = tuple(claimed.image for claimed in claim.claimed)
        assert self.open[batch] == tuple(labels.image for labels in rows)
        self.claimed += len(rows)

    def somebody_uploads(self) -> None:
        """Some of a batch's images, perhaps once more; the next version only when the last one is there for sure."""
        if not self.open:
            return self.somebody_claims()
        batch = self.dice.choice([*self.open])
        images = self.dice.sample(self.open[batch], self.dice.randint(1, len(self.open[batch])))
        version = next(v for v in itertools.count(1) if not self.store.labels.exists(layout.batch_reviewed(batch, v)))
        if version >= self.plan.reviews:
            del self.open[batch]
        with suppress(BlobExists):
            loops.hand_in(self.store, batch, images, version, self.dice.uniform(0.01, _LABEL))
            self.uploads += 1
        return None

    def somebody_releases(self) -> None:
        """A tagger goes home."""
        if self.open:
            claims.release(self.store.labels, self.dice.choice([*self.open]))

    def functions_run(self) -> None:
        """Every queue-triggered function takes some messages, as the host lets it."""
        for queue, step in ((layout.REVIEWED_QUEUE, steps.take_in_upload), (layout.NEW_IMAGES_QUEUE, steps.images_arrived)):
            for message in consume.take(self.store.queues, queue, 30.0, 16):
                step(self.store, message.body, self.clock())
                with suppress(MessageLost):
                    self.store.queues.delete(queue, message)

    def timer_ticks(self) -> None:
        """A minute is over."""
        before = state.load(self.store.labels).swept_at
        self.dry = False
        steps.tick(self.store, self.clock())
        self.sweeps += state.load(self.store.labels).swept_at != before

    def a_trainer_works(self) -> None:
        """One of the trainers does its next steps; one that then sleeps for long is a zombie when it wakes."""
        owner = f"trainer-{self.dice.randrange(_TRAINERS)}"
        working = self.trainers.pop(owner, None) or stage.turn(self.store, self.clock, owner)
        with suppress(StopIteration):
            for _ in range(self.dice.choice((1, 2, _WHOLE_TURN))):
                next(working)
            self.trainers[owner] = working

    def time_passes(self) -> None:
        """More or less of it."""
        self.clock.later(self.dice.choice(_JUMPS))

    def a_rival_writes(self) -> None:
        """Another tagger takes an image and gives it back, right before somebody's write of the state."""
        batch = f"r{next(self.numbers)}"
        with suppress(UserError):
            claims.claim(self.store.labels, batch, "rival", 1, Wanted(), self.clock(), 3)
            claims.release(self.store.labels, batch)

    def deeds(self) -> list[Callable[[], None]]:
        """What may happen next, each as often as it is likely."""
        claim = [self.somebody_claims] * 10 if len(self.open) < _BATCHES_AT_ONCE else []
        people = [self.somebody_uploads] * _UPLOADS_OF_A_DECK + claim + [self.somebody_releases, self.images_come]
        machines = [self.functions_run] * 12 + [self.a_trainer_works] * 20
        ticks = [self.timer_ticks] if self.dice.random() * self.plan.uploads_a_tick < _UPLOADS_OF_A_DECK else []
        return people + machines + [self.time_passes] * 8 + ticks

    def anything_happens(self) -> None:
        """One of all that, perhaps with a deadly end."""
        with suppress(Killed, BlobChanged):
            self.dice.choice(self.deeds())()

    def live(self, told: Callable[[int], None] = lambda uploads: None) -> None:
        """Until all uploads are made."""
        for number in itertools.count():
            if self.uploads >= self.plan.uploads:
                return
            self.anything_happens()
            if number % 500 == 0:
                told(self.uploads)
                self.largest_state = max(self.largest_state, self._state_bytes())

    def _state_bytes(self) -> int:
        with self.weather.calm(), suppress(BlobMissing):
            return self.store.labels.head(layout.STATE).size
        return 0

    def clears_up(self) -> None:
        """No more faults; trainers that were left lying about wake first, then everybody works until nothing is left to do."""
        self.weather.clear = True
        self._every_upload_counts()
        for working in self.trainers.values():
            with suppress(BlobChanged):
                list(working)
        for _ in range(_PATIENCE_ROUNDS):
            self.settle(3)
            self.clock.later(90_000)
            if not self.left_over():
                return

    def _every_upload_counts(self) -> None:
        # The last few would wait for more, as the policy has it until now.
        blob = self.store.labels.read(layout.PROJECT)
        policy = Policy(train_after=1, quiet_seconds=10.0)
        content = project_file.render_project(Settings(("bird", "fish"), policy=policy)).encode()
        self.store.labels.replace(layout.PROJECT, content, blob.etag)

    def settle(self, rounds: int) -> None:
        """Let functions, timer and trainer do everything that is due."""
        for _ in range(rounds):
            self.clock.later(steps.SWEEP_SECONDS)
            while any(self.store.queues.peek(queue) for queue in (layout.REVIEWED_QUEUE, layout.NEW_IMAGES_QUEUE)):
                self.functions_run()
                self.clock.later(400)
            self.timer_ticks()
            while list(stage.turn(self.store, self.clock, "trainer")):
                self.clock.later(1)

    def left_over(self) -> int:
        """Uploads, claims and jobs in the state that somebody would still have to deal with."""
        current = state.load(self.store.labels)
        return len(current.uploads) + len(current.batches) + sum(job.status != state.DONE for job in current.jobs.values())


def play(store: Store, weather: Weather, clock: Clock, plan: Plan, told: Callable[[int], None] = lambda uploads: None) -> Reckoning:
    """The whole life of a town, and its reckoning."""
    started = time.monotonic()
    town = Town(store, weather, clock, plan)
    town.found()
    town.live(told)
    town.clears_up()
    return reckoning.reckon(town, started)
