"""What every store promises about blobs."""

import io
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activelearning.errors import BlobChanged, BlobExists, BlobMissing, BlobNameError
from activelearning.store import Blobs, Store, open_store
from tests.store.conftest import Clock, fresh_url

ODD_NAMES = [
    "a name with spaces.jpg",
    " leading and trailing ",
    "'single' \"double\" `back`.jpg",
    "50%25 off%2Fnot a folder.jpg",
    unicodedata.normalize("NFC", "café/größe.jpg"),
    unicodedata.normalize("NFD", "café/größe.jpg"),
    "日本/木材.jpg",
    "🪵.png",
    "a#b?c&d=e;f,g.jpg",
    "-rf *.jpg",
    ".hidden/.jpg",
    "CAPITAL.JPG",
    "deep/" * 40 + "end.jpg",
    "~user$HOME.jpg",
]
REFUSED_NAMES = ["", "/", "/etc/passwd", "a//b", "a/", "../a", "a/../b", "a/./b", "a\\b", "..\\a", "a\nb", "a\0b", "a\x7f", "x" * 1025]


def names(blobs: Blobs, prefix: str = "") -> list[str]:
    return [info.name for info in blobs.list(prefix)]


def test_a_created_blob_reads_back(store: Store) -> None:
    store.labels.create("a/b.csv", b"content")
    assert store.labels.read("a/b.csv").content == b"content"
    assert b"".join(store.labels.stream("a/b.csv")) == b"content"
    assert store.labels.exists("a/b.csv")


def test_a_store_opened_again_holds_the_same(url: str) -> None:
    store = open_store(url)
    store.labels.create("a", b"content")
    assert open_store(store.url).labels.read("a").content == b"content"


def test_containers_are_apart(store: Store) -> None:
    store.labels.create("a", b"1")
    store.images.create("a", b"2")
    assert (store.labels.read("a").content, store.images.read("a").content) == (b"1", b"2")


def test_create_never_overwrites(store: Store) -> None:
    store.labels.create("a", b"first")
    with pytest.raises(BlobExists):
        store.labels.create("a", b"second")
    assert store.labels.read("a").content == b"first"


def test_an_empty_blob_is_a_blob(store: Store) -> None:
    store.labels.create("empty", b"")
    assert store.labels.read("empty").content == b""
    assert list(store.labels.stream("empty")) == []
    assert store.labels.head("empty").size == 0


def test_a_missing_blob_is_missing_in_every_way(store: Store) -> None:
    store.labels.create("folder/file", b"1")
    for name in ("none", "folder", "folder/none", "folder/file/below", *REFUSED_NAMES):
        assert not store.labels.exists(name)
        for ask in (store.labels.read, store.labels.head, lambda name: store.labels.read_range(name, 0, 1)):
            with pytest.raises(BlobMissing):
                ask(name)
        with pytest.raises(BlobMissing):
            next(store.labels.stream(name))


def test_head_knows_size_and_time(store: Store) -> None:
    store.labels.create("a", b"four")
    info = store.labels.head("a")
    assert (info.name, info.size) == ("a", 4)
    assert info.modified > 1_600_000_000
    assert list(store.labels.list()) == [info]


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(0, 10, b"0123456789"), (0, 1, b"0"), (3, 4, b"3456"), (9, 1, b"9"), (8, 100, b"89"), (10, 1, b""), (99, 1, b""), (5, 0, b"")],
)
def test_ranges(store: Store, start: int, length: int, expected: bytes) -> None:
    store.labels.create("digits", b"0123456789")
    assert store.labels.read_range("digits", start, length) == expected


def test_a_range_before_the_start_is_a_programmers_error(store: Store) -> None:
    store.labels.create("digits", b"0123456789")
    for start, length in ((-1, 1), (0, -1)):
        with pytest.raises(ValueError, match="range"):
            store.labels.read_range("digits", start, length)


def test_stream_yields_pieces_of_the_asked_size(store: Store) -> None:
    store.labels.create("digits", b"0123456789")
    assert list(store.labels.stream("digits", 4)) == [b"0123", b"4567", b"89"]


def test_a_file_object_is_written_from_where_it_stands(store: Store) -> None:
    table = io.BytesIO(b"header\n" + b"0123456789abcdef" * 400_000)
    table.seek(7)
    store.labels.create("table", table)
    assert store.labels.head("table").size == 6_400_000
    assert store.labels.read_range("table", 6_399_990, 100) == b"6789abcdef"
    etag = store.labels.replace("table", io.BytesIO(b"new"), store.labels.read("table").etag)
    assert store.labels.read("table").content == b"new"
    assert store.labels.read("table").etag == etag


