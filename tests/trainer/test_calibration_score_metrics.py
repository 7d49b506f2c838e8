import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from trainer.calibration import score_metrics


def _even(count: int, step: float) -> np.ndarray:
    """Numbers in 0..1 spread evenly, the same in every version of numpy."""
    return (np.arange(count) * step) % 1


def _scores() -> tuple[np.ndarray, np.ndarray]:
    confidence = np.round(0.05 + 0.95 * _even(500, 0.6180339887), 3)
    return confidence, _even(500, 0.7548776662) < np.clip(2 * confidence - 0.5, 0.02, 0.98)


def _class_scores() -> tuple[np.ndarray, np.ndarray]:
    raw = np.stack([_even(400, step) + 0.05 for step in (0.6180339887, 0.7548776662, 0.5698402910)], 1) ** 3
    turn = np.arange(400) % 5
    return raw / raw.sum(1, keepdims=True), np.where(turn < 3, raw.argmax(1), turn % 3)


def test_calibration_errors_equal_those_of_netcal():
    confidence, right = _scores()
    # netcal 1.4.0: ECE(10, detection=True), MCE(10, detection=True), ECE(10, equal_intervals=False, detection=True)
    assert score_metrics.ece(confidence, right) == pytest.approx(0.125874)
    assert score_metrics.mce(confidence, right) == pytest.approx(0.21273076923)
    assert score_metrics.ece(confidence, right, equal_mass=True) == pytest.approx(0.128486)


def test_class_calibration_errors_equal_those_of_netcal():
    figures = score_metrics.of_classes(*_class_scores())
    # netcal 1.4.0: ECE(10), MCE(10)
    assert figures is not None
    assert (figures.ece, figures.mce) == pytest.approx((0.16142157682, 0.32690911243))


def test_the_points_of_the_diagram_are_those_of_scikit_learn():
    confidence, right = _scores()
    # off the edges of the bins, which scikit-learn counts to the lower bin
    confidence -= 0.0005
    points = score_metrics.reliability(confidence, right)
    target, mean = calibration_curve(right, confidence, n_bins=10)
    np.testing.assert_allclose(points.target, target)
    np.testing.assert_allclose(points.confidence, mean)
    assert points.count.sum() == 500


def test_brier_and_log_loss_are_those_of_scikit_learn():
    confidence, right = _scores()
    assert score_metrics.brier(confidence, right) == pytest.approx(brier_score_loss(right, confidence))
    clipped = np.clip(confidence, 0, 1 - 1e-6)
    assert score_metrics.nll(clipped, right) == pytest.approx(log_loss(right, clipped))
    probabilities, truth = _class_scores()
    assert score_metrics.brier(probabilities, truth) == pytest.approx(brier_score_loss(truth, probabilities, scale_by_half=False))
    assert score_metrics.nll(probabilities, truth) == pytest.approx(log_loss(truth, probabilities))


def test_a_certain_mistake_costs_much_but_not_everything():
    assert score_metrics.nll(np.array([1.0]), np.array([False])) == pytest.approx(-math.log(2**-23))


def test_la_ece_is_the_papers_sum():
    # naively: Σ_bins n_b/N |mean confidence − precision · mean IoU of the right ones|, the mean over classes; bins of 1/25
    confidence, correct = _scores()
    class_id, iou = np.arange(500) % 3, 0.5 + _even(500, 0.3) / 2
    errors = []
    for label in range(3):
        rows, error = np.flatnonzero(class_id == label), 0.0
        for lower in range(25):
            one = [row for row in rows if lower == min(int(confidence[row] * 25), 24)]
            hits = [row for row in one if correct[row]]
            precision_iou = len(hits) / len(one) * np.mean(iou[hits]) if hits else 0.0
            error += len(one) / len(rows) * abs(np.mean(confidence[one]) - precision_iou) if one else 0.0
        errors.append(error)
    assert score_metrics.la_ece(confidence, class_id, correct, iou) == pytest.approx(np.mean(errors))


def test_sce_is_the_papers_sum():
    probabilities, truth = _class_scores()
    error = 0.0
    for label in range(3):
        for lower in range(10):
            rows = np.minimum((probabilities[:, label] * 10).astype(int), 9) == lower
            error += abs((truth[rows] == label).sum() - probabilities[rows, label].sum()) / (3 * len(truth))
    assert score_metrics.sce(probabilities, truth) == pytest.approx(error)


def test_what_chance_alone_shows_is_what_true_probabilities_show():
    random = np.random.default_rng(0)
    probability = random.beta(2, 1, 3000)
    shown = [score_metrics.ece(probability, random.random(3000) < probability) for _ in range(200)]
    assert score_metrics.ece_of_chance(probability) == pytest.approx(np.mean(shown), rel=0.05)


def test_certain_and_right_has_no_error_and_certain_and_wrong_the_greatest():
    ones = np.ones(4)
    for right, error in ((np.ones(4, bool), 0), (np.zeros(4, bool), 1)):
        assert score_metrics.ece(ones, right) == score_metrics.mce(ones, right) == score_metrics.brier(ones, right) == error
        assert score_metrics.ece(ones, right, equal_mass=True) == error


def test_nothing_to_judge_has_no_figures():
    nothing = np.zeros(0)
    assert score_metrics.of_scores(nothing, nothing.astype(int), nothing.astype(bool), nothing) is None
    assert score_metrics.of_classes(np.zeros((0, 3)), nothing.astype(int)) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 2), st.floats(0, 1)), min_size=1, max_size=40), st.randoms())
def test_figures_are_finite_and_the_order_of_the_rows_does_not_matter(rows, random):
    shuffled = random.sample(rows, len(rows))
    first, second = (score_metrics.of_scores(*_columns(one)) for one in (rows, shuffled))
    assert first is not None and second is not None
    for name in ("d_ece", "d_ece_equal_mass", "d_ece_of_chance", "mce", "brier", "nll", "la_ece"):
        assert math.isfinite(getattr(first, name)) and getattr(first, name) >= 0
        assert getattr(first, name) == pytest.approx(getattr(second, name), abs=1e-9)
    assert first.d_ece <= first.mce + 1e-9 <= 1 + 1e-6


def _columns(rows: list[tuple[float, bool, int, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    confidence, right, class_id, iou = map(np.array, zip(*rows, strict=True))
    return confidence, class_id, right, iou
