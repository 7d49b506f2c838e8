import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.isotonic import IsotonicRegression

from trainer.calibration import closed_set, score_metrics
from trainer.calibration.closed_set import OneVersusRest, Temperatures
from trainer.calibration.maps import Knots, logit, sigmoid


def _objects(count: int, temperatures: tuple[float, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Class scores, and classes drawn from the softmax of their logits over the temperatures."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2.5, (count, 3))
    cumulative = softmax(logits / np.array(temperatures), 1).cumsum(1)
    return sigmoid(logits), (random.random((count, 1)) > cumulative[:, :2]).sum(1)


def test_the_temperatures_that_made_the_classes_are_found():
    fitted = closed_set.fit("ts_all", *_objects(20_000, (2.0, 2.0, 2.0)), 30)
    assert isinstance(fitted, Temperatures)
    assert fitted.values == pytest.approx((2.0,), rel=0.05)
    fitted = closed_set.fit("ts_percls", *_objects(20_000, (1.0, 2.0, 4.0)), 30)
    assert isinstance(fitted, Temperatures)
    assert fitted.values == pytest.approx((1.0, 2.0, 4.0), rel=0.08)


@pytest.mark.parametrize("method", closed_set.METHODS)
def test_calibrated_classes_keep_their_word_on_new_objects(method):
    fitted = closed_set.fit(method, *_objects(3000, (2.5, 2.5, 2.5)), 30)
    scores, truth = _objects(10_000, (2.5, 2.5, 2.5), seed=1)
    before, after = (score_metrics.of_classes(one(scores), truth) for one in (closed_set.uncalibrated, fitted))
    assert before is not None and after is not None
    assert before.ece > 0.1 and after.ece < 0.025 and after.sce < 0.02
    assert after.nll < before.nll and after.brier < before.brier


def test_one_versus_rest_is_scikit_learns_isotonic_made_to_sum_to_one():
    scores, truth = _objects(500, (2.0, 2.0, 2.0))
    raw = softmax(logit(scores), 1)
    columns = []
    for label in range(3):
        x = np.concatenate([raw[:, label], [raw[:, label].min(), raw[:, label].max()]])
        y = np.concatenate([truth == label, [1, 0]])
        columns.append(IsotonicRegression(out_of_bounds="clip").fit(x, y).predict(raw[:, label]))
    expected = np.stack(columns, 1) / np.sum(columns, 0)[:, None]
    np.testing.assert_allclose(closed_set.fit("iso_percls", scores, truth, 30)(scores), expected, atol=1e-6)


def test_a_rare_class_has_the_isotonic_map_of_all():
    scores, truth = _objects(500, (2.0, 2.0, 2.0))
    few = (truth != 2) | (np.cumsum(truth == 2) <= 10)
    fitted = closed_set.fit("iso_percls", scores[few], truth[few], 30)
    whole = closed_set.fit("iso_all", scores[few], truth[few], 30)
    assert isinstance(fitted, OneVersusRest) and isinstance(whole, OneVersusRest)
    assert fitted.maps[2] == whole.maps[0] != fitted.maps[0]


def test_a_row_mapped_to_nothing_stays_as_it_was():
    never = OneVersusRest((Knots((0.0, 0.9, 1.0), (0.0, 0.0, 1.0)),))
    scores = np.array([[0.5, 0.5, 0.5], [0.999999, 0.01, 0.01]])
    probabilities = never(scores)
    np.testing.assert_allclose(probabilities[0], 1 / 3)
    np.testing.assert_allclose(probabilities[1], [1, 0, 0])


@pytest.mark.parametrize("method", closed_set.METHODS)
def test_classes_that_are_never_mistaken_stay_finite(method):
    truth = np.arange(30) % 3
    fitted = closed_set.fit(method, np.where(np.eye(3)[truth] > 0, 0.8, 0.1), truth, 5)
    probabilities = fitted(np.array([[0.8, 0.1, 0.1]]))
    assert 0.5 < probabilities[0, 0] < 1 and probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize("method", closed_set.METHODS)
def test_a_single_class_is_certain(method):
    fitted = closed_set.fit(method, np.full((5, 1), 0.4), np.zeros(5, int), 1)
    assert fitted(np.array([[0.2], [0.9]])).tolist() == [[1], [1]]


def test_entropy_is_in_bits():
    probabilities = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0], [0.7, 0.1, 0.1, 0.1]])
    np.testing.assert_allclose(closed_set.entropy(probabilities), entropy(probabilities, base=2, axis=1), atol=1e-12)
    assert closed_set.entropy(probabilities)[:3].tolist() == [0, 2, 1]


_objects_of_any_kind = st.lists(
    st.tuples(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), st.integers(0, 2)), min_size=1, max_size=40
)


@settings(deadline=None, max_examples=40)
@given(_objects_of_any_kind, st.sampled_from(closed_set.METHODS), st.randoms())
def test_rows_sum_to_one_whatever_the_objects_and_their_order(rows, method, random):
    first, second = (_fit(method, one) for one in (rows, random.sample(rows, len(rows))))
    scores = np.array([one for one, _ in rows])
    probabilities = first(scores)
    assert (probabilities >= 0).all() and (probabilities <= 1).all()
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_allclose(probabilities, second(scores), atol=1e-4)
    assert (closed_set.entropy(probabilities) <= math.log2(3) + 1e-9).all()


def _fit(method: str, rows: list[tuple[list[float], int]]) -> Temperatures | OneVersusRest:
    return closed_set.fit(method, np.array([one for one, _ in rows]), np.array([label for _, label in rows]), 3)


@pytest.mark.parametrize("values", [(), (0.0,), (-1.0, 1.0), (math.inf,), (math.nan,)])
def test_temperatures_are_positive(values):
    with pytest.raises(ValueError):
        Temperatures(values)


def test_there_must_be_a_map():
    with pytest.raises(ValueError):
        OneVersusRest(())
