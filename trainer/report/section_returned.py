"""The part of the report on what people made of the drafts: batch by batch, in seconds by the cost model and in boxes.

Rule: a batch counts by the reviews that came back of it, each against the drafts that were shown; a batch without drafts is shown too.
"""

from collections.abc import Sequence

from trainer.report import canvas, markup, plots
from trainer.report.facts import Facts, ReturnedBatch
from trainer.report.markup import Markup, Section, number

MOST_ROWS = 20
"""A page of more batches lists the newest."""


def sections(facts: Facts) -> list[Section]:
    """What people made of the drafts; nothing before a batch came back."""
    known = [one for one in facts.returned if one.images]
    return [_section(known)] if known else []


def _section(known: Sequence[ReturnedBatch]) -> Section:
    plot = canvas.render("returned", plots.returned(known))
    shown = markup.figure(plot, "Seconds an image by batch: with drafts, as expected, and drawing every box", *_caption(known))
    return Section("returned", _TITLE, markup.join([_LEAD, markup.grid(shown, _tiles(known)), _table(known)]), (plot,))


_TITLE = "What people made of the drafts"
_LEAD = markup.lead(
    "Every reviewed batch beside the drafts that were shown in it. Seconds are those of the cost model in project.toml, for people are not "
    "timed; an image takes fewer of them as drafts get better."
)


def _caption(known: Sequence[ReturnedBatch]) -> list[str]:
    last = known[-1]
    said = ["Lower is better; the last of ", number("returned.batches", len(known), "count"), " batches took "]
    said += [number("returned.last.seconds", last.seconds_an_image, "short"), " s an image, drawing every box would have taken "]
    said += [number("returned.last.drawing", last.drawing_an_image, "short"), " s"]
    if last.expected_an_image is None:
        return [*said, "."]
    return [*said, "; expected were ", number("returned.last.expected", last.expected_an_image, "short"), " s."]


def _tiles(known: Sequence[ReturnedBatch]) -> Markup:
    drafts, seconds = sum(one.drafts for one in known), sum(one.seconds for one in known)
    drawing = sum(one.drawing_seconds for one in known)
    tiles = [
        markup.tile("Images reviewed", number("returned.images", sum(one.images for one in known), "count")),
        markup.tile("Drafts kept untouched", number("returned.kept", _share(sum(one.kept for one in known), drafts), "share")),
        markup.tile("Drafts deleted", number("returned.deleted", _share(sum(one.deleted for one in known), drafts), "share")),
        markup.tile("Of the time of drawing all", number("returned.share", _share(seconds, drawing), "share")),
    ]
    return markup.element("dl", *tiles, class_="tiles")


def _table(known: Sequence[ReturnedBatch]) -> Markup:
    header = ("Batch", "Tagger", "Images", "Drafts", "Kept", "Nudged", "Other class", "Deleted", "Added", "s an image", "Expected")
    rows = [_row(f"returned.{index}", one) for index, one in enumerate(known[-MOST_ROWS:])]
    label = "What became of the drafts of each batch" + (f", the newest {MOST_ROWS}" if len(known) > MOST_ROWS else "")
    return markup.table(label, header, rows[::-1])


def _row(name: str, one: ReturnedBatch) -> list[Markup]:
    counts = {"drafts": one.drafts, "kept": one.kept, "nudged": one.nudged, "relabelled": one.relabelled}
    counts |= {"deleted": one.deleted, "added": one.added}
    return [
        markup.name(one.batch),
        markup.name(one.tagger),
        number(f"{name}.images", one.images, "count"),
        *(number(f"{name}.{key}", count, "count") for key, count in counts.items()),
        number(f"{name}.seconds", one.seconds_an_image, "short"),
        number(f"{name}.expected", one.expected_an_image, "short"),
    ]


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
