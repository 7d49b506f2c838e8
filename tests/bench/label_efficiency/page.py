"""What a comparison leaves behind: `rounds.csv`, `summary.json`, `curves.png` and a page that shows them.

Rule: the page and the JSON say the same, and everything the figures depend on stands in both.
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tests.bench.label_efficiency import analysis
from tests.bench.label_efficiency.analysis import SHARES, Curves, Interval, Outcome, Round
from trainer.report import canvas, markup
from trainer.report.look import CSS
from trainer.report.markup import Markup, element

_COLOURS = ("first", "second", "ink", "muted", "faint")
_LINES = ("-", "--", ":", "-.")


@dataclass(frozen=True, slots=True)
class Setting:
    """What the figures depend on besides the strategies: by name, as it is shown."""

    facts: Mapping[str, Any]
    full_ap: tuple[float, ...]

    @property
    def mean_full_ap(self) -> float:
        """The AP that stands for all labels of the pool."""
        return sum(self.full_ap) / len(self.full_ap)


def write(folder: Path, setting: Setting, rounds: Sequence[Round], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Write all files and return the benchmark's object."""
    folder.mkdir(parents=True, exist_ok=True)
    found = summary(setting, outcomes)
    curves = analysis.by_strategy(rounds)
    _write_rounds(folder / "rounds.csv", rounds)
    (folder / "summary.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    with canvas.style():
        plot = canvas.render("curves", _draw(curves, setting.mean_full_ap))
    (folder / "curves.png").write_bytes(plot.png)
    (folder / "index.html").write_text(_page(setting, curves, outcomes, plot), "utf-8")
    return found


def summary(setting: Setting, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The benchmark's object: `full_ap`, the facts, and `strategies` by name."""
    full = {"full_ap": round(setting.mean_full_ap, 4), "full_ap_by_seed": [round(ap, 4) for ap in setting.full_ap]}
    return full | dict(setting.facts) | {"strategies": {one.strategy: _figures(one) for one in outcomes}}


def _figures(one: Outcome) -> dict[str, Any]:
    seconds = {f"seconds_to_{share * 100:.0f}": _plain(found) for share, found in one.seconds_to.items()}
    boxes = {f"boxes_to_{share * 100:.0f}": _plain(found) for share, found in one.boxes_to.items()}
    saved = {f"seconds_saved_against_{rival}": _plain(found) for rival, found in one.saved.items()}
    gained = {f"area_gained_against_{rival}": _plain(found) for rival, found in one.gained.items()}
    return seconds | boxes | {"area": _plain(one.area)} | saved | gained


def _plain(found: Interval) -> dict[str, Any]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in asdict(found).items()}


def _write_rounds(path: Path, rounds: Sequence[Round]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, list(asdict(rounds[0])), lineterminator="\n")
        rows.writeheader()
        rows.writerows({**asdict(one), "ap_by_class": json.dumps(dict(one.ap_by_class))} for one in rounds)


def _draw(curves: Curves, full_ap: float) -> Figure:
    """AP over annotator-seconds: thin lines are seeds, the thick one joins the rounds' means."""
    axes = canvas.axes(width=7.2, height=4.2)
    for (name, seeds), colour, line in zip(curves.items(), cycle(_COLOURS), cycle(_LINES), strict=False):
        for curve in seeds.values():
            axes.plot(*_points(curve), color=canvas.LIGHT[colour], linewidth=0.5, alpha=0.4)
        axes.plot(*_mean(list(seeds.values())), color=canvas.LIGHT[colour], linestyle=line, marker="o", markersize=4, label=name)
    for share in SHARES:
        axes.axhline(share * full_ap, color=canvas.LIGHT["faint"], linewidth=0.8)
        axes.annotate(
            f"{share:.0%} of all labels", (1, share * full_ap), xycoords=("axes fraction", "data"), ha="right", va="bottom", size=7
        )
    axes.set(xlabel="annotator-seconds", ylabel="AP on the test images")
    axes.legend(frameon=False, loc="lower right")
    figure = axes.figure
    assert isinstance(figure, Figure)
    return figure


def _points(curve: Sequence[Round]) -> tuple[list[float], list[float]]:
    return [one.annotator_seconds for one in curve], [one.ap for one in curve]


def _mean(seeds: Sequence[Sequence[Round]]) -> tuple[list[float], list[float]]:
    columns = [_points(rounds) for rounds in zip(*seeds, strict=False)]
    return [sum(seconds) / len(seconds) for seconds, _ in columns], [sum(ap) / len(ap) for _, ap in columns]


def _page(setting: Setting, curves: Curves, outcomes: Sequence[Outcome], plot: canvas.Plot) -> str:
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", "Label efficiency"),
        element("style", markup.verbatim(CSS)),
    )
    caption = "Thin lines are seeds, thick ones the mean of each round. All strategies of a seed begin with the same random images."
    facts = ((name, json.dumps(value)) for name, value in setting.facts.items())
    body = element(
        "main",
        element("h1", "Annotator-seconds to a given AP"),
        markup.lead(f"Full-label AP {setting.mean_full_ap:.3f}. Figures are means over seeds with 95 % intervals (Student)."),
        markup.figure(plot, "AP over annotator-seconds, a line a strategy", caption),
        _section("To a share of the full-label AP", "Seconds and boxes to a target", _HEADER, (_row(one) for one in outcomes)),
        _section(
            "Against its rivals, paired by seed",
            "Differences to rivals",
            _RIVAL_HEADER,
            (row for one in outcomes for row in _rival_rows(one)),
        ),
        _section("Every round", "Means over seeds", _ROUND_HEADER, _round_rows(curves)),
        _section("What the figures depend on", "Settings and data", ("name", "value"), facts),
    )
    return "<!doctype html>\n" + element("html", head, element("body", body), lang="en") + "\n"


