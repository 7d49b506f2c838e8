"""How the figures of the test split went from iteration to iteration, read from the rows of `performance.csv`.

Rule: a figure that there is none of stays None, and a row counts for its own flow only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.evaluation import ALL

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Point:
    """One figure of one iteration, and how many labelled images and test images it stands for."""

    iteration: int
    labelled_images: int
    test_images: int
    value: float | None


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class in one run: its number of objects, its figures, and how `ap50` changed since the iteration before, if both know it."""

    label: str
    objects: int
    ap: float | None
    ap50: float | None
    ap75: float | None
    change: float | None


def curves(rows: Rows, metric: str, label: str = ALL) -> dict[str, tuple[Point, ...]]:
    """By flow, in the order of the names, the metric's points in the order of the iterations."""
    wanted = [row for row in rows if row["metric"] == metric and row["class"] == label]
    flows = sorted({str(row["flow"]) for row in wanted})
    return {flow: _points(row for row in wanted if row["flow"] == flow) for flow in flows}


def up_to(run: str, curve: Mapping[str, Sequence[Point]]) -> tuple[Point, ...]:
    """The run's own flow up to the run; empty when the run itself has no point."""
    flow, iteration = split(run)
    points = tuple(point for point in curve.get(flow, ()) if point.iteration <= iteration)
    return points if points and points[-1].iteration == iteration else ()


def change(points: Sequence[Point]) -> float | None:
    """By how much the last value differs from the one before; None where either is unknown."""
    values = [point.value for point in points[-2:]]
    return values[1] - values[0] if len(values) == 2 and values[0] is not None and values[1] is not None else None


def per_class(rows: Rows, run: str, classes: Sequence[str]) -> tuple[ClassFigures, ...]:
    """The classes that the run was evaluated on, the best `ap50` first, classes without a figure last; ties in the classes' order."""
    figures = [_class_figures(rows, run, label) for label in classes]
    known = [one for one in figures if one is not None]
    return tuple(sorted(known, key=lambda one: -1.0 if one.ap50 is None else one.ap50, reverse=True))


def split(run: str) -> tuple[str, int]:
    """Flow and iteration of a run: `main/3` is 3 of `main`."""
    flow, _, iteration = run.rpartition("/")
    return flow, int(iteration)


def _points(rows: Iterable[Mapping[str, Any]]) -> tuple[Point, ...]:
    points = (Point(int(row["iteration"]), int(row["labelled_images"]), int(row["test_images"]), _known(row["value"])) for row in rows)
    return tuple(sorted(points, key=lambda point: point.iteration))


def _known(value: Any) -> float | None:
    return None if value is None or value == "" else float(value)


def _class_figures(rows: Rows, run: str, label: str) -> ClassFigures | None:
    flow, iteration = split(run)
    own = [row for row in rows if row["class"] == label and row["flow"] == flow and int(row["iteration"]) == iteration]
    figures = {row["metric"]: _known(row["value"]) for row in own}
    if "ap50" not in figures:
        return None
    objects = next(int(row["support"]) for row in own if row["metric"] == "ap50")
    since = change(up_to(run, curves(rows, "ap50", label)))
    return ClassFigures(label, objects, figures.get("ap"), figures["ap50"], figures.get("ap75"), since)
