"""The diff of every batch that came back: against the drafts that were handed out, by batch, class, tagger and day."""

import csv
import json
from pathlib import Path

import pytest

from activelearning import batch_diffs, cli, handouts, layout, onboarding, table
from activelearning.batch_diffs import ADDED, DELETED, KEPT, NUDGED, RELABELLED, BatchDiff
from activelearning.claims import Wanted
from activelearning.diff import Totals
from activelearning.errors import UserError
from activelearning.handouts import Offer
from activelearning.labels import HUMAN, MODEL, Box, ImageLabels, Review
from activelearning.settings import Settings
from activelearning.state import Batch, Claimed, State
from activelearning.store import Store, open_store
from tests.core.learned import LEARNED

SETTINGS = Settings(("cat", "dog"))
DAY = 86_400.0


def box(label: str, at: float, wide: float = 0.1, source: str = MODEL, confidence: float | None = 0.8) -> Box:
    return Box(label, at, 0.2, at + wide, 0.4, confidence, source)


def image(name: str, *boxes: Box, review: Review = Review.UNOPENED) -> ImageLabels:
    return ImageLabels(name, 1000, 1000, boxes, review)


def reviewed(name: str, *boxes: Box) -> ImageLabels:
    return image(name, *boxes, review=Review.REVIEWED)


def mine(label: str, at: float, wide: float = 0.1) -> Box:
    return box(label, at, wide, HUMAN, None)


DRAFTS = (box("cat", 0.1), box("cat", 0.3), box("dog", 0.5), box("dog", 0.7))


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Store:
    made = open_store(f"memory:{request.node.name}")
    onboarding.create_project(made, SETTINGS)
    return made


def hand_out(
    store: Store, batch: str, *images: ImageLabels, tagger: str = "ann", offered: Offer | None = None, totag: str = "totag/main/1.csv"
) -> None:
    """As a claim and a download do."""
    claimed = tuple(Claimed(one.image, 0, 1) for one in images)
    handouts.hand_out(store.labels, Batch(batch, tagger, totag, claimed, 5.0, 9.0), images, offered or Offer(totag), SETTINGS, Wanted())
    store.labels.create(layout.batch_totag(batch), table.table_bytes(images))


def hand_in(store: Store, batch: str, *images: ImageLabels, version: int = 1) -> None:
    store.labels.create(layout.batch_reviewed(batch, version), table.table_bytes(images))


def only(store: Store) -> BatchDiff:
    (found,) = batch_diffs.newest(store.labels, 10)
    return found


def test_every_draft_and_every_added_box_is_in_the_diff(store: Store) -> None:
    hand_out(store, "b", image("a.jpg", *DRAFTS), image("empty.jpg", DRAFTS[0]))
    hand_in(store, "b", reviewed("a.jpg", box("cat", 0.1), mine("cat", 0.32), mine("cat", 0.5), mine("cat", 0.9)), reviewed("empty.jpg"))
    found = only(store)
    changes = {(one.what, one.label, one.became) for one in found.changes()}
    assert changes == {
        (KEPT, "cat", "cat"), (NUDGED, "cat", "cat"), (RELABELLED, "dog", "cat"), (DELETED, "dog", ""), (DELETED, "cat", ""),
        (ADDED, "cat", "cat"),
    }  # fmt: skip
    assert found.totals == Totals(1, 1, 1, 1, 2, reviewed_empty=1) and found.drafts == 5
    assert batch_diffs.mean_nudge_iou(found.changes()) == pytest.approx(0.08 / 0.12)
    assert batch_diffs.relabelled(found.changes()) == {("dog", "cat"): 1}
    by_class = batch_diffs.by_class(found.changes())
    assert by_class == {"cat": Totals(1, 1, 0, 1, 1), "dog": Totals(0, 0, 1, 0, 1)}


def test_each_review_is_against_the_drafts_and_of_an_image_the_last_counts(store: Store) -> None:
    hand_out(store, "b", image("a.jpg", *DRAFTS[:2]), image("b.jpg", DRAFTS[0]))
    hand_in(store, "b", reviewed("a.jpg", *DRAFTS[:2]), reviewed("b.jpg", DRAFTS[0]))
    hand_in(store, "b", reviewed("a.jpg", DRAFTS[0]), version=2)
    found = only(store)
    assert found.versions == 2 and found.totals == Totals(kept=2, deleted=1)


def test_images_that_nobody_opened_count_for_nothing(store: Store) -> None:
    hand_out(store, "b", image("a.jpg", DRAFTS[0]), image("b.jpg", DRAFTS[0]))
    hand_in(store, "b", reviewed("a.jpg", DRAFTS[0]), image("b.jpg"))
    assert only(store).totals == Totals(kept=1) and len(only(store).images) == 1


def test_imported_labels_and_batches_that_are_out_are_no_diffs(store: Store) -> None:
    hand_in(store, "import-1", reviewed("a.jpg", DRAFTS[0]))
    hand_out(store, "out", image("b.jpg", DRAFTS[0]))
    assert batch_diffs.listed(store.labels) == [] and batch_diffs.newest(store.labels, 5) == []


