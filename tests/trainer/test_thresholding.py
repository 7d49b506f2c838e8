import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import beta, binom, norm, t
from sklearn.metrics import roc_auc_score, roc_curve

from activelearning import ordering
from activelearning.errors import FormatError, UserError
from trainer import uncertainties
from trainer.detections import Detections
from trainer.judged import Judged
from trainer.spread import Spread
from trainer.thresholding import Budget, Effect, Rule, Thresholding, effect, fit, from_json, nearest_vertex, threshold
from trainer.uncertainties import auc, cd_at_fd, fd_at_cd, jsd, separations

CLASSES = ("cat", "dog")
SOURCE = "model 1234 on test split 5678"
# by hand: correct ones at 1, 2, 3, 4, false ones at 3 and 5
VALUES = np.array([3.0, 1, 4, 5, 2, 3])
CORRECT = np.array([True, True, True, False, True, False])
BUDGETS = [Budget(of, share, None) for of in ("correct", "false") for share in (0.3, 0.5, 0.9, 0.95, 1.0)]


def _detections(scores: Sequence[Sequence[float]], spread: Spread | None = None) -> Detections:
    scored = np.array(scores, np.float32).reshape(-1, len(CLASSES))
    boxes = np.tile(np.array([[0, 0, 10, 20]], np.float32), (len(scored), 1))
    return Detections(boxes, scored.max(1, initial=0), scored.argmax(1) if len(scored) else np.zeros(0, np.int64), scored, spread)


def _judged(iou: Sequence[float] | np.ndarray, images: int = 1, label: np.ndarray | None = None, missed: int = 0) -> Judged:
    """Detections of the images in turn: an IoU of 0 is a box on nothing. `missed` objects of the first class nobody found."""
    overlap = np.asarray(iou, np.float32)
    count = len(overlap)
    label = np.zeros(count, np.int64) if label is None else label
    found = _detections(np.where(label[:, None] == np.arange(2), 0.8, 0.1))
    image = np.arange(count) % images
    objects = np.zeros((images, 2), np.int64)
    np.add.at(objects, (image[overlap > 0], label[overlap > 0]), 1)
    objects[0, 0] += missed
    truth = np.full((count, 4), np.nan, np.float32)
    return Judged(found, image, overlap > 0, overlap, truth, np.where(overlap > 0, label, -1), objects)


# What a detection's uncertainties are.


def test_uncertainties_by_hand():
    spread = Spread(
        np.array([[1, 2, 1, 2]], np.float32),
        np.array([[2, 0, 2, 0]], np.float32),
        np.array([[0.1, 0.3]], np.float32),
        np.ones(1, np.float32),
    )
    values = uncertainties.of(_detections([[0.25, 0.5]], spread))
    expected = {
        "entropy": 1 + 2 - 0.75 * math.log2(3),
        "unconfidence": 0.5,
        "margin": 1.0,
        "aleatoric": 0.1,
        "epistemic": 0.1,
        "total": (math.sqrt(5) / 10 + 2 / 20) / 2,
        "class_epistemic": 0.3,
        "mutual_information": 1.0,
    }
    assert {name: column.tolist() for name, column in values.items()} == {name: [pytest.approx(one)] for name, one in expected.items()}
    assert all(name in (uncertainties.of.__doc__ or "") for name in values)


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 2), min_size=1, max_size=8))
def test_entropy_and_margin_are_those_by_which_the_pool_is_ordered(scores):
    values = uncertainties.of(_detections(scores))
    assert values["entropy"] == pytest.approx([ordering.box_entropy(one) for one in scores], abs=1e-6)
    assert values["margin"] == pytest.approx([1 - ordering.box_margin(one) for one in scores], abs=1e-6)


def test_no_detections_have_no_uncertainties_and_no_spread_has_no_columns():
    values = uncertainties.of(_detections([]))
    assert {name: column.shape for name, column in values.items()} == {"entropy": (0,), "unconfidence": (0,), "margin": (0,)}


