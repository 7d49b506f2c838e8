import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from activelearning import ordering
from activelearning.errors import UserError
from tests.trainer.unsure_scene import CLASSES, CORRECT, SOURCE, VALUES, detections_of, judged_of
from trainer import uncertainties
from trainer.budgets import Budget
from trainer.spread import Spread
from trainer.thresholding import fit
from trainer.uncertainties import auc, cd_at_fd, fd_at_cd, jsd, separations

# What a detection's uncertainties are.


def test_uncertainties_by_hand():
    spread = Spread(
        np.array([[1, 2, 1, 2]], np.float32),
        np.array([[2, 0, 2, 0]], np.float32),
        np.array([[0.1, 0.3]], np.float32),
        np.ones(1, np.float32),
    )
    values = uncertainties.of(detections_of([[0.25, 0.5]], spread))
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
    values = uncertainties.of(detections_of(scores))
    assert values["entropy"] == pytest.approx([ordering.box_entropy(one) for one in scores], abs=1e-6)
    assert values["margin"] == pytest.approx([1 - ordering.box_margin(one) for one in scores], abs=1e-6)


def test_no_detections_have_no_uncertainties_and_no_spread_has_no_columns():
    values = uncertainties.of(detections_of([]))
    assert {name: column.shape for name, column in values.items()} == {"entropy": (0,), "unconfidence": (0,), "margin": (0,)}


def test_an_uncertainty_that_is_not_a_number_is_named():
    with pytest.raises(UserError, match="uncertainty 'entropy' of detection 1 is not a finite number"):
        uncertainties.of(replace(detections_of([[0.1, 0.2]] * 2), class_scores=np.array([[0.1, 0.2], [np.nan, 0.2]], np.float32)))
    with pytest.raises(UserError, match="uncertainty 'mine' of detection 0"):
        fit(judged_of([0.9, 0]), {"fine": np.zeros(2), "mine": np.array([np.inf, 0])}, CLASSES, Budget(), SOURCE)
    with pytest.raises(ValueError, match="'mine' must be of shape"):
        fit(judged_of([0.9, 0]), {"mine": np.zeros(3)}, CLASSES, Budget(), SOURCE)
    with pytest.raises(ValueError, match="must be an uncertainty"):
        fit(judged_of([0.9, 0]), {}, CLASSES, Budget(), SOURCE)


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
    judged = judged_of([0.55, 0.9, 0.9, 0, 0.9, 0.9], label=label)
    rows = {(row.label, row.iou): row for row in separations(judged, {"u": VALUES}, CLASSES, share=0.5, ious=(0.5, 0.6))}
    assert set(rows) == {(name, iou) for name in ("all", "cat", "dog") for iou in (0.5, 0.6, None)}
    assert (rows["cat", 0.5].correct, rows["cat", 0.5].false, rows["cat", 0.6].correct, rows["cat", 0.6].false) == (3, 1, 2, 2)
    assert [rows["cat", iou].auc for iou in (0.5, 0.6, None)] == [1.0, 0.75, 0.875]
    assert rows["dog", None].auc is rows["dog", 0.5].fd_at_cd is None
    assert rows["all", 0.5].fd_at_cd == 1 and rows["all", 0.5].uncertainty == "u"
