"""`activelearning`'s commands as a stranger types them."""

import json
from pathlib import Path

import pytest

from activelearning import journal, table
from activelearning.store import open_store
from tests.tagger.batches import Drawn, Terminal, on_a_full_disk, photo, project, review, rounded
from tests.tagger.test_upload import ADDED, KEPT

BCCD = Path(__file__).parents[2] / "demo" / "data" / "bccd"


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


@pytest.fixture
def store(tmp_path: Path, terminal: Terminal) -> Path:
    """A project without images."""
    assert terminal.activelearning("init", tmp_path / "store", "--classes", "cat,dog").code == 0
    return tmp_path / "store"


def photos(folder: Path, *names: str) -> Path:
    for shade, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(shade))
    return folder


def test_init_says_what_it_made_and_what_to_do_next(tmp_path: Path, terminal: Terminal) -> None:
    place = tmp_path / "birds"
    ran = terminal.activelearning("init", place, "--classes", "petrel, gull")
    assert ran.out.splitlines() == [
        f"project made in {place.as_uri()} with 2 classes: petrel, gull",
        f"now put images in: `activelearning upload {place} PHOTOS`",
    ]
    again = terminal.activelearning("init", place, "--classes", "petrel,gull", "--json")
    assert again.value == {"store": place.as_uri(), "new": False, "classes": ["petrel", "gull"], "images": 0, "unlisted": 0}
    assert "holds a project with other settings" in terminal.activelearning("init", place, "--classes", "petrel").sentence


def test_init_takes_over_an_ancestors_settings(tmp_path: Path, terminal: Terminal) -> None:
    ini = tmp_path / "config.ini"
    ini.write_text("classes=knots,defect\nmin_confidence=.5\nfiletype=*.png\n")
    ran = terminal.activelearning("init", tmp_path / "wood", "--from-ini", ini)
    assert ran.code == 0 and "with 2 classes: knots, defect" in ran.out
    assert ran.err.startswith(f"{ini}: took over ")


def test_init_with_nonsense_is_one_sentence_and_makes_nothing(tmp_path: Path, terminal: Terminal) -> None:
    place = tmp_path / "s"
    (tmp_path / "bad.ini").write_bytes(b"\xff\xfe\x00")
    assert terminal.activelearning("init", place).sentence == "say which classes there are: --classes a,b,c"
    assert terminal.activelearning("init", place, "--classes", "a,,b").sentence
    assert terminal.activelearning("init", place, "--classes", "a", "--set", "training.speed=9").sentence
    assert "No such file" in terminal.activelearning("init", place, "--from-ini", tmp_path / "no.ini").sentence
    assert terminal.activelearning("init", place, "--from-ini", tmp_path / "bad.ini").sentence
    assert "is a file; a store is a directory" in terminal.activelearning("init", tmp_path / "bad.ini", "--classes", "a").sentence
    assert not place.exists()


def test_every_command_says_when_there_is_no_project(tmp_path: Path, terminal: Terminal) -> None:
    export = ["export", "--format", "csv", "--to", tmp_path / "x"]
    for command in (["upload", tmp_path], ["import", tmp_path], ["status"], ["retry"], export, ["up"]):
        name, *others = command
        said = terminal.activelearning(name, tmp_path / "nowhere", *others).sentence
        assert "holds no project yet: run `activelearning init" in said


def test_upload_takes_folders_and_files_and_says_what_became_of_them(tmp_path: Path, store: Path, terminal: Terminal) -> None:
    folder = photos(tmp_path / "photos", "a.jpg", "n 1/鳥'\".jpg", "n 2/a.JPG")
    (folder / "notes.txt").write_text("not an image")
    ran = terminal.activelearning("upload", store, folder, photos(tmp_path, "single.png") / "single.png", "--folder", "/island/")
    assert ran.out.splitlines()[0] == "4 images uploaded, 0 there already, 0 refused" and not ran.err
    names = [info.name for info in open_store(str(store)).images.list()]
    assert names == ["island/a.jpg", "island/n 1/鳥'\".jpg", "island/n 2/a.JPG", "island/single.png"]
    assert terminal.activelearning("upload", store, folder, "--folder", "island", "--json").value == {"new": 0, "known": 3, "refused": []}
    assert [entry["what"] for entry in journal.read(open_store(str(store)).labels)] == ["project made", "images uploaded"]