class Broken(io.BytesIO):
    """A source that breaks in the middle."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 2_000_000:
            raise ConnectionResetError("cable pulled")
        return super().read(size)


def test_a_source_that_breaks_leaves_nothing(store: Store) -> None:
    etag = store.labels.replace("old", b"old", None)
    with pytest.raises(ConnectionResetError):
        store.labels.create("new", Broken(b"x" * 9_000_000))
    with pytest.raises(ConnectionResetError):
        store.labels.replace("old", Broken(b"x" * 9_000_000), etag)
    assert names(store.labels) == ["old"]
    assert store.labels.read("old").content == b"old"


def test_replace_wants_the_etag_of_now(store: Store) -> None:
    first = store.labels.replace("state", b"1", None)
    second = store.labels.replace("state", b"2", first)
    assert second != first
    assert store.labels.read("state").etag == second
    with pytest.raises(BlobChanged):
        store.labels.replace("state", b"3", first)
    assert store.labels.read("state").content == b"2"


def test_replace_with_no_etag_wants_no_blob(store: Store) -> None:
    store.labels.create("state", b"1")
    with pytest.raises(BlobChanged):
        store.labels.replace("state", b"2", None)
    with pytest.raises(BlobChanged):
        store.labels.replace("none", b"2", store.labels.read("state").etag)
    assert names(store.labels) == ["state"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_kept_as_they_are(store: Store, name: str) -> None:
    store.images.create(name, name.encode())
    assert store.images.read(name).content == name.encode()
    assert names(store.images) == [name]
    assert names(store.images, name) == [name]
    store.images.replace(name, b"new", store.images.read(name).etag)
    assert store.images.head(name).size == 3


def test_composed_and_decomposed_letters_are_two_names(store: Store) -> None:
    store.images.create(unicodedata.normalize("NFC", "é"), b"C")
    store.images.create(unicodedata.normalize("NFD", "é"), b"D")
    assert [store.images.read(name).content for name in names(store.images)] == [b"D", b"C"]


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_names_that_climb_or_break_a_table_are_refused(store: Store, name: str) -> None:
    with pytest.raises(BlobNameError):
        store.images.create(name, b"1")
    with pytest.raises(BlobNameError):
        store.images.replace(name, b"1", None)
    assert names(store.images) == []


def test_the_list_is_in_order_of_whole_names(store: Store) -> None:
    for name in ("a/b", "a-b", "a.b", "ab", "a/b2/c", "a/b-c", "A", "é", "\U0001f600", "\uff5e"):
        store.labels.create(name, b"")
    expected = ["A", "a-b", "a.b", "a/b", "a/b-c", "a/b2/c", "ab", "é", "\uff5e", "\U0001f600"]
    assert names(store.labels) == expected
    assert names(store.labels, "a/b") == ["a/b", "a/b-c", "a/b2/c"]
    assert names(store.labels, "a/b2/") == ["a/b2/c"]


def test_a_list_of_nothing_is_empty(store: Store) -> None:
    assert names(store.labels) == []
    store.labels.create("a/b", b"")
    for prefix in ("../", "/", "a/../a", "b", "a/b/", "a//", "\0", "a\\b"):
        assert names(store.labels, prefix) == []


def test_a_list_is_lazy_and_survives_writers(store: Store) -> None:
    for number in range(5):
        store.labels.create(f"{number}/a", b"")
    listing = store.labels.list()
    assert next(listing).name == "0/a"
    store.labels.create("2/b", b"")
    # a cloud hands its list out in pages of thousands, and a page may be older than a blob
    assert [info.name for info in listing if info.name != "2/b"] == ["1/a", "2/a", "3/a", "4/a"]


PARTS = st.text(alphabet="ab-.0é\U0001f600", min_size=1, max_size=3).filter(lambda part: part not in (".", ".."))
PATHS = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


def without_conflicts(paths: set[str]) -> set[str]:
    """Drop what lies below another: a directory cannot hold both."""
    return {path for path in paths if not any(path.startswith(f"{other}/") for other in paths)}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths=st.sets(PATHS, max_size=12).map(without_conflicts), cut=PATHS, length=st.integers(0, 4))
def test_a_prefix_agrees_with_sorted_names(kind: str, paths: set[str], cut: str, length: int) -> None:
    with fresh_url(kind) as url:
        blobs = open_store(url).labels
        # a cloud has no name that ends in a dot, and refuses to make one
        written = {path for path in paths if kind != "azure" or not any(part.endswith(".") for part in path.split("/"))}
        for path in written:
            blobs.create(path, b"")
        for prefix in ("", cut[:length], *(path[:length] for path in written)):
            assert names(blobs, prefix) == sorted(path for path in written if path.startswith(prefix))


def test_memory_stores_of_one_name_are_one() -> None:
    open_store("memory:shared-by-name").labels.create("a", b"1")
    assert open_store("memory:shared-by-name").labels.exists("a")
    assert not open_store("memory:").labels.exists("a")
    assert open_store("memory:").labels is not open_store("memory:").labels


def test_time_of_change_follows_the_stores_clock() -> None:
    clock = Clock()
    store = open_store("memory:", clock)
    store.labels.create("a", b"1")
    assert store.labels.head("a").modified == clock.now
