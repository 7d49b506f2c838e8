"""The validation table by hand, with odd columns and missing values."""

from dataclasses import replace

import numpy as np
import pytest

from tests.trainer.judged_scene import CLASSES, DEER, FAR, FOUND, NAMES, TRUTH, found_in, judged, table, truth_of, values_of
from trainer import validation
from trainer.detections import no_detections
from trainer.ground_truth import GroundTruth
from trainer.judged import judge
from trainer.validation import Extra, Table


def test_a_row_for_every_detection_then_for_what_the_image_has_and_nothing_found() -> None:
    one = table()
    assert values_of(one, "image_name") == ["a.jpg"] * 4 + ["b.jpg"] * 2
    assert values_of(one, "kind") == ["matched", "false", "false", "missed", "false", "missed"]
    assert values_of(one, "class") == ["deer", "deer", "fox", None, "deer", None]
    assert values_of(one, "confidence") == [0.75, 0.5, 0.25, None, 0.5, None]
    assert values_of(one, "truth_class") == ["deer", "deer", None, "fox", "fox", "fox"]
    assert values_of(one, "ymax") == [8, 10, 210, None, 10, None]
    assert [values_of(one, f"truth_{corner}")[3] for corner in validation.CORNERS] == [50, 50, 60, 70]
    assert values_of(one, "truth_xmin") == [0, 0, None, 50, 100, 100]
    # the first covers 80 of 100; the second lies on a deer that is taken
    assert values_of(one, "iou") == [pytest.approx(0.8), 1, 0, None, 1, None]


def test_what_the_model_says_of_its_uncertainty_is_beside_each_detection() -> None:
    one = table()
    # scores 3/4 and 3/16: 0.811278 and 0.696212 bits
    assert values_of(one, "entropy")[0] == pytest.approx(0.811278 + 0.696212, abs=1e-5)
    assert values_of(one, "mutual_information") == [0.25, 0.25, 0.25, None, 0.25, None]
    assert [values_of(one, f"aleatoric_{corner}")[1] for corner in validation.CORNERS] == [5, 6, 7, 8]
    assert values_of(one, "epistemic_xmax") == [2.5, 6.5, 10.5, None, 2.5, None]
    # (1 + 3)/10 and (2 + 4)/8, by the sides of the first box
    assert values_of(one, "aleatoric")[0] == pytest.approx((1 / 10 + 2 / 8 + 3 / 10 + 4 / 8) / 4)
    assert values_of(one, "class_score_1") == [0.1875, 0.125, 0.25, None, 0.125, None]
    assert values_of(one, "class_epistemic_0") == [0, 0.25, 0.5, None, 0, None]
    assert values_of(one, "class_epistemic") == [0, 0.25, 0.625, None, 0, None]


def test_without_spread_its_columns_are_there_and_empty() -> None:
    plain = [replace(one, spread=None) for one in FOUND]
    one = validation.validation_table(judge(plain, TRUTH, 2), NAMES, TRUTH, CLASSES)
    for name in ("aleatoric", "aleatoric_xmin", "epistemic_ymax", "mutual_information", "class_epistemic_1", "total"):
        assert values_of(one, name) == [None] * 6
    assert None not in values_of(one, "entropy")[:3] and one.columns == table().columns


def test_without_truth_there_are_the_same_columns_and_nothing_is_judged() -> None:
    one = validation.inference_table([FOUND[0], no_detections(2), FOUND[1]], NAMES, CLASSES)
    assert one.columns == table().columns
    assert values_of(one, "image_name") == ["a.jpg"] * 3 + ["none.jpg"] and set(one["kind"]) == {"detected"}
    assert values_of(one, "confidence") == [0.75, 0.5, 0.25, 0.5] and None not in values_of(one, "aleatoric_xmin")
    for name in ("truth_class", "truth_xmin", "iou"):
        assert values_of(one, name) == [None] * 4
    assert len(validation.inference_table([], [], CLASSES)) == len(validation.inference_table([no_detections(2)], ["a"], CLASSES)) == 0


