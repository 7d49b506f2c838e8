import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression

from trainer.calibration import context, isotonic, logistic, score_metrics, scores
from trainer.calibration.logistic import Prior
from trainer.calibration.maps import Factor, Knots, Logistic, logit, sigmoid
from trainer.detections import Detections, no_detections

_ALL = [method for method in scores.METHODS if method.endswith("_all")]


def _even(count: int, step: float) -> np.ndarray:
    """Numbers in 0..1 spread evenly, the same in every version of numpy."""
    return (np.arange(count) * step) % 1


def _squared(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, and boxes that are right with their square."""
    confidence = 0.02 + 0.96 * _even(count, 0.6180339887)
    return confidence, _even(count, 0.7548776662) < confidence**2


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # netcal 1.4.0: TemperatureScaling, LogisticCalibration and BetaCalibration, each with detection=True
        ("ts_all", [0.09958, 0.29962, 0.5, 0.70038, 0.90042]),
        ("platt_all", [0.01913, 0.09639, 0.23659, 0.4738, 0.83123]),
        ("beta_all", [0.01094, 0.08885, 0.24829, 0.49248, 0.81067]),
    ],
)
def test_with_many_boxes_the_logistic_maps_are_those_of_netcal(method, expected):
    confidence, right = _squared(20_000)
    fitted = scores.fit(method, confidence, np.zeros(20_000, int), right, 1, 30)
    np.testing.assert_allclose(fitted(np.array([0.1, 0.3, 0.5, 0.7, 0.9]), np.zeros(5, int)), expected, atol=5e-4)


def test_the_temperature_is_the_most_probable_one():
    confidence, right = _squared(100)
    z = logit(confidence)

    def loss(log_slope: float) -> float:
        scaled = z * np.exp(log_slope)
        return float(np.logaddexp(0, np.where(right, -scaled, scaled)).sum() + log_slope**2 / 2)

    fitted = scores.fit("ts_all", confidence, np.zeros(100, int), right, 1, 30)
    assert fitted.maps[0].a == pytest.approx(np.exp(minimize_scalar(loss).x), rel=1e-4)
    assert fitted.maps[0].a == fitted.maps[0].b and fitted.maps[0].c == 0


def test_isotonic_is_that_of_scikit_learn_but_for_the_two_imagined_boxes():
    random = np.random.default_rng(0)
    confidence = random.random(400).round(2)
    right = random.random(400) < confidence
    x = np.concatenate([confidence, [confidence.min(), confidence.max()]])
    theirs = IsotonicRegression(out_of_bounds="clip").fit(x, np.concatenate([right, [1, 0]]))
    probe = np.linspace(-0.5, 1.5, 301)
    np.testing.assert_allclose(isotonic.probability(confidence, right)(probe), theirs.predict(probe), atol=1e-6)


def test_isotonic_is_never_certain():
    knots = isotonic.probability(np.linspace(0.1, 0.9, 50), np.arange(50) >= 25)
    assert 0 < knots(np.array([0.0]))[0] < 0.1 and 0.9 < knots(np.array([1.0]))[0] < 1


@pytest.mark.parametrize("method", [*_ALL, *(one.replace("_all", "_percls") for one in _ALL)])
def test_right_and_wrong_wholly_apart_stay_finite(method):
    confidence = np.concatenate([np.full(5, 0.2), np.full(5, 0.8)])
    fitted = scores.fit(method, confidence, np.arange(10) % 2, confidence > 0.5, 3, 1)
    low, high = fitted(np.array([0.2, 0.8]), np.array([0, 0]))
    assert 0 < low < 0.5 < high < 1


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("method", scores.METHODS)
def test_all_right_or_all_wrong_is_not_certain(method, right):
    fitted = scores.fit(method, np.linspace(0.3, 0.7, 40), np.zeros(40, int), np.full(40, right), 2, 30)
    assert 0 < fitted(np.array([0.5]), np.array([1]))[0] < 1


def test_a_class_has_its_own_map_and_a_rare_one_that_of_all():
    confidence, _ = _squared(2000)
    class_id = np.arange(2000) % 2
    right = _even(2000, 0.5698402910) < np.where(class_id == 0, confidence, confidence**3)
    class_id[:10] = 2
    for method in ("iso_percls", "beta_percls"):
        fitted = scores.fit(method, confidence, class_id, right, 4, 30)
        own = fitted(np.full(4, 0.6), np.arange(4))
        whole = scores.fit(method.replace("percls", "all"), confidence, class_id, right, 4, 30)(np.array([0.6]), np.array([0]))
        assert own[0] == pytest.approx(0.6, abs=0.06) and own[1] == pytest.approx(0.216, abs=0.06)
        assert own[3] == pytest.approx(whole[0])
    assert scores.fit("iso_percls", confidence, class_id, right, 4, 30)(np.array([0.6]), np.array([2])) == pytest.approx(
        scores.fit("iso_all", confidence, class_id, right, 4, 30)(np.array([0.6]), np.array([2]))
    )


@pytest.mark.parametrize("kind", ["platt", "beta"])
def test_what_is_known_of_all_classes_helps_one_of_which_little_is(kind):
    confidence, _ = _squared(2000)
    right = _even(2000, 0.5698402910) < confidence**3
    probe, with_others, alone = np.linspace(0.1, 0.9, 9), 0.0, 0.0
    for few in range(1000, 1200, 8):
        class_id = (np.arange(2000) // 8 == few // 8).astype(int)
        rows = class_id == 1
        own = scores.fit(f"{kind}_percls", confidence, class_id, right, 2, 30)
        only = scores.fit(f"{kind}_all", confidence[rows], class_id[rows], right[rows], 2, 30)
        with_others += np.abs(own(probe, np.ones(9, int)) - probe**3).mean() / 25
        alone += np.abs(only(probe, np.ones(9, int)) - probe**3).mean() / 25
    assert with_others < 0.7 * alone


@pytest.mark.parametrize("method", ["platt_all", "beta_all", "iso_all"])
def test_calibrated_scores_keep_their_word_on_new_boxes(method):
    random = np.random.default_rng(3)
    fitting, judging = random.uniform(0.05, 0.95, 1000), random.uniform(0.05, 0.95, 20_000)
    fitted = scores.fit(method, fitting, np.zeros(1000, int), random.random(1000) < fitting**2, 1, 30)
    right = random.random(20_000) < judging**2
    assert score_metrics.ece(judging, right) > 0.15
    assert score_metrics.ece(fitted(judging, np.zeros(20_000, int)), right) < 0.03


_rows = st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(0, 2), st.booleans()), min_size=1, max_size=60)


@settings(deadline=None, max_examples=40)
@given(_rows, st.sampled_from(scores.METHODS), st.randoms())
def test_probabilities_are_in_range_and_monotone_in_any_order(rows, method, random):
    first, second = (scores.fit(method, *_columns(one), 3, 5) for one in (rows, random.sample(rows, len(rows))))
    probe = np.linspace(0, 1, 101)
    for label in range(3):
        mapped = first(probe, np.full(101, label))
        assert (mapped >= 0).all() and (mapped <= 1).all() and (np.diff(mapped) >= -1e-12).all()
        np.testing.assert_allclose(mapped, second(probe, np.full(101, label)), atol=1e-4)


def _columns(rows: list[tuple[float, int, bool]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    confidence, class_id, right = map(np.array, zip(*rows, strict=True))
    return confidence, class_id, right


def test_surroundings_are_the_border_the_size_and_the_images_scores():
    xyxy = np.array([[0, 50, 100, 150], [1, 60, 101, 160], [10, 60, 110, 160], [540, 60, 640, 160], [100, 379, 200, 479]], np.float32)
    confidence = np.array([0.5, 0.5, 0.9, 0.9, 0.9], np.float32)
    found = Detections(xyxy, confidence, np.zeros(5, np.int64), confidence[:, None])
    around = context.surroundings(found, (640, 480))
    assert around[:, 0].tolist() == [1, 1, 0, 1, 1]
    np.testing.assert_allclose(around[:, 1], np.log(np.sqrt(10_000 / (640 * 480))))
    np.testing.assert_allclose(around[:, 2], np.log(9), rtol=1e-5)
    larger = Detections(xyxy * 2, confidence, found.class_id, found.class_scores)
    np.testing.assert_allclose(context.surroundings(larger, (1280, 960)), around)
    assert context.surroundings(no_detections(3), (640, 480)).shape == (0, 3)


def test_context_finds_the_weights_that_made_the_boxes():
    random = np.random.default_rng(4)
    count = 40_000
    confidence, class_id = random.uniform(0.05, 0.95, count), random.integers(0, 2, count)
    around = np.stack([random.random(count) < 0.3, random.normal(-1, 0.5, count), random.normal(0, 1, count)], 1)
    true = context.Context((2.0, 1.0), (-1.0, 0.5, 0.8), (0.3, -0.4))
    right = random.random(count) < true(confidence, class_id, around)
    found = context.fit(confidence, class_id, right, around, 2)
    np.testing.assert_allclose(found.slopes, true.slopes, atol=0.12)
    np.testing.assert_allclose(found.surroundings, true.surroundings, atol=0.08)
    np.testing.assert_allclose(found.bias, true.bias, atol=0.12)


@pytest.mark.parametrize("count", [1, 2, 30])
def test_context_of_surroundings_that_are_all_alike_is_finite(count):
    confidence = np.linspace(0.2, 0.9, count)
    found = context.fit(confidence, np.zeros(count, int), confidence > 0.5, np.tile([0.0, -2.0, 1.0], (count, 1)), 3)
    mapped = found(confidence, np.full(count, 2), np.tile([1.0, -5.0, 3.0], (count, 1)))
    assert (mapped > 0).all() and (mapped < 1).all() and (np.diff(mapped) > 0).all()


def test_a_fit_that_does_not_converge_is_an_error():
    with pytest.raises(ArithmeticError, match="did not converge"):
        logistic.minimise(lambda u: (float(abs(u[0] - 1 / 3)), np.sign(u - 1 / 3)), np.zeros(1))


def test_the_gradient_of_the_prior_is_that_of_its_penalty():
    prior = Prior(np.array([0.5, -1.0]), np.array([2.0, 0.1]))
    at, step = np.array([1.0, 0.3]), np.array([1e-6, 0])
    _, gradient = prior.penalty(at)
    assert gradient[0] == pytest.approx((prior.penalty(at + step)[0] - prior.penalty(at - step)[0]) / 2e-6, rel=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Knots((), ()),
        lambda: Knots((1.0, 1.0), (0.0, 1.0)),
        lambda: Knots((0.0, 1.0), (1.0, 0.5)),
        lambda: Knots((0.0, 1.0), (0.5,)),
        lambda: Knots((0.0, float("nan")), (0.0, 1.0)),
        lambda: Knots((0.0, 1.0), (-1.0, 1.0)),
        lambda: Logistic(-1.0, 1.0, 0.0),
        lambda: Logistic(1.0, float("inf"), 0.0),
        lambda: Factor(-0.1),
        lambda: Factor(float("nan")),
        lambda: scores.PerClass(()),
        lambda: context.Context((1.0, -1.0), (0.0, 0.0, 0.0), (0.0,)),
        lambda: context.Context((1.0, 1.0), (0.0, float("inf"), 0.0), (0.0,)),
    ],
)
def test_maps_that_make_no_sense_cannot_be_made(make):
    with pytest.raises(ValueError):
        make()


def test_scores_of_zero_and_one_are_finite():
    ends = np.array([0, 1], np.float32)
    assert np.isfinite(logit(ends)).all()
    assert Logistic(1.0, 1.0, 0.0)(ends) == pytest.approx([0, 1], abs=1e-6)
    assert sigmoid(np.array([-1e6, 0, 1e6])).tolist() == [0, 0.5, 1]
