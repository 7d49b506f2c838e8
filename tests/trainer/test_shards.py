"""Several trainers at one prediction: whatever happens to them and to their messages, the totag is the one a single trainer writes."""

import itertools
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activelearning import commits, decisions, jobs, journal, layout, project_file, state, steps
from activelearning.state import DONE, FAILED, QUEUED, RUNNING, Job
from activelearning.store import Message, Store, open_store
from tests.clock import Clock
from tests.trainer import loops
from tests.trainer.loops import SETTINGS, World
from tests.trainer.scenes import CLASSES, onnx
from trainer import pinned_pool, serve, shard_messages, shards
from trainer.pinned_pool import PinnedPool, Recipe
from trainer.serve import Trainer
from trainer.shard_messages import MAX_MESSAGES, Asked

IMAGES = 23
SHARDS = 12
RECIPE = Recipe("main/1", "compact", CLASSES, SETTINGS.prediction)


def make(store: Store, now: float, images: int = IMAGES, shard_images: int = 2) -> Job:
    """A project with a model and a queued job that is to predict the whole pool with it, in small shards."""
    loops.make(store, Clock(now), images)
    store.labels.create(layout.model("main/1", "model.onnx"), onnx())
    job = decisions.prediction_job(state.load(store.labels), now, "main/1")
    listed = PinnedPool(tuple(map(loops.name, range(images))), now, images, shard_images=shard_images)
    pinned_pool.pin(store.labels, job.id, lambda: RECIPE, lambda: listed)
    state.update(store.labels, lambda before: before.with_job(job))
    steps.send_job(store, job.id)
    return job


def made(store: Store, job: Job) -> int:
    """How many shards there are."""
    return sum(info.name.endswith(".csv") for info in store.labels.list(layout.predictions_of(job.id)))


def ask(store: Store, job: Job) -> list[str]:
    """Put the messages for all shards into the queue, as the job's holder does, and return them."""
    bodies = [asked.encode() for asked in shard_messages.divided(job.id, range(SHARDS))]
    for body in bodies:
        store.queues.send(layout.SHARDS_QUEUE, body)
    return bodies


def totag(store: Store) -> bytes:
    """The only totag that was ever committed."""
    commit = commits.latest(store.labels)
    assert commit is not None and commit.sequence == 1
    assert sum(entry["what"] == "committed" for entry in journal.read(store.labels)) <= 1
    return store.labels.read(commit.totag).content


@cache
def undisturbed() -> bytes:
    """The totag that one trainer writes alone, in one shard, without a message."""
    clock = Clock()
    store = open_store("memory:", clock)
    make(store, clock(), shard_images=IMAGES)
    World(store, clock).trainer(store).drain()
    return totag(store)


