"""A project at one moment, for a person and for a script."""

import json
from dataclasses import replace

import pytest

from activelearning import autolabels, commits, events, failures, journal, layout, onboarding, overview, overview_text, state, steps, stuck
from activelearning.autolabels import Audit, Record
from activelearning.commits import Commit
from activelearning.errors import UserError
from activelearning.machine_records import Machine, ScaleSet
from activelearning.settings import Policy
from activelearning.state import FAILED, QUEUED, RUNNING, Batch, Claimed, Job, State, Upload
from activelearning.store import Store, open_store

NOW = 1_800_000_000.0


def shown(change: State) -> tuple[Store, overview.Overview]:
    store = open_store("memory:", lambda: NOW)
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
    assert found.uploads_waiting == 1 and "reviewed uploads that no model was trained on yet: 1" in overview_text.text(found)


def test_what_is_stuck_says_what_to_do() -> None:
    jobs = [
        Job("j1", "train", "main/1", 0, status=FAILED, reason="no space left"),
        Job("j2", "train", "main/2", 0, status=QUEUED, queued_at=NOW - 600),
        Job("j3", "train", "main/3", 0, status=RUNNING, progress="iteration 40 of 700", owner="t-1-ab", lease_until=NOW + 18),
        Job("j4", "train", "main/4", 0, status=QUEUED, queued_at=NOW - 1),
    ]
    current = State()
    for job in jobs:
        current = current.with_job(job)
    store, _ = shown(current)
    store.queues.send(layout.poison_queue(layout.JOBS_QUEUE), '{"job": "j1"}')
    text = overview_text.text(overview.overview(store, NOW))
    assert "job        j3 (main/3): running iteration 40 of 700; t-1-ab, last sign of life 12 s ago" in text.splitlines()
    attention = [line for line in text.splitlines() if line.startswith("attention")]
    assert attention == [
        "attention  job j1 (main/1) failed: no space left; when that is mended, `activelearning retry` tries it again",
        "attention  job j2 has waited 10 minutes: is a trainer running? start one with `activelearning up` or `trainer serve`",
        "attention  job j1 of train-jobs could not be handled: no space left (0 s ago); "
        "when that is mended, `activelearning retry` tries again",
    ]


def test_the_trend_of_the_models_is_told() -> None:
    store, _ = shown(State())
    rows = "flow,iteration,class,metric,value\nmain,1,all,ap50,0.5\nmain,1,cat,ap50,0.4\nmain,2,all,ap,0.3\nmain,2,all,ap50,0.625\n"
    store.labels.create(layout.PERFORMANCE, rows.encode())
    found = overview.overview(store, NOW)
    assert found.ap50 == (("main/1", 0.5), ("main/2", 0.625))
    assert "AP50       main/1 0.500  main/2 0.625  (+0.125)" in overview_text.text(found)


RECORD = Record(
    "main/2",
    ("cat",),
    0.99,
    0.95,
    0.4,
    0.05,
    0,
    rules=("cat: precision at least 0.9912, 3 of 900 reviewed boxes as sure were wrong",),
    missed="2 of 700 objects missed in reviewed images that would be accepted",
    held_out=("a.jpg",),
    audit=Audit("main/1", 40, 0, False),
    images=1200,
    boxes=3400,
    examine=800,
    audits=61,
)


def accepting(record: Record) -> tuple[Store, overview.Overview]:
    """A project whose current commit has this division."""
    store, _ = shown(State())
    autolabels.create(store.labels, "main/2", record)
    commit = Commit(1, "train-1", "main/2", "main/2", "totag/main/2.csv", "", NOW, 2000, 0, NOW, autolabelled="main/2")
    assert commits.publish(store.labels, commit, 0)
    return store, overview.overview(store, NOW)


def test_what_the_machine_accepted_is_told_with_its_promise() -> None:
    _, found = accepting(RECORD)
    lines = overview_text.text(found).splitlines()
    assert (
        "accepted   0.99 right at confidence 0.95: 1,200 images with 3,400 boxes accepted, 61 of them for the audit; 800 images to examine"
        in lines
    )
    assert "audit      of 40 accepted boxes of main/1 that people looked at 0 were wrong" in lines
    value = json.loads(json.dumps(found.as_dict()))["autolabel"]
    assert value["rules"] == list(RECORD.rules) and value["missed"] == RECORD.missed
    assert value["audit"] == {"run": "main/1", "boxes": 40, "wrong": 0, "broken": False} and "held_out" not in value
    assert not any(line.startswith("attention") for line in lines)


def test_a_broken_promise_asks_for_attention_and_says_what_to_do() -> None:
    _, found = accepting(replace(RECORD, audit=Audit("main/1", 40, 7, True)))
    attention = [line for line in overview_text.text(found).splitlines() if line.startswith("attention")]
    assert attention == [
        "attention  auto-labelling: of 40 accepted boxes of main/1 that people looked at 7 were wrong: the promise is broken, "
        "they are withdrawn; what is accepted now is proved with them counted; raise autolabel.precision, or set it to 0 to accept nothing"
    ]


