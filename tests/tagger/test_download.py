"""`tagger download`: a claim, its images and its drafts; nothing of a person's is ever touched."""

import json
from dataclasses import replace
from pathlib import Path

import defusedxml.ElementTree
import pytest

from activelearning import claims, state
from activelearning.labels import ImageLabels, Review
from activelearning.store import Store
from tests.tagger.batches import CAT, HEIGHT, WIDTH, Terminal, files_of, in_memory, list_pool, on_a_full_disk, photo, project, publish_totag

TOOLS = ("vott", "vott2", "cvat", "coco")
EXPORTED = {"cvat": " FILE", "coco": " FILE"}
FILES = {"vott": "images.json", "vott2": "batch.vott", "cvat": "annotations.xml", "coco": "annotations.json"}


def held(store: Store) -> list[str]:
    """Images that are in claims."""
    return [claimed.image for batch in state.load(store.labels).batches.values() for claimed in batch.claimed]


@pytest.mark.parametrize("tool", TOOLS)
def test_lays_out_images_and_drafts_for_every_tool(tmp_path: Path, terminal: Terminal, tool: str) -> None:
    store = project(in_memory(tmp_path), ["b.jpg", "a.jpg", "c.jpg"])
    ran = terminal.tagger("download", 2, "--store", store.url, "--to", tmp_path / "x", "--tool", tool)
    assert ran.code == 0 and not ran.err
    first, second = ran.out.splitlines()
    assert first.startswith(f"2 images with 4 draft boxes in {tmp_path / 'x'}, yours until 20")
    assert second.startswith("now ") and second.endswith(
        f"then `tagger upload {tmp_path / 'x'}{' FILE' if tool in ('cvat', 'coco') else ''}`"
    )
    assert files_of(tmp_path / "x") == {"b.jpg": "0001_b.jpg", "a.jpg": "0002_a.jpg"}
    assert (tmp_path / "x" / "images" / "0001_b.jpg").read_bytes() == store.images.read("b.jpg").content
    assert (tmp_path / "x" / FILES[tool]).exists()
    assert held(store) == ["b.jpg", "a.jpg"]


def test_json_says_what_a_script_needs(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), ["a.jpg"])
    value = terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "x", "--json").value
    assert {"batch", "folder", "images", "drafts", "expires_at", "problems", "expected_seconds", "drawing_seconds"} == set(value)
    assert value["images"] == 1 and value["drafts"] == 2 and value["problems"] == []


def test_every_class_has_its_colour_and_confidence_is_shown_where_the_tool_can(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), list("abcd"))
    for tool in TOOLS:
        terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / tool, "--tool", tool)
    vott = json.loads((tmp_path / "vott" / "images.json").read_text())
    vott2 = json.loads((tmp_path / "vott2" / "batch.vott").read_text())
    cvat = defusedxml.ElementTree.fromstring((tmp_path / "cvat" / "annotations.xml").read_text())
    labels = json.loads((tmp_path / "cvat" / "labels.json").read_text())
    coco = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    colours = dict(zip(vott["inputTags"].split(","), vott["tag_colors"], strict=True))
    assert set(colours) == {"cat", "dog"} and len(set(colours.values())) == 2
    assert {tag["name"]: tag["color"] for tag in vott2["tags"]} == colours
    assert {label["name"]: label["color"] for label in labels if label["name"] != "reviewed"} == colours
    assert [a["name"] for a in labels[0]["attributes"]] == ["score", "source"] and labels[0]["attributes"][0]["values"] == ["0", "100", "1"]
    assert [a.text for a in cvat.iter("attribute") if a.get("name") == "score"] == ["0.8", "0.6"]
    assert [annotation["score"] for annotation in coco["annotations"]] == [0.8, 0.6]


@pytest.mark.parametrize("tool", TOOLS)
def test_an_image_on_its_side_has_its_upright_size(tmp_path: Path, terminal: Terminal, tool: str) -> None:
    store = project(in_memory(tmp_path), [])
    store.images.create("tall.jpg", photo(size=(WIDTH, HEIGHT), orientation=6))
    list_pool(store, [ImageLabels("tall.jpg", HEIGHT, WIDTH, (CAT,), Review.UNOPENED)])
    terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "x", "--tool", tool)
    text = (tmp_path / "x" / FILES[tool]).read_text().replace('"', "").replace(" ", "")
    assert f"width:{HEIGHT},height:{WIDTH}" in text.replace("\n", "") or f"width={HEIGHT}height={WIDTH}" in text


def test_the_images_of_two_taggers_never_overlap(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), [f"{n}.jpg" for n in range(5)])
    for name in ("ann", "bob"):
        terminal.tagger("download", 3, "--store", store.url, "--to", tmp_path / name, "--as", name)
    assert files_of(tmp_path / "ann").keys() == {"0.jpg", "1.jpg", "2.jpg"}
    assert files_of(tmp_path / "bob").keys() == {"3.jpg", "4.jpg"}


