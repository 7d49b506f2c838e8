import numpy as np
import pytest
import uncertainty_toolbox as toolbox
from scipy.stats import norm

from trainer.calibration import box_metrics


def _boxes(count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    std = random.uniform(0.5, 4, (count, 4))
    return random.laplace(0, std), std


def test_all_figures_are_those_of_the_uncertainty_toolbox():
    residual, std = _boxes()
    flat = np.zeros(residual.size), std.ravel(), -residual.ravel()
    figures = box_metrics.of_boxes(residual, std)
    assert figures is not None
    assert figures.ece == pytest.approx(toolbox.mean_absolute_calibration_error(*flat))
    assert figures.nll == pytest.approx(toolbox.nll_gaussian(*flat))
    assert figures.crps == pytest.approx(toolbox.crps_gaussian(*flat))
    assert figures.interval_score == pytest.approx(toolbox.interval_score(*flat))
    assert figures.sharpness == pytest.approx(toolbox.sharpness(flat[1]))


def test_regression_ece_is_the_formula():
    residual, std = _boxes(50)
    levels = np.linspace(0, 1, 100)
    naive = np.mean([abs(np.mean(np.abs(residual) <= np.abs(std * norm.ppf((1 - level) / 2))) - level) for level in levels])
    assert box_metrics.ece(residual, std) == pytest.approx(naive)


def test_rmsue_leaves_out_residuals_of_nothing():
    residual = np.array([[0.0, 3.0, -1.0, 2.0]])
    assert box_metrics.rmsue(residual, np.full((1, 4), 2.0)) == pytest.approx(np.sqrt((1 + 1 + 0) / 3))
    assert box_metrics.rmsue(np.zeros((1, 4)), np.ones((1, 4))) == 0


def test_inside_counts_the_edge_and_all_four():
    figures = box_metrics.of_boxes(np.array([[1.0, -1, 0, 2], [0, 0, 0, 0], [2, 0, 0, 0], [1, 1, 1, 1]]), np.ones((4, 4)))
    assert figures is not None
    assert figures.inside == (0.75, 1.0, 1.0, 0.75) and figures.inside_all == 0.5


def test_a_gaussian_with_its_own_deviation_is_calibrated():
    random = np.random.default_rng(2)
    std = random.uniform(0.5, 4, (20_000, 4))
    figures = box_metrics.of_boxes(random.normal(0, std), std)
    assert figures is not None
    assert figures.ece < 0.005
    assert figures.inside == pytest.approx([0.6827] * 4, abs=0.01)
    assert figures.inside_all == pytest.approx(0.6827**4, abs=0.01)


def test_boxes_that_cannot_be_judged_are_left_out():
    residual, std = _boxes(4)
    residual[0, 1], std[1, 2], std[2, 3] = np.nan, 0, np.nan
    figures = box_metrics.of_boxes(residual, std)
    assert figures == box_metrics.of_boxes(residual[3:], std[3:]) and figures is not None and figures.count == 1
    assert box_metrics.of_boxes(residual[:3], std[:3]) is None