def test_an_uncertainty_that_is_not_a_number_is_named():
    with pytest.raises(UserError, match="uncertainty 'entropy' of detection 1 is not a finite number"):
        uncertainties.of(replace(_detections([[0.1, 0.2]] * 2), class_scores=np.array([[0.1, 0.2], [np.nan, 0.2]], np.float32)))
    with pytest.raises(UserError, match="uncertainty 'mine' of detection 0"):
        fit(_judged([0.9, 0]), {"fine": np.zeros(2), "mine": np.array([np.inf, 0])}, CLASSES, Budget(), SOURCE)
    with pytest.raises(ValueError, match="'mine' must be of shape"):
        fit(_judged([0.9, 0]), {"mine": np.zeros(3)}, CLASSES, Budget(), SOURCE)
    with pytest.raises(ValueError, match="must be an uncertainty"):
        fit(_judged([0.9, 0]), {}, CLASSES, Budget(), SOURCE)


# How well one separates.


def test_figures_by_hand():
    assert auc(VALUES, CORRECT) == (2.5 + 4) / 8
    assert [fd_at_cd(VALUES, CORRECT, share) for share in (0.5, 0.51, 0.75, 1)] == [1, 0.5, 0.5, 0.5]
    assert [cd_at_fd(VALUES, CORRECT, share) for share in (0.5, 0.51, 1)] == [1, 0.5, 0.5]
    assert jsd(VALUES, np.array([True, False] * 3)) == pytest.approx(_jensen_shannon(VALUES, np.array([True, False] * 3)), abs=1e-12)


def _jensen_shannon(values: np.ndarray, correct: np.ndarray) -> float:
    fitted = [norm(*norm.fit(values[group])) for group in (correct, ~correct)]
    low, high = min(one.mean() - 3 * one.std() for one in fitted), max(one.mean() + 3 * one.std() for one in fitted)
    grid = np.linspace(low, high, 1000)
    return float(jensenshannon(*(one.pdf(grid) for one in fitted)))


@pytest.mark.parametrize("seed", range(5))
def test_figures_equal_those_of_others(seed):
    random = np.random.default_rng(seed)
    correct = random.random(300) < random.uniform(0.1, 0.9)
    # two digits, so that many tie
    values = np.round(random.normal(0, 1, 300) + random.uniform(0, 2) * ~correct, 2)
    assert auc(values, correct) == pytest.approx(roc_auc_score(~correct, values), abs=1e-12)
    assert jsd(values, correct) == pytest.approx(_jensen_shannon(values, correct), abs=1e-9)
    lost, found, _ = roc_curve(~correct, values, drop_intermediate=False)
    for share in (0.5, 0.8, 0.95, 0.99):
        assert fd_at_cd(values, correct, share) == pytest.approx(found[1 - lost >= share - 1e-9].max())
        assert cd_at_fd(values, correct, share) == pytest.approx(1 - lost[found >= share - 1e-9].min())


@pytest.mark.parametrize("correct", [np.ones(6, bool), np.zeros(6, bool)])
def test_nothing_to_tell_apart_has_no_figures(correct):
    assert jsd(VALUES, correct) is auc(VALUES, correct) is fd_at_cd(VALUES, correct) is cd_at_fd(VALUES, correct) is None


def test_a_normal_that_cannot_be_fitted_has_no_distance_and_a_narrow_one_has():
    assert jsd(np.array([0.1, 0.1, 0.1, 5, 6]), np.array([True] * 3 + [False] * 2)) is None
    for narrow in (1e-12, 1e-160):
        assert jsd(np.array([0, narrow, 5, 600]), np.array([True] * 2 + [False] * 2)) == pytest.approx(math.sqrt(math.log(2)), abs=0.02)
    assert jsd(np.array([0, 1e-200, 5, 600]), np.array([True] * 2 + [False] * 2)) is None


