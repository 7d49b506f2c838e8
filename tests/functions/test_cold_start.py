"""What a cold start loads: importing the function app, and calling every function once, brings in nothing heavy."""

import json
import os
import subprocess
import sys
from pathlib import Path

from activelearning import layout, state
from activelearning.store import open_store
from tests.core import loops
from tests.functions import payloads
from tests.functions.interpreters import ROOT

HEAVY = {"torch", "torchvision", "onnx", "onnxruntime", "numpy", "pandas", "PIL", "pycocotools", "defusedxml"}
CLOUD = {"azure.core", "azure.identity", "azure.storage", "azure.mgmt", "obstore", "msal", "cryptography", "requests"}
SLOW = {"urllib.request", "xml", "unittest", "multiprocessing", "sqlite3", "ctypes", "importlib.metadata", "activelearning.formats"}


def _is_of(module: str, roots: set[str]) -> bool:
    return any(module == root or module.startswith(f"{root}.") for root in roots)


def test_the_functions_load_nothing_heavy_even_when_each_has_run(tmp_path: Path) -> None:
    store = loops.make_project(open_store(str(tmp_path)))
    event = payloads.grid_event(layout.LABELS, loops.hand_in(store, "b1", ["1.jpg"]))
    paths = os.pathsep.join([str(ROOT / "functions"), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": paths, "ACTIVELEARNING_STORE": str(tmp_path)}
    command = [sys.executable, "-m", "tests.functions.once", event]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout)["modules"])
    assert state.load(store.labels).jobs, "the functions did run"
    assert {"azure.functions", "activelearning.overview", "activelearning.claims"} <= loaded
    assert {module for module in loaded if _is_of(module, HEAVY | CLOUD | SLOW)} == set()
    assert done.stderr == ""
