import math

import numpy as np
import pytest

from trainer.calibration import conformal
from trainer.calibration.conformal import Margins


def _boxes(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals that are anything but Gaussian and depend on each other, boxes, and deviations that say something about them."""
    sides = random.uniform(20, 300, (count, 2))
    xyxy = np.concatenate([np.zeros((count, 2)), sides], 1)
    std = np.tile(sides, 2) * random.uniform(0.01, 0.1, (count, 4))
    shared = random.standard_t(2, (count, 1))
    return std * (shared + random.laplace(0.3, 1, (count, 4)) * [1, 2, 0.5, 1]), xyxy, std


def _coverage(joint: str, unit: str, count: int, alpha: float, splits: int = 300) -> tuple[float, np.ndarray]:
    """Share of new boxes inside with all four corners, and with each."""
    inside = []
    for seed in range(splits):
        random = np.random.default_rng(seed)
        fitted = conformal.fit(*_boxes(count, random), alpha, joint, unit)
        residual, xyxy, std = _boxes(200, random)
        inside.append(np.abs(residual) <= fitted(xyxy, std))
    covered = np.concatenate(inside)
    return float(covered.all(1).mean()), covered.mean(0)


@pytest.mark.parametrize("unit", conformal.UNITS)
@pytest.mark.parametrize(("count", "alpha"), [(19, 0.1), (50, 0.1), (101, 0.3)])
def test_the_greatest_score_keeps_the_promise_for_all_four_and_no_more(unit, count, alpha):
    together, _ = _coverage("max", unit, count, alpha)
    rank = math.ceil(round((count + 1) * (1 - alpha), 9))
    # exactly rank/(n+1) on average over the draws, when scores are continuous
    assert together == pytest.approx(rank / (count + 1), abs=0.012)
    assert together >= 1 - alpha - 0.012


@pytest.mark.parametrize("unit", conformal.UNITS)
def test_single_keeps_the_promise_for_each_corner(unit):
    together, single = _coverage("single", unit, 49, 0.1)
    assert single == pytest.approx([0.9] * 4, abs=0.012)
    assert together < 0.85


def test_bonferroni_keeps_the_promise_for_all_four_and_pays_for_it():
    together, single = _coverage("bonferroni", "deviation", 79, 0.1)
    assert together >= 0.9 and single == pytest.approx([0.975] * 4, abs=0.01)


def test_the_quantile_by_hand():
    # (n+1)(1−α): 9.9 → 10th of 10; 9 → 9th; 10.8 → 11th of 11; 8.1 → of 8 there is none; 20 · .05 is 1, in spite of rounding
    table = ((10, 0.1, 10), (9, 0.1, 9), (11, 0.1, 11), (8, 0.1, None), (99, 0.01, 99), (98, 0.01, None), (3, 0.5, 2), (19, 0.95, 1))
    for count, alpha, rank in table:
        scores = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
        assert conformal.quantile(scores, alpha) == rank
    assert conformal.quantile(np.zeros(0), 0.5) is None


@pytest.mark.parametrize("joint", conformal.JOINTS)
def test_too_few_boxes_promise_nothing(joint):
    residual, xyxy, std = _boxes(8, np.random.default_rng(0))
    fitted = conformal.fit(residual, xyxy, std, 0.1, joint, "deviation")
    assert fitted.quantiles == (None,) * 4 and fitted.count == 8
    assert np.isinf(fitted(xyxy, std)).all()
    empty = conformal.fit(residual[:0], xyxy[:0], std[:0], 0.1, joint, "deviation")
    assert np.isinf(empty(xyxy, std)).all()


def test_margins_grow_with_what_they_are_a_multiple_of():
    margins = Margins(0.1, "max", "deviation", (1.0, 2.0, 3.0, None), 50)
    xyxy, std = np.array([[0, 0, 10, 20.0]]), np.array([[1.0, 0.5, 2.0, 1.0]])
    assert margins(xyxy, std).tolist() == [[1, 1, 6, math.inf]]
    assert Margins(0.1, "max", "size", (0.1, 0.1, 0.1, 0.1), 50)(xyxy, None).tolist() == [[1, 2, 1, 2]]
    assert Margins(0.1, "max", "pixel", (1.5, 1.5, 1.5, 1.5), 50)(xyxy, None).tolist() == [[1.5] * 4]


def test_deviations_of_zero_or_unknown_do_not_break_the_promise():
    residual, xyxy, std = _boxes(99, np.random.default_rng(0))
    clean = conformal.fit(residual, xyxy, std, 0.1, "max", "deviation")
    std[:3], std[3:6] = 0, np.nan
    fitted = conformal.fit(residual, xyxy, std, 0.1, "max", "deviation")
    assert clean.quantiles[0] is not None and fitted.quantiles[0] is not None
    # six boxes that nothing holds count as outside
    assert fitted.quantiles[0] >= clean.quantiles[0]
    assert fitted(xyxy, std)[:3].tolist() == [[0] * 4] * 3 and np.isinf(fitted(xyxy, std)[3:6]).all()
    std[:20] = 0
    assert conformal.fit(residual, xyxy, std, 0.1, "max", "deviation").quantiles == (None,) * 4


def test_no_boxes_have_no_margins_and_some_need_their_deviation():
    margins = Margins(0.1, "max", "deviation", (1.0, 1.0, 1.0, 1.0), 50)
    assert margins(np.zeros((0, 4)), None).shape == (0, 4)
    with pytest.raises(ValueError, match="no deviations"):
        margins(np.zeros((1, 4)), None)


@pytest.mark.parametrize(
    ("alpha", "joint", "unit", "quantile"),
    [(0, "max", "size", 1.0), (1, "max", "size", 1.0), (0.1, "each", "size", 1.0), (0.1, "max", "metre", 1.0), (0.1, "max", "size", -1.0)],
)
def test_margins_that_make_no_sense_cannot_be_made(alpha, joint, unit, quantile):
    with pytest.raises(ValueError):
        Margins(alpha, joint, unit, (quantile, 1.0, 1.0, 1.0), 3)
