"""What holds for a store in a directory only: plain files, links, file systems that lack something."""

import errno
import io
import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activelearning.errors import BlobExists, BlobMissing, BlobNameError, UserError
from activelearning.store import Store, directory, open_store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> Store:
    return open_store(str(root))


def names(store: Store) -> list[str]:
    return [info.name for info in store.images.list()]


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def note_listings(monkeypatch: pytest.MonkeyPatch, root: Path) -> list[str]:
    """Return a list that grows by each folder that is listed from now on."""
    listed: list[str] = []
    scandir = os.scandir

    def note(path: Path) -> object:
        listed.append(path.relative_to(root).as_posix())
        return scandir(path)

    monkeypatch.setattr(os, "scandir", note)
    return listed


def test_opening_and_reading_write_nothing(root: Path, store: Store) -> None:
    assert names(store) == []
    assert not store.labels.exists("a")
    assert store.queues.receive("work", 30) == []
    assert not root.exists()


def test_blobs_are_plain_files(root: Path, store: Store) -> None:
    store.labels.create("batches/1/original.json", b"1")
    store.labels.create("state.json", b"2")
    assert files(root) == ["labels/batches/1/original.json", "labels/state.json"]
    assert (root / "labels" / "state.json").read_bytes() == b"2"


def test_files_copied_in_by_hand_are_blobs(root: Path, store: Store) -> None:
    (root / "images" / "trip 1").mkdir(parents=True)
    (root / "images" / "trip 1" / "a.jpg").write_bytes(b"1")
    assert names(store) == ["trip 1/a.jpg"]
    with pytest.raises(BlobExists):
        store.images.create("trip 1/a.jpg", b"2")
    store.images.replace("trip 1/a.jpg", b"2", store.images.read("trip 1/a.jpg").etag)
    assert (root / "images" / "trip 1" / "a.jpg").read_bytes() == b"2"


def test_names_that_are_no_blob_names_are_listed_but_cannot_be_read(root: Path, store: Store) -> None:
    (root / "images").mkdir(parents=True)
    (root / "images" / "line\nbreak.jpg").write_bytes(b"1")
    (root / "images" / os.fsdecode(b"latin-\xe9.jpg")).write_bytes(b"1")
    assert names(store) == ["latin-\udce9.jpg", "line\nbreak.jpg"] or names(store) == ["line\nbreak.jpg", "latin-\udce9.jpg"]
    for name in names(store):
        with pytest.raises(BlobMissing):
            store.images.read(name)


def test_temporary_files_are_never_listed_and_swept_after_a_day(root: Path, store: Store) -> None:
    leftovers = root / ".store" / "tmp"
    leftovers.mkdir(parents=True)
    for name, age in (("old", 100_000), ("young", 1_000)):
        (leftovers / name).write_bytes(b"half")
        os.utime(leftovers / name, (time.time() - age,) * 2)
    store.labels.create("a", b"1")
    assert files(root) == [".store/tmp/young", "labels/a"]
    assert [info.name for info in store.labels.list()] == ["a"]


def test_a_blob_cannot_lie_below_a_blob(store: Store) -> None:
    store.images.create("a/b", b"1")
    for name in ("a", "a/b/c", "a/b/c/d"):
        with pytest.raises(BlobNameError, match="folder"):
            store.images.create(name, b"2")
        with pytest.raises(BlobNameError, match="folder"):
            store.images.replace(name, b"2", None)
        assert not store.images.exists(name)
    assert names(store) == ["a/b"]


def test_a_name_too_long_for_the_file_system_is_refused(store: Store) -> None:
    name = "x" * 300
    with pytest.raises(BlobNameError, match="shorter"):
        store.images.create(name, b"1")
    assert not store.images.exists(name)
    assert list(store.images.list(f"{name}/")) == []


