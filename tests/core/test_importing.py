"""What is taken in as truth, and what undoes nobody's work."""

from dataclasses import replace
from pathlib import Path

import pytest

from activelearning import autolabels, commits, formats, importing, layout, state, steps, table
from activelearning.errors import UserError
from activelearning.labels import HUMAN, Box, ImageLabels, Review
from activelearning.store import Store
from tests.tagger.batches import CAT, CLASSES, Terminal, in_memory, project

BOX = Box("cat", 0.1, 0.1, 0.5, 0.5)
OTHER = Box("dog", 0.2, 0.2, 0.6, 0.6)


def take_in(store: Store, path: Path, now: float = 1_800_000_000.0, form: str | None = None) -> importing.Imported:
    return importing.import_labels(store, path, CLASSES, form, "train", now)


def csv(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["filename,class,xmin,xmax,ymin,ymax,review,source", *rows]) + "\n")
    return path


VOC = (
    '<annotation verified="{}"><filename>{}.jpg</filename><size><width>64</width><height>48</height></size><object><name>cat</name>{}'
    "<bndbox><xmin>8</xmin><ymin>8</ymin><xmax>24</xmax><ymax>24</ymax></bndbox></object></annotation>"
)


def test_unverified_files_of_labelimg_are_truth_and_our_own_drafts_are_not(tmp_path: Path) -> None:
    store = project(in_memory(tmp_path), ["a.jpg", "b.jpg", "c.jpg"])
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "a.xml").write_text(VOC.format("no", "a", ""))
    (folder / "b.xml").write_text(VOC.format("yes", "b", ""))
    (folder / "c.xml").write_text(VOC.format("no", "c", "<label_source>model</label_source>"))
    taken = take_in(store, folder)
    assert (taken.images, taken.new, taken.unreviewed) == (2, 2, 1)
    assert {labels.image for labels in importing.current_labels(store)} == {"a.jpg", "b.jpg"}


@pytest.mark.parametrize("form", ["vott", "vott2", "cvat", "coco", "csv"])
def test_drafts_that_nobody_opened_are_never_truth(tmp_path: Path, form: str) -> None:
    store = project(in_memory(tmp_path), ["a.jpg", "b.jpg"])
    images = [ImageLabels("a.jpg", 64, 48, (CAT,), Review.UNOPENED), ImageLabels("b.jpg", 64, 48, (BOX,))]
    out = tmp_path / "labels"
    out.mkdir()
    formats.write(images, out, form, CLASSES)
    path = out if form == "vott2" else next(out.iterdir())
    taken = take_in(store, path, form=form)
    assert (taken.images, taken.unreviewed) == (1, 1)
    assert [labels.image for labels in importing.current_labels(store)] == ["b.jpg"]


def test_a_file_of_drafts_alone_is_refused(tmp_path: Path) -> None:
    store = project(in_memory(tmp_path), ["a.jpg"])
    path = csv(tmp_path / "a.csv", "a.jpg,cat,0.1,0.5,0.1,0.5,unopened,model")
    with pytest.raises(UserError, match=r"a\.csv: no image of it can be taken in; none of its 1 images was reviewed by a person"):
        take_in(store, path)


def test_a_yolo_list_gets_its_sizes_from_the_images(tmp_path: Path) -> None:
    store = project(in_memory(tmp_path), ["n/a.jpg"])
    folder = tmp_path / "yolo" / "labels" / "n"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    (tmp_path / "yolo" / "classes.txt").write_text("cat\ndog\n")
    take_in(store, tmp_path / "yolo")
    (labels,) = importing.current_labels(store)
    assert (labels.image, labels.width, labels.height) == ("n/a.jpg", 64, 48)


def test_older_labels_imported_again_do_not_undo_a_correction(tmp_path: Path) -> None:
    store = project(in_memory(tmp_path), ["a.jpg", "b.jpg"])
    old = csv(tmp_path / "old.csv", "a.jpg,cat,0.1,0.5,0.1,0.5,,")
    take_in(store, old, 1_800_000_000)
    corrected = csv(tmp_path / "corrected.csv", "a.jpg,dog,0.2,0.6,0.2,0.6,,")
    take_in(store, corrected, 1_800_000_100)
    more = csv(tmp_path / "more.csv", "a.jpg,dog,0.2,0.6,0.2,0.6,,", "b.jpg,cat,0.1,0.5,0.1,0.5,,")
    assert take_in(store, more, 1_800_000_200).new == 1
    assert {labels.image: labels.boxes for labels in importing.current_labels(store)} == {"a.jpg": (OTHER,), "b.jpg": (BOX,)}
    assert take_in(store, old, 1_800_000_300).new == 1, "said on purpose, after the correction, it counts"
    assert {labels.image: labels.boxes for labels in importing.current_labels(store)}["a.jpg"] == (BOX,)


def test_an_import_is_in_the_state_at_once(tmp_path: Path) -> None:
    store = project(in_memory(tmp_path), ["a.jpg"])
    take_in(store, csv(tmp_path / "a.csv", "a.jpg,cat,0.1,0.5,0.1,0.5,,"))
    assert [upload.images for upload in state.load(store.labels).uploads.values()] == [("a.jpg",)]


