"""Drafts that pay, at the tagger's commands: shown from the learned thresholds on, with the time they are expected to take."""

import json
from pathlib import Path

import pytest

from activelearning import commits, drafts_record, handouts, layout, state, table
from activelearning.commits import Commit
from activelearning.labels import ImageLabels, Review
from activelearning.learned_drafts import LearnedDrafts
from activelearning.store import Store
from tests.core.learned import learned
from tests.tagger.batches import HEIGHT, WIDTH, Terminal, draft, in_memory, project, review

SURE, UNSURE, DOG = draft("cat", (8, 8, 24, 24), 0.7), draft("cat", (30, 8, 46, 24), 0.45), draft("dog", (32, 26, 56, 40), 0.35)
NAMES = [f"{number}.jpg" for number in range(4)]


def with_model(store: Store, record: LearnedDrafts | bytes | None, drafts_of: str = "main/1") -> None:
    """List the pool anew, as of the model main/1, of whose drafts this was learned; `drafts_of` is what the commit says of it."""
    rows = [ImageLabels(name, WIDTH, HEIGHT, (SURE, UNSURE, DOG), Review.UNOPENED) for name in NAMES]
    store.labels.create("totag/main/9.csv", table.table_bytes(rows))
    before = commits.latest(store.labels)
    assert before
    made = Commit(before.sequence + 1, "train-9", "main/9", "main/1", "totag/main/9.csv", "", 1.0, len(NAMES), 0, 1.0, drafts_of=drafts_of)
    assert commits.publish(store.labels, made, before.sequence)
    if record is not None:
        store.labels.create(layout.drafts("main/1"), record if isinstance(record, bytes) else drafts_record.to_json(record))


def shown(store: Store, batch: str) -> list[tuple[str, float | None]]:
    """Class and confidence of the drafts of the batch's first image."""
    name = layout.batch_totag(batch)
    first = table.read_labels(store.labels.read(name).content.decode(), name).images[0]
    return [(box.label, box.confidence) for box in first.boxes]


@pytest.mark.parametrize(
    ("record", "settings", "options", "expected"),
    [
        (learned(), "", (), [("cat", 0.7), ("dog", 0.35)]),
        (learned(), "", ("--min-confidence", "0.4"), [("cat", 0.7), ("cat", 0.45)]),
        (learned(), "", ("--max-confidence", "0.5"), [("dog", 0.35)]),
        (learned(), "[drafts]\nlearned = false\nmin_confidence = 0.5\n", (), [("cat", 0.7)]),
        (None, "", (), [("cat", 0.7), ("cat", 0.45)]),
    ],
    ids=["learned", "the tagger's least confidence wins", "the tagger's most confidence too", "switched off", "no record"],
)
def test_drafts_are_shown_from_their_thresholds_on(
    tmp_path: Path, terminal: Terminal, record: LearnedDrafts | None, settings: str, options: tuple[str, ...], expected: list[object]
) -> None:
    store = project(in_memory(tmp_path), NAMES)
    if settings:
        store.labels.replace(layout.PROJECT, f'classes = ["cat", "dog"]\n{settings}'.encode(), store.labels.read(layout.PROJECT).etag)
    with_model(store, record)
    value = terminal.tagger("download", 2, "--store", store.url, "--to", tmp_path / "x", *options, "--json").value
    assert shown(store, str(value["batch"])) == expected
    assert (value["expected_seconds"] is None) is (record is None)


# of an image: open 1.5; the cat 0.6 kept, 0.3 nudged, 0.1 deleted; the dog 0.25 kept, 0.25 nudged, 0.5 deleted; the hidden cat is an
# object in 0.2 of cases, and half an object has no box at all
SECONDS = 1.5 + (0.6 * 1.6 + 0.3 * 4 + 0.1) + (0.25 * 1.6 + 0.25 * 4 + 0.5) + (0.2 + 0.5) * 7
DRAWING = 1.5 + (0.9 + 0.2 + 0.5 + 0.5) * 7


