"""`tagger upload`: what is reviewed is handed in once, normalised, with its original; what is not stays open."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from activelearning import claims, layout, state
from activelearning.labels import HUMAN, HUMAN_CONFIRMED, ImageLabels
from activelearning.store import Store
from tests.tagger.batches import CAT, Drawn, Terminal, in_memory, on_a_full_disk, project, review, rounded, uploads

TOOLS = ("vott", "vott2", "cvat", "coco")

KEPT: Drawn = ("cat", 8, 8, 24, 24)
DOG: Drawn = ("dog", 32, 16, 56, 40)
MOVED: Drawn = ("dog", 30, 14, 56, 40)
ADDED: Drawn = ("dog", 2, 30, 12, 44)


def batch(tmp_path: Path, terminal: Terminal, names: list[str], tool: str = "vott", place: Path | str = "") -> tuple[Store, Path]:
    """A project of these images, all in one batch."""
    store = project(place or in_memory(tmp_path), names)
    ran = terminal.tagger("download", len(names), "--store", store.url, "--to", tmp_path / "x", "--tool", tool, "--as", "ann")
    assert ran.code == 0, ran.err
    return store, tmp_path / "x"


def originals(store: Store) -> list[str]:
    return [info.name.rpartition("/")[2] for info in store.labels.list("batches/") if "/original" in info.name]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_review_comes_back_from_every_tool(tmp_path: Path, terminal: Terminal, tool: str) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg", "empty.jpg", "open.jpg"], tool)
    file = review(folder, {"a.jpg": [KEPT, MOVED, ADDED], "empty.jpg": []})
    ran = terminal.tagger("upload", folder, *file)
    assert ran.code == 0 and not ran.err
    assert ran.out.splitlines() == [
        "2 images handed in",
        "kept 1, moved 1, relabelled 0, added 1, deleted 2; 1 image empty, 1 not opened",
        "about 18 seconds of work by the cost model",
        f"to do: open the other 1 image and upload again, or give them back with `tagger release {folder}`",
    ]
    handed_in = uploads(store)["reviewed.csv"]
    assert set(handed_in) == {"a.jpg", "empty.jpg"}
    assert rounded(handed_in["a.jpg"]) == [KEPT, MOVED, ADDED] and handed_in["empty.jpg"].boxes == ()
    assert [box.source for box in handed_in["a.jpg"].boxes] == [HUMAN_CONFIRMED, HUMAN, HUMAN]
    assert originals(store) == [{"vott": "original.json", "coco": "original.json"}.get(tool, "original.zip")]


def test_json_says_what_changed(tmp_path: Path, terminal: Terminal) -> None:
    _, folder = batch(tmp_path, terminal, ["a.jpg", "b.jpg"])
    review(folder, {"a.jpg": [KEPT, DOG]})
    value = terminal.tagger("upload", folder, "--json").value
    assert str(value.pop("upload")).endswith("/reviewed.csv") and value == {
        "handed_in": 1, "images": 2, "kept": 2, "moved": 0, "relabelled": 0, "added": 0, "deleted": 0, "reviewed_empty": 0, "unopened": 1,
        "problems": [], "seconds": 4.7, "expected_seconds": None,
    }  # fmt: skip


@pytest.mark.parametrize("tool", TOOLS)
def test_a_batch_that_nobody_opened_hands_in_nothing(tmp_path: Path, terminal: Terminal, tool: str) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg", "b.jpg"], tool)
    sentence = terminal.tagger("upload", folder).sentence
    assert sentence.startswith(f"{folder}/") and ": none of the 2 images is reviewed yet: " in sentence
    if tool in ("cvat", "coco"):
        assert sentence.endswith(f"hand in the file that your tool has exported, `tagger upload {folder} FILE`")
    else:
        assert sentence.endswith("open and save them in your tool, or say --all-reviewed if you looked at every one")
    assert not uploads(store) and not originals(store)


def test_all_reviewed_takes_every_draft_for_seen(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg", "b.jpg"], "coco")
    assert terminal.tagger("upload", folder, "--all-reviewed").out.startswith("2 images handed in\nkept 4,")
    assert [len(labels.boxes) for labels in uploads(store)["reviewed.csv"].values()] == [2, 2]
    assert "0 not opened" in terminal.tagger("upload", folder).out


def test_the_same_upload_again_hands_in_nothing(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg", "b.jpg"])
    review(folder, {"a.jpg": [KEPT]})
    terminal.tagger("upload", folder)
    again = terminal.tagger("upload", folder)
    assert again.code == 0 and again.out.startswith("nothing new since the last upload; nothing was handed in\nkept 1,")
    assert list(uploads(store)) == ["reviewed.csv"] and originals(store) == ["original.json"]


def test_more_reviews_come_in_a_second_upload_alone(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg", "b.jpg", "c.jpg"])
    review(folder, {"a.jpg": [KEPT]})
    terminal.tagger("upload", folder)
    review(folder, {"a.jpg": [KEPT], "b.jpg": [ADDED]})
    assert terminal.tagger("upload", folder).out.startswith("1 image handed in")
    assert [set(images) for images in uploads(store).values()] == [{"b.jpg"}, {"a.jpg"}]
    assert {name: len(images) for name, images in uploads(store).items()} == {"reviewed-2.csv": 1, "reviewed.csv": 1}


def test_a_correction_and_its_undoing_are_handed_in(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg"])
    for boxes in ([KEPT], [ADDED], [KEPT]):
        review(folder, {"a.jpg": boxes})
        assert terminal.tagger("upload", folder).out.startswith("1 image handed in")
    found = uploads(store)
    assert [rounded(found[name]["a.jpg"]) for name in ("reviewed.csv", "reviewed-2.csv", "reviewed-3.csv")] == [[KEPT], [ADDED], [KEPT]]


def test_a_second_persons_review_is_another_upload_and_stays(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg", "b.jpg"])
    shutil.copytree(folder, tmp_path / "y")
    review(folder, {"a.jpg": [KEPT]})
    terminal.tagger("upload", folder)
    review(tmp_path / "y", {"a.jpg": [ADDED]})
    terminal.tagger("upload", tmp_path / "y")
    review(folder, {"a.jpg": [KEPT], "b.jpg": []})
    terminal.tagger("upload", folder)
    found = uploads(store)
    assert rounded(found["reviewed-2.csv"]["a.jpg"]) == [ADDED]
    assert set(found["reviewed-3.csv"]) == {"b.jpg"}


def test_a_review_after_the_claim_ran_out_is_not_lost(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg"])
    (held,) = state.load(store.labels).batches
    claims.release(store.labels, held)
    review(folder, {"a.jpg": [KEPT]})
    assert terminal.tagger("upload", folder).out.startswith("1 image handed in")
    assert set(uploads(store)["reviewed.csv"]) == {"a.jpg"}


def test_an_original_of_a_cut_off_upload_keeps_its_version(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg"])
    (held,) = state.load(store.labels).batches
    store.labels.create(layout.batch_original(held, ".json"), b"half an hour ago")
    review(folder, {"a.jpg": [KEPT]})
    terminal.tagger("upload", folder)
    assert list(uploads(store)) == ["reviewed-2.csv"]
    assert store.labels.read(layout.batch_original(held, ".json", 2)).content == (folder / "images.json").read_bytes()


def test_an_upload_that_was_cut_off_before_it_was_noted_is_the_same_upload(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg"])
    review(folder, {"a.jpg": [KEPT]})
    noted = (folder / "batch.json").read_bytes()
    terminal.tagger("upload", folder)
    (folder / "batch.json").write_bytes(noted)
    assert terminal.tagger("upload", folder).code == 0
    assert list(uploads(store)) == ["reviewed.csv"]


def test_the_upload_is_known_at_once(tmp_path: Path, terminal: Terminal) -> None:
    """Even where no function runs, nobody else is handed these images."""
    store, folder = batch(tmp_path, terminal, ["a.jpg"])
    review(folder, {"a.jpg": [KEPT]})
    terminal.tagger("upload", folder)
    assert [upload.images for upload in state.load(store.labels).uploads.values()] == [("a.jpg",)]


def test_an_image_with_an_unknown_class_stays_open_and_the_others_are_taken(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg", "b.jpg"])
    review(folder, {"a.jpg": [KEPT, ("cow", 1, 1, 9, 9)], "b.jpg": [KEPT]})
    ran = terminal.tagger("upload", folder)
    assert ran.err.startswith("warning: image 'a.jpg': class 'cow' is not in project.toml (cat, dog); the image was left out")
    assert "1 not opened" in ran.out and set(uploads(store)["reviewed.csv"]) == {"b.jpg"}
    review(folder, {"a.jpg": [KEPT], "b.jpg": [KEPT]})
    terminal.tagger("upload", folder)
    assert set(uploads(store)["reviewed-2.csv"]) == {"a.jpg"}


@pytest.mark.parametrize("tool", TOOLS)
def test_boxes_that_are_none_are_named_and_left_out(tmp_path: Path, terminal: Terminal, tool: str) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg"], tool)
    nowhere = [("dog", 5.0, 5.0, 5.0, 20.0), ("dog", float("nan"), 5.0, 9.0, 9.0), ("dog", 70.0, 50.0, 90.0, 60.0)]
    over_the_edge = ("dog", 50.0, 30.0, 99.0, 99.0)
    file = review(folder, {"a.jpg": [KEPT, *nowhere, over_the_edge]})
    ran = terminal.tagger("upload", folder, *file)
    assert ran.code == 0 and ran.err.count("warning: ") == 3 == len(ran.err.splitlines())
    assert rounded(uploads(store)["reviewed.csv"]["a.jpg"]) == [KEPT, ("dog", 50, 30, 64, 48)]


ODD = [
    "two words/it's \"quoted\" & <more>.jpg", "鳥/élan.JPG", "night-1/IMG_1.jpg", "night-2/IMG_1.jpg", "night 2/IMG_1.jpg", "a/b.jpg",
    "a_b.jpg", "-rf.png", "no.dots.or.many.jpg", "0001_a_b.jpg",
]  # fmt: skip


@pytest.mark.parametrize("tool", TOOLS)
def test_odd_and_equal_names_come_back_as_themselves(tmp_path: Path, terminal: Terminal, tool: str) -> None:
    store, folder = batch(tmp_path, terminal, ODD, tool)
    work = {name: [("cat", float(at), 2.0, at + 20.0, 22.0)] for at, name in enumerate(ODD)}
    ran = terminal.tagger("upload", folder, *review(folder, work))
    assert ran.code == 0 and not ran.err
    assert {name: rounded(labels) for name, labels in uploads(store)["reviewed.csv"].items()} == work


def test_a_file_made_from_the_originals_is_taken_by_their_names(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["n/a.jpg", "m/a.jpg"], "cvat")
    export = folder / "own.xml"
    image = '<image id="{}" name="{}" width="64" height="48"><tag label="reviewed"/></image>'
    export.write_text(f"<annotations>{image.format(0, 'photos/n/a.jpg')}{image.format(1, 'a.jpg')}</annotations>")
    ran = terminal.tagger("upload", folder, export)
    assert ran.err == "warning: own.xml image 'a.jpg': 2 images have this name (n/a.jpg, m/a.jpg); write it with its folder\n"
    assert set(uploads(store)["reviewed.csv"]) == {"n/a.jpg"}


def test_images_of_other_batches_in_the_file_are_named_in_one_line(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg"], "cvat")
    images = "".join(f'<image id="{n}" name="{n}.jpg" width="64" height="48"><tag label="reviewed"/></image>' for n in ("a", "b", "c"))
    (folder / "all.xml").write_text(f"<annotations>{images}</annotations>")
    ran = terminal.tagger("upload", folder, folder / "all.xml")
    assert len(ran.err.splitlines()) == 1 and "'b.jpg': it is not in batch" in ran.err and "(and 1 more like this)" in ran.err
    assert set(uploads(store)["reviewed.csv"]) == {"a.jpg"}


BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><annotations><image name="&b;"/></annotations>'

WRONG_FILES = {
    "coco.json": ("vott", b'{"images": [], "annotations": [], "categories": []}', "this is COCO, but the batch was laid out for VoTT 1"),
    "vott.json": ("coco", b'{"frames": {}}', "this is VoTT 1, but the batch was laid out for COCO"),
    "voc.xml": ("cvat", b"<annotation><filename>a.jpg</filename></annotation>", "this is Pascal VOC, but the batch was laid out for CVAT"),
    "list.json": ("vott", b"[1, 2]", "is a JSON list, not an object"),
    "half.json": ("vott", b'{"frames": {"0001_a.jpg": [{"x1": 1', "is not valid JSON"),
    "half.xml": ("cvat", b"<annotations><image id=", "is not valid XML"),
    "bomb.xml": ("cvat", BOMB.encode(), "defines XML entities"),
    "half.zip": ("cvat", b"PK\x03\x04 and no more", "is not a whole zip file"),
    "empty.json": ("coco", b"", "is not valid JSON"),
    "binary.json": ("vott", b"\xff\xd8\xff\xe0", "is not UTF-8 text"),
    "other.json": ("vott", b'{"frames": {"z.jpg": [{}]}}', "none of its images belongs to batch"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_file_that_cannot_be_the_review_is_one_sentence(tmp_path: Path, terminal: Terminal, name: str) -> None:
    tool, content, sentence = WRONG_FILES[name]
    store, folder = batch(tmp_path, terminal, ["a.jpg"], tool)
    (tmp_path / name).write_bytes(content)
    said = terminal.tagger("upload", folder, tmp_path / name).sentence
    assert said.startswith((f"{tmp_path / name}: ", f"{name}: ")) and sentence in said
    assert not uploads(store) and not originals(store)


def test_a_zip_that_climbs_out_is_refused(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg"], "cvat")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("annotations.xml", "<annotations/>")
        archive.writestr("../../evil.sh", "x")
    assert "would leave its folder; the whole zip was refused" in terminal.tagger("upload", folder, tmp_path / "z.zip").sentence
    assert not uploads(store)


def test_half_an_asset_of_vott_2_leaves_its_image_open(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg", "b.jpg"], "vott2")
    review(folder, {"a.jpg": [KEPT], "b.jpg": [KEPT]})
    half = next(path for path in folder.glob("*-asset.json") if "0001_a.jpg" in path.read_text())
    half.write_bytes(half.read_bytes()[:100])
    ran = terminal.tagger("upload", folder)
    assert ran.err.count("warning: ") == 1 and "is not valid JSON" in ran.err
    assert set(uploads(store)["reviewed.csv"]) == {"b.jpg"}


def test_a_missing_file_or_folder_is_one_sentence(tmp_path: Path, terminal: Terminal) -> None:
    _, folder = batch(tmp_path, terminal, ["a.jpg"])
    assert "there is no such file; name the one your tool has written" in terminal.tagger("upload", folder, tmp_path / "no.json").sentence
    assert "cannot be read" in terminal.tagger("upload", folder, tmp_path).sentence
    for place in (tmp_path, tmp_path / "nowhere", folder / "images.json"):
        assert "there is no batch.json in it" in terminal.tagger("upload", place).sentence


SOUND = {"images": [], "uploaded": [], "store": "s", "batch": "b", "tagger": "t", "tool": "vott", "count": 1}
DAMAGES: list[bytes] = [b"", b"{", b"[]", b"null", b"{}", b"\xff", b'{"images": 3}']
DAMAGES += [
    json.dumps(SOUND | change).encode()
    for change in ({"store": 1}, {"images": [3]}, {"tool": "paint"}, {"images": [{"image": "a", "file": "../a"}]}, {"colour": "red"})
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_batch_json_is_one_sentence_and_nothing_is_touched(tmp_path: Path, terminal: Terminal, damage: bytes) -> None:
    _, folder = batch(tmp_path, terminal, ["a.jpg"])
    (folder / "batch.json").write_bytes(damage)
    before = sorted(folder.rglob("*"))
    for command in ("upload", "release", "status"):
        assert "is damaged" in terminal.tagger(command, folder).sentence
    assert before == sorted(folder.rglob("*"))


def test_a_record_of_the_batch_that_was_changed_by_hand_is_one_sentence(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg"])
    (record,) = [info.name for info in store.labels.list("batches/") if info.name.endswith(".csv")]
    etag = store.labels.read(record).etag
    store.labels.replace(record, b"filename,class,xmin,xmax,ymin,ymax\nz.jpg,cat,0,1,0,1\n", etag)
    assert "does not list 'a.jpg'" in terminal.tagger("status", folder).sentence


def test_a_full_disk_at_upload_is_one_sentence_and_nothing_is_half_handed_in(tmp_path: Path, terminal: Terminal) -> None:
    names = [f"{n:03}.jpg" for n in range(30)]
    store, folder = batch(tmp_path, terminal, names, place=tmp_path / "store")
    review(folder, {name: [KEPT, ADDED] for name in names})
    assert "no space left in" in on_a_full_disk(3000, "tagger_client.cli", "upload", folder)
    assert not uploads(store) and not originals(store)
    assert terminal.tagger("upload", folder).out.startswith("30 images handed in")
    assert len(uploads(store)["reviewed.csv"]) == 30


def test_the_value_in_the_middle_has_the_size_of_the_image(tmp_path: Path, terminal: Terminal) -> None:
    store, folder = batch(tmp_path, terminal, ["a.jpg"])
    review(folder, {"a.jpg": [KEPT]})
    terminal.tagger("upload", folder)
    (labels,) = uploads(store)["reviewed.csv"].values()
    assert isinstance(labels, ImageLabels) and (labels.width, labels.height) == (64, 48) and labels.content_hash
    assert labels.boxes[0].confidence == CAT.confidence
