"""Which drafts are shown: by score and class, without duplicates and slivers, and never anything else than what was there."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from activelearning.draft_rules import NEVER, PROBABILITY, DraftRules, fixed, is_sliver, kept, shown
from activelearning.labels import HUMAN, HUMAN_CONFIRMED, MODEL, Box, ImageLabels

_corner = st.integers(0, 19)


@st.composite
def _boxes(draw: st.DrawFn) -> Box:
    x, y = draw(_corner), draw(_corner)
    wide, high = draw(st.integers(1, 20 - x)), draw(st.integers(1, 20 - y))
    confidence = draw(st.none() | st.floats(0, 1))
    source = draw(st.sampled_from([MODEL, HUMAN, HUMAN_CONFIRMED]))
    measures = draw(st.sampled_from([(), (("entropy", 0.4), ("probability", 0.3)), (("probability", 0.9),)]))
    label = draw(st.sampled_from("ab"))
    return Box(label, x / 20, y / 20, (x + wide) / 20, (y + high) / 20, confidence, source, measures=measures)


_images = st.lists(_boxes(), max_size=9).map(lambda boxes: ImageLabels("a.jpg", 40, 20, tuple(boxes)))
_rules = st.builds(
    DraftRules,
    thresholds=st.dictionaries(st.sampled_from("ab"), st.floats(0, NEVER)),
    other=st.floats(0, NEVER),
    score=st.sampled_from(["confidence", "probability"]),
    floor=st.floats(0, 1),
    duplicates=st.booleans(),
    other_class=st.booleans(),
    slivers=st.booleans(),
    max_tags_per_pixel=st.integers(0, 2),
)


@budget(max_examples=200, deadline=None)
@given(_images, _rules)
def test_boxes_are_only_taken_away_and_their_order_stays(labels: ImageLabels, rules: DraftRules) -> None:
    indices = kept(labels, rules)
    assert indices == sorted(set(indices)) and set(indices) <= set(range(len(labels.boxes)))
    assert shown(labels, rules) == replace(labels, boxes=tuple(labels.boxes[index] for index in indices))


@budget(max_examples=100, deadline=None)
@given(_images, _rules)
def test_what_a_person_drew_or_confirmed_is_always_shown(labels: ImageLabels, rules: DraftRules) -> None:
    found = kept(labels, replace(rules, max_tags_per_pixel=0))
    assert {index for index, box in enumerate(labels.boxes) if box.source != MODEL or box.confidence is None} <= set(found)


@budget(max_examples=100, deadline=None)
@given(_images, _rules)
def test_what_is_shown_is_not_cleaned_any_further(labels: ImageLabels, rules: DraftRules) -> None:
    once = shown(labels, rules)
    assert shown(once, rules) == once


def box(
    label: str = "a",
    xyxy: tuple[float, float, float, float] = (0.2, 0.2, 0.4, 0.4),
    confidence: float = 0.5,
    probability: float | None = None,
) -> Box:
    measures = () if probability is None else ((PROBABILITY, probability),)
    return Box(label, *xyxy, confidence=confidence, source=MODEL, measures=measures)


def image(*boxes: Box) -> ImageLabels:
    return ImageLabels("a.jpg", 100, 100, boxes)


@pytest.mark.parametrize(
    ("rules", "indices"),
    [
        (fixed(0.5), [0, 1]),
        (fixed(0.5, high=0.6), [0]),
        (DraftRules({"a": 0.6, "b": 0.2}, other=0.9), [1, 2]),
        (DraftRules({"b": NEVER}, other=0.5), [0, 1]),
        (DraftRules(other=0.5, score=PROBABILITY, floor=0.9), [2]),
        (DraftRules(other=0.5, score=PROBABILITY, floor=0.7), [1, 2]),
    ],
    ids=["from a confidence on", "up to a confidence", "by class", "never", "by probability", "without a probability the floor counts"],
)
def test_a_box_is_shown_from_its_threshold_on(rules: DraftRules, indices: list[int]) -> None:
    found = image(box("a", (0, 0, 0.1, 0.1), 0.5, 0.1), box("a", (0.3, 0.3, 0.4, 0.4), 0.8), box("b", (0.6, 0.6, 0.7, 0.7), 0.3, 0.7))
    assert kept(found, rules) == indices


def test_of_boxes_that_mean_one_object_the_surest_stays() -> None:
    first, second, other = box("a", confidence=0.6), box("a", (0.2, 0.2, 0.4, 0.35), 0.8), box("b", (0.2, 0.2, 0.4, 0.36), 0.7)
    apart = box("a", (0.6, 0.6, 0.8, 0.8), 0.5)
    found = image(first, second, other, apart)
    assert kept(found, fixed(0.0)) == [0, 1, 2, 3]
    assert kept(found, DraftRules(duplicates=True)) == [1, 2, 3]
    assert kept(found, DraftRules(duplicates=True, other_class=True)) == [1, 3]
    assert kept(found, DraftRules(other_class=True)) == [0, 1, 3]


def test_which_box_is_surer_goes_by_the_score_of_the_thresholds() -> None:
    found = image(box("a", confidence=0.9, probability=0.2), box("a", confidence=0.3, probability=0.6))
    assert kept(found, DraftRules(duplicates=True)) == [0]
    assert kept(found, DraftRules(duplicates=True, score=PROBABILITY)) == [1]


@pytest.mark.parametrize(
    ("xyxy", "size", "sliver"),
    [
        ((0.0, 0.3, 0.05, 0.5), (100, 100), True),
        ((0.95, 0.3, 1.0, 0.5), (100, 100), True),
        ((0.3, 0.0, 0.5, 0.05), (100, 100), True),
        ((0.3, 0.97, 0.5, 1.0), (100, 100), True),
        ((0.1, 0.3, 0.15, 0.5), (100, 100), False),
        ((0.0, 0.3, 0.15, 0.5), (100, 100), False),
        # as wide as high in pixels, though not in fractions
        ((0.0, 0.3, 0.05, 0.5), (400, 100), False),
        # along the border, not away from it
        ((0.0, 0.3, 0.5, 0.4), (100, 100), False),
        ((0.0, 0.3, 0.05, 0.5), (0, 0), True),
    ],
)
def test_a_sliver_is_short_away_from_the_border_that_it_touches(
    xyxy: tuple[float, float, float, float], size: tuple[int, int], sliver: bool
) -> None:
    assert is_sliver(box(xyxy=xyxy), *size) is sliver
    labels = ImageLabels("a.jpg", *size, (box(xyxy=xyxy),))
    assert kept(labels, DraftRules(slivers=True)) == ([] if sliver else [0])


def test_a_cap_on_overlap_keeps_the_order_and_equal_boxes_apart() -> None:
    twice = box(confidence=0.7)
    found = image(box(confidence=0.2), twice, twice, box("b", (0.8, 0.8, 0.9, 0.9), 0.1))
    assert kept(found, fixed(0.0, max_tags_per_pixel=2)) == [1, 2, 3]
    assert kept(found, fixed(0.0, max_tags_per_pixel=1)) == [1, 3]
