"""What the tagger's tests share."""

import os

import pytest

from tests.tagger.batches import Terminal


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Terminal:
    """A place to type commands."""
    return Terminal(capsys)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that it has written, flushed or not; only a power cut would."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
