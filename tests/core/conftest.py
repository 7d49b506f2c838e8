"""The stores that the core is tested on."""

from pathlib import Path

import pytest

from activelearning.store import Store, open_store
from tests.clock import Clock
from tests.core.loops import make_project


@pytest.fixture
def clock() -> Clock:
    """Time that passes when told."""
    return Clock()


@pytest.fixture(params=["memory", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Store:
    """A store with a project."""
    return make_project(open_store("memory:" if request.param == "memory" else str(tmp_path / "store"), clock))
