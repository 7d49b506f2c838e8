from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from activelearning.errors import UserError
from trainer.box_decoding import Sampling, covariance, decode, decode_distances, laplace_std, size_std

# the published vector has y before x, in code, anchor and corners
SWAP = [1, 0, 3, 2]
CODE = np.array([0.1, -0.2, 0.3, 0.05])[SWAP]
STD = np.array([0.05, 0.1, 0.2, 0.3])[SWAP]
ANCHOR = np.array([100.0, 200, 164, 328])[SWAP]
BOX = np.array([94.33191, 168.02183, 182.46809, 308.77817])[SWAP]
BOX_STD = np.array([9.46015, 25.10564, 9.46015, 25.10564])[SWAP]
FALSE_BOX = np.array([95.20452, 171.11865, 181.59548, 305.68135])[SWAP]
FALSE_STD = np.array([9.94254, 13.97329, 12.86336, 18.31139])[SWAP]


def _corners(codes: np.ndarray, anchor: np.ndarray) -> np.ndarray:
    """The coder written out, for one anchor."""
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    x, y = codes[:, 0] * width + anchor[0] + width / 2, codes[:, 1] * height + anchor[1] + height / 2
    w, h = width * np.exp(codes[:, 2]), height * np.exp(codes[:, 3])
    return np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)


@pytest.mark.parametrize("method", ["l-norm", "n-flow"])
def test_the_published_vector(method):
    decoded = decode(method, CODE, STD, ANCHOR)
    assert decoded.xyxy == pytest.approx(BOX, abs=1e-4)
    assert decoded.std == pytest.approx(BOX_STD, abs=1e-4)


def test_the_published_vector_of_the_wrong_way():
    decoded = decode("falsedec", CODE, STD, ANCHOR)
    assert decoded.xyxy == pytest.approx(FALSE_BOX, abs=1e-4)
    assert decoded.std == pytest.approx(FALSE_STD, abs=1e-4)


def test_the_wrong_way_moves_with_the_anchor_and_the_right_one_does_not():
    moved = ANCHOR + 1000
    assert decode("l-norm", CODE, STD, moved).std == pytest.approx(BOX_STD, abs=1e-4)
    assert (decode("falsedec", CODE, STD, moved).std > 1.5 * FALSE_STD).all()
    assert np.isfinite(decode("falsedec", CODE, STD, ANCHOR - 1000).std).all()


_codes = arrays.arrays(np.float64, (3, 4), elements=st.floats(-2, 2))
_stds = arrays.arrays(np.float64, (3, 4), elements=st.floats(0, 2))
_places = arrays.arrays(np.float64, (3, 2), elements=st.floats(-100, 2000))
_sides = arrays.arrays(np.float64, (3, 2), elements=st.floats(1, 500))
_weights = st.tuples(*[st.floats(0.5, 20)] * 4)


@settings(deadline=None)
@given(_codes, _stds, _places, _sides, _weights)
def test_two_derivations_agree(codes, std, places, sides, weights):
    anchors = np.concatenate([places, places + sides], 1)
    first, second = (decode(method, codes, std, anchors, weights=weights) for method in ("l-norm", "n-flow"))
    size = np.tile(first.xyxy[:, 2:] - first.xyxy[:, :2], 2)
    assert second.xyxy == pytest.approx(first.xyxy, rel=1e-6, abs=1e-6)
    # an e-16th of the box is what a float leaves of a spread that is nearly none
    assert (np.abs(second.std - first.std) <= 1e-6 * first.std + 1e-12 * (size + np.abs(first.xyxy))).all()


@settings(deadline=None)
@given(_codes, _stds, _places, _sides, _weights)
def test_the_corner_covariance_has_the_variances_on_its_diagonal(codes, std, places, sides, weights):
    anchors = np.concatenate([places, places + sides], 1)
    exact = covariance(codes, std, anchors, weights=weights)
    decoded = decode("l-norm", codes, std, anchors, weights=weights)
    assert np.sqrt(np.diagonal(exact, axis1=1, axis2=2)) == pytest.approx(decoded.std, rel=1e-9, abs=1e-9)
    assert exact == pytest.approx(exact.transpose(0, 2, 1))
    assert (exact[:, [0, 2], :][:, :, [1, 3]] == 0).all()


