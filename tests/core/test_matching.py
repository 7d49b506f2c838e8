"""Labels land on the image they mean, or on none."""

import pytest

from activelearning.labels import Box, ImageLabels, Reading
from activelearning.matching import with_blob_names, with_known_classes

BLOBS = ["a.jpg", "night-1/b.jpg", "night-2/b.jpg", "night-1/c.jpg", "deep/night-1/d.png", "twin.jpg", "twin.png", "x/e.v2.jpg"]

MEANT = {
    "a.jpg": "a.jpg",
    "a": "a.jpg",
    "photos/a.jpg": "a.jpg",
    "night-2/b.jpg": "night-2/b.jpg",
    "C:/data/night-2/b.jpg": "night-2/b.jpg",
    "night-2/b": "night-2/b.jpg",
    "c.jpg": "night-1/c.jpg",
    "d": "deep/night-1/d.png",
    "night-1/d.png": "deep/night-1/d.png",
    "e.v2": "x/e.v2.jpg",
}


@pytest.mark.parametrize(("stated", "blob"), MEANT.items())
def test_a_name_means_the_one_blob_that_fits(stated: str, blob: str) -> None:
    reading = with_blob_names(Reading((ImageLabels(stated),)), BLOBS, "labels.json")
    assert [labels.image for labels in reading.images] == [blob] and not reading.problems


UNCLEAR = {
    "b.jpg": "2 images have this name (night-1/b.jpg, night-2/b.jpg); write it with its folder",
    "twin": "2 images have this name (twin.jpg, twin.png); write it with its folder",
    "night-3/c.jpg": "no image of the container has this name; upload it first, or correct the name",
    "1/c.jpg": "no image of the container has this name; upload it first, or correct the name",
    "a.png": "no image of the container has this name; upload it first, or correct the name",
}


@pytest.mark.parametrize(("stated", "what"), UNCLEAR.items())
def test_a_name_that_fits_none_or_several_is_left_out(stated: str, what: str) -> None:
    reading = with_blob_names(Reading((ImageLabels(stated),)), BLOBS, "labels.json")
    assert not reading.images and [str(p) for p in reading.problems] == [f"labels.json image '{stated}': {what}"]


def test_two_entries_that_mean_one_image_must_agree() -> None:
    box = Box("cat", 0, 0, 1, 1)
    both = (ImageLabels("one/a.jpg", boxes=(box,)), ImageLabels("two/a.jpg"))
    contradicting = with_blob_names(Reading(both), BLOBS, "labels.json")
    assert not contradicting.images and "contradict each other" in contradicting.problems[0].what
    agreeing = with_blob_names(Reading((both[1], ImageLabels("a.jpg"))), BLOBS, "labels.json")
    assert [labels.image for labels in agreeing.images] == ["a.jpg"] and not agreeing.problems


def test_an_image_with_an_unknown_class_is_left_out_whole() -> None:
    images = (ImageLabels("a", boxes=(Box("cat", 0, 0, 1, 1), Box("cow", 0, 0, 1, 1))), ImageLabels("b", boxes=(Box("cat", 0, 0, 1, 1),)))
    reading = with_known_classes(Reading(images), ("cat",))
    assert [labels.image for labels in reading.images] == ["b"]
    assert str(reading.problems[0]).startswith("image 'a': class 'cow' is not in project.toml (cat); the image was left out")
