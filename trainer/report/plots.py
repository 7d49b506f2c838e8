"""The plots of the report, each from values that are computed elsewhere.

Rule: nothing is computed here but places on the paper, and what a line is stands beside it or in the legend, not in its colour alone.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter

from activelearning.outlook_shown import Outlook
from trainer.report import canvas
from trainer.report.canvas import LIGHT
from trainer.report.facts import ReturnedBatch
from trainer.report.history import ClassFigures, Point
from trainer.report.intervals import LEVELS, SpreadBins
from trainer.report.outcomes import Profile
from trainer.report.reliability import Reliability

_FIRST, _SECOND, _FAINT, _MUTED = (LIGHT[name] for name in ("first", "second", "faint", "muted"))
_MARKS = ((_FIRST, "o", "-"), (_SECOND, "s", "--"), (_MUTED, "^", ":"))
_LONGEST_NAME = 18
_LONGEST_LABEL = 34
_POOL_BINS = 20
_MOST_FLOWS = 4


def learning_curve(curves: Mapping[str, Mapping[str, Sequence[Point]]], own: str) -> Figure:
    """One line a metric of the flow `own` over labelled images, by metric and flow; other flows' first metric in grey."""
    axes = canvas.axes(height=3.4)
    for (colour, marker, line), (metric, flows) in zip(_MARKS, curves.items(), strict=False):
        axes.plot(*_labelled(flows.get(own, ())), color=colour, marker=marker, linestyle=line, markersize=5, label=metric)
    for flow, points in _others(curves, own):
        axes.plot(*_labelled(points), color=_FAINT, marker=".", linewidth=1.2, zorder=1.5, label=_short(flow))
    axes.set(xlabel="labelled images", ylabel="on the test split", ylim=(0, 1.02))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return _with_legend(axes)


def outlook(known: Outlook) -> Figure:
    """Measured AP over labelled images with its standard error, the estimated curve in its band, and what the next runs may measure."""
    axes = canvas.axes(height=3.4)
    images = [one.labelled_images for one in known.curve]
    axes.fill_between(images, [one.low for one in known.curve], [one.high for one in known.curve], color=_FAINT, alpha=0.45, linewidth=0)
    axes.plot(images, [one.ap for one in known.curve], color=_FIRST, label="estimated")
    runs, last = known.measured, known.measured[-1].labelled_images
    errors = [one.standard_error for one in runs]
    axes.errorbar([r.labelled_images for r in runs], [r.ap for r in runs], errors, fmt="o", color=_FIRST, markersize=5, label="measured")
    below, above = [one.ap - one.ap_low for one in known.steps], [one.ap_high - one.ap for one in known.steps]
    steps = [last + one.more for one in known.steps]
    axes.errorbar(steps, [one.ap for one in known.steps], [below, above], fmt="s", color=_SECOND, markersize=4, label="next runs")
    axes.set(xlabel="labelled images", ylabel="AP on the test split")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return _with_legend(axes)


def per_class(figures: Sequence[ClassFigures]) -> Figure:
    """A row a class: AP50 as a disc, AP as a square, the best class at the top."""
    axes = canvas.axes(height=1.3 + 0.26 * max(len(figures), 3))
    rows = np.arange(len(figures))[::-1]
    ap, ap50 = (np.array([np.nan if value is None else value for value in column]) for column in _columns(figures))
    axes.hlines(rows, ap, ap50, color=_FAINT, linewidth=2)
    axes.plot(ap50, rows, "o", color=_FIRST, markersize=7, label="AP50")
    axes.plot(ap, rows, "s", color=_SECOND, markersize=6, label="AP")
    axes.set(xlim=(0, 1.02), ylim=(-0.7, max(len(figures), 3) - 0.3), xlabel="average precision")
    axes.set_yticks(rows, [_short(one.label) for one in figures])
    axes.grid(axis="y", visible=False)
    return _with_legend(axes)


def reliability(stated: Mapping[str, Reliability]) -> Figure:
    """Observed over predicted, a line for each way to state it, above the number of detections in each bin."""
    figure = canvas.axes(height=3.8).figure
    figure.clear()
    above, below = cast(Figure, figure).subplots(2, sharex=True, height_ratios=(3, 1))
    _diagonal(above)
    for (colour, marker, line), (label, one) in zip(_MARKS, stated.items(), strict=False):
        known = one.count > 0
        above.plot(one.predicted[known], one.observed[known], color=colour, marker=marker, linestyle=line, markersize=5, label=label)
        below.stairs(one.count, np.linspace(0, 1, len(one.count) + 1), color=colour, linestyle=line, linewidth=1.6)
    above.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
    below.set(xlabel="stated probability of being right", ylabel="detections")
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    return _with_legend(above)


def coverage(covered: Mapping[str, np.ndarray]) -> Figure:
    """The share of true corners inside intervals over the share that the intervals promise."""
    axes = canvas.axes(height=3.8)
    _diagonal(axes)
    for (colour, marker, line), (label, shares) in zip(_MARKS, covered.items(), strict=False):
        axes.plot(LEVELS, shares, color=colour, marker=marker, linestyle=line, markersize=4, label=label)
    axes.set(xlabel="share that the interval promises", ylabel="share of corners inside", xlim=(0, 1), ylim=(0, 1.02))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    return _with_legend(axes)


