"""The mix of several uncertainties that leaves a budget the most to gain.

Rule: every uncertainty counts in its own standard deviations, so that units do not matter. Of equally good mixes of two it is the middle
of the widest stretch of such, so that another machine's rounding changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_EXACT_PAIRS = 30_000_000
_BLOCK = 1_000_000
_NARROWEST = 1e-9
"""Of the way between two mixes: what is narrower is rounding."""
_STEPS = 32
_ROUNDS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Protected:
    """The detections (N,) bool that a budget protects, and how many of them must stay: None where nothing can be demanded."""

    mask: np.ndarray
    rank: int | None


def at_least(count: int, share: float) -> int | None:
    """The smallest number, at least 1, that is such a share of `count`, as division counts it; None where count is 0."""
    enough = np.flatnonzero(np.arange(1, count + 1) / max(count, 1) >= share)
    return int(enough[0]) + 1 if len(enough) else None


def beyond(values: np.ndarray, protected: Protected) -> float | None:
    """Share of the values not protected that lie above the `rank`-th lowest protected one, equal ones not; None without either."""
    others = values[~protected.mask]
    if protected.rank is None or not len(others):
        return None
    rank = protected.rank - 1
    return float(np.count_nonzero(others > np.partition(values[protected.mask], rank)[rank]) / len(others))


def best_mix(columns: np.ndarray, levels: Sequence[Protected]) -> np.ndarray:
    """Weights (k,), not negative, of the rows of `columns` (k, N) whose sum has the highest mean of `beyond` over the levels.

    The weights are for raw units: times the standard deviations of the rows they add up to 1. A row that is constant has none. Two
    rows are searched exactly as long as their number is not too large (`_EXACT_PAIRS`); else, and with more rows, each weight in turn
    is searched on a grid until none helps, from every row alone and from the even mix. With nothing to tell apart the first row has all.
    """
    scale = np.sort(columns, 1).std(1) if columns.size else np.zeros(len(columns))
    telling = scale > np.finfo(float).tiny
    if not telling.any():
        return np.eye(len(columns))[0]
    weights = np.zeros(len(columns))
    weights[telling] = _searched(columns[telling] / scale[telling, None], levels) / scale[telling]
    return weights


def mixed(columns: np.ndarray, weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """The weighted sum (N,) of rows (k, N), each element by itself, so that it does not depend on the others beside it."""
    total = np.zeros(columns.shape[1])
    for column, weight in zip(columns, weights, strict=True):
        total = total + weight * column
    return total


# The search for a mix. Along the line between two mixes every uncertainty is linear, so that any two detections change places once.


def _searched(columns: np.ndarray, levels: Sequence[Protected]) -> np.ndarray:
    first, *others = np.eye(len(columns))
    levels = [level for level in levels if level.rank is not None and not level.mask.all()]
    if not others or not levels:
        return first
    pairs = sum(int(level.mask.sum()) * int((~level.mask).sum()) for level in levels)
    if len(others) == 1 and pairs <= _EXACT_PAIRS:
        return _on_line(first, others[0], _best_place(columns[0], columns[1], levels))
    starts = (first, *others, np.full(len(columns), 1 / len(columns)))
    return max((_ascended(start, columns, levels) for start in starts), key=lambda weights: _score(mixed(columns, weights), levels))


def _ascended(weights: np.ndarray, columns: np.ndarray, levels: Sequence[Protected]) -> np.ndarray:
    """Change one weight after the other, the rest in their proportion, as long as one helps."""
    score, unchanged = _score(mixed(columns, weights), levels), 0
    for index in list(range(len(weights))) * _ROUNDS:
        found = _best_on_grid(_without(weights, index), np.eye(len(weights))[index], columns, levels)
        better = _score(mixed(columns, found), levels)
        weights, score, unchanged = (found, better, 0) if better > score else (weights, score, unchanged + 1)
        if unchanged == len(weights):
            break
    return weights


def _score(values: np.ndarray, levels: Sequence[Protected]) -> float:
    # in units of their deviation, so that this keeps all but what rounding has pulled apart
    values = np.round(values, 9)
    shares = [share for level in levels if (share := beyond(values, level)) is not None]
    # the sum of the same shares can differ in its last digit
    return round(sum(shares) / len(shares), 12) if shares else 0.0


def _without(weights: np.ndarray, index: int) -> np.ndarray:
    others = np.where(np.arange(len(weights)) == index, 0.0, weights)
    if not others.any():
        others = np.where(np.arange(len(weights)) == index, 0.0, 1.0)
    return np.asarray(others / others.sum())


def _on_line(first: np.ndarray, second: np.ndarray, place: float) -> np.ndarray:
    return (1 - place) * first + place * second


def _best_on_grid(first: np.ndarray, second: np.ndarray, columns: np.ndarray, levels: Sequence[Protected]) -> np.ndarray:
    """The best of the mixes between two, on a grid that is laid thrice, each time closer about the best so far."""
    ends = mixed(columns, first), mixed(columns, second)
    low, high, best = 0.0, 1.0, 0.0
    for _ in range(3):
        places = np.linspace(low, high, _STEPS + 1)
        best = float(max(places, key=lambda place: _score(_on_line(*ends, place), levels)))
        step = (high - low) / _STEPS
        low, high = max(0.0, best - step), min(1.0, best + step)
    return _on_line(first, second, best)


def _best_place(first: np.ndarray, second: np.ndarray, levels: Sequence[Protected]) -> float:
    """Where between two uncertainties (N,), 0..1, the mean of `beyond` is highest: the middle of the widest such stretch."""
    found = [_changes(first, second, level) for level in levels]
    places, position = np.unique(np.concatenate([places for _, places, _ in found]), return_inverse=True)
    changes = np.bincount(position, np.concatenate([changes for _, _, changes in found]), len(places))
    score = np.round(sum(start for start, _, _ in found) + np.concatenate([[0.0], np.cumsum(changes)]), 9)
    edges = np.concatenate([[0.0], places, [1.0]])
    width = np.diff(edges)
    best = np.flatnonzero((width > _NARROWEST) & (score == score[width > _NARROWEST].max()))
    widest = best[np.argmax(width[best])]
    return float((edges[widest] + edges[widest + 1]) / 2)


def _changes(first: np.ndarray, second: np.ndarray, level: Protected) -> tuple[float, np.ndarray, np.ndarray]:
    """`beyond` just after 0, the places where it changes, and by how much there.

    One that is not protected lies beyond the rank-th protected one where at least `rank` of them are below it.
    """
    protected = np.stack([first, second])[:, level.mask]
    others = np.stack([first, second])[:, ~level.mask]
    rows = max(1, _BLOCK // protected.shape[1])
    blocks = [_block(others[:, at : at + rows], protected, level.rank or 1) for at in range(0, others.shape[1], rows)]
    start, places, changes = zip(*blocks, strict=True)
    return sum(start) / others.shape[1], np.concatenate(places), np.concatenate(changes) / others.shape[1]


def _block(others: np.ndarray, protected: np.ndarray, rank: int) -> tuple[int, np.ndarray, np.ndarray]:
    at_first, at_second = (others[end][:, None] - protected[end] for end in (0, 1))
    below = ((at_first > 0) | ((at_first == 0) & (at_second > 0))).sum(1)
    step = ((at_first < 0) & (at_second > 0)).astype(np.int64) - ((at_first > 0) & (at_second < 0))
    place = np.divide(at_first, at_first - at_second, out=np.full_like(at_first, 2.0), where=step != 0)
    order = np.argsort(place, 1)
    inside = below[:, None] + np.cumsum(np.take_along_axis(step, order, 1), 1) >= rank
    change = np.diff(inside.astype(np.int64), axis=1, prepend=(below >= rank)[:, None].astype(np.int64))
    changed = change != 0
    return int((below >= rank).sum()), np.take_along_axis(place, order, 1)[changed], change[changed]
