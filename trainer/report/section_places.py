"""The parts of the report on places and on the pool: heat maps of boxes and of uncertainties, and how confident the model is of the pool.

Rule: heat maps of found boxes are of drafts, what an annotator is shown; weak detections would drown them.
"""

from collections.abc import Iterator

import numpy as np

from trainer.judged import Judged
from trainer.report import canvas, heat, markup, outcomes, plots
from trainer.report.canvas import Plot
from trainer.report.facts import Facts
from trainer.report.facts import Pool as PoolFacts
from trainer.report.markup import Markup, Section, number
from trainer.report.section_trust import NO_SPLIT, SPLIT_REMEDY


def places(facts: Facts) -> Section:
    """Where boxes are."""
    title, judged = "Where boxes are", facts.judged
    if judged is None or not facts.images:
        return Section("places", title, markup.absent(NO_SPLIT, SPLIT_REMEDY))
    with_plots = [*_counts(facts, judged), *_uncertainties(facts, judged)]
    figures, drawn = [figure for figure, _ in with_plots], [plot for _, plot in with_plots if plot]
    return Section("places", title, markup.join([_LEAD, markup.grid(*figures, small=True)]), tuple(drawn))


def pool(facts: Facts) -> Section:
    """How confident the model is of the images that nobody has labelled."""
    title, known = "The pool", facts.pool
    if known is None or not len(known.confidence):
        counts = _pool_counts(known) if known else None
        why = markup.absent("No image of the pool has been predicted with this model.", "Upload images; the next run predicts them.")
        return Section("pool", title, markup.join([why, counts]))
    plot = canvas.render("pool", plots.pool(known.confidence))
    shown = markup.figure(plot, "Number of pool images over the confidence of the image", *_pool_caption(known.confidence))
    return Section("pool", title, markup.join([_POOL_LEAD, markup.grid(shown, _pool_counts(known))]), (plot,))


_LEAD = markup.lead(
    "All images laid over each other, each stretched to the same frame. A camera's blind corner, a sky without objects or a rim full of "
    "false drafts shows as a patch."
)
_POOL_LEAD = markup.lead("What the model says of the images that nobody has labelled: how sure it is of each as a whole.")

Shown = tuple[Markup, Plot | None]
"""A figure and its plot, or the words that stand for it."""


def _counts(facts: Facts, judged: Judged) -> Iterator[Shown]:
    kept = outcomes.drafts(judged, facts)
    found = outcomes.found_objects(judged, facts.images, kept)
    objects = [one.truth.xyxy / np.tile(one.size, 2) for one in facts.images]
    false = kept & ~judged.correct()
    yield _count_map(facts, "ground-truth", "True objects", "objects", np.concatenate(objects))
    yield _count_map(facts, "false", "False drafts", "drafts", _fractions(facts, judged, false))
    missed = [boxes[~hit] for boxes, hit in zip(objects, found, strict=True)]
    yield _count_map(facts, "missed", "Missed objects", "objects", np.concatenate(missed))


def _count_map(facts: Facts, name: str, title: str, unit: str, fractions: np.ndarray) -> Shown:
    if not len(fractions):
        return markup.absent(f"{title}: none.", "So there is no map of them."), None
    values = heat.count(fractions)
    plot = canvas.render(f"heat-{name}", plots.heat(values, _aspect(facts), unit, lowest=0))
    said = [markup.element("b", f"{title}. "), number(f"heat.{name}.boxes", len(fractions), "count"), " in all; most over one place: "]
    said += [*_peak(f"heat.{name}", values, "short"), "."]
    return markup.figure(plot, f"Heat map: {title.lower()} over the image", *said), plot


def _uncertainties(facts: Facts, judged: Judged) -> Iterator[Shown]:
    kept = outcomes.drafts(judged, facts)
    fractions = _fractions(facts, judged, kept)
    if not facts.uncertainties:
        yield markup.absent("Uncertainties: this model states none.", "Train a detector that predicts a spread."), None
    for index, (name, values) in enumerate(facts.uncertainties.items()):
        averaged = heat.mean(fractions, values[kept].astype(np.float64))
        if np.isfinite(averaged).any():
            yield _uncertainty_map(facts, index, name, averaged)


def _uncertainty_map(facts: Facts, index: int, name: str, averaged: np.ndarray) -> Shown:
    plot = canvas.render(f"heat-uncertainty-{index + 1}", plots.heat(averaged, _aspect(facts), "mean over drafts"))
    figure, least = f"heat.uncertainty.{index}", float(np.nanmin(averaged))
    said = [
        markup.element("b", f"Uncertainty: {name}. "),
        "Mean over the drafts at each place; least ",
        number(f"{figure}.least", least, "short"),
    ]
    said += [", most ", *_peak(figure, averaged, "short"), ". At bright places the model is least sure."]
    return markup.figure(plot, f"Heat map: mean {name} over the image", *said), plot


def _fractions(facts: Facts, judged: Judged, rows: np.ndarray) -> np.ndarray:
    """(K, 4) corners of the detections of the mask as shares of their image."""
    return judged.detections.xyxy[rows] / np.tile(facts.sizes[judged.image[rows]], 2)


def _aspect(facts: Facts) -> float:
    return float(np.median(facts.sizes[:, 0] / facts.sizes[:, 1]))


def _peak(name: str, values: np.ndarray, written: str) -> list[str]:
    highest, across, down = heat.peak(values)
    place = [number(f"{name}.across", across, "percent"), " from the left and ", number(f"{name}.down", down, "percent"), " from the top"]
    return [number(f"{name}.peak", highest, written), ", at ", *place]


def _pool_caption(confidence: np.ndarray) -> list[str]:
    said = ["To the left lie the images that people should review first. Of ", number("pool.images", len(confidence), "count"), " images, "]
    said += ["half have a confidence below ", number("pool.median", float(np.median(confidence)), "figure"), "."]
    return said


def _pool_counts(known: PoolFacts) -> Markup:
    if not known.counts:
        return markup.absent("Automatic labelling is off.", "Every image of the pool waits for a person.")
    tiles = [markup.tile(name, number(f"pool.count.{index}", count, "count")) for index, (name, count) in enumerate(known.counts.items())]
    return markup.element("dl", *tiles, class_="tiles")
