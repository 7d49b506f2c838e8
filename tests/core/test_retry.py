"""Another try for what was given up, killed anywhere and repeated."""

import random
from pathlib import Path

import pytest

from activelearning import consume, jobs, layout, overview, retry, state, steps
from activelearning.errors import UserError
from activelearning.iterations import Status
from activelearning.state import DONE, FAILED, QUEUED, RUNNING, Job, State
from activelearning.store import Store, open_store
from tests.clock import Clock
from tests.core.loops import SETTINGS, bodies, hand_in, make_project, settle, trained_in
from tests.faults.faulty_store import Killed, Weather, memory_in
from tests.tagger.batches import Terminal

REVIEWED = layout.REVIEWED_QUEUE
POISON = layout.poison_queue(REVIEWED)


def test_poisoned_messages_go_back_to_their_queues(store: Store, clock: Clock) -> None:
    for number in range(70):
        store.queues.send(POISON, f"m{number:02d}")
    store.queues.send(layout.poison_queue(layout.JOBS_QUEUE), "job")
    done = retry.retry(store, "", "", clock())
    assert done == retry.Retried({REVIEWED: 70, layout.JOBS_QUEUE: 1}, (), 0)
    assert sorted(bodies(store, REVIEWED)) == [f"m{number:02d}" for number in range(32)]
    assert store.queues.count(REVIEWED) == 70 and store.queues.count(POISON) == 0
    assert retry.text(done, None) == "70 of reviewed-uploads put back\n1 of train-jobs put back"


def test_one_queue_alone_is_put_back_when_that_is_asked_for(store: Store, clock: Clock) -> None:
    for queue in (REVIEWED, layout.NEW_IMAGES_QUEUE):
        store.queues.send(layout.poison_queue(queue), "m")
    assert retry.retry(store, REVIEWED, "", clock()).messages == {REVIEWED: 1}
    assert store.queues.count(layout.poison_queue(layout.NEW_IMAGES_QUEUE)) == 1


def test_nothing_to_retry_says_so_and_writes_nothing(store: Store, clock: Clock) -> None:
    done = retry.retry(store, "", "", clock())
    assert done == retry.Retried({}, (), 0) and retry.text(done, None) == "there is nothing to try again"
    assert [info.name for info in store.labels.list()] == [layout.PROJECT]


def test_killed_at_any_step_no_message_is_lost() -> None:
    for kill_at in range(1, 13):
        weather, clock = Weather(random.Random(0)), Clock()
        store = memory_in(weather, clock)
        for number in range(2):
            store.queues.send(POISON, f"m{number}")
        weather.counts.clear()
        weather.kill_at = kill_at
        with pytest.raises(Killed):
            retry.put_back(store.queues, REVIEWED)
        assert {*bodies(store, POISON), *bodies(store, REVIEWED)} == {"m0", "m1"}
        clock.later(60)
        retry.put_back(store.queues, REVIEWED)
        assert {*bodies(store, REVIEWED)} == {"m0", "m1"} and not bodies(store, POISON)


def test_a_message_that_fails_five_times_is_shown_with_its_reason_until_it_is_put_back(store: Store, clock: Clock) -> None:
    store.queues.send(REVIEWED, "nonsense")
    for _ in range(layout.MAX_DEQUEUE_COUNT + 1):
        for message in consume.take(store.queues, REVIEWED, 10):
            with pytest.raises(UserError):
                steps.take_in_upload(store, message.body, clock())
        clock.later(11)
    (shown,) = overview.overview(store, clock()).poison
    assert (shown.queue, shown.about) == (REVIEWED, "'nonsense'") and "is not JSON" in shown.reason
    retry.retry(store, REVIEWED, "", clock())
    assert overview.overview(store, clock()).poison == () and bodies(store, REVIEWED) == ["nonsense"]


def failed_job(store: Store, clock: Clock) -> Job:
    """A training job that failed, and whose message is gone."""
    for number in range(SETTINGS.policy.train_after):
        hand_in(store, f"b{number}", [f"{number}.jpg"])
    steps.tick(store, clock())
    (job,) = state.load(store.labels).jobs.values()
    jobs.start(store, job.id, "trainer", clock())
    jobs.move_iteration(store, job.run, Status.TRAINING, clock())
    jobs.fail(store, job.id, "no space left", clock())
    (message,) = store.queues.receive(layout.JOBS_QUEUE, 30)
    store.queues.delete(layout.JOBS_QUEUE, message)
    return state.load(store.labels).jobs[job.id]


def test_a_failed_job_is_queued_at_once_and_done_once(store: Store, clock: Clock) -> None:
    job = failed_job(store, clock)
    assert job.status == FAILED
    steps.tick(store, clock.later(600))
    assert not bodies(store, layout.JOBS_QUEUE), "by itself it would be tried again a day later"
    done = retry.retry(store, "", "", clock())
    assert done.jobs == (job.id,) and retry.text(done, None) == f"job {job.id} is queued again"
    again = state.load(store.labels).jobs[job.id]
    assert (again.status, again.attempts, again.reason) == (QUEUED, 0, "") and len(bodies(store, layout.JOBS_QUEUE)) == 1
    settle(store, clock)
    assert state.load(store.labels).jobs[job.id].status == DONE
    assert [set(uploads) for uploads in trained_in(store)] == [set(job.uploads)]


def test_a_job_whose_message_was_lost_with_a_killed_retry_is_sent_by_the_timer(store: Store, clock: Clock) -> None:
    job = failed_job(store, clock)
    state.update(store.labels, lambda current: retry._checked(current, job.id, clock()))
    settle(store, clock)
    assert state.load(store.labels).jobs[job.id].status == DONE


def test_a_job_that_has_not_failed_is_left_alone(store: Store, clock: Clock) -> None:
    job = failed_job(store, clock)
    with pytest.raises(UserError, match=f"no job 'x'; failed are {job.id}"):
        retry.retry(store, "", "x", clock())
    busy = Job("busy", "train", "main/9", 0, status=RUNNING)
    state.update(store.labels, lambda before: before.with_job(busy))
    with pytest.raises(UserError, match="job busy is running, and there is one job at a time"):
        retry.retry(store, "", job.id, clock())
    with pytest.raises(UserError, match="job busy is running, not failed"):
        retry.retry(store, "", "busy", clock())
    done = retry.retry(store, "", "", clock())
    assert not done.jobs and "job busy is running; a job that failed before is tried again" in retry.text(done, busy)


def test_the_newest_training_is_the_one_to_try_again() -> None:
    old, new = (Job(f"t{n}", "train", f"main/{n}", 0, status=FAILED, queued_at=n) for n in (1, 2))
    newest = Job("p", "predict", "main/0", 0, status=FAILED, queued_at=3)
    current = State().with_job(new).with_job(old).with_job(newest)
    assert retry._worth_a_try(current) == ("t2",)


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(capsys)
    store = make_project(open_store(str(tmp_path / "s")))
    assert terminal.activelearning("retry", tmp_path / "s").out == "there is nothing to try again\n"
    store.queues.send(POISON, "m")
    assert terminal.activelearning("retry", tmp_path / "s", "--json").value == {"messages": {REVIEWED: 1}, "jobs": [], "left": 0}
    assert "there is no job 'x'; no job has failed" in terminal.activelearning("retry", tmp_path / "s", "--job", "x").sentence
