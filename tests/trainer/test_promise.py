"""Promises: exact bounds against scipy and brute force, what a simulated loop keeps, and the sentences."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest

from trainer import promise
from trainer.promise import Rule, class_rule

MANY = np.full(1_000_000, 0.9)


def reviewed(count: int, wrong: int, precision: float, pool: np.ndarray = MANY) -> Rule:
    """The rule from so many boxes, each of an image of its own, that are less sure than the pool; the least sure ones are wrong."""
    correct = np.arange(count) < count - wrong
    return class_rule("knot", np.linspace(0.8, 0.5, count), correct, np.arange(count), pool, precision=precision, confidence=0.95)


@pytest.mark.parametrize(("precision", "wrong", "enough"), [(0.99, 0, 299), (0.98, 0, 149), (0.95, 0, 59), (0.99, 1, 473)])
def test_the_known_numbers_of_boxes_prove_a_promise(precision: float, wrong: int, enough: int) -> None:
    assert promise.least_reviewed(wrong, precision, 0.95) == enough
    rule = reviewed(enough, wrong, precision)
    assert rule.threshold == pytest.approx(0.5) and (rule.reviewed, rule.wrong) == (enough, wrong) and rule.bound >= precision


@pytest.mark.parametrize(("precision", "enough"), [(0.99, 299), (0.98, 149), (0.95, 59)])
def test_one_box_less_does_not_and_says_so(precision: float, enough: int) -> None:
    rule = reviewed(enough - 1, 0, precision)
    assert rule.threshold is None and rule.needed == 1
    assert str(rule) == "knot: not enough evidence: about 1 more reviewed boxes of class knot needed"


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize(("wrong", "count"), [(0, 1), (0, 299), (1, 473), (7, 40), (12, 5000), (39, 40)])
def test_the_bound_of_a_share_is_that_of_clopper_and_pearson(wrong: int, count: int, confidence: float) -> None:
    exact = binomtest(count - wrong, count).proportion_ci(2 * confidence - 1 or 1e-15, "exact").low
    assert promise.share_bound(wrong, count, confidence) == pytest.approx(exact, rel=1e-9, abs=1e-9)
    assert promise.precision_bound(wrong, count, 3_000_000, confidence) == pytest.approx(exact, abs=2e-4)


def test_of_boxes_that_are_all_wrong_nothing_is_proved() -> None:
    assert promise.share_bound(3, 3, 0.95) == promise.share_bound(0, 0, 0.95) == 0.0


@pytest.mark.parametrize("wrong", [0, 1, 3])
@pytest.mark.parametrize(("count", "accepted"), [(5, 1), (12, 7), (20, 20), (9, 30)])
def test_the_bound_of_a_few_boxes_is_what_counting_all_draws_gives(wrong: int, count: int, accepted: int) -> None:
    expected = max(bad for bad in range(accepted + 1) if _chance_by_counting(wrong, count, accepted, bad) > Fraction(1, 20))
    assert promise.precision_bound(wrong, count, accepted, 0.95) == 1 - expected / accepted


def _chance_by_counting(wrong: int, count: int, accepted: int, bad: int) -> Fraction:
    """Of all ways to draw the reviewed boxes from all, the share with no more than `wrong` wrong ones among them."""
    drawn = sum(comb(wrong + bad, k) * comb(count + accepted - wrong - bad, count - k) for k in range(min(wrong, count) + 1))
    return Fraction(drawn, comb(count + accepted, count))


def test_of_no_boxes_all_are_right() -> None:
    assert promise.precision_bound(2, 5, 0, 0.95) == 1.0


@pytest.mark.parametrize(("wrong", "audited"), [(0, 0), (0, 50), (1, 3), (1, 5), (1, 6), (2, 20), (3, 400), (9, 400), (5, 5)])
def test_an_audit_refutes_what_the_binomial_test_refutes(wrong: int, audited: int) -> None:
    expected = wrong > 0 and binomtest(wrong, audited, 0.01, "greater").pvalue <= 0.05
    assert promise.is_refuted(wrong, audited, 0.99, 0.95) == expected


def test_boxes_that_are_equally_sure_are_accepted_together() -> None:
    sureness = np.concatenate([np.full(300, 0.9), np.full(40, 0.7)])
    all_right = class_rule("a", sureness, np.ones(340, bool), np.arange(340), sureness.repeat(1000), precision=0.99, confidence=0.95)
    assert all_right.threshold == 0.7
    correct = np.arange(340) < 320
    half_right = class_rule("a", sureness, correct, np.arange(340), sureness.repeat(1000), precision=0.99, confidence=0.95)
    assert (half_right.threshold, half_right.reviewed, half_right.wrong) == (0.9, 300, 0)
    one_step = class_rule("a", np.full(340, 0.9), correct, np.arange(340), sureness, precision=0.99, confidence=0.95)
    assert one_step.threshold is None, "of equally sure boxes the right ones cannot be had alone"


def test_the_order_of_the_boxes_is_nothing() -> None:
    random = np.random.default_rng(3)
    sureness, image = random.random(900), random.integers(0, 200, 900)
    correct, pool = random.random(900) < 0.8 + 0.2 * sureness, random.random(5000)
    turned = random.permutation(900)
    rules = [class_rule("a", sureness[o], correct[o], image[o], pool, precision=0.9, confidence=0.95) for o in (np.arange(900), turned)]
    assert rules[0] == rules[1] and rules[0].threshold is not None


def test_boxes_surer_than_any_in_the_pool_do_not_end_the_search() -> None:
    """Of a small pool the surest boxes are less sure than the surest of many reviewed ones."""
    sureness, pool = np.linspace(1, 0, 2000), np.linspace(0.9, 0.1, 50)
    rule = class_rule("a", sureness, np.ones(2000, bool), np.arange(2000), pool, precision=0.99, confidence=0.95)
    assert rule.threshold is not None and rule.threshold < 0.1 and rule.bound == 1.0


def test_boxes_of_one_image_that_fail_together_prove_less() -> None:
    random = np.random.default_rng(5)
    image, sureness, pool = np.arange(2000) // 20, random.random(2000), random.random(100_000)
    correct = (sureness > 0.6) | (random.random(100) < 0.94)[image]
    alike = class_rule("a", sureness, correct, image, pool, precision=0.95, confidence=0.95)
    alone = class_rule("a", sureness, correct, np.arange(2000), pool, precision=0.95, confidence=0.95)
    assert alone.threshold is not None and alike.threshold is not None and alone.threshold < alike.threshold - 0.1


def test_where_the_surest_are_often_wrong_more_boxes_are_not_asked_for() -> None:
    correct = np.arange(2000) % 20 != 0
    rule = class_rule("a", np.linspace(1, 0, 2000), correct, np.arange(2000), np.linspace(1, 0, 9000), precision=0.98, confidence=0.95)
    assert rule.threshold is None and rule.needed is None
    assert str(rule) == "a: too many of the surest boxes are wrong (100 of 2,000 reviewed boxes)"


def test_where_all_of_the_pool_is_less_sure_than_what_was_reviewed_as_many_are_asked_for_as_without_evidence() -> None:
    rule = reviewed(400, 0, 0.99, np.full(500, 0.1))
    assert (rule.threshold, rule.needed) == (None, 299)


@pytest.mark.parametrize(
    ("correct", "pool", "sentence"),
    [
        ([], [], "gull: there is none in the pool"),
        ([True] * 20, [], "gull: there is none in the pool"),
        ([], [0.9], "gull: not enough evidence: about 59 more reviewed boxes of class gull needed"),
        ([True] * 20, [0.9] * 500, "gull: not enough evidence: about 40 more reviewed boxes of class gull needed"),
        ([False] * 20, [0.9] * 500, "gull: too many of the surest boxes are wrong (20 of 20 reviewed boxes)"),
        ([True] * 80, [0.9] * 10**6, "gull: precision at least 0.9632, 0 of 80 reviewed boxes as sure were wrong"),
    ],
)
def test_a_rule_says_what_is_proved_or_needed(correct: list[bool], pool: list[float], sentence: str) -> None:
    sureness = np.linspace(0.8, 0.5, len(correct))
    rule = class_rule("gull", sureness, np.array(correct, bool), np.arange(len(correct)), np.array(pool), precision=0.95, confidence=0.95)
    assert str(rule) == sentence


def test_as_many_more_boxes_as_are_said_to_be_needed_do() -> None:
    few = reviewed(120, 0, 0.99)
    assert few.needed is not None and reviewed(120 + few.needed, 0, 0.99).threshold is not None


@pytest.mark.parametrize("per_image", [1, 5])
@pytest.mark.parametrize(("precision", "confidence"), [(0.9, 0.9), (0.95, 0.8)])
def test_the_promise_is_kept_where_the_loosest_threshold_that_looks_enough_breaks_it(
    precision: float, confidence: float, per_image: int
) -> None:
    cases = [_accepted_and_wrong(seed, precision, confidence, per_image) for seed in range(300)]
    proved, naive = (np.array(column) for column in zip(*cases, strict=True))
    kept, looks = (np.mean(wrong <= (1 - precision) * accepted) for accepted, wrong in (proved.T, naive.T))
    assert kept >= confidence - 0.02
    assert looks < kept - 0.2
    assert np.mean(proved[:, 0] > 0) > 0.5, "to accept nothing would keep any promise"


def _accepted_and_wrong(seed: int, precision: float, confidence: float, per_image: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Accepted and wrong boxes of a pool: by the rule, and by the loosest threshold above which reviewed boxes are as often right."""
    random = np.random.default_rng(seed)
    sureness, correct = _population(random, 3600, per_image)
    image = np.arange(3600) // per_image
    known = np.isin(image, random.permutation(3600 // per_image)[: 600 // per_image])
    pool, right = sureness[~known], correct[~known]
    rule = class_rule("a", sureness[known], correct[known], image[known], pool, precision=precision, confidence=confidence)
    thresholds = (np.inf if rule.threshold is None else rule.threshold, _naive(sureness[known], correct[known], precision))
    accepted, loose = (pool >= threshold for threshold in thresholds)
    return (int(accepted.sum()), int((accepted & ~right).sum())), (int(loose.sum()), int((loose & ~right).sum()))


def _population(random: np.random.Generator, count: int, per_image: int) -> tuple[np.ndarray, np.ndarray]:
    """Surer boxes are more often right, from 0.7 to 1, and those of an image are right or wrong together a little more than by chance."""
    sureness = random.random(count)
    shared = random.random(count // per_image).repeat(per_image)
    luck = np.where(random.random(count) < 0.3, shared, random.random(count))
    return sureness, luck < 0.7 + 0.3 * sureness


def _naive(sureness: np.ndarray, correct: np.ndarray, precision: float) -> float:
    order = np.argsort(-sureness)
    enough = np.flatnonzero(np.cumsum(correct[order]) >= precision * np.arange(1, len(order) + 1))
    return float(sureness[order][enough[-1]]) if len(enough) else np.inf


def test_one_image_proves_as_much_as_one_box() -> None:
    sure, right, pool = np.full(400, 0.9), np.ones(400, bool), np.full(20_000, 0.95)
    alone = promise.class_rule("a", sure, right, np.zeros(400, int), pool, precision=0.99, confidence=0.95)
    assert alone.threshold is None
    apart = promise.class_rule("a", sure, right, np.arange(400), pool, precision=0.99, confidence=0.95)
    assert apart.threshold == 0.9
