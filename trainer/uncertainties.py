"""How unsure a model is of each detection, in single numbers; how well each tells right from wrong; and the mix of them that does it best.

Rule: higher is less sure; a figure is 0..1 or None where there is nothing to tell apart, never NaN. A correct detection (CD) is of the
right class, on an object of its own, and overlaps it enough; every other is a false detection (FD), duplicates and boxes on
background included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import rel_entr

from activelearning.errors import UserError
from trainer import spread
from trainer.detections import Detections
from trainer.judged import Judged

ALL = "all"
"""The label of all classes together."""
IOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75)

_GRID = 1000
_SIGMAS = 3.0
_EXACT_PAIRS = 30_000_000
_BLOCK = 1_000_000
_NARROWEST = 1e-9
"""Of the way between two mixes: what is narrower is rounding."""
_STEPS = 32
_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Separation:
    """How well one uncertainty tells the false detections of a class, or of `all`, from the correct ones.

    `label` is the predicted class; `iou` the overlap that makes a detection correct, None for the mean over all levels. `correct` and
    `false` count detections, and in that mean are those of the lowest level.
    """

    uncertainty: str
    label: str
    iou: float | None
    correct: int
    false: int
    jsd: float | None
    auc: float | None
    fd_at_cd: float | None
    cd_at_fd: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Protected:
    """The detections (N,) bool that a budget protects, and how many of them must stay: None where nothing can be demanded."""

    mask: np.ndarray
    rank: int | None


def of(detections: Detections) -> dict[str, np.ndarray]:
    """Every uncertainty of N detections, each (N,) float64. The last six only where there is a spread.

    name                 unit   what it is
    entropy              bits   sum over classes of the binary entropy of the class score (PPAL, CVPR 2024)
    unconfidence         0..1   1 - confidence
    margin               0..1   1 - (best - second best) of the class scores and the background's, which is 1 - best
    aleatoric            sides  predicted standard deviation of a corner coordinate by the box's width or height, mean of the four
    epistemic            sides  the same of the Monte-Carlo samples
    total                sides  the same of both together, variances added
    class_epistemic      0..1   standard deviation over the samples of the score of the box's own class
    mutual_information   bits   what the samples tell about the classes (Houlsby et al. 2011)

    Raises `UserError` that names an uncertainty that is not a number.
    """
    scores = np.clip(detections.class_scores.astype(np.float64), 0, 1)
    values = {"entropy": _binary_entropy(scores).sum(1), "unconfidence": 1 - detections.confidence, "margin": 1 - _margin(scores)}
    return checked(values | _of_spread(detections), len(detections))


def checked(values: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The same as float64. Raises `UserError` that names one not finite, `ValueError` for one not of shape (count,)."""
    columns = {name: np.asarray(column, np.float64) for name, column in values.items()}
    for name, column in columns.items():
        if column.shape != (count,):
            raise ValueError(f"uncertainty '{name}' must be of shape {(count,)}, not {column.shape}")
        if not np.isfinite(column).all():
            row = int(np.flatnonzero(~np.isfinite(column))[0])
            raise UserError(f"uncertainty '{name}' of detection {row} is not a finite number; predict the images again")
    return columns


def separations(
    judged: Judged, values: Mapping[str, np.ndarray], classes: Sequence[str], *, share: float = 0.95, ious: Sequence[float] = IOUS
) -> tuple[Separation, ...]:
    """The table: every uncertainty × `all` and each class × every level and their mean."""
    masks = {ALL: np.ones(len(judged), bool)} | {name: judged.detections.class_id == label for label, name in enumerate(classes)}
    levels = [judged.correct(iou) for iou in ious]
    return tuple(
        row
        for name, column in checked(values, len(judged)).items()
        for label, mask in masks.items()
        for row in _with_mean(
            [_separation(name, label, iou, column[mask], level[mask], share) for iou, level in zip(ious, levels, strict=True)]
        )
    )


