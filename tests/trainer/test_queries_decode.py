"""Decoding the outputs of detectors with object queries, by hand: an input of 100×50, three queries, two classes."""

import numpy as np
import pytest

from activelearning.settings import Prediction
from trainer.detectors import queries_decode

SIZE = (100, 50)
EVERYTHING = Prediction(min_confidence=0.35, nms_iou=1.0)
# centre x, centre y, width, height as shares: 20..60 × 10..30, the same a little lower, and one that juts out on the right
BOXES = np.array([[[0.4, 0.4, 0.4, 0.4], [0.4, 0.42, 0.4, 0.4], [0.95, 0.5, 0.2, 0.2]]], np.float32)


def logit(confidence: float) -> float:
    return float(np.log(confidence / (1 - confidence)))


def outputs(*scores: tuple[float, float]) -> list[np.ndarray]:
    """The plain ones: a score for each class of each query."""
    logits = np.array([[[logit(one) for one in pair] for pair in scores]], np.float32)
    return [logits, BOXES, np.full((1, 3, 4), np.log(0.02), np.float32)]


PLAIN = outputs((0.9, 0.3), (0.8, 0.1), (0.1, 0.6))


def full() -> list[np.ndarray]:
    """All outputs, of two samples."""
    logits, boxes, _ = PLAIN
    sampled_logits = np.stack([logits, logits], 1)
    # in one sample of the second query class 0 has 0.6 instead of 0.8
    sampled_logits[0, 1, 1, 0] = logit(0.6)
    # in one sample the third query is 0.1 wider
    sampled_boxes = np.stack([boxes, boxes], 1)
    sampled_boxes[0, 1, 2, 2] += 0.1
    masks = np.zeros((1, 3, 2, 4), np.float32)
    masks[0, 2, 0, 3] = logit(0.7)
    return [*PLAIN, sampled_logits, sampled_boxes, np.arange(12, dtype=np.float32).reshape(1, 3, 4), np.zeros((1, 5), np.float32), masks]


def test_a_detection_is_a_query_and_a_class_most_confident_first() -> None:
    [found] = queries_decode.decode(PLAIN, SIZE, EVERYTHING)
    assert found.confidence.tolist() == pytest.approx([0.9, 0.8, 0.6])
    assert found.class_id.tolist() == [0, 0, 1]
    assert found.xyxy.tolist() == [pytest.approx(one, abs=1e-4) for one in ([20, 10, 60, 30], [20, 11, 60, 31], [85, 20, 100, 30])]
    assert found.class_scores[2].tolist() == pytest.approx([0.1, 0.6])
    assert found.spread is None and found.features is None and found.masks is None


def test_a_query_may_stand_for_two_classes() -> None:
    [found] = queries_decode.decode(outputs((0.9, 0.85), (0.8, 0.1), (0.1, 0.1)), SIZE, EVERYTHING)
    assert found.confidence.tolist() == pytest.approx([0.9, 0.85, 0.8])
    assert found.class_id.tolist() == [0, 1, 0]
    assert (found.xyxy[0] == found.xyxy[1]).all()


@pytest.mark.parametrize(
    ("settings", "confidences"),
    [
        (Prediction(min_confidence=0.35, nms_iou=0.6), [0.9, 0.6]),
        (Prediction(min_confidence=0.35, nms_iou=0.95), [0.9, 0.8, 0.6]),
        (Prediction(min_confidence=0.7, nms_iou=1.0), [0.9, 0.8]),
        (Prediction(min_confidence=0.35, nms_iou=1.0, max_detections=1), [0.9]),
        (Prediction(min_confidence=0.95), []),
    ],
)
def test_decoding_keeps_to_the_settings(settings: Prediction, confidences: list[float]) -> None:
    # the first two overlap by 40·19 of 40·21 pixels
    [found] = queries_decode.decode(full(), SIZE, settings)
    assert found.confidence.tolist() == pytest.approx(confidences)
    assert found.spread is not None and len(found.spread) == len(found) and len(found.masks or ()) == len(found)


def test_spread_features_and_masks_follow_their_boxes() -> None:
    [found] = queries_decode.decode(full(), SIZE, EVERYTHING)
    assert found.spread and found.features is not None and found.masks is not None
    # 0.02 of the input's sides
    assert found.spread.aleatoric[0].tolist() == pytest.approx([2, 1, 2, 1])
    # half the width more to each side, in one sample of two: a deviation of a quarter
    assert found.spread.epistemic[2].tolist() == pytest.approx([2.5, 0, 2.5, 0], abs=1e-5)
    assert not found.spread.epistemic[:2].any()
    assert found.spread.class_epistemic[1].tolist() == pytest.approx([0.1, 0], abs=1e-6)
    assert found.features.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert found.masks.frames.tolist() == [[0, 0, 100, 50]] * 3
    assert found.masks.grids.shape == (3, 2, 4)
    assert found.masks.grids[2, 0].tolist() == pytest.approx([0.5, 0.5, 0.5, 0.7])


def test_each_image_of_a_batch_is_decoded_by_itself() -> None:
    both = [np.concatenate([one, one[:, ::-1]]) for one in PLAIN]
    first, second = queries_decode.decode(both, SIZE, EVERYTHING)
    assert (first.xyxy == second.xyxy).all() and (first.class_scores == second.class_scores).all()
