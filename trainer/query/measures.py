"""How unsure the model is of each detection: first of the three levels of a score.

Rule: larger is less sure. A missing entropy or margin follows from the confidence alone; a detection that lacks another measure, which
happens in tables of two models, counts as the mean of those that have it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from activelearning.errors import UserError
from trainer.query.candidates import Candidates


@dataclass(frozen=True, slots=True)
class Measure:
    """`raw` makes (B,) float64 of the candidates, NaN where unknown, and so does `calibrated`, None where no calibration speaks of it.

    `columns` are the table's columns that either reads. An image without detections counts as `without_boxes`: as one box of
    confidence 0, which is least sure of all where the confidence counts, and surest of all by what else is known of it, nothing.
    """

    raw: Callable[[Candidates], np.ndarray]
    columns: frozenset[str]
    meaning: str
    source: str
    calibrated: Callable[[Candidates], np.ndarray] | None = None
    without_boxes: float = 0.0


def of_boxes(candidates: Candidates, name: str, calibrated: bool = False) -> np.ndarray:
    """A measure of every detection, (B,) float64, finite.

    With `calibrated`, the calibrated value where the detection has one, the raw one elsewhere. Raises `UserError` where no detection
    has any.
    """
    measure = MEASURES[name]
    values = measure.raw(candidates)
    if calibrated and measure.calibrated is not None:
        better = measure.calibrated(candidates)
        values = np.where(np.isnan(better), values, better)
    return _completed(values, name)


def _completed(values: np.ndarray, name: str) -> np.ndarray:
    unknown = np.isnan(values)
    if not unknown.any():
        return values
    if unknown.all():
        columns = " and ".join(sorted(MEASURES[name].columns))
        raise UserError(f"no detection of the pool has {columns}, which the query strategy goes by: choose another selection.strategy")
    return np.where(unknown, values[~unknown].mean(), values)


def binary_entropy(p: np.ndarray) -> np.ndarray:
    """Bits of a yes or no of probability `p`; 0 of what is certain."""
    p = np.clip(p, 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = -p * np.log2(p) - (1 - p) * np.log2(1 - p)
    return np.asarray(np.where((p == 0) | (p == 1), 0.0, bits))


def probability(candidates: Candidates) -> np.ndarray:
    """How likely each detection is right, (B,): calibrated where it is known, else the confidence."""
    calibrated = candidates.column("probability")
    return np.asarray(np.where(np.isnan(calibrated), candidates.confidence, calibrated).clip(0.0, 1.0))


def _unconfidence(candidates: Candidates) -> np.ndarray:
    return 1 - candidates.confidence.astype(np.float64)


def _improbability(candidates: Candidates) -> np.ndarray:
    return np.asarray(1 - candidates.column("probability"))


def _margin(candidates: Candidates) -> np.ndarray:
    return _known_or(1 - candidates.column("margin"), _no_margin(candidates.confidence))


def _no_margin(p: np.ndarray) -> np.ndarray:
    """1 minus the margin of a yes over a no."""
    return np.asarray(1 - np.abs(2 * p.astype(np.float64) - 1))


def _entropy(candidates: Candidates) -> np.ndarray:
    return _known_or(candidates.column("entropy"), binary_entropy(candidates.confidence.astype(np.float64)))


def _known_or(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(np.isnan(values), others, values))


def _column(name: str) -> Callable[[Candidates], np.ndarray]:
    return lambda candidates: candidates.column(name)


def _rescaled(name: str) -> Callable[[Candidates], np.ndarray]:
    """A part of the spread by the factor that calibration gives the whole of it."""

    def calibrated(candidates: Candidates) -> np.ndarray:
        total, corrected = candidates.column("total_px"), candidates.column("calibrated_px")
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(total > 0, corrected / total, np.where(np.isnan(corrected), np.nan, 1.0))
        return np.asarray(candidates.column(name) * factor)

    return calibrated


def _spread(name: str, meaning: str, source: str) -> Measure:
    return Measure(_column(name), frozenset((name, "total_px", "calibrated_px")), meaning, source, _rescaled(name))


_KENDALL = "Kendall and Gal, NeurIPS 2017"
_GAL = "Gal and Ghahramani, ICML 2016"

MEASURES: Mapping[str, Measure] = {
    "unconfidence": Measure(
        _unconfidence,
        frozenset(("probability",)),
        "1 - confidence",
        "least confidence: Lewis and Gale, SIGIR 1994; Settles, Active Learning Literature Survey, 2009",
        _improbability,
        without_boxes=1.0,
    ),
    "margin": Measure(
        _margin,
        frozenset(("margin", "probability")),
        "1 - (best - second best) of the class scores and the background's",
        "Scheffer et al., IDA 2001; with background: Brust et al., VISAPP 2019",
        lambda candidates: _no_margin(candidates.column("probability")),
    ),
    "entropy": Measure(
        _entropy,
        frozenset(("entropy", "probability")),
        "sum over classes of the binary entropies of the class scores, bits; calibrated: of the box being right",
        "Shannon, 1948; for detectors with a sigmoid a class: Yang et al. (PPAL), CVPR 2024",
        lambda candidates: binary_entropy(candidates.column("probability")),
    ),
    "aleatoric": _spread("aleatoric", "deviation of the sides as the model predicts it, by the box's sides", _KENDALL),
    "epistemic": _spread("epistemic", "deviation of the sides over Monte-Carlo samples, by the box's sides", _GAL),
    "total": _spread("total", "both, variances added, by the box's sides", _KENDALL),
    "class_epistemic": Measure(
        _column("class_epistemic"),
        frozenset(("class_epistemic",)),
        "deviation over Monte-Carlo samples of the own class's score",
        _GAL,
    ),
    "mutual_information": Measure(
        _column("mutual_information"),
        frozenset(("mutual_information",)),
        "what the samples tell about the classes, bits",
        "BALD: Houlsby et al., 2011; Gal et al., ICML 2017",
    ),
    "improbability": Measure(
        _improbability,
        frozenset(("probability",)),
        "1 - calibrated probability that the box is right",
        "precision-calibrated confidence: Küppers et al., CVPR Workshops 2020",
        without_boxes=1.0,
    ),
    "aleatoric_px": _spread("aleatoric_px", "aleatoric, in pixels", _KENDALL),
    "epistemic_px": _spread("epistemic_px", "epistemic, in pixels", _GAL),
    "total_px": _spread("total_px", "total, in pixels", _KENDALL),
    "calibrated_px": Measure(
        _column("calibrated_px"), frozenset(("calibrated_px",)), "calibrated total, in pixels", "Kuleshov et al., ICML 2018"
    ),
}
