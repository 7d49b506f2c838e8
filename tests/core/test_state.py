"""`state.json`: what goes in comes out, rivals lose nothing, and damage is one plain sentence."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from tinydb import TinyDB, where

from activelearning import layout, state
from activelearning.errors import BlobChanged, UserError
from activelearning.iterations import Status
from activelearning.state import QUEUED, TRAIN, Batch, Claimed, Iteration, Job, State, StateStorage, Upload
from activelearning.store import Store, open_store

FULL = State(
    3,
    "main/2",
    "totag/main/2.csv",
    4,
    5.5,
    6.5,
    {"b1": Batch("b1", "ann", "totag/main/2.csv", (Claimed('odd "name", ü\ufeff.jpg', 10, 20),), 1.0, 2.0)},
    {"u1": Upload("u1", "b1", ("1.jpg", "2.jpg"), 7.0)},
    {"j1": Job("j1", TRAIN, "main/3", 3, ("u1",), status=QUEUED, queued_at=8.0)},
    {"main/2": Iteration("main/2", Status.COMPLETED, 9.0)},
)


def test_nothing_written_is_an_empty_state(store: Store) -> None:
    assert state.load(store.labels) == State()


def test_a_state_is_read_back_as_it_was_written(store: Store) -> None:
    assert state.update(store.labels, lambda before: FULL) == FULL
    assert state.load(store.labels) == FULL


def test_values_are_put_in_by_their_names_and_the_old_state_stays() -> None:
    other = replace(FULL.batches["b1"], id="b2")
    changed = FULL.with_batch(other).without_batch("b1").without_batch("never there")
    assert (changed.batches, set(FULL.batches)) == ({"b2": other}, {"b1"})


def test_a_change_that_changes_nothing_writes_nothing(store: Store) -> None:
    state.update(store.labels, lambda before: FULL)
    etag = store.labels.read(layout.STATE).etag
    state.update(store.labels, lambda before: replace(before, run=before.run))
    assert store.labels.read(layout.STATE).etag == etag


def test_a_change_that_raises_writes_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        state.update(store.labels, lambda before: replace(before, sequence=1 // 0))
    assert not store.labels.exists(layout.STATE)


def test_no_rival_is_lost(store: Store) -> None:
    def add(number: int) -> None:
        state.update(store.labels, lambda before: before.with_upload(Upload(f"u{number}", "b", (), 0.0)))

    with ThreadPoolExecutor(16) as rivals:
        list(rivals.map(add, range(48)))
    assert len(state.load(store.labels).uploads) == 48


def test_it_is_a_tinydb_document(store: Store) -> None:
    state.update(store.labels, lambda before: FULL)
    with TinyDB(storage=StateStorage, blobs=store.labels) as database:
        (job,) = database.table("jobs").search(where("status") == QUEUED)
        assert job["id"] == "j1"
        database.table("jobs").update({"status": "done"}, where("id") == "j1")
    assert state.load(store.labels).jobs["j1"].status == "done"


def test_a_write_through_tinydb_that_lost_the_race_says_so(store: Store) -> None:
    storage = StateStorage(store.labels)
    tables = storage.read() or {}
    state.update(store.labels, lambda before: FULL)
    with pytest.raises(BlobChanged):
        storage.write(tables)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"\xff",
        b'{"loop": 1}',
        b'{"loop": {"1": {"unknown": 1}}}',
        b'{"batches": {"1": {"id": "b"}}}',
        b'{"jobs": {"1": 4}}',
    ],
)
def test_damage_is_one_plain_sentence(content: bytes) -> None:
    blobs = open_store("memory:").labels
    blobs.create(layout.STATE, content)
    for read in (state.load, lambda labels: state.update(labels, lambda before: before)):
        with pytest.raises(UserError, match=r"^state\.json is damaged \([^\n]+\): put an older copy in its place, or move it away"):
            read(blobs)


def test_an_unknown_status_of_an_iteration_is_damage_too() -> None:
    blobs = open_store("memory:").labels
    tables = {"iterations": {"1": {"run": "main/1", "status": "DREAMING", "updated_at": 0}}}
    blobs.create(layout.STATE, json.dumps(tables).encode())
    with pytest.raises(UserError, match="DREAMING"):
        state.load(blobs)


def test_a_number_too_large_for_a_float_is_damage_like_any_other() -> None:
    with pytest.raises(UserError, match=r"^x\.json is damaged \(OverflowError: .*\): delete it"), state.intact("x.json", "delete it"):
        float(10**400)