def test_who_accepts_nothing_hears_nothing_of_it_and_of_a_damaged_record_one_sentence() -> None:
    assert shown(State())[1].autolabel is None and "accepted" not in overview_text.text(shown(State())[1])
    store, _ = accepting(RECORD)
    name = layout.autolabel_record("main/2")
    store.labels.replace(name, b"[", store.labels.read(name).etag)
    found = overview.overview(store, NOW)
    assert found.autolabel is None and found.stuck[0].startswith("autolabelled/main/2.json is damaged")


def test_json_has_the_same_and_plain_values() -> None:
    _, found = shown(State().with_batch(batch("b", NOW + 3600)))
    value = json.loads(json.dumps(found.as_dict()))
    assert value["claims"] == [{"batch": "b", "tagger": "ann", "images": 2, "unreviewed": 2, "age_hours": 0.0, "hours_left": 1.0}]
    assert value["model"] == "" and value["images_waiting"] is False and value["jobs"] == value["stuck"] == []


BUSY = Job("j", "train", "main/1", 0, status=RUNNING, owner="trainer-7-ab", lease_until=NOW + 20)
QUIET = Job("j", "train", "main/1", 0, status=QUEUED, queued_at=NOW - 400)
LATE = Upload("batches/b/reviewed.csv", "b", ("a.jpg", "b.jpg"), NOW - 400)


@pytest.mark.parametrize(
    ("current", "sentences"),
    [
        (State(swept_at=NOW - 600), []),
        (State(swept_at=NOW - 1000), ["the timer has not run since 2027-01-15 07:43Z: the functions are not running"]),
        (State().with_job(BUSY), []),
        (State().with_job(replace(BUSY, lease_until=NOW - 360)), ["job j has had no sign of life from trainer-7-ab for 6 minutes"]),
        (State().with_job(QUIET), ["job j has waited 7 minutes: is a trainer running?"]),
        (State().with_job(QUIET).with_scale_set(ScaleSet("/x/spot", 1, NOW - 400)), []),
        (State().with_batch(batch("b", NOW - 100)), []),
        (State().with_batch(batch("b", NOW - 400)), ["claim b of ann ran out at 2027-01-15 07:53Z and nobody has released it"]),
        (State().with_upload(LATE), ["1 reviewed uploads are enough to train on, but no job was made of them"]),
        (State().with_upload(replace(LATE, arrived_at=NOW - 200)), []),
        (State().with_upload(replace(LATE, images=("a.jpg",))), []),
        (State().with_upload(LATE).with_job(BUSY), []),
        (State(images_arrived_at=NOW - 305), []),
        (State(images_arrived_at=NOW - 311), ["new images have waited to be listed since"]),
        (State(images_arrived_at=NOW - 311).with_job(BUSY), []),
        (State().with_scale_set(ScaleSet("/x/spot", 1, NOW - 590)), []),
        (State().with_scale_set(ScaleSet("/x/spot", 1, NOW - 780)), ["spot was asked for a machine 13 minutes ago and none has come"]),
        (State().with_scale_set(ScaleSet("/x/spot", trouble="spot: no quota")), ["machines: spot: no quota"]),
    ],
)
def test_what_is_stuck_is_said_and_what_is_not_is_left_alone(current: State, sentences: list[str]) -> None:
    found = list(stuck.found(current, Policy(train_after=2, quiet_seconds=10), 1000, NOW))
    assert len(found) == len(sentences) and all(one.startswith(start) for one, start in zip(found, sentences, strict=True))


def test_a_state_that_has_grown_large_is_said() -> None:
    (sentence,) = stuck.found(State(), Policy(), 3_200_000, NOW)
    assert sentence.startswith("state.json has grown to 3.2 MB") and "policy.train_after" in sentence


def test_a_project_file_that_cannot_be_read_is_shown_with_everything_else() -> None:
    store, _ = shown(State().with_batch(batch("b", NOW + 3600)))
    blob = store.labels.read(layout.PROJECT)
    store.labels.replace(layout.PROJECT, b"classes = [", blob.etag)
    found = overview.overview(store, NOW)
    assert len(found.claims) == 1
    (sentence,) = found.stuck
    assert "project.toml" in sentence and sentence.endswith("; until then nothing is queued")


def test_a_store_without_a_project_is_an_error() -> None:
    with pytest.raises(UserError, match="holds no project yet"):
        overview.overview(open_store("memory:"), NOW)