def test_of_two_equal_objects_one_can_be_missed_and_what_is_filtered_away_is_missed() -> None:
    twice = [truth_of((DEER, 0), (DEER, 0))]
    one = judge([found_in((DEER, 0.9, 0))], twice, 2)
    assert values_of(validation.validation_table(one, ["a"], twice, CLASSES), "kind") == ["matched", "missed"]
    none = validation.validation_table(one[one.detections.confidence > 0.95], ["a"], twice, CLASSES)
    assert values_of(none, "kind") == ["missed", "missed"] and values_of(none, "truth_class") == ["deer", "deer"]


def test_detections_in_any_order_are_listed_image_by_image() -> None:
    shuffled = judged()[np.array([3, 2, 0, 1])]
    one = validation.validation_table(shuffled, NAMES, TRUTH, CLASSES)
    assert values_of(one, "confidence") == [0.25, 0.75, 0.5, None, 0.5, None]


@pytest.mark.parametrize("wrong", [TRUTH[:2], [truth_of((FAR, 1)), *TRUTH[1:]], [truth_of((DEER, 1), (FAR, 1)), *TRUTH[1:]]])
def test_truth_that_was_not_judged_by_is_refused(wrong: list[GroundTruth]) -> None:
    with pytest.raises(ValueError, match="not what the detections were judged by"):
        validation.validation_table(judged(), NAMES, wrong, CLASSES)


def test_extra_columns_come_a_detection_a_corner_or_a_class() -> None:
    single = Extra("iso_all", np.array([0.1, 0.2, np.nan, 0.4]), "0..1", "calibrated")
    corners = Extra("ts_all", np.arange(16.0).reshape(4, 4), "px", "calibrated")
    classes = Extra("ts_percls", np.arange(8.0).reshape(4, 2), "0..1", "calibrated", per_class=True)
    one = table(single, corners, classes)
    names = [column.name for column in one.columns]
    assert names[-7:] == ["iso_all", "ts_all_xmin", "ts_all_ymin", "ts_all_xmax", "ts_all_ymax", "ts_percls_0", "ts_percls_1"]
    assert values_of(one, "iso_all") == [pytest.approx(0.1), pytest.approx(0.2), None, None, pytest.approx(0.4), None]
    assert values_of(one, "ts_all_ymin") == [1, 5, 9, None, 13, None] and values_of(one, "ts_percls_1") == [1, 3, 5, None, 7, None]
    assert one.columns[-5].unit == "px" and "'fox'" in one.columns[-1].meaning


def test_four_classes_are_not_taken_for_four_corners() -> None:
    four = found_in((DEER, 0.5, 3), classes=4)
    values = np.array([[1.0, 2.0, 3.0, 4.0]])
    for per_class, suffix in ((True, "_3"), (False, "_ymax")):
        one = validation.inference_table([four], ["a"], "wxyz", [Extra("m", values, "", "", per_class)])
        assert values_of(one, f"m{suffix}") == [4]


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        (Extra("m", np.zeros(3), "", ""), r"'m' must be of shape \(4,\), not \(3,\)"),
        (Extra("m", np.zeros((4, 3)), "", "", True), r"'m' must be of shape \(4, 2\)"),
        (Extra("m", np.zeros((4, 2)), "", ""), r"'m' must be of shape \(4, 4\)"),
        (Extra("iou", np.zeros(4), "", ""), "column 'iou' is there twice"),
        (Extra("class_score", np.zeros((4, 2)), "", "", True), "column 'class_score_0' is there twice"),
        (Extra("", np.zeros(4), "", ""), "must have a name"),
        (Extra("m", np.array([0, np.inf, 0, 0]), "", ""), "m must be finite"),
        (Extra("m", np.array([0, 1e39, 0, 0]), "", ""), "m must be finite"),
    ],
)
def test_extra_columns_that_do_not_fit_are_refused(extra: Extra, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        table(extra)


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("image_name", [None] * 6, "image_name must be given"),
        ("image_name", [""] * 6, "image_name must be Unicode text, not empty"),
        ("image_name", ["\ud800"] * 6, "image_name must be Unicode text"),
        ("kind", ["perhaps"] * 6, "kind must be one of matched, false, missed, detected, not 'perhaps'"),
        ("class", [""] * 6, "class must be Unicode text"),
        ("class", ["fox"] * 5, r"class must be object of shape \(6,\)"),
    ],
)
def test_a_table_is_checked(name: str, values: list[str | None], why: str) -> None:
    one = table()
    with pytest.raises(ValueError, match=why):
        Table(one.columns, {**one.values, name: np.array(values, object)})