def test_a_batch_says_how_long_it_will_take_and_then_how_long_it_took(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), NAMES)
    with_model(store, learned())
    ran = terminal.tagger("download", 2, "--store", store.url, "--to", tmp_path / "x")
    assert ran.out.splitlines()[1] == f"2 images: about {2 * SECONDS:.0f} seconds (drawing all: {2 * DRAWING:.0f} seconds)"
    review(tmp_path / "x", {NAMES[0]: [("cat", 8, 8, 24, 24)]})
    done = terminal.tagger("upload", tmp_path / "x")
    # opened one image, kept the cat, deleted the dog
    assert done.out.splitlines()[2] == f"about 4 seconds of work by the cost model; {SECONDS:.0f} seconds were expected"
    again = terminal.tagger("upload", tmp_path / "x", "--json").value
    assert again["seconds"] == pytest.approx(4.1) and again["expected_seconds"] == pytest.approx(SECONDS, abs=0.06)


def test_costs_of_the_project_count(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), NAMES)
    text = b'classes = ["cat", "dog"]\n[costs]\nopen = 100\ndelete = 50\n'
    store.labels.replace(layout.PROJECT, text, store.labels.read(layout.PROJECT).etag)
    with_model(store, learned())
    value = terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "x", "--json").value
    assert value["expected_seconds"] == pytest.approx(SECONDS + 98.5 + 0.6 * 49, abs=0.06)
    review(tmp_path / "x", {NAMES[0]: []})
    assert terminal.tagger("upload", tmp_path / "x", "--json").value["seconds"] == 200


def test_the_next_images_and_the_last_ones_are_told_by_both_status_commands(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), NAMES)
    with_model(store, learned())
    terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "x")
    sentence = f"3 images: about {3 * SECONDS:.0f} seconds (drawing all: {3 * DRAWING:.0f} seconds)"
    assert f"the next {sentence}" in terminal.tagger("status", "--store", store.url).out
    out = terminal.activelearning("status", store.url).out
    assert f"next       {sentence}" in out
    assert (
        "returned   12 images: kept 30, moved 4, relabelled 1, added 8, deleted 5; 5 minutes by the cost model, 5 minutes were expected"
        in out
    )
    for value in (
        terminal.tagger("status", "--store", store.url, "--json").value,
        terminal.activelearning("status", store.url, "--json").value,
    ):
        drafts = value["drafts"]
        assert isinstance(drafts, dict) and drafts["next_images"] == 3 and drafts["next_seconds"] == pytest.approx(3 * SECONDS)


def test_a_model_without_a_record_tells_what_drawing_takes(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), NAMES)
    with_model(store, None)
    assert terminal.tagger("status", "--store", store.url).out == "no image is with a tagger\n"
    store.labels.create(layout.model("main/1", "model.json"), json.dumps({"labelled_images": 10, "labelled_boxes": 30}).encode())
    # four images to open, three boxes each to draw
    assert (
        terminal.tagger("status", "--store", store.url).out
        == "no image is with a tagger\nthe next 4 images: about 2 minutes, drawing every box\n"
    )


def test_drafts_of_another_or_of_several_models_are_shown_as_if_nothing_was_learned(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), NAMES)
    with_model(store, learned(), drafts_of="")
    store.labels.create(layout.model("main/1", "model.json"), json.dumps({"labelled_images": 10, "labelled_boxes": 30}).encode())
    value = terminal.tagger("download", 2, "--store", store.url, "--to", tmp_path / "x", "--json").value
    assert shown(store, str(value["batch"])) == [("cat", 0.7), ("cat", 0.45)] and value["expected_seconds"] is None
    handout = handouts.read(store.labels, str(value["batch"]))
    assert handout and handout.model == "" and not handout.images
    # two images to open, three boxes each to draw
    assert "the next 2 images: about 45 seconds, drawing every box" in terminal.tagger("status", "--store", store.url).out
    older = project(f"{in_memory(tmp_path)}-older", NAMES)
    with_model(older, learned(), drafts_of="main/0")
    older.labels.create(layout.drafts("main/0"), drafts_record.to_json(learned(run="main/0", thresholds={"cat": 0.6, "dog": 0.6})))
    value = terminal.tagger("download", 2, "--store", older.url, "--to", tmp_path / "y", "--json").value
    handout = handouts.read(older.labels, str(value["batch"]))
    assert shown(older, str(value["batch"])) == [("cat", 0.7)] and handout and handout.model == "main/0"


HUGE = 10**400