def test_linked_folders_and_files_are_read(root: Path, store: Store, tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "b.jpg").write_bytes(b"1")
    store.images.create("a.jpg", b"1")
    (root / "images" / "card").symlink_to(tmp_path / "card")
    (root / "images" / "c.jpg").symlink_to(tmp_path / "card" / "b.jpg")
    (root / "images" / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    assert names(store) == ["a.jpg", "c.jpg", "card/b.jpg"]
    assert store.images.read("card/b.jpg").content == b"1"


def test_links_in_a_circle_end(root: Path, store: Store) -> None:
    store.images.create("a/b.jpg", b"1")
    (root / "images" / "a" / "up").symlink_to(root / "images")
    (root / "images" / "self").symlink_to("self")
    assert names(store) == ["a/b.jpg"]
    assert list(store.images.list("a/up/")) == []
    assert list(store.images.list("a/up/a/")) == []


def test_a_prefix_opens_no_other_folder(root: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        store.images.create(f"trip {number}/a/1.jpg", b"1")
    opened = note_listings(monkeypatch, root)
    assert [info.name for info in store.images.list("trip 3/a/")] == ["trip 3/a/1.jpg"]
    assert opened == ["images/trip 3/a"]


def test_a_file_without_hard_links_is_still_created_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    def claim(me: int) -> list[int]:
        return [number for number in range(20) if created(f"{number}", str(me).encode() * 9999)]

    def created(name: str, content: bytes) -> bool:
        try:
            store.labels.create(name, content)
        except BlobExists:
            return False
        return True

    monkeypatch.setattr(os, "link", refuse)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(claim, range(8)))
    assert sorted(itertools.chain.from_iterable(won)) == list(range(20))
    assert all(store.labels.read(str(number)).content == str(me).encode() * 9999 for me in range(8) for number in won[me])


def test_content_is_flushed_before_its_name_and_the_name_before_the_answer(
    root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, link = os.fsync, os.link

    def note_fsync(handle: int) -> None:
        steps.append(f"flush {Path(f'/dev/fd/{handle}').resolve().relative_to(root).parts[0]}")
        fsync(handle)

    def note_link(source: Path, target: Path) -> None:
        steps.append("link")
        link(source, target)

    store.labels.create("first", b"1")
    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "link", note_link)
    store.labels.create("a", b"1")
    assert steps == ["flush .store", "link", "flush labels"]


def test_a_drive_that_cannot_flush_folders_will_do(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def refuse(handle: int) -> None:
        if Path(f"/dev/fd/{handle}").is_dir():
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    store.labels.create("a", b"1")
    assert store.labels.read("a").content == b"1"


class Full(io.BytesIO):
    """Stands for a disk that is full after the first megabyte."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().read(size)


def test_a_full_disk_leaves_the_old_version(root: Path, store: Store) -> None:
    etag = store.labels.replace("state.json", b"old", None)
    with pytest.raises(UserError, match="no space left"):
        store.labels.replace("state.json", Full(b"x" * 3_000_000), etag)
    assert store.labels.read("state.json").content == b"old"
    assert [file for file in files(root) if file.startswith(".store/tmp")] == []


def test_a_disk_too_full_for_the_event_still_has_the_blob(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(queue: str, body: str, delay: float = 0) -> None:
        raise UserError("no space left")

    monkeypatch.setattr(store.queues, "send", full)
    store.images.create("a.jpg", b"1")
    assert names(store) == ["a.jpg"]


def test_changed_and_changed_back_is_unchanged(store: Store) -> None:
    first = store.labels.replace("state.json", b"A", None)
    second = store.labels.replace("state.json", b"B", first)
    assert store.labels.replace("state.json", b"A", second) == first


def test_foreign_files_in_a_queue_are_no_messages(root: Path, store: Store) -> None:
    store.queues.send("work", "body")
    (root / "queues" / "work" / ".DS_Store").write_bytes(b"\0")
    assert store.queues.count("work") == len(store.queues.peek("work")) == len(store.queues.receive("work", 30, 9)) == 1


def test_draining_a_long_queue_lists_it_only_twice(root: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        store.queues.send("work", str(number))
    listings = note_listings(monkeypatch, root)
    while messages := store.queues.receive("work", 30):
        store.queues.delete("work", messages[0])
    assert listings == ["queues/work", "queues/work"]


def test_a_folder_on_another_disk_is_one_sentence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(UserError, match="another disk"):
        store.images.create("card/a.jpg", b"1")
    assert names(store) == []


@pytest.mark.parametrize("name", ["a:b.jpg", "C:/a.jpg", "what?.jpg", "con", "a/NUL.jpg", "trip./a.jpg", "a ", "lpt1.txt", "a|b", "COM1/x"])
def test_names_that_fail_on_windows(name: str) -> None:
    assert directory.fails_on_windows(name)


@given(st.lists(st.text(alphabet="abc019 _-é", min_size=1).map(lambda part: f"x{part}x"), min_size=1).map("/".join))
def test_plain_names_do_for_windows(name: str) -> None:
    assert not directory.fails_on_windows(name)
