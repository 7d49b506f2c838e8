"""Detections beside the truth: the matching against a plain loop and by hand, and what is picked from it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.judged_scene import DEER, FAR, FOUND, FOX, TRUTH, found_in, truth_of
from trainer.detections import Detections, no_detections
from trainer.ground_truth import GroundTruth
from trainer.judged import Judged, judge, missed_objects

Row = tuple[tuple[float, float, float, float], float, int]


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    both = float(max(width, 0) * max(height, 0))
    areas = sum(float((box[2] - box[0]) * (box[3] - box[1])) for box in (first, second))
    return both / (areas - both)


def naive(found: Detections, truth: GroundTruth, min_iou: float) -> list[int]:
    """The object that each detection has for itself, -1 for none: who is surer chooses first."""
    own, taken = [-1] * len(found), set()
    for index in sorted(range(len(found)), key=lambda one: -found.confidence[one]):
        free = [one for one in range(len(truth.class_id)) if one not in taken and truth.class_id[one] == found.class_id[index]]
        ranked = sorted(free, key=lambda one: -overlap(found.xyxy[index], truth.xyxy[one]))
        if ranked and overlap(found.xyxy[index], truth.xyxy[ranked[0]]) >= min_iou:
            own[index] = ranked[0]
            taken.add(ranked[0])
    return own


# few places and few confidences, so that boxes overlap and tie
CORNERS = st.tuples(*[st.integers(0, 8)] * 2, *[st.integers(2, 8)] * 2).map(lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3]))
BOXES = st.lists(st.tuples(CORNERS, st.sampled_from([0.25, 0.5, 0.75]), st.integers(0, 1)), max_size=8)
OBJECTS = st.lists(st.tuples(CORNERS, st.integers(0, 1)), max_size=6)


@settings(deadline=None)
@given(st.lists(st.tuples(BOXES, OBJECTS), max_size=3), st.sampled_from([0.3, 0.5, 0.7]))
def test_the_surest_chooses_first_as_in_a_plain_loop(images: list[tuple[list[Row], list]], min_iou: float) -> None:
    found, truth = [found_in(*rows) for rows, _ in images], [truth_of(*objects) for _, objects in images]
    one = judge(found, truth, 2, min_iou)
    for image, (boxes, objects) in enumerate(zip(found, truth, strict=True)):
        here = one[one.image == image]
        for row, own in enumerate(naive(boxes, objects, min_iou)):
            assert here.matched[row] == (own >= 0)
            if own >= 0:
                assert (here.truth_xyxy[row] == objects.xyxy[own]).all() and here.truth_class[row] == objects.class_id[own]
                assert here.iou[row] == pytest.approx(overlap(boxes.xyxy[row], objects.xyxy[own]), abs=1e-6)


@settings(deadline=None)
@given(BOXES, OBJECTS)
def test_a_wrong_box_stands_beside_the_object_that_it_overlaps_most(rows: list[Row], objects: list) -> None:
    found, truth = found_in(*rows), truth_of(*objects)
    one = judge([found], [truth], 2)
    for index in np.flatnonzero(~one.matched):
        best = max((overlap(found.xyxy[index], box) for box in truth.xyxy), default=0.0)
        assert one.iou[index] == pytest.approx(best, abs=1e-6)
        assert (one.truth_class[index] == -1) == np.isnan(one.truth_xyxy[index]).all() == (best == 0)
        assert np.isnan(one.residual[index]).all()


@settings(deadline=None)
@given(BOXES, OBJECTS)
def test_no_object_is_matched_twice_and_the_rest_is_missed(rows: list[Row], objects: list) -> None:
    truth = truth_of(*objects)
    one = judge([found_in(*rows)], [truth], 2)
    image, label, xyxy = missed_objects(one, [truth])
    assert one.matched.sum() + len(image) == one.objects.sum() == len(objects)
    own = [(tuple(box), kind) for box, kind in zip(one.truth_xyxy[one.matched], one.truth_class[one.matched], strict=True)]
    assert sorted(own + [(tuple(box), kind) for box, kind in zip(xyxy, label, strict=True)]) == sorted(objects)


def test_a_second_box_on_an_object_is_wrong() -> None:
    one = judge([found_in(((0, 0, 10, 9), 0.8, 0), ((0, 0, 10, 8), 0.9, 0), ((0, 0, 10, 10), 0.7, 0))], TRUTH[:1], 2)
    # the surest has it, though the others lie better
    assert one.matched.tolist() == [False, True, False] and one.iou.tolist() == pytest.approx([0.9, 0.8, 1])
    assert one.truth_class.tolist() == [0, 0, 0]


def test_a_box_of_the_wrong_class_takes_nothing() -> None:
    one = judge([found_in((DEER, 0.9, 1), (DEER, 0.5, 0))], TRUTH[:1], 2)
    assert one.matched.tolist() == [False, True] and one.truth_class.tolist() == [0, 0] and one.iou.tolist() == [1, 1]


def test_a_box_stands_beside_its_own_object_though_another_overlaps_more() -> None:
    deer, fox = ((0.0, 0.0, 10.0, 8.0), 0), (DEER, 1)
    one = judge([found_in((DEER, 0.9, 0))], [truth_of(fox, deer)], 2)
    assert one.matched.tolist() == [True] and one.truth_class.tolist() == [0] and one.iou.tolist() == pytest.approx([0.8])
    assert one.truth_xyxy.tolist() == [[0, 0, 10, 8]] and one.residual.tolist() == [[0, 0, 0, 2]]


def test_equally_sure_boxes_choose_in_their_order() -> None:
    near, exact = ((0, 0, 10, 8), 0.5, 0), (DEER, 0.5, 0)
    assert judge([found_in(near, exact)], TRUTH[:1], 2).matched.tolist() == [True, False]
    assert judge([found_in(exact, near)], TRUTH[:1], 2).matched.tolist() == [True, False]


def test_of_two_equal_objects_two_equal_boxes_have_one_each() -> None:
    twice = [truth_of((DEER, 0), (DEER, 0))]
    assert judge([found_in((DEER, 0.5, 0), (DEER, 0.5, 0), (DEER, 0.5, 0))], twice, 2).matched.tolist() == [True, True, False]


def test_the_threshold_itself_is_enough() -> None:
    half = [found_in(((0, 0, 10, 5), 0.9, 0))]
    assert judge(half, TRUTH[:1], 2, min_iou=0.5).matched.tolist() == [True]
    assert judge(half, TRUTH[:1], 2, min_iou=0.51).matched.tolist() == [False]
    # what only touches is not matched, however little is asked for
    assert judge([found_in(((10, 0, 20, 10), 0.9, 0))], TRUTH[:1], 2, min_iou=0.0).matched.tolist() == [False]


def test_correct_asks_for_more_overlap_afterwards() -> None:
    one = judge(FOUND, TRUTH, 2)
    assert one.correct().tolist() == one.matched.tolist() == [True, False, False, False]
    assert one.correct(0.8).tolist() == [True, False, False, False] and not one.correct(0.81).any()


def test_residual_is_predicted_less_true() -> None:
    one = judge([found_in(((1, -2, 13, 14), 0.9, 0))], [truth_of(((0, 0, 12, 12), 0))], 2)
    assert one.residual.tolist() == [[1, -2, 1, 2]] and one.residual.dtype == np.float32


def test_images_without_detections_or_objects_are_counted() -> None:
    one = judge([no_detections(2), found_in((DEER, 0.9, 0)), no_detections(2)], [truth_of((FAR, 1)), truth_of(), truth_of()], 2)
    assert one.objects.tolist() == [[0, 1], [0, 0], [0, 0]] and one.image.tolist() == [1]
    assert one.matched.tolist() == [False] and one.truth_class.tolist() == [-1] and np.isnan(one.truth_xyxy).all()
    nothing = judge([], [], 2)
    assert len(nothing) == 0 and nothing.objects.shape == (0, 2) and nothing.residual.shape == (0, 4)
    assert nothing.matched.dtype == bool and nothing.image.dtype == nothing.truth_class.dtype == np.int64


def test_every_image_has_its_truth() -> None:
    with pytest.raises(ValueError, match="zip"):
        judge(FOUND, TRUTH[:2], 2)


def scene() -> tuple[list[Detections], list[GroundTruth]]:
    return [*FOUND, found_in((FOX, 0.9, 1), spread=True)], [*TRUTH, truth_of((FOX, 1))]


@pytest.mark.parametrize("images", [[3, 0], [1], [2, 1, 0], [0, 0], []])
def test_some_of_the_images_are_what_judging_them_alone_gives(images: list[int]) -> None:
    found, truth = scene()
    some = judge(found, truth, 2).of_images(np.array(images, np.int64))
    alone = judge([found[image] for image in images], [truth[image] for image in images], 2)
    for name in ("image", "matched", "iou", "truth_xyxy", "truth_class", "objects"):
        assert np.array_equal(getattr(some, name), getattr(alone, name), equal_nan=True), name
        assert getattr(some, name).dtype == getattr(alone, name).dtype, name
    assert (some.detections.xyxy == alone.detections.xyxy).all() and len(some.detections) == len(some)


def test_what_is_picked_keeps_the_images_and_their_objects() -> None:
    one = judge(*scene(), 2)
    sure = one[one.detections.confidence > 0.6]
    assert sure.image.tolist() == [0, 3] and sure.matched.tolist() == [True, True]
    assert (sure.objects == one.objects).all() and sure.detections.spread is not None
    assert one[np.array([4, 0])].image.tolist() == [3, 0]


def test_columns_that_do_not_fit_are_refused() -> None:
    one = judge(FOUND, TRUTH, 2)
    for name in ("image", "matched", "iou", "truth_xyxy", "truth_class"):
        with pytest.raises(ValueError, match=f"{name} must be of length 4"):
            replace(one, **{name: getattr(one, name)[:3]})
    with pytest.raises(ValueError, match="objects must count every class"):
        Judged(one.detections, one.image, one.matched, one.iou, one.truth_xyxy, one.truth_class, one.objects[:, :1])


def test_truth_that_was_not_judged_by_has_no_missed_objects() -> None:
    for wrong in (TRUTH[:2], [truth_of((FAR, 1)), *TRUTH[1:]]):
        with pytest.raises(ValueError, match="not what the detections were judged by"):
            missed_objects(judge(FOUND, TRUTH, 2), wrong)