@pytest.fixture
def world() -> World:
    clock = Clock()
    return World(open_store("memory:", clock), clock)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's holder that waits for nobody for long, and looks around after every message."""
    monkeypatch.setattr(shards, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(shards, "_PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr(shards, "_POLL_SECONDS", 0.005)


class Around:
    """The real thing, but before each call of a method something happens."""

    def __init__(self, real: Any, before: Callable[[str], object]):
        self._real, self._before = real, before

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self._before(method)
            return getattr(self._real, method)(*arguments)

        return call


def test_a_lone_trainer_divides_its_job_and_does_it_all(world: World) -> None:
    job = make(world.store, world.clock())
    assert world.trainer(world.store).drain() == 1
    assert (made(world.store, job), world.store.queues.count(layout.SHARDS_QUEUE)) == (SHARDS, 0)
    assert totag(world.store) == undisturbed()


@pytest.mark.parametrize(("shard_images", "asked"), [(1, True), (IMAGES // shards.ALONE_SHARDS + 1, False)])
def test_a_small_pool_is_not_divided(tmp_path: Path, shard_images: int, asked: bool) -> None:
    clock = Clock()
    store = open_store(str(tmp_path), clock)
    make(store, clock(), shard_images=shard_images)
    World(store, clock).trainer(store).drain()
    assert bool([*tmp_path.rglob(layout.SHARDS_QUEUE)]) is asked
    assert totag(store) == undisturbed()


@pytest.mark.parametrize("kind", ["memory", "directory"])
def test_three_trainers_that_work_at_once_write_the_totag_of_one(tmp_path: Path, kind: str) -> None:
    store = open_store("memory:" if kind == "memory" else str(tmp_path))
    make(store, time.time())
    told: list[str] = []
    stop, all_at_it = threading.Event(), threading.Barrier(3)
    threads = [threading.Thread(target=Trainer(_joined(store, all_at_it), told.append, stop, f"t{n}").serve) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        _until(lambda: commits.latest(store.labels))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert totag(store) == undisturbed()
    assert any("by other trainers" in line for line in told) and any(line.startswith("helped with") for line in told)


def _joined(store: Store, all_at_it: threading.Barrier) -> Store:
    """The store as a trainer sees it whose first image is not read before all others have begun a shard too."""
    first = threading.Lock()

    def wait(method: str) -> None:
        if first.acquire(blocking=False):
            all_at_it.wait(60)

    return replace(store, images=Around(store.images, wait))


def _until(there: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


_PROGRAM = """
import pathlib, sys, time
from dataclasses import replace
from activelearning.store import open_store
from trainer.serve import Trainer

url, owner, late = sys.argv[1:]

class Slow:
    def __init__(self, images):
        self.images = images

    def __getattr__(self, method):
        time.sleep(0.05)
        return getattr(self.images, method)

def clock():
    return time.time() + pathlib.Path(late).stat().st_size

store = open_store(url, clock)
Trainer(replace(store, images=Slow(store.images)), lambda line: print(owner, line, flush=True), owner=owner, clock=clock).serve()
"""


def test_trainers_killed_in_the_middle_are_succeeded_by_others(tmp_path: Path) -> None:
    store, late = open_store(str(tmp_path / "store")), tmp_path / "late"
    late.touch()
    job = make(store, time.time())
    with _processes(store, late, "a", "b", "c") as trainers:
        _until(lambda: made(store, job) >= 3)
        holder = state.load(store.labels).jobs[job.id].owner
        helper, left = sorted(trainers.keys() - {holder})
        for dead in (holder, helper):
            trainers[dead].kill()
        with _processes(store, late, "d"):
            # leases and messages of the dead run out
            late.write_bytes(bytes(200))
            _until(lambda: commits.latest(store.labels))
        successor = [entry["who"] for entry in journal.read(store.labels) if entry["what"] == "job begun"][-1]
    assert made(store, job) == SHARDS and successor in (left, "d")
    assert totag(store) == undisturbed()


@contextmanager
def _processes(store: Store, late: Path, *owners: str) -> Iterator[dict[str, "subprocess.Popen[bytes]"]]:
    running = {owner: subprocess.Popen([sys.executable, "-c", _PROGRAM, store.url, owner, str(late)]) for owner in owners}
    try:
        yield running
    finally:
        for trainer in running.values():
            trainer.kill()
            trainer.wait()


class Killed(BaseException):
    """The process is gone."""


def test_helpers_killed_around_every_call_leave_nothing_undone(world: World) -> None:
    job = make(world.store, world.clock())
    world.store.queues.receive(layout.JOBS_QUEUE, 9e9)
    jobs.start(world.store, job.id, "holder", world.clock())
    ask(world.store, job)
    for patience in range(1, 40):
        world.clock.later(61)
        with suppress(Killed):
            world.trainer(_mortal(world.store, patience)).drain()
    steps.send_job(world.store, job.id)
    assert made(world.store, job) > 0 and world.trainer(world.store).drain() == 1
    assert (made(world.store, job), totag(world.store)) == (SHARDS, undisturbed())


def test_holders_killed_around_every_call_are_succeeded(world: World, impatient: None) -> None:
    job = make(world.store, world.clock(), shard_images=1)
    # fewer calls would not do for a single shard, and five attempts without one give a job up
    for patience in range(66, 300):
        world.clock.later(120)
        steps.advance(world.store, world.clock())
        with suppress(Killed):
            world.trainer(_mortal(world.store, patience)).drain()
        if state.load(world.store.labels).jobs[job.id].status == DONE:
            break
    assert patience > 68 and made(world.store, job) == IMAGES
    assert totag(world.store) == undisturbed()


def test_attempts_that_get_ahead_do_not_count(world: World, impatient: None) -> None:
    job = make(world.store, world.clock())
    for attempt in range(1, SHARDS // 2):
        with pytest.raises(Killed):
            world.trainer(_blind_after(world.store, images=5)).drain()
        assert made(world.store, job) >= 2 * attempt
        assert state.load(world.store.labels).jobs[job.id].attempts == 0
        world.clock.later(120)
        steps.send_job(world.store, job.id)
    assert world.trainer(world.store).drain()
    assert totag(world.store) == undisturbed()


def _blind_after(store: Store, images: int) -> Store:
    """The store as a trainer sees it who is killed after it has read so many images."""
    left = itertools.count(images, -1)

    def die_in_time(method: str) -> None:
        if next(left) <= 0:
            raise Killed

    return replace(store, images=Around(store.images, die_in_time))


def _mortal(store: Store, patience: int) -> Store:
    """The store as a trainer sees it who is killed before its call of that number."""
    left = [patience]

    def die_in_time(method: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    return replace(store, labels=Around(store.labels, die_in_time), queues=Around(store.queues, die_in_time))


def test_helpers_make_what_was_pinned_whatever_the_project_says_by_now(world: World) -> None:
    job = make(world.store, world.clock())
    jobs.start(world.store, job.id, "holder", world.clock())
    ask(world.store, job)
    edited = replace(SETTINGS, classes=("bar", "square", "disc"), prediction=replace(SETTINGS.prediction, min_confidence=0.9))
    etag = world.store.labels.read(layout.PROJECT).etag
    world.store.labels.replace(layout.PROJECT, project_file.render_project(edited).encode(), etag)
    assert world.trainer(world.store).drain() == 0 and made(world.store, job) == SHARDS
    world.clock.later(120)
    assert world.trainer(world.store).drain() == 1
    assert totag(world.store) == undisturbed()


def test_a_model_is_loaded_once_for_all_messages_of_a_job(world: World) -> None:
    job = make(world.store, world.clock())
    world.store.queues.receive(layout.JOBS_QUEUE, 9e9)
    jobs.start(world.store, job.id, "holder", world.clock())
    ask(world.store, job)
    helper = world.trainer(world.store)
    assert helper.work_on_next()
    first = helper._loaded
    assert helper.drain() == 0 and helper._loaded is first is not None


@pytest.mark.parametrize("status", [QUEUED, DONE, FAILED, None])
def test_a_message_of_a_job_that_nobody_holds_is_dropped_without_work(world: World, status: str | None) -> None:
    job = make(world.store, world.clock())
    world.store.queues.receive(layout.JOBS_QUEUE, 9e9)
    ask(world.store, job)
    state.update(world.store.labels, lambda before: before.with_job(replace(job, status=status)) if status else state.State())
    world.trainer(world.store).drain()
    assert (made(world.store, job), world.store.queues.count(layout.SHARDS_QUEUE)) == (0, 0)


BODIES = ["", "{}", "7", "[1]", "\x00", '{"job": "x", "first": 1e999, "stop": 2}', '{"job": "../x", "first": 0, "stop": 2}']


def test_messages_that_make_no_sense_are_dropped(world: World) -> None:
    job = make(world.store, world.clock())
    world.store.queues.receive(layout.JOBS_QUEUE, 9e9)
    jobs.start(world.store, job.id, "holder", world.clock())
    for body in (*BODIES, *(Asked(job.id, *bounds).encode() for bounds in ((5, 5), (9, 3), (SHARDS, 10**30), (-(10**30), 0)))):
        world.store.queues.send(layout.SHARDS_QUEUE, body)
    world.trainer(world.store).drain()
    assert (made(world.store, job), world.store.queues.count(layout.SHARDS_QUEUE)) == (0, 0)
    assert world.store.queues.count(layout.poison_queue(layout.SHARDS_QUEUE)) == 0


def test_a_job_that_has_pinned_nothing_yet_is_not_helped_with(world: World) -> None:
    make(world.store, world.clock())
    world.store.queues.receive(layout.JOBS_QUEUE, 9e9)
    unborn = Job("predict-unborn", state.PREDICT, "main/0", 0, status=RUNNING, lease_until=9e9)
    state.update(world.store.labels, lambda before: before.with_job(unborn))
    ask(world.store, unborn)
    world.trainer(world.store).drain()
    assert (made(world.store, unborn), world.store.queues.count(layout.SHARDS_QUEUE)) == (0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_doubled_late_reordered_and_foreign_messages_do_no_harm(world: World, seed: int, impatient: None) -> None:
    job, dice = make(world.store, world.clock()), random.Random(seed)
    bodies = ask(world.store, job) * 2 + BODIES + [Asked("another-job", 0, 9).encode(), Asked(job.id, 0, SHARDS).encode()]
    for body in dice.sample(bodies, len(bodies)):
        world.store.queues.send(layout.SHARDS_QUEUE, body, dice.choice((0, 0, 500)))
    assert world.trainer(world.store).drain() == 1
    world.clock.later(1000)
    assert world.trainer(world.store).drain() == 0
    assert (totag(world.store), world.store.queues.count(layout.SHARDS_QUEUE)) == (undisturbed(), 0)


def test_shards_whose_messages_a_dead_trainer_holds_or_that_were_lost_are_made_by_the_jobs_holder(world: World, impatient: None) -> None:
    make(world.store, world.clock())
    held = [False]

    def die_with_messages(method: str) -> None:
        if method == "receive" and not held[0]:
            held[0] = bool(world.store.queues.receive(layout.SHARDS_QUEUE, 9e9, 5))

    rivals = replace(world.store, queues=Around(world.store.queues, die_with_messages))
    assert world.trainer(rivals).drain() == 1
    assert held[0] and totag(world.store) == undisturbed()


def test_a_holder_waits_for_a_living_helper_and_makes_nothing_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job, taken, looks = make(world.store, world.clock()), list[Message](), itertools.count()
    monkeypatch.setattr(shards, "_POLL_SECONDS", 0.005)

    def helper_acts(method: str) -> None:
        """Take a message before the holder does, and work on it when the holder has found the queue empty a few times."""
        if method == "receive" and world.store.queues.count(layout.SHARDS_QUEUE) == SHARDS and not taken:
            taken.extend(world.store.queues.receive(layout.SHARDS_QUEUE, 9e9))
        if method == "receive" and taken and next(looks) == SHARDS + 3:
            shards.work_on(world.store, taken[0], None, lambda: None)

    holder = world.trainer(replace(world.store, queues=Around(world.store.queues, helper_acts)))
    assert holder.drain() == 1 and made(world.store, job) == SHARDS
    assert any("12 of 12 shards, 1 by other trainers" in line for line in world.told)
    assert totag(world.store) == undisturbed()


def test_a_helper_that_is_told_to_stop_gives_its_message_back(world: World) -> None:
    job = make(world.store, world.clock())
    jobs.start(world.store, job.id, "holder", world.clock())
    world.store.queues.receive(layout.JOBS_QUEUE, 9e9)
    ask(world.store, job)
    stop = threading.Event()
    store = replace(world.store, images=Around(world.store.images, lambda method: stop.set()))
    helper = world.trainer(store)
    helper.stop = stop
    helper.serve()
    assert made(world.store, job) == 0 and any("handed back" in line for line in world.told)
    world.clock.later(6)
    assert len(world.store.queues.receive(layout.SHARDS_QUEUE, 60, 32)) == SHARDS


def test_a_holder_that_is_told_to_stop_does_so_between_two_images_and_another_goes_on(world: World) -> None:
    job = make(world.store, world.clock(), shard_images=IMAGES)
    stop = threading.Event()
    holder = world.trainer(replace(world.store, images=Around(world.store.images, lambda method: stop.set())))
    holder.stop = stop
    holder.serve()
    assert (made(world.store, job), state.load(world.store.labels).jobs[job.id].status) == (0, QUEUED)
    assert world.trainer(world.store).drain() == 1
    assert totag(world.store) == undisturbed()


def test_a_helper_that_cannot_read_gives_its_message_back_and_says_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_RETRY_SECONDS", 0)
    job = make(world.store, world.clock())
    jobs.start(world.store, job.id, "holder", world.clock())
    world.store.queues.receive(layout.JOBS_QUEUE, 9e9)
    ask(world.store, job)

    def fail(method: str) -> None:
        raise OSError("the cable is out")

    world.trainer(replace(world.store, images=Around(world.store.images, fail))).drain()
    assert made(world.store, job) == 0 and any("the cable is out" in line for line in world.told)
    world.clock.later(6)
    world.trainer(world.store).drain()
    assert made(world.store, job) == SHARDS


def test_a_trainer_that_finds_its_job_with_another_helps_and_never_makes_the_message_poison(world: World) -> None:
    job = make(world.store, world.clock())
    ask(world.store, job)
    second = world.trainer(world.store)
    jobs.start(world.store, job.id, "holder", world.clock())
    for _ in range(10):
        jobs.renew(world.store, job.id, "holder", world.clock())
        second.work_on_next()
        world.clock.later(16)
    assert made(world.store, job) == 10
    assert world.store.queues.count(layout.poison_queue(layout.JOBS_QUEUE)) == 0
    world.clock.later(jobs.LEASE_SECONDS)
    assert second.drain() == 1 and totag(world.store) == undisturbed()


@given(st.sets(st.integers(0, 20_000), max_size=5000), st.integers(1, 3))
def test_messages_cover_what_is_missing_and_are_few(missing: set[int], stretch: int) -> None:
    numbers = sorted({number * stretch for number in missing})
    asked = shard_messages.divided("job", numbers)
    assert len(asked) <= MAX_MESSAGES and all(one.job == "job" and one.first < one.stop for one in asked)
    assert all(one.stop <= other.first for one, other in itertools.pairwise(asked))
    assert set(numbers) <= {number for one in asked for number in range(one.first, one.stop)}
    assert len(asked) == len(numbers) or len(numbers) > MAX_MESSAGES


@given(st.builds(Asked, st.text(), st.integers(), st.integers()))
def test_a_message_says_what_was_asked(asked: Asked) -> None:
    assert shard_messages.decode(asked.encode()) == asked


@given(st.one_of(st.text(), st.recursive(st.none() | st.floats() | st.text(), lambda x: st.dictionaries(st.text(), x)).map(json.dumps)))
def test_any_other_text_asks_for_nothing(body: str) -> None:
    assert shard_messages.decode(body) is None


@pytest.mark.parametrize(
    ("missing", "others", "text"),
    [
        ([0, 1, 2], 0, "0 of 5 images predicted: 0 of 3 shards"),
        ([2], 1, "4 of 5 images predicted: 2 of 3 shards, 1 by other trainers"),
        ([0], 0, "3 of 5 images predicted: 2 of 3 shards"),
        ([], 3, "5 of 5 images predicted: 3 of 3 shards, 3 by other trainers"),
    ],
)
def test_the_progress_counts_images_and_shards(missing: list[int], others: int, text: str) -> None:
    assert shards._progress(PinnedPool(tuple("abcde"), 0.0, 5, shard_images=2), missing, others) == text
