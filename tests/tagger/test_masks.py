"""Masks through the tagger's commands: drafts with masks go out, and come back as they were, or as the person left them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import defusedxml.ElementTree
import pytest

from activelearning import outlines, rle
from activelearning.labels import Mask, Polygons, Rle
from tests.tagger.batches import CAT, DOG, HEIGHT, WIDTH, Terminal, in_memory, project, uploads

_HALVES = (2, 5, 7, *[8] * 10, 7, 5, 2)
DISC = rle.from_spans(((x * HEIGHT + 16 - half, x * HEIGHT + 16 + half) for x, half in enumerate(_HALVES, 8)), HEIGHT, WIDTH)
"""In the cat's box."""
OUTLINE = Polygons(((0.5, 0.5, 0.875, 0.375, 0.6875, 0.8125),))
DRAFTS = replace(CAT, mask=DISC), replace(DOG, mask=OUTLINE)


def _cvat(folder: Path, change: bool) -> list[Path]:
    root = defusedxml.ElementTree.fromstring((folder / "annotations.xml").read_text("utf-8"))
    for image in root.iter("image"):
        ElementTree.SubElement(image, "tag", {"label": "reviewed", "source": "manual"})
        mask = image.find("mask")
        assert mask is not None and image.find("polygon") is not None
        if change:
            mask.attrib |= {"rle": "0, 4", "left": "10", "top": "12", "width": "2", "height": "2"}
    path = folder / "export.xml"
    path.write_text(ElementTree.tostring(root, "unicode"), "utf-8")
    return [path]


def _coco(folder: Path, change: bool) -> list[Path]:
    saved = json.loads((folder / "annotations.json").read_text("utf-8"))
    for image in saved["images"]:
        image["reviewed"] = True
    for annotation in saved["annotations"]:
        if change and isinstance(annotation["segmentation"], dict):
            runs = [10 * HEIGHT + 12, 2, HEIGHT - 2, 2]
            annotation["segmentation"]["counts"] = [*runs, WIDTH * HEIGHT - sum(runs)]
    path = folder / "export.json"
    path.write_text(json.dumps(saved), "utf-8")
    return [path]


def _vott2(folder: Path, change: bool) -> list[Path]:
    path = folder / "batch.vott"
    saved = json.loads(path.read_text("utf-8"))
    for identity, asset in saved["assets"].items():
        asset["state"] = 2
        file = folder / f"{identity}-asset.json"
        kept = json.loads(file.read_text("utf-8"))
        kept["asset"]["state"] = 2
        assert [region["type"] for region in kept["regions"]] == ["POLYGON", "POLYGON"]
        if change:
            kept["regions"][0]["points"] = kept["regions"][0]["points"][:3]
        file.write_text(json.dumps(kept), "utf-8")
    path.write_text(json.dumps(saved), "utf-8")
    return []


HANDS: dict[str, Callable[[Path, bool], list[Path]]] = {"cvat": _cvat, "coco": _coco, "vott2": _vott2}
SQUARE = rle.from_spans([(10 * HEIGHT + 12, 10 * HEIGHT + 14), (11 * HEIGHT + 12, 11 * HEIGHT + 14)], HEIGHT, WIDTH)
CAME_BACK: dict[str, tuple[Mask, Mask | None]] = {"cvat": (DISC, SQUARE), "coco": (DISC, SQUARE), "vott2": (outlines.trace(DISC), None)}


@pytest.mark.parametrize("tool", HANDS)
@pytest.mark.parametrize("change", [False, True])
def test_masks_go_out_as_drafts_and_come_back(tmp_path: Path, terminal: Terminal, tool: str, change: bool) -> None:
    store = project(in_memory(tmp_path), ["n/a.jpg"], DRAFTS)
    folder = tmp_path / "batch"
    terminal.tagger("download", 1, "--store", in_memory(tmp_path), "--to", folder, "--tool", tool)
    ran = terminal.tagger("upload", folder, *HANDS[tool](folder, change))
    assert ran.code == 0 and "warning" not in ran.err, ran.err
    [returned] = uploads(store)["reviewed.csv"].values()
    cat, dog = sorted(returned.boxes, key=lambda box: box.label)
    wanted = CAME_BACK[tool][change]
    assert cat.source == ("human" if change else "human-confirmed") and dog.source == "human-confirmed"
    assert wanted is None or _same(cat.mask, wanted)
    assert dog.mask is not None and outlines.alike(dog.mask, OUTLINE, 1e-3, 1e-3)


def _same(mask: Mask | None, wanted: Mask) -> bool:
    return mask == wanted if isinstance(wanted, Rle) else mask is not None and outlines.alike(mask, wanted, 1e-3, 1e-3)


@pytest.mark.parametrize(
    "shape",
    [
        {"rle": "0, 4", "left": "10", "top": "12", "width": "2", "height": "1"},
        {"rle": "0, 99999999999", "left": "0", "top": "0", "width": "99999999999", "height": "1"},
        {"rle": "-1, 5", "left": "10", "top": "12", "width": "2", "height": "2"},
        {"rle": "nan, 4", "left": "10", "top": "12", "width": "2", "height": "2"},
        {"rle": "0, 4", "left": "1e400", "top": "12", "width": "2", "height": "2"},
        {"rle": "0, 4", "left": "63", "top": "12", "width": "2", "height": "2"},
    ],
)
def test_a_mask_that_makes_no_sense_is_told_and_the_rest_handed_in(tmp_path: Path, terminal: Terminal, shape: dict[str, str]) -> None:
    store = project(in_memory(tmp_path), ["n/a.jpg"], DRAFTS)
    folder = tmp_path / "batch"
    terminal.tagger("download", 1, "--store", in_memory(tmp_path), "--to", folder, "--tool", "cvat")
    [path] = _cvat(folder, False)
    root = defusedxml.ElementTree.fromstring(path.read_text("utf-8"))
    next(root.iter("mask")).attrib.update(shape)
    path.write_text(ElementTree.tostring(root, "unicode"), "utf-8")
    ran = terminal.tagger("upload", folder, path)
    assert "mask 1" in ran.err
    assert [box.label for box in uploads(store)["reviewed.csv"]["n/a.jpg"].boxes] == ["dog"]
