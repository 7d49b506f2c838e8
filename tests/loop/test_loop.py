"""The loop as its users run it: real processes, real commands, real files of the tools."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from activelearning import commits, journal, labelled, layout, state
from activelearning.labels import ImageLabels, Review
from activelearning.store import Store, open_store
from tests import azurite
from tests.bench import loop
from tests.loop import drawings


@dataclass(frozen=True, slots=True)
class Played:
    """A loop that was played to its end."""

    plan: loop.Plan
    rounds: list[loop.Round]
    store: Store
    folder: Path

    def batches(self) -> list[list[str]]:
        """The images of each batch, in the order of the batches."""
        return [sorted(one.image for one in labelled.read(self.store.labels, name).images) for name in sorted(_uploads(self.store))]

    def labelled_set(self) -> tuple[ImageLabels, ...]:
        commit = commits.latest(self.store.labels)
        assert commit is not None
        return labelled.read(self.store.labels, commit.tagged).images


QUICK = (
    "training.iterations=12",
    "training.warm_iterations=6",
    "training.checkpoint_every=5",
    "detector.long_side=128",
    "policy.quiet_seconds=1",
)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Two rounds on a directory."""
    return play(tmp_path_factory.mktemp("directory"), "")


def play(folder: Path, store: str) -> Played:
    """Draw a stranger's images and play two rounds on them."""
    drawings.draw(folder, 16)
    run = folder / "run"
    run.mkdir()
    plan = loop.Plan(folder / "images", folder / "labels.json", None, (), rounds=2, batch=4, settings=QUICK, store=store)
    return Played(plan, loop.play(plan, run, lambda line: None), open_store(plan.store_in(run)), run)


def test_the_loop_turns_on_a_strangers_images_through_vott_and_cvat(played: Played) -> None:
    rounds = played.rounds
    assert [one.run for one in rounds] == ["main/1", "main/2"] and [one.tool for one in rounds] == ["vott", "cvat"]
    tagged = played.labelled_set()
    truth = loop.ground_truth(played.plan)
    assert len(tagged) == rounds[-1].labelled_images == 8
    assert all(labels.review is Review.REVIEWED and len(labels.boxes) == len(truth[labels.image].boxes) for labels in tagged)
    assert rounds[-1].draw_seconds == 7.0 * rounds[-1].boxes == 7.0 * sum(len(labels.boxes) for labels in tagged)
    assert {"ap50", "ap", "annotator_seconds"} <= loop.summary(played.plan, rounds)["rounds"][0].keys()


@pytest.mark.skipif(not azurite.is_installed(), reason=azurite.NOT_INSTALLED)
def test_the_loop_ends_on_azurite_as_on_a_directory(played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = f"{azurite.shared()}ImagesContainer=p{uuid.uuid4().hex}"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
    there = play(tmp_path, open_store(connection).url)
    assert there.batches() == played.batches()
    assert there.labelled_set() == played.labelled_set()
    secrets = re.compile(rb"AccountKey|SharedKey|sig=|Bearer|" + re.escape(azurite.KEY.encode()))
    written = {str(path): path.read_bytes() for path in there.folder.rglob("*") if path.is_file()}
    written |= {info.name: there.store.labels.read(info.name).content for info in there.store.labels.list()}
    assert any(name.endswith("up.log") for name in written) and any(name.endswith("batch.json") for name in written)
    assert [name for name, content in written.items() if secrets.search(content)] == []


def test_functions_and_trainer_killed_at_any_moment_train_each_upload_exactly_once(tmp_path: Path) -> None:
    drawings.draw(tmp_path, 12)
    url = str(tmp_path / "store")
    _run("activelearning.cli", "init", url, "--classes", "red-thing", *(part for each in QUICK for part in ("--set", each)))
    _run("activelearning.cli", "upload", url, str(tmp_path / "images"))
    store = open_store(url)
    with _up(url):
        _until(lambda: commits.latest(store.labels) is not None)
    for number, moment in enumerate(("job begun", "reviewed", "job queued"), 1):
        _review_some(store, url, tmp_path / f"batch-{number}")
        with _up(url, kill_after=moment, store=store):
            pass
    with _up(url):
        _until(lambda: not state.load(store.labels).uploads and len(_uploads(store)) == 3 and not list(_open_jobs(store)))
    cards = [json.loads(store.labels.read(info.name).content) for info in store.labels.list("models/") if info.name.endswith("model.json")]
    trained = [upload for card in cards for upload in card["uploads"]]
    assert sorted(trained) == sorted(_uploads(store))
    commit = commits.latest(store.labels)
    assert commit is not None and commits.consumed(store.labels, commit.run) == set(_uploads(store))
    assert len(labelled.read(store.labels, commit.tagged).images) == 6


def _review_some(store: Store, url: str, folder: Path) -> None:
    _run("tagger_client.cli", "download", "2", "--store", url, "--to", str(folder))
    project = json.loads((folder / "images.json").read_text("utf-8"))
    project["visitedFrames"] = sorted(path.name for path in (folder / "images").iterdir())
    project.pop("drafts", None)
    (folder / "images.json").write_text(json.dumps(project), "utf-8")
    _run("tagger_client.cli", "upload", str(folder))


def _uploads(store: Store) -> list[str]:
    return [info.name for info in store.labels.list("batches/") if layout.batch_of_reviewed(info.name)]


def _open_jobs(store: Store) -> Iterator[str]:
    return (job.id for job in state.load(store.labels).jobs.values() if job.status in (state.QUEUED, state.RUNNING))


def _run(module: str, *arguments: str) -> None:
    ended = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@contextmanager
def _up(url: str, kill_after: str = "", store: Store | None = None) -> Iterator[None]:
    """Run everything; at the end stop it cleanly, or, once the journal tells of something new, kill it all at a stroke."""
    known = _told(store, kill_after) if store else 0
    command = [sys.executable, "-m", "activelearning.cli", "up", url]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}, start_new_session=True)
    try:
        yield
        if store:
            _until(lambda: _told(store, kill_after) > known or kill_after == "reviewed")
            time.sleep(1.5)
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _told(store: Store, what: str) -> int:
    return sum(entry["what"] == what for entry in journal.read(store.labels))


def _until(reached: Callable[[], bool], patience: float = 240) -> None:
    deadline = time.monotonic() + patience
    while not reached():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.3)
