"""The part of the report on when to stop: what more labelled images would bring, and how sure that is.

Rule: numbers come from the run's own record; a run without one has no such part.
"""

from collections.abc import Iterator

from activelearning.outlook_shown import LEVEL, OPEN, PAYS, Outlook, Step
from trainer.report import canvas, markup, plots
from trainer.report.facts import Facts
from trainer.report.markup import Markup, Section, number


def sections(facts: Facts) -> tuple[Section, ...]:
    """What more labels would bring: one section, or none."""
    known = facts.outlook
    if known is None:
        return ()
    plot = canvas.render("outlook", plots.outlook(known))
    figure = markup.figure(plot, "AP measured and estimated over the number of labelled images", *_caption(known))
    body = markup.join([_LEAD, markup.grid(figure, _table(known)), _left_out(known)])
    return (Section("outlook", "When to stop", body, (plot,)),)


_LEAD = markup.lead(
    "What more labelled images would bring, as far as the runs until now tell. AP over all classes, on the test split; the error is taken "
    "to fall as a power of the number of labelled images, or to level off sooner."
)
_SAYS = {
    PAYS: "Going on pays",
    OPEN: "It is too early to tell whether going on pays",
    LEVEL: "The gain is within the noise; more images of the same kind will hardly show",
}


def _caption(known: Outlook) -> list[str]:
    said = [markup.element("b", f"{_SAYS[known.verdict]}. "), "That "]
    said += [number("outlook.worth_images", known.worth_images, "count"), " more labelled images raise AP by more than "]
    said += [number("outlook.worth", known.worth, "figure"), " is ", number("outlook.probability", known.probability, "percent")]
    said += [" sure; by chance alone, two runs differ by ", number("outlook.noise", known.noise, "figure"), ". "]
    said += ["The band and the bars of the next runs are to hold ", number("outlook.confidence", known.confidence, "percent")]
    return [*said, " of cases; the bars of the measured ones are the standard error from the choice of test images."]


def _table(known: Outlook) -> Markup:
    header = ("More images", "To review", "Minutes", "AP gained", "At least", "At most", "Then measured")
    return markup.table("What the next images would bring", header, [_row(known, index, step) for index, step in enumerate(known.steps)])


def _row(known: Outlook, index: int, step: Step) -> list[Markup]:
    name = f"outlook.{index}"
    return [
        number(f"{name}.more", step.more, "count"),
        number(f"{name}.reviews", step.reviews, "count"),
        number(f"{name}.minutes", known.minutes(step), "count"),
        number(f"{name}.gain", step.gain, "change"),
        number(f"{name}.gain_low", step.gain_low, "change"),
        number(f"{name}.gain_high", step.gain_high, "change"),
        number(f"{name}.ap", step.ap, "figure"),
    ]


def _left_out(known: Outlook) -> Markup | None:
    return markup.element("p", *_reasons(known), class_="note") if known.left_out else None


def _reasons(known: Outlook) -> Iterator[str]:
    yield "Not counted: "
    for index, one in enumerate(known.left_out):
        yield from ("; " if index else "", markup.name(one.run), markup.element("span", f" ({one.reason})", class_="name"))
    yield "."