def test_the_labelled_set_holds_uploads_that_no_event_told_of(tmp_path: Path) -> None:
    store = project(in_memory(tmp_path), ["a.jpg"])
    take_in(store, csv(tmp_path / "a.csv", "a.jpg,cat,0.1,0.5,0.1,0.5,,"))
    state.update(store.labels, lambda before: replace(before, uploads={}))
    assert list(steps.lost_uploads(store)) and [labels.boxes for labels in importing.current_labels(store)] == [(BOX,)]


def test_the_test_split_keeps_its_images_and_takes_newer_labels(tmp_path: Path) -> None:
    store = project(in_memory(tmp_path), ["a.jpg"])
    for row in ("a.jpg,cat,0.1,0.5,0.1,0.5,,", "a.jpg,dog,0.2,0.6,0.2,0.6,,"):
        importing.import_labels(store, csv(tmp_path / "a.csv", row), CLASSES, None, "test", 1.0)
    (labels,) = importing.current_labels(store)
    assert labels.boxes == (OTHER,) and labels.boxes[0].source == HUMAN


def accept(store: Store, *images: ImageLabels, classes: tuple[str, ...] = CLASSES) -> None:
    """A commit of a machine that accepted these images."""
    autolabels.create(store.labels, "main/9", autolabels.Record("main/9", classes, 0.99, 0.95, 0.4, 0.05, 0))
    store.labels.create(layout.autolabelled("main/9"), table.table_bytes(images))
    before = commits.latest(store.labels)
    assert before is not None
    made = replace(before, sequence=before.sequence + 1, job="train-9", autolabelled="main/9")
    assert commits.publish(store.labels, made, before.sequence)


def exported(folder: Path, form: str) -> Path:
    """What to read of an export: its one file, or all of it."""
    return next(folder.iterdir()) if form in ("csv", "coco") else folder


PSEUDO = replace(CAT, source="pseudo@main/9")
WEAK = replace(OTHER, confidence=0.1, source="model")


@pytest.mark.parametrize("form", ["csv", "coco", "yolo", "voc"])
def test_accepted_images_are_exported_on_request_and_what_a_person_said_wins(tmp_path: Path, form: str) -> None:
    store = project(in_memory(tmp_path), ["a.jpg", "b.jpg", "c.jpg"])
    take_in(store, csv(tmp_path / "a.csv", "a.jpg,dog,0.2,0.6,0.2,0.6,,"))
    accept(store, *(ImageLabels(name, 64, 48, (PSEUDO, WEAK), Review.UNOPENED) for name in ("a.jpg", "b.jpg")))
    assert importing.export_labels(store, form, tmp_path / "people", CLASSES) == 1
    assert importing.export_labels(store, form, tmp_path / "all", CLASSES, with_accepted=True) == 2
    found = formats.read(exported(tmp_path / "all", form), form).images
    boxes = {labels.image.removesuffix(".jpg"): [box.label for box in labels.boxes] for labels in found}
    assert boxes == {"a": ["dog"], "b": ["cat"]}
    assert {labels.image.removesuffix(".jpg"): labels.review for labels in found} == {"a": Review.REVIEWED, "b": Review.UNOPENED}


@pytest.mark.parametrize("form", ["csv", "coco", "yolo", "voc"])
def test_what_the_machine_accepted_never_comes_back_as_a_persons(tmp_path: Path, form: str) -> None:
    store = project(in_memory(tmp_path), ["a.jpg", "b.jpg"])
    take_in(store, csv(tmp_path / "a.csv", "a.jpg,dog,0.2,0.6,0.2,0.6,,"))
    accept(store, ImageLabels("b.jpg", 64, 48, (PSEUDO,), Review.UNOPENED))
    importing.export_labels(store, form, tmp_path / "all", CLASSES, with_accepted=True)
    fresh = project("memory:", ["a.jpg", "b.jpg"])
    assert (take_in(fresh, exported(tmp_path / "all", form)).images, [one.image for one in importing.current_labels(fresh)]) == (
        1,
        ["a.jpg"],
    )


def test_accepted_images_of_other_classes_are_not_exported(tmp_path: Path) -> None:
    store = project(in_memory(tmp_path), ["a.jpg"])
    accept(store, ImageLabels("a.jpg", 64, 48, (PSEUDO,), Review.UNOPENED), classes=("cat",))
    with pytest.raises(UserError, match="nothing has been reviewed or accepted yet"):
        importing.export_labels(store, "csv", tmp_path / "all", CLASSES, with_accepted=True)


def test_the_command_exports_accepted_images_only_if_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = project(tmp_path / "store", ["a.jpg", "b.jpg"])
    take_in(store, csv(tmp_path / "a.csv", "a.jpg,dog,0.2,0.6,0.2,0.6,,"))
    accept(store, ImageLabels("b.jpg", 64, 48, (PSEUDO,), Review.UNOPENED))
    asked = ["export", tmp_path / "store", "--format", "coco", "--json", "--to"]
    assert Terminal(capsys).activelearning(*asked, tmp_path / "one").value["images"] == 1
    assert Terminal(capsys).activelearning(*asked, tmp_path / "two", "--with-accepted").value["images"] == 2
