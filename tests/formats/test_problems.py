"""Bad places: told with file and place, everything else kept."""

import json

import pytest

from activelearning import formats
from activelearning.errors import FormatError
from activelearning.formats import coco, colours, voc, vott1, yolo
from activelearning.labels import Box, ImageLabels, Review

GOOD = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 50, 50]}
BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;&x;">]><annotations>&y;</annotations>'
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'


def read_coco(tmp_path, annotations, images=None, **options):
    frames = images or [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 100}]
    content = {"images": frames, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "NULL"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    return coco.read(tmp_path / "a.json", **options)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({**GOOD, "bbox": [10, 20, 0, 50]}, "no area"),
        ({**GOOD, "bbox": [200, 20, 5, 5]}, "no area"),
        ({**GOOD, "bbox": [float("nan"), 20, 5, 5]}, "not a number"),
        ({**GOOD, "bbox": [10, 20, 5]}, "[x, y, width, height]"),
        ({**GOOD, "bbox": ["ten", 20, 5, 5]}, "not a number"),
        ({**GOOD, "bbox": None}, "no points"),
        ({**GOOD, "category_id": 9}, "category_id"),
        ({**GOOD, "category_id": 2}, "category_id"),
        ({**GOOD, "image_id": 9}, "image_id"),
        ({**GOOD, "iscrowd": 1}, "crowd"),
        ("text", "no image"),
    ],
)
def test_a_bad_annotation_is_told_and_the_others_kept(tmp_path, bad, why):
    reading = read_coco(tmp_path, [GOOD, bad])
    assert reading.images[0].boxes == (Box("cat", 0.1, 0.2, 0.6, 0.7),)
    problem = next(one for one in reading.problems if "annotation" in one.where)
    assert problem.where == "a.json, annotation 2" and why in problem.what


@pytest.mark.parametrize("segmentation", [[[1, 2, 3, 4]], [[1, 2, "x", 4, 5, 6]], {"counts": "oops", "size": [9, 9]}, {"counts": [1]}, 5])
def test_a_bad_outline_costs_only_the_outline(tmp_path, segmentation):
    reading = read_coco(tmp_path, [{**GOOD, "segmentation": segmentation}])
    assert reading.images[0].boxes == (Box("cat", 0.1, 0.2, 0.6, 0.7),)
    assert len([one for one in reading.problems if "kept without it" in one.what]) == 1


def test_boxes_partly_outside_are_clipped(tmp_path):
    assert read_coco(tmp_path, [{**GOOD, "bbox": [-50, 50, 100, 100]}]).images[0].boxes == (Box("cat", 0, 0.5, 0.5, 1),)


def test_images_that_share_an_id_are_left_out_rather_than_guessed(tmp_path):
    frames = [{"id": 1, "file_name": name, "width": 9, "height": 9} for name in ("a.jpg", "b.jpg")]
    reading = read_coco(tmp_path, [GOOD], frames)
    assert reading.images == () and len([one for one in reading.problems if "shares it" in one.what]) == 2


def test_coco_reviewed_key_and_unmarked(tmp_path):
    frames = [{"id": at, "file_name": f"{at}.jpg", **extra} for at, extra in enumerate([{"reviewed": True}, {"reviewed": False}, {}])]
    assert [one.review for one in read_coco(tmp_path, [], frames).images] == ["reviewed", "unopened", "reviewed"]
    assert read_coco(tmp_path, [], frames, unmarked=Review.UNOPENED).images[2].review is Review.UNOPENED


@pytest.mark.parametrize(("content", "name"), [(BOMB, "cvat"), (OUTSIDE, "voc")])
def test_entities_are_refused_in_one_sentence_that_names_the_file(tmp_path, content, name):
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(FormatError, match=r"a\.xml: defines XML entities"):
        formats.read(tmp_path / "a.xml", name)


def test_an_entity_bomb_among_voc_files_costs_only_itself(tmp_path):
    voc.write([ImageLabels("a.jpg", 9, 9)], tmp_path)
    (tmp_path / "bomb.xml").write_text(BOMB)
    reading = voc.read(tmp_path)
    assert [one.image for one in reading.images] == ["a.jpg"] and [one.where for one in reading.problems] == ["bomb.xml"]


def test_byte_order_marks_line_ends_and_extra_keys_are_no_matter(tmp_path):
    project = {"frames": {"a.jpg": []}, "visitedFrames": ["a.jpg"], "extra": {"deep": [1]}}
    text = json.dumps(project, indent=1).replace("\n", "\r\n")
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "a.json").write_bytes(text.encode(encoding))
        assert [one.image for one in formats.read(tmp_path / "a.json").images] == ["a.jpg"]


@pytest.mark.parametrize("tag", ["", "  ", "NULL", None, 5, "a\nb"])
def test_class_names_that_are_none_are_told(tmp_path, tag):
    region = {"x1": 1, "y1": 1, "x2": 2, "y2": 2, "width": 4, "height": 4}
    frames = {"a.jpg": [region | {"tags": [tag]}, region | {"tags": ["cat"]}, region]}
    (tmp_path / "a.json").write_text(json.dumps({"frames": frames}))
    reading = vott1.read(tmp_path / "a.json")
    assert [box.label for box in reading.images[0].boxes] == ["cat"]
    assert [one.where for one in reading.problems] == ["a.json, image 'a.jpg', region 1", "a.json, image 'a.jpg', region 3"]


def yolo_folder(tmp_path, files):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return yolo.read(tmp_path)


