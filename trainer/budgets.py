"""What a threshold on one uncertainty must not cost, and the threshold that gains most within that.

Rule: a budget is never broken on the detections a threshold was fitted to. With a confidence it also holds for fresh ones, whatever their
distribution, by an order statistic (Wilks 1941; the same as the one-sided bound of Clopper and Pearson 1934). Detections of one image
resemble each other, and count for fewer than they are (Korn and Graubard 1998), so what is promised is about fresh images of the same kind.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, stdtrit

from activelearning.errors import UserError
from trainer import mixing

CORRECT, FALSE = "correct", "false"
_T_LEVEL = 0.975


@dataclass(frozen=True, slots=True)
class Budget:
    """What a threshold must not cost.

    `correct`: keep at least `share` of the correct detections, and remove as many false ones as possible. `false`: remove at least
    `share` of the false ones, and keep as many correct ones as possible. `confidence` is the chance that this holds of all fresh
    detections together; None demands it of the fitted ones alone.
    """

    of: str = CORRECT
    share: float = 0.95
    confidence: float | None = 0.95

    def __post_init__(self) -> None:
        if self.of not in (CORRECT, FALSE):
            raise UserError(f"a budget is of '{CORRECT}' or '{FALSE}' detections, not of '{self.of}'")
        if not (is_number(self.share) and 0 < self.share <= 1):
            raise UserError(f"a budget's share lies above 0 and up to 1, it is not {self.share!r}")
        if not (self.confidence is None or (is_number(self.confidence) and 0 < self.confidence < 1)):
            raise UserError(f"a budget's confidence lies between 0 and 1, it is not {self.confidence!r}")

    def needed(self, count: int, effective: float | None = None) -> int | None:
        """The rank of the protected detection, of `count` from the safe end, up to which all must be safe: None if that cannot be told.

        Of independent values the share of all fresh ones up to the k-th lowest of n has a beta distribution of k and n - k + 1, or more
        where values tie. Values that are not independent are worth `effective` ones, and k is counted in these.
        """
        if self.confidence is None:
            return mixing.at_least(count, self.share)
        worth = count if effective is None else effective
        safe = worth * np.arange(1, count + 1) / max(count, 1)
        enough = np.flatnonzero(betainc(safe, worth - safe + 1, self.share) <= 1 - self.confidence)
        return int(enough[0]) + 1 if len(enough) else None

    def protected(self, correct: np.ndarray) -> np.ndarray:
        """Which of the detections it protects, (N,) bool, if those are `correct`."""
        return correct if self.of == CORRECT else ~correct

    def safe_first(self, values: np.ndarray) -> np.ndarray:
        """Uncertainties so turned that those at which protected detections are safe are low."""
        return values if self.of == CORRECT else -values


def threshold(uncertainty: np.ndarray, correct: np.ndarray, budget: Budget, image: np.ndarray | None = None) -> float:
    """The threshold that gains most within the budget, from uncertainties (N,) and whether the detections are correct (N,).

    It lies halfway between the last detection that must be safe and the next, so that another machine's rounding changes nothing.
    Without any that could be demanded: inf, nothing is removed, for the correct budget, and -inf, everything is, for the false one.
    `image` (N,) says which detections are of one image; without it, all are independent.
    """
    mask = budget.protected(correct)
    protected = budget.safe_first(uncertainty[mask])
    effective = None if image is None or budget.confidence is None else _effective(protected, image[mask], budget.share)
    rank = budget.needed(len(protected), effective)
    if rank is None:
        return math.inf if budget.of == CORRECT else -math.inf
    last = np.sort(protected)[rank - 1]
    if budget.of == CORRECT:
        return _between(last, uncertainty[uncertainty > last].min(initial=math.inf))
    return _between(uncertainty[uncertainty < -last].max(initial=-math.inf), -last)


def nearest_vertex(uncertainty: np.ndarray, correct: np.ndarray, budget: Budget) -> float:
    """What is published instead, to be compared with: the vertex of the ROC curve nearest to where it crosses the budget.

    The curve, FDs found over CDs lost, is interpolated between vertices, and the nearest can lie on the wrong side: the budget breaks
    about as often as it holds. Needs a CD and an FD. The confidence is not looked at.
    """
    lost, found, thresholds = _roc(uncertainty, correct)
    if budget.of == CORRECT:
        wanted = np.interp(1 - budget.share, lost, found)
        return float(thresholds[np.argmin(np.abs(found - wanted))])
    return float(thresholds[np.argmin(np.abs(lost - np.interp(budget.share, found, lost)))])


def is_number(value: object) -> bool:
    """Whether that is a whole number or a float; True and False are neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _effective(values: np.ndarray, image: np.ndarray, share: float) -> float:
    """How many independent values those of several images are worth, judged by which lie within `share` of them.

    Kish's design effect of a ratio of totals over images, but not below 1, and the loss of degrees of freedom, both as in Korn and
    Graubard (1998). One image is worth one value.
    """
    _, at, sizes = np.unique(image, return_inverse=True, return_counts=True)
    count, images = len(values), len(sizes)
    if images < 2:
        return float(images)
    inside = values <= np.sort(values)[(mixing.at_least(count, share) or 1) - 1]
    off = np.bincount(at, inside) - inside.mean() * sizes
    independent = count * inside.mean() * (1 - inside.mean())
    design = images / (images - 1) * float((off**2).sum()) / independent if independent else 1.0
    return float(count / max(1.0, design) * (stdtrit(count - 1, _T_LEVEL) / stdtrit(images - 1, _T_LEVEL)) ** 2)


def _between(low: float, high: float) -> float:
    """Above `low`, up to `high`."""
    middle = float(low + (high - low) / 2) if math.isfinite(high - low) else math.inf
    return middle if low < middle < high else float(high)


def _roc(uncertainty: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of CDs and of FDs at or above each threshold, falling from inf; points on a line with their neighbours are left out."""
    thresholds = np.unique(uncertainty)[::-1]
    lost, found = (len(group) - np.searchsorted(np.sort(group), thresholds) for group in (uncertainty[correct], uncertainty[~correct]))
    corner = np.ones(len(thresholds), bool)
    corner[1:-1] = (np.diff(lost, 2) != 0) | (np.diff(found, 2) != 0)
    start = np.zeros(1)
    shares = [np.concatenate([start, counts[corner] / counts[-1]]) for counts in (lost, found)]
    return shares[0], shares[1], np.concatenate([[math.inf], thresholds[corner]])
