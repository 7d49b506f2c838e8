import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.unsure_scene import BUDGETS, CLASSES, SOURCE, TABLES, judged_of, masked, parsed
from trainer import mixing
from trainer.budgets import Budget
from trainer.judged import Judged
from trainer.thresholding import fit
from trainer.uncertainties import cd_at_fd, fd_at_cd


def _objective(values: np.ndarray, judged: Judged, budget: Budget) -> float:
    figure = fd_at_cd if budget.of == "correct" else cd_at_fd
    shares = [figure(values, judged.correct(iou), budget.share) for iou in (0.5, 0.6)]
    return float(np.mean([share for share in shares if share is not None] or [0.0]))


@settings(deadline=None, max_examples=150)
@given(TABLES, st.sampled_from(BUDGETS))
def test_no_mix_of_two_is_better(rows, budget):
    values, judged = parsed(rows)
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
    values, judged = parsed(rows)
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
    fitted = fit(judged_of(iou, images=40), values, CLASSES, Budget(confidence=None), SOURCE, ious=(0.5,))
    mixed = fitted.mixed(values, np.zeros(400, np.int64))
    assert max(fd_at_cd(column, iou > 0) for column in values.values()) < 0.8
    assert fd_at_cd(mixed, iou > 0) > 0.95
    weights = np.array(fitted.rest.weights) * [column.std() for column in values.values()]
    assert weights.sum() == pytest.approx(1)
    assert weights[3] < 0.05


@settings(deadline=None, max_examples=60)
@given(TABLES, st.sampled_from([*BUDGETS, Budget(share=0.5, confidence=0.6)]), st.tuples(st.integers(-9, 9), st.integers(-9, 9)))
def test_units_change_the_weights_and_nothing_else(rows, budget, powers):
    values, judged = parsed(rows)
    # powers of two, so that only the exponents of the floats change
    other = {name: column * 2.0**power for (name, column), power in zip(values.items(), powers, strict=True)}
    one, two = (fit(judged, columns, CLASSES, budget, SOURCE) for columns in (values, other))
    assert (one.removes(values, judged.detections.class_id) == two.removes(other, judged.detections.class_id)).all()
    if budget.confidence is None and all(column.std() for column in values.values()):
        assert [w * 2.0**-power for w, power in zip(one.rest.weights, powers, strict=True)] == list(two.rest.weights)


@settings(deadline=None, max_examples=60)
@given(TABLES, st.sampled_from([*BUDGETS, Budget(share=0.5, confidence=0.6)]), st.integers(0, 99))
def test_the_order_of_detections_does_not_matter(rows, budget, seed):
    values, judged = parsed(rows)
    order = np.random.default_rng(seed).permutation(len(judged))
    assert fit(judged, values, CLASSES, budget, SOURCE) == fit(judged[order], masked(values, order), CLASSES, budget, SOURCE)


def test_a_large_search_is_done_on_a_grid_and_ends_near_the_exact_one(monkeypatch):
    random = np.random.default_rng(2)
    iou = np.where(random.random(500) < 0.5, 0.9, 0)
    values = dict(zip("ab", random.normal(0, 1, (2, 500)) + (iou == 0) * np.array([[1.5], [1.0]]), strict=True))
    judged, budget = judged_of(iou, images=50), Budget(confidence=None)
    exact = fit(judged, values, CLASSES, budget, SOURCE).mixed(values, judged.detections.class_id)
    monkeypatch.setattr(mixing, "_EXACT_PAIRS", 0)
    gridded = fit(judged, values, CLASSES, budget, SOURCE).mixed(values, judged.detections.class_id)
    assert fd_at_cd(exact, iou > 0) - 0.02 <= fd_at_cd(gridded, iou > 0) <= fd_at_cd(exact, iou > 0)
    assert fd_at_cd(gridded, iou > 0) > max(fd_at_cd(column, iou > 0) for column in values.values())


def test_a_search_in_blocks_is_the_same_search(monkeypatch):
    random = np.random.default_rng(3)
    judged = judged_of(np.where(random.random(60) < 0.5, 0.9, 0), images=5)
    values = dict(zip("ab", random.normal(0, 1, (2, 60)), strict=True))
    whole = fit(judged, values, CLASSES, Budget(confidence=None), SOURCE)
    monkeypatch.setattr(mixing, "_BLOCK", 100)
    assert fit(judged, values, CLASSES, Budget(confidence=None), SOURCE) == whole


def test_a_constant_uncertainty_has_no_weight_and_only_constant_ones_remove_nothing():
    judged = judged_of([0.9, 0.9, 0, 0])
    fitted = fit(judged, {"same": np.full(4, 0.1), "tells": np.arange(4.0)}, CLASSES, Budget(confidence=None), SOURCE)
    assert fitted.rest.weights[0] == 0 and fitted.rest.weights[1] > 0
    fitted = fit(judged, {"same": np.full(4, 7.0)}, CLASSES, Budget(confidence=None), SOURCE)
    assert not fitted.removes({"same": np.full(4, 7.0)}, np.zeros(4, np.int64)).any()
