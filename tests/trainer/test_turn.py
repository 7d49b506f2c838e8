"""Whole turns of the loop on drawn scenes: real training, export, evaluation, prediction, on the memory and directory stores."""

import csv
import json
import threading
from pathlib import Path

import pytest

from activelearning import claims, commits, decisions, handouts, journal, layout, state, steps, table
from activelearning.claims import Wanted
from activelearning.iterations import Status
from activelearning.state import FAILED
from activelearning.store import Store, open_store
from tests.clock import Clock
from tests.trainer import loops
from tests.trainer.loops import World, hand_in, listed, name


@pytest.fixture
def world() -> World:
    clock = Clock()
    store = open_store("memory:", clock)
    loops.make(store, clock)
    return World(store, clock)


def test_a_turn_from_images_to_a_fresh_totag(world: World) -> None:
    world.settle()
    first = commits.latest(world.store.labels)
    assert first is not None and first.model == "" and sorted(listed(world.store, first.totag)) == sorted(map(name, range(12)))

    hand_in(world.store, "b1", range(4))
    world.settle()
    commit = commits.latest(world.store.labels)
    assert commit is not None and (commit.run, commit.model, commit.totag) == ("main/1", "main/1", "totag/main/1.csv")
    tagged = table.read_labels(world.store.labels.read(commit.tagged).content.decode(), "tagged").images
    assert {labels.image for labels in tagged} == set(map(name, range(4)))
    assert set(listed(world.store, commit.totag)) == set(map(name, range(4, 12)))
    assert state.load(world.store.labels).iterations["main/1"].status is Status.COMPLETED

    rows = list(csv.DictReader(world.store.labels.read(layout.PERFORMANCE).content.decode().splitlines()))
    assert {"ap", "ap50", "ap75", "voc_ap50"} <= {row["metric"] for row in rows}
    assert {row["class"] for row in rows} == {"all", "square", "bar"}
    assert "nan" not in world.store.labels.read(layout.PERFORMANCE).content.decode().lower()

    card = json.loads(world.store.labels.read("models/main/1/model.json").content)
    assert card["labelled_images"] == 3 and card["test_images"] == 1 and card["uploads"] == [layout.batch_reviewed("b1")]


def test_totag_comes_in_order_of_its_scores_with_reasons_and_drafts(world: World) -> None:
    hand_in(world.store, "b1", range(4))
    world.settle()
    commit = commits.latest(world.store.labels)
    assert commit is not None
    images = table.read_labels(world.store.labels.read(commit.totag).content.decode(), "totag").images
    assert {labels.chosen_for.partition(",")[0] for labels in images} <= {"gain-per-second", "by lot"}
    scores = [labels.acquisition_score for labels in images if labels.chosen_for != "by lot"]
    assert scores and None not in scores and scores == sorted(scores, reverse=True)
    boxes = [box for labels in images for box in labels.boxes]
    known = {"entropy", "margin", "total", "mutual_information"}
    assert boxes and all(box.source == "model" and {key for key, _ in box.measures} >= known for box in boxes)


def test_a_second_turn_starts_from_the_first_model_and_trains_on_everything(world: World) -> None:
    hand_in(world.store, "b1", range(4))
    world.settle()
    hand_in(world.store, "b2", range(4, 8))
    world.settle()
    commit = commits.latest(world.store.labels)
    assert commit is not None and commit.run == "main/2"
    assert any("all weights of the last model were taken over" in line for line in world.told)
    assert loops.trained_on(world.store, "main/1") == [layout.batch_reviewed("b1")]
    assert loops.trained_on(world.store, "main/2") == [layout.batch_reviewed("b2")]
    assert commits.consumed(world.store.labels, "main/2") == {layout.batch_reviewed("b1"), layout.batch_reviewed("b2")}
    assert state.load(world.store.labels).uploads == {}


