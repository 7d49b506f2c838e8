"""What the trainer writes: totag in its order, performance.csv without loss, shards that are not done twice."""

import csv
import threading

import numpy as np

from activelearning import layout, table
from activelearning.labels import Box, ImageLabels, Review
from activelearning.settings import Prediction, Selection
from activelearning.store import open_store
from tests.trainer import loops
from tests.trainer.scenes import CLASSES, SIZE, onnx
from trainer import performance, pool_prediction, totag
from trainer.detections import Detections
from trainer.evaluation import Metric, Metrics
from trainer.pool_prediction import PinnedPool
from trainer.predictor import Predicted, Predictor


def predicted(name: str, *confidences: float, label: str = "deer") -> ImageLabels:
    boxes = tuple(Box(label, 0.1, 0.1, 0.5, 0.5, confidence, "model") for confidence in confidences)
    return ImageLabels(name, 640, 480, boxes, Review.UNOPENED, "0123456789abcdef")


def written(images: list[ImageLabels], selection: Selection) -> list[ImageLabels]:
    blobs = open_store("memory:").labels
    assert totag.write(blobs, "totag/main/1.csv", images, selection) == len({one.image for one in images})
    return list(table.read_labels(blobs.read("totag/main/1.csv").content.decode(), "totag").images)


def test_totag_lists_the_least_confident_first_and_states_the_aggregate() -> None:
    images = [predicted("b.jpg", 0.9, 0.3), predicted("a.jpg", 0.6, 0.5), predicted("c.jpg")]
    by_min = written(images, Selection(aggregation="min"))
    assert [(one.image, one.image_confidence) for one in by_min] == [("c.jpg", 0.0), ("b.jpg", 0.3), ("a.jpg", 0.5)]
    by_mean = written(images, Selection(aggregation="mean"))
    assert [(one.image, one.image_confidence) for one in by_mean] == [("c.jpg", 0.0), ("a.jpg", 0.55), ("b.jpg", 0.6)]


def test_totag_keeps_rows_whole_and_the_first_of_two_of_an_image() -> None:
    fresh, stale = predicted('x/ä, "q".jpg', 0.4), predicted('x/ä, "q".jpg', 0.9, 0.8)
    (only,) = written([fresh, stale], Selection())
    assert only.image == fresh.image and only.boxes == fresh.boxes and only.content_hash == fresh.content_hash


def test_totag_that_is_there_is_never_overwritten() -> None:
    blobs = open_store("memory:").labels
    blobs.create("totag/main/1.csv", b"mine")
    totag.write(blobs, "totag/main/1.csv", [predicted("a.jpg", 0.5)], Selection())
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
    labels = pool_prediction.image_labels(Predicted("a.jpg", found, (640, 480)), ("deer", "fox"), "hash")
    (box,) = labels.boxes
    assert box.xyxy == (0.1, 0.1, 0.5, 0.5) and (box.label, box.confidence, box.source) == ("deer", 0.75, "model")
    # −¾ log₂ ¾ − ¼ log₂ ¼ = 0.811278, −0.1 log₂ 0.1 − 0.9 log₂ 0.9 = 0.468996; background 1 − 0.75 is second best
    assert dict(box.measures) == {"entropy": 1.280274, "margin": 0.5}
    assert labels.review is Review.UNOPENED


def test_a_resumed_prediction_does_only_the_shards_that_are_missing() -> None:
    store = open_store("memory:")
    for seed in range(3):
        store.images.create(loops.name(seed), loops.png(seed))
    pool = pool_prediction.pin(store.labels, "job", lambda: PinnedPool(tuple(map(loops.name, range(3))), 5.0, 3))
    store.labels.create(layout.prediction_shard("job", 0), table.table_bytes([predicted("kept.jpg", 0.5)]))
    pool_prediction.predict(store, "job", pool, Predictor(onnx(), "compact", Prediction()), CLASSES, lambda line: None)
    assert [one.image for one in pool_prediction.predictions(store.labels, "job", pool)] == ["kept.jpg"]


def test_the_pool_of_a_job_is_what_its_first_attempt_listed() -> None:
    blobs = open_store("memory:").labels
    first = pool_prediction.pin(blobs, "job", lambda: PinnedPool(("a.jpg", "b c.jpg"), 5.0, 9))
    again = pool_prediction.pin(blobs, "job", _must_not_be_asked)
    assert first == again == PinnedPool(("a.jpg", "b c.jpg"), 5.0, 9)
    assert pool_prediction.pin(blobs, "none", lambda: PinnedPool((), 1.0, 0)).shards == range(0)


def _must_not_be_asked() -> PinnedPool:
    raise AssertionError("the pool is pinned already")


def test_predicted_drafts_carry_size_hash_and_measures() -> None:
    store = open_store("memory:")
    store.images.create("a.png", loops.png(0))
    pool = pool_prediction.pin(store.labels, "job", lambda: PinnedPool(("a.png",), 0.0, 1))
    pool_prediction.predict(store, "job", pool, Predictor(onnx(), "compact", Prediction()), CLASSES, lambda line: None)
    (labels,) = pool_prediction.predictions(store.labels, "job", pool)
    assert (labels.width, labels.height) == SIZE and len(labels.content_hash) == 16
    assert {box.label for box in labels.boxes} <= set(CLASSES) and all(len(box.measures) == 2 for box in labels.boxes)
