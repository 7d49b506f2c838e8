import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom, norm, t
from sklearn.metrics import roc_curve

from activelearning.errors import UserError
from tests.trainer.unsure_scene import BUDGETS, CORRECT, VALUES, keeps
from trainer.budgets import Budget, nearest_vertex, threshold

# The threshold of one uncertainty.


def test_thresholds_by_hand():
    # three of four correct ones lie up to 3, the next detection above is at 4; one of two false ones is at 5, the next below at 4
    assert threshold(VALUES, CORRECT, Budget("correct", 0.75, None)) == 3.5
    assert threshold(VALUES, CORRECT, Budget("correct", 1.0, None)) == 4.5
    assert threshold(VALUES, CORRECT, Budget("false", 0.5, None)) == 4.5
    assert threshold(VALUES, CORRECT, Budget("false", 0.51, None)) == 2.5
    assert threshold(VALUES[:3], CORRECT[:3], Budget("correct", 1.0, None)) == math.inf


def test_without_anything_to_protect_the_budget_cannot_break():
    assert threshold(VALUES, np.zeros(6, bool), Budget("correct", 0.9, None)) == math.inf
    assert threshold(VALUES, np.ones(6, bool), Budget("false", 0.9, None)) == -math.inf
    assert threshold(VALUES, CORRECT, Budget("correct", 0.9, 0.95)) == math.inf


_ties = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=30)


@settings(deadline=None)
@given(_ties, st.sampled_from(BUDGETS))
def test_the_budget_is_never_broken_and_nothing_better_keeps_it(rows, budget):
    values, correct = np.array([row[0] for row in rows]) / 7, np.array([row[1] for row in rows])
    removed = values >= threshold(values, correct, budget)
    assert keeps(removed, correct, budget)
    if (correct if budget.of == "correct" else ~correct).any():
        possible = [values >= one for one in (*values, math.inf)]
        best = max(_gain(one, correct, budget) for one in possible if keeps(one, correct, budget))
        assert _gain(removed, correct, budget) == best


def _gain(removed: np.ndarray, correct: np.ndarray, budget: Budget) -> int:
    return int(removed[~correct].sum() if budget.of == "correct" else (~removed[correct]).sum())


def test_neighbouring_floats_are_told_apart():
    one = np.array([1.0, np.nextafter(1.0, 2)])
    for budget, expected in ((Budget("correct", 1.0, None), [False, True]), (Budget("false", 1.0, None), [False, True])):
        assert (one >= threshold(one, np.array([True, False]), budget)).tolist() == expected


@pytest.mark.parametrize("share", [0, -0.5, 1.01, math.nan, True, "0.9"])
def test_a_budget_that_is_no_share_is_refused(share):
    with pytest.raises(UserError, match="budget's share"):
        Budget("correct", share)


def test_a_budget_of_something_else_or_of_a_certain_promise_is_refused():
    with pytest.raises(UserError, match="not of 'wrong'"):
        Budget("wrong")
    with pytest.raises(UserError, match="confidence lies between"):
        Budget(confidence=1.0)


# What holds for fresh detections.


@pytest.mark.parametrize(
    ("count", "rank"), [(58, None), (59, 59), (92, 92), (93, 92), (123, 122), (124, 122), (153, 150), (181, 177), (208, 203)]
)
def test_ranks_are_those_of_wilks(count, rank):
    # the smallest samples whose 1st, 2nd, ... from the top bounds 95 % with 95 % confidence: 59, 93, 124, 153, 181, 208
    assert Budget().needed(count) == rank


@given(st.integers(1, 300), st.floats(0.05, 0.99), st.floats(0.5, 0.99))
def test_the_rank_is_the_lowest_that_the_binomial_allows(count, share, confidence):
    rank = Budget("correct", share, confidence).needed(count)
    assert (rank is None) == (1 - share**count < confidence)
    if rank is not None:
        assert binom.cdf(rank - 1, count, share) >= confidence - 1e-12
        assert rank == 1 or binom.cdf(rank - 2, count, share) < confidence + 1e-12