def test_upload_names_what_it_refuses_and_takes_the_rest(tmp_path: Path, store: Path, terminal: Terminal) -> None:
    folder = photos(tmp_path / "p", "good.jpg", "cut.jpg", "line\nbreak.jpg", "other.jpg")
    (folder / "cut.jpg").write_bytes(photo(size=(300, 200))[:-40])
    (folder / "text.jpg").write_text("no image")
    terminal.activelearning("upload", store, photos(tmp_path / "q", "other.jpg"))
    ran = terminal.activelearning("upload", store, folder, folder / "missing.jpg")
    assert "there is no such file or folder" in ran.sentence
    ran = terminal.activelearning("upload", store, folder, Path(__file__))
    assert ran.code == 0 and ran.out.startswith("1 image uploaded, 0 there already, 5 refused")
    said = dict(line.removeprefix("warning: ").split(": ", 1) for line in ran.err.splitlines())
    assert said[str(folder / "cut.jpg")] == "the image is cut off or damaged; replace the file or remove it"
    assert said[str(folder / "text.jpg")] == "this is not an image that can be read; replace the file or remove it"
    assert "'line\\nbreak.jpg' cannot be a blob name" in said[str(folder)]
    assert "is in the container with other content and stays; put this one elsewhere with --folder" in said[str(folder / "other.jpg")]
    assert "its name ends in none of" in said[__file__]


def test_upload_of_nothing_that_will_do_is_an_error(tmp_path: Path, store: Path, terminal: Terminal) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert terminal.activelearning("upload", store, empty).sentence == "there is no image in what you named"
    (empty / "a.jpg").write_text("no")
    assert terminal.activelearning("upload", store, empty).sentence == "none of 1 file could be uploaded"
    for folder in ("../..", "a\\b", "a//b", "x\ny"):
        assert "is not a folder of the container" in terminal.activelearning("upload", store, empty, "--folder", folder).sentence


def test_a_full_disk_stops_the_upload_with_one_sentence(tmp_path: Path, store: Path) -> None:
    folder = photos(tmp_path / "p", *[f"{n}.jpg" for n in range(20)])
    (folder / "0.bmp").write_bytes(photo(size=(300, 200), kind="BMP"))
    assert on_a_full_disk(100_000, "activelearning.cli", "upload", store, folder).startswith("error: no space left in")


def test_status_is_readable_and_json(tmp_path: Path, store: Path, terminal: Terminal) -> None:
    terminal.activelearning("upload", store, photos(tmp_path / "p", "a.jpg"))
    *lines, last = terminal.activelearning("status", store).out.splitlines()
    assert last.startswith("last event images uploaded (person), ")
    assert lines == [
        f"store      {store.as_uri()}",
        "pool       0 images listed, 0 labelled, 0 in the test split",
        "model      none yet",
        "waiting    new images are not listed yet: a running `activelearning up` lists them, or `trainer once` now",
    ]
    value = terminal.activelearning("status", store, "--json").value
    assert value["images_waiting"] is True and value["claims"] == [] and value["uploads_waiting"] == 0


@pytest.mark.parametrize("form", ["coco", "yolo", "voc", "csv"])
def test_labels_exported_and_imported_again_are_the_same(tmp_path: Path, terminal: Terminal, form: str) -> None:
    names = ["n 1/a.jpg", "n 2/a.jpg", "b.jpg"]
    source = project(tmp_path / "source", names)
    terminal.tagger("download", 3, "--store", source.url, "--to", tmp_path / "x")
    work = {"n 1/a.jpg": [KEPT, ADDED], "n 2/a.jpg": [ADDED], "b.jpg": []}
    review(tmp_path / "x", work)
    terminal.tagger("upload", tmp_path / "x")
    out = tmp_path / "labels"
    assert terminal.activelearning("export", source.url, "--format", form, "--to", out).out == f"3 images written to {out}\n"
    target = project(tmp_path / "target", names)
    labels = next(out.iterdir()) if form in ("coco", "csv") else out
    ran = terminal.activelearning("import", target.url, labels)
    assert ran.out == "3 images with 3 boxes read, 3 new in the labelled set\n" and not ran.err
    again = tmp_path / "again"
    assert terminal.activelearning("export", target.url, "--format", "csv", "--to", again).code == 0
    assert labels_of(again) == work