def test_separations_of_every_class_level_and_their_mean():
    label = np.array([0, 0, 0, 0, 1, 1])
    judged = _judged([0.55, 0.9, 0.9, 0, 0.9, 0.9], label=label)
    rows = {(row.label, row.iou): row for row in separations(judged, {"u": VALUES}, CLASSES, share=0.5, ious=(0.5, 0.6))}
    assert set(rows) == {(name, iou) for name in ("all", "cat", "dog") for iou in (0.5, 0.6, None)}
    assert (rows["cat", 0.5].correct, rows["cat", 0.5].false, rows["cat", 0.6].correct, rows["cat", 0.6].false) == (3, 1, 2, 2)
    assert [rows["cat", iou].auc for iou in (0.5, 0.6, None)] == [1.0, 0.75, 0.875]
    assert rows["dog", None].auc is rows["dog", 0.5].fd_at_cd is None
    assert rows["all", 0.5].fd_at_cd == 1 and rows["all", 0.5].uncertainty == "u"


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
    assert _keeps(removed, correct, budget)
    if (correct if budget.of == "correct" else ~correct).any():
        possible = [values >= one for one in (*values, math.inf)]
        best = max(_gain(one, correct, budget) for one in possible if _keeps(one, correct, budget))
        assert _gain(removed, correct, budget) == best


def _keeps(removed: np.ndarray, correct: np.ndarray, budget: Budget) -> bool:
    safe = ~removed[correct] if budget.of == "correct" else removed[~correct]
    return not len(safe) or safe.sum() / len(safe) >= budget.share


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


def test_fitting_looks_at_the_images():
    # ten equal detections in each of 58 images, and one false one
    values = {"u": np.concatenate([np.tile(np.arange(58.0), 10), np.full(58, 1e6)])}
    iou = np.where(values["u"] < 100, 0.9, 0)
    assert fit(_judged(iou, images=58), values, CLASSES, Budget(), SOURCE).rest.thresholds[0] == math.inf
    assert fit(_judged(iou, images=638), values, CLASSES, Budget(), SOURCE).rest.thresholds[0] < math.inf


def test_one_half_of_the_images_finds_the_weights_and_the_other_the_thresholds():
    random = np.random.default_rng(4)
    iou = np.where(random.random(80) < 0.5, 0.9, 0)
    values = dict(zip("ab", random.normal(0, 1, (2, 80)), strict=True))
    budget = Budget("correct", 0.3, 0.6)
    plain = fit(_judged(iou, images=2), values, CLASSES, budget, SOURCE).rest
    found = [
        fit(_judged(np.where(np.arange(80) % 2 == one, 0.9 - iou, iou), images=2), values, CLASSES, budget, SOURCE).rest for one in (0, 1)
    ]
    assert sorted(one.weights == plain.weights for one in found) == [False, True]
    assert all(one.thresholds != plain.thresholds for one in found)
    assert plain.thresholds[0] < math.inf


def test_the_promise_holds_for_weights_and_classes_that_were_learnt_too():
    random, images = np.random.default_rng(1), 3000
    count = 5 * images
    iou = np.where(random.random(count) < 0.6, random.uniform(0.5, 1, count), 0)
    label = (random.random(count) < 0.25).astype(np.int64)
    noise = random.normal(0, 1, (2, count))
    values = dict(zip("ab", noise + 1.5 * (iou < 0.6) * np.array([[1], [2]]), strict=True))
    judged = _judged(iou, images, label)
    held = np.zeros((400, 2))
    for draw in held:
        chosen = random.permutation(images) < 120
        mask = chosen[judged.image]
        fitted = fit(_images(judged, chosen), _rows(values, mask), CLASSES, Budget(share=0.9), SOURCE, ious=(0.5, 0.7), own_from=20)
        assert set(fitted.own) == set(CLASSES)
        fresh = judged[~mask]
        kept = ~fitted.removes(_rows(values, ~mask), fresh.detections.class_id, 0.5)
        correct = fresh.correct(0.5)
        draw[:] = [kept[correct & (fresh.detections.class_id == one)].mean() >= 0.9 for one in (0, 1)]
    assert (held.mean(0) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 400)).all()


def _rows(values: dict[str, np.ndarray], mask: np.ndarray) -> dict[str, np.ndarray]:
    return {name: column[mask] for name, column in values.items()}


