"""The page around the sections: head, the figures that come first, and the way to the parts.

Rule: one file that needs nothing else, no address and no script; it reads well at 400 pixels and at 1280, in light and in dark.
"""

from collections.abc import Sequence
from datetime import datetime

from trainer.report import history, markup, outcomes
from trainer.report.facts import Facts
from trainer.report.look import CSS
from trainer.report.markup import Markup, Section, element, number


def page(facts: Facts, sections: Sequence[Section]) -> str:
    """The whole page."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"Report of {facts.run}"),
        element("style", markup.verbatim(CSS)),
    )
    main = element("main", *(section.html() for section in sections))
    foot = element("footer", "Every number here is of the test split, which training never sees, unless its caption says otherwise.")
    return "<!doctype html>\n" + element("html", head, element("body", _header(facts, sections), main, foot), lang="en") + "\n"


def _header(facts: Facts, sections: Sequence[Section]) -> Markup:
    made = element(
        "p", "Report of a training run, made at ", element("time", _moment(facts.made_at), datetime=facts.made_at), class_="made"
    )
    links = (element("a", section.title, href=f"#{section.anchor}") for section in sections)
    return element("header", element("h1", facts.run), made, _tiles(facts), element("nav", *links, aria_label="Parts of the report"))


def _moment(utc: str) -> str:
    return f"{datetime.fromisoformat(utc):%Y-%m-%d %H:%M} UTC"


def _tiles(facts: Facts) -> Markup:
    ap50, ap = (history.up_to(facts.run, history.curves(facts.performance, metric)) for metric in ("ap50", "ap"))
    tiles = [
        markup.tile("AP50", number("ap50", ap50[-1].value if ap50 else None, "figure")),
        markup.tile("AP", number("ap", ap[-1].value if ap else None, "figure")),
        *_mask_tiles(facts),
        *_draft_tiles(facts),
        markup.tile("Labelled images", number("labelled_images", ap50[-1].labelled_images if ap50 else None, "count")),
        markup.tile("Test images", number("test_images", ap50[-1].test_images if ap50 else None, "count")),
    ]
    return element("dl", *tiles, class_="tiles")


def _mask_tiles(facts: Facts) -> list[Markup]:
    points = history.up_to(facts.run, history.curves(facts.performance, "mask_ap"))
    return [markup.tile("Mask AP", number("mask_ap", points[-1].value, "figure"))] if points else []


def _draft_tiles(facts: Facts) -> list[Markup]:
    if facts.judged is None:
        return [markup.tile("Objects found", markup.UNKNOWN), markup.tile("Drafts correct", markup.UNKNOWN)]
    kept = outcomes.drafts(facts.judged, facts)
    found = outcomes.profile(facts.judged, kept, "drafts").objects_found
    correct = float(facts.judged.correct()[kept].mean()) if kept.any() else None
    return [
        markup.tile("Objects found", number("tile.objects_found", found, "share")),
        markup.tile("Drafts correct", number("tile.drafts_correct", correct, "share")),
    ]
