"""Write, read, compare: every format gives back what it says it can hold."""

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from activelearning import outlines
from activelearning.errors import FormatError
from activelearning.formats import coco, cvat, voc, vott1, vott2, vott2_export, yolo
from activelearning.labels import Box, ImageLabels, Polygons, Review, Rle
from tests.formats import strategies
from tests.formats.likeness import assert_alike

EMPTY = ImageLabels("folder/a.jpg", 640, 480)

modest = settings(max_examples=30, deadline=None)
plain_images = strategies.sets_of(strategies.images())
masked_images = strategies.sets_of(strategies.images(masks=True))


def through(write, read, name, images):
    with tempfile.TemporaryDirectory() as folder:
        write(images, Path(folder) / name)
        reading = read(Path(folder) / name)
    assert reading.problems == ()
    return reading.images


def bare(image):
    return image.image.rpartition("/")[2]


def no_masks(image):
    return strategies.without(image, mask=None)


def sized_by_boxes(image):
    return image if image.boxes else replace(image, width=0, height=0)


@modest
@given(strategies.sets_of(strategies.images(strategies.bare_labels), bare))
def test_vott1_holds_all_but_folders_masks_and_the_size_of_empty_images(images):
    expected = {bare(image): replace(sized_by_boxes(no_masks(image)), image=bare(image)) for image in images}
    read = through(vott1.write, vott1.read, "images.json", images)
    assert_alike(sorted(read, key=bare), sorted(expected.values(), key=bare))


@modest
@given(plain_images)
def test_vott2_holds_all_but_run_length_masks(images):
    assert_alike(through(vott2.write, vott2.read, "project", images), images)


@modest
@given(masked_images)
def test_vott2_turns_run_length_masks_into_outlines(images):
    read = through(vott2.write, vott2.read, "project", images)
    assert_alike([no_masks(image) for image in read], [no_masks(image) for image in images])
    for image, original in zip(read, images, strict=True):
        assert [box.mask and len(box.mask.rings) for box in image.boxes] == [box.mask and 1 for box in original.boxes]


@modest
@given(plain_images)
def test_vott2_json_export_holds_all_but_run_length_masks(images):
    assert_alike(through(vott2_export.write, vott2_export.read, "export.json", images), images)


@modest
@given(strategies.sets_of(strategies.images(), bare))
def test_vott2_csv_export_holds_boxes_only(images):
    sizes = {bare(image): (image.width, image.height) for image in images}
    read = through(vott2_export.write, lambda path: vott2_export.read(path, size_of=sizes.__getitem__), "export.csv", images)
    kept = [strategies.without(image, confidence=None, source="human", mask=None) for image in images if image.boxes]
    assert_alike(read, [replace(image, image=bare(image), review=Review.REVIEWED) for image in kept])


@modest
@given(masked_images)
def test_cvat_holds_everything(images):
    assert_alike(through(cvat.write, cvat.read, "annotations.xml", images), images)


@modest
@given(masked_images)
def test_coco_holds_everything(images):
    assert_alike(through(coco.write, coco.read, "instances.json", images), images)


@modest
@given(st.lists(st.lists(strategies.fractions, min_size=6, max_size=6), min_size=1, max_size=3), strategies.plain_boxes())
def test_coco_holds_outlines_of_several_rings_and_boxes_that_are_not_their_bounds(rings, box):
    image = replace(EMPTY, boxes=(replace(box, mask=Polygons(tuple(map(tuple, rings)))),))
    assert_alike(through(coco.write, coco.read, "instances.json", [image]), [image])


@modest
@given(plain_images)
def test_voc_holds_all_but_masks(images):
    if not images:
        return
    read = through(voc.write, voc.read, "labels", images)
    assert_alike(sorted(read, key=str), sorted(map(no_masks, images), key=str))


@modest
@given(plain_images)
def test_yolo_holds_boxes_outlines_and_reviews(images):
    sizes = {image.image: (image.width, image.height) for image in images}
    read = through(yolo.write, lambda path: yolo.read(path, size_of=sizes.__getitem__), "labels", images)
    assert_alike(read, [strategies.without(image, confidence=None, source="human") for image in images])


@modest
@given(masked_images)
def test_yolo_turns_run_length_masks_into_outlines(images):
    read = through(yolo.write, yolo.read, "labels", images)
    for image, original in zip(read, images, strict=True):
        kinds = [(type(box.mask), type(other.mask)) for box, other in zip(image.boxes, original.boxes, strict=True)]
        assert all(kind == (Polygons if other is Rle else other) for kind, other in kinds)


@modest
@given(st.lists(strategies.corners(), min_size=2, max_size=3))
def test_cvat_turns_outlines_of_several_rings_into_masks(corners):
    rings = tuple((left, top, right, top, right, bottom, left, bottom) for left, top, right, bottom in corners)
    image = replace(EMPTY, boxes=(Box("cat", 0, 0, 1, 1, mask=Polygons(rings)),))
    [box] = through(cvat.write, cvat.read, "annotations.xml", [image])[0].boxes
    assert box.mask == outlines.fill(Polygons(rings), 640, 480)


def test_writers_refuse_a_file_that_is_there_with_other_content(tmp_path):
    for write, name in ((coco.write, "a.json"), (cvat.write, "a.xml"), (vott1.write, "b.json"), (vott2_export.write, "c.json")):
        (tmp_path / name).write_text("a person's work")
        assert_refused(write, [EMPTY], tmp_path / name, "is there already")
        assert (tmp_path / name).read_text() == "a person's work"


def test_writing_the_same_twice_is_no_error(tmp_path):
    for _ in range(2):
        vott2.write([EMPTY], tmp_path, name="batch")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["batch.vott"]


def test_boxes_in_an_image_of_unknown_size_are_refused_by_pixel_formats(tmp_path):
    unmeasured = ImageLabels("a.jpg", boxes=(Box("cat", 0, 0, 1, 1),))
    for at, write in enumerate((coco.write, cvat.write, vott1.write, vott2.write, vott2_export.write, voc.write)):
        assert_refused(write, [unmeasured], tmp_path / str(at), "width and height are unknown")


def assert_refused(write, images, path, why):
    try:
        write(images, path)
    except FormatError as error:
        assert why in str(error)
    else:
        raise AssertionError("it was written")
