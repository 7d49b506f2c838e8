"""`models/<run>/drafts.json` in the store: what was learned of a model's drafts, read and written.

Rule: created once, and replaced only with the model's calibration; whatever stands there is checked before it is believed, and what makes
no sense is one sentence.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from typing import Any, NoReturn

from activelearning import layout
from activelearning.errors import BlobExists, BlobMissing
from activelearning.learned_drafts import Experience, LearnedDrafts, Returned, Shares
from activelearning.state import intact
from activelearning.store import Blobs

_MOST = 1e9


def read(blobs: Blobs, model: str) -> LearnedDrafts | None:
    """What was learned of the drafts of a run's model; None where nothing was. Raises `UserError` for a record that is damaged."""
    if not model:
        return None
    name = layout.drafts(model)
    try:
        content = blobs.read(name).content
    except BlobMissing:
        return None
    with intact(name, f"delete it, and drafts are shown from drafts.min_confidence of {layout.PROJECT} on"):
        return from_json(content)


def create(blobs: Blobs, learned: LearnedDrafts) -> None:
    """Write what was learned of a run's drafts; what an earlier attempt wrote stays."""
    with suppress(BlobExists):
        blobs.create(layout.drafts(learned.run), to_json(learned))


def replace(blobs: Blobs, learned: LearnedDrafts) -> None:
    """Put what was learned of a run's drafts in the place of what was before. Raises `BlobChanged` when a rival does at this moment."""
    name = layout.drafts(learned.run)
    blobs.replace(name, to_json(learned), blobs.read(name).etag)


def to_json(learned: LearnedDrafts) -> bytes:
    """As it lies in the store."""
    return json.dumps(asdict(learned), ensure_ascii=False, indent=1, allow_nan=False).encode()


def from_json(content: bytes) -> LearnedDrafts:
    """The inverse of `to_json`. Raises `ValueError`, `TypeError` or `KeyError` for anything that it would not write."""
    found = _table(json.loads(content.decode(), parse_constant=_refused))
    return LearnedDrafts(**{one.name: _reader(one.name)(found[one.name]) for one in fields(LearnedDrafts)})


def _reader(name: str) -> Callable[[Any], Any]:
    return _READ.get(name, _number)


def _refused(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST:
        raise ValueError(f"{str(value)[:40]!r} is no number of seconds, boxes or shares")
    return float(value)


def _count(value: Any) -> int:
    if int(_number(value)) != value:
        raise ValueError(f"{value!r} is no count")
    return int(value)


def _numbers(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return tuple(map(_number, value))


def _shares(value: Any) -> Shares:
    kept, nudged, deleted = _numbers(value)
    return kept, nudged, deleted


def _pair(value: Any) -> tuple[float, float]:
    first, second = _numbers(value)
    return first, second


def _rates(value: Any) -> tuple[Shares, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return tuple(map(_shares, value))


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no table")
    return value


def _by_class(read_one: Callable[[Any], Any]) -> Callable[[Any], Mapping[str, Any]]:
    return lambda value: {label: read_one(one) for label, one in _table(value).items()}


def _experience(value: Any) -> Experience:
    return Experience(_shares(_table(value)["seen"]), _shares(value["expected"]))


def _returned(value: Any) -> Returned:
    found = _table(value)
    numbers: dict[str, Any] = {one.name: (_number if "seconds" in one.name else _count)(found[one.name]) for one in fields(Returned)}
    return Returned(**numbers)


_READ: Mapping[str, Callable[[Any], Any]] = {
    "run": _text,
    "images": _count,
    "score": _text,
    "thresholds": _by_class(_number),
    **dict.fromkeys(("duplicates", "other_class", "slivers"), _yes_or_no),
    "edges": _numbers,
    "rates": _by_class(_rates),
    "other_rates": _rates,
    "factors": _by_class(_shares),
    "other_factors": _shares,
    "experience": _by_class(_experience),
    "missed_experience": _pair,
    "returned": _returned,
}
"""How a field is read; every other one is a number."""
