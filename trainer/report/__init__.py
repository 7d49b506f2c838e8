"""The report of one run: one self-contained page, and its plots as files.

Rule: a pure function of the facts; the same facts give the same bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from trainer.report import (
    canvas,
    page,
    section_gallery,
    section_outlook,
    section_performance,
    section_places,
    section_returned,
    section_thresholds,
    section_trust,
)
from trainer.report.facts import EvaluatedImage, Facts, Pool, ReturnedBatch, Separation

__all__ = ["EvaluatedImage", "Facts", "Pool", "Report", "ReturnedBatch", "Separation", "write"]


@dataclass(frozen=True, slots=True)
class Report:
    """The page `html`, and by file name, such as `reliability.png`, each of its plots."""

    html: str
    pngs: Mapping[str, bytes]


def write(facts: Facts) -> Report:
    """Make the report. The images of the gallery are loaded one at a time, at most twenty."""
    with canvas.style():
        sections = [
            section_performance.section(facts),
            *section_outlook.sections(facts),
            section_thresholds.section(facts),
            section_trust.confidence(facts),
            section_trust.corners(facts),
            section_gallery.section(facts),
            section_places.places(facts),
            section_places.pool(facts),
            *section_returned.sections(facts),
        ]
    return Report(page.page(facts, sections), {f"{plot.name}.png": plot.png for section in sections for plot in section.plots})
