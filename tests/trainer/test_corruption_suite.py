"""The suite of corruptions with a detector that looks for red."""

import numpy as np
import pytest

from activelearning.errors import UserError
from trainer import corruption, corruption_suite
from trainer.corruption_suite import NONE, Sample, suite
from trainer.detections import Detections, no_detections
from trainer.ground_truth import GroundTruth
from trainer.spread import Spread

FLIPS = ("horizontal_flip", "vertical_flip")
CLASSES = ("red", "never")
RED_BOX = np.array([[8, 4, 28, 16]], np.float32)


def red(name: str, truth: bool = True) -> Sample:
    """A red bar in the upper left of a grey image."""
    pixels = np.full((60, 80, 3), 90, np.uint8)
    pixels[4:16, 8:28] = (230, 60, 60)
    return Sample(name, pixels, GroundTruth(RED_BOX, np.array([0])) if truth else None)


def find_red(pixels: np.ndarray) -> Detections:
    """The box around what is redder than blue, as sure as it is red, with the lack of red as its spread."""
    redness = (pixels[..., 0].astype(int) - pixels[..., 2]) / 170
    y, x = np.nonzero(redness > 0.3)
    if not len(x):
        return no_detections(len(CLASSES))
    xyxy = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], np.float32)
    score = np.float32(min(redness[y, x].mean(), 1))
    unsure = np.full((1, 4), 1 - score, np.float32)
    spread = Spread(unsure * (xyxy[0, 2] - xyxy[0, 0]), unsure, unsure[:, :2], unsure[:, 0])
    return Detections(xyxy, np.array([score]), np.zeros(1, np.int64), np.array([[score, 0]], np.float32), spread)


def test_the_suite_gives_a_row_of_hand_computed_figures_for_the_images_as_they_are() -> None:
    (row,) = suite(find_red, [red("a"), red("b", truth=False)], CLASSES, [])
    assert (row.corruption, row.severity, row.images, row.detections) == (NONE, 0, 2, 2)
    assert (row.confidence, row.ap50, row.recall) == (1.0, 1.0, 1.0)
    assert {"entropy", "aleatoric", "epistemic", "class_epistemic", "mutual_information"} <= row.uncertainty.keys()
    assert set(row.uncertainty.values()) == {0.0}


def test_truth_turns_with_the_image_so_that_flips_cost_a_fair_detector_nothing() -> None:
    rows = list(suite(find_red, [red("a")], CLASSES, FLIPS, (2, 4)))
    assert [(row.corruption, row.severity) for row in rows] == [(NONE, 0), ("horizontal_flip", 2), ("vertical_flip", 2)]
    assert all(row.ap50 == row.recall == 1 for row in rows)


def test_truth_that_did_not_turn_would_be_missed() -> None:
    turned = {name: corruption.corrupt_boxes(name, RED_BOX, (80, 60)) for name in FLIPS}
    assert all((turned[name] != RED_BOX).any() for name in FLIPS)
    wrong = Sample("a", red("a").pixels[::-1], red("a").truth)
    (row,) = suite(find_red, [wrong], CLASSES, [])
    assert (row.ap50, row.recall) == (0, 0)


def test_uncertainty_rises_with_severity_until_nothing_is_found() -> None:
    baseline, *rows = suite(find_red, [red("a"), red("b")], CLASSES, ["contrast"])
    seen = [baseline, *(row for row in rows if row.detections)]
    assert len(seen) >= 2
    for name in ("mutual_information", "class_epistemic", "aleatoric", "epistemic"):
        values = [row.uncertainty[name] for row in seen]
        assert values == sorted(values) and values[0] < values[-1], name
    # a score that falls below a half is surer again, that there is nothing
    assert seen[0].uncertainty["entropy"] == 0 and all(0.5 < row.uncertainty["entropy"] <= 1 for row in seen[1:])
    # the lack of red times one width of the box in x, 20/12 of its height in y
    one = seen[1]
    assert one.confidence and one.uncertainty["aleatoric"] == pytest.approx((1 - one.confidence) * (1 + 20 / 12) / 2, rel=1e-5)
    assert rows[-1].detections == 0 and rows[-1].recall == 0 and rows[-1].ap50 == 0
    assert rows[-1].confidence is None and rows[-1].uncertainty == {}


def test_without_truth_or_objects_there_is_no_precision_to_speak_of() -> None:
    empty = Sample("e", red("e").pixels, GroundTruth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)))
    for images in ([red("a", truth=False)], [empty]):
        (row,) = suite(find_red, images, CLASSES, [])
        assert (row.ap50, row.recall, row.detections) == (None, None, 1)


def test_a_detector_that_does_not_say_how_unsure_it_is_has_entropy_alone() -> None:
    def silent(pixels: np.ndarray) -> Detections:
        found = find_red(pixels)
        return Detections(found.xyxy, found.confidence, found.class_id, np.full((1, 2), 0.5, np.float32))

    (row,) = suite(silent, [red("a")], CLASSES, [])
    # two classes of one bit each
    assert row.uncertainty["entropy"] == 2 and "aleatoric" not in row.uncertainty


def test_an_image_where_nothing_is_found_does_not_hide_the_uncertainty_of_the_others() -> None:
    blank = Sample("blank", np.full((60, 80, 3), 90, np.uint8), GroundTruth(RED_BOX, np.array([0])))
    (row,) = suite(find_red, [blank, red("a")], CLASSES, [])
    assert (row.detections, row.recall) == (1, 0.5) and row.uncertainty["aleatoric"] == 0


def test_an_interrupted_suite_goes_on_where_it_stopped_with_the_same_rows() -> None:
    names, severities, images = ["gaussian_noise", "horizontal_flip", "rain"], (1, 5), [red("a"), red("b")]
    whole = list(suite(find_red, images, CLASSES, names, severities))
    assert [(row.corruption, row.severity) for row in whole] == corruption_suite.steps(names, severities)
    first = suite(find_red, images, CLASSES, names, severities)
    kept = [next(first), next(first)]
    rest = list(suite(find_red, images, CLASSES, names, severities, done={(row.corruption, row.severity) for row in kept}))
    assert kept + rest == whole and len(rest) == 4


def test_the_suite_works_row_by_row_and_asks_for_nothing_ahead() -> None:
    calls: list[int] = []

    def counted(pixels: np.ndarray) -> Detections:
        calls.append(1)
        return find_red(pixels)

    rows = suite(counted, [red("a"), red("b")], CLASSES, ["contrast"], (1, 2))
    next(rows)
    assert len(calls) == 2
    next(rows)
    assert len(calls) == 4


def test_a_suite_that_cannot_be_run_says_so_before_it_starts() -> None:
    def never(pixels: np.ndarray) -> Detections:
        raise AssertionError("nothing must be detected")

    with pytest.raises(UserError, match="no corruption 'frost'"):
        next(suite(never, [red("a")], CLASSES, ["contrast", "frost"]))
    with pytest.raises(UserError, match="no severity 6"):
        next(suite(never, [red("a")], CLASSES, ["contrast"], (1, 6)))
    with pytest.raises(UserError, match="there are no images"):
        next(suite(never, [], CLASSES, ["contrast"]))