def test_what_the_model_was_trained_on_never_joins_the_test_split(world: World) -> None:
    hand_in(world.store, "b1", range(4))
    world.settle()
    first = set(world.store.labels.read(layout.trained_images("main/1")).content.decode().split("\n"))
    hand_in(world.store, "b2", range(4, 12))
    world.settle()
    test = table.read_labels(world.store.labels.read(layout.TEST).content.decode(), "test").images
    assert len(test) == 3 and first.isdisjoint(labels.image for labels in test)


def test_new_images_are_predicted_once_and_merged_into_the_order(world: World) -> None:
    hand_in(world.store, "b1", range(4))
    world.settle()
    for seed in (20, 21):
        world.store.images.create(name(seed), loops.png(seed))
    world.settle()
    commit = commits.latest(world.store.labels)
    assert commit is not None and commit.run == "main/1" and commit.sequence == 2
    assert set(listed(world.store, commit.totag)) == {*map(name, range(4, 12)), name(20), name(21)}
    world.settle()
    assert commits.latest(world.store.labels) == commit


def test_corrupt_images_are_reported_and_skipped(world: World) -> None:
    world.store.images.create("cam-0/broken.png", loops.png(30)[:200])
    world.store.images.create("cam-0/text.jpg", b"this is no picture")
    hand_in(world.store, "b1", range(4))
    world.settle()
    commit = commits.latest(world.store.labels)
    assert commit is not None and commit.unreadable_images == 2
    assert {"cam-0/broken.png", "cam-0/text.jpg"}.isdisjoint(listed(world.store, commit.totag))
    left_out = [problem for entry in journal.read(world.store.labels) if entry["what"] == "left out" for problem in entry["problems"]]
    assert sum("broken.png" in problem for problem in left_out) == sum("text.jpg" in problem for problem in left_out) == 1


def test_a_labelled_image_that_is_gone_or_replaced_is_left_out_of_training(world: World) -> None:
    labels = [loops.truth(seed, name(seed)) for seed in range(3)]
    replaced = [table.merge(loops.truth(9, "cam-9/gone.png"), loops.truth(9, "cam-9/gone.png"))]
    world.store.labels.create(layout.batch_reviewed("b1"), table.table_bytes([*labels, *replaced]))
    world.settle()
    assert any("cam-9/gone.png" in line and "gone from the container" in line for line in world.told)
    assert commits.latest(world.store.labels) is not None


def test_a_job_that_cannot_be_done_fails_with_its_reason_and_new_work_goes_on(world: World) -> None:
    world.store.labels.create(layout.batch_reviewed("b1"), table.table_bytes([loops.truth(1, "cam-9/gone.png")]))
    world.settle()
    failed = [job for job in state.load(world.store.labels).jobs.values() if job.status == FAILED]
    assert len(failed) == 1 and "no labelled image" in failed[0].reason
    hand_in(world.store, "b2", range(4))
    world.settle()
    assert loops.trained_on(world.store, "main/2") == [layout.batch_reviewed("b1"), layout.batch_reviewed("b2")]


def test_other_classes_keep_what_still_fits(world: World) -> None:
    hand_in(world.store, "b1", range(4))
    world.settle()
    etag = world.store.labels.read(layout.PROJECT).etag
    text = loops.project_file.render_project(loops.with_classes(("square", "bar", "disc")))
    world.store.labels.replace(layout.PROJECT, text.encode(), etag)
    hand_in(world.store, "b2", range(4, 8))
    world.settle()
    assert any("all weights but the class layer's" in line for line in world.told)
    assert json.loads(world.store.labels.read("models/main/2/model.json").content)["classes"] == ["square", "bar", "disc"]