def test_samples_come_near_the_moments():
    draws = 20_000
    sampled = decode("sample", CODE, STD, ANCHOR, sampling=Sampling(np.random.default_rng(0), draws))
    exact = decode("l-norm", CODE, STD, ANCHOR)
    assert np.abs(sampled.xyxy - exact.xyxy).max() > 0
    assert (np.abs(sampled.xyxy - exact.xyxy) < 4 * exact.std / np.sqrt(draws)).all()
    # the variance of a standard deviation: variance × (kurtosis - 1) / 4n
    corners = _corners(np.random.default_rng(1).normal(CODE, STD, (draws, 4)), ANCHOR)
    kurtosis = ((corners - corners.mean(0)) ** 4).mean(0) / corners.var(0) ** 2
    assert (np.abs(sampled.std - exact.std) < 4 * exact.std * np.sqrt((kurtosis - 1) / (4 * draws))).all()


def test_equal_seeds_draw_equal_samples():
    one, same, other = (decode("sample", CODE, STD, ANCHOR, sampling=Sampling(np.random.default_rng(seed), 9)) for seed in (0, 0, 1))
    assert (one.xyxy == same.xyxy).all() and (one.std == same.std).all()
    assert (one.xyxy != other.xyxy).all()


def test_sample_is_mean_and_population_deviation_of_its_draws():
    sampled = decode("sample", CODE, STD, ANCHOR, sampling=Sampling(np.random.default_rng(3), 50))
    random = np.random.default_rng(3)
    corners = _corners(np.array([random.normal(CODE, STD) for _ in range(50)]), ANCHOR)
    assert sampled.xyxy == pytest.approx(corners.mean(0))
    assert sampled.std == pytest.approx(corners.std(0))


def test_the_covariance_is_that_of_samples():
    draws = 200_000
    corners = _corners(np.random.default_rng(0).normal(CODE, STD, (draws, 4)), ANCHOR)
    exact = covariance(CODE, STD, ANCHOR)
    off = corners - corners.mean(0)
    error = (off[:, :, None] * off[:, None, :]).std(0) / np.sqrt(draws)
    assert (np.abs(np.cov(corners.T) - exact) < 4 * error).all()
    # ymin and ymax: what a diagonal of variances leaves out
    assert exact[1, 3] / exact[1, 1] == pytest.approx(-0.771, abs=5e-4)


def test_width_and_height_vary_more_than_independent_corners_would_say():
    draws = 200_000
    corners = _corners(np.random.default_rng(1).normal(CODE, STD, (draws, 4)), ANCHOR)
    size = corners[:, 2:] - corners[:, :2]
    kurtosis = ((size - size.mean(0)) ** 4).mean(0) / size.var(0) ** 2
    found = size_std(covariance(CODE, STD, ANCHOR))
    assert (np.abs(found - size.std(0)) < 4 * found * np.sqrt((kurtosis - 1) / (4 * draws))).all()
    assert (found > np.sqrt(2) * BOX_STD[:2]).all()


def test_a_certain_code_is_decoded_plainly():
    for method in ("l-norm", "n-flow", "sample"):
        decoded = decode(method, CODE, np.zeros(4), ANCHOR, sampling=Sampling(np.random.default_rng(0), 3))
        assert decoded.xyxy == pytest.approx(_corners(CODE[None], ANCHOR)[0])
        assert decoded.std == pytest.approx(np.zeros(4), abs=1e-10)


def test_the_mean_width_is_larger_by_half_the_variance():
    plain, spread = (decode("l-norm", CODE, std, ANCHOR).xyxy for std in (np.zeros(4), STD))
    assert (spread[2] - spread[0]) / (plain[2] - plain[0]) == pytest.approx(np.exp(STD[2] ** 2 / 2))
    assert spread[0] + spread[2] == pytest.approx(plain[0] + plain[2])