def jsd(uncertainty: np.ndarray, correct: np.ndarray) -> float | None:
    """Jensen-Shannon distance, natural logarithm, 0 to sqrt(ln 2) = 0.83, of two normals fitted to the CDs and to the FDs.

    They are compared on a grid of 1000 points that holds three standard deviations of both. None where one has no two values.
    """
    groups = uncertainty[correct], uncertainty[~correct]
    # the deviation of equal values need not be 0 in floats, and that of tiny ones can be
    if any(not len(group) or group.min() == group.max() or not group.std() for group in groups):
        return None
    low = min(group.mean() - _SIGMAS * group.std() for group in groups)
    grid = np.linspace(low, max(group.mean() + _SIGMAS * group.std() for group in groups), _GRID)
    p, q = (_normal_on(grid, group.mean(), group.std()) for group in groups)
    middle = (p + q) / 2
    return float(np.sqrt(max(0.0, (rel_entr(p, middle).sum() + rel_entr(q, middle).sum()) / 2)))


def auc(uncertainty: np.ndarray, correct: np.ndarray) -> float | None:
    """The chance that a random FD is less sure than a random CD, ties counted half; None without either."""
    certain, false = np.sort(uncertainty[correct]), uncertainty[~correct]
    if not len(certain) or not len(false):
        return None
    below = np.searchsorted(certain, false, "left").sum() + np.searchsorted(certain, false, "right").sum()
    return float(below / (2 * len(certain) * len(false)))


def fd_at_cd(uncertainty: np.ndarray, correct: np.ndarray, share: float = 0.95) -> float | None:
    """Share of FDs that a threshold removes while at least `share` of CDs stays; None without either."""
    return beyond(uncertainty, Protected(correct, at_least(int(correct.sum()), share)))


def cd_at_fd(uncertainty: np.ndarray, correct: np.ndarray, share: float = 0.95) -> float | None:
    """Share of CDs that a threshold keeps while at least `share` of FDs goes; None without either."""
    return beyond(-uncertainty, Protected(~correct, at_least(int((~correct).sum()), share)))


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


def _binary_entropy(p: np.ndarray) -> np.ndarray:
    return np.asarray((rel_entr(p, 1.0) + rel_entr(1 - p, 1.0)) / -np.log(2))


def _margin(scores: np.ndarray) -> np.ndarray:
    best = scores.max(1, initial=0.0, keepdims=True)
    second, first = np.sort(np.concatenate([scores, 1 - best, np.zeros_like(best)], 1), 1)[:, -2:].T
    return np.asarray(first - second)


def _of_spread(detections: Detections) -> dict[str, np.ndarray]:
    found = detections.spread
    if found is None:
        return {}
    corners = {"aleatoric": found.aleatoric, "epistemic": found.epistemic, "total": found.total}
    of_own_class = found.class_epistemic[np.arange(len(detections)), detections.class_id]
    sides = {name: spread.relative(std, detections.xyxy).mean(1) for name, std in corners.items()}
    return sides | {"class_epistemic": of_own_class, "mutual_information": found.mutual_information}


def _separation(name: str, label: str, iou: float, column: np.ndarray, correct: np.ndarray, share: float) -> Separation:
    figures = jsd(column, correct), auc(column, correct), fd_at_cd(column, correct, share), cd_at_fd(column, correct, share)
    return Separation(name, label, iou, int(correct.sum()), int((~correct).sum()), *figures)


def _with_mean(rows: Sequence[Separation]) -> list[Separation]:
    first = rows[0]
    figures = ([getattr(row, name) for row in rows] for name in ("jsd", "auc", "fd_at_cd", "cd_at_fd"))
    means = (_mean([value for value in column if value is not None]) for column in figures)
    return [*rows, Separation(first.uncertainty, first.label, None, first.correct, first.false, *means)]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _normal_on(grid: np.ndarray, mean: float, std: float) -> np.ndarray:
    """A normal density on a grid, its sum 1: also where it is so narrow that it falls between two points."""
    off = np.abs(grid - mean)
    with np.errstate(over="ignore"):
        density = np.exp(-(off - off.min()) / std * ((off + off.min()) / std) / 2)
    return np.asarray(density / density.sum())


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
