"""HTML that cannot be broken by the names in it.

Rule: text is escaped unless it is `Markup` already, and only this file makes `Markup`. Every number that depends on the run stands in
a `<data>` element with its name and its exact value, so that a test can hold it against another computation.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from trainer.report.canvas import Plot


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


Child = str | None
_VOID = {"meta", "img", "wbr"}
_WRITTEN: dict[str, Callable[[float], str]] = {
    "count": lambda value: f"{value:,.0f}",
    "share": lambda value: f"{value:.1%}",
    "percent": lambda value: f"{value:.0%}",
    "step": lambda value: f"{value:+.1%}".replace("-", "−"),
    "figure": lambda value: f"{value:.3f}",
    "change": lambda value: f"{value:+.3f}".replace("-", "−"),
    "pixels": lambda value: f"{value:.1f} px",
    "short": lambda value: f"{value:.3g}".replace("-", "−"),
}
UNKNOWN = "–"
"""What stands where there is no number."""


def element(tag: str, *children: Child, **attributes: str | None) -> Markup:
    """One element; a child or an attribute that is None is left out. `class_` is `class`, `data_figure` is `data-figure`."""
    named = ((name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items() if value is not None)
    opened = tag + "".join(f' {name}="{escape(value)}"' for name, value in named)
    return Markup(f"<{opened}>" if tag in _VOID else f"<{opened}>{join(children)}</{tag}>")


def join(children: Iterable[Child]) -> Markup:
    """Children one after the other."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children if child is not None))


def name(text: str) -> Markup:
    """A name from outside, which may break after `_`, `-` and `/` where it is too long for its line."""
    parts = re.split(r"(?<=[_/-])", text)
    return element("span", parts[0], *(part for rest in parts[1:] for part in (element("wbr"), rest)), class_="name")


def verbatim(text: str) -> Markup:
    """Text of our own that must not be escaped, such as a style sheet."""
    return Markup(text)


def number(name: str, value: float | None, written: str) -> Markup:
    """A number of this run under a name that no other number of the page has.

    `written` is how: `count`, `share` as a percentage, `percent` as a whole one, `step` as one with its sign, `figure` with three
    places, `change` the same with its sign, `pixels`, or `short` with three digits.
    """
    if value is None:
        return element("span", UNKNOWN, class_="unknown")
    return element("data", _WRITTEN[written](value), value=repr(float(value)), data_figure=name)


def meter(name: str, value: float | None) -> Markup:
    """A share with a bar of its length."""
    shown = number(name, value, "share")
    return shown if value is None else element("span", shown, class_="meter", style=f"--share:{value:.1%}")


def figure(plot: Plot, alt: str, *caption: Child) -> Markup:
    """A plot, what it shows for those who do not see it, and how to read it."""
    return element("figure", element("img", src=plot.uri, alt=alt), element("figcaption", *caption))


def table(label: str, header: Sequence[Child], rows: Iterable[Sequence[Child]]) -> Markup:
    """A table whose first column names its rows; where it is too wide it scrolls in itself."""
    head = element("tr", *(element("th", cell, scope="col") for cell in header))
    body = (element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:])) for row in rows)
    filled = element("table", element("thead", head), element("tbody", *body))
    scrolled = element("div", filled, class_="scroll", tabindex="0", role="region", aria_label=label)
    return element("figure", element("figcaption", label), scrolled, class_="table")


def absent(why: str, remedy: str) -> Markup:
    """What stands where there is nothing to show."""
    return element("p", f"{why} {remedy}", class_="absent")


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page under its heading, and the plots in it. `anchor` is its place in the page's address."""

    anchor: str
    title: str
    body: Markup
    plots: tuple[Plot, ...] = ()

    def html(self) -> Markup:
        """The section as it stands in the page."""
        heading = f"{self.anchor}-title"
        return element("section", element("h2", self.title, id=heading), self.body, id=self.anchor, aria_labelledby=heading)


def lead(*children: Child) -> Markup:
    """The sentence that opens a section: what it is about."""
    return element("p", *children, class_="lead")


def grid(*children: Child, small: bool = False) -> Markup:
    """Figures beside each other where there is room."""
    return element("div", *children, class_="grid small" if small else "grid")


def tile(label: str, value: Child) -> Markup:
    """One number of a `dl` of tiles and what it is."""
    return element("div", element("dt", label), element("dd", value))
