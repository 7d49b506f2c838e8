"""The parts of the report on whether the model's own word can be trusted: of being right, and of where the corners are.

Rule: what the model says itself comes first, what calibration made of it second.
"""

from collections.abc import Mapping

import numpy as np

from trainer.judged import Judged
from trainer.report import canvas, intervals, markup, plots
from trainer.report.facts import Facts
from trainer.report.markup import Markup, Section, number
from trainer.report.reliability import Reliability, reliability

NO_SPLIT = "There is no test split, so nothing was found on images whose truth is known."
NO_DETECTIONS = "The model found nothing at all on the test split."
SPLIT_REMEDY = "Give images to it, for example with “trainer repartition ./birds --test-percentage 0.2”."
DETECTIONS_REMEDY = "Train longer (training.iterations), or lower prediction.min_confidence."

_FAIR = 0.02
"""A difference between two shares that is no larger is called about right."""


def nothing_found(facts: Facts) -> Markup | None:
    """Why there is nothing to say about detections; None where there are some."""
    if facts.judged is None:
        return markup.absent(NO_SPLIT, SPLIT_REMEDY)
    return None if len(facts.judged) else markup.absent(NO_DETECTIONS, DETECTIONS_REMEDY)


def confidence(facts: Facts) -> Section:
    """Whether a stated confidence is the share that is right, and what calibration changed."""
    title, judged = "Does the confidence hold?", facts.judged
    if judged is None or not len(judged):
        return Section("confidence", title, markup.join([nothing_found(facts), _calibration(facts)]))
    right = judged.correct()
    stated = {"confidence": reliability(judged.detections.confidence, right)}
    if facts.probability is not None:
        stated["calibrated"] = reliability(facts.probability, right)
    plot = canvas.render("reliability", plots.reliability(stated))
    shown = markup.figure(plot, "Share of right detections over the stated probability, in bins", *_reliability_caption(stated))
    opening = markup.lead(
        "A detector that says 80% should be right 80% of the time. Right means: of the right class, on an object of its own, "
        "with an IoU of at least one half."
    )
    return Section("confidence", title, markup.join([opening, markup.grid(shown, _calibration(facts))]), (plot,))


def corners(facts: Facts) -> Section:
    """Whether true corners lie within the intervals that the spread promises."""
    title, judged = "Do the intervals of the corners hold?", facts.judged
    if judged is None or not len(judged):
        return Section("corners", title, markup.join([nothing_found(facts)]))
    stds = _stds(facts, judged)
    if not stds or not judged.matched.any():
        return Section("corners", title, _no_intervals(bool(stds)))
    residual = judged.residual[judged.matched]
    covered = {label: intervals.coverage(residual, std) for label, std in stds.items()}
    binned = {label: intervals.spread_bins(residual, std) for label, std in stds.items()}
    drawn = canvas.render("intervals", plots.coverage(covered)), canvas.render("spread", plots.spread(binned))
    figures = markup.grid(
        markup.figure(drawn[0], "Share of true corners inside intervals over the share promised", *_coverage_caption(residual, stds)),
        markup.figure(drawn[1], "True error of corners over their stated spread, in pixels", *_spread_caption(binned)),
    )
    return Section("corners", title, markup.join([_CORNERS, figures, _interval_table(residual, stds, covered)]), drawn)


def _reliability_caption(stated: Mapping[str, Reliability]) -> list[str]:
    raw = stated["confidence"]
    said = ["On the diagonal, what is stated comes true; below it the model promises too much. On average the model states "]
    said += [number("reliability.stated", raw.stated, "share"), " and is right in ", number("reliability.right", raw.right, "share")]
    said += [f": {_direction(raw.stated - raw.right)}. The expected calibration error is "]
    said += [number("reliability.confidence.ece", raw.ece, "figure")]
    if "calibrated" not in stated:
        return [*said, "; 0 is perfect. There is no calibrated probability yet: it needs detections of a calibration split."]
    return [
        *said,
        " before calibration and ",
        number("reliability.calibrated.ece", stated["calibrated"].ece, "figure"),
        " after; 0 is perfect.",
    ]


def _direction(excess: float) -> str:
    if abs(excess) <= _FAIR:
        return "about right"
    return "it promises too much" if excess > 0 else "it is better than it says"


