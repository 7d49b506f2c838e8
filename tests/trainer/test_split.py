"""The test split is stratified and sticky."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from activelearning import labelled, layout
from activelearning.labels import Box, ImageLabels
from activelearning.settings import TestSplit as Split
from activelearning.store import open_store
from trainer import split


def image(number: int, *classes: str) -> ImageLabels:
    return ImageLabels(f"{number}.jpg", 10, 10, tuple(Box(name, 0.1, 0.1, 0.5, 0.5) for name in classes))


def names(images: tuple[ImageLabels, ...]) -> set[str]:
    return {labels.image for labels in images}


def test_each_stratum_gives_its_share() -> None:
    tagged = [image(n, "deer") for n in range(60)] + [image(n, "deer", "fox") for n in range(60, 90)] + [image(n) for n in range(90, 100)]
    drawn = split.joining(tagged, (), names(tuple(tagged)), Split(0.2))
    assert Counter("fox" if len(one.boxes) == 2 else "deer" if one.boxes else "none" for one in drawn) == {"deer": 12, "fox": 6, "none": 2}


def test_nothing_joins_a_split_that_is_large_enough_but_newer_labels_do() -> None:
    test = tuple(image(n, "deer") for n in range(10))
    corrected = image(3, "fox")
    tagged = [corrected, *(image(n, "deer") for n in range(20, 30))]
    assert split.joining(tagged, test, {one.image for one in tagged}, Split(0.2)) == (corrected,)


def test_only_candidates_join() -> None:
    tagged = [image(n, "deer") for n in range(10)]
    assert names(split.joining(tagged, (), {"7.jpg", "8.jpg"}, Split(0.5))) == {"7.jpg", "8.jpg"}


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.floats(0, 0.9))
def test_no_image_ever_leaves(sizes: list[int], percentage: float) -> None:
    blobs = open_store("memory:").labels
    before: set[str] = set()
    tagged: list[ImageLabels] = []
    for size in sizes:
        fresh = [image(len(tagged) + n, "deer" if n % 3 else "fox") for n in range(size)]
        tagged += fresh
        split.grow(blobs, tagged, {one.image for one in fresh}, Split(percentage))
        now = names(labelled.read(blobs, layout.TEST).images)
        assert before <= now and len(now) <= max(len(before), round(percentage * len(tagged)))
        before = now
