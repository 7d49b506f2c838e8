"""One suite, every store: a new kind joins by a line in `KINDS` and one in `fresh_url`."""

import contextlib
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from activelearning.store import Store, open_store

KINDS = ["memory", "directory"]


@dataclass
class Clock:
    """The time that a store sees; a store whose time is not ours to set would sleep in `passes`."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


@contextlib.contextmanager
def fresh_url(kind: str) -> Iterator[str]:
    """The address of an empty store that is gone afterwards."""
    if kind == "memory":
        yield f"memory:{uuid.uuid4()}"
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield f"{folder}/a store"


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with fresh_url(request.param) as address:
        yield address


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(url: str, clock: Clock) -> Store:
    return open_store(url, clock)
