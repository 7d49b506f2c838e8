"""Annotators without keys: a link opens one batch, says so, and can do no more."""

import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from activelearning import cli as activelearning_cli
from activelearning import commits, desk, drafts_record, layout, links, sharing, state, steps, table
from activelearning.errors import BlobExists, BlobMissing, FormatError, Refused, UserError
from activelearning.labels import ImageLabels, Review
from activelearning.links import Link
from activelearning.store import Store
from activelearning.store.azure_linked import open_linked
from tests import azurite
from tests.core.learned import learned
from tests.store import flaky
from tests.tagger.batches import CAT, DOG, HEIGHT, WIDTH, Terminal, project

pytestmark = pytest.mark.skipif(not azurite.is_installed(), reason=azurite.NOT_INSTALLED)

IMAGES = ["night 1/50% größe.jpg", "b.jpg", "c.jpg", "d.jpg"]
SECRETS = re.compile(r"sig=|AccountKey|code=")


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("AZURE_STORAGE_CONNECTION_STRING", "ACTIVELEARNING_STORE", "ACTIVELEARNING_LINK"):
        monkeypatch.delenv(name, raising=False)
    return f"{azurite.shared()}ImagesContainer=t{uuid.uuid4().hex}"


@pytest.fixture
def store(connection: str) -> Store:
    return project(connection, IMAGES)


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def mark_reviewed(folder: Path) -> None:
    """What VoTT 1 writes when every image was visited."""
    work = json.loads((folder / "images.json").read_text("utf-8"))
    work["visitedFrames"] = sorted(path.name for path in (folder / "images").iterdir())
    work.pop("drafts", None)
    (folder / "images.json").write_text(json.dumps(work), "utf-8")


def test_a_batch_by_link_goes_all_the_way(tmp_path: Path, connection: str, store: Store, terminal: Terminal) -> None:
    link = tmp_path / "ann.link"
    made = terminal.activelearning("share", connection, 2, "--as", "ann", "--to", link)
    assert made.code == 0 and not SECRETS.search(made.out + made.err)
    ran = terminal.tagger("download", 9, "--link", link, "--to", tmp_path / "monday")
    assert ran.code == 0 and "using a link to batch" in ran.err
    assert len(list((tmp_path / "monday" / "images").iterdir())) == 2
    mark_reviewed(tmp_path / "monday")
    assert terminal.tagger("upload", tmp_path / "monday", "--link", link).code == 0
    again = terminal.tagger("upload", tmp_path / "monday", "--link", link, "--json")
    assert again.value["upload"] == ""
    (name,) = [info.name for info in store.labels.list(layout.BATCHES) if layout.batch_of_reviewed(info.name)]
    # No function has heard of it: an emulator has no events. The sweep finds it.
    steps.sweep(store, time.time())
    assert list(state.load(store.labels).uploads) == [name]


def test_nothing_in_a_batchs_folder_holds_a_signature(tmp_path: Path, connection: str, store: Store, terminal: Terminal) -> None:
    link = tmp_path / "ann.link"
    terminal.activelearning("share", connection, 2, "--as", "ann", "--to", link)
    said = terminal.tagger("download", 2, "--link", link, "--to", tmp_path / "monday")
    assert link.stat().st_mode & 0o077 == 0
    for path in (tmp_path / "monday").rglob("*"):
        assert path.is_dir() or not SECRETS.search(path.read_bytes().decode("latin-1")), path
    assert not SECRETS.search(said.out + said.err)
    for info in store.labels.list():
        assert not SECRETS.search(store.labels.read(info.name).content.decode("latin-1")), info.name