def spread(binned: Mapping[str, SpreadBins]) -> Figure:
    """True error over stated spread, a mark a bin, both in pixels on logarithmic scales."""
    axes = canvas.axes(height=3.8)
    for (colour, marker, line), (label, bins) in zip(_MARKS, binned.items(), strict=False):
        axes.loglog(bins.std, bins.error, color=colour, marker=marker, linestyle=line, markersize=5, label=label)
    low, high = min(axes.get_xlim()[0], axes.get_ylim()[0]), max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([low, high], [low, high], color=_FAINT, linewidth=1, zorder=1)
    axes.set(xlabel="stated spread (pixels)", ylabel="true error (pixels)", xlim=(low, high), ylim=(low, high))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    return _with_legend(axes)


def spider(profiles: Sequence[Profile]) -> Figure:
    """One closed line a profile over its five figures; a figure that there is none of leaves a gap."""
    axes = cast(PolarAxes, canvas.axes(height=4.6, projection="polar"))
    angles = np.linspace(0, 2 * np.pi, len(SPOKES) + 1)
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    for (colour, marker, line), one in zip(_MARKS, profiles, strict=False):
        values = [np.nan if value is None else value for value in spokes(one)]
        axes.plot(
            angles,
            [*values, values[0]],
            color=colour,
            marker=marker,
            linestyle=line,
            markersize=4.5,
            label=_short(one.label, _LONGEST_LABEL),
        )
    axes.set(ylim=(0, 1))
    axes.set_xticks(angles[:-1], SPOKES)
    axes.set_yticks([0.25, 0.5, 0.75, 1], ["", "50%", "", "100%"], fontsize=7.5)
    axes.tick_params(axis="x", pad=12)
    axes.spines["polar"].set_color(LIGHT["line"])
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=1, frameon=False, labelcolor=_MUTED)
    return cast(Figure, axes.figure)


SPOKES = ("IoU of the\ncorrect", "right\nclass", "objects\nfound", "correct\nkept", "false\nremoved")


def spokes(one: Profile) -> tuple[float | None, ...]:
    """A profile's figures in the order of `SPOKES`."""
    return one.mean_iou, one.class_accuracy, one.objects_found, one.correct_kept, one.false_removed


def heat(values: np.ndarray, aspect: float, unit: str, lowest: float | None = None) -> Figure:
    """A map over the image, its top left at the top left; `aspect` is the image's width by its height.

    Colours go from `lowest`, or from the least value, to the greatest.
    """
    width, below = 3.3, 0.55
    height = min(max(width / aspect, 1.2), 4.5)
    axes = canvas.axes(width, height + below)
    figure = cast(Figure, axes.figure)
    # by hand: maps beside each other must not differ in size with the width of their numbers
    figure.set_layout_engine("none")
    axes.set_position((0.01, below / (height + below), 0.98, height / (height + below)))
    scale = figure.add_axes((0.08, 0.38 / (height + below), 0.84, 0.08 / (height + below)))
    image = axes.imshow(np.ma.masked_invalid(values), cmap="cividis", extent=(0, aspect, 1, 0), interpolation="none", vmin=lowest)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, cax=scale, orientation="horizontal", label=unit)
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(5)
    bar.update_ticks()
    return figure


def pool(confidence: np.ndarray) -> Figure:
    """How many images of the pool have which confidence."""
    axes = canvas.axes()
    axes.hist(np.clip(confidence, 0, 1), bins=np.linspace(0, 1, _POOL_BINS + 1).tolist(), color=_FIRST, rwidth=0.9)
    axes.set(xlabel="confidence of the image", ylabel="images of the pool", xlim=(0, 1))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(axis="x", visible=False)
    return cast(Figure, axes.figure)


def returned(batches: Sequence[ReturnedBatch]) -> Figure:
    """Seconds an image over the batches in their order: with drafts, drawing every box, and as expected where that is known."""
    axes = canvas.axes(height=3.4)
    lines = {
        "with drafts": [one.seconds_an_image for one in batches],
        "drawing all": [one.drawing_an_image for one in batches],
        "expected": [one.expected_an_image for one in batches],
    }
    places = np.arange(1, len(batches) + 1)
    for (colour, marker, line), (label, seconds) in zip(_MARKS, lines.items(), strict=True):
        known = [np.nan if value is None else value for value in seconds]
        if not np.isnan(known).all():
            axes.plot(places, known, color=colour, marker=marker, linestyle=line, markersize=5, label=label)
    axes.set(xlabel="batches in the order they came back", ylabel="seconds an image", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    return _with_legend(axes)


def _others(curves: Mapping[str, Mapping[str, Sequence[Point]]], own: str) -> list[tuple[str, Sequence[Point]]]:
    first = next(iter(curves.values()), {})
    return [(flow, points) for flow, points in first.items() if flow != own][:_MOST_FLOWS]


def _labelled(points: Sequence[Point]) -> tuple[list[int], list[float]]:
    return [point.labelled_images for point in points], [np.nan if point.value is None else point.value for point in points]


def _columns(figures: Sequence[ClassFigures]) -> tuple[list[float | None], list[float | None]]:
    return [one.ap for one in figures], [one.ap50 for one in figures]


def _diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, zorder=1)


def _with_legend(axes: Axes) -> Figure:
    # above the paper, where it can never lie on a line
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, columnspacing=1.4, frameon=False, labelcolor=_MUTED)
    return cast(Figure, axes.figure)


def _short(name: str, longest: int = _LONGEST_NAME) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"
