"""How the pool is divided and taken up again: turns whose model is there already, direct calls, kills, and settings that change between."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from activelearning import autolabels, claims, commits, decisions, layout, state, steps, table
from activelearning.claims import Wanted
from activelearning.errors import UserError
from activelearning.labels import Box, ImageLabels, Review
from activelearning.settings import Selection
from activelearning.store import Store, open_store
from tests.trainer import autolabel_loops as project
from tests.trainer import loops
from tests.trainer.autolabel_loops import ASKED, ODD, POOL, SETTINGS, accepted, current, listed, turned, work_on
from tests.trainer.loops import World
from trainer import accepting, pinned_pool, totag
from trainer.accepting import Accepted
from trainer.work import read_onnx


def test_a_turn_settles_what_is_proved_and_lists_the_rest_with_the_audits() -> None:
    world = turned()
    commit, record = current(world.store)
    settled, audits = accepted(world.store)
    assert len(settled) > 9 and audits and (record.images, record.audits) == (len(settled | audits), len(audits))
    assert set(listed(world.store)) == {*map(loops.name, POOL), ODD} - settled
    assert record.examine == len(listed(world.store)) - len(audits)
    assert (commit.autolabelled, record.run, commit.predicted) == ("main/1", "main/1", commit.job)
    found = list(autolabels.labels(world.store.labels, commit.autolabelled))
    assert {box.source for labels in found for box in labels.boxes} == {"pseudo@main/1"}
    assert all(labels.review is Review.UNOPENED and labels.content_hash for labels in found)
    assert sum(len(labels.boxes) for labels in found) == record.boxes
    sure = record.thresholds
    assert all((box.confidence or 0) >= sure[box.label] for labels in found for box in labels.boxes)
    assert any("images accepted without a look" in line for line in world.told)


def test_of_what_is_handed_out_only_audits_are_accepted() -> None:
    world = turned()
    _, audits = accepted(world.store)
    batch, _ = claims.claim(world.store.labels, "b", "ann", 50, Wanted(), world.clock(), 1)
    assert {claimed.image for claimed in batch.claimed} == set(listed(world.store)) > audits


def test_one_audit_stands_in_every_tenth_place_while_there_are_others() -> None:
    store = open_store("memory:")
    names = [f"{number:03d}.jpg" for number in range(40)]
    pool = [ImageLabels(name, 9, 9, (Box("square", 0, 0, 1, 1, 0.01 * n + 0.1, "model"),)) for n, name in enumerate(names)]
    audits = ("039.jpg", "017.jpg", "038.jpg", "037.jpg", "gone.jpg")
    totag.write(store.labels, "t", pool, Selection("least-confidence", random_share=0.0), audits)
    found = loops.listed(store, "t")
    assert [found.index(audit) for audit in audits[:4]] == [9, 19, 29, 39]
    assert [name for name in found if name not in audits] == [name for name in names if name not in audits]
    totag.write(store.labels, "few", pool[36:], Selection("least-confidence", random_share=0.0), audits)
    assert loops.listed(store, "few") == ["036.jpg", "039.jpg", "038.jpg", "037.jpg"]


def test_audits_come_in_the_order_of_their_draw_so_that_the_first_are_a_random_share_too() -> None:
    world = turned(settings=replace(SETTINGS, autolabel=replace(ASKED, audit_share=1.0)))
    settled, audits = accepted(world.store)
    drawn = [image for image in listed(world.store) if image in audits]
    assert not settled and len(drawn) > 20 and drawn == sorted(drawn, key=lambda image: autolabels.draw(image, 0)) != sorted(drawn)


def test_a_prediction_of_new_images_neither_lists_settled_ones_nor_loses_them() -> None:
    world = turned()
    before, (settled, audits) = listed(world.store), accepted(world.store)
    world.store.images.create("new/1.png", loops.png(70))
    world.settle()
    commit, _ = current(world.store)
    assert commit.sequence == 2 and commit.autolabelled == "main/1" and commit.predicted == training_job(world)
    assert accepted(world.store) == (settled, audits) and set(listed(world.store)) == {*before, "new/1.png"}
    others = len(before) + 1 - len(audits)
    assert next(place for place, image in enumerate(listed(world.store)) if image in audits) == min(others, 9)


def test_a_folder_predicted_with_another_threshold_is_no_longer_predicted_alike() -> None:
    world = turned()
    predict(world, folder="cam-0", min_confidence=0.3)
    commit, _ = current(world.store)
    assert commit.predicted == "" and commit.autolabelled == "main/1" and set(listed(world.store)).isdisjoint(accepted(world.store)[0])


def test_switched_off_the_accepted_images_go_back_to_the_pool() -> None:
    world = turned()
    project.change_settings(world.store, replace(SETTINGS, autolabel=replace(ASKED, precision=0.0)))
    predict(world)
    commit = commits.latest(world.store.labels)
    assert commit is not None and commit.autolabelled == ""
    assert set(listed(world.store)) == {*map(loops.name, POOL), ODD}
    assert commit.predicted == training_job(world), "predicted again with the same model and settings"


def predict(world: World, folder: str = "", min_confidence: float = -1.0) -> None:
    """What `trainer predict` does."""
    job = decisions.prediction_job(state.load(world.store.labels), world.clock(), "", folder, min_confidence)
    state.update(world.store.labels, lambda before: before.with_job(job))
    steps.send_job(world.store, job.id)
    world.trainer(world.store).drain()


def training_job(world: World) -> str:
    """The job that trained."""
    (job,) = (job.id for job in state.load(world.store.labels).jobs.values() if job.kind == state.TRAIN)
    return job


def test_whoever_is_killed_in_between_goes_on_to_the_same_division() -> None:
    whole = turned()
    names = [layout.autolabel_record("main/1"), layout.autolabelled("main/1"), layout.totag("main/1")]
    expected = [whole.store.labels.read(name).content for name in names]
    world = project.begun()
    steps.sweep(world.store, world.clock.later(1000))
    steps.advance(world.store, world.clock())
    for name, after in ((names[0], False), (names[0], True), (names[1], True), (names[2], True)):
        steps.tick(world.store, world.clock())
        mortal = Store("memory:", world.store.images, Mortal(world.store.labels, name, after), world.store.queues)  # type: ignore[arg-type]
        with pytest.raises(Killed):
            world.trainer(mortal).drain()
        world.clock.later(120)
    world.settle()
    assert [world.store.labels.read(name).content for name in names] == expected
    assert sum("AP50" in line for line in world.told) == 1, "what was finished is not done again"


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """Real blobs whose process is killed right before or right after it creates one blob."""

    def __init__(self, blobs: object, name: str, after: bool):
        self._blobs, self._name, self._after = blobs, name, after

    def __getattr__(self, method: str) -> object:
        return getattr(self._blobs, method)

    def create(self, name: str, content: object) -> None:
        if name == self._name and not self._after:
            raise Killed
        self._blobs.create(name, content)  # type: ignore[attr-defined]
        if name == self._name:
            raise Killed


def test_the_decision_of_an_earlier_attempt_stands_whatever_is_asked_now() -> None:
    world = turned()
    division = divide_again(world, replace(SETTINGS, autolabel=replace(ASKED, precision=0.99, audit_share=0.5, seed=7)))
    assert (division.settled, set(division.audits)) == accepted(world.store)


def test_of_two_trainers_the_first_ones_decision_stands() -> None:
    world = turned()
    rival = replace(current(world.store)[1], thresholds={"bar": 0.7})
    name = layout.autolabel_record("main/2")
    images = pool_of(world)

    def meanwhile() -> list[ImageLabels]:
        if not world.store.labels.exists(name):
            autolabels.create(world.store.labels, "main/2", rival)
        return images

    record = autolabels.create(open_store("memory:").labels, "x", current(world.store)[1])
    division = accepting._written(work_on(world), "main/2", record, meanwhile)
    only_bars = {labels.image for labels in images if rival.accepts(labels)}
    assert division.settled | set(division.audits) == only_bars < accepted(world.store)[0] | accepted(world.store)[1]
    assert {labels.image for labels in autolabels.labels(world.store.labels, "main/2")} == only_bars


def pool_of(world: World) -> list[ImageLabels]:
    """The whole pool as it was predicted."""
    commit, _ = current(world.store)
    rows = table.read_labels(world.store.labels.read(commit.totag).content.decode(), "").images
    known = {labels.image for labels in rows}
    return [*rows, *(autolabels.as_predicted(a) for a in autolabels.predictions(world.store.labels, "main/1") if a.image not in known)]


def divide_again(
    world: World, settings: project.Settings, name: str = "main/1", evidence: tuple[ImageLabels, ...] = ()
) -> accepting.Division:
    pool = pinned_pool.pinned(world.store.labels, training_job(world))
    assert pool is not None
    onnx = read_onnx(world.store, "main/1")
    return accepting.divide(work_on(world, settings), onnx, pool.recipe, evidence, lambda: pool_of(world), name, Accepted())


def test_the_same_labels_and_predictions_give_the_same_division() -> None:
    world = turned()
    division = divide_again(world, SETTINGS, "main/9", tuple(project.truths(project.TEST)))
    assert (division.settled, set(division.audits)) == accepted(world.store)


def test_images_that_the_model_was_trained_on_prove_nothing() -> None:
    world = turned()
    division = divide_again(world, SETTINGS, "main/9", tuple(project.truths(project.LEARNED) * 9))
    assert division.settled == frozenset() and division.audits == ()


def test_without_a_test_split_nothing_is_accepted_and_it_is_said_what_is_needed() -> None:
    world = turned()
    division = divide_again(world, SETTINGS, "main/9")
    record = autolabels.read(world.store.labels, "main/9")
    assert record is not None and (record.images, record.thresholds, division.settled) == (0, {}, frozenset())
    assert record.rules[0] == "square: not enough evidence: about 11 more reviewed boxes of class square needed"


def test_other_classes_than_the_models_accept_nothing() -> None:
    world = turned()
    settings = replace(SETTINGS, classes=("square", "bar", "disc"))
    assert divide_again(world, settings, "main/9") == accepting.Division()
    assert "names other classes" in world.told[-1]


@pytest.mark.parametrize("change", [lambda found: "[]", lambda found: "", lambda found: json.dumps(found | {"audit": {"boxes": 1}})])
def test_a_damaged_record_is_one_plain_sentence(change: Callable[[dict[str, object]], str]) -> None:
    world = turned()
    name = layout.autolabel_record("main/1")
    blob = world.store.labels.read(name)
    world.store.labels.replace(name, change(json.loads(blob.content)).encode(), blob.etag)
    with pytest.raises(UserError, match=r"autolabelled/main/1\.json is damaged .*delete it, and the images in it go back to the pool"):
        autolabels.read(world.store.labels, "main/1")


def test_a_record_of_a_later_version_is_read() -> None:
    world = turned()
    name = layout.autolabel_record("main/1")
    blob = world.store.labels.read(name)
    before = current(world.store)[1]
    world.store.labels.replace(name, json.dumps(json.loads(blob.content) | {"novelty": 1}).encode(), blob.etag)
    assert current(world.store)[1] == before
