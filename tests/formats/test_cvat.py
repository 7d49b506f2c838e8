"""CVAT: review tag, provenance, turned boxes, shapes that are no boxes."""

import pytest
from defusedxml import ElementTree

from activelearning import rle
from activelearning.errors import FormatError
from activelearning.formats import cvat
from activelearning.labels import Box, ImageLabels, Review

BOX = '<box label="cat" {} xtl="10" ytl="20" xbr="60" ybr="70">{}</box>'
REVIEWED_TAG = '<tag label="reviewed" source="manual"></tag>'


def read(tmp_path, images, labels="", **options):
    (tmp_path / "a.xml").write_text(f"<annotations><meta><job><labels>{labels}</labels></job></meta>{images}</annotations>")
    return cvat.read(tmp_path / "a.xml", **options)


def image(name, content=""):
    return f'<image id="0" name="{name}" width="100" height="100">{content}</image>'


def attribute(name, value):
    return f'<attribute name="{name}">{value}</attribute>'


def test_in_a_file_that_knows_the_reviewed_tag_other_images_are_unopened(tmp_path):
    tagged, plain = image("a.jpg", REVIEWED_TAG), image("b.jpg", BOX.format("", ""))
    known = "<label><name>reviewed</name><type>tag</type></label>"
    reviews = {one.image: one.review for one in read(tmp_path, tagged + plain).images}
    assert reviews == {"a.jpg": Review.REVIEWED, "b.jpg": Review.UNOPENED}
    assert read(tmp_path, plain, known).images[0].review is Review.UNOPENED
    assert read(tmp_path, plain).images[0].review is Review.REVIEWED
    assert read(tmp_path, plain, unmarked=Review.UNOPENED).images[0].review is Review.UNOPENED


SCORE = attribute("score", "0.75")


@pytest.mark.parametrize(
    ("attributes", "content", "source", "confidence"),
    [
        ('source="auto"', SCORE, "model", 0.75),
        ('source="auto" score="0.5"', SCORE, "model", 0.5),
        ('source="auto"', attribute("source", "pseudo@main/2"), "pseudo@main/2", None),
        ('source="manual"', attribute("score", "0") + attribute("source", "model"), "human", None),
        ('source="semi-auto"', SCORE + attribute("source", "model"), "human", 0.75),
        ('source="file"', SCORE + attribute("source", "model"), "model", 0.75),
        ('source="file"', attribute("is_pseudo", "true"), "model", None),
        ('source="file"', attribute("is_pseudo", "false") + attribute("source", ""), "human", None),
        ('source="file"', attribute("source", "human-confirmed"), "human-confirmed", None),
        ("", "", "human", None),
    ],
)
def test_provenance(tmp_path, attributes, content, source, confidence):
    reading = read(tmp_path, image("a.jpg", BOX.format(attributes, content)))
    assert reading.problems == ()
    assert reading.images[0].boxes == (Box("cat", 0.1, 0.2, 0.6, 0.7, confidence, source),)


def test_a_score_that_makes_no_sense_costs_only_the_score(tmp_path):
    reading = read(tmp_path, image("a.jpg", BOX.format('source="auto" score="83"', "")))
    assert [box.confidence for box in reading.images[0].boxes] == [None]
    assert "not between 0 and 1" in reading.problems[0].what


def test_a_turned_box_becomes_the_box_around_it_and_is_told(tmp_path):
    reading = read(tmp_path, image("a.jpg", '<box label="cat" rotation="90.0" xtl="40" ytl="30" xbr="60" ybr="70"/>'))
    assert reading.images[0].boxes[0].xyxy == pytest.approx((0.3, 0.4, 0.7, 0.6))
    assert "turned by 90.0°" in reading.problems[0].what


def test_a_mask_lies_where_its_rectangle_is(tmp_path):
    mask = '<mask label="cat" source="manual" rle="1, 2, 3" left="10" top="20" width="3" height="2"/>'
    (box,) = read(tmp_path, image("a.jpg", mask)).images[0].boxes
    assert box.xyxy == pytest.approx((0.11, 0.20, 0.13, 0.21))


@pytest.mark.parametrize("rle", ["", "1, 2", "-1, 7", "1, x", "1e99"])
def test_a_damaged_mask_is_told_and_the_rest_kept(tmp_path, rle):
    mask = f'<mask label="cat" rle="{rle}" left="10" top="20" width="3" height="2"/>'
    reading = read(tmp_path, image("a.jpg", mask + BOX.format("", "")))
    assert len(reading.images[0].boxes) == 1 and reading.problems[0].where == "a.xml, image 'a.jpg', mask 1"


def test_shapes_that_are_no_boxes_are_told(tmp_path):
    others = ["polyline", "points", "ellipse", "cuboid", "skeleton"]
    content = "".join(f'<{shape} label="cat"/>' for shape in others) + '<tag label="blurred"/>'
    reading = read(tmp_path, image("a.jpg", content) + '<track id="3"/>')
    assert len(reading.problems) == 7 and reading.images[0].boxes == ()
    assert all(any(shape in problem.what for problem in reading.problems) for shape in [*others, "track", "blurred"])


def test_a_mask_of_another_size_is_written_as_its_box(tmp_path):
    mask = rle.from_runs([10, 5, 10], 5, 5)
    original = ImageLabels("a.jpg", 100, 100, (Box("cat", 0.1, 0.1, 0.5, 0.5, mask=mask),))
    cvat.write([original], tmp_path / "a.xml")
    assert [box.mask for box in cvat.read(tmp_path / "a.xml").images[0].boxes] == [None]


def test_the_head_declares_labels_colours_and_attributes(tmp_path):
    cvat.write([], tmp_path / "a.xml", classes=["cat", "dog"])
    labels = ElementTree.parse(tmp_path / "a.xml").findall("meta/task/labels/label")
    assert [(label.findtext("name"), label.findtext("type")) for label in labels] == [("cat", "any"), ("dog", "any"), ("reviewed", "tag")]
    assert len({label.findtext("color") for label in labels}) == 3
    declared = [(one.findtext("name"), one.findtext("input_type"), one.findtext("default_value")) for one in labels[0].iter("attribute")]
    assert declared == [("score", "number", "0"), ("source", "text", "")]


def test_a_class_named_as_the_review_tag_is_refused(tmp_path):
    with pytest.raises(FormatError, match="rename the class"):
        cvat.write([], tmp_path / "a.xml", classes=["reviewed"])


def test_a_name_that_xml_cannot_hold_is_refused(tmp_path):
    with pytest.raises(FormatError, match="control character"):
        cvat.write([ImageLabels("a\x01.jpg")], tmp_path / "a.xml")
    assert list(tmp_path.iterdir()) == []
