"""The README names every command, option and setting, and no other."""

import re
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path

import pytest

import activelearning.cli
import tagger_client.cli
import trainer.cli
from activelearning import project_file
from activelearning.commandline import Commands
from activelearning.formats import FORMATS
from activelearning.settings import Settings
from tests.bench.__main__ import BENCHMARKS

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
PROGRAMS = [activelearning.cli.commands(), tagger_client.cli.commands(), trainer.cli.commands()]


def _subparsers(program: Commands) -> Iterator[tuple[str, ArgumentParser]]:
    action = next(a for a in program.parser._actions if isinstance(a, _SubParsersAction))
    return ((f"{program.program} {name}", parser) for name, parser in action.choices.items())


COMMANDS = dict(pair for program in PROGRAMS for pair in _subparsers(program))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert re.search(rf"\b{command}\b", README)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_in_the_readme(command: str) -> None:
    options = {option for action in COMMANDS[command]._actions for option in action.option_strings if option.startswith("--")}
    assert {option for option in options - {"--help"} if option not in README} == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_in_an_example_of_its_own_command(command: str) -> None:
    assert COMMANDS[command].format_help().rstrip().splitlines()[-1].strip().startswith(command)


def test_every_command_line_in_the_readme_parses() -> None:
    lines = re.findall(r"(?:^|`)((?:activelearning|tagger|trainer) [a-z][^`#\n]*)", README, re.MULTILINE)
    assert len(lines) > 20
    for line in lines:
        program, *words = line.split()
        parser = next(p for p in PROGRAMS if p.program == program).parser
        assert parser.parse_args(words)


def test_the_readme_shows_the_settings_with_their_defaults() -> None:
    assert project_file.render_project(Settings(("petrel", "gull"))).strip() in README


def test_every_format_and_benchmark_is_in_the_readme() -> None:
    assert [name for name in (*FORMATS, *BENCHMARKS) if f"`{name}`" not in README and f" {name} " not in README] == []
