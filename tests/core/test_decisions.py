"""What the loop does by itself: tables of states and what is due, and that applying it leaves nothing due."""

from dataclasses import replace
from functools import reduce

import pytest

from activelearning import decisions
from activelearning.decisions import QueueJob, ReleaseClaim, SendJob, TakeBack, applied, decide
from activelearning.iterations import Status
from activelearning.settings import Policy, Settings
from activelearning.state import DONE, FAILED, PREDICT, QUEUED, RUNNING, TRAIN, Batch, Claimed, Iteration, Job, State, Upload

NOW = 1_000_000.0
SETTINGS = Settings(("bird",), policy=Policy(train_after=3, quiet_seconds=10.0))


def _upload(name: str, *images: str, batch: str = "", at: float = 0.0) -> Upload:
    return Upload(name, batch or name, images, at)


def _state(*uploads: Upload, **fields: object) -> State:
    return State(uploads={upload.name: upload for upload in uploads}, **fields)  # type: ignore[arg-type]


def _kinds(state: State, backlog: int = 0, now: float = NOW) -> list[str]:
    return [type(action).__name__ for action in decide(state, SETTINGS, backlog, now)]


def _after(state: State, backlog: int = 0, now: float = NOW) -> State:
    return reduce(lambda current, action: applied(current, action, now), decide(state, SETTINGS, backlog, now), state)


THREE = (_upload("u1", "1", "2"), _upload("u2", "3"))
BATCH = Batch("b1", "ann", "totag", (Claimed("1", 0, 1), Claimed("2", 1, 2)), 0.0, NOW)


@pytest.mark.parametrize(
    ("state", "due"),
    [
        (State(), []),
        (_state(_upload("u1", "1", "2")), []),
        (_state(_upload("u1", "1", "2"), _upload("u2", "2")), []),
        (_state(*THREE), ["QueueJob", "SendJob"]),
        (_state(_upload("empty")), []),
        (_state(images_arrived_at=NOW - 10), ["QueueJob", "SendJob"]),
        (_state(images_arrived_at=NOW - 9), []),
        (_state(images_arrived_at=NOW + 9999), []),
        (_state(batches={"b1": BATCH}), ["ReleaseClaim"]),
        (_state(batches={"b1": replace(BATCH, expires_at=NOW + 1)}), []),
        (_state(batches={"b1": replace(BATCH, expires_at=0.0)}), []),
    ],
    ids=[
        "nothing",
        "too-few",
        "the-same-image-twice",
        "enough",
        "an-empty-upload",
        "quiet",
        "not-quiet",
        "wrong-clock",
        "expired",
        "held",
        "waits",
    ],
)
def test_what_is_due(state: State, due: list[str]) -> None:
    assert _kinds(state) == due
    assert _kinds(_after(state), backlog=1) == []


@pytest.mark.parametrize(
    ("job", "backlog", "due"),
    [
        ({"status": QUEUED, "sent_at": NOW - 29}, 0, []),
        ({"status": QUEUED, "sent_at": NOW - 30}, 0, ["SendJob"]),
        ({"status": QUEUED, "sent_at": NOW - 30}, 1, []),
        ({"status": QUEUED, "sent_at": NOW + 9999}, 0, ["SendJob"]),
        ({"status": RUNNING, "lease_until": NOW + 1}, 0, []),
        ({"status": RUNNING, "lease_until": NOW}, 0, ["TakeBack"]),
        ({"status": DONE}, 0, ["QueueJob", "SendJob"]),
        ({"status": FAILED}, 0, ["QueueJob", "SendJob"]),
    ],
)
def test_one_job_at_a_time_and_none_is_forgotten(job: dict[str, object], backlog: int, due: list[str]) -> None:
    jobs = {"train-old": Job("train-old", TRAIN, "main/1", 0, ("u0",), **job)}  # type: ignore[arg-type]
    assert _kinds(_state(*THREE, images_arrived_at=NOW - 99, jobs=jobs), backlog) == due


def test_training_comes_before_prediction() -> None:
    (queued,) = _after(_state(*THREE, images_arrived_at=NOW - 99)).jobs.values()
    assert (queued.kind, queued.status, queued.run, queued.uploads) == (TRAIN, QUEUED, "main/1", ("u1", "u2"))


def test_queueing_begins_an_iteration_and_the_next_has_the_next_number() -> None:
    after = _after(_state(*THREE))
    assert after.iterations == {"main/1": Iteration("main/1", Status.INITIALIZED, NOW)} and after.next_iteration == 2


def test_deciding_on_the_same_state_twice_is_the_same_job() -> None:
    first, second = (decide(_state(*uploads), SETTINGS, 0, NOW)[0] for uploads in (THREE, THREE[::-1]))
    assert isinstance(first, QueueJob) and isinstance(second, QueueJob) and first.job.id == second.job.id


