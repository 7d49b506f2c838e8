"""The trainer's manners: one job at a time, hands back what it is told to stop, leaves alone what another has."""

import threading
from dataclasses import replace

import pytest

from activelearning import commits, jobs, layout, state, steps
from activelearning.store import open_store
from tests.clock import Clock
from tests.trainer import loops
from tests.trainer.loops import World, hand_in
from trainer.serve import job_of


@pytest.fixture
def world() -> World:
    clock = Clock()
    store = open_store("memory:", clock)
    loops.make(store, clock, images=6)
    found = World(store, clock)
    found.settle()
    hand_in(store, "b1", range(4))
    clock.later(steps.SWEEP_SECONDS)
    steps.tick(store, clock())
    return found


def the_job(world: World) -> state.Job:
    (job,) = (job for job in state.load(world.store.labels).jobs.values() if job.kind == state.TRAIN)
    return job


def test_a_trainer_that_is_told_to_stop_hands_its_job_back_at_once(world: World) -> None:
    trainer = world.trainer(world.store)
    log, stop = world.told.append, threading.Event()

    def stop_when_it_begins(line: str) -> None:
        log(line)
        if "training on" in line:
            stop.set()

    trainer.log, trainer.stop = stop_when_it_begins, stop
    trainer.work_on_next()
    job = the_job(world)
    assert (job.status, job.owner, job.attempts) == (state.QUEUED, "", 0)
    assert len(world.store.queues.receive(layout.JOBS_QUEUE, 1)) == 1
    assert any("handed back" in line for line in world.told)


def test_a_trainer_leaves_a_job_alone_while_another_lives_and_takes_it_when_that_one_is_dead(world: World) -> None:
    job = the_job(world)
    jobs.start(world.store, job.id, "the-other", world.clock())
    world.trainer(world.store).work_on_next()
    assert the_job(world).owner == "the-other"
    world.clock.later(jobs.LEASE_SECONDS + 60)
    assert world.trainer(world.store).work_on_next()
    assert the_job(world).status == state.DONE


def test_a_trainer_that_lost_its_lease_stops_and_commits_nothing(world: World) -> None:
    job = the_job(world)
    trainer = world.trainer(world.store)

    def rival_takes_over(line: str) -> None:
        if "training on" in line:
            state.update(world.store.labels, lambda before: before.with_job(replace(before.jobs[job.id], owner="rival", lease_until=9e9)))

    trainer.log = rival_takes_over
    trainer.work_on_next()
    assert the_job(world).owner == "rival" and the_job(world).status == state.RUNNING
    commit = commits.latest(world.store.labels)
    assert commit is not None and commit.model == ""


def test_a_message_that_names_no_job_is_dropped(world: World) -> None:
    for message in world.store.queues.receive(layout.JOBS_QUEUE, 1000, 32):
        world.store.queues.delete(layout.JOBS_QUEUE, message)
    for body in ("", "{}", "[1]", '{"job": "never-heard-of"}', "\x00"):
        world.store.queues.send(layout.JOBS_QUEUE, body)
    world.trainer(world.store).drain()
    assert world.store.queues.count(layout.JOBS_QUEUE) == 0


@pytest.mark.parametrize(("body", "job"), [('{"job": "train-1"}', "train-1"), ("7", ""), ("{", ""), ('{"jobs": 1}', "")])
def test_the_job_a_message_names(body: str, job: str) -> None:
    assert job_of(body) == job
