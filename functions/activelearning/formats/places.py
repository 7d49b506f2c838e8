"""One bad place in a file: tell of it, keep the rest.

Rule: a check here raises a `UserError` with one sentence; `attempt` turns it into a `Problem` that says where. Readers are generators
of what they found and of `Problem`s, in the file's order; `collect` makes a `Reading` of that.
"""

import unicodedata
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import ParamSpec, TypeVar

from activelearning.errors import FormatError, UserError
from activelearning.labels import BACKGROUND, HUMAN, Box, ImageLabels, Problem, Reading, Review

Args = ParamSpec("Args")
Value = TypeVar("Value")

_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, halves of surrogate pairs, line and paragraph separators."""


def attempt(where: str, make: Callable[Args, Value], *args: Args.args, **kwargs: Args.kwargs) -> Generator[Problem, None, Value | None]:
    """`value = yield from attempt(where, make, …)`: what `make` returns, or None after yielding the `Problem` it raised."""
    return (yield from _told(where, "it was left out; correct it in the file", make, *args, **kwargs))


def attempt_detail(
    where: str, make: Callable[Args, Value], *args: Args.args, **kwargs: Args.kwargs
) -> Generator[Problem, None, Value | None]:
    """Like `attempt`, for a detail that its box can do without."""
    return (yield from _told(where, "the rest was kept without it", make, *args, **kwargs))


def _told(
    where: str, consequence: str, make: Callable[Args, Value], *args: Args.args, **kwargs: Args.kwargs
) -> Generator[Problem, None, Value | None]:
    try:
        return make(*args, **kwargs)
    except UserError as error:
        yield Problem(where, f"{str(error).removeprefix(f'{where}: ')}; {consequence}")
        return None


def split(found: Iterable[Box | Problem]) -> tuple[tuple[Box, ...], tuple[Problem, ...]]:
    """Boxes and problems apart, both in their order."""
    everything = tuple(found)
    return tuple(one for one in everything if isinstance(one, Box)), tuple(one for one in everything if isinstance(one, Problem))


def collect(found: Iterable[ImageLabels | Problem], where: str) -> Reading:
    """All of a file as one value, each image once, in the order of first appearance.

    Where a file lists an image more than once, a reviewed entry wins over unopened ones. Entries that contradict each other are a
    problem and the image is left out: taking one of them could make a false negative.
    """
    listed: dict[str, list[ImageLabels]] = {}
    problems: list[Problem] = []
    for one in found:
        if isinstance(one, Problem):
            problems.append(one)
        else:
            listed.setdefault(one.image, []).append(one)
    images = [agreed for entries in listed.values() if (agreed := _agreed(entries))]
    problems += [_contradiction(where, name) for name, entries in listed.items() if not _agreed(entries)]
    return Reading(tuple(images), tuple(problems))


def _agreed(listed: list[ImageLabels]) -> ImageLabels | None:
    decisive = [one for one in listed if one.review is Review.REVIEWED] or listed
    return decisive[0] if all(one == decisive[0] for one in decisive) else None


def _contradiction(where: str, name: str) -> Problem:
    what = "is listed more than once with different labels; it was left out, export tasks with equal image names one by one"
    return Problem(f"{where}, image '{name}'", what)


def record(value: object) -> Mapping[str, object]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise FormatError("this is not a JSON object")
    return value


def entries(value: object, name: str) -> list[object]:
    """A JSON list; a missing one is empty."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise FormatError(f"'{name}' is not a list")
    return value


def number(value: object, name: str) -> float:
    """A number, or a text that is one. `name` is what the file calls it."""
    if value is None or value == "":
        raise FormatError(f"'{name}' is missing")
    # Python alone reads 1_000 as a number
    if isinstance(value, bool) or not isinstance(value, int | float | str) or (isinstance(value, str) and "_" in value):
        raise FormatError(f"'{name}' is not a number")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise FormatError(f"'{name}' is not a number that makes sense here") from None


def pixels(value: object, name: str) -> int:
    """An image's width or height; 0 where the file doesn't say."""
    size = number(value or 0, name)
    if not 0 <= size < 2**31:
        raise FormatError(f"'{name}' is not a number of pixels")
    return int(size)


def whole(value: object, name: str) -> int:
    """A whole number."""
    amount = number(value, name)
    if not amount.is_integer():
        raise FormatError(f"'{name}' is not a whole number")
    return int(amount)


def score(value: object) -> float | None:
    """A confidence 0..1; None where the file has none."""
    if value is None or value == "":
        return None
    confidence = number(value, "score")
    if not 0 <= confidence <= 1:
        raise FormatError(f"a score of {confidence:g} is not between 0 and 1")
    return confidence


def label(value: object) -> str:
    """A class name, blanks around it removed."""
    text = _line(value, "class name").strip()
    if text == BACKGROUND:
        raise FormatError(f"'{BACKGROUND}' stands for images without objects and is not a class name")
    return text


def image_name(value: object) -> str:
    """An image's name as the file states it, with '/' between folders."""
    return _line(value, "image name").replace("\\", "/")


def _line(value: object, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise FormatError(f"the {what} is missing")
    if any(unicodedata.category(char) in _CONTROLS for char in value.strip()):
        raise FormatError(f"the {what} {value!r} holds a control character")
    return value


def source(value: object, otherwise: str = HUMAN) -> str:
    """Where a box comes from, if `value` is one of our own words for it."""
    try:
        return Box("-", 0, 0, 1, 1, source=str(value)).source
    except UserError:
        return otherwise