def _calibration(facts: Facts) -> Markup:
    if not facts.calibration:
        return markup.absent(
            "This run is not calibrated.", "Calibration is learnt from labelled images that training left out; set some aside."
        )
    rows = [
        [markup.name(name), *_before_after(f"calibration.{index}", *values)]
        for index, (name, values) in enumerate(facts.calibration.items())
    ]
    return markup.element("div", markup.table("Calibration, before and after", ("Metric", "Before", "After", "Change"), rows), _CHANGE)


_CHANGE = markup.element(
    "p", "Errors should fall towards nought; a share of corners should come close to what its interval promises.", class_="note"
)


def _before_after(name: str, before: float, after: float) -> list[Markup]:
    change = (after - before) / abs(before) if before else None
    return [
        number(f"{name}.before", before, "short"),
        number(f"{name}.after", after, "short"),
        number(f"{name}.change", change, "step"),
    ]


def _stds(facts: Facts, judged: Judged) -> dict[str, np.ndarray]:
    """(K, 4) standard deviations of the matched boxes, by who states them."""
    own = judged.detections.spread
    stated = {"model": own.total if own else None, "calibrated": facts.std}
    return {label: std[judged.matched] for label, std in stated.items() if std is not None}


def _no_intervals(has_spread: bool) -> Markup:
    if has_spread:
        return markup.absent("No detection lies on an object of its class, so no corner has a truth to compare with.", DETECTIONS_REMEDY)
    return markup.absent(
        "This model does not say how unsure it is of its corners.", "Train it again with a detector that predicts a spread."
    )


_CORNERS = markup.lead(
    "Each corner coordinate comes with a standard deviation. If it is honest, an interval of a stated share holds that share of true "
    "corners."
)


def _coverage_caption(residual: np.ndarray, stds: Mapping[str, np.ndarray]) -> list[str]:
    label, std = list(stds.items())[-1]
    inside, due = intervals.within(residual, std, 1), intervals.promised(1)
    said = ["Below the diagonal, intervals are too narrow; above it, too wide. One standard deviation should hold "]
    said += [
        number("intervals.due", due, "share"),
        f" of the corners; {_STATED[label]} holds ",
        number("intervals.within", inside, "share"),
    ]
    return [*said, f": {_width(inside - due)}."]


_STATED = {"model": "the model's own spread", "calibrated": "the calibrated spread"}


def _width(excess: float) -> str:
    if abs(excess) <= _FAIR:
        return "about right"
    return "too wide" if excess > 0 else "too narrow"


def _spread_caption(binned: Mapping[str, intervals.SpreadBins]) -> list[str]:
    label, bins = list(binned.items())[-1]
    said = ["Each mark holds as many corners as the next; on the line, the spread is the size of the error. The surest corners are off by "]
    said += [
        number("spread.surest", float(bins.error[0]), "pixels"),
        ", the least sure by ",
        number("spread.least", float(bins.error[-1]), "pixels"),
    ]
    told = bins.error[-1] > bins.error[0]
    return [*said, f": {_STATED[label]} {'tells them apart' if told else 'does not tell them apart'}."]


def _interval_table(residual: np.ndarray, stds: Mapping[str, np.ndarray], covered: Mapping[str, np.ndarray]) -> Markup:
    header = ("Spread", "Within ±σ", "Within ±2σ", "Within ±3σ", "Mean miss")
    due = [
        markup.name("promised"),
        *(number(f"within.due.{k}", intervals.promised(k), "share") for k in _SIGMAS),
        number("within.due.miss", 0.0, "figure"),
    ]
    return markup.table(
        "Corners inside their intervals", header, [due, *(_interval_row(label, residual, std, covered) for label, std in stds.items())]
    )


_SIGMAS = (1, 2, 3)


def _interval_row(label: str, residual: np.ndarray, std: np.ndarray, covered: Mapping[str, np.ndarray]) -> list[Markup]:
    inside = [number(f"within.{label}.{k}", intervals.within(residual, std, k), "share") for k in _SIGMAS]
    return [markup.name(label), *inside, number(f"intervals.{label}.miss", intervals.miss(covered[label]), "figure")]