def labels_of(folder: Path) -> dict[str, list[Drawn]]:
    reading = table.read_labels((folder / "labels.csv").read_text("utf-8"), "labels.csv")
    return {labels.image: rounded(labels) for labels in reading.images}


def test_export_never_writes_over_a_folder(tmp_path: Path, terminal: Terminal) -> None:
    source = project(tmp_path / "source", ["a.jpg"])
    said = terminal.activelearning("export", source.url, "--format", "coco", "--to", tmp_path / "x").sentence
    assert said == "nothing has been reviewed yet, so there is nothing to export" and not (tmp_path / "x").exists()
    (tmp_path / "a.csv").write_text("filename,class,xmin,xmax,ymin,ymax\na.jpg,NULL,0,0,0,0\n")
    terminal.activelearning("import", source.url, tmp_path / "a.csv")
    said = terminal.activelearning("export", source.url, "--format", "coco", "--to", tmp_path).sentence
    assert said == f"{tmp_path} exists and is not an empty folder: choose another one"


def test_import_of_the_bundled_labels(tmp_path: Path, terminal: Terminal) -> None:
    """Of these files two say verified="no"; their labels are as true as the others'."""
    terminal.activelearning("init", tmp_path / "cells", "--classes", "RBC,WBC,Platelets")
    unverified = ["BloodImage_00171", "BloodImage_00178", "BloodImage_00228"]
    images = [BCCD / "images" / f"{name}.jpg" for name in (*unverified, "BloodImage_00000")]
    terminal.activelearning("upload", tmp_path / "cells", *images)
    ran = terminal.activelearning("import", tmp_path / "cells", BCCD / "annotations")
    assert ran.out.startswith("4 images with ") and ", 4 new in the labelled set" in ran.out
    assert "no image of the container has this name; upload it first, or correct the name (and 3" in ran.err
    assert len(ran.err.splitlines()) < 10
    value = terminal.activelearning("import", tmp_path / "cells", BCCD / "annotations", "--format", "voc", "--json").value
    assert value["images"] == 4 and value["new"] == 0 and value["unreviewed"] == 0


def test_import_of_what_cannot_be_labels_is_one_sentence(tmp_path: Path, terminal: Terminal) -> None:
    store = project(tmp_path / "store", ["a.jpg"])
    bad = {
        "half.json": b'{"images": [',
        "bomb.xml": b'<!DOCTYPE x [<!ENTITY a "ha">]><annotation><filename>&a;</filename></annotation>',
        "table.csv": b"name,age\nann,7\n",
        "none.csv": b"filename,class,xmin,xmax,ymin,ymax\nz.jpg,cat,0,1,0,1\n",
        "cow.csv": b"filename,class,xmin,xmax,ymin,ymax\na.jpg,cow,0,1,0,1\n",
        "empty.csv": b"filename,class,xmin,xmax,ymin,ymax\n",
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        assert terminal.activelearning("import", store.url, tmp_path / name).sentence.startswith(str(tmp_path / name))
    assert terminal.activelearning("import", store.url, tmp_path / "missing.json").sentence
    assert "say --format coco" in wrong_format(tmp_path, terminal, store.url)
    assert not list(store.labels.list("batches/"))


def wrong_format(tmp_path: Path, terminal: Terminal, url: str) -> str:
    (tmp_path / "coco.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    return terminal.activelearning("import", url, tmp_path / "coco.json", "--format", "vott").sentence


def test_import_into_the_test_split(tmp_path: Path, terminal: Terminal) -> None:
    store = project(tmp_path / "store", ["a.jpg", "b.jpg"])
    (tmp_path / "a.csv").write_text("filename,class,xmin,xmax,ymin,ymax\na.jpg,cat,0.1,0.4,0.1,0.4\n")
    for new in (1, 0):
        ran = terminal.activelearning("import", store.url, tmp_path / "a.csv", "--split", "test")
        assert ran.out == f"1 image with 1 box read, {new} new in the test split\n"
    assert "1 in the test split" in terminal.activelearning("status", store.url).out
