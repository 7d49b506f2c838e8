"""`tagger release` and `tagger status`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from activelearning import state, steps
from tests.tagger.batches import Terminal, in_memory, list_pool, project, review
from tests.tagger.test_upload import KEPT, batch


def test_release_frees_the_images_and_leaves_the_files(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg", "b.jpg"])
    before = sorted(folder.rglob("*"))
    assert terminal.tagger("release", folder).out == f"2 images given back; the files in {folder} are untouched\n"
    assert before == sorted(folder.rglob("*")) and not state.load(store.labels).batches
    assert terminal.tagger("release", folder, "--json").value["images"] == 0
    assert "it was given back" in terminal.tagger("status", folder).out
    assert "which was given back" in terminal.tagger("download", 2, "--store", store.url, "--to", folder).sentence


def test_release_with_reviews_that_are_not_handed_in_is_refused(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg", "b.jpg"])
    review(folder, {"a.jpg": [KEPT]})
    sentence = f"{folder} holds 1 reviewed image not handed in: run `tagger upload {folder}` first, or say --discard-reviews"
    assert terminal.tagger("release", folder).sentence == sentence
    assert len(state.load(store.labels).batches) == 1
    assert terminal.tagger("release", folder, "--discard-reviews").out.startswith("2 images given back")


def test_release_with_a_broken_file_says_how_to_go_on(tmp_path: Path, terminal: Terminal) -> None:
    _, folder = batch(tmp_path, terminal, ["a.jpg"])
    (folder / "images.json").write_text("{")
    assert terminal.tagger("release", folder).sentence.endswith(
        "mend the file, or say --discard-reviews to give the images back all the same"
    )


def test_release_after_an_upload_keeps_what_was_reviewed(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg", "b.jpg"])
    review(folder, {"a.jpg": [KEPT]})
    terminal.tagger("upload", folder)
    assert terminal.tagger("release", folder).out.startswith("1 image given back")
    terminal.tagger("download", 2, "--store", store.url, "--to", tmp_path / "y")
    assert [path.name for path in (tmp_path / "y" / "images").iterdir()] == ["0001_b.jpg"]


def test_release_knows_an_upload_that_no_function_has_heard_of(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg", "b.jpg"])
    review(folder, {"a.jpg": [KEPT]})
    terminal.tagger("upload", folder)
    state.update(store.labels, lambda before: replace(before, uploads={}))
    assert terminal.tagger("release", folder).out.startswith("1 image given back")


def test_a_download_that_was_cut_off_can_be_released(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg"])
    manifest = folder / "batch.json"
    manifest.write_text(manifest.read_text().replace('"ready": true', '"ready": false'))
    assert terminal.tagger("release", folder).out.startswith("1 image given back")
    assert not state.load(store.labels).batches


def test_status_of_a_folder_says_how_far_it_is(tmp_path: Path, terminal: Terminal) -> None:
    _, folder = batch(tmp_path, terminal, ["a.jpg", "b.jpg"])
    review(folder, {"a.jpg": [KEPT]})
    ran = terminal.tagger("status", folder)
    first, second, third = ran.out.splitlines()
    assert first.endswith(": 2 images, 1 not opened, 1 reviewed and not handed in")
    assert second == "kept 1, moved 0, relabelled 0, added 0, deleted 1; 0 images empty, 1 not opened"
    assert third == f"now run `tagger upload {folder}`"
    terminal.tagger("upload", folder)
    value = terminal.tagger("status", folder, "--json").value
    assert (value["images"], value["unopened"], value["not_handed_in"], value["ready"]) == (2, 1, 0, True)


def test_status_of_a_store_says_who_has_what(tmp_path: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg", "b.jpg"])
    monkeypatch.setenv("ACTIVELEARNING_STORE", store.url)
    assert terminal.tagger("status").out.endswith(": ann, 2 of 2 images not handed in, 72 h left\n")
    review(folder, {"a.jpg": [KEPT]})
    terminal.tagger("upload", folder)
    (claim,) = json.loads(terminal.tagger("status", "--store", store.url, "--json").out)["claims"]
    assert (claim["tagger"], claim["images"], claim["unreviewed"]) == ("ann", 2, 1)
    terminal.tagger("release", folder)
    assert terminal.tagger("status").out == "no image is with a tagger\n"


def test_status_of_a_claim_that_ran_out_says_so(tmp_path: Path, terminal: Terminal) -> None:
    store, _ = batch(tmp_path, terminal, ["a.jpg"])

    def expire(before: state.State) -> state.State:
        (held,) = before.batches.values()
        return before.with_batch(replace(held, expires_at=1.0))

    state.update(store.labels, expire)
    assert terminal.tagger("status", "--store", store.url).out.endswith("1 of 1 images not handed in, ran out, waiting to be released\n")


def test_status_without_a_project_is_one_sentence(tmp_path: Path, terminal: Terminal) -> None:
    assert "holds no project yet" in terminal.tagger("status", "--store", tmp_path).sentence


def test_status_of_a_folder_whose_store_is_gone_is_one_sentence(tmp_path: Path, terminal: Terminal) -> None:
    _, folder = batch(tmp_path, terminal, ["a.jpg"], place=tmp_path / "store")
    (tmp_path / "store").rename(tmp_path / "moved")
    assert "holds no project yet" in terminal.tagger("status", folder).sentence


def test_a_new_totag_does_not_disturb_a_batch(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), ["a.jpg"])
    terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "x")
    list_pool(store, [])
    steps.adopt(store)
    review(tmp_path / "x", {"a.jpg": [KEPT]})
    assert terminal.tagger("upload", tmp_path / "x").out.startswith("1 image handed in")