def test_coder_weights_scale_code_and_spread():
    weights = (10.0, 10.0, 5.0, 5.0)
    for method in ("l-norm", "n-flow", "falsedec"):
        plain, weighted = decode(method, CODE, STD, ANCHOR), decode(method, CODE * weights, STD * weights, ANCHOR, weights=weights)
        assert weighted.xyxy == pytest.approx(plain.xyxy)
        assert weighted.std == pytest.approx(plain.std)


def test_any_leading_shape_is_decoded_box_by_box():
    codes, std, anchors = (np.broadcast_to(one, (2, 3, 4)) for one in (CODE, STD, ANCHOR))
    for method in ("l-norm", "n-flow", "falsedec", "sample"):
        decoded = decode(method, codes, std, anchors, sampling=Sampling(np.random.default_rng(0), 2))
        assert decoded.xyxy.shape == decoded.std.shape == (2, 3, 4)
    assert covariance(codes, std, anchors).shape == (2, 3, 4, 4)
    assert decode("n-flow", np.zeros((0, 4)), np.zeros((0, 4)), np.zeros((0, 4))).xyxy.shape == (0, 4)


def test_distances_keep_their_spread():
    points, distances, std = np.array([[50.0, 40]]), np.array([[10.0, 20, 30, 5]]), np.array([[1.0, 2, 3, 4]])
    decoded = decode_distances(distances, std, points)
    assert decoded.xyxy.tolist() == [[40, 20, 80, 45]]
    assert decoded.std.tolist() == [[1, 2, 3, 4]]


def test_distances_of_a_laplace_scale_are_those_of_samples():
    draws = 100_000
    scale = np.array([1.0, 2, 3, 4])
    decoded = decode_distances(np.full(4, 20.0), laplace_std(scale), np.array([50.0, 40]))
    drawn = np.array([50, 40, 50, 40]) + [-1, -1, 1, 1] * np.random.default_rng(0).laplace(20.0, scale, (draws, 4))
    assert (np.abs(drawn.mean(0) - decoded.xyxy) < 4 * decoded.std / np.sqrt(draws)).all()
    # a Laplace distribution has kurtosis 6
    assert (np.abs(drawn.std(0) - decoded.std) < 4 * decoded.std * np.sqrt(5 / (4 * draws))).all()


def test_an_unknown_method_is_told_the_known_ones():
    with pytest.raises(UserError, match=r"'lnorm' is no way .* falsedec, l-norm, n-flow, sample"):
        decode("lnorm", CODE, STD, ANCHOR)


@pytest.mark.parametrize(
    ("code", "std", "anchor", "weights"),
    [
        (CODE, -STD, ANCHOR, (1, 1, 1, 1)),
        (CODE, STD * np.nan, ANCHOR, (1, 1, 1, 1)),
        (CODE * np.inf, STD, ANCHOR, (1, 1, 1, 1)),
        (CODE, STD, ANCHOR[::-1], (1, 1, 1, 1)),
        (CODE, STD, ANCHOR, (1, 1, 0, 1)),
        (CODE, STD[:3], ANCHOR, (1, 1, 1, 1)),
        (CODE[:3], STD[:3], ANCHOR[:3], (1, 1, 1, 1)),
        (CODE, STD * 1000, ANCHOR, (1, 1, 1, 1)),
    ],
)
def test_what_makes_no_box_is_refused(code, std, anchor, weights):
    for decoder in (partial(decode, "l-norm"), covariance):
        with pytest.raises(ValueError, match="must"):
            decoder(code, std, anchor, weights=weights)


def test_sampling_without_a_generator_is_refused():
    with pytest.raises(ValueError, match="random generator"):
        decode("sample", CODE, STD, ANCHOR)
    with pytest.raises(ValueError, match="not negative"):
        laplace_std(np.array([-1.0]))