def test_claims_outlive_a_new_totag(world: World) -> None:
    world.settle()
    held, _ = claims.claim(world.store.labels, "mine", "me", 3, Wanted(), world.clock(), 3)
    hand_in(world.store, "b1", [seed for seed in range(12) if name(seed) not in {c.image for c in held.claimed}][:4])
    world.settle()
    others, _ = claims.claim(world.store.labels, "others", "you", 12, Wanted(), world.clock(), 3)
    assert len(others.claimed) == 5 and {c.image for c in others.claimed}.isdisjoint(c.image for c in held.claimed)


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """Real blobs whose process is killed right before or right after its n-th write."""

    def __init__(self, blobs: object, left: int, after: bool):
        self._blobs, self.left, self._after = blobs, left, after

    def __getattr__(self, method: str) -> object:
        return getattr(self._blobs, method)

    def create(self, *arguments: object) -> object:
        return self._write("create", *arguments)

    def replace(self, *arguments: object) -> object:
        return self._write("replace", *arguments)

    def _write(self, method: str, *arguments: object) -> object:
        # The heartbeat's thread renews the lease when it likes; what is counted is the work.
        self.left -= threading.current_thread() is threading.main_thread()
        if self.left < 0 and not self._after:
            raise Killed
        written = getattr(self._blobs, method)(*arguments)
        if self.left < 0:
            raise Killed
        return written


@pytest.mark.parametrize("after", [False, True], ids=["before-each-write", "after-each-write"])
def test_a_trainer_killed_around_every_write_ends_in_the_same_state(tmp_path: Path, after: bool) -> None:
    undisturbed = _turn_in("memory:", None)
    killed = _turn_in(str(tmp_path), after)
    assert killed == undisturbed


def _turn_in(url: str, after: bool | None) -> dict[str, bytes]:
    clock = Clock()
    store = open_store(url, clock)
    world = World(store, clock)
    loops.make(store, clock, images=8)
    world.settle()
    hand_in(store, "b1", range(4))
    if after is not None:
        _work_under_fire(world, after)
    world.settle()
    assert len([entry for entry in journal.read(store.labels) if entry["what"] == "committed" and entry["run"] == "main/1"]) <= 1
    names = ("tagged/main/1.csv", "totag/main/1.csv", layout.TEST, layout.trained_images("main/1"), layout.uploads("main/1"))
    figures = list(csv.DictReader(store.labels.read(layout.PERFORMANCE).content.decode().splitlines()))
    stripped = json.dumps([{key: value for key, value in row.items() if key != "at"} for row in figures]).encode()
    return {each: store.labels.read(each).content for each in names} | {"performance": stripped}


def _work_under_fire(world: World, after: bool) -> None:
    """Kill trainer after trainer, each at its next write but `patience`, until the turn is committed all the same."""
    for patience in range(1, 60):
        world.clock.later(120)
        mortal = Store(world.store.url, world.store.images, Mortal(world.store.labels, patience, after), world.store.queues)  # type: ignore[arg-type]
        try:
            loops.steps.tick(world.store, world.clock())
            world.trainer(mortal).drain()
        except Killed:
            continue
        commit = commits.latest(world.store.labels)
        if commit and commit.run == "main/1":
            return
    raise AssertionError("never committed")


def test_a_prediction_with_an_older_model_says_whose_drafts_are_listed(world: World) -> None:
    blobs = world.store.labels
    for batch, seeds in (("b1", range(4)), ("b2", range(4, 8))):
        hand_in(world.store, batch, seeds)
        world.settle()
    assert _model_and_drafts(world) == ("main/2", "main/2")
    _predict(world, "main/1")
    assert _model_and_drafts(world) == ("main/2", "main/1") and handouts.offer(blobs).model == "main/1"
    # what the current model says of a new image is listed beside what the older one says of all others
    world.store.images.create(name(20), loops.png(20))
    world.settle()
    assert _model_and_drafts(world) == ("main/2", "") and handouts.offer(blobs).model == ""
    _predict(world, "main/2")
    world.store.images.create(name(21), loops.png(21))
    world.settle()
    assert _model_and_drafts(world) == ("main/2", "main/2") and name(21) in listed(world.store, handouts.offer(blobs).totag)


def _model_and_drafts(world: World) -> tuple[str, str]:
    commit = commits.latest(world.store.labels)
    assert commit is not None
    return commit.model, commit.drafts_of


def _predict(world: World, model: str) -> None:
    """As `trainer predict --model` does."""
    job = decisions.prediction_job(state.load(world.store.labels), world.clock(), model)
    state.update(world.store.labels, lambda before: before.with_job(job))
    steps.send_job(world.store, job.id)
    assert world.trainer(world.store).drain() == 1
