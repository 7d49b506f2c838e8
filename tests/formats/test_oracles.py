"""What others read from our files, and we from theirs."""

import contextlib
import io
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from labelformat.formats.coco import COCOObjectDetectionInput, COCOObjectDetectionOutput
from labelformat.formats.cvat import CVATObjectDetectionInput
from labelformat.formats.pascalvoc import PascalVOCObjectDetectionInput, PascalVOCObjectDetectionOutput
from labelformat.formats.yolov8 import YOLOv8ObjectDetectionInput, YOLOv8ObjectDetectionOutput
from PIL import Image
from pycocotools import mask as pycoco_mask
from pycocotools.coco import COCO

from activelearning.formats import coco, cvat, voc, yolo, yolo_names
from activelearning.labels import Box, ImageLabels, Polygons
from tests.formats import strategies

IMAGES = [
    ImageLabels("a.png", 64, 48, (Box("cat", 0.125, 0.25, 0.5, 0.75), Box("dog & <co>", 0.0, 0.5, 1.0, 1.0, 0.5, "model"))),
    ImageLabels("b é.png", 32, 16, (Box("cat", 0.25, 0.25, 0.75, 0.5),)),
    ImageLabels("empty.png", 8, 8),
]
CLASSES = ["cat", "dog & <co>"]
EXPECTED = {
    "a.png": [("cat", (8, 12, 32, 36)), ("dog & <co>", (0, 24, 64, 48))],
    "b é.png": [("cat", (8, 4, 24, 8))],
    "empty.png": [],
}


def seen(labels):
    """File name → boxes in pixels, as labelformat has them."""
    return {
        Path(one.image.filename).name: [
            (thing.category.name, pytest.approx((thing.box.xmin, thing.box.ymin, thing.box.xmax, thing.box.ymax))) for thing in one.objects
        ]
        for one in labels
    }


def in_pixels(reading):
    return {
        image.image: [
            (
                box.label,
                pytest.approx((box.xmin * image.width, box.ymin * image.height, box.xmax * image.width, box.ymax * image.height), abs=1e-3),
            )
            for box in image.boxes
        ]
        for image in reading.images
    }


def write_coco(path):
    coco.write(IMAGES, path, classes=CLASSES)
    return COCOObjectDetectionInput(path)


def test_labelformat_reads_our_coco(tmp_path):
    assert seen(write_coco(tmp_path / "a.json").get_labels()) == EXPECTED


def test_labelformat_reads_our_cvat(tmp_path):
    cvat.write(IMAGES, tmp_path / "annotations.xml", classes=CLASSES)
    assert seen(CVATObjectDetectionInput(tmp_path / "annotations.xml").get_labels()) == EXPECTED


def test_labelformat_reads_our_voc(tmp_path):
    voc.write(IMAGES, tmp_path)
    assert seen(PascalVOCObjectDetectionInput(tmp_path, ",".join(CLASSES)).get_labels()) == EXPECTED


def test_labelformat_reads_our_yolo(tmp_path):
    yolo.write(IMAGES, tmp_path, classes=CLASSES)
    put_images(tmp_path / "images")
    assert seen(YOLOv8ObjectDetectionInput(tmp_path / "data.yaml", "train").get_labels()) == EXPECTED


def put_images(folder):
    folder.mkdir()
    for image in IMAGES:
        Image.new("L", (image.width, image.height)).save(folder / image.image)


def test_we_read_labelformats_coco_voc_and_yolo(tmp_path):
    ours = write_coco(tmp_path / "ours.json")
    COCOObjectDetectionOutput(tmp_path / "theirs.json").save(ours)
    PascalVOCObjectDetectionOutput(tmp_path / "voc").save(ours)
    YOLOv8ObjectDetectionOutput(tmp_path / "yolo" / "data.yaml", "train").save(ours)
    put_images(tmp_path / "yolo" / "images")
    sizes = {image.image: (image.width, image.height) for image in IMAGES}
    assert in_pixels(coco.read(tmp_path / "theirs.json")) == EXPECTED
    assert in_pixels(voc.read(tmp_path / "voc")) == EXPECTED
    assert in_pixels(yolo.read(tmp_path / "yolo", size_of=sizes.__getitem__)) == EXPECTED


def loaded(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pycocotools_loads_our_masks(tmp_path):
    ring = (0.25, 0.25, 0.75, 0.25, 0.75, 0.75, 0.25, 0.75)
    image = ImageLabels("a.png", 40, 20, (Box("cat", 0.25, 0.25, 0.75, 0.75, mask=Polygons((ring,))),))
    coco.write([image], tmp_path / "polygon.json")
    theirs = loaded(tmp_path / "polygon.json")
    mask = pycoco_mask.encode(theirs.annToMask(theirs.loadAnns(1)[0]))
    assert theirs.loadAnns(1)[0]["area"] == pycoco_mask.area(mask) == 200
    as_mask = json.loads((tmp_path / "polygon.json").read_text())
    as_mask["annotations"][0]["segmentation"] = {"counts": mask["counts"].decode(), "size": mask["size"]}
    (tmp_path / "rle.json").write_text(json.dumps(as_mask))
    (read,) = coco.read(tmp_path / "rle.json").images
    coco.write([read], tmp_path / "again.json")
    again = loaded(tmp_path / "again.json")
    assert (again.annToMask(again.loadAnns(1)[0]) == theirs.annToMask(theirs.loadAnns(1)[0])).all()


def test_uncompressed_counts_are_read_as_pycocotools_reads_them(tmp_path):
    keys = {"bbox": [1, 0, 2, 2], "segmentation": {"counts": [3, 2, 4], "size": [3, 3]}, "iscrowd": 1, "attributes": {}}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, **keys}
    images = [{"id": 1, "file_name": "a.png", "width": 3, "height": 3}]
    content = {"images": images, "annotations": [annotation], "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    (box,) = coco.read(tmp_path / "a.json").images[0].boxes
    assert box.mask.counts == pycoco_mask.frPyObjects(annotation["segmentation"], 3, 3)["counts"].decode()


@settings(max_examples=100, deadline=None)
@given(st.lists(strategies.labels, min_size=1, max_size=5))
def test_yaml_libraries_read_our_class_names(names):
    assert list(yaml.safe_load(yolo_names.to_yaml(names))["names"].values()) == names


@settings(max_examples=100, deadline=None)
@given(st.lists(strategies.labels, min_size=1, max_size=5), st.booleans(), st.sampled_from([None, False]))
def test_we_read_what_yaml_libraries_write(names, as_list, flow):
    content = {"nc": 1, "names": names if as_list else dict(enumerate(names))}
    assert yolo_names.from_yaml(yaml.safe_dump(content, default_flow_style=flow, width=10_000), "data.yaml") == names