def _images(judged: Judged, chosen: np.ndarray) -> Judged:
    """Those images (M,) bool; the detections in their order."""
    part = judged[chosen[judged.image]]
    return replace(part, image=(np.cumsum(chosen) - 1)[part.image], objects=judged.objects[chosen])


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


# Mixes.

_table = st.lists(st.tuples(st.integers(-6, 6), st.integers(-6, 6), st.sampled_from([0, 0.55, 0.9])), min_size=1, max_size=14)


def _parsed(rows: Sequence[tuple[float, ...]]) -> tuple[dict[str, np.ndarray], Judged]:
    table = np.array(rows, float)
    return {f"u{at}": column for at, column in enumerate(table.T[:-1])}, _judged(table[:, -1], images=3)


def _objective(values: np.ndarray, judged: Judged, budget: Budget) -> float:
    figure = fd_at_cd if budget.of == "correct" else cd_at_fd
    shares = [figure(values, judged.correct(iou), budget.share) for iou in (0.5, 0.6)]
    return float(np.mean([share for share in shares if share is not None] or [0.0]))


@settings(deadline=None, max_examples=150)
@given(_table, st.sampled_from(BUDGETS))
def test_no_mix_of_two_is_better(rows, budget):
    values, judged = _parsed(rows)
    first, second = values.values()
    found = fit(judged, values, CLASSES, budget, SOURCE, ious=(0.5, 0.6)).mixed(values, judged.detections.class_id)
    # between the angles at which two detections change places nothing changes
    steps = np.subtract.outer(first, first), np.subtract.outer(second, second)
    angles = np.unique(np.round(np.arctan2(-steps[0], steps[1])[(steps[0] * steps[1]) < 0] % np.pi, 12))
    edges = np.array([0, *angles[angles < np.pi / 2], np.pi / 2])
    middles = (edges[1:] + edges[:-1]) / 2
    best = max(_objective(np.cos(angle) * first + np.sin(angle) * second, judged, budget) for angle in middles)
    # two rows that are integers tie more often than their sum in floats does
    assert _objective(np.round(found, 9), judged, budget) == pytest.approx(best, abs=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(*[st.integers(-6, 6)] * 3, st.sampled_from([0, 0.55, 0.9])), min_size=1, max_size=14), st.sampled_from(BUDGETS))
def test_a_mix_of_three_is_as_good_as_each_alone_and_as_the_even_one(rows, budget):
    values, judged = _parsed(rows)
    found = fit(judged, values, CLASSES, budget, SOURCE, ious=(0.5, 0.6)).mixed(values, judged.detections.class_id)
    spread = {name: column.std() for name, column in values.items() if column.std()}
    even = sum((values[name] / std for name, std in spread.items()), np.zeros(len(judged)))
    rivals = [*(values[name] for name in spread), even] if spread else []
    assert all(_objective(np.round(found, 9), judged, budget) >= _objective(np.round(one, 9), judged, budget) - 1e-9 for one in rivals)


def test_a_mix_of_many_finds_what_only_their_sum_tells():
    random = np.random.default_rng(0)
    iou = np.where(random.random(400) < 0.5, 0.9, 0)
    parts = random.normal(0, 1, (3, 400))
    parts[2] = 3.0 * (iou == 0) - parts[0] - parts[1]
    values = {"a": parts[0], "b": 1000 * parts[1], "c": parts[2], "noise": random.normal(0, 1, 400)}
    fitted = fit(_judged(iou, images=40), values, CLASSES, Budget(confidence=None), SOURCE, ious=(0.5,))
    mixed = fitted.mixed(values, np.zeros(400, np.int64))
    assert max(fd_at_cd(column, iou > 0) for column in values.values()) < 0.8
    assert fd_at_cd(mixed, iou > 0) > 0.95
    weights = np.array(fitted.rest.weights) * [column.std() for column in values.values()]
    assert weights.sum() == pytest.approx(1)
    assert weights[3] < 0.05