def _section(title: str, label: str, header: Sequence[str], rows: Iterable[Sequence[markup.Child]]) -> Markup:
    return element("section", element("h2", title), markup.table(label, header, rows))


_HEADER = ("strategy", *(f"seconds to {share:.0%}" for share in SHARES), f"boxes to {SHARES[1]:.0%}", "mean AP")
_RIVAL_HEADER = ("strategy", "rival", f"seconds saved to {SHARES[1]:.0%}", "mean AP gained")
_ROUND_HEADER = ("strategy", "images", "boxes", "annotator-seconds", "AP", "AP50", "drafts kept")


def _row(one: Outcome) -> Sequence[markup.Child]:
    seconds = (_shown(one.seconds_to[share], ",.0f") for share in SHARES)
    return (one.strategy, *seconds, _shown(one.boxes_to[SHARES[1]], ",.0f"), _shown(one.area, ".4f"))


def _rival_rows(one: Outcome) -> Sequence[Sequence[markup.Child]]:
    return [(one.strategy, rival, _shown(one.saved[rival], "+,.0f"), _shown(one.gained[rival], "+.4f")) for rival in one.saved]


def _round_rows(curves: Curves) -> list[Sequence[markup.Child]]:
    return [_round_row(name, rounds) for name, seeds in curves.items() for rounds in zip(*seeds.values(), strict=False)]


def _round_row(name: str, rounds: Sequence[Round]) -> Sequence[markup.Child]:
    def mean(figure: str) -> float:
        return sum(getattr(one, figure) for one in rounds) / len(rounds)

    kept = f"{sum(one.drafts_kept for one in rounds) / shown:.0%}" if (shown := sum(one.drafts for one in rounds)) else "-"
    counts = (f"{mean(figure):,.0f}" for figure in ("images", "boxes", "annotator_seconds"))
    return (name, *counts, f"{mean('ap'):.4f}", f"{mean('ap50'):.4f}", kept)


def _shown(found: Interval, form: str) -> Markup:
    if found.mean is None:
        median = "" if found.median is None else f", median {found.median:{form}}"
        return element("span", f"reached in {found.reached} of {found.seeds} seeds{median}")
    if found.low is None or found.high is None:
        return element("span", f"{found.mean:{form}}", " ", element("small", f"{found.seeds} seeds: no interval"))
    return element("span", f"{found.mean:{form}}", " ", element("small", f"{found.low:{form}} to {found.high:{form}}"))