def test_a_link_reads_its_batch_and_creates_its_uploads_and_can_do_no_more(connection: str, store: Store) -> None:
    link = sharing.share(store, connection, sharing.Order("ann", 2), time.time())
    linked = open_linked(link)
    mine, others = sorted(link.read_images), sorted(set(IMAGES) - set(link.read_images))
    assert linked.images.read(mine[0]).content == store.images.read(mine[0]).content
    upload = layout.batch_reviewed(link.batch)
    linked.labels.create(upload, b"mine")
    assert linked.labels.read(upload).content == b"mine"
    for refused in (
        lambda: linked.images.read(others[0]),
        lambda: linked.labels.read(layout.STATE),
        lambda: linked.images.create("new.jpg", b"1"),
        lambda: linked.images.create(mine[0], b"1"),
        lambda: linked.labels.create(upload, b"other"),
        lambda: linked.labels.replace(upload, b"other", linked.labels.read(upload).etag),
        lambda: linked.labels.create(layout.batch_reviewed("other"), b"1"),
        lambda: list(linked.labels.list()),
        lambda: linked.queues.send("work", "a"),
    ):
        with pytest.raises(Exception, match=r".") as caught:
            refused()
        assert not SECRETS.search(str(caught.value))
    assert store.labels.read(upload).content == b"mine"


def test_a_signature_opens_nothing_but_its_blob(connection: str, store: Store) -> None:
    link = sharing.share(store, connection, sharing.Order("ann", 2), time.time())
    first, second = sorted(link.read_images)
    swapped = replace(link, read_images={second: link.read_images[first]}, read_labels={layout.STATE: link.read_labels[layout.PROJECT]})
    for read in (lambda: open_linked(swapped).images.read(second), lambda: open_linked(swapped).labels.read(layout.STATE)):
        with pytest.raises((Refused, UserError)):
            read()


def test_a_link_that_ran_out_says_what_to_do(tmp_path: Path, connection: str, store: Store, terminal: Terminal) -> None:
    link = sharing.share(store, connection, sharing.Order("ann", 2), time.time() - 10 * 3600)
    (tmp_path / "old.link").write_text(json.dumps(link.to_json()))
    ran = terminal.tagger("download", 2, "--link", tmp_path / "old.link", "--to", tmp_path / "monday")
    assert "was valid until" in ran.sentence and f"--batch {link.batch}" in ran.sentence and not SECRETS.search(ran.sentence)
    assert terminal.activelearning("share", connection, "--batch", link.batch, "--to", tmp_path / "new.link").code == 0
    assert terminal.tagger("download", 2, "--link", tmp_path / "new.link", "--to", tmp_path / "monday").code == 0


def test_a_link_that_runs_out_in_the_middle_is_renewed(connection: str, store: Store) -> None:
    old = sharing.share(store, connection, sharing.Order("ann", 2), time.time() - 10 * 3600)
    asked = []

    def renew() -> Link:
        asked.append(old.batch)
        return sharing.again(store, connection, old.batch, time.time())

    linked = open_linked(old, renew)
    for name in old.read_images:
        assert linked.images.read(name).content == store.images.read(name).content
    assert asked == [old.batch]


