"""Suspicions of labels, by hand and by scipy, and the peer's score by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from scipy.stats import t

from tests.bench import objectlab
from trainer import label_errors
from trainer.calibration import Calibrated
from trainer.detections import Detections
from trainer.ground_truth import GroundTruth
from trainer.label_errors import KINDS, Suspicions

PLACE = (10.0, 10.0, 50.0, 50.0)
FAR = (200.0, 200.0, 240.0, 240.0)


def found(boxes: list[tuple[float, ...]], class_id: list[int], confidence: list[float], classes: int = 3) -> Detections:
    scores = np.full((len(boxes), classes), 0.05, np.float32)
    scores[np.arange(len(boxes)), class_id] = confidence
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(xyxy, np.array(confidence, np.float32), np.array(class_id, np.int64), scores)


def truth(boxes: list[tuple[float, ...]], class_id: list[int]) -> GroundTruth:
    return GroundTruth(np.array(boxes, np.float32).reshape(-1, 4), np.array(class_id, np.int64))


def known(detections: Detections, probability: list[float], classes: list[list[float]], deviation: float | None = 2.0) -> Calibrated:
    count = len(detections)
    total = None if deviation is None else np.full((count, 4), deviation, np.float32)
    of_class = np.array(classes, np.float32).reshape(count, -1)
    return Calibrated(np.array(probability, np.float32), of_class, np.zeros(count), None, None, total, np.full((count, 4), np.inf))


def of_kind(suspected: Suspicions, kind: str) -> list[float]:
    return [float(one) for one in suspected.probability[suspected.kind == KINDS.index(kind)]]


def test_a_sure_detection_without_a_label_is_a_missed_object() -> None:
    detections = found([PLACE], [1], [0.9])
    suspected = label_errors.suspicions(truth([], []), detections, known(detections, [0.9], [[0.1, 0.8, 0.1]]))
    # .02 × .9 / (.02 × .9 + .98 × .1)
    assert of_kind(suspected, "missed") == [pytest.approx(0.018 / 0.116, abs=1e-6)] and len(suspected) == 1
    assert (suspected.label.tolist(), suspected.seen.tolist(), suspected.xyxy.tolist()) == ([-1], [1], [list(PLACE)])


def test_a_label_without_a_detection_is_spurious() -> None:
    suspected = label_errors.suspicions(truth([PLACE], [2]), found([FAR], [0], [0.01]))
    # .02 / (.02 + .98 × .1)
    assert of_kind(suspected, "spurious") == [pytest.approx(0.02 / 0.118)]
    assert suspected.label[suspected.kind == 3].tolist() == [2]


def test_a_label_of_another_class_than_the_model_sees_is_swapped() -> None:
    detections = found([PLACE], [1], [0.9])
    suspected = label_errors.suspicions(truth([PLACE], [0]), detections, known(detections, [0.8], [[0.1, 0.7, 0.2]]))
    # each of the two other classes: .02 / 2 × .9 against .98 × .1, believed as far as the detection is
    assert of_kind(suspected, "swapped") == [pytest.approx(0.8 * 0.009 / (0.009 + 0.098), abs=1e-6)]
    swapped = suspected.kind == 2
    assert (suspected.label[swapped].tolist(), suspected.seen[swapped].tolist()) == ([0], [1])


def test_a_label_beside_its_detection_is_shifted_as_far_as_the_spread_does_not_explain_it() -> None:
    detections = found([PLACE], [0], [0.9])
    label = (22.0, 10.0, 62.0, 50.0)
    suspected = label_errors.suspicions(truth([label], [0]), detections, known(detections, [0.9], [[0.8, 0.1, 0.1]]))
    # centres 12 and 0 apart, sizes alike; each corner deviates by 2, a shift by a quarter of 40
    narrow = [math.hypot(2, 2) / 2] * 2 + [math.hypot(2, 2)] * 2
    ratios = [t.pdf(d, 4, scale=math.hypot(s, 10)) / t.pdf(d, 4, scale=s) for d, s in zip((12, 0, 0, 0), narrow, strict=True)]
    odds = 0.02 / 0.98 * math.prod(0.5 + 0.5 * ratio for ratio in ratios)
    assert of_kind(suspected, "shifted") == [pytest.approx(0.9 * odds / (1 + odds), rel=1e-5)]


def test_a_pair_that_barely_overlaps_may_be_two_strangers() -> None:
    detections = found([PLACE], [0], [0.9])
    label = (40.0, 10.0, 80.0, 50.0)
    suspected = label_errors.suspicions(truth([label], [0]), detections, known(detections, [0.9], [[0.8, 0.1, 0.1]]))
    (shifted,) = of_kind(suspected, "shifted")
    assert shifted > 0.5
    assert of_kind(suspected, "missed") == [pytest.approx((1 - shifted) * 0.018 / 0.116, rel=1e-5)]
    assert of_kind(suspected, "spurious") == [pytest.approx((1 - shifted) * 0.02 / 0.118, rel=1e-5)]


def test_a_second_box_on_a_labelled_object_is_no_missed_object() -> None:
    detections = found([PLACE, (11.0, 10.0, 51.0, 50.0)], [0, 1], [0.9, 0.3])
    assert of_kind(label_errors.suspicions(truth([PLACE], [0]), detections), "missed") == [0.0]
    both = found([FAR, (201.0, 200.0, 241.0, 240.0)], [0, 1], [0.9, 0.3])
    assert len(of_kind(label_errors.suspicions(truth([], []), both), "missed")) == 1


def test_labels_and_detections_that_agree_raise_hardly_any_doubt() -> None:
    detections = found([PLACE, FAR], [0, 1], [0.95, 0.9])
    calibrated = known(detections, [0.95, 0.9], [[0.98, 0.01, 0.01], [0.01, 0.98, 0.01]])
    assert label_errors.suspicions(truth([PLACE, FAR], [0, 1]), detections, calibrated).expected_errors < 0.02


def test_without_calibration_and_spread_scores_are_taken_at_their_word() -> None:
    detections = found([PLACE], [1], [0.9])
    assert of_kind(label_errors.suspicions(truth([], []), detections), "missed") == [pytest.approx(0.018 / 0.116, abs=1e-6)]
    near = label_errors.suspicions(truth([(12.0, 10.0, 52.0, 50.0)], [1]), detections)
    off = label_errors.suspicions(truth([(30.0, 10.0, 70.0, 50.0)], [1]), detections)
    assert of_kind(near, "shifted")[0] < 0.01 < 0.4 < of_kind(off, "shifted")[0]


def test_an_image_without_labels_or_detections_is_above_suspicion() -> None:
    nothing = label_errors.suspicions(truth([], []), found([], [], []))
    assert len(nothing) == 0 and nothing.expected_errors == 0


def test_a_deviation_that_is_no_number_counts_as_unknown() -> None:
    detections = found([PLACE], [0], [0.9])
    label = truth([(20.0, 10.0, 60.0, 50.0)], [0])
    unknown = label_errors.suspicions(label, detections, known(detections, [0.9], [[0.8, 0.1, 0.1]], None))
    damaged = label_errors.suspicions(label, detections, known(detections, [0.9], [[0.8, 0.1, 0.1]], math.nan))
    assert damaged.probability.tolist() == unknown.probability.tolist()


@given(st.floats(0, 30), st.floats(0, 30), st.sampled_from([(1, 0), (0, 1), (1, 1), (-1, 1)]), st.floats(0.5, 8), st.floats(0.05, 0.99))
def test_a_larger_shift_is_never_less_suspicious(a: float, b: float, way: tuple[int, int], deviation: float, probability: float) -> None:
    detections = found([(100.0, 100.0, 180.0, 180.0)], [0], [0.9])
    calibrated = known(detections, [probability], [[0.8, 0.1, 0.1]], deviation)
    less, more = sorted((a, b))
    near, far = (_shifted_by(distance, way, detections, calibrated) for distance in (less, more))
    assert near <= far + 1e-9


def _shifted_by(distance: float, way: tuple[int, int], detections: Detections, calibrated: Calibrated) -> float:
    x, y = way[0] * distance, way[1] * distance
    (shifted,) = of_kind(label_errors.suspicions(truth([(100 + x, 100 + y, 180 + x, 180 + y)], [0]), detections, calibrated), "shifted")
    return shifted


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_surer_detection_is_never_less_suspicious(a: float, b: float) -> None:
    detections = found([PLACE], [0], [0.5])
    worth = [known(detections, [p], [[0.8, 0.1, 0.1]]) for p in sorted((a, b))]
    less, more = (label_errors.suspicions(truth([], []), detections, one).expected_errors for one in worth)
    assert less <= more


CORNERS = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40)).map(
    lambda one: tuple(map(float, (one[0], one[1], one[0] + one[2], one[1] + one[3])))
)
BOXES = st.lists(st.tuples(CORNERS, st.integers(0, 2), st.floats(0, 1, width=32)), max_size=8)


@budget(deadline=None)
@given(BOXES, BOXES)
def test_whatever_comes_probabilities_are_probabilities_in_order(labels: list, detections: list) -> None:  # type: ignore[type-arg]
    seen = found([box for box, _, _ in detections], [label for _, label, _ in detections], [score for *_, score in detections])
    suspected = label_errors.suspicions(truth([box for box, _, _ in labels], [label for _, label, _ in labels]), seen)
    probabilities = suspected.probability.tolist()
    assert all(0 <= one <= 1 for one in probabilities) and probabilities == sorted(probabilities, reverse=True)
    # a label is spurious, shifted, swapped at most once each; a detection stands for one missed object at most
    assert all(len(of_kind(suspected, kind)) <= len(labels) for kind in KINDS[1:])
    assert len(of_kind(suspected, "missed")) <= len(detections)
    assert suspected.expected_errors == pytest.approx(sum(probabilities))


def test_the_peer_by_hand() -> None:
    agree = objectlab.quality([truth([PLACE], [0])], [found([PLACE], [0], [0.99])])
    assert agree.tolist() == [pytest.approx(1.0)]
    overlooked = objectlab.quality([truth([PLACE], [0])], [found([PLACE, FAR], [0, 0], [0.99, 0.99])])
    # similarity of the far box: no overlap, a tenth of exp(−.1 × distance); the other two kinds score 1
    assert overlooked.tolist() == [pytest.approx((0.1 * math.exp(-0.1 * math.hypot(190, 190))) ** (1 / 3))]
    half = objectlab.quality([truth([(30.0, 10.0, 70.0, 50.0)], [0])], [found([PLACE], [0], [0.9])])
    assert half.tolist() == [pytest.approx((0.9 / 3 + 0.1 * math.exp(-2)) ** (1 / 3))]
    stranger = (truth([PLACE], [0]), found([FAR], [0], [0.99]))
    swapped = (truth([PLACE], [0]), found([PLACE], [1], [0.99]))
    # a swap scores the least similarity of all images
    assert objectlab.quality([swapped[0], stranger[0]], [swapped[1], stranger[1]])[0] == pytest.approx(
        (0.1 * math.exp(-0.1 * math.hypot(190, 190))) ** (1 / 3)
    )
