"""`tagger download --review`: labelled images again, with what the model doubts beside them."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from activelearning import commits, handouts, layout, state, suspicions, table
from activelearning.labels import HUMAN, HUMAN_CONFIRMED, Box, ImageLabels, Review
from activelearning.store import Store
from activelearning.suspicions import Suspicion
from tests.tagger.batches import CAT, DOG, HEIGHT, WIDTH, Terminal, files_of, in_memory, project, review, rounded, uploads
from tests.tagger.test_killed import killed

DRAWN = replace(DOG, confidence=None, source=HUMAN)
FAINT = replace(CAT, confidence=0.1, source=HUMAN_CONFIRMED)
MISSED = Suspicion("missed", Box("dog", 0.5, 0.5, 0.75, 0.875), "dog", 0.91)
SWAPPED = Suspicion("swapped", Box("cat", *CAT.xyxy), "dog", 0.254)
TOOLS = ("vott", "vott2", "cvat", "coco")


def doubted(place: Path | str, names: list[str] | None = None) -> Store:
    """A project with a pool of two images, and a list of reviewed ones whose labels a model doubts."""
    listed = names or ["r1.jpg", "r2.jpg", "r3.jpg"]
    store = project(place, ["p1.jpg", "p2.jpg", *listed])
    commit = commits.latest(store.labels)
    assert commit is not None
    name = layout.review(commit.run)
    why = {"acquisition_score": 1.2, "chosen_for": "1.2 label errors expected"}
    labels = [ImageLabels(image, WIDTH, HEIGHT, (FAINT, DRAWN), Review.UNOPENED, **why) for image in listed]  # type: ignore[arg-type]
    found = [(image, (MISSED, SWAPPED) if number == 0 else ()) for number, image in enumerate(listed)]
    store.labels.create(layout.suspicions(name), suspicions.to_bytes(found))
    store.labels.create(name, table.table_bytes(labels))
    return store


def pointed_at(folder: Path) -> list[dict[str, str]]:
    with (folder / "suspicions.csv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("tool", TOOLS)
def test_hands_out_every_label_and_says_what_is_doubted(tmp_path: Path, terminal: Terminal, tool: str) -> None:
    store = doubted(in_memory(tmp_path))
    folder = tmp_path / "again"
    ran = terminal.tagger("download", 2, "--review", "--store", store.url, "--to", folder, "--tool", tool)
    assert ran.code == 0 and not ran.err
    assert ran.out.splitlines()[-1] == f"what the model doubts in each is in {folder / 'suspicions.csv'}"
    assert files_of(folder) == {"r1.jpg": "0001_r1.jpg", "r2.jpg": "0002_r2.jpg"}
    (batch,) = state.load(store.labels).batches.values()
    handout = handouts.read(store.labels, batch.id)
    assert handout is not None and (handout.tagger, handout.model, handout.images) == (batch.tagger, "", {})
    drafts = table.read_labels(store.labels.read(layout.batch_totag(batch.id)).content.decode(), "totag").images
    # a label stays whatever confidence it once had as a draft
    assert [[box.label for box in labels.boxes] for labels in drafts] == [["cat", "dog"], ["cat", "dog"]]
    assert all(labels.review is Review.UNOPENED for labels in drafts)
    assert pointed_at(folder) == [
        dict(zip(("file", "kind", "class", "seen_as", "xmin", "ymin", "xmax", "ymax", "probability"), row, strict=True))
        for row in (
            ("0001_r1.jpg", "missed", "dog", "dog", "32", "24", "48", "42", "0.91"),
            ("0001_r1.jpg", "swapped", "cat", "dog", "8", "8", "24", "24", "0.25"),
        )
    ]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_correction_is_handed_in_as_ever_and_what_nobody_opened_is_not(tmp_path: Path, terminal: Terminal, tool: str) -> None:
    store = doubted(in_memory(tmp_path))
    folder = tmp_path / "again"
    terminal.tagger("download", 3, "--review", "--store", store.url, "--to", folder, "--tool", tool)
    corrected = [("dog", 8, 8, 24, 24), ("dog", 32, 16, 56, 40)]
    given = review(folder, {"r1.jpg": corrected, "r3.jpg": []})
    assert terminal.tagger("upload", folder, *given).code == 0
    (handed,) = uploads(store).values()
    assert set(handed) == {"r1.jpg", "r3.jpg"} and rounded(handed["r1.jpg"]) == corrected and not handed["r3.jpg"].boxes
    assert [box.source for box in handed["r1.jpg"].boxes] == [HUMAN, HUMAN_CONFIRMED]
    assert terminal.tagger("upload", folder, *given).out.startswith("nothing new since the last upload")
    assert terminal.tagger("release", folder).out.startswith("1 image given back")
    again = terminal.tagger("download", 9, "--review", "--store", store.url, "--to", tmp_path / "more", "--json").value
    assert again["images"] == 1 and files_of(tmp_path / "more").keys() == {"r2.jpg"}


def test_two_taggers_and_the_pool_share_no_image(tmp_path: Path, terminal: Terminal) -> None:
    store = doubted(in_memory(tmp_path))
    for name, more in (("ann", ["--review"]), ("bob", ["--review"]), ("eve", [])):
        assert terminal.tagger("download", 2, "--store", store.url, "--to", tmp_path / name, "--as", name, *more).code == 0
    images = [set(files_of(tmp_path / name)) for name in ("ann", "bob", "eve")]
    assert images == [{"r1.jpg", "r2.jpg"}, {"r3.jpg"}, {"p1.jpg", "p2.jpg"}]
    assert not (tmp_path / "eve" / "suspicions.csv").exists()


def test_what_cannot_be_done_is_one_sentence(tmp_path: Path, terminal: Terminal) -> None:
    store = doubted(in_memory(tmp_path))
    ask = ("download", 1, "--review", "--to", tmp_path / "x")
    assert "leave them out" in terminal.tagger(*ask, "--store", store.url, "--min-confidence", 0.5).sentence
    assert terminal.tagger(*ask, "--link", "a.link").sentence == "a link hands out images of the pool only: --review needs --store"
    assert "no image that is free matches" in terminal.tagger(*ask, "--store", store.url, "--folder", "nowhere").sentence
    older = project(f"{in_memory(tmp_path)}-older", ["p.jpg"])
    assert terminal.tagger(*ask, "--store", older.url).sentence.startswith("there is no list of doubtful labels: each training writes one")
    assert not (tmp_path / "x").exists() and not state.load(store.labels).batches


def test_a_download_that_was_cut_off_goes_on_as_what_it_was(tmp_path: Path, terminal: Terminal) -> None:
    store = doubted(in_memory(tmp_path))
    folder = tmp_path / "x"
    terminal.tagger("download", 2, "--review", "--store", store.url, "--to", folder)
    manifest = json.loads((folder / "batch.json").read_text())
    (folder / "batch.json").write_text(json.dumps(manifest | {"ready": False}))
    (folder / "suspicions.csv").unlink()
    again = f"`tagger download 2 --review --store {store.url} --to {folder} --tool vott`"
    assert again in terminal.tagger("download", 2, "--store", store.url, "--to", folder).sentence
    assert again in terminal.tagger("status", folder).out
    assert terminal.tagger("download", 2, "--review", "--store", store.url, "--to", folder).code == 0
    assert len(pointed_at(folder)) == 2 and len(state.load(store.labels).batches) == 1


def test_a_replaced_image_comes_without_its_labels_and_says_so(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), ["a.jpg"])
    commit = commits.latest(store.labels)
    assert commit is not None
    labels = ImageLabels("a.jpg", WIDTH, HEIGHT, (DRAWN,), Review.UNOPENED, "0" * 64)
    store.labels.create(layout.review(commit.run), table.table_bytes([labels]))
    ran = terminal.tagger("download", 1, "--review", "--store", store.url, "--to", tmp_path / "x")
    assert ran.code == 0 and "it was replaced" in ran.err
    # a list whose suspicions are gone is still a list
    assert pointed_at(tmp_path / "x") == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_step_the_same_command_ends_in_the_same_state(tmp_path: Path) -> None:
    for step in range(1, 80):
        place, folder = tmp_path / f"store-{step}", tmp_path / f"batch-{step}"
        store = doubted(place)
        arguments = ["download", "2", "--review", "--store", str(place), "--to", str(folder), "--as", "ann"]
        died = killed(arguments, step)
        if died:
            assert not killed(arguments, 10**6)
        assert [[c.image for c in batch.claimed] for batch in state.load(store.labels).batches.values()] == [["r1.jpg", "r2.jpg"]]
        assert json.loads((folder / "batch.json").read_text())["ready"] and len(pointed_at(folder)) == 2
        if not died:
            return
    raise AssertionError("the command never came to its end")
