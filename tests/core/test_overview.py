"""A project at one moment, for a person and for a script."""

import json

from activelearning import layout, onboarding, overview, state
from activelearning.state import FAILED, QUEUED, RUNNING, Batch, Claimed, Job, State, Upload
from activelearning.store import Store, open_store

NOW = 1_800_000_000.0


def shown(change: State) -> tuple[Store, overview.Overview]:
    store = open_store("memory:")
    onboarding.create_project(store, onboarding.make_settings(("cat",), []))
    state.update(store.labels, lambda _: change)
    return store, overview.overview(store, NOW)


def batch(name: str, expires_at: float, claimed_at: float = NOW) -> Batch:
    return Batch(name, "ann", "totag/main/1.csv", (Claimed("a.jpg", 0, 9), Claimed("b.jpg", 9, 18)), claimed_at, expires_at)


def test_claims_are_told_oldest_first_with_what_is_left_to_do() -> None:
    held = State().with_batch(batch("young", NOW + 7200)).with_batch(batch("old", NOW - 60, NOW - 7200)).with_batch(batch("back", 0))
    _, found = shown(held.with_upload(Upload("batches/young/reviewed.csv", "young", ("a.jpg",), NOW)))
    assert [str(claim) for claim in found.claims] == [
        "old: ann, 2 of 2 images not handed in, ran out, waiting to be released",
        "young: ann, 1 of 2 images not handed in, 2 h left",
    ]
    assert found.uploads_waiting == 1 and "reviewed uploads that no model was trained on yet: 1" in overview.text(found)


def test_what_is_stuck_says_what_to_do() -> None:
    jobs = [
        Job("j1", "train", "main/1", 0, status=FAILED, reason="no space left"),
        Job("j2", "train", "main/2", 0, status=QUEUED, queued_at=NOW - 600),
        Job("j3", "train", "main/3", 0, status=RUNNING, progress="iteration 40 of 700"),
        Job("j4", "train", "main/4", 0, status=QUEUED, queued_at=NOW - 1),
    ]
    current = State()
    for job in jobs:
        current = current.with_job(job)
    store, _ = shown(current)
    store.queues.send(layout.poison_queue(layout.JOBS_QUEUE), "x")
    text = overview.text(overview.overview(store, NOW))
    assert "job        j3 (main/3): running iteration 40 of 700" in text.splitlines()
    attention = [line for line in text.splitlines() if line.startswith("attention")]
    assert attention == [
        "attention  job j1 (main/1) failed: no space left",
        "attention  job j2 has waited 10 minutes: is a trainer running? start one with `activelearning up` or `trainer serve`",
        "attention  1 message of train-jobs could not be handled, see train-jobs-poison and the log of the functions",
    ]


def test_the_trend_of_the_models_is_told() -> None:
    store, _ = shown(State())
    rows = "flow,iteration,class,metric,value\nmain,1,all,ap50,0.5\nmain,1,cat,ap50,0.4\nmain,2,all,ap,0.3\nmain,2,all,ap50,0.625\n"
    store.labels.create(layout.PERFORMANCE, rows.encode())
    found = overview.overview(store, NOW)
    assert found.ap50 == (("main/1", 0.5), ("main/2", 0.625))
    assert "AP50       main/1 0.500  main/2 0.625" in overview.text(found)


def test_json_has_the_same_and_plain_values() -> None:
    _, found = shown(State().with_batch(batch("b", NOW + 3600)))
    value = json.loads(json.dumps(found.as_dict()))
    assert value["claims"] == [{"batch": "b", "tagger": "ann", "images": 2, "unreviewed": 2, "age_hours": 0.0, "hours_left": 1.0}]
    assert value["model"] == "" and value["images_waiting"] is False and value["jobs"] == value["stuck"] == []
