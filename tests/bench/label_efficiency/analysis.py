"""From rounds to figures: seconds and boxes to a share of the full-label AP, area under the curve, paired intervals over seeds.

Rule: nothing is extrapolated. Where a target was not reached in every seed there is no mean, for the mean of those that reached it would
flatter whoever failed most often; a median stands as long as more than half of the seeds have reached it. Intervals are Student's, since
a bootstrap of five figures is far too narrow; from fewer than three there is none.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

SHARES = (0.90, 0.95, 0.99)
_LEVEL = 0.95
_LEAST_SEEDS = 3


@dataclass(frozen=True, slots=True)
class Round:
    """What a strategy had cost (cumulative) when its model was trained, and how good that was on the test split."""

    strategy: str
    seed: int
    number: int
    images: int
    boxes: int
    annotator_seconds: float
    draw_seconds: float
    ap: float
    ap50: float
    ap_by_class: Mapping[str, float]
    drafts: int
    drafts_kept: int
    iterations: int


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds with its 95 % interval, and their median; `reached` of `seeds` had a figure."""

    mean: float | None
    low: float | None
    high: float | None
    median: float | None
    reached: int
    seeds: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """One strategy. Keys of the targets are shares of the full-label AP. `against` are its rivals' figures less its own, paired by
    seed: positive is better than the rival."""

    strategy: str
    seconds_to: Mapping[float, Interval]
    boxes_to: Mapping[float, Interval]
    area: Interval
    saved: Mapping[str, Interval]
    """Seconds to the middle target that a rival needs more, by rival."""
    gained: Mapping[str, Interval]
    """Area under the curve more than a rival's, by rival."""


Curves = Mapping[str, Mapping[int, Sequence[Round]]]
"""Rounds in order, by strategy and seed."""


def by_strategy(rounds: Sequence[Round]) -> Curves:
    """The rounds as curves."""
    curves: dict[str, dict[int, list[Round]]] = {}
    for one in sorted(rounds, key=lambda one: one.number):
        curves.setdefault(one.strategy, {}).setdefault(one.seed, []).append(one)
    return curves


def outcomes(curves: Curves, full_ap: float, rivals: Sequence[str]) -> list[Outcome]:
    """The figures of every strategy, in the order given. The areas of all are taken over the same range of seconds."""
    span = _common_span(curves)
    return [_outcome(name, curves, full_ap, rivals, span) for name in curves]


def to_target(curve: Sequence[Round], target: float, cost: Callable[[Round], float]) -> float | None:
    """The cost at which a curve first reaches an AP, linear between rounds; None if it never does."""
    for before, after in zip((None, *curve), curve, strict=False):
        if after.ap >= target:
            if before is None:
                return cost(after)
            share = (target - before.ap) / (after.ap - before.ap)
            return cost(before) + share * (cost(after) - cost(before))
    return None


def area(curve: Sequence[Round], span: tuple[float, float]) -> float:
    """Mean AP over a range of annotator-seconds: the area under the curve divided by the range's width."""
    seconds, ap = (np.array([getattr(one, name) for one in curve]) for name in ("annotator_seconds", "ap"))
    places = np.unique([*span, *seconds[(seconds > span[0]) & (seconds < span[1])]])
    return float(np.trapezoid(np.interp(places, seconds, ap), places) / (span[1] - span[0]))


def interval(values: Sequence[float | None]) -> Interval:
    """Mean with Student's interval, and median, over seeds; None stands for a figure that was not reached, however large it is."""
    known = np.array([value for value in values if value is not None])
    middle = float(np.median([np.inf if value is None else value for value in values])) if len(values) else math.inf
    median = middle if math.isfinite(middle) else None
    if len(known) < max(len(values), 1):
        return Interval(None, None, None, median, len(known), len(values))
    if len(known) < _LEAST_SEEDS:
        return Interval(float(known.mean()), None, None, median, len(known), len(values))
    half = float(stats.t.ppf((1 + _LEVEL) / 2, len(known) - 1) * known.std(ddof=1) / math.sqrt(len(known)))
    mean = float(known.mean())
    return Interval(mean, mean - half, mean + half, median, len(known), len(values))


def _outcome(name: str, curves: Curves, full_ap: float, rivals: Sequence[str], span: tuple[float, float]) -> Outcome:
    mine = curves[name]
    against = {rival: curves[rival] for rival in rivals if rival in curves and rival != name}
    middle = SHARES[1] * full_ap
    return Outcome(
        name,
        {share: interval([to_target(c, share * full_ap, _seconds) for c in mine.values()]) for share in SHARES},
        {share: interval([to_target(c, share * full_ap, _boxes) for c in mine.values()]) for share in SHARES},
        interval([area(curve, span) for curve in mine.values()]),
        {rival: _paired(theirs, mine, lambda curve: to_target(curve, middle, _seconds)) for rival, theirs in against.items()},
        {rival: _paired(mine, theirs, lambda curve: area(curve, span)) for rival, theirs in against.items()},
    )


def _paired(
    first: Mapping[int, Sequence[Round]], second: Mapping[int, Sequence[Round]], figure: Callable[[Sequence[Round]], float | None]
) -> Interval:
    """`first` less `second`, of the seeds that both played."""
    pairs = [(figure(first[seed]), figure(second[seed])) for seed in sorted(first.keys() & second.keys())]
    return interval([None if one is None or other is None else one - other for one, other in pairs])


def _common_span(curves: Curves) -> tuple[float, float]:
    """The range of seconds that every curve covers, from the latest first round to the earliest last one."""
    every = [curve for seeds in curves.values() for curve in seeds.values()]
    low, high = max(c[0].annotator_seconds for c in every), min(c[-1].annotator_seconds for c in every)
    # where none overlap, the whole range, with the last AP held
    return (low, high) if low < high else (min(c[0].annotator_seconds for c in every), max(c[-1].annotator_seconds for c in every) + 1)


def _seconds(one: Round) -> float:
    return one.annotator_seconds


def _boxes(one: Round) -> float:
    return one.boxes
