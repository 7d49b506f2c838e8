"""The spread of samples against a plain loop and by hand; the masks that make the samples."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import spread
from trainer.monte_carlo import draw_masks
from trainer.spread import Spread


def bits(p: float) -> float:
    return -sum(one * math.log2(one) for one in (p, 1 - p) if one > 0)


def naive(scores: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standard deviations of corners and scores, and mutual information, number by number."""
    samples, count, classes = scores.shape
    epistemic, class_epistemic, information = np.zeros((count, 4)), np.zeros((count, classes)), np.zeros(count)
    for box in range(count):
        for corner in range(4):
            epistemic[box, corner] = deviation([corners[sample, box, corner] for sample in range(samples)])
        for label in range(classes):
            values = [float(scores[sample, box, label]) for sample in range(samples)]
            class_epistemic[box, label] = deviation(values)
            information[box] += bits(sum(values) / samples) - sum(map(bits, values)) / samples
    return epistemic, class_epistemic, information


def deviation(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))


def samples_of(seed: int, samples: int, count: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.random((samples, count, classes)), random.normal(50, 20, (samples, count, 4)), random.random((count, 4))


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(0, 4), st.integers(1, 4))
def test_sampled_agrees_with_a_plain_loop(seed: int, samples: int, count: int, classes: int) -> None:
    scores, corners, aleatoric = samples_of(seed, samples, count, classes)
    one = spread.sampled(scores, corners, aleatoric)
    epistemic, class_epistemic, information = naive(scores, corners)
    assert np.allclose(one.epistemic, epistemic, rtol=1e-5, atol=1e-5)
    assert np.allclose(one.class_epistemic, class_epistemic, atol=1e-6)
    assert np.allclose(one.mutual_information, information, atol=1e-6)
    assert (one.mutual_information >= 0).all() and (one.mutual_information <= classes).all()
    assert len(one) == count


def test_two_samples_by_hand() -> None:
    scores = np.array([[[1.0, 0.5]], [[0.0, 0.5]]])
    corners = np.array([[[0.0, 10, 20, 30]], [[0.0, 14, 26, 30]]])
    one = spread.sampled(scores, corners, np.array([[3.0, 0, 4, 1]]))
    # divided by the number of samples, not by one less: 10 and 14 are 2 from their mean
    assert one.epistemic.tolist() == [[0, 2, 3, 0]]
    assert one.class_epistemic.tolist() == [[0.5, 0]]
    # two samples that each are sure of the opposite tell one bit, two that both toss a coin tell nothing
    assert one.mutual_information.tolist() == [pytest.approx(1, abs=1e-6)]
    assert one.total.tolist() == [[3, 2, 5, 1]]


def test_mutual_information_of_samples_that_disagree_a_little() -> None:
    one = spread.sampled(np.array([[[0.9]], [[0.6]]]), np.zeros((2, 1, 4)), np.zeros((1, 4)))
    # H(3/4) = 0.811278, H(0.9) = 0.468996, H(0.6) = 0.970951
    assert one.mutual_information[0] == pytest.approx(0.811278 - (0.468996 + 0.970951) / 2, abs=1e-5)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=4), st.integers(1, 9))
def test_samples_that_agree_tell_nothing(scores: list[float], samples: int) -> None:
    same = np.repeat(np.array(scores, np.float32)[None, None], samples, 0)
    one = spread.sampled(same, np.ones((samples, 1, 4), np.float32), np.ones((1, 4), np.float32))
    assert one.mutual_information.tolist() == [pytest.approx(0, abs=1e-6)] and (one.mutual_information >= 0).all()
    assert not one.epistemic.any() and one.class_epistemic == pytest.approx(0, abs=1e-6)
    assert (one.total == one.aleatoric).all()


def test_total_variance_is_the_variance_of_all_that_the_samples_predict() -> None:
    random = np.random.default_rng(0)
    means, std = np.array([10.0, 13, 11, 18]), 2.5
    one = spread.sampled(np.zeros((4, 1, 1)), np.repeat(means[:, None, None], 4, 2), np.full((1, 4), std))
    drawn = random.normal(means[:, None], std, (4, 200_000))
    assert one.total[0] == pytest.approx(drawn.std(), rel=0.01)


