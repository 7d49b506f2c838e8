"""Hundreds of uploads through the worst weather, a kill at every single step, many taggers at once: nothing lost, nothing twice.

And the reckoning itself is tried: on a loop that is broken on purpose it must find fault.
"""

import json
import random
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from activelearning import claims, commits, layout, steps, uploads
from activelearning.commits import Commit
from activelearning.errors import BlobChanged
from activelearning.store import Blobs, open_store
from activelearning.store.memory import MemoryBlobs
from tests.clock import Clock
from tests.core import loops
from tests.faults import stage, taggers
from tests.faults.faulty_store import FaultyBlobs, Killed, Weather, directory_in, memory_in, with_two
from tests.faults.reckoning import Reckoning, reckon
from tests.faults.simulation import Plan, Town, play


def played(plan: Plan, root: Path | None = None) -> Reckoning:
    clock, weather = Clock(), plan.weather()
    return play(directory_in(weather, root, clock) if root else memory_in(weather, clock), weather, clock, plan)


def all_is_well(found: Reckoning, plan: Plan) -> None:
    assert (found.lost, found.twice, found.torn, found.handed_out_twice, found.stuck) == (0, 0, 0, 0, 0)
    assert found.uploads >= plan.uploads
    # the weather was bad indeed
    assert found.kills > 5 and found.rivals and all(found.events.values()) and found.commits > 1


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_or_trained_twice_in_memory(seed: int) -> None:
    plan = Plan(150, seed, kills=(0.002, 0.01)[seed % 2], rivals=0.1)
    all_is_well(played(plan), plan)


@pytest.mark.parametrize("seed", [7, 8])
def test_nothing_is_lost_or_trained_twice_in_a_directory(seed: int, tmp_path: Path) -> None:
    plan = Plan(60, seed, kills=0.01, rivals=0.1, burst=30)
    all_is_well(played(plan, tmp_path), plan)


def one_turn(town: Town) -> None:
    """Two reviews of a batch, of which one's event tells, are taken in, trained on and committed."""
    batch = "b1"
    for version in (1, 2):
        while not uploaded(town, batch, version):
            pass
    deeds: list[Callable[[], Any]] = [town.functions_run, town.timer_ticks, lambda: list(stage.turn(town.store, town.clock, "trainer"))]
    for deed in deeds:
        # Who is killed is gone; the next one comes a while later.
        with suppress(Killed, BlobChanged):
            deed()
        town.clock.later(70)


def uploaded(town: Town, batch: str, version: int) -> bool:
    """Whether an upload is there for sure; a tagger who was cut off tries again."""
    with suppress(Killed):
        if not town.store.labels.exists(layout.batch_reviewed(batch, version)):
            loops.hand_in(town.store, batch, town.open[batch], version, 0.1 * version)
        return True
    return False


def prepared(kill_at: int) -> tuple[Town, int]:
    """A town in which nobody has uploaded yet, and the number of store calls at which somebody dies."""
    weather, clock = Weather(random.Random(0)), Clock()
    town = Town(memory_in(weather, clock), weather, clock, Plan(2, train_after=2, burst=4))
    town.found()
    with weather.calm():
        town.open["b1"] = tuple(c.image for c in claims.claim(town.store.labels, "b1", "ann", 3, claims.Wanted(), clock(), 3)[0].claimed)
    weather.kill_at = kill_at
    one_turn(town)
    return town, weather.counts["chances"]


def test_a_kill_at_any_single_step_of_function_timer_and_trainer_changes_nothing() -> None:
    _, chances = prepared(0)
    assert chances > 120
    for kill_at in range(1, chances + 1):
        town, _ = prepared(kill_at)
        assert town.weather.counts["kills"] == 1
        town.clears_up()
        found = reckon(town, 0.0)
        assert (found.uploads, found.lost, found.twice, found.torn, found.stuck) == (2, 0, 0, 0, 0), kill_at


def test_taggers_as_threads_never_share_an_image() -> None:
    store = open_store("memory:")
    taggers.found(store, 2000)
    shift = taggers.work(store, 12, 2, 1, taggers.threads)
    assert (shift.lost, shift.torn, shift.handed_out_twice) == (0, 0, 0) and shift.claims > 10 and shift.uploads > 10


