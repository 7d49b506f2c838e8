"""The second interpreter is looked for with care: what is named python3.13 need not run."""

import os
import stat
from pathlib import Path

import pytest

from tests.functions import interpreters

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the commands here are shell scripts")

SHIM = 'test "$PYENV_VERSION" = 3.13 && echo /real/python || { echo "pyenv: python3.13: command not found" >&2; exit 127; }'


def _on_path(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = folder / "python3.13"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("PYENV_VERSION", raising=False)


@pytest.mark.parametrize(("script", "real"), [("echo /usr/bin/python3.13", "/usr/bin/python3.13"), (SHIM, "/real/python")])
def test_the_real_executable_is_found_behind_a_name_or_a_shim(
    script: str, real: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _on_path(tmp_path, script, monkeypatch)
    assert interpreters._interpreter() == real


def test_a_shim_of_nothing_is_no_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on_path(tmp_path, "exit 127", monkeypatch)
    with pytest.raises(interpreters.Missing, match=r"python3\.13 does not run$"):
        interpreters._interpreter()


def test_where_there_is_none_the_reason_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(interpreters.Missing, match=r"^there is no python3\.13 on PATH$"):
        interpreters._interpreter()


def test_an_environment_that_cannot_be_made_is_not_left_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on_path(tmp_path, 'case "$*" in -c*) echo "$0";; *) echo "Error: no ensurepip" >&2; exit 1;; esac', monkeypatch)
    with pytest.raises(interpreters.Missing, match=r"^python3\.13 has no working venv: Error: no ensurepip$"):
        interpreters._make(tmp_path / "cache" / "made")
    assert not list((tmp_path).glob("cache/*"))