def test_a_failed_job_is_not_queued_again_at_once_but_a_new_upload_takes_its_uploads_along() -> None:
    (job,) = _after(_state(*THREE)).jobs.values()
    failed = decisions.failed(_after(_state(*THREE)), job.id, "no disk", Status.TRAINING_FAILED, NOW)
    assert (failed.jobs[job.id].status, failed.jobs[job.id].reason) == (FAILED, "no disk")
    assert failed.iterations["main/1"].status is Status.TRAINING_FAILED
    assert _kinds(failed) == []
    more = _after(failed.with_upload(_upload("u3", "4")))
    (queued,) = (job for job in more.jobs.values() if job.status == QUEUED)
    assert (queued.run, queued.uploads) == ("main/2", ("u1", "u2", "u3"))


def test_a_failed_job_is_tried_again_after_a_day_in_its_own_run() -> None:
    (job,) = _after(_state(*THREE)).jobs.values()
    failed = decisions.failed(replace(_after(_state(*THREE)), sequence=4), job.id, "no disk", None, NOW)
    later = NOW + decisions.RETRY_FAILED_SECONDS
    assert _kinds(failed, now=later - 1) == []
    again = _after(failed, now=later)
    assert again.jobs[job.id] == replace(job, parent=4, queued_at=later, sent_at=later) and again.next_iteration == 2


def test_a_failed_prediction_does_not_block_training() -> None:
    predicting = _after(_state(images_arrived_at=NOW - 99))
    (job,) = predicting.jobs.values()
    failed = decisions.failed(predicting, job.id, "no model", None, NOW)
    assert _kinds(failed) == []
    assert _kinds(failed.with_upload(_upload("u1", "1", "2", "3"))) == ["QueueJob", "SendJob"]


def test_a_prediction_without_any_run_belongs_to_run_zero_and_each_commit_makes_a_new_one() -> None:
    first = decisions.prediction_job(State(images_arrived_at=5.0), NOW)
    assert (first.kind, first.run, first.parent) == (PREDICT, "main/0", 0)
    assert len({first.id, decisions.prediction_job(State(images_arrived_at=6.0), NOW).id}) == 2
    assert first.id != decisions.prediction_job(State(sequence=1, images_arrived_at=5.0), NOW).id
    assert first.id == decisions.prediction_job(State(images_arrived_at=5.0), NOW + 1).id


def test_what_was_reviewed_of_an_expired_claim_waits_for_training() -> None:
    state = _state(_upload("u1", "1", batch="b1"), batches={"b1": BATCH})
    after = applied(state, ReleaseClaim("b1", "ann"), NOW)
    assert after.batches["b1"] == replace(BATCH, claimed=(Claimed("1", 0, 1),), expires_at=0.0)
    assert applied(after, ReleaseClaim("b1", "ann"), NOW) == after
    assert applied(_state(batches={"b1": BATCH}), ReleaseClaim("b1", "ann"), NOW).batches == {}


def test_a_job_that_is_taken_back_is_free_and_its_message_is_sent_when_it_is_lost() -> None:
    running = Job("j", TRAIN, "main/1", 0, ("u1",), status=RUNNING, owner="dead", lease_until=NOW, sent_at=0.0)
    after = applied(State(jobs={"j": running}), TakeBack("j", "dead"), NOW)
    assert (after.jobs["j"].status, after.jobs["j"].owner) == (QUEUED, "")
    assert decide(after, SETTINGS, 0, NOW) == [SendJob("j")]


def test_reviews_come_in_the_order_of_their_batches_and_versions_whatever_the_events_did() -> None:
    uploads = [
        _upload("batches/b/reviewed-10.csv", batch="b", at=3.0),
        _upload("batches/a/reviewed.csv", batch="a", at=2.0),
        _upload("batches/b/reviewed-2.csv", batch="b", at=1.0),
        _upload("batches/b/reviewed.csv", batch="b", at=4.0),
    ]
    assert decisions.in_review_order(uploads) == (
        "batches/b/reviewed.csv",
        "batches/b/reviewed-2.csv",
        "batches/b/reviewed-10.csv",
        "batches/a/reviewed.csv",
    )


def test_failed_jobs_do_not_pile_up_while_uploads_go_on_coming() -> None:
    current = _state(_upload("a", "1", "2", "3"))
    for number in range(20):
        current = _after(current.with_upload(_upload(f"u{number}", "4")))
        (job,) = current.jobs.values()
        assert len(job.uploads) == number + 2
        current = decisions.failed(current, job.id, "disk full", None, NOW)


def test_a_failed_job_is_queued_anew_when_it_is_asked_for() -> None:
    current = _after(_state(_upload("a", "1", "2", "3")))
    (job,) = current.jobs.values()
    failed = replace(decisions.failed(current, job.id, "disk full", None, NOW), sequence=7)
    again = decisions.retried(failed, job.id, NOW + 5).jobs[job.id]
    assert again == replace(job, parent=7, queued_at=NOW + 5, sent_at=NOW + 5)
    assert decisions.at_work(failed) is None and decisions.at_work(failed.with_job(again)) == again
