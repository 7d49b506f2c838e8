"""Files that other tools wrote, read to the numbers that stand in them."""

from pathlib import Path

import pytest

from activelearning import formats
from activelearning.formats import vott1, vott2, vott2_export
from activelearning.labels import Polygons, Review

SAMPLES = Path(__file__).parents[1] / "data" / "formats"

RED = ("red box", (0.1, 0.1, 0.4, 0.4))
ELLIPSE = ("ellipse", (0.55, 0.5, 0.85, 0.9))
BOTH_TAGS = [("red box", (0.45, 0.05, 0.95, 0.3)), ("Überlappt & mehr", (0.45, 0.05, 0.95, 0.3))]
POLYGON = ("ellipse", (0.12, 0.08, 0.38, 0.35))


def content(image):
    return [(box.label, tuple(round(value, 6) for value in box.xyxy)) for box in image.boxes]


def by_name(reading):
    return {image.image: image for image in reading.images}


@pytest.mark.parametrize(
    ("path", "options", "folder"),
    [
        ("vott2/plain", {}, ""),
        ("vott2/plain/plain.vott", {}, ""),
        ("vott2/token", {}, "/images/"),
        ("vott2/token", {"root": "/images"}, ""),
        ("vott2/plain-export-assetState-all.json", {"root": "/images/"}, ""),
    ],
)
def test_vott2_projects_and_exports_say_the_same(path, options, folder):
    reading = formats.read(SAMPLES / path, **options)
    images = by_name(reading)
    assert reading.problems == ()
    assert content(images[f"{folder}boxes.png"]) == [RED, ELLIPSE, *BOTH_TAGS]
    assert content(images[f"{folder}poly gon.jpg"]) == [POLYGON]
    assert content(images[f"{folder}empty.jpg"]) == []
    assert {image.review for name, image in images.items() if "zz" not in name} == {Review.REVIEWED}
    assert (images[f"{folder}boxes.png"].width, images[f"{folder}boxes.png"].height) == (640, 480)


def test_a_vott2_polygon_keeps_its_points():
    (box,) = by_name(vott2.read(SAMPLES / "vott2/plain"))["poly gon.jpg"].boxes
    assert isinstance(box.mask, Polygons)
    assert box.mask.rings[0] == pytest.approx((0.12, 0.12, 0.25, 0.08, 0.38, 0.14, 0.33, 0.35), abs=1e-6)


def test_vott2_exports_all_with_the_images_nobody_opened():
    images = by_name(vott2_export.read(SAMPLES / "vott2/plain-export-assetState-all.json", root="/images"))
    assert images["sub/zz_notvisited.png"].review is Review.UNOPENED


def test_vott2_on_azure_names_blobs_with_folders_and_without_the_sas():
    reading = vott2.read(SAMPLES / "vott2/azure")
    assert [(image.image, content(image)) for image in reading.images] == [("boxes.png", [RED]), ("sub/zz_notvisited.png", [])]


def test_vott2_csv_export_needs_sizes_and_decodes_names():
    sizes = {"boxes.png": (640, 480), "poly gon.jpg": (800, 500)}
    reading = formats.read(SAMPLES / "vott2/plain-export.csv", size_of=sizes.__getitem__)
    assert {name: content(image) for name, image in by_name(reading).items()} == {
        "boxes.png": [RED, ELLIPSE, *BOTH_TAGS],
        "poly gon.jpg": [POLYGON],
    }


def test_vott1_reads_what_vott2_imports():
    reading = vott1.read(SAMPLES / "vott1/as-v2-imports-it.json")
    assert {name: (content(image), image.review) for name, image in by_name(reading).items()} == {
        "boxes.png": ([RED, ELLIPSE, ("red box", ELLIPSE[1])], Review.REVIEWED),
        "poly gon.jpg": ([("red box", (0.1, 0.1, 0.4, 0.4))], Review.REVIEWED),
        "empty.jpg": ([], Review.REVIEWED),
    }


def test_vott2s_pascal_voc_is_invalid_where_a_tag_has_an_ampersand_and_the_rest_is_kept():
    reading = formats.read(SAMPLES / "voc/vott2")
    assert {name: content(image) for name, image in by_name(reading).items()} == {"empty.jpg": [], "poly%20gon.jpg": [POLYGON]}
    (problem,) = reading.problems
    assert problem.where == "boxes.xml"
    assert "not valid XML" in problem.what and "&amp;" in problem.what


def test_bccds_boxes_without_area_are_told_with_file_and_object_and_the_rest_is_kept():
    reading = formats.read(SAMPLES / "voc/bccd")
    assert [problem.where for problem in reading.problems] == ["BloodImage_00338.xml, object 13", "BloodImage_00343.xml, object 4"]
    assert "504, 337, 504, 337 in 640 × 480" in reading.problems[0].what
    assert [len(image.boxes) for image in reading.images] == [
        (SAMPLES / "voc/bccd" / name).read_text().count("<object>") - faulty
        for name, faulty in (("BloodImage_00000.xml", 0), ("BloodImage_00338.xml", 1), ("BloodImage_00343.xml", 1))
    ]


def test_cvat_task_export():
    reading = formats.read(SAMPLES / "cvat/task_cvat_images_1.1.zip")
    first, second, third = reading.images
    assert content(first) == [("cat", (0.05, 0.2, 0.3, 0.7))] and first.boxes[0].source == "model"
    assert content(second) == [("dog", (0.5, 0.3, 0.75, 0.8))] * 2 and {box.source for box in second.boxes} == {"human"}
    assert second.boxes[0].mask == Polygons(((0.5, 0.3, 0.75, 0.3, 0.75, 0.8, 0.5, 0.8),)) and second.boxes[1].mask is None
    assert content(third) == [] and third.review is Review.REVIEWED
    assert formats.read(SAMPLES / "cvat/task_cvat_images_1.1.zip", unmarked=Review.UNOPENED).images[2].review is Review.UNOPENED


def test_cvat_project_export_names_images_that_several_tasks_label_differently():
    reading = formats.read(SAMPLES / "cvat/project_cvat_images_1.1_with_images.zip")
    assert [image.image for image in reading.images] == ["im_3.jpg", "im_5.jpg", "im_1.jpg"]
    assert {(box.source, box.confidence) for image in reading.images for box in image.boxes} == {("model", 0.0)}
    assert len(reading.problems) == 3 and all("more than once" in problem.what for problem in reading.problems)


def test_cvat_coco_exports():
    task = formats.read(SAMPLES / "cvat/task_coco_1.0.zip")
    assert [content(image) for image in task.images] == [[("cat", (0.05, 0.2, 0.3, 0.7))], [("dog", (0.5, 0.3, 0.75, 0.8))], []]
    assert [box.source for image in task.images for box in image.boxes] == ["model", "human"]
    job = formats.read(SAMPLES / "cvat/job_coco_1.0_with_images.zip")
    assert [(image.image, image.boxes[0].confidence) for image in job.images] == [("im_3.jpg", 0.0), ("im_0.jpg", 0.0)]


@pytest.mark.parametrize("name", ["task_yolo_1.1", "task_voc_1.1"])
def test_cvat_yolo_and_voc_exports(name):
    images = by_name(formats.read(SAMPLES / f"cvat/{name}.zip", size_of=lambda image: (200, 100)))
    assert content(images["img0.jpg"]) == [("cat", (0.05, 0.2, 0.3, 0.7))]
    assert content(images["img1.jpg"]) == [("dog", (0.5, 0.3, 0.75, 0.8))]
    assert {(image.width, image.height, image.review) for image in images.values()} == {(200, 100, Review.REVIEWED)}
