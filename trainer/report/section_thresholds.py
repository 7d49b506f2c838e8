"""The part of the report on what a threshold keeps and removes: each uncertainty's power to tell, and the spider of outcomes.

Rule: a threshold removes what is at least as uncertain as it; the draft threshold keeps what is at least as confident.
"""

from math import isfinite

import numpy as np

from trainer.judged import Judged
from trainer.report import canvas, markup, outcomes, plots
from trainer.report.facts import Facts, Separation
from trainer.report.markup import Markup, Section, number
from trainer.report.outcomes import Profile
from trainer.report.section_trust import nothing_found


def section(facts: Facts) -> Section:
    """What thresholds keep and remove."""
    title, judged = "What thresholds keep and remove", facts.judged
    if judged is None or not len(judged):
        return Section("thresholds", title, markup.join([nothing_found(facts)]))
    profiles = _profiles(facts, judged)
    plot = canvas.render("spider", plots.spider(profiles))
    shown = markup.figure(
        plot, "Five figures of the detections kept by each threshold, on five spokes", *_spider_caption(facts, profiles[1])
    )
    parts = [_LEAD, markup.grid(shown, _separations(facts)), _profile_table(profiles)]
    return Section("thresholds", title, markup.join(parts), (plot,))


def strongest(facts: Facts) -> Separation | None:
    """The uncertainty that removes most false detections within the budget; of equal ones the first. None where no figure is known."""
    known = [row for row in facts.separations if row.fd_at_cd is not None]
    return max(known, key=lambda row: row.fd_at_cd or 0.0, default=None)


_LEAD = markup.lead("A good threshold removes false detections and keeps correct ones. Further out is better on every spoke.")


def _profiles(facts: Facts, judged: Judged) -> list[Profile]:
    """All detections, the drafts, and what the strongest uncertainty's threshold keeps, if there is one."""
    everything = outcomes.profile(judged, np.ones(len(judged), bool), "all detections")
    drafts = outcomes.profile(judged, outcomes.drafts(judged, facts), "drafts")
    best = strongest(facts)
    if best is None or best.threshold is None or best.uncertainty not in facts.uncertainties:
        return [everything, drafts]
    kept = facts.uncertainties[best.uncertainty] < best.threshold
    return [everything, drafts, outcomes.profile(judged, kept, f"kept by {best.uncertainty}")]


def _spider_caption(facts: Facts, drafts: Profile) -> list[str]:
    said = ["Drafts are the detections ", *_which(facts), "; they keep ", number("drafts.correct_kept", drafts.correct_kept, "share")]
    said += [" of the correct detections and remove "]
    said += [number("drafts.false_removed", drafts.false_removed, "share"), " of the false ones. So annotators find "]
    return [*said, number("drafts.objects_found", drafts.objects_found, "share"), " of all objects drawn already."]


def _which(facts: Facts) -> list[str]:
    if facts.shown is not None:
        return ["that save people time, from the threshold of each class on that was learned with this model"]
    return ["with a confidence of at least ", number("drafts.shown_from", facts.shown_from, "short")]


def _separations(facts: Facts) -> Markup:
    if not facts.separations:
        return markup.absent(
            "No uncertainty was held against the truth.", "That needs correct and false detections on images that training left out."
        )
    header = ("Uncertainty", "FD@CD", "CD@FD", "AUC", "JSD", "Threshold")
    rows = [_separation_row(f"separation.{index}", row) for index, row in enumerate(facts.separations)]
    shown = markup.table("How well each uncertainty tells false detections from correct ones", header, rows)
    return markup.element("div", shown, markup.element("p", *_separation_note(facts), class_="note"))


def _separation_row(name: str, row: Separation) -> list[Markup]:
    return [
        markup.name(row.uncertainty),
        markup.meter(f"{name}.fd_at_cd", row.fd_at_cd),
        number(f"{name}.cd_at_fd", row.cd_at_fd, "share"),
        number(f"{name}.auc", row.auc, "figure"),
        number(f"{name}.jsd", row.jsd, "figure"),
        number(f"{name}.threshold", row.threshold if row.threshold is not None and isfinite(row.threshold) else None, "short"),
    ]


def _separation_note(facts: Facts) -> list[str]:
    budget, best = facts.budget, strongest(facts)
    said = [
        "FD@CD is the share of false detections that go while ",
        number("budget", budget, "percent"),
        " of the correct ones stay; by chance ",
    ]
    said += [
        number("budget.chance", 1 - budget, "percent"),
        " would go. CD@FD is the share of correct ones that stay while as many false ones go.",
    ]
    if best is None:
        return [*said, " None of them has a figure here: one side, correct or false, is empty."]
    return [
        *said,
        " Strongest here: ",
        markup.element("b", best.uncertainty),
        ", ",
        number("strongest.fd_at_cd", best.fd_at_cd, "share"),
        " go.",
    ]


def _profile_table(profiles: list[Profile]) -> Markup:
    header = ("Kept", "IoU of the correct", "Right class", "Objects found", "Correct kept", "False removed")
    return markup.table("The spider in numbers", header, [_profile_row(f"profile.{index}", one) for index, one in enumerate(profiles)])


def _profile_row(name: str, one: Profile) -> list[Markup]:
    values = zip(("iou", "class", "found", "correct", "false"), plots.spokes(one), strict=True)
    return [markup.name(one.label), *(number(f"{name}.{key}", value, "share") for key, value in values)]