@pytest.mark.parametrize("card", [{"labelled_images": HUGE, "labelled_boxes": 3}, {"labelled_images": 3, "labelled_boxes": "x"}])
def test_a_senseless_model_card_is_one_sentence_of_status(tmp_path: Path, terminal: Terminal, card: dict[str, object]) -> None:
    store = project(in_memory(tmp_path), NAMES)
    with_model(store, None)
    store.labels.create(layout.model("main/1", "model.json"), json.dumps(card).encode())
    out = terminal.activelearning("status", store.url).out
    (line,) = [line for line in out.splitlines() if line.startswith("attention  models/main/1/model.json is damaged (ValueError: ")]
    assert len(line) < 200


DAMAGED_HANDOUTS = [b'{"tagger":"a"}', json.dumps({"tagger": "a", "model": "", "claimed_at": HUGE, "images": {}}).encode()]


def damage_handout(store: Store, batch: str, content: bytes) -> None:
    name = layout.batch_handout(batch)
    store.labels.replace(name, content, store.labels.read(name).etag)


@pytest.mark.parametrize("content", DAMAGED_HANDOUTS)
def test_a_damaged_handout_keeps_no_upload_from_being_noted(tmp_path: Path, terminal: Terminal, content: bytes) -> None:
    store = project(in_memory(tmp_path), NAMES)
    with_model(store, learned())
    value = terminal.tagger("download", 2, "--store", store.url, "--to", tmp_path / "x", "--json").value
    damage_handout(store, str(value["batch"]), content)
    review(tmp_path / "x", {NAMES[0]: [("cat", 8, 8, 24, 24)]})
    done = terminal.tagger("upload", tmp_path / "x", "--json").value
    (problem,) = done["problems"]  # type: ignore[misc]
    assert done["handed_in"] == 1 and done["expected_seconds"] is None and "handout.json is damaged" in str(problem)
    assert list(state.load(store.labels).uploads) == [done["upload"]]
    assert json.loads((tmp_path / "x" / "batch.json").read_text())["uploaded"] == [done["upload"]]
    assert terminal.tagger("upload", tmp_path / "x", "--json").value["handed_in"] == 0


def _cut_off_at(step: str, store: Store, folder: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that its user stops at a step of the handouts."""

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"activelearning.handouts.{step}", cut_off)
        assert terminal.tagger("download", 2, "--store", store.url, "--to", folder / "x").code == 130


def test_a_download_goes_on_without_a_handout_that_cannot_be_read(
    tmp_path: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = project(in_memory(tmp_path), NAMES)
    with_model(store, learned())
    _cut_off_at("if_intact", store, tmp_path, terminal, monkeypatch)
    (batch,) = state.load(store.labels).batches
    damage_handout(store, batch, DAMAGED_HANDOUTS[0])
    value = terminal.tagger("download", 2, "--store", store.url, "--to", tmp_path / "x", "--json").value
    assert value["images"] == 2 and value["expected_seconds"] is None and "handout.json is damaged" in str(value["problems"])
    assert shown(store, batch) == [("cat", 0.7), ("cat", 0.45)]


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1]", b'{"other": NaN}', drafts_record.to_json(learned()).replace(b'"seconds": ', b'"seconds": 1' + 400 * b"0")],
)
def test_a_damaged_record_is_one_sentence_and_claims_nothing(tmp_path: Path, terminal: Terminal, content: bytes) -> None:
    store = project(in_memory(tmp_path), NAMES)
    with_model(store, content)
    said = terminal.tagger("download", 2, "--store", store.url, "--to", tmp_path / "x").sentence
    assert said.startswith("models/main/1/drafts.json is damaged") and "delete it" in said and not (tmp_path / "x").exists()
    assert "no image is with a tagger" in terminal.tagger("status", "--store", store.url).out
    assert "attention  models/main/1/drafts.json is damaged" in terminal.activelearning("status", store.url).out


def test_a_download_that_was_cut_off_before_its_handout_goes_on(
    tmp_path: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = project(in_memory(tmp_path), NAMES)
    with_model(store, learned())
    _cut_off_at("hand_out", store, tmp_path, terminal, monkeypatch)
    value = terminal.tagger("download", 2, "--store", store.url, "--to", tmp_path / "x", "--json").value
    assert value["images"] == 2 and value["expected_seconds"] == pytest.approx(2 * SECONDS, abs=0.06)
    assert shown(store, str(value["batch"])) == [("cat", 0.7), ("dog", 0.35)]
