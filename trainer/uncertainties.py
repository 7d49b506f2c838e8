"""How unsure a model is of each detection, in single numbers, and how well each tells right from wrong.

Rule: higher is less sure; a figure is 0..1 or None where there is nothing to tell apart, never NaN. A correct detection (CD) is of the
right class, on an object of its own, and overlaps it enough; every other is a false detection (FD), duplicates and boxes on
background included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from activelearning.errors import UserError
from trainer import mixing, spread
from trainer.detections import Detections
from trainer.judged import Judged
from trainer.mixing import Protected

ALL = "all"
"""The label of all classes together."""
IOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75)

_GRID = 1000
_SIGMAS = 3.0


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
    return checked(values | of_spread(detections), len(detections))


def of_spread(detections: Detections) -> dict[str, np.ndarray]:
    """Those of `of` that come from the spread, each (N,); none without one."""
    found = detections.spread
    if found is None:
        return {}
    corners = {"aleatoric": found.aleatoric, "epistemic": found.epistemic, "total": found.total}
    of_own_class = found.class_epistemic[np.arange(len(detections)), detections.class_id]
    sides = {name: spread.relative(std, detections.xyxy).mean(1) for name, std in corners.items()}
    return sides | {"class_epistemic": of_own_class, "mutual_information": found.mutual_information}


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
    from scipy.special import rel_entr

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
    return mixing.beyond(uncertainty, Protected(correct, mixing.at_least(int(correct.sum()), share)))


def cd_at_fd(uncertainty: np.ndarray, correct: np.ndarray, share: float = 0.95) -> float | None:
    """Share of CDs that a threshold keeps while at least `share` of FDs goes; None without either."""
    return mixing.beyond(-uncertainty, Protected(~correct, mixing.at_least(int((~correct).sum()), share)))


def _binary_entropy(p: np.ndarray) -> np.ndarray:
    """Bits; 0 of what is certain."""
    halves = (half * np.log(np.where(half == 0, 1.0, half)) for half in (p, 1 - p))
    return np.asarray(sum(halves) / -np.log(2))


def _margin(scores: np.ndarray) -> np.ndarray:
    best = scores.max(1, initial=0.0, keepdims=True)
    second, first = np.sort(np.concatenate([scores, 1 - best, np.zeros_like(best)], 1), 1)[:, -2:].T
    return np.asarray(first - second)


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
