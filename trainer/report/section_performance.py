"""The part of the report on how good the model is: the learning curve and the figures of each class.

Rule: a judgement in words follows from the number beside it, by a bound that is named here.
"""

from collections.abc import Sequence

from trainer.report import canvas, history, markup, plots
from trainer.report.facts import Facts
from trainer.report.history import ClassFigures, Point
from trainer.report.markup import Markup, Section, number

MOST_CLASSES = 40
"""A page of more classes shows the weakest."""

_FLAT = 0.005
"""A step of AP50 that is no larger is called level."""


def section(facts: Facts) -> Section:
    """How good the model is."""
    named = {name: history.curves(facts.performance, metric) for name, metric in _METRICS.items()}
    curves = {name: curve for name, curve in named.items() if curve or not name.startswith("mask")}
    own = history.up_to(facts.run, curves["AP50"])
    if not own:
        return Section("performance", _TITLE, markup.absent("This run was not evaluated.", _REMEDY))
    flow, _ = history.split(facts.run)
    known = [one for one in history.per_class(facts.performance, facts.run, facts.classes) if one.ap50 is not None]
    weakest = known[-MOST_CLASSES:]
    curve, classes = canvas.render("learning-curve", plots.learning_curve(curves, flow)), canvas.render("classes", plots.per_class(weakest))
    figures = markup.grid(
        markup.figure(curve, f"AP50 and AP of the flow {flow} over the number of labelled images", *_curve_caption(own)),
        markup.figure(classes, "AP50 and AP of each class", *_class_caption(known, len(facts.classes))),
    )
    return Section("performance", _TITLE, markup.join([_LEAD, figures, _class_table(weakest)]), (curve, classes))


_METRICS = {"AP50": "ap50", "AP": "ap", "mask AP": "mask_ap"}
_TITLE = "How good the model is"
_REMEDY = "Give images to the test split, for example with “trainer repartition ./birds --test-percentage 0.2”; the next run is evaluated."
_LEAD = markup.lead(
    "Average precision on the test split, from 0 to 1. AP50 asks for an overlap (IoU) of half; AP is the mean over ever stricter overlaps, "
    "so it also asks for exact corners."
)


def _curve_caption(own: Sequence[Point]) -> list[str]:
    last, step = own[-1], history.change(own)
    now = ["Each mark is an iteration; higher is better. AP50 is ", number("curve.ap50", last.value, "figure"), " with "]
    now += [number("curve.labelled_images", last.labelled_images, "count"), " labelled images"]
    if step is None:
        return [*now, "; a step to compare with comes with the next iteration that is evaluated."]
    return [*now, ", ", number("curve.change", step, "change"), f" since the iteration before: {_meaning(step)}."]


def _meaning(step: float) -> str:
    if abs(step) <= _FLAT:
        return "level, so more of the same images may not pay"
    return "more labels still pay" if step > 0 else "a step back; look at the worst images below, and at the labels of the last batch"


def _class_caption(known: Sequence[ClassFigures], classes: int) -> list[str]:
    if not known:
        return ["No class has an object in the test split, so there is nothing to measure; label test images that hold objects."]
    shown = ["The disc is AP50, the square AP; a wide gap between them means loose corners. The weakest class is ", _name(known[-1])]
    shown += [" with AP50 ", number("weakest.ap50", known[-1].ap50, "figure"), "."]
    if len(known) > MOST_CLASSES:
        shown += [" Only the weakest are shown; all ", number("classes.known", len(known), "count"), " stand in performance.csv."]
    if len(known) < classes:
        shown += [
            " Without an object in the test split, and so without a figure: ",
            number("classes.absent", classes - len(known), "count"),
            ".",
        ]
    return shown


def _name(one: ClassFigures) -> Markup:
    return markup.element("b", one.label)


def _class_table(figures: Sequence[ClassFigures]) -> Markup | None:
    header = ("Class", "Objects", "AP50", "AP", "AP75", "AP50 since before")
    rows = [_class_row(f"class.{index}", one) for index, one in enumerate(figures)]
    return markup.table("Figures of each class", header, rows) if rows else None


def _class_row(name: str, one: ClassFigures) -> list[Markup]:
    return [
        markup.name(one.label),
        number(f"{name}.objects", one.objects, "count"),
        number(f"{name}.ap50", one.ap50, "figure"),
        number(f"{name}.ap", one.ap, "figure"),
        number(f"{name}.ap75", one.ap75, "figure"),
        number(f"{name}.change", one.change, "change"),
    ]
