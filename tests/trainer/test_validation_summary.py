"""The summary of a validation and its runtime by hand."""

import numpy as np
import pytest

from tests.trainer.judged_scene import DEER, FAR, TRUTH, found_in, judged, truth_of
from trainer import validation_summary
from trainer.detections import no_detections
from trainer.judged import judge
from trainer.validation_summary import Runtime


def test_summary_by_hand() -> None:
    one = validation_summary.summary(judged(), TRUTH)
    # the deer is found, the far fox missed, the other fox taken for a deer; one detection of four is right
    assert (one.objects, one.found, one.misclassified, one.missed) == (3, 1 / 3, 1 / 3, 1 / 3)
    assert one.false == 0.75 and one.mean_iou == pytest.approx(0.8)
    assert one.rmse == (0, 0, 0, 2)


def test_summary_of_several_residuals_is_their_root_mean_square() -> None:
    truth = [truth_of((DEER, 0), (FAR, 1))]
    found = [found_in(((1, 0, 10, 10), 0.9, 0), ((47, 50, 60, 70), 0.8, 1))]
    one = validation_summary.summary(judge(found, truth, 2), truth)
    # off by +1 and -3: sqrt((1 + 9) / 2); overlaps 90/100 and 200/260
    assert one.rmse == (pytest.approx(5**0.5), 0, 0, 0) and one.mean_iou == pytest.approx((0.9 + 200 / 260) / 2)
    assert (one.found, one.false) == (1, 0)


def test_an_object_is_misclassified_only_by_a_box_that_overlaps_enough_and_has_no_object_itself() -> None:
    truth = [truth_of((DEER, 0), ((0, 0, 10, 9), 1))]
    # the fox's own box lies on the deer too, and does not excuse that nobody found it
    found = [found_in(((0, 0, 10, 9), 0.9, 1))]
    one = validation_summary.summary(judge(found, truth, 2), truth)
    assert (one.found, one.misclassified, one.missed) == (0.5, 0, 0.5)
    weak = validation_summary.summary(judge([found_in(((0, 0, 10, 6), 0.9, 1))], TRUTH[:1], 2), TRUTH[:1], min_iou=0.7)
    assert weak.misclassified == 0
    assert validation_summary.summary(judge([found_in(((0, 0, 10, 6), 0.9, 1))], TRUTH[:1], 2), TRUTH[:1]).misclassified == 0.5


def test_an_object_is_not_misclassified_by_its_own_class_nor_by_what_lies_in_another_image() -> None:
    truth = [truth_of((DEER, 0)), truth_of((FAR, 0))]
    # 60 of 100 is too little where 0.7 is asked for; the fox lies where the other image has its deer
    found = [found_in(((0, 0, 10, 6), 0.9, 0)), found_in((DEER, 0.8, 1))]
    one = validation_summary.summary(judge(found, truth, 2, min_iou=0.7), truth)
    assert (one.found, one.misclassified, one.missed) == (0, 0, 1)


def test_summary_of_nothing_has_no_figures() -> None:
    nothing = validation_summary.summary(judge([no_detections(2)], [truth_of()], 2), [truth_of()])
    assert (nothing.objects, nothing.found, nothing.false, nothing.mean_iou, nothing.rmse) == (0, None, None, None, None)
    blind = validation_summary.summary(judge([no_detections(2)], TRUTH[:1], 2), TRUTH[:1])
    assert (blind.found, blind.missed, blind.mean_iou) == (0, 1, None)


def test_runtime_leaves_the_warm_up_out() -> None:
    steady = np.array([0.010, 0.012, 0.014, 0.016])
    # the mean square distance from 13 is (9 + 1 + 1 + 9) / 4 = 5
    assert validation_summary.runtime(steady) == Runtime(4, 0, pytest.approx(13), pytest.approx(5**0.5), pytest.approx(13))
    assert validation_summary.runtime(np.append(steady, 4.0)) == Runtime(4, 1, pytest.approx(13), pytest.approx(5**0.5), pytest.approx(13))
    # a slow machine is slow, not an exception
    assert validation_summary.runtime(steady * 1000).mean_ms == pytest.approx(13_000)
    assert validation_summary.runtime(np.array([0.02])) == Runtime(1, 0, 20, 0, 20)


@pytest.mark.parametrize("seconds", [[], [0.1, np.nan], [0.1, -0.1], [np.inf]])
def test_runtime_of_what_are_no_times_is_refused(seconds: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one time"):
        validation_summary.runtime(np.array(seconds))
