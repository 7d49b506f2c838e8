"""What a setting's value may be.

Rule: a rule says what is wrong as the end of a sentence that starts with the setting's key, and what to do; it knows no key by name.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from activelearning.labels import BACKGROUND

Rule = Callable[[Any], str]
"""What is wrong with a value, as the end of a sentence that starts with its key; empty where nothing is."""


def between(low: float, high: float) -> Rule:
    """A number within bounds, both included; not-a-number lies outside."""
    return lambda value: "" if low <= value <= high else f"is {value!r}, but must lie between {low:,} and {high:,}"


def seconds(value: float) -> str:
    """A time that passes: more than nothing, at most a day."""
    return "" if 0 < value <= 86_400 else f"is {value!r}, but must be more than 0 seconds and at most 86,400"


def zero_or_between(low: float, high: float) -> Rule:
    """None at all, or a number within bounds."""
    return lambda value: "" if value == 0 or low <= value <= high else f"is {value!r}, but must be 0, or lie between {low:,} and {high:,}"


def own_or_between(low: float, high: float) -> Rule:
    """A number within bounds, or -1 for somebody else's choice."""
    return lambda value: "" if value == -1 or low <= value <= high else f"is {value!r}, but must be -1, or lie between {low:,} and {high:,}"


def one_of(choices: Sequence[str]) -> Rule:
    """One of a few words."""
    return lambda value: "" if value in choices else f"is {value!r}, but must be one of: {', '.join(choices)}"


def shares(value: dict[str, float]) -> str:
    """Shares of a whole: each 0..1, together 1 within 0.01; none at all is fine too."""
    outside = [name for name, share in value.items() if not 0 <= share <= 1]
    if outside:
        return f"gives '{outside[0]}' {value[outside[0]]!r}, but a share must lie between 0 and 1"
    total = math.fsum(value.values())
    return f"sums to {total:.4g}, but must sum to 1" if value and abs(total - 1) > 0.01 + 1e-9 else ""


def weights_of(known: Sequence[str]) -> Rule:
    """Weights of some of the known names: each 0..1000, one of them above 0."""

    def rule(value: dict[str, float]) -> str:
        unknown = [name for name in value if name not in known]
        if unknown:
            return f"names '{unknown[0]}', but knows only {', '.join(known)}"
        outside = [name for name, weight in value.items() if not 0 <= weight <= 1000]
        if outside:
            return f"gives '{outside[0]}' {value[outside[0]]!r}, but a weight must lie between 0 and 1,000"
        return "" if any(value.values()) else f"weighs nothing; name at least one, such as {{ {known[0]} = 1.0 }}"

    return rule


def steps_of_32(value: int) -> str:
    """A multiple of 32."""
    return f"is {value}, but must be a multiple of 32, such as {max(32, round(value / 32) * 32)}" if value % 32 else ""


def not_empty(value: str) -> str:
    """A word, whichever."""
    return "" if value.strip() else "is empty; name one"


def class_names(value: Sequence[str]) -> str:
    """At least one class, each printable, none twice, none the literal of the background."""
    if not value:
        return 'is empty; name at least one class, such as classes = ["knot", "defect"]'
    return next(filter(None, map(_class_name, value)), "") or _twice(value)


def _class_name(name: str) -> str:
    if name == BACKGROUND:
        return f"holds '{BACKGROUND}', which stands for images without boxes; choose another name"
    if not name or name != name.strip() or not name.isprintable():
        return f"holds {name!r}; a class name must not be empty, nor hold line breaks or spaces at its ends"
    return ""


def _twice(names: Sequence[str]) -> str:
    name, count = Counter(names).most_common(1)[0]
    return f"names '{name}' twice; leave one out" if count > 1 else ""
