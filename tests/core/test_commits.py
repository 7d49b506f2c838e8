"""Commits: of rivals on one parent one wins, publishing twice is publishing once, and the state takes each in exactly once."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activelearning import commits, labelled, layout
from activelearning.commits import Commit
from activelearning.errors import BlobChanged, UserError
from activelearning.iterations import Status
from activelearning.state import DONE, FAILED, PREDICT, QUEUED, RUNNING, TRAIN, Batch, Claimed, Iteration, Job, State, Upload
from activelearning.store import Store, open_store

FIRST = Commit(1, "train-1", "main/1", "main/1", "totag/main/1.csv", "tagged/main/1.csv", 100.0, 10, 0, 110.0)


def test_before_the_first_commit_there_is_none(store: Store) -> None:
    assert commits.latest(store.labels) is None
    assert commits.consumed(store.labels, "") == commits.consumed(store.labels, "main/1") == frozenset()


def test_publishing_twice_is_publishing_once(store: Store) -> None:
    assert commits.publish(store.labels, FIRST, 0)
    assert commits.publish(store.labels, replace(FIRST, committed_at=999.0), 0)
    assert commits.latest(store.labels) == FIRST


def test_a_commit_on_an_old_parent_is_refused(store: Store) -> None:
    commits.publish(store.labels, FIRST, 0)
    second = replace(FIRST, sequence=2, job="train-2", run="main/2")
    assert not commits.publish(store.labels, replace(second, sequence=1), 0)
    assert commits.publish(store.labels, second, 1)
    assert not commits.publish(store.labels, FIRST, 0)
    assert commits.latest(store.labels) == second


def test_of_rivals_one_wins(store: Store) -> None:
    def publish(number: int) -> bool:
        try:
            return commits.publish(store.labels, replace(FIRST, job=f"train-{number}"), 0)
        except BlobChanged:
            return False

    with ThreadPoolExecutor(8) as rivals:
        assert sum(rivals.map(publish, range(16))) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"sequence": 1}'])
def test_a_damaged_commit_is_one_plain_sentence(content: bytes) -> None:
    blobs = open_store("memory:").labels
    blobs.create(layout.LATEST, content)
    with pytest.raises(UserError, match=r"models/latest\.json is damaged \([^\n]+\): put an older copy in its place"):
        commits.latest(blobs)


def test_a_damaged_list_of_uploads_never_means_that_nothing_was_trained_on() -> None:
    blobs = open_store("memory:").labels
    blobs.create(layout.uploads("main/1"), b"[")
    with pytest.raises(UserError, match=r"uploads\.json is damaged"):
        commits.consumed(blobs, "main/1")


def test_a_field_of_a_later_version_is_passed_over() -> None:
    blobs = open_store("memory:").labels
    commits.publish(blobs, FIRST, 0)
    blob = blobs.read(layout.LATEST)
    blobs.replace(layout.LATEST, json.dumps({**json.loads(blob.content), "novelty": 1}).encode(), blob.etag)
    assert commits.latest(blobs) == FIRST


def _batch(name: str, *images: str, expires_at: float = 1e9) -> Batch:
    return Batch(name, "me", "totag/main/0.csv", tuple(Claimed(image, 0, 1) for image in images), 0.0, expires_at)


BEFORE = State(
    run="main/0",
    totag="totag/main/0.csv",
    next_iteration=2,
    images_arrived_at=90.0,
    batches={b.id: b for b in (_batch("b1", "1.jpg", "2.jpg"), _batch("b2", "3.jpg"), _batch("b3", "4.jpg", expires_at=0.0))},
    uploads={
        u.name: u for u in (Upload("u1", "b1", ("1.jpg",), 0.0), Upload("u3", "b3", ("4.jpg",), 0.0), Upload("late", "b2", ("3.jpg",), 0.0))
    },
    jobs={"train-1": Job("train-1", TRAIN, "main/1", 0, ("u1", "u3"), status=RUNNING, owner="t", lease_until=9.0, progress="half")},
    iterations={"main/1": Iteration("main/1", Status.INFERENCE, 0.0)},
)
AFTER = commits.adopted(BEFORE, FIRST, {"u1", "u3"})


def test_what_was_trained_on_is_over_and_the_rest_goes_on() -> None:
    assert set(AFTER.uploads) == {"late"}
    assert {name: [c.image for c in batch.claimed] for name, batch in AFTER.batches.items()} == {"b1": ["2.jpg"], "b2": ["3.jpg"]}
    assert (AFTER.sequence, AFTER.run, AFTER.totag, AFTER.images_arrived_at) == (1, "main/1", "totag/main/1.csv", 0.0)
    assert AFTER.jobs["train-1"] == Job("train-1", TRAIN, "main/1", 0, ("u1", "u3"), status=DONE)
    assert AFTER.iterations["main/1"].status is Status.COMPLETED


def test_a_commit_is_taken_in_once() -> None:
    assert commits.adopted(AFTER, FIRST, {"u1", "u3", "late"}) is AFTER


def test_an_image_that_came_after_the_listing_still_waits() -> None:
    assert commits.adopted(replace(BEFORE, images_arrived_at=100.5), FIRST, ()).images_arrived_at == 100.5


def test_a_state_that_was_lost_counts_on_from_the_commit() -> None:
    found = commits.adopted(State(), replace(FIRST, sequence=9, run="main/7"), ())
    assert (found.sequence, found.run, found.next_iteration) == (9, "main/7", 8)


def test_failed_jobs_are_forgotten_when_their_work_is_done_or_out_of_date() -> None:
    failed = [
        Job("train-0", TRAIN, "main/0", 0, ("u1",), status=FAILED),
        Job("train-x", TRAIN, "main/9", 0, ("u1", "late"), status=FAILED),
        Job("predict-0", PREDICT, "main/0", 0, status=FAILED),
    ]
    jobs = commits.adopted(replace(BEFORE, jobs={**BEFORE.jobs, **{job.id: job for job in failed}}), FIRST, {"u1", "u3"}).jobs
    assert set(jobs) == {"train-1", "train-x"}


def test_the_state_remembers_only_so_much_of_what_is_over() -> None:
    current = State()
    for number in range(1, 120):
        job = Job(f"train-{number}", TRAIN, f"main/{number}", number - 1, status=QUEUED, queued_at=number)
        commit = replace(FIRST, sequence=number, job=job.id, run=job.run, committed_at=number)
        current = commits.adopted(current.with_job(job), commit, ())
    assert len(current.jobs) <= 21 and "train-119" in current.jobs
    assert len(current.iterations) <= 50 and "main/119" in current.iterations


def test_consumed_names_what_a_run_was_written_with(store: Store) -> None:
    labelled.write(store.labels, "main/1", (), {"u2", "u1"})
    assert commits.consumed(store.labels, "main/1") == {"u1", "u2"}


@settings(deadline=None, max_examples=40)
@given(st.sets(st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=20)), st.integers(0, 6000), st.data())
def test_an_upload_is_found_in_a_list_of_any_length(others: set[str], count: int, data: st.DataObject) -> None:
    blobs = open_store("memory:").labels
    names = {f"batches/{number * 7919 % 6007:05d}-{'x' * (number % 50)}/reviewed.csv" for number in range(count)} | others
    labelled.write(blobs, "main/1", (), names)
    asked = {data.draw(st.sampled_from(sorted(names))) for _ in range(5)} if names else set()
    asked |= {f"{name}-2" for name in asked} | {"", "a", "zzzz", "batches/00000-/reviewed.csv", *list(others)[:5]}
    assert {name for name in asked if commits.has_consumed(blobs, "main/1", name)} == asked & names
    assert not commits.has_consumed(blobs, "main/2", "a")


def test_a_long_list_that_is_damaged_is_one_sentence() -> None:
    blobs = open_store("memory:").labels
    blobs.create(layout.uploads("main/1"), b"x" * 200_000)
    with pytest.raises(UserError, match="put a copy in its place"):
        commits.has_consumed(blobs, "main/1", "batches/b/reviewed.csv")


def test_of_an_older_commit_nobody_knows_which_model_all_its_drafts_are_of(store: Store) -> None:
    assert commits.publish(store.labels, replace(FIRST, drafts_of="main/1"), 0)
    blob = store.labels.read(layout.LATEST)
    older = {name: value for name, value in json.loads(blob.content).items() if name != "drafts_of"}
    store.labels.replace(layout.LATEST, json.dumps(older).encode(), blob.etag)
    assert commits.latest(store.labels) == FIRST and FIRST.drafts_of == ""