@settings(deadline=None, max_examples=60)
@given(_table, st.sampled_from([*BUDGETS, Budget(share=0.5, confidence=0.6)]), st.tuples(st.integers(-9, 9), st.integers(-9, 9)))
def test_units_change_the_weights_and_nothing_else(rows, budget, powers):
    values, judged = _parsed(rows)
    # powers of two, so that only the exponents of the floats change
    other = {name: column * 2.0**power for (name, column), power in zip(values.items(), powers, strict=True)}
    one, two = (fit(judged, columns, CLASSES, budget, SOURCE) for columns in (values, other))
    assert (one.removes(values, judged.detections.class_id) == two.removes(other, judged.detections.class_id)).all()
    if budget.confidence is None and all(column.std() for column in values.values()):
        assert [w * 2.0**-power for w, power in zip(one.rest.weights, powers, strict=True)] == list(two.rest.weights)


@settings(deadline=None, max_examples=60)
@given(_table, st.sampled_from([*BUDGETS, Budget(share=0.5, confidence=0.6)]), st.integers(0, 99))
def test_the_order_of_detections_does_not_matter(rows, budget, seed):
    values, judged = _parsed(rows)
    order = np.random.default_rng(seed).permutation(len(judged))
    assert fit(judged, values, CLASSES, budget, SOURCE) == fit(judged[order], _rows(values, order), CLASSES, budget, SOURCE)


@settings(deadline=None, max_examples=60)
@given(_table, st.sampled_from(BUDGETS), st.sampled_from([None, 1, 2]))
def test_fitted_thresholds_keep_the_budget_at_every_level(rows, budget, own_from):
    values, judged = _parsed(rows)
    judged = replace(judged, detections=replace(judged.detections, class_id=np.arange(len(rows)) % 2))
    fitted = fit(judged, values, CLASSES, budget, SOURCE, own_from=own_from)
    label = judged.detections.class_id
    for iou in fitted.ious:
        for removed in (fitted.removes(values, label, iou), fitted.removes(values, label)):
            parts = [label == CLASSES.index(name) for name in fitted.own] or [np.ones(len(judged), bool)]
            assert all(_keeps(removed[part], judged.correct(iou)[part], budget) for part in parts)
            assert _keeps(removed, judged.correct(iou), budget)


def test_a_large_search_is_done_on_a_grid_and_ends_near_the_exact_one(monkeypatch):
    random = np.random.default_rng(2)
    iou = np.where(random.random(500) < 0.5, 0.9, 0)
    values = dict(zip("ab", random.normal(0, 1, (2, 500)) + (iou == 0) * np.array([[1.5], [1.0]]), strict=True))
    judged, budget = _judged(iou, images=50), Budget(confidence=None)
    exact = fit(judged, values, CLASSES, budget, SOURCE).mixed(values, judged.detections.class_id)
    monkeypatch.setattr(uncertainties, "_EXACT_PAIRS", 0)
    gridded = fit(judged, values, CLASSES, budget, SOURCE).mixed(values, judged.detections.class_id)
    assert fd_at_cd(exact, iou > 0) - 0.02 <= fd_at_cd(gridded, iou > 0) <= fd_at_cd(exact, iou > 0)
    assert fd_at_cd(gridded, iou > 0) > max(fd_at_cd(column, iou > 0) for column in values.values())


def test_a_search_in_blocks_is_the_same_search(monkeypatch):
    random = np.random.default_rng(3)
    judged = _judged(np.where(random.random(60) < 0.5, 0.9, 0), images=5)
    values = dict(zip("ab", random.normal(0, 1, (2, 60)), strict=True))
    whole = fit(judged, values, CLASSES, Budget(confidence=None), SOURCE)
    monkeypatch.setattr(uncertainties, "_BLOCK", 100)
    assert fit(judged, values, CLASSES, Budget(confidence=None), SOURCE) == whole


