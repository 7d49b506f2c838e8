"""From a training to corrected labels and the next training: real training on drawn scenes, the real tagger, the memory store."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from activelearning import commits, labelled, layout, suspicions, table
from activelearning.labels import Box, ImageLabels, Review
from activelearning.settings import Settings
from activelearning.state import TRAIN, Job
from activelearning.store import Store, open_store
from activelearning.suspicions import Suspicion
from tagger_client import cli
from tests.clock import Clock
from tests.trainer import loops, scenes
from tests.trainer.loops import SETTINGS, World, hand_in, name, truth
from trainer import label_review
from trainer.work import Work


@pytest.fixture
def told() -> list[str]:
    """What the trainer says."""
    return []


CLASSES = SETTINGS.classes


def doubtful(store: Store, run: str = "main/1") -> tuple[ImageLabels, ...]:
    return table.read_labels(store.labels.read(layout.review(run)).content.decode(), run).images


def checked(images: list[ImageLabels], told: list[str], settings: Settings = SETTINGS) -> Store:
    """The list of doubtful labels that a model which knows the scenes writes."""
    clock = Clock()
    store = open_store("memory:", clock)
    loops.make(store, clock, 8, settings)
    write(store, images, told, settings)
    return store


def write(store: Store, images: list[ImageLabels], told: list[str], settings: Settings = SETTINGS) -> None:
    job = Job("train-1", TRAIN, "main/1", 0)
    label_review.write(Work(store, settings, job, told.append, Clock()), scenes.onnx(), images)


def suspected(store: Store) -> dict[str, list[Suspicion]]:
    images = [labels.image for labels in doubtful(store)]
    return suspicions.read(store.labels, layout.suspicions(layout.review("main/1")), images)


def labels_of(seed: int, *boxes: Box) -> ImageLabels:
    return replace(truth(seed, name(seed)), boxes=boxes)


def rounded(box: Box) -> Box:
    return Box(box.label, *(round(corner, 6) for corner in box.xyxy))


def test_images_with_errors_come_first_each_with_what_is_wrong(told: list[str]) -> None:
    images = [truth(seed, name(seed)) for seed in range(8)]
    first, *others = images[5].boxes
    swapped = replace(first, label=next(label for label in CLASSES if label != first.label))
    images[1] = labels_of(1, *images[1].boxes[1:])
    images[3] = labels_of(3)
    images[5] = labels_of(5, swapped, *others)
    store = checked(images, told)
    listed = doubtful(store)
    assert [labels.image for labels in listed[:3]] == [name(5), name(3), name(1)]
    # the labels as they are, waiting to be opened, with why they come where they do
    assert {one.image: replace(one, acquisition_score=None, chosen_for="") for one in listed} == {
        one.image: replace(one, review=Review.UNOPENED) for one in images
    }
    assert listed[0].chosen_for == f"{listed[0].acquisition_score:.1f} label errors expected"
    found = suspected(store)
    assert [(one.kind, one.box, one.seen_as) for one in found[name(5)]] == [("swapped", rounded(swapped), first.label)]
    assert {one.kind for seed in (1, 3) for one in found[name(seed)]} == {"missed"}
    assert len(found[name(1)]) == 1 and not any(found[name(seed)] for seed in (0, 2, 4, 6, 7))
    assert told[-1].endswith("label errors expected in 8 images: review/main/1.csv")


def test_the_list_of_an_earlier_attempt_stands(told: list[str]) -> None:
    images = [truth(seed, name(seed)) for seed in range(3)]
    store = checked(images, told)
    before = store.labels.read(layout.review("main/1"))
    write(store, images[:1], told)
    assert store.labels.read(layout.review("main/1")) == before
    # killed between the two blobs
    alone = open_store("memory:")
    loops.make(alone, Clock(), 8)
    alone.labels.create(layout.suspicions(layout.review("main/1")), b"of the first attempt")
    write(alone, images, told)
    assert alone.labels.read(layout.review("main/1")).content == before.content
    assert alone.labels.read(layout.suspicions(layout.review("main/1"))).content == b"of the first attempt"


def test_the_list_is_not_written_where_nobody_wants_it(told: list[str]) -> None:
    store = checked([truth(0, name(0))], told, replace(SETTINGS, policy=replace(SETTINGS.policy, review=False)))
    assert not list(store.labels.list("review/")) and not told


def test_labels_that_cannot_be_checked_are_reported_and_left_out(told: list[str]) -> None:
    strange = labels_of(0, Box("unknown", 0.1, 0.1, 0.5, 0.5))
    replaced = replace(truth(1, name(1)), content_hash="0" * 64)
    store = checked([strange, truth(9, "cam-9/gone.png"), replaced, truth(2, name(2))], told)
    assert [labels.image for labels in doubtful(store)] == [name(2)]
    warnings = [line for line in told if line.endswith("its labels are not checked")]
    assert len(warnings) == 3 and "there is no blob" in warnings[1]
    assert "'unknown' is not in project.toml" in warnings[0] and "replaced after it was reviewed" in warnings[2]


def test_a_correction_becomes_a_new_version_and_the_old_one_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    world = World(open_store(f"memory:{tmp_path.name}", clock), clock)
    loops.make(world.store, clock, 8)
    first = hand_in(world.store, "b1", range(6))
    world.settle()
    test = {labels.image for labels in labelled.read(world.store.labels, layout.TEST).images}
    before = world.store.labels.read(first).content
    folder = tmp_path / "again"
    assert cli.main(["download", "9", "--review", "--store", world.store.url, "--to", str(folder), "--as", "eve"]) == 0
    assert f"what the model doubts in each is in {folder / 'suspicions.csv'}" in capsys.readouterr().out
    order = [labels.image for labels in doubtful(world.store, "main/1")]
    files = {one["image"]: one["file"] for one in json.loads((folder / "batch.json").read_text())["images"]}
    assert list(files) == order and set(test) < set(files)
    with (folder / "suspicions.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {row["file"] for row in rows} <= set(files.values())

    corrected = {order[0], *test}
    _leave_one_box(folder / "images.json", {files[image] for image in corrected})
    assert cli.main(["upload", str(folder)]) == 0
    world.settle()

    commit = commits.latest(world.store.labels)
    assert commit is not None and commit.run == "main/2"
    now = {labels.image: labels for labels in labelled.read(world.store.labels, commit.tagged).images}
    split = {labels.image: labels for labels in labelled.read(world.store.labels, layout.TEST).images}
    assert set(split) >= test and all(len(split[image].boxes) == 1 for image in test)
    assert all(len(now[image].boxes) == (1 if image in corrected else len(truth(seed, image).boxes)) for seed, image in _named(6))
    assert world.store.labels.read(first).content == before
    assert test.isdisjoint(world.store.labels.read(layout.trained_images("main/2")).content.decode().split("\n"))
    upload = next(info.name for info in world.store.labels.list("batches/") if info.name.endswith("reviewed.csv") and info.name != first)
    assert loops.trained_on(world.store, "main/2") == [upload]
    world.settle()
    assert commits.latest(world.store.labels) == commit
    assert {labels.image: len(labels.boxes) for labels in doubtful(world.store, "main/2")} == {i: len(now[i].boxes) for i in now}


def _named(count: int) -> list[tuple[int, str]]:
    return [(seed, name(seed)) for seed in range(count)]


def _leave_one_box(path: Path, files: set[str]) -> None:
    """What a person does in VoTT: opens the images, and leaves one new box in each."""
    saved = json.loads(path.read_text())
    saved.pop("drafts", None)
    for file in files:
        corners = {"x1": 2, "y1": 2, "x2": 40, "y2": 30}
        box = {**corners, "width": 128, "height": 96, "box": corners, "type": "rect", "tags": ["square"], "id": 1, "UID": "1", "name": 1}
        saved["frames"][file] = [box]
    saved["visitedFrames"] = sorted(files)
    path.write_text(json.dumps(saved))
