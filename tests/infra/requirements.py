"""What Azure installs for the functions: `functions/requirements.txt`, worked out from pyproject.toml and pinned by constraints.txt.

    python -m tests.infra.requirements > functions/requirements.txt

Rule: everything that is installed is named and pinned, so that the app that was tested is the app that runs.
"""

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
EXTRAS = ("azure", "functions")
_HEAD = "# Made by `python -m tests.infra.requirements`: what the core and the function app need, with the versions of constraints.txt.\n"
_PLACE = {
    "python_version": "3.12",
    "python_full_version": "3.12.0",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
}


def pins() -> dict[str, str]:
    """Versions by name, as in constraints.txt."""
    return _pairs((ROOT / "constraints.txt").read_text("utf-8"))


def required() -> dict[str, str]:
    """Versions by name, as in `functions/requirements.txt`."""
    return _pairs((ROOT / "functions" / "requirements.txt").read_text("utf-8"))


def _pairs(content: str) -> dict[str, str]:
    lines = (line.partition("==") for line in content.splitlines() if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, _, version in lines}


def wanted() -> str:
    """The content of `functions/requirements.txt`. Raises `KeyError` for a package that constraints.txt does not pin."""
    pinned = pins()
    return _HEAD + "".join(f"{name}=={pinned[name]}\n" for name in sorted(closure()))


def closure() -> set[str]:
    """The names of all packages that the core and the function app need, directly or not, in Python 3.12 on Linux."""
    seen: set[tuple[str, str]] = set()
    waiting = list(_direct())
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - {known for other, known in seen if other == name}:
            seen.add((name, extra))
            waiting += _needs(name, extra)
    return {name for name, _ in seen}


def _direct() -> Iterator[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    yield from map(Requirement, project["dependencies"])
    for extra in EXTRAS:
        yield from map(Requirement, project["optional-dependencies"][extra])


def _needs(name: str, extra: str) -> Iterator[Requirement]:
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        mark = str(requirement.marker or "")
        if bool(re.search(r"\bextra\b", mark)) is bool(extra) and (not mark or requirement.marker.evaluate({**_PLACE, "extra": extra})):
            yield requirement


if __name__ == "__main__":
    print(wanted(), end="")