def test_a_constant_uncertainty_has_no_weight_and_only_constant_ones_remove_nothing():
    judged = _judged([0.9, 0.9, 0, 0])
    fitted = fit(judged, {"same": np.full(4, 0.1), "tells": np.arange(4.0)}, CLASSES, Budget(confidence=None), SOURCE)
    assert fitted.rest.weights[0] == 0 and fitted.rest.weights[1] > 0
    fitted = fit(judged, {"same": np.full(4, 7.0)}, CLASSES, Budget(confidence=None), SOURCE)
    assert not fitted.removes({"same": np.full(4, 7.0)}, np.zeros(4, np.int64)).any()


def test_rare_classes_share_a_rule():
    # two correct dogs, but one false one
    iou, label = np.array([0.9, 0, 0.9, 0, 0.9, 0.9, 0]), np.array([0, 0, 0, 0, 1, 1, 1])
    values = {"u": np.array([1.0, 2, 3, 4, 10, 9, 20])}
    judged = _judged(iou, label=label)
    fitted = fit(judged, values, CLASSES, Budget("correct", 1.0, None), SOURCE, own_from=2)
    assert set(fitted.own) == {"cat"}
    assert fitted.own["cat"].thresholds[0] / fitted.own["cat"].weights[0] == pytest.approx(3.5)
    assert fitted.rest.thresholds[0] / fitted.rest.weights[0] == pytest.approx(15)
    assert fitted.removes(values, label).tolist() == [False, False, False, True, False, False, True]
    assert set(fit(judged, values, CLASSES, Budget("correct", 1.0, None), SOURCE, own_from=1).own) == set(CLASSES)
    assert not fit(judged, values, CLASSES, Budget("correct", 1.0, None), SOURCE).own
    # enough at the lowest level, not at the highest
    assert not fit(_judged(iou * 0.7, label=label), values, CLASSES, Budget("correct", 1.0, None), SOURCE, own_from=1).own


# What is removed, and what that does.


def _thresholding(budget: Budget | None = None) -> Thresholding:
    judged = _judged([0.9, 0.9, 0.6, 0, 0.9, 0], missed=2)
    return fit(judged, {"unconfidence": VALUES}, CLASSES, budget or Budget("correct", 1.0, None), SOURCE, ious=(0.5, 0.75))


def test_effect_by_hand():
    judged = _judged([0.9, 0.9, 0.6, 0, 0.9, 0], missed=2)
    removed = np.array([False, False, True, True, True, False])
    assert effect(judged, removed, 0.5) == Effect(0.5, 2, 2, 1, 1, missed_before=2, missed_after=4)
    assert effect(judged, removed, 0.75) == Effect(0.75, 2, 1, 1, 2, missed_before=3, missed_after=4)


def test_detections_are_removed_by_the_threshold_that_holds_at_every_level():
    weight = _thresholding().rest.weights[0]
    assert [one / weight for one in _thresholding().rest.thresholds] == pytest.approx([4.5, 3.5])
    found = replace(_detections([[0.5, 0.1]] * 3), confidence=np.array([-3.4, -2.6, -2.4], np.float32))
    # 1 - confidence is 4.4, 3.6, 3.4
    assert _thresholding().removed(found).tolist() == [False, False, False]
    assert _thresholding().removed(found, 0.75).tolist() == [True, True, False]
    with pytest.raises(KeyError):
        _thresholding().removed(found, 0.55)


def test_detections_of_other_classes_or_without_the_uncertainty_are_refused():
    found = _detections([[0.5, 0.1]])
    with pytest.raises(UserError, match="for 1 classes"):
        replace(_thresholding(), classes=("cat",)).removed(found)
    with pytest.raises(ValueError, match="of 2 classes, not of 1"):
        fit(_judged([0.9, 0]), {"u": np.zeros(2)}, ("cat",), Budget(), SOURCE)
    with pytest.raises(UserError, match="need 'aleatoric'"):
        replace(_thresholding(), names=("aleatoric",)).removed(found)


