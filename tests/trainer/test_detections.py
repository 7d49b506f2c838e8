import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.detections import Detections, box_iou, nms, no_detections


def _detections(*boxes: tuple[float, float, float, float], scores: tuple[float, ...]) -> Detections:
    count = len(boxes)
    classes = np.stack([scores, 1 - np.array(scores)], 1).astype(np.float32)
    return Detections(np.array(boxes, np.float32), np.array(scores, np.float32), np.zeros(count, np.int64), classes)


def test_indexing_keeps_the_arrays_parallel():
    found = _detections((0, 0, 1, 1), (2, 2, 4, 4), (5, 5, 9, 9), scores=(0.9, 0.2, 0.6))
    sure = found[found.confidence > 0.5]
    assert sure.xyxy.tolist() == [[0, 0, 1, 1], [5, 5, 9, 9]]
    assert sure.class_scores[:, 0].tolist() == pytest.approx([0.9, 0.6])
    assert found[np.array([2, 0])].confidence.tolist() == pytest.approx([0.6, 0.9])
    assert len(found[:1]) == 1


@pytest.mark.parametrize(
    ("xyxy", "class_id"),
    [
        (np.zeros((1, 4), np.float32), np.zeros(2, np.int64)),
        (np.zeros((2, 3), np.float32), np.zeros(2, np.int64)),
        (np.zeros((2, 4), np.float64), np.zeros(2, np.int64)),
        (np.zeros((2, 4), np.float32), np.full(2, 3, np.int64)),
        (np.zeros((2, 4), np.float32), np.full(2, -1, np.int64)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(xyxy, class_id):
    with pytest.raises(ValueError, match="must"):
        Detections(xyxy, np.zeros(2, np.float32), class_id, np.zeros((2, 3), np.float32))


def test_no_detections_is_empty_and_can_be_filtered():
    none = no_detections(3)
    assert len(none) == 0
    assert none[none.confidence > 0.5].class_scores.shape == (0, 3)


def test_moved_clips_to_the_image_and_drops_what_lies_outside():
    found = _detections((0, 0, 1, 1), (0, 0, 1, 1), scores=(0.9, 0.8))
    moved = found.moved(lambda _: np.array([[-5, 10, 20, 300], [-9, -9, -1, 5]]), (100, 50))
    assert moved.xyxy.tolist() == [[0, 10, 20, 50]]
    assert moved.confidence.tolist() == pytest.approx([0.9])


def test_box_iou_by_hand():
    first = np.array([[0, 0, 10, 10], [0, 0, 0, 0]], np.float32)
    second = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 0, 0]], np.float32)
    assert box_iou(first, second) == pytest.approx(np.array([[1, 1 / 3, 0, 0], [0, 0, 0, 0]]))


def test_nms_keeps_the_most_confident_of_overlapping_boxes_of_a_class():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10], [50, 50, 60, 60]], np.float32)
    confidence = np.array([0.6, 0.9, 0.8, 0.1], np.float32)
    assert nms(boxes, confidence, np.array([0, 0, 1, 0]), 0.5).tolist() == [1, 2, 3]
    assert nms(boxes, confidence, np.array([0, 0, 1, 0]), 0.5, limit=1).tolist() == [1]


def test_nms_keeps_the_first_of_equally_confident_boxes():
    boxes = np.tile(np.array([[0, 0, 10, 10]], np.float32), (3, 1))
    assert nms(boxes, np.full(3, 0.5, np.float32), np.zeros(3, np.int64), 0.5).tolist() == [0]


def test_nms_keeps_a_box_at_exactly_the_threshold():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 5, 10]], np.float32)
    assert nms(boxes, np.array([0.9, 0.8], np.float32), np.zeros(2, np.int64), 0.5).tolist() == [0, 1]


_boxes = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20), st.integers(1, 20), st.integers(0, 9), st.integers(0, 2))


@settings(deadline=None)
@given(st.lists(_boxes, max_size=25), st.sampled_from([0.3, 0.5, 0.7]))
def test_nms_keeps_what_the_definition_says(rows, threshold):
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _, _ in rows], np.float32).reshape(-1, 4)
    confidence = np.array([row[4] for row in rows], np.float32)
    label = np.array([row[5] for row in rows], np.int64)
    kept: list[int] = []
    for index in sorted(range(len(rows)), key=lambda index: -confidence[index]):
        rivals = [other for other in kept if label[other] == label[index]]
        if not (box_iou(boxes[[index]], boxes[rivals]) > threshold).any():
            kept.append(index)
    assert nms(boxes, confidence, label, threshold).tolist() == kept
