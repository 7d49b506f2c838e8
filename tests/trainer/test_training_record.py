"""A model's card says enough to train it again."""

import json
from dataclasses import replace

import pytest
import torch

from activelearning import labelled, layout
from activelearning.settings import Training
from activelearning.store import open_store
from tests.clock import Clock
from tests.trainer import loops
from tests.trainer.loops import World, hand_in
from trainer import dataset, detectors, fitting, performance, training, training_record
from trainer.recipe import Plan, Recipe
from trainer.weights import Weights

SETTINGS = replace(loops.SETTINGS, training=replace(loops.SETTINGS.training, validation_share=0.4, mosaic=0.5, seed=5))


@pytest.fixture
def world() -> World:
    clock = Clock()
    store = open_store("memory:", clock)
    loops.make(store, clock, settings=SETTINGS)
    return World(store, clock)


def _trained_again(world: World, run: str) -> torch.nn.Module:
    """By what the card says, and nothing else but the labels that it was trained on."""
    card = performance.read_card(world.store.labels, run)
    record = card["training"]
    config = replace(Training(**card["settings"]["training"]), seed=record["seed"])
    tagged = {one.image: one for one in labelled.read(world.store.labels, layout.tagged(run)).images}
    names = world.store.labels.read(layout.trained_images(run)).content.decode().split("\n")
    data = dataset.load(world.store.images, [tagged[name] for name in names], card["classes"], tuple(record["input_size"]))
    model = detectors.build(card["family"], len(card["classes"]), record["first_seed"], card["settings"]["detector"]["box_likelihood"])
    done = []
    trained = training.train(model, data.examples, config, training_record.plan_of(record), on_progress=done.append)
    assert len(done) == record["iterations"]
    return trained


def test_a_training_done_again_from_its_card_gives_the_same_weights(world):
    hand_in(world.store, "b1", range(8))
    world.settle()
    kept = Weights.from_bytes(world.store.labels.read(layout.model("main/1", "weights.pt")).content).state
    for again in (_trained_again(world, "main/1") for _ in range(2)):
        assert all(torch.equal(value, kept[name]) for name, value in again.state_dict().items())
    record = performance.read_card(world.store.labels, "main/1")["training"]
    assert (record["seed"], record["first_seed"], record["devices"]) == (6, 5, 1)
    assert record["plan"]["recipe"]["mosaic"] == 0.5 and record["plan"]["learning_rate"] == Recipe().learning_rate
    assert record["versions"]["torch"] == torch.__version__ and {"python", "numpy", "activelearning"} <= {*record["versions"]}
    assert fitting.trained_on(world.store.labels, "main/1")


def test_a_plan_comes_back_from_a_record():
    plan = Plan(30, 1e-3, 0.1, 0.2, Recipe(backbone_rate=0.1, mosaic=0.5))
    noted = json.loads(json.dumps(training_record.record(Training(seed=9), 3, plan, 27, (320, 256), 2)))
    assert training_record.plan_of(noted) == plan
    assert (noted["seed"], noted["first_seed"], noted["iterations"], noted["input_size"], noted["devices"]) == (9, 3, 27, [320, 256], 2)


def test_a_record_is_written_once_and_an_older_model_has_none():
    blobs = open_store("memory:", Clock()).labels
    assert training_record.read(blobs, "main/1") == {}
    training_record.note(blobs, "main/1", {"seed": 1})
    training_record.note(blobs, "main/1", {"seed": 2})
    assert training_record.read(blobs, "main/1") == {"seed": 1}