@pytest.fixture
def function(connection: str, store: Store) -> Iterator[str]:
    """The function `batches` behind an address with a key in it, as Azure's host answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                status, content = 200, desk.answer(store, connection, body, time.time())
            except UserError as error:
                status, content = 409, {"error": str(error)}
            answer = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api/batches?code=SECRET"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_functions_address_is_a_link_too(tmp_path: Path, store: Store, function: str, terminal: Terminal) -> None:
    ran = terminal.tagger("download", 3, "--link", function, "--to", tmp_path / "monday", "--as", "ann")
    assert ran.code == 0 and "3 images" in ran.out
    (batch,) = state.load(store.labels).batches.values()
    assert (batch.tagger, len(batch.claimed)) == ("ann", 3)
    freed = terminal.tagger("release", tmp_path / "monday", "--link", function, "--json")
    assert freed.value["images"] == 3
    assert "SECRET" not in (tmp_path / "monday" / "batch.json").read_text("utf-8") + ran.out + ran.err


def test_two_taggers_at_the_function_share_no_image(tmp_path: Path, store: Store, function: str, terminal: Terminal) -> None:
    for name in ("ann", "bob"):
        assert terminal.tagger("download", 2, "--link", function, "--to", tmp_path / name, "--as", name).code == 0
    batches = [{c.image for c in batch.claimed} for batch in state.load(store.labels).batches.values()]
    assert len(batches) == 2 and batches[0].isdisjoint(batches[1])
    assert "every image of the pool" in terminal.tagger("download", 2, "--link", function, "--to", tmp_path / "x", "--as", "eve").sentence


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"[1]", "not one JSON object"),
        (b'{"tagger": "ann"}', "needs 'tagger' and 'count'"),
        (b'{"tagger": "ann", "count": "4"}', "'count' is '4'"),
        (b'{"tagger": "ann", "count": true}', "'count' is True"),
        (b'{"tagger": "../x", "count": 1}', "not a valid id"),
        (b'{"tagger": "ann", "count": 1, "sql": ""}', "'sql' is nothing"),
        (b'{"tagger": "ann", "count": 0}', "cannot be claimed"),
        (b'{"batch": "../state"}', "not a valid id"),
        (b'{"batch": "20260101T000000-abcdef"}', "share a new one"),
        (b'{"batch": 7}', "must be a text"),
        (b'{"release": "../x"}', "not a valid id"),
    ],
)
def test_a_strange_question_is_one_sentence_and_claims_nothing(connection: str, store: Store, body: bytes, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        desk.answer(store, connection, body, time.time())
    assert not state.load(store.labels).batches


def test_a_directory_has_no_links_and_claims_nothing(tmp_path: Path) -> None:
    local = project(tmp_path, IMAGES)
    with pytest.raises(UserError, match="stores on Azure"):
        sharing.share(local, local.url, sharing.Order("ann", 2), time.time())
    assert not state.load(local.labels).batches


def test_a_link_is_the_same_after_it_was_written(connection: str, store: Store) -> None:
    link = sharing.share(store, connection, sharing.Order("ann", 2), time.time())
    assert links.parse(json.dumps(link.to_json()), "it") == link
    assert not SECRETS.search(repr(link))


@pytest.mark.parametrize("text", ["", "null", "{}", "[" * 5000, '{"activelearning_link": 1}', '{"activelearning_link": 2}'])
def test_what_is_no_link_is_one_sentence(text: str) -> None:
    with pytest.raises(FormatError, match="ask for it again"):
        links.parse(text, "ann.link")


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": "../x"},
        {"endpoint": "http://evil.example"},
        {"endpoint": "http://127.0.0.1:1@evil.example"},
        {"endpoint": "https://[::1"},
        {"valid_until": 1e308},
        {"expires_at": float("nan")},
        {"images_container": ""},
        {"count": "4"},
        {"read_images": {"../../x": "sig"}},
        {"read_images": {"x": 4}},
        {"read_images": []},
        {"rows": 4},
        {"extra": 1},
    ],
)
def test_a_link_that_was_tampered_with_is_refused(connection: str, store: Store, changes: dict[str, object]) -> None:
    link = sharing.share(store, connection, sharing.Order("ann", 2), time.time())
    with pytest.raises(UserError):
        links.parse(json.dumps(link.to_json() | changes), "ann.link")


def test_an_unknown_blob_is_missing_through_a_link(connection: str, store: Store) -> None:
    linked = open_linked(sharing.share(store, connection, sharing.Order("ann", 2), time.time()))
    with pytest.raises(BlobMissing):
        linked.images.read("elsewhere.jpg")


def test_a_link_that_stops_working_in_the_middle_costs_no_image(
    tmp_path: Path, connection: str, store: Store, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = sharing.share(store, connection, sharing.Order("ann", 3), time.time())
    good, bad = sorted(link.read_images)[0], sorted(link.read_images)[1:]
    damaged = replace(link, read_images=link.read_images | dict.fromkeys(bad, link.read_images[good]))
    (tmp_path / "bad.link").write_text(json.dumps(damaged.to_json()))
    ran = terminal.tagger("download", 3, "--link", tmp_path / "bad.link", "--to", tmp_path / "monday")
    assert "refuses" in ran.sentence and not store.labels.exists(layout.batch_totag(link.batch))
    assert terminal.activelearning("share", connection, "--batch", link.batch, "--to", tmp_path / "new.link").code == 0
    assert terminal.tagger("download", 3, "--link", tmp_path / "new.link", "--to", tmp_path / "monday", "--json").value["images"] == 3


def test_what_was_reviewed_by_link_can_be_handed_in_after_the_claim_is_over(
    tmp_path: Path, connection: str, store: Store, terminal: Terminal
) -> None:
    terminal.activelearning("share", connection, 2, "--as", "ann", "--to", tmp_path / "ann.link")
    terminal.tagger("download", 2, "--link", tmp_path / "ann.link", "--to", tmp_path / "monday")
    (batch,) = state.load(store.labels).batches
    steps.give_back(store, batch, "ann", time.time())
    mark_reviewed(tmp_path / "monday")
    assert terminal.activelearning("share", connection, "--batch", batch, "--to", tmp_path / "late.link").code == 0
    done = terminal.tagger("upload", tmp_path / "monday", "--link", tmp_path / "late.link", "--json")
    assert done.value["handed_in"] == 2


def test_a_damaged_handout_does_not_stop_a_link(tmp_path: Path, connection: str, store: Store, terminal: Terminal) -> None:
    terminal.activelearning("share", connection, 2, "--as", "ann", "--to", tmp_path / "ann.link")
    (batch,) = state.load(store.labels).batches
    name = layout.batch_handout(batch)
    store.labels.replace(name, b"{", store.labels.read(name).etag)
    assert terminal.activelearning("share", connection, "--batch", batch, "--to", tmp_path / "new.link").code == 0
    value = terminal.tagger("download", 2, "--link", tmp_path / "new.link", "--to", tmp_path / "monday", "--json").value
    assert value["images"] == 2 and f"{name} is damaged" in str(value["problems"])


def test_a_folder_that_cannot_be_used_claims_nothing(tmp_path: Path, store: Store, function: str, terminal: Terminal) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    assert "not an empty folder" in terminal.tagger("download", 2, "--link", function, "--to", tmp_path / "full").sentence
    assert not state.load(store.labels).batches


def test_an_answer_that_was_lost_is_asked_for_again_and_claims_once(
    tmp_path: Path, connection: str, store: Store, function: str, terminal: Terminal
) -> None:
    folder = tmp_path / "monday"
    with flaky.losing_answers(function, b"POST", 1) as proxy:
        lossy = re.sub(r":\d+/", f":{proxy.port}/", function)
        assert "does not answer" in terminal.tagger("download", 9, "--link", lossy, "--to", folder, "--as", "ann").sentence
        assert terminal.tagger("download", 9, "--link", lossy, "--to", folder, "--as", "ann", "--json").value["images"] == 4
    (batch,) = state.load(store.labels).batches.values()
    assert batch.id == json.loads((folder / "batch.json").read_text("utf-8"))["batch"]


def test_a_create_by_link_whose_answer_was_lost_has_happened_once(connection: str, store: Store) -> None:
    link = sharing.share(store, connection, sharing.Order("ann", 1), time.time())
    name = layout.batch_reviewed(link.batch)
    with flaky.losing_answers(link.endpoint, b"PUT", 1) as proxy:
        linked = open_linked(replace(link, endpoint=re.sub(r":\d+/", f":{proxy.port}/", link.endpoint)))
        linked.labels.create(name, b"mine")
    assert store.labels.read(name).content == b"mine"
    with pytest.raises(BlobExists):
        open_linked(link).labels.create(name, b"other")


def test_many_threads_renew_a_link_once(connection: str, store: Store) -> None:
    old = sharing.share(store, connection, sharing.Order("ann", 4), time.time() - 10 * 3600)
    asked = []

    def renew() -> Link:
        asked.append(1)
        return sharing.again(store, connection, old.batch, time.time())

    linked = open_linked(old, renew)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: linked.images.read(name), list(old.read_images) * 4))
    assert asked == [1]


@pytest.mark.parametrize(
    "where",
    [
        "http://app.example/api?code=SECRET",
        "HTTP://127.0.0.1.evil.com/?code=SECRET",
        "ftp://x/?code=SECRET",
        "https://a@127.0.0.1/?code=SECRET",
    ],
)
def test_what_is_no_link_is_not_repeated(tmp_path: Path, terminal: Terminal, where: str) -> None:
    ran = terminal.tagger("download", 2, "--link", where, "--to", tmp_path / "monday")
    assert "SECRET" not in ran.sentence and "https://" in ran.sentence


def test_a_mistyped_command_line_repeats_no_key(capsys: pytest.CaptureFixture[str], connection: str) -> None:
    for arguments in (["share", "40", connection], ["upload"], ["share", connection, "--nonsense", connection]):
        with pytest.raises(SystemExit):
            activelearning_cli.main(arguments)
        assert azurite.KEY not in capsys.readouterr().err


def test_a_file_that_cannot_be_made_claims_nothing(tmp_path: Path, connection: str, store: Store, terminal: Terminal) -> None:
    assert terminal.activelearning("share", connection, 2, "--as", "ann", "--to", tmp_path / "no" / "x.link").code == 1
    assert not state.load(store.labels).batches
    terminal.activelearning("share", connection, 99_999, "--as", "ann", "--to", tmp_path / "x.link")
    assert not (tmp_path / "x.link").exists()


def test_a_link_hands_out_the_same_drafts_and_says_how_long_they_take(
    tmp_path: Path, connection: str, store: Store, terminal: Terminal, function: str
) -> None:
    rows = [ImageLabels(name, WIDTH, HEIGHT, (CAT, DOG), Review.UNOPENED) for name in IMAGES]
    store.labels.create("totag/main/9.csv", table.table_bytes(rows))
    before = commits.latest(store.labels)
    assert before
    made = replace(before, sequence=before.sequence + 1, job="train-9", run="main/9", model="main/1", totag="totag/main/9.csv")
    made = replace(made, drafts_of="main/1")
    assert commits.publish(store.labels, made, before.sequence)
    # the dog has 0.6
    store.labels.create(layout.drafts("main/1"), drafts_record.to_json(learned(thresholds={"cat": 0.5, "dog": 0.7})))
    link = tmp_path / "ann.link"
    terminal.activelearning("share", connection, 2, "--as", "ann", "--to", link)
    by_file = terminal.tagger("download", 2, "--link", link, "--to", tmp_path / "file", "--json").value
    by_function = terminal.tagger("download", 1, "--link", function, "--to", tmp_path / "function", "--as", "bob", "--json").value
    by_store = terminal.tagger("download", 1, "--store", connection, "--to", tmp_path / "store", "--json").value
    assert [value["drafts"] for value in (by_file, by_function, by_store)] == [2, 1, 1]
    one = by_store["expected_seconds"]
    assert isinstance(one, float) and one > 0
    assert by_function["expected_seconds"] == one and by_file["expected_seconds"] == pytest.approx(2 * one, abs=0.11)
    mark_reviewed(tmp_path / "file")
    done = terminal.tagger("upload", tmp_path / "file", "--link", link, "--json").value
    assert done["kept"] == 2 and done["seconds"] == pytest.approx(2 * (1.5 + 1.6))
    assert done["expected_seconds"] == by_file["expected_seconds"]