def test_labels_that_were_looked_at_again_are_no_drafts(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    hand_out(store, "again", image("a.jpg", mine("cat", 0.1)), totag=layout.review("main/1"))
    hand_in(store, "again", reviewed("a.jpg"))
    assert batch_diffs.newest(store.labels, 10) == []
    assert json.loads(_ran(store, capsys, "--json")[1])["rows"] == []
    (row,) = json.loads(_ran(store, capsys, "--batch", "again", "--json")[1])["rows"]
    assert (row["key"], row["deleted"]) == ("again", 1)


def test_a_batch_of_an_older_version_has_an_unknown_tagger(store: Store) -> None:
    store.labels.create(layout.batch_totag("old"), table.table_bytes([image("a.jpg", DRAFTS[0])]))
    hand_in(store, "old", reviewed("a.jpg", DRAFTS[0]))
    found = only(store)
    assert (found.tagger, found.handout, found.expected) == ("unknown", None, None) and not found.problems


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b"[1]", b"\xff", b'{"tagger": 1, "model": "", "claimed_at": 1, "images": {}}',
        b'{"tagger": "a\\nb", "model": "", "claimed_at": 1, "images": {}}',
        b'{"tagger": "a", "model": "../../etc", "claimed_at": 1, "images": {}}',
        b'{"tagger": "a", "model": "", "claimed_at": NaN, "images": {}}',
        b'{"tagger": "a", "model": "", "claimed_at": 1, "images": {"a.jpg": [1, 2]}}',
        b'{"tagger": "a", "model": "", "claimed_at": 1' + 400 * b"0" + b', "images": {}}',
        b'{"tagger": "a", "model": "", "claimed_at": 1, "images": {"a.jpg": [1, 2, 1' + 400 * b"0" + b"]}}",
        b'{"tagger": "a", "model": "", "claimed_at": 1, "images": {"a.jpg": [1, 2, -3]}}',
        b'{"tagger": "a", "model": "", "claimed_at": 1, "images": {"a.jpg": [1, 2, "3"]}}',
    ],
)  # fmt: skip
def test_a_damaged_handout_costs_a_warning_and_no_more(store: Store, content: bytes) -> None:
    store.labels.create(layout.batch_handout("b"), content)
    hand_out(store, "b", image("a.jpg", DRAFTS[0]))
    hand_in(store, "b", reviewed("a.jpg", DRAFTS[0]))
    found = only(store)
    assert found.totals == Totals(kept=1) and found.tagger == "unknown" and len(found.problems) == 1
    with pytest.raises(UserError):
        handouts.read(store.labels, "b")


def test_a_damaged_table_costs_its_batch_and_no_other(store: Store) -> None:
    for name in ("b", "c"):
        hand_out(store, name, image(f"{name}.jpg", DRAFTS[0]))
    store.labels.create(layout.batch_reviewed("b"), b"\xff\xfe")
    hand_in(store, "c", reviewed("c.jpg", DRAFTS[0]))
    found = {one.batch: one for one in batch_diffs.newest(store.labels, 5)}
    assert found["b"].problems and not found["b"].images and found["c"].totals == Totals(kept=1)


OFFER = Offer("totag/main/1.csv", "main/1", LEARNED)


def test_a_handout_says_what_is_expected_of_each_image(store: Store) -> None:
    hand_out(store, "b", image("a.jpg", DRAFTS[0]), image("b.jpg"), offered=OFFER)
    found = handouts.read(store.labels, "b")
    assert found and (found.tagger, found.model, found.claimed_at) == ("ann", "main/1", 5.0)
    both, one = found.expected(["a.jpg", "b.jpg"]), found.expected(["b.jpg"])
    # open, 0.6 kept, 0.3 nudged, 0.1 deleted, and half an object that the model never finds
    assert one and one.seconds == pytest.approx(1.5 + 0.5 * 7)
    assert both and both.seconds == pytest.approx(one.seconds * 2 + 0.6 * 1.6 + 0.3 * 4 + 0.1, abs=0.01) and both.images == 2
    assert found.expected(["a.jpg", "z.jpg"]) is None and found.expected([]) is None


def test_drafts_of_another_table_than_is_current_are_of_an_unknown_model(store: Store) -> None:
    hand_out(store, "b", image("a.jpg", DRAFTS[0]), offered=Offer("totag/main/2.csv", "main/2", LEARNED))
    found = handouts.read(store.labels, "b")
    assert found and found.model == "" and not found.images


def test_the_first_handout_of_a_batch_stays(store: Store) -> None:
    hand_out(store, "b", image("a.jpg"))
    batch = Batch("b", "bob", "totag/main/1.csv", (), 7.0, 9.0)
    handouts.hand_out(store.labels, batch, [], OFFER, SETTINGS, Wanted())
    found = handouts.read(store.labels, "b")
    assert found and found.tagger == "ann" and not found.model


