"""Many writers, readers and consumers at once, and writers that are killed at any moment."""

import itertools
import random
import sys
import time
from pathlib import Path

import pytest

from activelearning.errors import BlobExists
from activelearning.store import open_store
from tests.store import rivals

RIVALS = 8
STEPS = 25
KILLS = 12


def test_of_many_creators_exactly_one_wins_each_name(url: str) -> None:
    won = rivals.race(url, "claim_names", RIVALS, 100)
    labels = open_store(url).labels
    assert sorted(itertools.chain.from_iterable(won)) == [f"claims/{number:03d}" for number in range(100)]
    for me, names in enumerate(won):
        assert all(labels.read(name).content == str(me).encode() * 50_000 for name in names)


def test_no_step_of_a_shared_counter_is_lost(url: str) -> None:
    labels = open_store(url).labels
    labels.create("number", b"0")
    rivals.race(url, "count_up", RIVALS, STEPS)
    assert labels.read("number").content == str(RIVALS * STEPS).encode()


def test_readers_never_see_half_a_blob(url: str) -> None:
    open_store(url).labels.create("table", b"a" * 100_000)
    assert rivals.race(url, "write_or_read", 4, 150) == [0, 0, 0, 0]


def test_rival_consumers_handle_every_message_once(url: str) -> None:
    queues = open_store(url).queues
    bodies = sorted(f"message {number}" for number in range(200))
    for body in bodies:
        queues.send("work", body)
    assert sorted(itertools.chain.from_iterable(rivals.race(url, "consume", RIVALS, 0))) == bodies
    assert queues.count("work") == 0


def test_what_a_killed_writer_acknowledged_is_whole(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.labels.create("number", b"0")
    acknowledged = [name for me in range(KILLS) for name in killed_writer(store.url, me)]
    listed = {info.name for info in store.labels.list()} - {"number"}
    assert len(acknowledged) >= KILLS
    assert listed >= set(acknowledged)
    # At each kill at most one blob was under way, and it too is there whole or not at all.
    assert len(listed) <= len(acknowledged) + KILLS
    assert all(store.labels.read(name).content == rivals.whole(name) for name in listed)
    assert len(acknowledged) <= int(store.labels.read("number").content) <= len(listed)
    messages = store.queues.receive("work", 30, limit=100_000)
    assert {message.body for message in messages} >= set(acknowledged)


def killed_writer(url: str, me: int) -> list[str]:
    """Let a writer write, kill it at a random moment, and return the names that it said were safe."""
    writer = rivals.start(url, "write_until_killed", me, 0)
    rivals.wait_until_ready(writer)
    rivals.let_go(writer)
    assert writer.stdout
    said = b"".join(writer.stdout.readline() for _ in range(random.randint(1, 5)))
    time.sleep(random.uniform(0, 0.008))
    writer.kill()
    said += writer.communicate()[0]
    return said.decode().split("\n")[:-1]


def test_a_killed_writers_locks_are_free(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    etag = store.labels.replace("number", b"0", None)
    for me in range(3):
        killed_writer(store.url, me)
    etag = store.labels.read("number").etag
    store.labels.replace("number", b"1000000", etag)
    with pytest.raises(BlobExists):
        store.labels.create("number", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    (told,) = rivals.race(store.url, "fill_disk", 1, 1_000_000)
    assert told == f"no space left in {tmp_path} for 'big/table.csv'; nothing was written"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