def test_taggers_as_processes_that_are_killed_never_share_an_image(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    taggers.found(store, 2000)
    shift = taggers.work(store, 6, 2, 2, taggers.processes)
    assert (shift.lost, shift.torn, shift.handed_out_twice) == (0, 0, 0) and shift.claims > 3


def test_a_thousand_new_images_cause_one_job_and_a_handful_of_writes() -> None:
    clock, weather = Clock(), Weather(random.Random(0))
    store = loops.make_project(memory_in(weather, clock))
    for number in range(1000):
        store.images.create(f"cam/{number:04d}.jpg", b"image")
    written: list[str] = []
    real = store.labels.replace
    store.labels.replace = lambda name, content, etag: (written.append(name), real(name, content, etag))[1]  # type: ignore[method-assign]
    town = Town(store, weather, clock, Plan(0))
    for _ in range(70):
        town.functions_run()
        clock.later(0.01)
    assert store.queues.count(layout.NEW_IMAGES_QUEUE) == 0 and len(written) == 1
    clock.later(11)
    for _ in range(5):
        steps.tick(store, clock.later(60))
    assert len(loops.bodies(store, layout.JOBS_QUEUE)) == 1 and len(written) < 8


# What follows breaks the loop on purpose: the reckoning must see it.


def test_a_loop_that_overlooks_second_reviews_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = uploads._waiting
    monkeypatch.setattr(uploads, "_waiting", lambda *a: (i for i in waiting(*a) if layout.version_of_reviewed(i.name) == 1))
    found = played(Plan(60, 1))
    assert found.lost > 0 and found.torn == 0


def test_a_loop_without_a_sweep_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "take_in_lost", lambda blobs: None)
    monkeypatch.setattr(steps.uploads, "take_in", lambda blobs, *batches: None)
    assert played(Plan(40, 1)).lost > 0


def test_a_loop_that_forgets_what_it_was_trained_on_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "has_consumed", lambda blobs, run, upload: False)
    assert played(Plan(100, 1, messages=0.6)).twice > 0


def careless_publication(blobs: Blobs, commit: Commit, parent: int) -> bool:
    blobs.replace(layout.LATEST, json.dumps(asdict(commit)).encode(), blobs.read(layout.LATEST).etag)
    return True


@pytest.mark.parametrize("publish", [commits.publish, careless_publication])
def test_publishing_without_compare_and_swap_is_found_out(publish: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    town, turn = with_a_zombie()
    monkeypatch.setattr(commits, "publish", publish)
    list(turn)
    reviewed(town, "after")
    town.clears_up()
    found = reckon(town, 0.0)
    assert found.uploads == 3 and (found.lost > 0) is (publish is careless_publication)


def with_a_zombie() -> tuple[Town, Iterator[None]]:
    """A trainer that fell asleep right before it published, while others finished its job and another one."""
    weather, clock = Weather(random.Random(0)), Clock()
    town = Town(memory_in(weather, clock), weather, clock, Plan(3, train_after=1, burst=40))
    town.found()
    reviewed(town, "before")
    steps.tick(town.store, clock.later(steps.SWEEP_SECONDS))
    zombie = stage.turn(town.store, clock, "zombie")
    for _ in range(6):
        next(zombie)
    assert town.left_over() and len(weather.published) == 1
    town.settle(2)
    reviewed(town, "meanwhile")
    town.settle(2)
    assert len(weather.published) == 3
    return town, zombie


def reviewed(town: Town, batch: str) -> None:
    claim, _ = claims.claim(town.store.labels, batch, "ann", 1, claims.Wanted(), town.clock(), 3)
    loops.hand_in(town.store, batch, [claim.claimed[0].image])


def test_claims_that_ignore_one_another_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(current: Any) -> Collection[str]:
        return set()

    monkeypatch.setattr(claims, "_with_people", careless)
    assert played(Plan(40, 1, rivals=0.5)).handed_out_twice > 0
    store = open_store("memory:")
    taggers.found(store, 200)
    assert taggers.work(store, 4, 1, 1, taggers.threads).handed_out_twice > 0


def test_a_store_that_shows_half_a_blob_is_found_out() -> None:
    class Tearing(MemoryBlobs):
        def create(self, name: str, content: Any) -> None:
            super().create(name, content.read())
            raise Killed

    weather = Weather(random.Random(1), torn_writes=1.0)
    labels = FaultyBlobs(Tearing(Clock(), lambda *a: None), weather)
    with pytest.raises(Killed):
        labels.create("b1", b"whole")
    assert labels.read("b1").content == b"wh" and weather.counts["torn"] == 1


def test_two_claims_of_an_image_are_counted() -> None:
    shared, other = ["a.jpg", 0, 9], ["b.jpg", 9, 18]
    batches = {"1": {"expires_at": 9, "claimed": [shared, other]}, "2": {"expires_at": 9, "claimed": [shared]}}
    given_back = {"1": batches["1"], "2": {"expires_at": 0, "claimed": [shared]}}
    assert [with_two(json.dumps({"batches": b}).encode()) for b in (batches, given_back)] == [1, 0]
