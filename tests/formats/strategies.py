"""Labels as no tool would think of them: odd names, many shapes, every review state and source."""

from dataclasses import replace

from hypothesis import strategies as st

from activelearning import rle
from activelearning.labels import Box, ImageLabels, Polygons, Review

ODD = "abZ09 _-.äß漢🙂'\"&<>%;#?+@=(),[]{}!$~^|:"
SOURCES = ("human", "human-confirmed", "model", "pseudo@main/3")

names = st.text(ODD, min_size=1, max_size=10)
labels = names.map(str.strip).filter(lambda name: name and name not in ("NULL", "reviewed"))
bare_labels = st.text(ODD.replace(" ", "").replace(",", ""), min_size=1, max_size=10)
folders = st.lists(names.filter(lambda name: name.strip(".")), max_size=2)
image_names = st.builds(lambda parts, name: "/".join([*parts, f"{name}.jpg"]), folders, names)
fractions = st.floats(0, 1, allow_nan=False)


@st.composite
def corners(draw):
    xmin, ymin = draw(st.floats(0, 0.99)), draw(st.floats(0, 0.99))
    return xmin, ymin, draw(st.floats(xmin + 0.005, 1)), draw(st.floats(ymin + 0.005, 1))


def details(label, corners, mask=None):
    confidence = st.none() | fractions
    return st.builds(Box, label, *map(st.just, corners), confidence, st.sampled_from(SOURCES), st.just(mask))


@st.composite
def plain_boxes(draw, label=labels):
    return draw(details(label, draw(corners())))


@st.composite
def outlined_boxes(draw, label=labels):
    """A box that is the bounds of its outline."""
    xmin, ymin, xmax, ymax = draw(corners())
    middle = ((xmin + xmax) / 2, (ymin + ymax) / 2)
    mask = Polygons(((xmin, middle[1], middle[0], ymin, xmax, middle[1], middle[0], ymax),))
    return draw(details(label, (xmin, ymin, xmax, ymax), mask))


@st.composite
def masked_boxes(draw, width, height, label=labels):
    """A box that is the bounds of its run-length mask."""
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    size = draw(st.integers(1, width - left)), draw(st.integers(1, height - top))
    runs, free = [0], size[0] * size[1]
    while free:
        runs.append(draw(st.integers(1, free)))
        free -= runs[-1]
    mask = rle.from_crop(runs, (left, top, *size), height, width)
    xmin, ymin, xmax, ymax = rle.bounds(mask)
    return draw(details(label, (xmin / width, ymin / height, xmax / width, ymax / height), mask))


@st.composite
def images(draw, label=labels, masks=False):
    name, review = draw(image_names), draw(st.sampled_from(Review))
    width, height = draw(st.integers(1, 40 if masks else 9000)), draw(st.integers(1, 40 if masks else 9000))
    kinds = [plain_boxes(label), outlined_boxes(label), *([masked_boxes(width, height, label)] if masks else [])]
    return ImageLabels(name, width, height, tuple(draw(st.lists(st.one_of(kinds), max_size=4))), review)


def sets_of(image, key=lambda image: image.image):
    return st.lists(image, max_size=4, unique_by=key)


def without(image, **fields):
    """The image with `fields` of all its boxes replaced."""
    return replace(image, boxes=tuple(replace(box, **fields) for box in image.boxes))
