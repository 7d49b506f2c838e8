"""When to stop: what a run's record says that more labelled images would bring, as a value and in sentences.

Rule: the record is a file in the store like any other, so every number in it is checked before it is shown, and the sentences are made
here from the numbers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from activelearning import layout
from activelearning.errors import BlobMissing, UserError
from activelearning.state import intact
from activelearning.store import Blobs

PAYS, OPEN, LEVEL = "pays", "open", "level"
"""What an outlook may come to: going on pays, it is too early to tell, or the gain is within the noise."""

_SURE, _HARDLY = 0.8, 0.2
_HEADLINE = 40
"""Images: the step that is told first, a usual batch."""
_MOST_ENTRIES = 500
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Measured:
    """A run that the estimate is made from: on how many labelled images it was trained, on how many it was tested, its AP (0..1), and the
    standard error of that from the choice of test images; `resampled` says that it was found by resampling them, not guessed."""

    run: str
    labelled_images: int
    test_images: int
    ap: float
    standard_error: float
    resampled: bool


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A run whose AP tells nothing of this one's, and why."""

    run: str
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """What `more` labelled images to train on would bring: the `gain` of AP, and the AP that would then be measured, each with the bounds
    of its interval. `reviews` images must be reviewed for it, for some join the test split."""

    more: int
    reviews: int
    gain: float
    gain_low: float
    gain_high: float
    ap: float
    ap_low: float
    ap_high: float


@dataclass(frozen=True, slots=True)
class Band:
    """The estimated curve at one number of labelled images, with the bounds of its interval."""

    labelled_images: float
    ap: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """The record `models/<run>/outlook.json`.

    `confidence` is the share of cases that the intervals are to hold. `noise` is by how much AP of two runs differs by chance (standard
    deviation). `probability` is that of `worth_images` further images raising AP by more than `worth`. `seconds_per_image` is what the
    last batch took by the cost model, None where that is not known. The last of `measured` is the run itself.
    """

    run: str
    confidence: float
    noise: float
    worth: float
    worth_images: int
    probability: float
    seconds_per_image: float | None
    measured: tuple[Measured, ...]
    left_out: tuple[LeftOut, ...]
    steps: tuple[Step, ...]
    curve: tuple[Band, ...]

    @property
    def verdict(self) -> str:
        """`pays`, `open` or `level`."""
        return PAYS if self.probability >= _SURE else LEVEL if self.probability <= _HARDLY else OPEN

    def minutes(self, step: Step) -> float | None:
        """How long a person reviews for a step; None where that is not known."""
        return None if self.seconds_per_image is None else step.reviews * self.seconds_per_image / 60

    @property
    def headline(self) -> str:
        """What is measured, and what a usual batch would add: one line."""
        last = self.measured[-1]
        now = f"AP {last.ap:.3f} (all classes, {last.test_images:,} test images) with {last.labelled_images:,} labelled images"
        step = min(self.steps, key=lambda one: abs(one.more - _HEADLINE))
        bounds = f"{self.confidence:.0%}: {step.gain_low:+.3f} to {step.gain_high:+.3f}"
        return f"{now}; {step.more:,} more: {step.gain:+.3f} ({bounds}){_for(self.minutes(step))}"

    @property
    def advice(self) -> str:
        """Whether to go on: one line."""
        sure = f"{self.probability:.0%} sure"
        told = {
            PAYS: f"going on pays: {self.worth_images} more images raise AP by more than {self.worth:.3f} ({sure})",
            OPEN: f"too early to tell whether {self.worth_images} more images raise AP by more than {self.worth:.3f} ({sure})",
            LEVEL: f"the gain is within the noise: {self.worth_images} more images hardly raise AP by more than {self.worth:.3f} ({sure})",
        }[self.verdict]
        return f"{told}; two runs differ by {self.noise:.3f} by chance alone"

    def as_dict(self) -> dict[str, object]:
        """For `--json`: the record without the curve, and the sentences."""
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("measured", "left_out", "steps", "curve")}
        rows = {name: [_plain(row) for row in getattr(self, name)] for name in ("measured", "left_out", "steps")}
        minutes = [None if (value := self.minutes(step)) is None else round(value, 1) for step in self.steps]
        steps = [row | {"minutes": value} for row, value in zip(rows["steps"], minutes, strict=True)]
        return {**plain, **rows, "steps": steps, "verdict": self.verdict, "sentences": [self.headline, self.advice]}