@pytest.mark.parametrize("budget", [*BUDGETS, Budget(), Budget("false")])
@pytest.mark.parametrize("own_from", [None, 0])
def test_from_nothing_it_learns_to_do_nothing_or_to_trust_nothing(budget, own_from):
    none = uncertainties.of(_detections([]))
    fitted = fit(_judged([], images=1), none, CLASSES, budget, SOURCE, own_from=own_from)
    assert fitted.removed(_detections([])).shape == (0,)
    assert fitted.removed(_detections([[0.5, 0.1], [0.1, 0.2]])).tolist() == [budget.of == "false"] * 2


def test_what_it_was_fitted_on_is_recorded():
    found = _thresholding().fitted_on
    assert (found.source, found.images, found.detections, found.objects, found.correct) == (SOURCE, 1, 6, 6, (4, 3))


# The file.


@pytest.mark.parametrize("budget", [Budget("correct", 0.75, None), Budget(), Budget("false", 0.9, 0.99)])
def test_a_file_is_read_as_it_was_written(budget):
    fitted = replace(_thresholding(budget), own={"dog": Rule((0.125,), (math.inf, 1e-300))})
    assert from_json(fitted.to_json(), "thresholds.json", SOURCE) == fitted
    assert from_json(fitted.to_json().encode(), "thresholds.json", SOURCE).budget == budget


def test_thresholds_of_another_model_are_not_used():
    with pytest.raises(FormatError, match=r"thresholds\.json holds thresholds that were fitted on another model"):
        from_json(_thresholding().to_json(), "thresholds.json", "model 9")


def _changed(**changes: object) -> str:
    return json.dumps(json.loads(_thresholding().to_json()) | changes)


_RULE = {"weights": [1.0], "thresholds": [1.0, 2.0]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "[" * 100_000,
        "{}",
        '{"activelearning_thresholding": 1}',
        b"\xff\xfe\x00",
        _changed(activelearning_thresholding=2),
        _changed(more=[]),
        _changed(names=[]),
        _changed(names="u"),
        _changed(names=[1]),
        _changed(names=["a", "a"]),
        _changed(classes=["cat", "cat"]),
        _changed(ious=["0.5", 0.75]),
        _changed(ious=[0.5]),
        _changed(ious=[0.5, 7]),
        _changed(budget={"of": "correct", "share": 2, "confidence": None}),
        _changed(budget={"of": "correct", "share": "1", "confidence": None}),
        _changed(budget=None),
        _changed(rest=_RULE | {"weights": [-1.0]}),
        _changed(rest=_RULE | {"weights": [True]}),
        _changed(rest=_RULE | {"weights": [1.0, 1.0]}),
        _changed(rest=_RULE | {"thresholds": [1.0]}),
        _changed(rest=_RULE | {"thresholds": [1.0, None]}),
        _changed(rest=_RULE | {"thresholds": [1.0, "often"]}),
        _changed(rest=_RULE | {"thresholds": [1.0, []]}),
        _changed(rest=_RULE).replace("2.0", "NaN"),
        _changed(rest=_RULE).replace("[1.0]", "[1e999]"),
        _changed(rest=_RULE).replace("2.0", "1" * 5000),
        _changed(own={"bird": _RULE}),
        _changed(own=[_RULE]),
        _changed(fitted_on={}),
        _changed(fitted_on={"source": SOURCE, "images": 1.5, "detections": 1, "objects": 1, "correct": [1, 1]}),
        _changed(fitted_on={"source": SOURCE, "images": 1, "detections": 1, "objects": 1, "correct": [1]}),
    ],
)
def test_a_damaged_file_is_one_plain_sentence(text):
    with pytest.raises(FormatError, match=r"^thresholds\.json holds no thresholds, or damaged ones: fit them again$"):
        from_json(text, "thresholds.json", SOURCE)


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3), lambda one: st.lists(one) | st.dictionaries(st.text(), one)
)


@settings(deadline=None)
@given(st.sampled_from(sorted(json.loads(_thresholding().to_json()))), _json)
def test_whatever_a_file_holds_it_is_read_or_refused(key, value):
    with suppress(FormatError):
        assert from_json(_changed(**{key: value}), "thresholds.json", SOURCE).names == ("unconfidence",)
