"""A cold start of the functions: a fresh interpreter imports the app and calls every function once, on a store in a directory.

    python -m tests.bench cold [--runs 5]

`seconds` is the whole process, interpreter included, `cpu_seconds` its processor time, `import_seconds` the import of the app alone; all
are medians. `azure_seconds` is a process that imports the app and opens a store on Azure, up to the first request; null where the extra
`azure` is not installed. `slowest` are the modules that took longest to import, with what they import, in milliseconds.
"""

import argparse
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from activelearning import layout
from activelearning.store import open_store
from tests.core import loops
from tests.functions import payloads
from tests.functions.interpreters import ROOT

_SLOWEST = 12
_IMPORT = re.compile(r"import time: +\d+ \| +(\d+) \| +(\S+)")


def run(arguments: Sequence[str]) -> dict[str, Any]:
    """The benchmark: `seconds`, `cpu_seconds`, `import_seconds`, `call_seconds`, `modules`, `slowest`."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench cold")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args(arguments)
    # The first reads everything from the disk and writes the byte code; a deployment ships byte code, and its disk is no matter of ours.
    _measure()
    runs = [_measure() for _ in range(options.runs)]
    median = {name: round(statistics.median(run[name] for run in runs), 4) for name in runs[0]}
    slowest = dict(_slowest(_start(["-X", "importtime"])[1])[:_SLOWEST])
    return {**median, "azure_seconds": _azure_seconds(options.runs), "runs": options.runs, "slowest": slowest}


def _measure() -> dict[str, float]:
    before, started = os.times(), time.perf_counter()
    report, _ = _start([])
    seconds, after = time.perf_counter() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": seconds, "cpu_seconds": cpu} | report | {"modules": len(report["modules"])}


def _start(options: Sequence[str]) -> tuple[dict[str, Any], str]:
    """One fresh interpreter on a fresh store: its report and what it wrote to stderr."""
    with tempfile.TemporaryDirectory() as folder:
        store = loops.make_project(open_store(folder))
        event = payloads.grid_event(layout.LABELS, loops.hand_in(store, "b1", ["1.jpg"]))
        paths = os.pathsep.join([str(ROOT / "functions"), str(ROOT)])
        environment = os.environ | {"PYTHONPATH": paths, "ACTIVELEARNING_STORE": folder}
        command = [sys.executable, *options, "-m", "tests.functions.once", event]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout), done.stderr


def _azure_seconds(runs: int) -> float | None:
    if not importlib.util.find_spec("azure.storage"):
        return None
    return round(statistics.median(_opens_azure() for _ in range(runs)), 4)


def _opens_azure() -> float:
    program = "import function_app; function_app.open_store('https://account.blob.core.windows.net')"
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], cwd=ROOT / "functions", check=True)
    return time.perf_counter() - started


def _slowest(text: str) -> list[tuple[str, float]]:
    found = {match[2]: int(match[1]) / 1000 for match in _IMPORT.finditer(text)}
    return sorted(found.items(), key=lambda item: -item[1])
