import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from activelearning.errors import BlobMissing, UserError
from activelearning.settings import Prediction
from tests.trainer import scenes
from trainer.evaluation import evaluate
from trainer.ground_truth import GroundTruth
from trainer.image_facts import perceptual_hash
from trainer.letterbox import FILL, read_image
from trainer.predictor import Failed, Predicted, Predictor


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(scenes.onnx(), "compact", Prediction(min_confidence=0.3), threads=2)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _files() -> list[tuple[str, bytes]]:
    return [(f"scene {number}", _png(one.pixels)) for number, one in enumerate(scenes.scenes())]


def test_images_come_back_in_their_order_with_their_objects(predictor):
    predicted = list(predictor.predict(_files()))
    assert [one.name for one in predicted] == [name for name, _ in _files()]
    truth = [GroundTruth(one.boxes, one.labels) for one in scenes.scenes()]
    assert evaluate(truth, [one.detections for one in predicted], scenes.CLASSES).value("ap50") > 0.9


def test_boxes_are_in_pixels_of_the_original_image(predictor):
    example = scenes.scenes()[0]
    # twice as large, and letterboxed because it is also wider
    large = np.full((scenes.SIZE[1] * 2, scenes.SIZE[0] * 2 + 20, 3), FILL, np.uint8)
    large[:, 20:] = example.pixels.repeat(2, 0).repeat(2, 1)
    [predicted] = predictor.predict([("large", _png(large))])
    assert predicted.size == (276, 192)
    truth = GroundTruth(example.boxes * 2 + np.array([20, 0, 20, 0], np.float32), example.labels)
    assert evaluate([truth], [predicted.detections], scenes.CLASSES).value("ap50") > 0.9


def test_boxes_stay_inside_the_image(predictor):
    for one in predictor.predict(_files()):
        xyxy, (width, height) = one.detections.xyxy, one.size
        assert (xyxy >= 0).all() and (xyxy[:, 2] <= width).all() and (xyxy[:, 3] <= height).all()


def test_a_damaged_image_is_reported_and_the_rest_goes_on(predictor, tmp_path):
    whole = _files()[0][1]
    images = [("good", whole), ("cut", whole[:200]), ("text", b"hello"), ("gone", tmp_path / "gone.png"), ("last", whole)]
    predicted = list(predictor.predict(images))
    assert [type(one) for one in predicted] == [Predicted, Failed, Failed, Failed, Predicted]
    assert "damaged or cut off" in predicted[1].reason
    assert "no image" in predicted[2].reason


def test_images_may_be_paths_and_functions(predictor, tmp_path):
    path = tmp_path / "scene.png"
    path.write_bytes(_files()[0][1])

    def missing() -> bytes:
        raise BlobMissing("images/gone.png is gone")

    by_path, by_function, gone = predictor.predict([("path", path), ("function", path.read_bytes), ("gone", missing)])
    assert np.array_equal(by_path.detections.xyxy, by_function.detections.xyxy)
    assert gone == Failed("gone", "images/gone.png is gone")


def test_an_error_that_is_no_fault_of_the_image_stops_the_run(predictor):
    def offline() -> bytes:
        raise ConnectionError("no network")

    with pytest.raises(ConnectionError):
        list(predictor.predict([("a", offline)]))


def test_only_a_few_images_are_read_ahead(predictor):
    taken = 0

    def endless() -> Iterator[tuple[str, bytes]]:
        nonlocal taken
        content = _files()[0][1]
        while True:
            taken += 1
            yield "scene", content

    running = predictor.predict(endless())
    for number in range(1, 6):
        next(running)
        assert taken <= number + 4 * predictor.threads
    running.close()


def test_no_images_give_no_predictions(predictor):
    assert list(predictor.predict([])) == []


def test_the_model_may_be_a_file_and_says_what_it_wants(predictor, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(scenes.onnx())
    assert Predictor(path, "compact", Prediction()).input_size == predictor.input_size == scenes.SIZE
    assert "CPUExecutionProvider" in predictor.providers


def test_an_unknown_family_is_an_error():
    with pytest.raises(UserError, match="family"):
        Predictor(scenes.onnx(), "unknown", Prediction())


def test_the_hash_of_a_tall_image_is_of_the_image_alone(predictor):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 3), dtype=np.uint8).repeat(80, 0).repeat(40, 1)
    (found,) = predictor.predict([("tall.png", _png(pixels))])
    assert (found.facts.phash ^ perceptual_hash(pixels)).bit_count() <= 3
    assert (found.facts.phash ^ perceptual_hash(read_image(_png(pixels), predictor.input_size).pixels)).bit_count() > 6
