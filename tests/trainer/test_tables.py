"""What the trainer writes: totag in its order, performance.csv without loss, shards that are not done twice."""

import csv
import threading
from contextlib import suppress
from typing import Any

import numpy as np

from activelearning import layout, table
from activelearning.errors import BlobExists
from activelearning.labels import Box, ImageLabels, Review
from activelearning.settings import Prediction, Selection
from activelearning.state import PREDICT, Job
from activelearning.store import Store, open_store
from tests.clock import Clock
from tests.trainer import loops
from tests.trainer.scenes import CLASSES, SIZE, onnx
from trainer import drafts, performance, pinned_pool, pool_prediction, shards, totag
from trainer.detections import Detections
from trainer.evaluation import Metric, Metrics
from trainer.pinned_pool import PinnedPool, Recipe
from trainer.predictor import Predicted
from trainer.work import Work


def predicted(name: str, *confidences: float, label: str = "deer") -> ImageLabels:
    boxes = tuple(Box(label, 0.1, 0.1, 0.5, 0.5, confidence, "model") for confidence in confidences)
    return ImageLabels(name, 640, 480, boxes, Review.UNOPENED, "0123456789abcdef")


def written(images: list[ImageLabels], selection: Selection) -> list[ImageLabels]:
    blobs = open_store("memory:").labels
    assert totag.write(blobs, "totag/main/1.csv", images, selection) == len({one.image for one in images})
    return list(table.read_labels(blobs.read("totag/main/1.csv").content.decode(), "totag").images)


def test_totag_lists_the_least_confident_first_and_states_the_aggregate() -> None:
    images = [predicted("b.jpg", 0.9, 0.3), predicted("a.jpg", 0.6, 0.5), predicted("c.jpg")]
    by_min = written(images, Selection("least-confidence", box_aggregation="max", random_share=0.0))
    assert [(one.image, one.image_confidence) for one in by_min] == [("c.jpg", 0.0), ("b.jpg", 0.3), ("a.jpg", 0.5)]
    by_mean = written(images, Selection("least-confidence", box_aggregation="mean", random_share=0.0))
    assert [(one.image, one.image_confidence) for one in by_mean] == [("c.jpg", 0.0), ("a.jpg", 0.55), ("b.jpg", 0.6)]


def test_totag_keeps_rows_whole_and_the_first_of_two_of_an_image() -> None:
    fresh, stale = predicted('x/ä, "q".jpg', 0.4), predicted('x/ä, "q".jpg', 0.9, 0.8)
    (only,) = written([fresh, stale], Selection("least-confidence"))
    assert only.image == fresh.image and only.boxes == fresh.boxes and only.content_hash == fresh.content_hash


def test_totag_that_is_there_is_never_overwritten() -> None:
    blobs = open_store("memory:").labels
    blobs.create("totag/main/1.csv", b"mine")
    totag.write(blobs, "totag/main/1.csv", [predicted("a.jpg", 0.5)], Selection("least-confidence"))
    assert blobs.read("totag/main/1.csv").content == b"mine"


METRICS = Metrics((Metric("all", "ap50", 0.5, 7), Metric("deer", "ap50", None, 0)), ("deer",), 0)


def test_performance_rows_of_rival_runs_are_all_kept_and_none_twice() -> None:
    blobs = open_store("memory:").labels
    runs = [performance.rows(f"main/{number}", METRICS, 10, 5, "now") for number in range(8)] * 2
    rivals = [threading.Thread(target=performance.publish, args=(blobs, rows)) for rows in runs]
    for rival in rivals:
        rival.start()
    for rival in rivals:
        rival.join()
    rows = list(csv.DictReader(blobs.read(layout.PERFORMANCE).content.decode().splitlines()))
    assert sorted((int(row["iteration"]), row["class"]) for row in rows) == sorted(
        (n, label) for n in range(8) for label in ("all", "deer")
    )


def test_a_figure_that_there_is_none_of_is_empty_and_not_a_number_that_lies() -> None:
    blobs = open_store("memory:").labels
    performance.publish(blobs, performance.rows("main/1", METRICS, 10, 5, "now"))
    (_, absent) = csv.DictReader(blobs.read(layout.PERFORMANCE).content.decode().splitlines())
    assert (absent["class"], absent["value"], absent["support"]) == ("deer", "", "0")