def test_relative_takes_x_by_the_width_and_y_by_the_height() -> None:
    std = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]], np.float32)
    xyxy = np.array([[0, 0, 10, 20], [5, 5, 5, 15], [7, 7, 7, 7]], np.float32)
    shares = spread.relative(std, xyxy)
    assert shares[0].tolist() == pytest.approx([0.1, 0.1, 0.3, 0.2])
    # a box without width says nothing of x
    assert shares[1].tolist() == pytest.approx([0, 0.2, 0, 0.4]) and not shares[2].any()
    assert spread.relative(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32)).shape == (0, 4)


def spread_of(count: int, classes: int = 2) -> Spread:
    scores, corners, aleatoric = samples_of(count, 3, count, classes)
    return spread.sampled(scores, corners, aleatoric)


def test_scaled_is_larger_along_each_axis_and_says_the_same_of_classes() -> None:
    one, factors = spread_of(3), np.array([2, 0.5, 2, 0.5])
    larger = one.scaled(factors)
    assert np.allclose(larger.aleatoric, one.aleatoric * factors) and np.allclose(larger.epistemic, one.epistemic * factors)
    assert (larger.class_epistemic == one.class_epistemic).all() and (larger.mutual_information == one.mutual_information).all()
    assert np.allclose(larger.total, one.total * factors)


def test_what_is_picked_and_joined_again_is_the_same() -> None:
    one = spread_of(4)
    again = spread.concatenate([one[:1], one[np.array([False, True, False, False])], one[np.array([2, 3])]])
    for name in ("aleatoric", "epistemic", "class_epistemic", "mutual_information", "total"):
        assert (getattr(again, name) == getattr(one, name)).all()


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("aleatoric", np.zeros((3, 4), np.float32)),
        ("aleatoric", np.zeros((2, 4))),
        ("epistemic", np.zeros((2, 3), np.float32)),
        ("class_epistemic", np.zeros((1, 2), np.float32)),
        ("class_epistemic", np.zeros(2, np.float32)),
        ("mutual_information", np.zeros((2, 1), np.float32)),
        ("mutual_information", np.zeros(2)),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(name: str, array: np.ndarray) -> None:
    one = spread_of(2)
    arrays = {field: getattr(one, field) for field in ("aleatoric", "epistemic", "class_epistemic", "mutual_information")}
    with pytest.raises(ValueError, match=f"{name} must be float32 of shape"):
        Spread(**{**arrays, name: array})


CHANNELS = {"class_masks": 64, "box_masks": 48}


def test_masks_are_the_same_every_time() -> None:
    first, second = (draw_masks(CHANNELS, 10, 0.1) for _ in range(2))
    assert list(first) == list(CHANNELS) and all((first[name] == second[name]).all() for name in CHANNELS)
    assert {name: mask.shape for name, mask in first.items()} == {"class_masks": (10, 64), "box_masks": (10, 48)}


def test_one_sample_is_the_plain_model() -> None:
    masks = draw_masks(CHANNELS, 1, 0.9)
    assert all(mask.shape == (1, CHANNELS[name]) and mask.dtype == np.float32 and (mask == 1).all() for name, mask in masks.items())


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.75])
def test_masks_keep_the_right_share_and_the_mean(rate: float) -> None:
    mask = draw_masks({"masks": 200}, 500, rate)["masks"]
    assert mask.dtype == np.float32 and set(np.unique(mask)) == {np.float32(0), np.float32(1 / (1 - rate))}
    # 100,000 draws: the share is off by 0.0016 at most in two of three cases
    assert (mask > 0).mean() == pytest.approx(1 - rate, abs=0.008) and mask.mean() == pytest.approx(1, abs=0.03)
    assert len(np.unique(mask, axis=0)) == 500


def test_nothing_is_dropped_at_rate_zero() -> None:
    assert (draw_masks(CHANNELS, 5, 0.0)["box_masks"] == 1).all() and draw_masks({}, 5, 0.1) == {}
