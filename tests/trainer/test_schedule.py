"""Learning rates, and the step at which a run has learned enough."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer import schedule
from trainer.schedule import Schedule

PLAN = Schedule(1000, 1.0)


def test_without_a_validation_share_the_rate_climbs_then_falls_to_a_fiftieth():
    rates = [schedule.cosine(PLAN, iteration) for iteration in range(1000)]
    assert rates[0] < 0.05
    assert max(rates) == rates[50] == 1.0
    assert rates[:50] == sorted(rates[:50])
    assert rates[50:] == sorted(rates[50:], reverse=True)
    assert rates[-1] == pytest.approx(0.02, abs=1e-4)


def test_with_one_it_stays_at_its_peak_until_it_is_told_to_fall():
    rates = [schedule.stable_then_decay(PLAN, iteration, None if iteration < 400 else 350) for iteration in range(500)]
    assert set(rates[50:400]) == {1.0}
    assert rates[400] == pytest.approx(0.02 + 0.98 * (1 + math.cos(math.pi / 3)) / 2)
    assert rates[400:] == sorted(rates[400:], reverse=True)
    assert schedule.end(PLAN, 350) == 500


@pytest.mark.parametrize(
    ("losses", "falls_from"),
    [
        ([], None),
        ([1.0] * 6, None),
        ([1.0] * 7, 175),  # the first look is a gain, six without one follow
        ([2.0, 1.0, *[0.999] * 6], 200),  # a thousandth is no gain
        ([1 / (1 + k) for k in range(27)], None),
        ([1 / (1 + k) for k in range(28)], 700),  # the budget leaves no later step
        ([3.0, 2.0, 1.0, 1.1, 1.1, 1.1, 1.1, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 350),
    ],
)
def test_a_plateau_of_six_looks_or_the_budget_lets_the_rate_fall(losses, falls_from):
    assert PLAN.check_every == 25
    assert schedule.decay_from(PLAN, losses) == falls_from


def test_looks_at_small_images_do_not_count():
    assert schedule.decay_from(Schedule(1000, 1.0, small_share=0.3), [1.0] * 12) is None
    assert schedule.decay_from(Schedule(1000, 1.0, small_share=0.3), [1.0] * 19) == 475


@given(st.integers(1, 5000), st.lists(st.floats(0, 1e6), max_size=60))
def test_a_decision_once_made_stands_and_the_run_ends_within_its_budget(iterations, losses):
    plan = Schedule(iterations, 1.0)
    decisions = [schedule.decay_from(plan, losses[:count]) for count in range(len(losses) + 1)]
    made = [one for one in decisions if one is not None]
    assert len(set(made)) <= 1
    if made:
        assert decisions[-1] is not None
        assert made[0] <= schedule.end(plan, made[0]) <= iterations
