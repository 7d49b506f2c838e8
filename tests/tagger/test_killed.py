"""SIGKILL at every step that reaches the disk, and at moments nobody chose: the same command again ends in the same state."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from activelearning import layout, state
from activelearning.store import Store, open_store
from tagger_client import cli
from tests.tagger.batches import Terminal, project, review, rounded, uploads
from tests.tagger.test_upload import ADDED, KEPT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

NAMES = ["a.jpg", "b.jpg", "c.jpg"]


def killed(arguments: list[str], step: int) -> bool:
    """Run the command in a child that is killed at its `step`-th flush, link or rename; whether it came to that."""
    child = os.fork()
    if child == 0:
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
        left = count(step, -1)
        for name in ("fsync", "link", "replace", "mkdir"):
            setattr(os, name, _deadly(getattr(os, name), left))
        os._exit(cli.main(arguments))
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def _deadly(call: Callable[..., object], left: "count[int]") -> Callable[..., object]:
    def counted(*arguments: object, **named: object) -> object:
        if next(left) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)

    return counted


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_download(store: Store, folder: Path, tool: str) -> None:
    """One claim, and a complete folder with nothing else in it that a tool would show."""
    batches = state.load(store.labels).batches
    assert [[claimed.image for claimed in batch.claimed] for batch in batches.values()] == [NAMES]
    manifest = json.loads((folder / "batch.json").read_text())
    assert manifest["ready"] and [manifest["batch"]] == list(batches)
    assert sorted(path.name for path in (folder / "images").iterdir()) == ["0001_a.jpg", "0002_b.jpg", "0003_c.jpg"]
    seen = {path.suffix for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}
    assert seen == {"vott": {".json"}, "vott2": {".json", ".vott"}}[tool]
    assert len(list(folder.glob("*-asset.json"))) == (3 if tool == "vott2" else 0)


@pytest.mark.parametrize("tool", ["vott", "vott2"])
def test_a_download_killed_at_any_step_is_one_claim_and_one_folder(tmp_path: Path, terminal: Terminal, tool: str) -> None:
    for step in count(1):
        store = project(tmp_path / f"store-{step}", NAMES)
        folder = tmp_path / f"x-{step}"
        arguments = ["download", "3", "--store", store.url, "--to", str(folder), "--tool", tool]
        if not killed(arguments, step):
            assert step > 20
            break
        again = terminal.tagger(*arguments)
        # Killed after its very last step, it is complete, and then that is what is said.
        assert again.code == 0 or "is here and not handed in yet" in again.err, (step, again.err)
        check_download(store, folder, tool)
    check_download(store, folder, tool)


def check_upload(store: Store, folder: Path) -> None:
    """One reviewed upload with what was reviewed, and its original."""
    found = uploads(store)
    assert list(found) == ["reviewed.csv"]
    assert {image: rounded(labels) for image, labels in found["reviewed.csv"].items()} == {"a.jpg": [KEPT, ADDED], "b.jpg": []}
    (batch,) = state.load(store.labels).batches
    assert store.labels.read(layout.batch_original(batch, ".json")).content == (folder / "images.json").read_bytes()
    assert list(state.load(store.labels).uploads) == [layout.batch_reviewed(batch)]
    assert json.loads((folder / "batch.json").read_text())["uploaded"] == [layout.batch_reviewed(batch)]


def test_an_upload_killed_at_any_step_is_one_reviewed_upload(tmp_path: Path, terminal: Terminal) -> None:
    for step in count(1):
        shutil.rmtree(tmp_path, ignore_errors=True)
        store = project(tmp_path / "store", NAMES)
        folder = tmp_path / "x"
        terminal.tagger("download", 3, "--store", store.url, "--to", folder)
        review(folder, {"a.jpg": [KEPT, ADDED], "b.jpg": []})
        if not killed(["upload", str(folder)], step):
            assert step > 10
            break
        assert terminal.tagger("upload", folder).code == 0
        check_upload(store, folder)
    check_upload(store, folder)


def test_a_release_killed_at_any_step_gives_everything_back(tmp_path: Path, terminal: Terminal) -> None:
    for step in count(1):
        shutil.rmtree(tmp_path, ignore_errors=True)
        store = project(tmp_path / "store", NAMES)
        folder = tmp_path / "x"
        terminal.tagger("download", 3, "--store", store.url, "--to", folder)
        was_killed = killed(["release", str(folder)], step)
        assert terminal.tagger("release", folder).code == 0
        assert not state.load(store.labels).batches
        if not was_killed:
            break


def test_killed_at_moments_nobody_chose(tmp_path: Path, terminal: Terminal) -> None:
    chance = random.Random(5)
    store = project(tmp_path / "store", NAMES)
    folder = tmp_path / "x"
    download = ["download", "3", "--store", store.url, "--to", str(folder)]
    for _ in range(4):
        kill_after(download, chance.uniform(0.1, 0.5))
    terminal.tagger(*download)
    check_download(store, folder, "vott")
    review(folder, {"a.jpg": [KEPT, ADDED], "b.jpg": []})
    for _ in range(4):
        kill_after(["upload", str(folder)], chance.uniform(0.1, 0.5))
    assert terminal.tagger("upload", folder).code == 0
    check_upload(open_store(store.url), folder)


def kill_after(arguments: list[str], seconds: float) -> None:
    """Start the command as a process of its own and kill it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tagger_client.cli", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(seconds)
    process.kill()
    process.wait()
