"""How a run's model was trained, noted beside it: all that is needed to train it again, with its card's data and settings.

Rule: written once, when training has ended. The same figures on the same kind of machine with the same versions give the same weights; on
a GPU, whose sums are not done in a fixed order, up to rounding.
"""

import json
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata
from typing import Any

import torch

from activelearning import layout
from activelearning.errors import BlobExists, BlobMissing
from activelearning.settings import Training
from activelearning.store import Blobs
from trainer import learning, ranks
from trainer.recipe import Plan, Recipe

_PACKAGES = ("torch", "numpy", "torchvision", "transformers", "timm", "scipy", "onnx", "onnxruntime", "onnxscript")


def record(config: Training, first_seed: int, plan: Plan, iterations: int, input_size: tuple[int, int], devices: int) -> dict[str, Any]:
    """What a run was trained with. `config` as the run had it, its own `seed` included; `first_seed` is that of what was fresh in the model
    it began with; `iterations` that were done."""
    device = ranks.device_of(0)
    return {
        "seed": config.seed,
        "first_seed": first_seed,
        "iterations": iterations,
        "plan": asdict(plan),
        "input_size": list(input_size),
        "devices": devices,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "bfloat16": learning.has_bfloat16(device),
        "versions": versions(),
    }


def plan_of(record: Mapping[str, Any]) -> Plan:
    """The plan that a record holds, to train by it again."""
    fields = dict(record["plan"])
    return Plan(**{**fields, "recipe": Recipe(**fields["recipe"])})


def versions() -> dict[str, str]:
    """Of Python, of this project, and of the packages loaded that a training's result depends on."""
    found = {name: metadata.version(name) for name in _PACKAGES if name in sys.modules}
    # with what it was built for, which the package's own version leaves out
    found["torch"] = torch.__version__
    cuda = {"cuda": str(torch.version.cuda)} if torch.cuda.is_available() else {}
    return {"python": platform.python_version(), "activelearning": metadata.version("activelearning"), **found, **cuda}


def note(blobs: Blobs, run: str, noted: Mapping[str, Any]) -> None:
    """Keep a run's record; one that is there stays."""
    with suppress(BlobExists):
        blobs.create(_name(run), json.dumps(noted, indent=1, ensure_ascii=False).encode())


def read(blobs: Blobs, run: str) -> dict[str, Any]:
    """A run's record; empty for a model of before there was one."""
    try:
        found: dict[str, Any] = json.loads(blobs.read(_name(run)).content)
    except BlobMissing:
        return {}
    return found


def _name(run: str) -> str:
    return layout.model(run, "training.json")