def test_yolo_beside_and_parallel_layouts(tmp_path):
    row = "0 0.5 0.5 0.2 0.2\n"
    beside = {"classes.txt": "cat\n", "x/a.jpg": "", "x/a.txt": row, "x/b.jpg": "", "x/b.txt": "", "c.jpg": ""}
    parallel = {"data.yaml": "names: [cat]", "train/images/a.jpg": "", "train/labels/a.txt": row, "train/images/b.jpg": ""}
    first, second = yolo_folder(tmp_path / "1", beside), yolo_folder(tmp_path / "2", parallel)
    assert {one.image: (len(one.boxes), one.review) for one in first.images} == {
        "x/a.jpg": (1, Review.REVIEWED),
        "x/b.jpg": (0, Review.REVIEWED),
        "c.jpg": (0, Review.UNOPENED),
    }
    assert {one.image: len(one.boxes) for one in second.images} == {"train/a.jpg": 1, "train/b.jpg": 0}


def test_yolo_labels_alone_are_images_without_their_file_type(tmp_path):
    files = {"obj.names": "cat\r\n", "labels/sub/a.b.txt": "0 0.5 0.5 0.2 0.2 0.75\r\n", "labels/sub/a.txt": ""}
    reading = yolo_folder(tmp_path, files)
    assert [(one.image, [box.confidence for box in one.boxes]) for one in reading.images] == [("sub/a.b", [0.75]), ("sub/a", [])]


def test_yolo_bad_rows_are_told_by_number(tmp_path):
    rows = ["0 0.5 0.5 0.2 0.2", "7 0.5 0.5 0.2 0.2", "0 0.5 0.5", "0 0.5 0.5 0 0.2", "x 1 1 1 1", "0.5 0.5 0.5 0.1 0.1", "0 nan 0 1 1"]
    reading = yolo_folder(tmp_path, {"classes.txt": "cat", "a.jpg": "", "a.txt": "\n".join(rows)})
    assert len(reading.images[0].boxes) == 1
    assert [one.where.rpartition(" ")[2] for one in reading.problems] == ["2", "3", "4", "5", "6", "7"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("nc: 2\nnames: ['a', \"b c\"]\n", ["a", "b c"]),
        ("names: [a, b]  # two\n", ["a", "b"]),
        ("names:\n  - a\n  - 'it''s'\nnc: 2\n", ["a", "it's"]),
        ("names:\n- a # first\n- b\n", ["a", "b"]),
        ("names:\n  0: a\n  2: c\n", ["a", "", "c"]),
        ("names: {0: a, 1: 'b, c'}\n", ["a", "b, c"]),
        ("names: [\n  a,\n  b,\n]\n", ["a", "b"]),
    ],
)
def test_the_plain_forms_of_yaml_names(text, names):
    assert yolo.yolo_names.from_yaml(text, "data.yaml") == names


CONTENTS = {
    "vott": '{"frames": {}}',
    "vott2": '{"name": "a", "sourceConnection": {}, "assets": {}}',
    "vott2-export": '{"name": "a", "assets": {}}',
    "coco": '\ufeff{"images": [], "annotations": [], "categories": []}',
    "cvat": '<?xml version="1.0" encoding="utf-8"?>\n<annotations/>',
    "voc": "<annotation><filename>a.jpg</filename></annotation>",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_format_is_told_by_content_whatever_the_file_is_called(tmp_path, name):
    (tmp_path / "labels").write_text(CONTENTS[name])
    assert formats.detect(tmp_path / "labels") == name
    assert formats.read(tmp_path / "labels").problems == ()


def test_csv_files_are_told_by_their_header(tmp_path):
    (tmp_path / "a").write_text('"image","xmin","ymin","xmax","ymax","label"\n')
    (tmp_path / "b").write_text("filename,class,xmin,xmax,ymin,ymax,height,width,folder\n")
    assert (formats.detect(tmp_path / "a"), formats.detect(tmp_path / "b")) == ("vott2-export", "csv")


@pytest.mark.parametrize("actual", CONTENTS)
@pytest.mark.parametrize("said", CONTENTS)
def test_a_file_of_another_format_names_the_one_it_is(tmp_path, actual, said):
    (tmp_path / "x.json").write_text(CONTENTS[actual])
    # an export is a project without its connections, so it can be read as one
    if said == actual or (said, actual) == ("vott2-export", "vott2"):
        return
    with pytest.raises(FormatError, match=f"x.json: this is {formats.FORMATS[actual]}, not .*; say --format {actual}$"):
        formats.read(tmp_path / "x.json", said)


def test_what_is_no_label_file_says_so(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(FormatError, match="no format that this program knows"):
            formats.read(path)
    with pytest.raises(FormatError, match="cannot be read"):
        formats.read(tmp_path / "missing.json")
    with pytest.raises(FormatError, match="'xyz' is not a format"):
        formats.read(tmp_path / "a.txt", "xyz")


@pytest.mark.parametrize("name", formats.FORMATS)
def test_every_format_can_be_written_into_a_folder_and_read_back(tmp_path, name):
    images = [ImageLabels("a.jpg", 8, 8, (Box("cat", 0, 0, 0.5, 0.5),))]
    formats.write(images, tmp_path, name, ["dog", "cat"])
    target = tmp_path if name in ("voc", "yolo", "vott2") else next(tmp_path.iterdir())
    (read,) = formats.read(target, size_of=lambda image: (8, 8)).images
    assert (read.image, read.boxes) == ("a.jpg", images[0].boxes)


def test_colours_are_distinct_and_stay_when_classes_join():
    names = [f"class {at}" for at in range(30)]
    assert len(set(colours.palette(names).values())) == 30
    assert colours.palette(names[:3]).items() <= colours.palette(names).items()