def test_says_when_fewer_images_are_free_than_asked_for(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), ["a.jpg"])
    ran = terminal.tagger("download", 9, "--store", store.url, "--to", tmp_path / "x")
    assert "; 9 were asked for, 1 are free" in ran.out


def test_with_nothing_to_claim_no_folder_is_left(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), ["a.jpg"])
    for arguments, sentence in (
        ((0,), "0 images cannot be claimed at once"),
        ((1, "--folder", "nowhere"), "no image that is free matches these filters"),
        ((1, "--class", "cow"), "--class cow: the project has no such class, only cat, dog"),
        ((1, "--as", "a/b"), "'a/b' is not a valid id"),
    ):
        ran = terminal.tagger("download", *arguments, "--store", store.url, "--to", tmp_path / "x")
        assert ran.sentence.startswith(sentence)
        assert not (tmp_path / "x").exists() and not held(store)


def test_a_class_that_the_tool_cannot_hold_is_refused_before_the_claim(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), ["a.jpg"], boxes=(), classes=("red fox",))
    ran = terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "x", "--tool", "vott")
    assert ran.sentence.startswith("class 'red fox': VoTT 1 cannot hold names with blanks")
    assert not held(store)
    assert terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "x", "--tool", "vott2").code == 0


def test_no_store_no_project(tmp_path: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTIVELEARNING_STORE", raising=False)
    assert terminal.tagger("download", 1, "--to", tmp_path / "x").sentence.startswith("say where the project is: --store STORE")
    assert "holds no project yet" in terminal.tagger("download", 1, "--store", tmp_path / "s", "--to", tmp_path / "x").sentence


def test_a_folder_with_anything_in_it_stays_as_it_is(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), ["a.jpg"])
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "diary.txt").write_text("mine")
    for target in (tmp_path / "x", tmp_path / "x" / "diary.txt"):
        assert "is not an empty folder" in terminal.tagger("download", 1, "--store", store.url, "--to", target).sentence
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["diary.txt"] and not held(store)


def test_a_second_download_into_a_batch_is_refused(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), ["a.jpg", "b.jpg"])
    terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "x")
    before = {path: path.read_bytes() for path in (tmp_path / "x").rglob("*") if path.is_file()}
    ran = terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "x")
    assert "is here and not handed in yet; nothing in it will be touched" in ran.sentence
    assert before == {path: path.read_bytes() for path in (tmp_path / "x").rglob("*") if path.is_file()}
    assert held(store) == ["a.jpg"]


def cut_off(folder: Path, images: bool = True) -> dict[str, object]:
    """Make a folder look as if its download had been killed before the end."""
    manifest = json.loads((folder / "batch.json").read_text())
    manifest["ready"] = False
    (folder / "images.json").unlink()
    (folder / "images" / manifest["images"][0]["file"]).unlink()
    if not images:
        manifest["images"] = []
    (folder / "batch.json").write_text(json.dumps(manifest))
    assert isinstance(manifest, dict)
    return manifest


@pytest.mark.parametrize("images", [True, False])
def test_a_download_that_was_cut_off_goes_on_with_its_claim(tmp_path: Path, terminal: Terminal, images: bool) -> None:
    store = project(in_memory(tmp_path), ["a.jpg", "b.jpg", "c.jpg"])
    terminal.tagger("download", 2, "--store", store.url, "--to", tmp_path / "x")
    complete = {path.name: path.read_bytes() for path in (tmp_path / "x").rglob("*") if path.is_file()}
    cut_off(tmp_path / "x", images)
    assert terminal.tagger("download", 2, "--store", store.url, "--to", tmp_path / "x").code == 0
    assert complete == {path.name: path.read_bytes() for path in (tmp_path / "x").rglob("*") if path.is_file()}
    assert held(store) == ["a.jpg", "b.jpg"]


def test_what_was_cut_off_goes_on_as_it_was_begun(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), ["a.jpg", "b.jpg"])
    folder = tmp_path / "x"
    terminal.tagger("download", 2, "--store", store.url, "--to", folder)
    cut_off(folder)
    ran = terminal.tagger("download", 5, "--store", store.url, "--to", folder, "--tool", "cvat")
    assert f"go on with `tagger download 2 --store {store.url} --to {folder} --tool vott`" in ran.sentence
    status = terminal.tagger("status", folder)
    assert f"cut off; go on with `tagger download 2 --store {store.url}" in status.out
    assert "was cut off; run `tagger download` again first" in terminal.tagger("upload", folder).sentence


def test_a_claim_that_ran_out_meanwhile_is_not_gone_on_with(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), ["a.jpg", "b.jpg"])
    terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "x")
    manifest = cut_off(tmp_path / "x")
    claims.release(store.labels, str(manifest["batch"]))
    terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "y")
    ran = terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "x")
    assert "its claim has run out since): download into a new folder" in ran.sentence
    assert held(store) == ["a.jpg"]