def test_the_last_event_is_the_newest_of_journal_uploads_and_images() -> None:
    store, found = shown(State())
    assert found.last_event is None
    journal.write(store.labels, "ann", "reviewed", NOW - 3 * 86_400)
    assert overview.overview(store, NOW).last_event == overview.EventShown("reviewed (ann)", journal.utc(NOW - 3 * 86_400), 259_200.0)
    state.update(store.labels, lambda before: replace(before.with_upload(LATE), images_arrived_at=NOW - 200))
    assert "last event new images, 3 min ago" in overview_text.text(overview.overview(store, NOW))


def test_every_poisoned_message_is_told_with_its_reason_where_that_is_known() -> None:
    store, _ = shown(State())
    event = events.blob_created(layout.LABELS, layout.batch_reviewed("b1"), 9, "e", NOW)
    failures.note(store.labels, layout.REVIEWED_QUEUE, failures.about(event), "state.json is damaged", NOW)
    for body in (event, "nonsense", *["more"] * 5):
        store.queues.send(layout.poison_queue(layout.REVIEWED_QUEUE), body)
    found = overview.overview(store, NOW + 7200)
    assert found.poisoned == {layout.REVIEWED_QUEUE: 7} and len(found.poison) == 7
    lines = [line for line in overview_text.text(found).splitlines() if line.startswith("attention")]
    assert lines[0] == (
        "attention  labels/batches/b1/reviewed.csv of reviewed-uploads could not be handled: state.json is damaged (2 h ago); "
        "when that is mended, `activelearning retry` tries again"
    )
    assert "attention  'nonsense' of reviewed-uploads could not be handled: see the log of the functions" in lines[1]
    assert len(lines) == 4 and lines[-1].startswith("attention  4 more of reviewed-uploads could not be handled")


def test_machines_are_shown_with_what_they_have_cost() -> None:
    current = State(machines={"t_1": Machine("t_1", "/x/spot", NOW - 600)}).with_scale_set(ScaleSet("/x/spot", machine_seconds=5400))
    _, found = shown(current)
    assert "machines   1 in the cloud; ran so far 1.5 h of spot" in overview_text.text(found).splitlines()
    assert json.loads(json.dumps(found.as_dict()))["fleet"]["hours"] == [["spot", 1.5]]


def test_a_healthy_project_fits_one_screen() -> None:
    current = State(swept_at=NOW - 60).with_job(BUSY)
    for number in range(60):
        current = current.with_batch(batch(f"b{number:02d}", NOW + 3600))
    _, found = shown(current)
    assert len(overview_text.text(found).splitlines()) <= 30 and not found.stuck


def test_the_reasons_of_failures_stay_few_and_the_last_one_counts() -> None:
    store, _ = shown(State())
    for number in range(300):
        failures.note(store.labels, "q", f"m{number}", "the disk is full", NOW)
    before = store.labels.read(layout.failures("q")).etag
    failures.note(store.labels, "q", "m7", "the disk is full", NOW + 9)
    assert store.labels.read(layout.failures("q")).etag == before, "the same again writes nothing"
    assert len(failures.reasons(store.labels, "q")) == 100
    failures.note(store.labels, "q", "m7", "another", NOW + 9)
    assert failures.reasons(store.labels, "q")["m7"] == "another" and failures.reasons(store.labels, "q")["m8"] == "the disk is full"
    for number in range(50):
        failures.note(store.labels, "q", "m7", f"reason {number}", NOW + 10 + number)
    assert len(json.loads(store.labels.read(layout.failures("q")).content)) <= 20


def test_a_step_that_fails_leaves_its_sentence_and_no_secret() -> None:
    store, _ = shown(State())
    with pytest.raises(UserError):
        steps.take_in_upload(store, "nonsense", NOW)
    (reason,) = failures.reasons(store.labels, layout.REVIEWED_QUEUE).values()
    assert "not JSON" in reason
    with pytest.raises(KeyError), failures.noted(store, "q", "x", NOW):
        raise KeyError("https://x?sig=SECRET")
    assert list(failures.reasons(store.labels, "q").values()) == ["KeyError, see the log of the functions"]
    name = layout.failures("q")
    store.labels.replace(name, b"{", store.labels.read(name).etag)
    failures.note(store.labels, "q", "x", "again", NOW)
    assert failures.reasons(store.labels, "q") == {"x": "again"}


@pytest.mark.parametrize("field", ["precision", "images", "seed", "thresholds"])
def test_a_number_beyond_all_floats_in_the_record_is_one_sentence(field: str) -> None:
    store, _ = accepting(RECORD)
    name = layout.autolabel_record("main/2")
    blob = store.labels.read(name)
    huge = {"cat": -(10**400)} if field == "thresholds" else 10**400
    store.labels.replace(name, json.dumps(json.loads(blob.content) | {field: huge}).encode(), blob.etag)
    found = overview.overview(store, NOW)
    assert found.autolabel is None and found.stuck[0].startswith("autolabelled/main/2.json is damaged (ValueError: ")
    assert len(found.stuck[0]) < 200
