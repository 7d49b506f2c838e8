"""A whole turn of the loop on masks: labelled, learned, measured, drafted, handed out for CVAT, and handed in as they were."""

import csv
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import defusedxml.ElementTree
import pytest

from activelearning import cli as activelearning_cli
from activelearning import commits, layout, project_file, table
from activelearning.labels import HUMAN_CONFIRMED, ImageLabels, Rle
from activelearning.settings import Detector, Drafts, Prediction, Training
from activelearning.store import Store, open_store
from tagger_client import cli as tagger_cli
from tests.clock import Clock
from tests.trainer import loops, shapes

SIZE = (96, 96)
SETTINGS = replace(
    loops.SETTINGS,
    classes=shapes.CLASSES,
    task="masks",
    detector=Detector(family="compact-seg", long_side=96),
    training=Training(iterations=30, batch_size=4, threads=1),
    prediction=Prediction(min_confidence=0.01, max_detections=3, mc_samples=2),
    drafts=Drafts(learned=False, min_confidence=0.0),
)


def _labels(store: Store, name: str) -> tuple[ImageLabels, ...]:
    reading = table.read_labels(store.labels.read(name).content.decode(), name)
    assert not reading.problems
    return reading.images


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str, loops.World]:
    """A project with twelve scenes, six of them labelled and learned; one object of the last has no mask."""
    place = str(tmp_path_factory.mktemp("masks"))
    clock = Clock()
    store = open_store(place, clock)
    store.labels.create(layout.PROJECT, project_file.render_project(SETTINGS).encode())
    for seed in range(12):
        store.images.create(f"{seed:02}.png", shapes.png(seed, SIZE, 2))
    labelled = [shapes.labels(seed, f"{seed:02}.png", SIZE, 2) for seed in range(6)]
    for at in (0, 5):
        # whichever of them lands in the test split
        first, *others = labelled[at].boxes
        labelled[at] = replace(labelled[at], boxes=(replace(first, mask=None), *others))
    store.labels.create(layout.batch_reviewed("b1"), table.table_bytes(labelled))
    world = loops.World(store, clock)
    world.settle()
    return store, place, world


def test_masks_are_learned_measured_and_drafted(turned: tuple[Store, str, loops.World]) -> None:
    store, _, world = turned
    rows = list(csv.DictReader(store.labels.read(layout.PERFORMANCE).content.decode().splitlines()))
    assert {"mask_ap", "mask_ap50", "mask_ap75", "mask_ar100", "mask_ap_small", "ap", "ap50"} <= {row["metric"] for row in rows}
    assert any("of masks AP50" in line for line in world.told)
    commit = commits.latest(store.labels)
    assert commit is not None
    drafts = [box for labels in _labels(store, commit.totag) for box in labels.boxes]
    masks = [box.mask for box in drafts if box.mask]
    assert masks and all(isinstance(mask, Rle) and (mask.width, mask.height) == SIZE for mask in masks)


def test_an_object_without_a_mask_is_told_with_its_image_and_what_to_do(turned: tuple[Store, str, loops.World]) -> None:
    told = [line for line in turned[2].told if "have no mask" in line]
    assert {line.split()[1].rstrip(":") for line in told} == {"00.png", "05.png"}
    assert all("1 of its" in line and "draw the masks and hand the image in again" in line for line in told)


def test_status_and_export_show_masks(turned: tuple[Store, str, loops.World], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, place, _ = turned
    assert activelearning_cli.main(["status", place]) == 0
    assert "mask AP50" in capsys.readouterr().out
    assert activelearning_cli.main(["export", place, "--format", "coco", "--to", str(tmp_path / "out")]) == 0
    [file] = (tmp_path / "out").rglob("*.json")
    wanted = shapes.labels(1, "01.png", SIZE, 2)
    from activelearning.formats import coco

    assert next(one for one in coco.read(file).images if one.image == "01.png").boxes == wanted.boxes


def test_masks_are_handed_out_for_cvat_and_come_back_as_they_were(turned: tuple[Store, str, loops.World], tmp_path: Path) -> None:
    store, place, _ = turned
    folder = tmp_path / "batch"
    assert tagger_cli.main(["download", "3", "--store", place, "--to", str(folder), "--tool", "cvat"]) == 0
    root = defusedxml.ElementTree.fromstring((folder / "annotations.xml").read_text("utf-8"))
    for image in root.iter("image"):
        ElementTree.SubElement(image, "tag", {"label": "reviewed", "source": "manual"})
    assert next(root.iter("mask"), None) is not None
    (folder / "export.xml").write_text(ElementTree.tostring(root, "unicode"), "utf-8")
    assert tagger_cli.main(["upload", str(folder), str(folder / "export.xml")]) == 0
    [batch] = {info.name.split("/")[1] for info in store.labels.list("batches/")} - {"b1"}
    handed_out = {one.image: one for one in _labels(store, layout.batch_totag(batch))}
    for returned in _labels(store, layout.batch_reviewed(batch)):
        drafts = handed_out[returned.image].boxes
        assert [box.mask for box in returned.boxes] == [box.mask for box in drafts]
        assert {box.source for box in returned.boxes} <= {HUMAN_CONFIRMED}