def test_the_next_images_are_those_that_nobody_has(store: Store) -> None:
    rows = [image(f"{number}.jpg", DRAFTS[0]) for number in range(5)]
    store.labels.create("totag/main/1.csv", table.table_bytes(rows))
    held = State(totag="totag/main/1.csv").with_batch(Batch("b", "ann", "totag/main/1.csv", (Claimed("0.jpg", 0, 1),), 1.0, 2.0))
    found = handouts.next_images(store.labels, held, OFFER, SETTINGS, 3)
    assert found and found.images == 3
    assert handouts.count_next(store.labels, held, OFFER, 9) == 4 and handouts.count_next(store.labels, held, Offer(), 9) == 0
    assert handouts.next_images(store.labels, held, Offer("totag/main/1.csv"), SETTINGS, 3) is None


def _ran(store: Store, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["diff", store.url, *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def _two_batches(store: Store) -> None:
    hand_out(store, "b1", image("a.jpg", *DRAFTS), offered=OFFER)
    hand_in(store, "b1", reviewed("a.jpg", box("cat", 0.1), mine("cat", 0.32), mine("cat", 0.5)))
    hand_out(store, "b2", image("b.jpg", DRAFTS[0]), image("c.jpg", DRAFTS[2]), tagger="bob")
    hand_in(store, "b2", reviewed("b.jpg", DRAFTS[0]), reviewed("c.jpg", DRAFTS[2], mine("dog", 0.9)))


def test_the_command_shows_a_line_for_each_batch(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    _two_batches(store)
    code, out, err = _ran(store, capsys)
    lines = [line.split() for line in out.splitlines()]
    assert code == 0 and not err
    assert lines[0] == ["batch", "images", "drafts", "kept", "nudged", "IoU", "relabelled", "deleted", "added", "minutes", "expected"]
    # opened 1.5, kept 1.6, nudged and relabelled 4 each, deleted 1
    assert lines[1] == ["b1", "1", "4", "1", "(25%)", "1", "(25%)", "0.67", "1", "(25%)", "1", "(25%)", "0", "0.2", "0.2"]
    assert lines[2][:3] == ["b2", "2", "2"] and lines[2][-1] == "-" and lines[3][:3] == ["all", "3", "6"]
    assert lines[4] == ["relabelled:", "dog", "→", "cat", "1"]


@pytest.mark.parametrize(("by", "keys"), [("batch", ["b1", "b2"]), ("class", ["cat", "dog"]), ("tagger", ["ann", "bob"])])
def test_the_command_counts_by_batch_class_or_tagger(store: Store, capsys: pytest.CaptureFixture[str], by: str, keys: list[str]) -> None:
    _two_batches(store)
    value = json.loads(_ran(store, capsys, "--by", by, "--json")[1])
    assert [row["key"] for row in value["rows"]] == keys and value["by"] == by
    counts = {name: sum(row[name] for row in value["rows"]) for name in ("drafts", "kept", "moved", "relabelled", "deleted", "added")}
    assert counts == {"drafts": 6, "kept": 3, "moved": 1, "relabelled": 1, "deleted": 1, "added": 1}
    assert value["relabelled"] == [{"from": "dog", "to": "cat", "boxes": 1}] and value["problems"] == []


def test_days_are_those_of_the_uploads(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    _two_batches(store)
    (row,) = json.loads(_ran(store, capsys, "--by", "day", "--json")[1])["rows"]
    assert row["batches"] == 2 and row["key"] == only_day(store)


def only_day(store: Store) -> str:
    (day,) = {one.day for one in batch_diffs.newest(store.labels, 9)}
    return day


def test_one_batch_alone(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    _two_batches(store)
    assert [row["key"] for row in json.loads(_ran(store, capsys, "--batch", "b2", "--json")[1])["rows"]] == ["b2"]
    code, _, err = _ran(store, capsys, "--batch", "b3")
    assert code == 1 and err.startswith("error: batch b3 has not come back")
    assert _ran(store, capsys, "--batch", "../x")[0] == 1


def test_the_file_holds_every_box_and_is_a_new_one(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _two_batches(store)
    target = tmp_path / "changes.csv"
    assert _ran(store, capsys, "--to", target)[0] == 0
    rows = list(csv.DictReader(target.read_text("utf-8").splitlines()))
    assert len(rows) == 7 and {row["tagger"] for row in rows} == {"ann", "bob"}
    (moved,) = [row for row in rows if row["change"] == "relabelled"]
    assert (moved["class"], moved["became"], moved["image"], moved["model"], moved["iou"]) == ("dog", "cat", "a.jpg", "main/1", "1.0")
    code, _, err = _ran(store, capsys, "--to", target)
    assert code == 1 and "exists and stays as it is" in err


def test_before_anything_came_back_there_is_a_sentence(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert _ran(store, capsys)[1] == "no batch has come back yet\n"
