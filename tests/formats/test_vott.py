"""VoTT 1 and 2: which images a person has opened."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from activelearning.errors import FormatError
from activelearning.formats import vott1, vott2
from activelearning.labels import Box, ImageLabels, Review

REVIEWED, UNOPENED = Review.REVIEWED, Review.UNOPENED
REGION = {"x1": 64, "y1": 48, "x2": 256, "y2": 192, "width": 640, "height": 480, "tags": ["cat"]}
BOX = Box("cat", 0.1, 0.1, 0.4, 0.4)
DRAFTS = [
    ImageLabels("a.jpg", 640, 480, (replace(BOX, confidence=0.75, source="model"),), UNOPENED),
    ImageLabels("b.jpg", 640, 480, (), UNOPENED),
    ImageLabels("c.jpg", 640, 480, (BOX,), UNOPENED),
    ImageLabels("d.jpg", 640, 480, (BOX,), REVIEWED),
    ImageLabels("e.jpg", 640, 480, (), REVIEWED),
]


def read1(tmp_path, project, **options):
    (tmp_path / "p.json").write_text(json.dumps(project))
    return vott1.read(tmp_path / "p.json", **options)


def reviews(reading):
    return {image.image: (len(image.boxes), image.review) for image in reading.images}


def test_vott1_tells_reviewed_from_unopened(tmp_path):
    frames = {"a.jpg": [REGION], "b.jpg": [], "c.jpg": [{}], "d.jpg": [REGION], "e.jpg": [], "": []}
    reading = read1(tmp_path, {"frames": frames, "visitedFrames": ["a.jpg", "C:\\photos\\b.jpg", "f.jpg"]})
    assert reading.problems == ()
    assert reviews(reading) == {
        "a.jpg": (1, REVIEWED),
        "b.jpg": (0, REVIEWED),
        "c.jpg": (0, REVIEWED),
        "d.jpg": (1, UNOPENED),
        "e.jpg": (0, UNOPENED),
        "f.jpg": (0, REVIEWED),
    }


@pytest.mark.parametrize("unmarked", Review)
def test_vott1_without_visited_frames(tmp_path, unmarked):
    reading = read1(tmp_path, {"frames": {"a.jpg": [REGION], "b.jpg": [], "c.jpg": [{}]}}, unmarked=unmarked)
    assert reviews(reading) == {"a.jpg": (1, unmarked), "b.jpg": (0, UNOPENED), "c.jpg": (0, REVIEWED)}


def test_vott1_numbered_frames_need_the_names(tmp_path):
    project = {"frames": {"0": [REGION], "1": [], "2": [REGION]}, "visitedFrames": [0, 1]}
    names = ["b.jpg", "A.jpg", "c.jpg"]
    assert reviews(read1(tmp_path, project, names=names)) == {"A.jpg": (1, REVIEWED), "b.jpg": (0, REVIEWED), "c.jpg": (1, UNOPENED)}
    with pytest.raises(FormatError, match="numbers its images"):
        read1(tmp_path, project)


def test_vott1_scales_by_the_regions_own_size_and_splits_tags(tmp_path):
    region = {**REGION, "x1": 32, "x2": 128, "width": 320, "tags": ["cat", "dog"]}
    (image,) = read1(tmp_path, {"frames": {"a.jpg": [region]}}).images
    assert image.boxes == (BOX, replace(BOX, label="dog"))


def vott1_saves(path, shown):
    """What VoTT 1 does to a file: it opens the first image, notes the ones stepped to, and keeps only its own seven keys."""
    project = json.loads(path.read_text())
    kept = ("frames", "framerate", "inputTags", "suggestiontype", "scd", "visitedFrames", "tag_colors")
    saved = {key: project[key] for key in kept}
    saved["visitedFrames"] += [name for name in shown if name not in saved["visitedFrames"]]
    path.write_text(json.dumps(saved))


def test_vott1_drafts_are_unopened_until_vott_shows_them(tmp_path):
    path = tmp_path / "images.json"
    vott1.write(DRAFTS, path, classes=["dog", "cat"])
    reading = vott1.read(path)
    untouched = {"a.jpg": (1, UNOPENED), "b.jpg": (0, UNOPENED), "c.jpg": (1, UNOPENED), "d.jpg": (1, REVIEWED), "e.jpg": (0, REVIEWED)}
    assert reviews(reading) == untouched
    assert reading.images[0].boxes == DRAFTS[0].boxes
    vott1_saves(path, shown=["b.jpg"])
    assert reviews(vott1.read(path)) == untouched | {"a.jpg": (1, REVIEWED), "b.jpg": (0, REVIEWED)}


def test_vott1_draft_has_every_key_that_vott_17_writes(tmp_path):
    vott1.write(DRAFTS, tmp_path / "images.json", classes=["dog", "cat"])
    project = json.loads((tmp_path / "images.json").read_text())
    (region,) = project["frames"]["c.jpg"]
    assert project["inputTags"] == "dog,cat" and len(set(project["tag_colors"])) == 2
    keys = {"x1", "y1", "x2", "y2", "width", "height", "box", "points", "UID", "id", "type", "tags", "name"}
    assert set(region) == keys and region["type"] == "Rectangle" and region["box"] == {"x1": 64, "y1": 48, "x2": 256, "y2": 192}


@pytest.mark.parametrize("label", ["red box", "a,b"])
def test_vott1_refuses_class_names_it_would_destroy(tmp_path, label):
    with pytest.raises(FormatError, match="blanks or commas"):
        vott1.write([ImageLabels("a.jpg", 1, 1, (replace(BOX, label=label),))], tmp_path / "p.json")


def test_vott1_refuses_equal_file_names_of_two_folders(tmp_path):
    with pytest.raises(FormatError, match=r"'x/a\.jpg' and 'y/a\.jpg'"):
        vott1.write([ImageLabels("x/a.jpg"), ImageLabels("y/a.jpg")], tmp_path / "p.json")


def vott2_opens(project: Path, identity: str, regions):
    """What VoTT 2 does when a person opens an image and leaves it with `regions` (`selectAsset`, `AssetService.save`)."""
    state = 2 if regions else 1
    listed = json.loads(project.read_text())
    listed["assets"][identity]["state"] = state
    file = project.parent / f"{identity}-asset.json"
    if regions:
        file.write_text(json.dumps({"asset": listed["assets"][identity], "regions": regions, "version": "2.2.0"}))
    else:
        file.unlink(missing_ok=True)
    project.write_text(json.dumps(listed))


def test_vott2_drafts_are_unopened_until_a_person_opens_them(tmp_path):
    project = vott2.write(DRAFTS, tmp_path, source=PurePosixPath("/photos"), name="batch", classes=["cat"])
    untouched = {"a.jpg": (1, UNOPENED), "b.jpg": (0, UNOPENED), "c.jpg": (1, UNOPENED), "d.jpg": (1, REVIEWED), "e.jpg": (0, REVIEWED)}
    assert reviews(vott2.read(project)) == untouched
    ids = {asset["name"]: identity for identity, asset in json.loads(project.read_text())["assets"].items()}
    draft = json.loads((tmp_path / f"{ids['a.jpg']}-asset.json").read_text())
    assert draft["asset"]["state"] == 0 and draft["regions"][0]["tags"] == ["cat"]
    vott2_opens(project, ids["a.jpg"], draft["regions"])
    vott2_opens(project, ids["c.jpg"], [])
    assert reviews(vott2.read(tmp_path)) == untouched | {"a.jpg": (1, REVIEWED), "c.jpg": (0, REVIEWED)}
    assert vott2.read(tmp_path).images[0].boxes == DRAFTS[0].boxes


@pytest.mark.parametrize(
    ("source", "identifier", "path"),
    [
        (PurePosixPath("/my photos"), "sub/a #1.jpg", "file:/my%20photos/sub/a%20%231.jpg"),
        (PureWindowsPath("C:\\my photos"), "sub\\a #1.jpg", "file:C:/my%20photos/sub/a%20%231.jpg"),
    ],
)
def test_vott2_finds_its_own_id_and_path_for_every_image(tmp_path, source, identifier, path):
    project = vott2.write([ImageLabels("sub/a #1.jpg", 4, 4)], tmp_path, source=source)
    ((identity, asset),) = json.loads(project.read_text())["assets"].items()
    assert identity == asset["id"] == hashlib.md5(identifier.encode()).hexdigest()
    assert (asset["path"], asset["name"], asset["format"]) == (path, "a%20%231.jpg", "jpg")
    assert vott2.read(project).images[0].image == "sub/a #1.jpg"


@pytest.mark.parametrize(
    ("listed", "filed", "expected", "problems"),
    [
        (0, 0, (1, UNOPENED), 0),
        (0, 2, (1, REVIEWED), 0),  # killed between its two files: the asset's is saved first
        (1, 0, (0, REVIEWED), 0),  # emptied, but the draft's file could not be removed
        (1, 2, (1, REVIEWED), 0),
        (2, 2, (1, REVIEWED), 0),
        (2, 0, (1, UNOPENED), 1),  # no path through VoTT leads here
        (None, 2, (1, REVIEWED), 0),
        (None, 0, (1, UNOPENED), 0),
    ],
)
def test_vott2_when_its_two_files_disagree(tmp_path, listed, filed, expected, problems):
    project = vott2.write([replace(DRAFTS[2], image="a.jpg")], tmp_path)
    (file,) = tmp_path.glob("*-asset.json")
    set_state(file, lambda content: content["asset"], filed)
    set_state(project, lambda content: content["assets"][file.name.removesuffix("-asset.json")], listed)
    reading = vott2.read(project)
    assert reviews(reading) == {"a.jpg": expected} and len(reading.problems) == problems


def set_state(file, asset_in, state):
    content = json.loads(file.read_text())
    asset_in(content).update({"state": state})
    file.write_text(json.dumps(content))


def test_vott2_a_tagged_image_whose_boxes_are_missing_is_left_out_and_named(tmp_path):
    project = vott2.write([DRAFTS[3]], tmp_path)
    next(tmp_path.glob("*-asset.json")).unlink()
    reading = vott2.read(project)
    assert reading.images == () and "asset file is missing" in reading.problems[0].what


def test_vott2_a_folder_of_two_projects_must_be_named(tmp_path):
    vott2.write([], tmp_path, name="one")
    vott2.write([], tmp_path, name="two")
    with pytest.raises(FormatError, match="2 VoTT projects"):
        vott2.read(tmp_path)
