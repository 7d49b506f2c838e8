"""`models/<run>/thresholds.json`: what a confidence that a person once set means with a later model, whose scores may lie elsewhere.

Rule: a threshold means the share of the objects that it found with the model it was set for, as measured on the test split, and is moved
to the confidence from which on a later model finds as many. It is never reused blindly, and where nobody measured, it stays as it is and
nothing is claimed. 0 and 1 are no thresholds and stay. A threshold that a person changes begins anew, with the model of that time.

Moved are `drafts.min_confidence`, `drafts.max_confidence`, `selection.min_confidence` and `selection.max_confidence`. Not moved are
what is asked for once (`tagger download --min-confidence`, `trainer predict --min-confidence`), which is about the model of that moment,
`prediction.min_confidence`, below which nothing is kept at all, and the selection's where it goes by calibrated probabilities, which
mean the same with every model.
"""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from activelearning import layout
from activelearning.errors import BlobExists, BlobMissing
from activelearning.settings import Drafts, Selection, Settings
from activelearning.state import intact
from activelearning.store import Blobs

_MOST_POINTS = 1000
_WORTH_TELLING = 0.005
_DRAFTS, _SELECTION = "drafts", "selection"
_BOUNDS = ("min_confidence", "max_confidence")


@dataclass(frozen=True, slots=True)
class Curve:
    """Of `objects` in the test split the confidences, falling, of the boxes that found one: all of them, or evenly chosen ones, and how
    many were found from each on (rising)."""

    objects: int = 0
    confidences: tuple[float, ...] = ()
    found: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.confidences) != len(self.found) or not all(0 <= one <= 1 for one in self.confidences):
            raise ValueError("confidences must lie between 0 and 1, one for each count")
        if any(one < other for one, other in pairwise(self.confidences)) or any(one >= other for one, other in pairwise(self.found)):
            raise ValueError("confidences must fall, and counts rise")
        if self.found and not 0 < self.found[0] <= self.found[-1] <= self.objects:
            raise ValueError("no more objects can be found than there are")

    def recall(self, confidence: float) -> float:
        """The share of the objects that boxes of at least this confidence find."""
        index = bisect_right(self.confidences, -confidence, key=lambda one: -one)
        return self.found[index - 1] / self.objects if index else 0.0

    def confidence(self, recall: float) -> float:
        """The highest confidence from which on this share of the objects is found; the lowest that is known where it never is."""
        wanted = recall * self.objects - 1e-9
        index = min(bisect_left(self.found, wanted), len(self.found) - 1)
        return self.confidences[index]


@dataclass(frozen=True, slots=True)
class Meaning:
    """A threshold that a person set to `asked` for the model of the run `since`, which found the share `recall` of the objects from there
    on; with this run's model that is from `now` on."""

    asked: float
    since: str
    recall: float
    now: float

    def __post_init__(self) -> None:
        if not all(0 <= one <= 1 for one in (self.asked, self.recall, self.now)):
            raise ValueError("a threshold and a share lie between 0 and 1")


@dataclass(frozen=True, slots=True)
class Record:
    """A run's curve, and what thresholds mean with its model, by their key."""

    run: str
    curve: Curve = Curve()
    meanings: Mapping[str, Meaning] = field(default_factory=dict)


