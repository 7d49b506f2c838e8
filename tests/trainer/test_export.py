from dataclasses import replace

import numpy as np
import pytest

from activelearning.settings import Prediction
from tests.trainer import scenes
from trainer import detectors
from trainer.export import ParityError, check_parity
from trainer.monte_carlo import draw_masks
from trainer.predictor import INPUT, open_session

IMAGES = [one.pixels for one in scenes.scenes()[:3]]


def test_the_exported_model_finds_what_the_trained_one_finds():
    parity = check_parity(scenes.trained(), scenes.onnx(), "compact", IMAGES, Prediction())
    assert parity.detections >= 2 * 8 * 3
    assert parity.missing == 0
    assert parity.score_difference < 1e-4
    assert parity.box_difference < 0.01
    assert 0 < parity.spread_difference < 0.01


def test_one_image_is_enough_to_compare():
    assert check_parity(scenes.trained(), scenes.onnx(), "compact", IMAGES[:1], Prediction()).missing == 0


@pytest.mark.parametrize(("batch", "samples"), [(1, 1), (2, 10), (4, 3), (7, 2)])
def test_the_graph_takes_batches_and_samples_other_than_the_example(batch, samples):
    session, compact = open_session(scenes.onnx()), detectors.family("compact")
    assert [one.name for one in session.get_inputs()] == [INPUT, *compact.masks]
    assert tuple(one.name for one in session.get_outputs()) == compact.outputs
    masks = draw_masks(compact.masks, samples, 0.1)
    outputs = session.run(None, {INPUT: np.zeros((batch, 3, scenes.SIZE[1], scenes.SIZE[0]), np.float32)} | masks)
    assert all(len(output) == batch for output in outputs)
    assert [output.shape[1] for output in outputs[3:5]] == [samples, samples]


def test_another_model_is_told_apart_with_figures():
    other = detectors.build("compact", len(scenes.CLASSES), seed=5)
    with pytest.raises(ParityError, match=r"\d+ of \d+ detections have no partner"):
        check_parity(other, scenes.onnx(), "compact", IMAGES, Prediction())


def test_nothing_found_by_either_is_no_difference():
    settings = replace(Prediction(), min_confidence=1.0)
    assert check_parity(scenes.trained(), scenes.onnx(), "compact", IMAGES, settings).detections == 0


def test_exporting_leaves_the_model_as_it_was():
    assert not scenes.trained().training
    assert next(scenes.trained().parameters()).requires_grad