def test_a_prediction_becomes_drafts_in_fractions() -> None:
    xyxy = np.array([[64, 48, 320, 240], [10, 10, 10.0000001, 20]], np.float32)
    scores = np.array([[0.75, 0.1], [0.5, 0.2]], np.float32)
    found = Detections(xyxy, scores.max(1), np.array([0, 0]), scores)
    labels = drafts.image_labels(Predicted("a.jpg", found, (640, 480)), ("deer", "fox"), "hash")
    (box,) = labels.boxes
    assert box.xyxy == (0.1, 0.1, 0.5, 0.5) and (box.label, box.confidence, box.source) == ("deer", 0.75, "model")
    # −¾ log₂ ¾ − ¼ log₂ ¼ = 0.811278, −0.1 log₂ 0.1 − 0.9 log₂ 0.9 = 0.468996; background 1 − 0.75 is second best
    assert dict(box.measures) == {"entropy": 1.280274, "margin": 0.5}
    assert labels.review is Review.UNOPENED


RECIPE = Recipe("main/1", "compact", CLASSES, Prediction())


def recipe() -> Recipe:
    return RECIPE


def predict(store: Store, pool: PinnedPool) -> list[ImageLabels]:
    with suppress(BlobExists):
        store.labels.create(layout.model("main/1", "model.onnx"), onnx())
    shards.predict(Work(store, loops.SETTINGS, Job("job", PREDICT, "main/1", 0), lambda line: None, Clock()), pool)
    return list(pool_prediction.predictions(store.labels, "job", pool))


def test_a_resumed_prediction_does_only_the_shards_that_are_missing() -> None:
    store = open_store("memory:")
    for seed in range(3):
        store.images.create(loops.name(seed), loops.png(seed))
    listed = PinnedPool(tuple(map(loops.name, range(3))), 5.0, 3, shard_images=1)
    pool = pinned_pool.pin(store.labels, "job", recipe, lambda: listed)
    store.labels.create(layout.prediction_shard("job", 1), table.table_bytes([predicted("kept.jpg", 0.5)]))
    assert [one.image for one in predict(store, pool)] == [loops.name(0), "kept.jpg", loops.name(2)]


def test_the_pool_of_a_job_is_what_its_first_attempt_listed() -> None:
    blobs = open_store("memory:").labels
    first = pinned_pool.pin(blobs, "job", recipe, lambda: PinnedPool(("a.jpg", "b c.jpg"), 5.0, 9, shard_images=7))
    again = pinned_pool.pin(blobs, "job", _must_not_be_asked, _must_not_be_asked)
    assert first == again == pinned_pool.pinned(blobs, "job") == PinnedPool(("a.jpg", "b c.jpg"), 5.0, 9, RECIPE, 7)
    assert pinned_pool.pin(blobs, "none", recipe, lambda: PinnedPool((), 1.0, 0)).shards == range(0)
    assert pinned_pool.pinned(blobs, "never-begun") is None


def _must_not_be_asked() -> Any:
    raise AssertionError("the pool is pinned already")


def test_a_pool_that_the_first_version_pinned_is_predicted_by_the_jobs_holder_alone() -> None:
    blobs = open_store("memory:").labels
    blobs.create(layout.prediction_pool("job"), b'{"listed_at": 5.0, "container_images": 9}\na.jpg\nb.jpg')
    assert pinned_pool.pinned(blobs, "job") is None
    assert pinned_pool.pin(blobs, "job", recipe, _must_not_be_asked) == PinnedPool(("a.jpg", "b.jpg"), 5.0, 9, RECIPE, 256)


def test_predicted_drafts_carry_size_hash_and_measures() -> None:
    store = open_store("memory:")
    store.images.create("a.png", loops.png(0))
    (labels,) = predict(store, pinned_pool.pin(store.labels, "job", recipe, lambda: PinnedPool(("a.png",), 0.0, 1)))
    assert (labels.width, labels.height) == SIZE and len(labels.content_hash) == 16
    assert {box.label for box in labels.boxes} <= set(CLASSES) and all(len(box.measures) == 10 for box in labels.boxes)