def curve(right: Sequence[float], objects: int) -> Curve:
    """From the confidences, in any order, of the boxes that each found an object of its own, and the number of all objects."""
    falling = sorted(right, reverse=True)
    step = max(1, -(-len(falling) // _MOST_POINTS))
    places = sorted({*range(step - 1, len(falling), step), *([len(falling) - 1] if falling else [])})
    return Curve(objects, tuple(round(falling[place], 6) for place in places), tuple(place + 1 for place in places))


def learned(run: str, found: Curve, settings: Settings, before: Record | None) -> Record:
    """What the thresholds of the settings mean with a run's model; `before` is the record of the model before it."""
    asked = {key: value for key, value in _asked(settings) if 0 < value < 1}
    return Record(run, found, {key: _meaning(key, value, run, found, before) for key, value in asked.items()})


def _asked(settings: Settings) -> Iterator[tuple[str, float]]:
    for table in (_DRAFTS, _SELECTION):
        yield from ((f"{table}.{bound}", getattr(getattr(settings, table), bound)) for bound in _BOUNDS)


def _meaning(key: str, asked: float, run: str, found: Curve, before: Record | None) -> Meaning:
    known = before.meanings.get(key) if before else None
    # where nothing was found from there on, the share says nothing
    if known is None or known.asked != asked or not known.recall:
        if before is None or not before.curve.found:
            return Meaning(asked, run, found.recall(asked), asked)
        known = Meaning(asked, before.run, before.curve.recall(asked), asked)
    return replace(known, now=found.confidence(known.recall) if known.recall and found.found else asked)


def told(record: Record) -> list[str]:
    """A sentence for each threshold that means another confidence now."""
    return [
        f"{key} is {one.asked:g}, as set for {one.since}, which found {one.recall:.0%} of the objects from there on; "
        f"{record.run} finds as many from {one.now:.3f} on, so that is what counts"
        for key, one in record.meanings.items()
        if abs(one.now - one.asked) > _WORTH_TELLING
    ]


def drafts(blobs: Blobs, settings: Drafts, model: str) -> Drafts:
    """The settings as they are meant with the model whose drafts are shown; as they are where nothing is known of it."""
    low, high = _moved(read(blobs, model), _DRAFTS, settings)
    return replace(settings, min_confidence=low, max_confidence=high)


def selection(blobs: Blobs, settings: Selection, model: str) -> Selection:
    """The settings as they are meant with the model that predicted the pool; as they are where nothing is known of it."""
    if settings.calibrated:
        return settings
    low, high = _moved(read(blobs, model), _SELECTION, settings)
    return replace(settings, min_confidence=low, max_confidence=high)


def _moved(record: Record | None, table: str, settings: Drafts | Selection) -> tuple[float, float]:
    asked = settings.min_confidence, settings.max_confidence
    meanings = record.meanings if record else {}
    known = [meanings.get(f"{table}.{bound}") for bound in _BOUNDS]
    # a threshold that was changed since is about the model there is
    low, high = (one.now if one and one.asked == value else value for one, value in zip(known, asked, strict=True))
    return (low, high) if low <= high else asked


def read(blobs: Blobs, model: str) -> Record | None:
    """The record of a run's model; None where there is none. Raises `UserError` for one that is damaged."""
    if not model:
        return None
    name = layout.threshold_meaning(model)
    try:
        content = blobs.read(name).content
    except BlobMissing:
        return None
    with intact(name, f"delete it, and the confidences of {layout.PROJECT} are taken as they are"):
        return from_json(content)


def create(blobs: Blobs, record: Record) -> None:
    """Write a run's record; what an earlier attempt wrote stays."""
    with suppress(BlobExists):
        blobs.create(layout.threshold_meaning(record.run), to_json(record))


def to_json(record: Record) -> bytes:
    """As it lies in the store."""
    return json.dumps(asdict(record), ensure_ascii=False, allow_nan=False).encode()


def from_json(content: bytes) -> Record:
    """The inverse of `to_json`. Raises `ValueError`, `TypeError`, `KeyError` or `AttributeError` for anything that it would not write."""
    found = json.loads(content)
    known = found["curve"]
    confidences, counts = tuple(map(_number, known["confidences"])), tuple(map(_count, known["found"]))
    meanings = {str(key): _read_meaning(one) for key, one in found["meanings"].items()}
    return Record(_text(found["run"]), Curve(_count(known["objects"]), confidences, counts), meanings)


def _read_meaning(found: Any) -> Meaning:
    return Meaning(_number(found["asked"]), _text(found["since"]), _number(found["recall"]), _number(found["now"]))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no count")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
