"""Steps on a store: each event twice, late, out of order or never; rivals; jobs that fail; damage that must not stop the loop."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from activelearning import commits, events, jobs, journal, layout, project_file, state, steps
from activelearning.errors import UserError
from activelearning.iterations import Status
from activelearning.settings import Policy
from activelearning.state import DONE, FAILED, QUEUED, RUNNING, Job, State
from activelearning.store import Store, open_store
from tests.core import loops
from tests.core.loops import SETTINGS, Clock, hand_in


def _event(name: str, container: str = layout.LABELS) -> str:
    return events.blob_created(container, name, 1, "etag", 0.0)


def _only_job(store: Store) -> Job:
    (job,) = state.load(store.labels).jobs.values()
    return job


def _queued(store: Store, clock: Clock, *images: str) -> Job:
    steps.take_in_upload(store, _event(hand_in(store, "b1", images or ["1.jpg"])), clock())
    return _only_job(store)


def test_an_upload_queues_one_job_however_often_its_event_comes(store: Store, clock: Clock) -> None:
    name = hand_in(store, "b1", ["1.jpg", "2.jpg"])
    for _ in range(3):
        steps.take_in_upload(store, _event(name), clock())
    assert (_only_job(store).uploads, _only_job(store).status) == ((name,), QUEUED)
    assert len(loops.bodies(store, layout.JOBS_QUEUE)) == 1
    assert loops.work(store, clock)
    steps.take_in_upload(store, _event(name), clock.later(99))
    assert (_only_job(store).status, state.load(store.labels).uploads) == (DONE, {})
    assert loops.trained_in(store) == [(name,)]


def test_rivals_queue_exactly_one_job(store: Store, clock: Clock) -> None:
    names = [hand_in(store, f"b{n}", [f"{n}.jpg"]) for n in range(6)]
    with ThreadPoolExecutor(12) as rivals:
        list(rivals.map(lambda name: steps.take_in_upload(store, _event(name), clock()), names * 3))
        list(rivals.map(lambda _: steps.advance(store, clock()), range(12)))
    assert len(state.load(store.labels).jobs) == len(loops.bodies(store, layout.JOBS_QUEUE)) == 1
    loops.settle(store, clock)
    assert sorted(name for run in loops.trained_in(store) for name in run) == names


def test_a_second_review_whose_event_comes_first_still_wins(store: Store, clock: Clock) -> None:
    first, second = hand_in(store, "b1", ["1.jpg"], 1, 0.1), hand_in(store, "b1", ["1.jpg"], 2, 0.2)
    steps.take_in_upload(store, _event(second), clock())
    assert _only_job(store).uploads == (first, second)
    loops.work(store, clock)
    steps.take_in_upload(store, _event(first), clock())
    commit = commits.latest(store.labels)
    assert commit and loops.labelled.read(store.labels, commit.tagged).images == (loops.labelled_image("1.jpg", 0.2),)


def test_an_event_that_is_handled_twice_at_once_while_a_model_is_published_trains_once(store: Store, clock: Clock) -> None:
    name = hand_in(store, "b1", ["1.jpg"])

    def a_rival_does_it_all() -> None:
        steps.take_in_upload(store, _event(name), clock())
        loops.work(store, clock)

    slow = replace(store, labels=loops.interrupted(store.labels, "list", a_rival_does_it_all))
    steps.take_in_upload(slow, _event(name), clock())
    assert state.load(store.labels).uploads == {} and loops.trained_in(store) == [(name,)]


def test_an_upload_during_training_is_trained_on_in_the_next_run(store: Store, clock: Clock) -> None:
    _queued(store, clock)
    turn = loops.turn(store, clock, "t")
    next(turn), next(turn)
    late = hand_in(store, "b2", ["2.jpg"])
    steps.take_in_upload(store, _event(late), clock())
    list(turn)
    loops.settle(store, clock)
    assert loops.trained_in(store) == [(layout.batch_reviewed("b1"),), (late,)]


def test_an_event_of_anything_else_changes_nothing(store: Store, clock: Clock) -> None:
    for name, container in (("batches/b1/totag.csv", layout.LABELS), ("batches/b1/reviewed.csv", layout.IMAGES), ("a.jpg", layout.LABELS)):
        steps.take_in_upload(store, _event(name, container), clock())
    steps.images_arrived(store, _event("notes.txt", layout.IMAGES), clock())
    steps.images_arrived(store, _event("1.jpg", layout.LABELS), clock())
    assert state.load(store.labels) == State()


def test_an_event_of_an_upload_that_is_gone_changes_nothing(store: Store, clock: Clock) -> None:
    steps.take_in_upload(store, _event(layout.batch_reviewed("never")), clock())
    assert state.load(store.labels) == State()


def test_lost_events_are_found_by_the_timer(store: Store, clock: Clock) -> None:
    hand_in(store, "b1", ["1.jpg"])
    store.images.create("2.jpg", b"x")
    steps.tick(store, clock())
    assert _only_job(store).uploads == (layout.batch_reviewed("b1"),)
    assert state.load(store.labels).images_arrived_at == clock()


def test_the_timer_looks_at_everything_now_and_then_even_if_the_clock_was_wrong(store: Store, clock: Clock) -> None:
    steps.tick(store, clock() + 1e9)
    hand_in(store, "b1", ["1.jpg"])
    steps.tick(store, clock())
    assert len(state.load(store.labels).jobs) == 1


@pytest.mark.parametrize("content", [b"\xff\xfe", b"no,table\n", b""])
def test_a_damaged_upload_is_told_once_and_keeps_nothing_else_from_training(store: Store, clock: Clock, content: bytes) -> None:
    bad = layout.batch_reviewed("bad")
    store.labels.create(bad, content)
    for _ in range(3):
        steps.tick(store, clock.later(steps.SWEEP_SECONDS))
    told = [entry["problem"] for entry in journal.read(store.labels) if entry["what"] == "upload unreadable"]
    assert len(told) == 1 and told[0].startswith(bad) and "hand it in again" in told[0]
    good = hand_in(store, "good", ["1.jpg"])
    loops.settle(store, clock)
    commit = commits.latest(store.labels)
    assert commit and commits.consumed(store.labels, commit.run) == {bad, good}


def test_train_after_waits_for_so_many_images(clock: Clock) -> None:
    store = loops.make_project(open_store("memory:", clock), replace(SETTINGS, policy=Policy(train_after=3)))
    first = hand_in(store, "b1", ["1.jpg", "2.jpg"])
    loops.settle(store, clock)
    assert loops.trained_in(store) == [] and set(state.load(store.labels).uploads) == {first}
    second = hand_in(store, "b2", ["3.jpg"])
    loops.settle(store, clock)
    assert sorted(map(sorted, loops.trained_in(store))) == [sorted([first, second])]


def test_new_images_are_listed_when_they_have_stopped_coming(store: Store, clock: Clock) -> None:
    for n in range(3):
        store.images.create(f"{n}.jpg", b"x")
        steps.images_arrived(store, _event(f"{n}.jpg", layout.IMAGES), clock.later(6))
    assert steps.advance(store, clock.later(9)) == []
    assert len(steps.advance(store, clock.later(1))) == 2
    assert loops.work(store, clock)
    assert loops.labelled.read(store.labels, state.load(store.labels).totag).images == tuple(loops.drafts(f"{n}.jpg") for n in range(3))
    assert steps.advance(store, clock.later(99)) == []


def test_many_images_at_once_are_one_note(store: Store, clock: Clock) -> None:
    store.images.create("1.jpg", b"x")
    steps.images_arrived(store, _event("1.jpg", layout.IMAGES), clock())
    etag = store.labels.read(layout.STATE).etag
    steps.images_arrived(store, _event("2.jpg", layout.IMAGES), clock.later(1))
    assert store.labels.read(layout.STATE).etag == etag


def test_events_are_safe_while_project_toml_is_damaged(store: Store, clock: Clock) -> None:
    blob = store.labels.read(layout.PROJECT)
    etag = store.labels.replace(layout.PROJECT, b"classes = [", blob.etag)
    name = hand_in(store, "b1", ["1.jpg"])
    steps.take_in_upload(store, _event(name), clock())
    steps.images_arrived(store, _event("1.jpg", layout.IMAGES), clock())
    assert set(state.load(store.labels).uploads) == {name} and state.load(store.labels).images_arrived_at == clock()
    with pytest.raises(UserError, match=r"project\.toml of .*each line must read key = value"):
        steps.tick(store, clock())
    store.labels.replace(layout.PROJECT, project_file.render_project(SETTINGS).encode(), etag)
    steps.tick(store, clock())
    assert _only_job(store).uploads == (name,)


def test_a_project_in_another_encoding_is_one_sentence(store: Store) -> None:
    store.labels.replace(layout.PROJECT, "classes = ['ü']".encode("utf-16"), store.labels.read(layout.PROJECT).etag)
    with pytest.raises(UserError, match="is no UTF-8 text: save it in this encoding"):
        steps.project(store)


def test_a_store_without_a_project_says_what_to_do() -> None:
    with pytest.raises(UserError, match="holds no project yet: run `activelearning init"):
        steps.project(open_store("memory:"))


def test_one_living_trainer_has_the_job(store: Store, clock: Clock) -> None:
    job = _queued(store, clock)
    begun = jobs.start(store, job.id, "ann", clock())
    assert begun and (begun.status, begun.owner, begun.attempts) == (RUNNING, "ann", 1)
    with pytest.raises(jobs.JobBusy):
        jobs.start(store, job.id, "bob", clock.later(jobs.LEASE_SECONDS - 1))
    jobs.renew(store, job.id, "ann", clock(), "half")
    with pytest.raises(jobs.JobBusy):
        jobs.start(store, job.id, "bob", clock.later(jobs.LEASE_SECONDS - 1))
    taken = jobs.start(store, job.id, "bob", clock.later(1))
    assert taken and (taken.owner, taken.attempts, taken.progress) == ("bob", 2, "half")
    with pytest.raises(jobs.LeaseLost):
        jobs.renew(store, job.id, "ann", clock())


def test_rival_trainers_begin_a_job_once(store: Store, clock: Clock) -> None:
    job = _queued(store, clock)

    def begin(owner: int) -> bool:
        try:
            return jobs.start(store, job.id, f"t{owner}", clock()) is not None
        except jobs.JobBusy:
            return False

    with ThreadPoolExecutor(8) as rivals:
        assert sum(rivals.map(begin, range(16))) == 1


def test_a_message_of_no_job_or_of_one_that_is_over_is_nothing_to_do(store: Store, clock: Clock) -> None:
    assert jobs.start(store, "", "t", clock()) is None
    job = _queued(store, clock)
    loops.work(store, clock)
    assert jobs.start(store, job.id, "t", clock()) is None


def test_a_job_whose_trainer_died_is_taken_back_and_its_lost_message_sent_again(store: Store, clock: Clock) -> None:
    job = _queued(store, clock)
    (message,) = store.queues.receive(layout.JOBS_QUEUE, 60)
    jobs.start(store, job.id, "dead", clock())
    store.queues.delete(layout.JOBS_QUEUE, message)
    loops.settle(store, clock, 2)
    assert _only_job(store).status == DONE


def test_a_job_that_kills_every_trainer_is_given_up_with_a_word_and_its_uploads_go_on(store: Store, clock: Clock) -> None:
    job = _queued(store, clock)
    for n in range(jobs.MAX_ATTEMPTS):
        assert jobs.start(store, job.id, f"t{n}", clock.later(61))
    for _ in range(2):
        assert jobs.start(store, job.id, "t9", clock.later(61)) is None
    assert (_only_job(store).status, state.load(store.labels).iterations["main/1"].status) == (FAILED, Status.TRAINING_FAILED)
    (entry,) = (entry for entry in journal.read(store.labels) if entry["what"] == "job failed")
    assert entry["reason"].startswith("it was begun 5 times")
    hand_in(store, "b2", ["2.jpg"])
    loops.settle(store, clock)
    assert loops.trained_in(store) == [(layout.batch_reviewed("b1"), layout.batch_reviewed("b2"))]
    assert {job.status for job in state.load(store.labels).jobs.values()} == {DONE}


def test_a_job_that_failed_for_good_is_tried_again_the_next_day(store: Store, clock: Clock) -> None:
    job = _queued(store, clock)
    jobs.start(store, job.id, "t", clock())
    jobs.fail(store, job.id, "the disk is full", clock())
    jobs.fail(store, job.id, "somebody late", clock())
    assert [entry["reason"] for entry in journal.read(store.labels) if entry["what"] == "job failed"] == ["the disk is full"]
    clock.later(86_400)
    loops.settle(store, clock)
    assert loops.trained_in(store) == [job.uploads] and _only_job(store).status == DONE


def test_a_job_that_is_handed_back_is_free_and_only_a_failure_counts(store: Store, clock: Clock) -> None:
    job = _queued(store, clock)
    for failed, attempts in ((False, 0), (True, 1)):
        jobs.start(store, job.id, "ann", clock())
        jobs.hand_back(store, job.id, "ann", failed)
        assert (_only_job(store).status, _only_job(store).attempts) == (QUEUED, attempts)
    jobs.start(store, job.id, "bob", clock())
    jobs.hand_back(store, job.id, "ann", True)
    assert _only_job(store).owner == "bob"


def test_progress_forgives_attempts(store: Store, clock: Clock) -> None:
    job = _queued(store, clock)
    for forgive in (lambda: jobs.forgive(store, job.id), lambda: jobs.move_iteration(store, job.run, Status.TRAINING, clock())):
        jobs.start(store, job.id, "t", clock())
        forgive()
        assert _only_job(store).attempts == 0
    jobs.forgive(store, "no job")


def test_a_zombie_that_publishes_late_makes_nobody_train_twice(store: Store, clock: Clock) -> None:
    first = _queued(store, clock)
    zombie = loops.turn(store, clock, "zombie")
    for _ in range(4):
        next(zombie)
    jobs.fail(store, first.id, "given up", clock())
    second = hand_in(store, "b2", ["2.jpg"])
    steps.take_in_upload(store, _event(second), clock())
    heir = loops.turn(store, clock, "heir")
    for _ in range(4):
        next(heir)
    list(zombie)
    list(heir)
    loops.settle(store, clock)
    commit = commits.latest(store.labels)
    assert commit and commits.consumed(store.labels, commit.run) == {*first.uploads, second}
    assert state.load(store.labels).uploads == {} and {j.status for j in state.load(store.labels).jobs.values()} == {DONE}
    by_run = {info.name: loops.json.loads(store.labels.read(info.name).content) for info in store.labels.list("models/main/2/card-")}
    assert by_run["models/main/2/card-2.json"] == [second]


def test_superseding_leaves_others_and_what_is_over_alone(store: Store, clock: Clock) -> None:
    job = _queued(store, clock)
    loops.work(store, clock)
    before = state.load(store.labels)
    jobs.superseded(store, job.id, clock())
    jobs.superseded(store, "no job", clock())
    assert state.load(store.labels) == before


def test_a_prediction_that_came_second_is_decided_afresh(store: Store, clock: Clock) -> None:
    store.images.create("1.jpg", b"x")
    steps.sweep(store, clock())
    steps.advance(store, clock.later(10))
    job = _only_job(store)
    jobs.start(store, job.id, "t", clock())
    commits.publish(store.labels, commits.Commit(1, "by hand", "main/0", "", "", "", 0.0, 0, 0, 0.0), 0)
    jobs.superseded(store, job.id, clock())
    assert (_only_job(store).status, _only_job(store).reason) == (DONE, "a newer model was published first")
    loops.settle(store, clock)
    commit = commits.latest(store.labels)
    assert commit and commit.sequence == 2 and commit.pool_images == 1


def test_a_state_that_was_lost_is_found_again_in_the_blobs(clock: Clock) -> None:
    store = loops.make_project(open_store("memory:", clock))
    store.images.create("1.jpg", b"x")
    old = hand_in(store, "b1", ["1.jpg"])
    loops.settle(store, clock)
    del store.labels._entries[layout.STATE]  # type: ignore[attr-defined]
    new = hand_in(store, "b2", ["2.jpg"])
    loops.settle(store, clock)
    assert loops.trained_in(store) == [(old,), (new,)]
    assert state.load(store.labels).run == "main/2"


def test_a_commit_whose_trainer_was_killed_right_after_it_is_taken_in_by_the_timer(store: Store, clock: Clock) -> None:
    _queued(store, clock)
    turn = loops.turn(store, clock, "t")
    while commits.latest(store.labels) is None:
        next(turn)
    assert _only_job(store).status == RUNNING
    steps.tick(store, clock())
    assert _only_job(store).status == DONE and state.load(store.labels).iterations["main/1"].status is Status.COMPLETED
