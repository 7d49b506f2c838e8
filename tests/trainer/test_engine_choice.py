"""Smaller numbers are used where they were proved to find as much, and then by everybody."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from activelearning import commits, layout, table
from activelearning.errors import UserError
from activelearning.labels import ImageLabels
from activelearning.settings import Autolabel, Prediction, Settings
from activelearning.state import Job
from activelearning.store import Store, open_store
from tests.clock import Clock
from tests.trainer import loops, scenes
from tests.trainer.loops import SETTINGS, World, hand_in
from trainer import engine_choice, engine_record
from trainer.engine import CPU, CUDA
from trainer.engine_record import FLOAT16, FLOAT32, INT8, Choice
from trainer.predictor import Predicted, Predictor
from trainer.work import Work, read_onnx

IN_INT8 = replace(SETTINGS, prediction=Prediction(min_confidence=0.3, numbers="int8"))


@pytest.mark.parametrize(
    ("asked", "provider", "fast", "large", "numbers"),
    [
        ("auto", CUDA, False, False, FLOAT16),
        ("auto", CPU, True, True, INT8),
        ("auto", CPU, True, False, FLOAT32),
        ("auto", CPU, False, True, FLOAT32),
        ("int8", CPU, False, False, INT8),
        ("float32", CUDA, True, True, FLOAT32),
        ("float16", CPU, True, True, FLOAT16),
    ],
)
def test_what_is_tried_depends_on_the_machine_only_where_nobody_says(
    asked: str, provider: str, fast: bool, large: bool, numbers: str
) -> None:
    assert engine_choice.candidate(asked, provider, fast, large) == numbers


@pytest.mark.parametrize(
    ("before", "after", "worth"), [(0.6, 0.595, True), (0.6, 0.594, False), (0.6, 0.7, True), (None, 0.6, False), (0.6, None, False)]
)
def test_half_a_point_of_ap_is_the_most_that_smaller_numbers_may_cost(before: float | None, after: float | None, worth: bool) -> None:
    assert engine_choice.is_worth(before, after) is worth


def make(settings: Settings = IN_INT8) -> tuple[Work, list[str], list[ImageLabels]]:
    """A run whose model finds what is in the scenes, and the scenes with their labels."""
    clock, told = Clock(), list[str]()
    store = open_store("memory:", clock)
    loops.make(store, clock, 8, settings)
    return Work(store, settings, Job("train-1", "train", "main/1", 0), told.append, clock), told, _labels()


def _labels() -> list[ImageLabels]:
    return [loops.truth(seed, loops.name(seed)) for seed in range(8)]


def test_a_model_of_bytes_is_used_where_it_finds_as_much_and_stays_the_choice() -> None:
    work, told, labels = make()
    work.store.labels.create(layout.model("main/1", "model.onnx"), scenes.onnx())
    settled = engine_choice.settle(work, scenes.onnx(), labels, labels)
    choice = engine_record.read(work.store.labels, "main/1")
    assert choice is not None and choice.numbers == INT8 and choice.images == 8 and choice.split == "test split"
    assert choice.ap_float32 is not None and choice.ap_smaller is not None and choice.ap_smaller >= choice.ap_float32 - 0.005
    assert settled == work.store.labels.read("models/main/1/model-int8.onnx").content == read_onnx(work.store, "main/1") != scenes.onnx()
    assert told == [choice.reason] and f"AP {choice.ap_float32:.4f} and {choice.ap_smaller:.4f} on 8 images" in told[0]
    # nothing is chosen twice, whatever the settings say by then
    again = replace(work, settings=replace(IN_INT8, prediction=Prediction(numbers="float32")))
    assert engine_choice.settle(again, scenes.onnx(), labels, labels) == settled and len(told) == 1


def test_a_model_of_bytes_that_finds_less_is_not_used() -> None:
    work, told, labels = make()
    work.store.labels.create(layout.model("main/1", "model.onnx"), scenes.onnx())
    black = io.BytesIO()
    Image.new("RGB", scenes.SIZE).save(black, "PNG")
    work.store.images.create("black.png", black.getvalue())
    # ranges that were learned from nothing but black fit no scene
    settled = engine_choice.settle(work, scenes.onnx(), [ImageLabels("black.png")], labels)
    choice = engine_record.read(work.store.labels, "main/1")
    assert settled == scenes.onnx() == read_onnx(work.store, "main/1")
    assert choice is not None and choice.numbers == FLOAT32 and "int8 costs too much" in told[0]
    assert choice.ap_smaller is not None and choice.ap_float32 is not None and choice.ap_smaller < choice.ap_float32 - 0.005


def test_a_model_that_cannot_be_converted_predicts_as_it_was_trained_and_it_is_said() -> None:
    work, told, labels = make()
    work.store.labels.create(layout.model("main/1", "model.onnx"), scenes.onnx())
    assert engine_choice.settle(work, scenes.onnx(), [], labels) == scenes.onnx()
    assert "it could not be made int8" in told[0]


def test_the_images_of_a_proof_do_not_choose_the_model_it_is_about() -> None:
    work, _, labels = make(replace(IN_INT8, prediction=Prediction(numbers="float16"), autolabel=Autolabel(precision=0.9)))
    work.store.labels.create(layout.model("main/1", "model.onnx"), scenes.onnx())
    engine_choice.settle(work, scenes.onnx(), labels[:5], labels)
    choice = engine_record.read(work.store.labels, "main/1")
    assert choice is not None and (choice.split, choice.images) == ("training images", 5)


def test_a_file_that_is_not_the_one_that_was_judged_is_refused() -> None:
    labels = open_store("memory:").labels
    engine_record.create(labels, "main/1", Choice(INT8, "", "0" * 64))
    labels.create(layout.model_in("main/1", INT8), b"something else")
    with pytest.raises(UserError, match=r"model-int8\.onnx is not the file that models/main/1/engine\.json is about"):
        engine_record.model_bytes(labels, "main/1")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"numbers": "../x"}'])
def test_a_damaged_record_is_one_sentence(content: bytes) -> None:
    labels = open_store("memory:").labels
    labels.create(layout.engine("main/1"), content)
    with pytest.raises(UserError, match=r"engine\.json is damaged"):
        engine_record.model_bytes(labels, "main/1")


def test_a_turn_measures_and_predicts_with_the_model_that_was_chosen() -> None:
    clock = Clock()
    world = World(open_store("memory:", clock), clock)
    settings = replace(SETTINGS, prediction=replace(SETTINGS.prediction, numbers="int8"))
    loops.make(world.store, clock, 8, settings)
    # as if an earlier attempt had trained it
    world.store.labels.create(layout.model("main/1", "model.onnx"), scenes.onnx())
    hand_in(world.store, "b1", range(6))
    world.settle()
    commit, card = commits.latest(world.store.labels), _card(world.store)
    assert commit is not None and card["engine"]["numbers"] == INT8 and list(card["sha256"]) == ["model-int8.onnx"]
    listed = table.read_labels(world.store.labels.read(commit.totag).content.decode(), "totag").images
    predictor = Predictor(world.store.labels.read("models/main/1/model-int8.onnx").content, "compact", settings.prediction)
    for labels in listed:
        [seen] = predictor.predict([(labels.image, world.store.images.read(labels.image).content)])
        assert isinstance(seen, Predicted)
        assert [box.confidence for box in labels.boxes] == pytest.approx(np.sort(seen.detections.confidence)[::-1], abs=1e-5)


def _card(store: Store) -> dict[str, dict[str, str]]:
    card: dict[str, dict[str, str]] = json.loads(store.labels.read("models/main/1/model.json").content)
    return card
