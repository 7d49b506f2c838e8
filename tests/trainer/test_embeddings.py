"""What the model sees, on its way from the exported graph through the shards to the query strategies."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnx.utils
import pytest
import torch
from PIL import Image

from activelearning import commits, decisions, layout, project_file, state, steps, table
from activelearning.errors import UserError
from activelearning.labels import ImageLabels
from activelearning.settings import Prediction, Selection
from activelearning.store import Store, open_store
from tests.clock import Clock
from tests.trainer import loops, scenes
from tests.trainer.loops import World, hand_in, listed, name
from trainer import arrays, pinned_pool, pool_features, shard_features
from trainer.detections import Detections, no_detections
from trainer.detectors import EMBEDDING, compact
from trainer.ground_truth import GroundTruth
from trainer.image_facts import ImageFacts
from trainer.labelled_features import class_difficulty
from trainer.monte_carlo import draw_masks
from trainer.pinned_pool import PinnedPool, Recipe
from trainer.predictor import INPUT, Predicted, Predictor, open_session
from trainer.query.diversity_ppal import difficulty
from trainer.query.objects import Objects

MASKS = draw_masks(compact.masks, 3, compact.dropout)
STRATEGIES = ("core-set", "max-herding", "ppal", "entropy-nms-diverse", "consistency")


def batch(count: int = 2) -> np.ndarray:
    return np.stack([one.pixels for one in scenes.scenes()[:count]]).transpose(0, 3, 1, 2).astype(np.float32)


def before_features() -> bytes:
    """The model as it was exported before there were features."""
    known = onnx.load_from_string(scenes.onnx())
    names = [INPUT, *compact.masks]
    return bytes(onnx.utils.Extractor(known).extract_model(names, list(compact.outputs[:5])).SerializeToString())


def predicted(model: bytes, count: int = 3) -> list[Predicted]:
    def png(pixels: np.ndarray) -> bytes:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        return out.getvalue()

    files = [(f"{number}.png", png(one.pixels)) for number, one in enumerate(scenes.scenes()[:count])]
    found = list(Predictor(model, "compact", Prediction(min_confidence=0.3), threads=1).predict(files))
    assert all(isinstance(one, Predicted) for one in found)
    return [one for one in found if isinstance(one, Predicted)]


# The model.


def test_the_embedding_is_the_mean_of_each_pyramid_level_and_features_are_those_of_the_class_tower() -> None:
    outputs = dict(zip(compact.outputs, open_session(scenes.onnx()).run(None, {INPUT: batch()} | MASKS), strict=True))
    model = scenes.trained()
    with torch.inference_mode():
        levels = model.pyramid(model.backbone((torch.from_numpy(batch()) - model.mean) / model.std)[1:])
        features = torch.cat([model.class_tower(level, number).flatten(2) for number, level in enumerate(levels)], 2)
    embedding = np.concatenate([level.numpy().mean((2, 3)) for level in levels], 1)
    assert outputs[EMBEDDING] == pytest.approx(embedding, rel=1e-3, abs=1e-4)
    assert outputs["features"] == pytest.approx(features.numpy(), rel=1e-3, abs=1e-3)


def test_features_follow_each_detection_through_suppression_and_out_to_the_image() -> None:
    outputs = open_session(scenes.onnx()).run(None, {INPUT: batch(1)} | MASKS)
    [found] = compact.decode(outputs, scenes.SIZE, Prediction(min_confidence=0.3))
    assert found.features is not None and len(found) >= 3
    for row in range(len(found)):
        point = int(np.abs(1 / (1 + np.exp(-outputs[0][0].astype(float))) - found.class_scores[row]).sum(1).argmin())
        assert np.array_equal(found.features[row], outputs[5][0][:, point])
    moved = found.moved(lambda corners: corners * 2, (256, 192))
    assert moved.features is not None and np.array_equal(moved.features, found.features)
    assert found[1:].features is not None and len(found[1:].features) == len(found) - 1


def test_features_that_do_not_fit_are_refused() -> None:
    none = no_detections(2)
    with pytest.raises(ValueError, match="features must be float32"):
        replace(none, features=np.zeros((1, 4), np.float32))
    with pytest.raises(ValueError, match="features must be float32"):
        replace(none, features=np.zeros((0, 4)))
    with pytest.raises(ValueError, match="consistency must be float32"):
        replace(none, consistency=np.zeros(1, np.float32))


def test_alike_images_have_alike_embeddings_and_the_same_image_the_same() -> None:
    first, again = (one.embedding for one in (predicted(scenes.onnx(), 1)[0], predicted(scenes.onnx(), 1)[0]))
    assert first is not None and first.shape == (192,) and first.dtype == np.float32 and np.array_equal(first, again)


def test_a_model_exported_before_there_were_features_predicts_the_same_without_them() -> None:
    for old, now in zip(predicted(before_features()), predicted(scenes.onnx()), strict=True):
        assert old.embedding is None and old.detections.features is None and now.detections.features is not None
        assert np.allclose(old.detections.xyxy, now.detections.xyxy, atol=0.01)
        assert old.detections.spread is not None


# Beside the shard.


def shard(images: Sequence[str] = ("a/1.jpg", "a/Ö 2.jpg", "b.jpg")) -> shard_features.ShardFeatures:
    random = np.random.default_rng(0)
    objects = Objects(
        np.array([0, 2, 2, 3]),
        random.normal(size=(3, 4)).astype(np.float16),
        np.array([1, 0, 1], np.int32),
        np.array([0.9, 0.2, 0.5], np.float32),
        np.array([0.1, 1.2, 0.8], np.float32),
        scenes.CLASSES,
    )
    embeddings = random.normal(size=(3, 6)).astype(np.float16)
    return shard_features.ShardFeatures(
        tuple(images), embeddings, np.array([0, 2**64 - 1, 5], np.uint64), np.array([0.5, np.nan, 1e9]), objects
    )


def test_what_is_written_is_read_again() -> None:
    found = shard_features.decode(shard_features.encode(shard()), "x", scenes.CLASSES)
    assert found.images == shard().images and found.objects is not None and shard().objects is not None
    for column in ("embeddings", "hashes", "taken"):
        assert np.array_equal(getattr(found, column), getattr(shard(), column), equal_nan=column == "taken")
    for column in ("offsets", "features", "class_id", "confidence", "entropy"):
        assert np.array_equal(getattr(found.objects, column), getattr(shard().objects, column))
    assert found.objects.classes == scenes.CLASSES
    assert shard_features.decode(shard_features.encode(shard()), "x").objects is None
    assert shard_features.decode(shard_features.encode(replace(shard(), objects=None)), "x", scenes.CLASSES).objects is None


def test_of_an_image_the_most_confident_objects_are_kept_and_what_is_no_number_is_none() -> None:
    scores = np.linspace(0.9, 0.1, 40, dtype=np.float32)[:, None]
    features = np.full((40, 3), 1e9, np.float32)
    features[:, 1] = np.nan
    many = Detections(np.tile(np.array([0, 0, 9, 9], np.float32), (40, 1)), scores[:, 0], np.zeros(40, np.int64), scores, features=features)
    found = shard_features.of_predicted([Predicted("a", many, (9, 9), np.ones(5, np.float32), ImageFacts(7, 3.0))], with_objects=True)
    assert found.objects is not None and found.objects.confidence.tolist() == scores[:30, 0].tolist()
    assert found.objects.features[0].tolist() == [65504, 0, 65504] and found.embeddings.tolist() == [[1, 1, 1, 1, 1]]
    assert found.hashes.tolist() == [7] and found.taken.tolist() == [3]
    # bits of a yes or no of 0.9
    assert found.objects.entropy[0] == pytest.approx(0.468996, abs=1e-5)


def damaged() -> dict[str, bytes]:
    whole = shard_features.encode(shard())
    columns = {
        "images": np.frombuffer(b"a\nb\nc", np.uint8),
        "embeddings": shard().embeddings,
        "hashes": shard().hashes,
        "taken": shard().taken,
    }
    return {
        "empty": b"",
        "text": b"no archive at all",
        "cut off": whole[: len(whole) // 2],
        "an array is missing": arrays.encode({key: columns[key] for key in ("images", "embeddings", "taken")}),
        "another type": arrays.encode(columns | {"hashes": np.zeros(3)}),
        "another shape": arrays.encode(columns | {"embeddings": np.zeros(3, np.float16)}),
        "too few rows": arrays.encode(columns | {"embeddings": np.zeros((2, 6), np.float16)}),
        "not a number": arrays.encode(columns | {"embeddings": np.full((3, 6), np.nan, np.float16)}),
        "no text": arrays.encode(columns | {"images": np.full(3, 255, np.uint8)}),
        "pickled": _pickled(columns),
    }


def _pickled(columns: dict[str, np.ndarray]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **columns | {"hashes": np.array([object()] * 3, object)})
    return out.getvalue()


@pytest.mark.parametrize("content", damaged().values(), ids=damaged())
def test_a_damaged_blob_is_one_plain_sentence(content: bytes) -> None:
    with pytest.raises(UserError, match=r"^predictions/job/000001\.npz is damaged \(.*\): put a copy in its place"):
        shard_features.decode(content, layout.shard_features("job", 1), scenes.CLASSES)


def test_what_unpacks_to_more_than_fits_is_not_unpacked() -> None:
    whole = bytearray(shard_features.encode(shard()))
    # in the archive's table of contents, where an entry says how long it is unpacked
    entry = whole.rindex(b"PK\x01\x02")
    whole[entry + 24 : entry + 28] = (1 << 31).to_bytes(4, "little")
    with pytest.raises(UserError, match="1 GiB"):
        shard_features.decode(bytes(whole), "x")


# Of a pool.


def pinned(
    store: Store, job: str, images: Sequence[str], model: str, features: shard_features.ShardFeatures, before: tuple[str, ...] = ()
) -> PinnedPool:
    recipe = Recipe(model, "compact", scenes.CLASSES, objects=True)
    pool = pinned_pool.pin(store.labels, job, lambda: recipe, lambda: PinnedPool(tuple(images), 0.0, len(images), before=before))
    store.labels.create(layout.shard_features(job, 0), shard_features.encode(features))
    return pool


def test_features_are_found_by_name_and_those_of_the_same_model_before_count() -> None:
    store = open_store("memory:")
    older = replace(shard(("a/1.jpg", "old.jpg", "b.jpg")), hashes=np.array([9, 9, 9], np.uint64))
    pinned(store, "older", older.images, "main/1", older)
    pinned(store, "other", ("c.jpg",), "main/0", shard(("c.jpg", "d.jpg", "e.jpg")))
    pool = pinned(store, "now", shard().images, "main/1", shard(), ("other", "older", "gone"))
    assert pinned_pool.pinned(store.labels, "now") == pool
    found = pool_features.gather(store.labels, "now", pool, ["old.jpg", "b.jpg", "c.jpg", "a/1.jpg"])
    assert found.is_known.tolist() == [True, True, False, True] and found.hashes.tolist() == [9, 5, 0, 0]
    assert np.isnan(found.embeddings[2]).all() and np.array_equal(found.embeddings[[1, 3]], shard().embeddings[[2, 0]])
    objects = found.objects(np.array([3, 2, 1, 0, 3]))
    assert objects.offsets.tolist() == [0, 2, 2, 3, 3, 5]
    assert objects.confidence.tolist() == pytest.approx([0.9, 0.2, 0.5, 0.9, 0.2])
    # the unknown image is like no other, though no hash is like a hash of zeros
    assert found.clusters(64).tolist() == [0, 0, 2, 0]
    assert found.clusters(0, found.hashes[1:2]).tolist() == [0, 1, 2, 3, 1]
    assert found.has_objects.tolist() == [True, True, False, True]


def test_a_pool_that_was_pinned_before_there_were_features_is_still_read() -> None:
    store = open_store("memory:")
    recipe = {"model": "main/1", "family": "compact", "classes": ["a"], "prediction": {}}
    head = json.dumps({"listed_at": 1.0, "container_images": 2, "shard_images": 256, "recipe": recipe}).encode()
    store.labels.create(layout.prediction_pool("old"), head + b"\na.jpg\nb.jpg")
    found = pinned_pool.pinned(store.labels, "old")
    assert found is not None and found.images == ("a.jpg", "b.jpg") and found.before == ()
    assert not found.recipe.objects and not found.recipe.mirror
    assert not pool_features.gather(store.labels, "old", found, ["a.jpg"]).is_known.any()


def test_the_difficulty_of_a_class_is_the_mean_over_its_objects() -> None:
    scores = np.array([[0.5, 0.1], [0.2, 0.8]], np.float32)
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    found = Detections(boxes, np.array([0.5, 0.8], np.float32), np.array([0, 1]), scores)
    truth = GroundTruth(np.array([[0, 0, 10, 5], [50, 50, 60, 60], [0, 0, 10, 10]], np.float32), np.array([0, 0, 1]))
    # of the first class one object overlaps by a half at 0.5, and one was not found
    wanted = [(difficulty(np.array([0.5]), np.array([0.5]))[0] + 1) / 2, difficulty(np.array([0.8]), np.array([1.0]))[0]]
    hard = class_difficulty([found], [truth], 3)
    assert hard[:2].tolist() == pytest.approx(wanted) and np.isnan(hard[2])
    assert class_difficulty([no_detections(2)], [truth], 2).tolist() == [1, 1]


# A whole turn, and predictions of its model with one strategy after the other.


@pytest.fixture(scope="module")
def world() -> World:
    clock = Clock()
    store = open_store("memory:", clock)
    loops.make(store, clock, settings=with_selection(Selection(strategy="core-set")))
    made = World(store, clock)
    hand_in(store, "b1", range(4))
    made.settle()
    return made


def with_selection(selection: Selection) -> loops.Settings:
    return replace(loops.SETTINGS, selection=selection)


def predict_anew(world: World, selection: Selection, folder: str = "") -> list[ImageLabels]:
    """The totag after the whole pool, or a folder, was predicted again with other settings."""
    etag = world.store.labels.read(layout.PROJECT).etag
    world.store.labels.replace(layout.PROJECT, project_file.render_project(with_selection(selection)).encode(), etag)
    world.clock.later(10)
    job = decisions.prediction_job(state.load(world.store.labels), world.clock(), "", folder, -1.0 if folder else 0.001)
    state.update(world.store.labels, lambda before: before.with_job(job))
    steps.send_job(world.store, job.id)
    world.trainer(world.store).drain()
    commit = commits.latest(world.store.labels)
    assert commit is not None and commit.job == job.id, world.told[-3:]
    return list(table.read_labels(world.store.labels.read(commit.totag).content.decode(), commit.totag).images)


def test_a_training_turn_orders_by_what_images_look_like(world: World) -> None:
    commit = commits.latest(world.store.labels)
    assert commit is not None and sorted(listed(world.store, commit.totag)) == sorted(map(name, range(4, 12)))
    pool = pinned_pool.pinned(world.store.labels, commit.job)
    assert pool is not None
    found = pool_features.gather(world.store.labels, commit.job, pool, pool.images)
    assert found.is_known.all() and found.embeddings.shape == (8, 192) and len(set(found.hashes.tolist())) == 8
    seen = arrays.decode(world.store.labels.read(layout.labelled_features(commit.job)).content, {"embeddings": ("float16", 2)}, "x")
    assert seen["embeddings"].shape == (4, 192)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_gives_a_totag_of_the_whole_pool(world: World, strategy: str) -> None:
    images = predict_anew(world, Selection(strategy=strategy))
    assert sorted(one.image for one in images) == sorted(map(name, range(4, 12)))
    scores = [one.acquisition_score for one in images]
    assert all(score is not None for score in scores) and len(set(scores)) > 4
    consistent = [dict(box.measures).get("consistency") for one in images for box in one.boxes]
    assert all((value is not None) is (strategy == "consistency") for value in consistent)


def test_variety_is_not_undone_by_the_second(world: World) -> None:
    plain, by_second = (predict_anew(world, Selection(strategy="core-set", per_second=second)) for second in (False, True))
    assert [(one.image, one.acquisition_score) for one in by_second] == [(one.image, one.acquisition_score) for one in plain]


def test_a_hybrid_gives_a_totag_too(world: World) -> None:
    images = predict_anew(world, Selection(strategy="core-set", hybrid=2.0))
    assert sorted(one.image for one in images) == sorted(map(name, range(4, 12)))


def test_new_images_are_ordered_together_with_those_that_were_predicted_before(world: World) -> None:
    predict_anew(world, Selection(strategy="core-set"))
    images = predict_anew(world, Selection(strategy="core-set"), folder="cam-1")
    assert sorted(one.image for one in images) == sorted(map(name, range(4, 12)))
    # whoever is not known would be worth nothing
    assert min(one.acquisition_score or 0.0 for one in images) > 0


def test_copies_of_an_image_come_last(world: World) -> None:
    for number in range(3):
        world.store.images.create(f"cam-2/copy-{number}.png", loops.png(4))
    images = [one.image for one in predict_anew(world, Selection(strategy="random", near_duplicates=1))]
    copies = [image for image in images if image == name(4) or image.startswith("cam-2/")]
    assert images[-3:] == copies[1:] and len(copies) == 4


def test_copies_of_a_labelled_image_come_last_though_it_is_not_in_the_pool(world: World) -> None:
    world.store.images.create("cam-3/copy.png", loops.png(0))
    last = predict_anew(world, Selection(strategy="random", near_duplicates=1))[-4:]
    assert ("cam-3/copy.png", f"near-duplicate of {name(0)}") in [(one.image, one.chosen_for) for one in last]


def test_a_model_that_tells_nothing_of_images_asks_for_a_training(world: World) -> None:
    store = world.store
    etag = store.labels.read(layout.model("main/1", "model.onnx")).etag
    store.labels.replace(layout.model("main/1", "model.onnx"), before_features(), etag)
    for strategy in ("core-set", "ppal"):
        with pytest.raises(AssertionError, match="train once"):
            predict_anew(world, Selection(strategy=strategy))
    assert len(predict_anew(world, Selection(strategy="entropy"))) == 12
