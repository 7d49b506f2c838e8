"""One suite, every store: a new kind joins by a line in `KINDS` and one in `fresh_url`."""

import contextlib
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from activelearning.store import Store, open_store
from tests import azurite

KINDS = ["memory", "directory", "azure"]
LOCAL = ["memory", "directory"]


@dataclass
class Clock:
    """The time that a store sees. `span` says how long a test's seconds are."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def span(self, seconds: float) -> float:
        """So many of the test's seconds, as a store is told them."""
        return seconds

    def passes(self, seconds: float) -> None:
        self.now += seconds


class RealClock(Clock):
    """The time of a service is not ours to set, so the test's seconds are short and we sleep through them."""

    _SHRINK = 1 / 15

    def __call__(self) -> float:
        return time.time()

    def span(self, seconds: float) -> float:
        return seconds * self._SHRINK

    def passes(self, seconds: float) -> None:
        # A service counts whole seconds, and its clock is not quite ours.
        time.sleep(self.span(seconds) + 0.05 * (seconds >= 30))


@contextlib.contextmanager
def fresh_url(kind: str) -> Iterator[str]:
    """The address of an empty store that is gone afterwards."""
    if kind == "memory":
        yield f"memory:{uuid.uuid4()}"
    elif kind == "azure":
        yield f"{azurite.shared()}ImagesContainer=t{uuid.uuid4().hex}"
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield f"{folder}/a store"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "azure" and not azurite.is_installed():
        pytest.skip(azurite.NOT_INSTALLED)
    return name


@pytest.fixture
def url(kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with fresh_url(kind) as address:
        if kind == "azure":
            monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", address)
        yield address


@pytest.fixture
def clock(kind: str) -> Clock:
    return RealClock() if kind == "azure" else Clock()


@pytest.fixture
def store(url: str, clock: Clock) -> Store:
    return open_store(url, clock)
