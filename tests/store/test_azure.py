"""What only a service far away can do: lose answers, refuse, be out of reach."""

import re
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.storage.queue import QueueClient

from activelearning.errors import BlobExists, BlobNameError, StoreError, UserError
from activelearning.store import Store, open_store
from activelearning.store.azure import API_VERSION
from tests import azurite
from tests.store import flaky

pytestmark = pytest.mark.skipif(
    not azurite.is_installed(), reason="Azurite is not installed: `make test` does it, or python -m tests.azurite"
)


@pytest.fixture
def connection() -> str:
    return f"{azurite.shared()}ImagesContainer=t{uuid.uuid4().hex}"


def blob_endpoint(connection: str) -> str:
    found = re.search(r"BlobEndpoint=([^;]+)", connection)
    assert found
    return found[1]


def through(connection: str, proxy: flaky.Proxy) -> Store:
    endpoint = blob_endpoint(connection)
    return open_store(connection.replace(endpoint, re.sub(r":\d+/", f":{proxy.port}/", endpoint)))


@pytest.fixture
def store(connection: str) -> Iterator[Store]:
    store = open_store(connection)
    for blobs in (store.images, store.labels):
        blobs.create("first", b"so the container is there")
    return store


@pytest.mark.parametrize("container", ["images", "labels"])
def test_a_create_whose_answer_was_lost_has_happened_once(connection: str, store: Store, container: str) -> None:
    with flaky.losing_answers(blob_endpoint(connection), b"PUT", 1) as proxy:
        blobs = getattr(through(connection, proxy), container)
        blobs.create("a", b"mine")
        assert blobs.read("a").content == b"mine"
        with pytest.raises(BlobExists):
            blobs.create("a", b"other")


def test_a_swap_whose_answer_was_lost_has_happened_once(connection: str, store: Store) -> None:
    etag = store.labels.replace("state", b"1", None)
    with flaky.losing_answers(blob_endpoint(connection), b"PUT", 1) as proxy:
        written = through(connection, proxy).labels.replace("state", b"2", etag)
    blob = store.labels.read("state")
    assert (blob.content, blob.etag) == (b"2", written)


def test_a_read_whose_answer_was_lost_is_asked_again(connection: str, store: Store) -> None:
    with flaky.losing_answers(blob_endpoint(connection), b"GET", 1) as proxy:
        assert through(connection, proxy).labels.read("first").content == b"so the container is there"


def test_a_wrong_key_is_one_sentence_without_it(connection: str, store: Store) -> None:
    wrong = re.sub(r"AccountKey=[^;]+", "AccountKey=V1JPTkctS0VZ", connection)
    refused = open_store(wrong)
    for ask in (
        lambda: refused.images.read("first"),
        lambda: refused.labels.create("a", b""),
        lambda: list(refused.labels.list()),
        lambda: refused.queues.send("work", "a"),
    ):
        with pytest.raises(UserError, match="refuses") as caught:
            ask()
        assert "\n" not in str(caught.value)
        assert "V1JPTkctS0VZ" not in str(caught.value)


def test_an_account_out_of_reach_is_one_sentence(connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    unreachable = open_store(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", connection))
    with pytest.raises(StoreError, match="does not answer"):
        unreachable.labels.read("a")


def test_a_message_that_somebody_typed_in_is_poison_like_any_other(connection: str, store: Store) -> None:
    typed = QueueClient.from_connection_string(connection, connection.partition("ImagesContainer=")[2] + "-work", api_version=API_VERSION)
    store.queues.send("work", "good")
    typed.send_message("no Base64 \u2713")
    assert {message.body for message in store.queues.peek("work")} == {"good", "no Base64 \u2713"}
    assert {message.body for message in store.queues.receive("work", 30, limit=5)} == {"good", "no Base64 \u2713"}


def test_a_file_is_written_from_where_it_stands(store: Store, tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(b"header\ncontent")
    with (tmp_path / "table").open("rb") as file:
        file.seek(7)
        store.labels.create("table", file)
    assert store.labels.read("table").content == b"content"


def test_a_name_that_azure_would_change_is_refused(store: Store) -> None:
    for name in ("a.", "trip./a.jpg"):
        with pytest.raises(BlobNameError, match="drops a dot"):
            store.images.create(name, b"1")


def test_nothing_that_is_shown_holds_the_key(connection: str, store: Store) -> None:
    for shown in (store.url, store.access, repr(store), repr(store.images), repr(store.queues)):
        assert azurite.KEY not in shown


def test_a_big_blob_that_is_replaced_while_it_is_read_is_read_whole(store: Store) -> None:
    etag = store.labels.replace("big", b"a" * 9_000_000, None)
    pieces = store.labels.stream("big")
    next(pieces)
    store.labels.replace("big", b"b" * 9_000_000, etag)
    with pytest.raises(StoreError):
        list(pieces)
    assert set(store.labels.read("big").content) == {ord("b")}