def test_drafts_stay_what_was_handed_out(tmp_path: Path, terminal: Terminal) -> None:
    """A download that goes on under other settings shows the drafts that the record of the batch holds."""
    store = project(in_memory(tmp_path), ["a.jpg"])
    terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "x")
    cut_off(tmp_path / "x")
    again = terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "x", "--min-confidence", 0.7, "--json")
    assert again.value["drafts"] == 2


def test_confidence_bounds_choose_images_and_drafts(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), ["a.jpg", "b.jpg"])
    list_pool(store, [ImageLabels("a.jpg", WIDTH, HEIGHT), ImageLabels("b.jpg", WIDTH, HEIGHT, (CAT, replace(CAT, confidence=0.3)))])
    ran = terminal.tagger("download", 2, "--store", store.url, "--to", tmp_path / "x", "--min-confidence", 0.5, "--json")
    assert ran.value["images"] == 1 and ran.value["drafts"] == 1


def test_unusable_images_are_named_and_the_rest_is_laid_out(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), ["whole.jpg"])
    whole = photo(7, (300, 200))
    store.images.create("cut.jpg", whole[: len(whole) - 40])
    store.images.create("text.jpg", b"no image")
    store.images.create("replaced.jpg", photo(8))
    pool = [ImageLabels(f"{name}.jpg", WIDTH, HEIGHT, (CAT,), Review.UNOPENED) for name in ("gone", "cut", "text", "whole")]
    pool.append(ImageLabels("replaced.jpg", WIDTH, HEIGHT, (CAT,), Review.UNOPENED, content_hash="0123456789abcdef"))
    list_pool(store, pool)
    ran = terminal.tagger("download", 9, "--store", store.url, "--to", tmp_path / "x")
    assert ran.err.splitlines() == [
        "warning: gone.jpg: it is gone from the container; it is not in the batch",
        "warning: cut.jpg: the image is cut off or damaged; replace the file or remove it; it is not in the batch",
        "warning: text.jpg: this is not an image that can be read; replace the file or remove it; it is not in the batch",
        "warning: replaced.jpg: it was replaced since the model saw it; the drafts were left out",
    ]
    assert ran.out.startswith("2 images with 1 draft box in")
    assert sorted(path.name for path in (tmp_path / "x" / "images").iterdir()) == ["0004_whole.jpg", "0005_replaced.jpg"]
    assert not terminal.tagger("status", tmp_path / "x").err


def test_a_kind_of_image_that_the_tool_never_shows_is_told(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), [])
    store.images.create("scan.tif", photo(kind="TIFF"))
    list_pool(store, [ImageLabels("scan.tif", WIDTH, HEIGHT)])
    assert (
        "warning: scan.tif: the tool does not show files of this kind"
        in terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "x").err
    )


def test_the_ancestors_totag_is_handed_out(tmp_path: Path, terminal: Terminal) -> None:
    store = project(in_memory(tmp_path), [])
    store.images.create("night/a.jpg", photo(1))
    publish_totag(
        store,
        b"image_confidence,filename,class,xmin,xmax,ymin,ymax,height,width,folder,box_confidence,remark\n"
        b"0.7,a.jpg,cat,0.1,0.5,0.2,0.6,48,64,night,0.7,hm\n0.7,a.jpg,dog,0.5,nan,0.2,0.6,48,64,night,0.7,hm\n",
        1,
    )
    assert terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "x", "--json").value["drafts"] == 1
    assert files_of(tmp_path / "x") == {"night/a.jpg": "0001_night_a.jpg"}


def test_a_full_disk_is_one_sentence_and_the_download_goes_on_later(tmp_path: Path, terminal: Terminal) -> None:
    store = project(tmp_path / "store", ["a.jpg"])
    store.images.create("large.png", photo(size=(2000, 1500), kind="BMP"))
    list_pool(store, [ImageLabels("large.png", 2000, 1500), ImageLabels("a.jpg", WIDTH, HEIGHT)])
    folder = tmp_path / "x"
    arguments = ["download", "2", "--store", store.url, "--to", str(folder)]
    said = on_a_full_disk(100_000, "tagger_client.cli", *arguments)
    assert "0001_large.png: cannot be written (File too large); make room or choose another folder" in said
    assert not list(folder.rglob("*.part"))
    assert terminal.tagger(*arguments).code == 0 and sorted(held(store)) == ["a.jpg", "large.png"]


def test_a_login_name_that_is_no_id_is_made_one(tmp_path: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    store = project(in_memory(tmp_path), ["a.jpg", "b.jpg"])
    monkeypatch.setenv("LOGNAME", "CORP\\zoë müller")
    terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "x")
    assert [batch.tagger for batch in state.load(store.labels).batches.values()] == ["CORP-zo-m-ller"]
    monkeypatch.setenv("LOGNAME", "美")
    assert terminal.tagger("download", 1, "--store", store.url, "--to", tmp_path / "y").sentence.endswith("add --as NAME")
