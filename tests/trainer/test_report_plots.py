"""What the plots draw: lines, bars and maps hold the values that they are given, at the places that they claim."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.trainer.test_report_facts import CLASSES, rows
from trainer.report import canvas, heat, history, intervals, outcomes, plots
from trainer.report.outcomes import Profile
from trainer.report.reliability import reliability


@pytest.fixture(autouse=True)
def _style():
    with canvas.style():
        yield


def _lines(figure: Figure, axes: int = 0) -> dict[str, list[tuple[float, float]]]:
    return {str(line.get_label()): [tuple(point) for point in np.asarray(line.get_xydata()).tolist()] for line in figure.axes[axes].lines}


def test_the_learning_curve_stands_over_labelled_images():
    curves = {"AP50": history.curves(rows(), "ap50"), "AP": history.curves(rows(), "ap")}
    drawn = _lines(plots.learning_curve(curves, "main"))
    assert drawn["AP50"] == [(20, 0.5), (40, 0.61), (60, 0.64)]
    assert drawn["AP"] == [(x, pytest.approx(0.6 * y)) for x, y in drawn["AP50"]]
    assert drawn["other"] == [(20, 0.45)]


def test_classes_stand_in_their_order_from_the_top():
    figures = history.per_class(rows(), "main/3", CLASSES)[:2]
    figure = plots.per_class(figures)
    drawn = _lines(figure)
    assert drawn["AP50"] == [(pytest.approx(0.74), 1), (pytest.approx(0.54), 0)]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["petrel", "gull"]


def test_reliability_leaves_empty_bins_out_and_counts_below():
    figure = plots.reliability({"confidence": reliability(np.array([0.15, 0.95, 0.97]), np.array([False, True, False]))})
    assert _lines(figure)["confidence"] == [(pytest.approx(0.15), 0), (pytest.approx(0.96), 0.5)]
    counts, edges, _ = figure.axes[1].patches[0].get_data()
    assert counts.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    np.testing.assert_allclose(edges, np.arange(11) / 10)


def test_intervals_stand_over_what_they_promise():
    shares = np.linspace(0.2, 0.9, len(intervals.LEVELS))
    drawn = _lines(plots.coverage({"model": shares}))["model"]
    assert drawn == [(level, pytest.approx(share)) for level, share in zip(intervals.LEVELS, shares, strict=True)]


def test_errors_stand_over_spread():
    bins = intervals.SpreadBins(np.array([1.0, 4.0]), np.array([2.0, 3.0]))
    assert _lines(plots.spread({"model": bins}))["model"] == [(1, 2), (4, 3)]


def test_the_spider_closes_and_leaves_a_gap_where_nothing_is_known():
    figure = plots.spider([Profile("drafts", 0.9, None, 0.7, 0.6, 0.5)])
    radii = [radius for _, radius in _lines(figure)["drafts"]]
    assert radii[0] == radii[-1] == 0.9
    assert np.isnan(radii[1]) and radii[2:5] == [0.7, 0.6, 0.5]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(plots.SPOKES)


def test_a_map_has_its_top_at_the_top_and_leaves_empty_places_open():
    values = np.full((heat.ROWS, heat.COLUMNS), np.nan)
    values[0, 0], values[-1, -1] = 2.0, 5.0
    image = plots.heat(values, 1.5, "mean").axes[0].images[0]
    assert image.get_extent() == [0, 1.5, 1, 0]
    drawn = np.ma.masked_invalid(image.get_array())
    assert drawn[0, 0] == 2 and drawn[-1, -1] == 5 and drawn.count() == 2
    assert image.get_clim() == (2, 5)
    assert plots.heat(values, 1.5, "count", lowest=0).axes[0].images[0].get_clim() == (0, 5)


def test_the_pool_is_counted_in_twentieths():
    bars = plots.pool(np.array([0.0, 0.04, 0.06, 0.97, 1.0])).axes[0].patches
    assert [bar.get_height() for bar in bars] == [2, 1, *[0] * 17, 2]


def test_a_long_name_is_shortened_and_a_dollar_is_a_dollar():
    figures = [history.ClassFigures("$x^2$ " + "long " * 50, 3, 0.5, 0.6, None, None)]
    figure = plots.per_class(figures)
    assert figure.axes[0].get_yticklabels()[0].get_text() == "$x^2$ long long l…"
    assert "$x^2$ long long l…" in canvas.render("classes", figure).svg
    profile = outcomes.Profile("kept by " + "x" * 500, 1, 1, 1, 1, 1)
    assert canvas.render("spider", plots.spider([profile])).png.startswith(b"\x89PNG")
