"""Help of every command: instant, and it ends in an example that works as it stands."""

import shlex
import subprocess
import sys
from collections.abc import Callable

import pytest

from activelearning import cli as activelearning_cli
from activelearning.commandline import Commands
from tagger_client import cli as tagger_cli

PROGRAMS: dict[str, Callable[[], Commands]] = {"tagger": tagger_cli.commands, "activelearning": activelearning_cli.commands}
COMMANDS = [("tagger", name) for name in ("", "download", "upload", "release", "status")]
COMMANDS += [("activelearning", name) for name in ("", "init", "upload", "import", "share", "up", "status", "retry", "export")]


@pytest.mark.parametrize(("program", "name"), COMMANDS)
def test_help_ends_in_an_example_that_can_be_typed(program: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        PROGRAMS[program]().main([*filter(None, [name]), "--help"])
    assert end.value.code == 0
    example = shlex.split(capsys.readouterr().out.rstrip().splitlines()[-1])
    assert example[0] == program and (not name or example[1] == name)
    assert PROGRAMS[program]().parser.parse_args(example[1:]).run


HEAVY = ("numpy", "torch", "pandas", "PIL", "onnxruntime", "tinydb", "azure")


def imported(statement: str) -> set[str]:
    """Packages that a fresh interpreter has loaded after the statement."""
    program = f"{statement}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("module", ["tagger_client.cli", "activelearning.cli"])
def test_help_imports_nothing_heavy(module: str) -> None:
    assert not imported(f"import {module}; {module}.commands()").intersection(HEAVY)


def test_tagger_loads_no_more_than_an_annotator_needs() -> None:
    loaded = imported("from tagger_client import download, release, review, tools, upload, wording")
    assert not loaded.intersection({"numpy", "torch", "pandas", "PIL", "onnxruntime", "trainer"})