def _for(minutes: float | None) -> str:
    if minutes is None:
        return ""
    took = f"{minutes / 60:.1f} hours" if minutes >= 90 else f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute"
    return f" for about {took} of review"


def _plain(row: Any) -> dict[str, object]:
    return {one.name: getattr(row, one.name) for one in fields(row)}


def encode(outlook: Outlook) -> bytes:
    """The record as it is kept."""
    lists = {name: [_plain(row) for row in getattr(outlook, name)] for name in ("measured", "left_out", "steps", "curve")}
    return json.dumps(_plain(outlook) | lists, indent=1, ensure_ascii=False).encode()


def read(blobs: Blobs, run: str) -> Outlook | None:
    """A run's outlook, or None where it has none. Raises `UserError` for a damaged record."""
    name = layout.outlook(run)
    try:
        content = blobs.read(name).content
    except BlobMissing:
        return None
    with intact(name, "delete it; the next run writes its own"):
        return decode(json.loads(content), run)


def shown(blobs: Blobs, run: str) -> tuple[Outlook | None, tuple[str, ...]]:
    """The outlook of the current model, if it has one; and a sentence where its record is damaged."""
    try:
        return (read(blobs, run) if run else None), ()
    except UserError as error:
        return None, (str(error),)


def decode(found: Any, run: str) -> Outlook:
    """A record from JSON. Raises `ValueError`, `TypeError` or `KeyError` for one that no trainer writes."""
    if found["run"] != run:
        raise ValueError(f"it is about {_name(found['run'])}")
    seconds = found["seconds_per_image"]
    outlook = Outlook(
        run=run,
        confidence=_share(found["confidence"]),
        noise=_share(found["noise"]),
        worth=_share(found["worth"]),
        worth_images=_count(found["worth_images"]),
        probability=_share(found["probability"]),
        seconds_per_image=None if seconds is None else _number(seconds, 0, 1e6),
        measured=tuple(_measured(row) for row in _rows(found, "measured")),
        left_out=tuple(LeftOut(_name(row["run"]), _name(row["reason"])) for row in _rows(found, "left_out")),
        steps=tuple(_step(row) for row in _rows(found, "steps")),
        curve=tuple(_band(row) for row in _rows(found, "curve")),
    )
    if not outlook.steps or not outlook.curve or [one.run for one in outlook.measured][-1:] != [run]:
        raise ValueError("it holds no step, no curve, or not its own run as the last")
    return outlook


def _rows(found: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    rows = found[name]
    if not isinstance(rows, list) or len(rows) > _MOST_ENTRIES:
        raise ValueError(f"{name} is no list of at most {_MOST_ENTRIES}")
    return rows


def _measured(row: Mapping[str, Any]) -> Measured:
    images = (_count(row["labelled_images"]), _count(row["test_images"]))
    return Measured(_name(row["run"]), *images, _share(row["ap"]), _share(row["standard_error"]), row["resampled"] is True)


def _step(row: Mapping[str, Any]) -> Step:
    gains = (_number(row[name], -1, 1) for name in ("gain", "gain_low", "gain_high"))
    return Step(_count(row["more"]), _count(row["reviews"]), *gains, *(_share(row[name]) for name in ("ap", "ap_low", "ap_high")))


def _band(row: Mapping[str, Any]) -> Band:
    return Band(_number(row["labelled_images"], 1, 1e9), *(_share(row[name]) for name in ("ap", "low", "high")))


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= _LONGEST_NAME:
        raise ValueError("a name in it is no printable text")
    return value


def _share(value: Any) -> float:
    return _number(value, 0, 1)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{str(value)[:40]!r} is no whole number")
    return int(_number(value, 1, 1e9))


def _number(value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{str(value)[:40]!r} is no number from {low:g} to {high:g}")
    return float(value)
