"""The command that lists the detectors: what each draws, which published weights it starts from, and under which licence.

Rule: nothing is fetched, and a family that cannot be used here is listed with what it needs.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from activelearning.commandline import Commands, add_json, emit
from activelearning.errors import UserError


@dataclass(frozen=True, slots=True)
class Listed:
    """A family for people: `draws` boxes or masks; `weights` published, their `licence` and what they were trained on, empty where
    there are none; `needs` is what stands in the way of using it here, mostly nothing."""

    name: str
    draws: str = ""
    weights: str = ""
    licence: str = ""
    trained_on: str = ""
    needs: str = ""


def add(program: Commands) -> None:
    """Add the command."""
    listing = program.add(
        "families", _families, "list the detectors, their published weights and licences", "families --licences Apache-2.0,MIT"
    )
    listing.add_argument("--licences", metavar="A,B", help="only families whose weights have one of these licences, or that need none")
    add_json(listing)


def _families(arguments: argparse.Namespace) -> None:
    from trainer import detectors

    listed = [_listed(name) for name in detectors.FAMILIES]
    shown = listed if arguments.licences is None else allowed(listed, arguments.licences.split(","))
    emit(arguments, {"families": [asdict(one) for one in shown]}, "\n".join(map(_line, shown)))


def allowed(listed: Sequence[Listed], licences: Sequence[str]) -> list[Listed]:
    """Those whose weights have one of the licences, in any case, and those that start from none."""
    known = {licence.strip().lower() for licence in licences}
    return [one for one in listed if not one.needs and (not one.weights or one.licence.lower() in known)]


def _listed(name: str) -> Listed:
    from trainer import detectors

    try:
        family = detectors.family(name)
    except UserError as error:
        return Listed(name, needs=str(error))
    published = family.published
    if published is None:
        return Listed(name, family.draws)
    return Listed(name, family.draws, published.hub, published.licence, published.trained_on)


def _line(one: Listed) -> str:
    if one.needs:
        return f"{one.name:20} {one.needs}"
    return f"{one.name:20} {one.draws:6} {f'{one.weights} ({one.licence}), trained on {one.trained_on}' if one.weights else 'from scratch'}"
