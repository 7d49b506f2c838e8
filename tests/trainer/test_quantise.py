"""Models in smaller numbers find what the model finds, and are shown images as it is."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from activelearning.settings import Prediction
from tests.trainer import scenes
from trainer import letterbox, quantise, view
from trainer.evaluation import evaluate
from trainer.ground_truth import GroundTruth
from trainer.predictor import Predictor, open_session
from trainer.view import View

SETTINGS = Prediction(min_confidence=0.3, mc_samples=4)


def _images() -> list[letterbox.DetectorImage]:
    return [letterbox.letterboxed(one.pixels, scenes.SIZE, scenes.SIZE) for one in scenes.scenes()]


def _int8(model: bytes) -> bytes:
    return quantise.to_int8(model, map(Predictor(model, "compact", SETTINGS).inputs, _images()))


@pytest.mark.parametrize(("convert", "most_of_size", "type_"), [(_int8, 0.45, "uint8"), (quantise.to_float16, 0.6, "float16")])
def test_smaller_numbers_find_the_same_objects(convert: Callable[[bytes], bytes], most_of_size: float, type_: str) -> None:
    model = view.noted(scenes.onnx(), View(flips="horizontal"))
    made = convert(model)
    assert len(made) < most_of_size * len(model)
    graph = onnx.load_from_string(made).graph
    types = {onnx.TensorProto.DataType.Name(one.data_type).lower() for one in graph.initializer}
    assert type_ in types
    truth = [GroundTruth(one.boxes, one.labels) for one in scenes.scenes()]
    before, after = (Predictor(one, "compact", SETTINGS, threads=1) for one in (scenes.onnx(), made))
    found = [[predictor.detect(image) for image in _images()] for predictor in (before, after)]
    ap = [evaluate(truth, some, scenes.CLASSES).value("ap50") for some in found]
    assert ap[0] is not None and ap[1] is not None and ap[1] > max(0.9, ap[0] - 0.02)
    assert after.view == View(flips="horizontal"), "how it is shown images is not lost"


def test_inputs_and_outputs_stay_as_they_are_for_any_batch_and_any_number_of_samples() -> None:
    session = open_session(quantise.to_float16(scenes.onnx()))
    assert {one.type for one in (*session.get_inputs(), *session.get_outputs())} == {"tensor(float)"}
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (3, 3, scenes.SIZE[1], scenes.SIZE[0])).astype(np.float32)
    masks = {name: np.ones((5, 64), np.float32) for name in ("class_masks", "box_masks")}
    outputs, expected = (one.run(None, {"images": images} | masks) for one in (session, open_session(scenes.onnx())))
    assert [one.shape for one in outputs] == [one.shape for one in expected]
    # half precision keeps three digits
    assert np.allclose(outputs[0], expected[0], atol=0.1)
