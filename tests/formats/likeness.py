"""Equality of labels as far as floating point allows."""

import pytest

from activelearning.labels import Polygons


def assert_alike(read, expected):
    """The same images in the same order, corners and outlines to 1e-6."""
    assert [image.image for image in read] == [image.image for image in expected]
    for image, wanted in zip(read, expected, strict=True):
        assert (image.width, image.height, image.review) == (wanted.width, wanted.height, wanted.review)
        assert [_exact(box) for box in image.boxes] == [_exact(box) for box in wanted.boxes]
        for box, other in zip(image.boxes, wanted.boxes, strict=True):
            assert box.xyxy == pytest.approx(other.xyxy, abs=1e-6)
            assert _points(box) == pytest.approx(_points(other), abs=1e-6)


def _exact(box):
    return box.label, box.confidence, box.source, None if isinstance(box.mask, Polygons) else box.mask, len(_points(box))


def _points(box):
    return [value for ring in box.mask.rings for value in ring] if isinstance(box.mask, Polygons) else []
