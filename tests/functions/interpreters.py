"""A second interpreter for the comparison: Python 3.13 with what `runtime-requirements.txt` names, kept in `.cache/` of the repository.

Rule: who asks gets an interpreter that works, or `Missing` with the reason; a folder is only there when it is complete.
"""

import hashlib
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = Path(__file__).with_name("runtime-requirements.txt")
_NAME, _VERSION = "python3.13", "3.13"


class Missing(Exception):
    """There is no such interpreter, or its packages cannot be had."""


def python_with_runtime() -> Path:
    """The interpreter of an environment that has Microsoft's runtime, made at the first call. Raises `Missing`."""
    mark = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = ROOT / ".cache" / f"functions-{_VERSION}-{mark}"
    if not folder.exists():
        _make(folder)
    return _python_of(folder)


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _make(folder: Path) -> None:
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        _run([_interpreter(), "-m", "venv", str(unfinished)], "has no working venv")
        options = ["--quiet", "--disable-pip-version-check", "--requirement", str(REQUIREMENTS)]
        _run([str(_python_of(unfinished)), "-m", "pip", "install", *options], f"could not install {REQUIREMENTS.name}")
        # A rival may have been quicker, with the same content.
        with suppress(OSError):
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _run(command: list[str], fault: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise Missing(f"{_NAME} {fault}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")


def _interpreter() -> str:
    """The real executable. pyenv's shim of a version that nobody selected fails, so it is selected for this one call."""
    found = shutil.which(_NAME)
    if not found:
        raise Missing(f"there is no {_NAME} on PATH")
    for selected in ({}, {"PYENV_VERSION": _VERSION}):
        program = "import sys; print(sys.executable)"
        asked = subprocess.run([found, "-c", program], env=os.environ | selected, capture_output=True, text=True, timeout=60)
        if not asked.returncode:
            return asked.stdout.strip()
    raise Missing(f"{found} does not run")