@pytest.mark.parametrize("of", ["correct", "false"])
def test_the_promise_holds_for_fresh_detections_and_the_nearest_vertex_breaks_it(of):
    random, draws, budget = np.random.default_rng(0), 600, Budget(of)
    correct = np.arange(400) < 200
    held = {"ours": 0, "nearest": 0}
    for _ in range(draws):
        values = random.normal(np.where(correct, 0.0, 2.0))
        for name, found in (("ours", threshold(values, correct, budget)), ("nearest", nearest_vertex(values, correct, budget))):
            fresh = norm.cdf(found) if of == "correct" else norm.sf(found, 2.0)
            held[name] += fresh >= budget.share
    assert held["ours"] >= draws * 0.95 - 3 * math.sqrt(draws * 0.95 * 0.05)
    assert 0.35 < held["nearest"] / draws < 0.65


@pytest.mark.parametrize("of", ["correct", "false"])
def test_the_promise_holds_for_fresh_images_whose_detections_resemble_each_other(of):
    random, draws, budget, held = np.random.default_rng(0), 600, Budget(of), np.zeros(2)
    image = np.repeat(np.arange(80), 10)
    correct = np.arange(800) % 2 == 0
    for _ in range(draws):
        values = random.normal(0, 1.5, 80)[image] + random.normal(np.where(correct, 0.0, 2.0))
        found = [threshold(values, correct, budget, of_image) for of_image in (image, None)]
        held += [norm.cdf(one if of == "correct" else 2 - one, 0, math.hypot(1, 1.5)) >= budget.share for one in found]
    assert held[0] / draws >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / draws)
    assert held[1] / draws < 0.9


def test_an_image_of_equal_detections_is_worth_one_of_them():
    # 59 images can promise what 59 detections can, however often each value is seen; with ten detections each, 58 cannot
    values = np.repeat(np.arange(590.0), 10)
    many = threshold(values, np.ones(5900, bool), Budget(), np.repeat(np.arange(590), 10))
    assert values[values < many].max() == threshold(np.arange(590.0), np.ones(590, bool), Budget()) - 0.5
    assert threshold(values[:580], np.ones(580, bool), Budget(), np.repeat(np.arange(58), 10)) == math.inf
    assert threshold(values, np.ones(5900, bool), Budget(), np.zeros(5900, np.int64)) == math.inf


def test_few_images_promise_less_by_the_lost_degrees_of_freedom():
    # every image has the same share of every stretch, so that only their number counts: 1200 by the squared ratio of the two t
    worth = 1200 * (t.ppf(0.975, 1199) / t.ppf(0.975, 11)) ** 2
    rank = next(k for k in range(1, 1201) if beta.ppf(0.05, worth * k / 1200, worth * (1 - k / 1200) + 1) >= 0.95)
    assert rank > (Budget().needed(1200) or 0)
    values = np.arange(1201.0)
    assert threshold(values, values < 1200, Budget(), np.arange(1201) % 12) == rank - 0.5


@pytest.mark.parametrize("of", ["correct", "false"])
@pytest.mark.parametrize("seed", range(3))
def test_the_nearest_vertex_is_that_of_the_published_rule(of, seed):
    random = np.random.default_rng(seed)
    correct = random.random(200) < 0.5
    values = np.round(random.normal(~correct, 1), 1)
    lost, found, thresholds = roc_curve(~correct, values)
    if of == "correct":
        expected = thresholds[np.argmin(np.abs((1 - found) - (1 - np.interp(1 - 0.95, lost, found))))]
    else:
        expected = thresholds[np.argmin(np.abs(lost - np.interp(0.95, found, lost)))]
    assert nearest_vertex(values, correct, Budget(of)) == expected
