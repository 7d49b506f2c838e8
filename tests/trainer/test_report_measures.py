import contextlib
import csv
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.stats import norm
from sklearn.calibration import calibration_curve

from tests.trainer.test_report_facts import CLASSES, facts, rows
from tests.trainer.test_report_numbers import bins_of, boxes_of, covered, ece, heat_of
from trainer import performance
from trainer.ground_truth import GroundTruth
from trainer.judged import judge
from trainer.report import EvaluatedImage, Facts, heat, history, intervals, outcomes
from trainer.report.outcomes import ImageScore
from trainer.report.reliability import reliability


def _boxes(count: int, seed: int = 1) -> np.ndarray:
    """Some of them partly outside the image, one without extent."""
    random = np.random.default_rng(seed)
    corners = random.uniform(-0.1, 0.9, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(0, 0.4, (count, 2))], 1)
    boxes[0, 2:] = boxes[0, :2]
    return boxes


def _stated(count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    stated = np.concatenate([random.uniform(0, 1, count), [0.0, 0.1, 0.3, 0.6, 0.7, 1.0]])
    return stated, random.uniform(size=len(stated)) < stated**2


def test_reliability_bins_are_those_of_scikit_learn():
    stated, right = _stated()
    found = reliability(stated, right)
    observed, predicted = calibration_curve(right, stated, n_bins=10)
    np.testing.assert_allclose(found.observed, observed)
    np.testing.assert_allclose(found.predicted, predicted)


def test_the_expected_calibration_error_is_that_of_a_loop():
    stated, right = _stated()
    assert reliability(stated, right).ece == pytest.approx(ece(stated.tolist(), right.tolist()))


def test_an_empty_bin_is_not_a_number_and_weighs_nothing():
    found = reliability(np.array([0.95, 1.0], np.float32), np.array([True, False]))
    assert found.count.tolist() == [0] * 9 + [2]
    assert np.isnan(found.predicted[:9]).all()
    assert found.ece == pytest.approx(0.475)
    with pytest.raises(ValueError, match="no detections"):
        reliability(np.zeros(0), np.zeros(0, bool))


def _residuals() -> tuple[np.ndarray, np.ndarray, list[tuple[float, float]]]:
    random = np.random.default_rng(3)
    std = random.uniform(0.2, 4, (53, 4))
    residual = random.standard_t(4, (53, 4)) * std
    return residual, std, list(zip(residual.ravel().tolist(), std.ravel().tolist(), strict=True))


def test_coverage_is_that_of_a_loop_at_every_level():
    residual, std, pairs = _residuals()
    found = intervals.coverage(residual, std)
    np.testing.assert_allclose(found, [covered(pairs, level) for level in intervals.LEVELS])
    assert intervals.miss(found) == pytest.approx(np.mean([abs(covered(pairs, level / 20) - level / 20) for level in range(1, 20)]))


def test_honest_normal_errors_are_covered_as_promised():
    random = np.random.default_rng(4)
    std = random.uniform(0.5, 9, (100_000, 4))
    found = intervals.coverage(random.normal(0, std), std)
    np.testing.assert_allclose(found, intervals.LEVELS, atol=0.003)
    assert intervals.promised(2) == pytest.approx(norm.cdf(2) - norm.cdf(-2))


def test_bins_of_spread_are_those_of_a_loop():
    residual, std, pairs = _residuals()
    found = intervals.spread_bins(residual, std)
    np.testing.assert_allclose(np.stack([found.std, found.error], 1), bins_of(pairs))
    assert len(intervals.spread_bins(residual[:1], std[:1]).std) == 4


def test_heat_is_the_covered_share_of_each_cell():
    boxes, values = _boxes(20), np.random.default_rng(5).uniform(0, 3, 20)
    cells = heat_of(list(zip(boxes.tolist(), values.tolist(), strict=True)), heat.ROWS, heat.COLUMNS)
    counted = np.array([weight for weight, _ in cells.values()]).reshape(heat.ROWS, heat.COLUMNS)
    means = [total / weight if weight else np.nan for weight, total in cells.values()]
    np.testing.assert_allclose(heat.count(boxes), counted, atol=1e-12)
    np.testing.assert_allclose(heat.mean(boxes, values), np.reshape(means, counted.shape))


def test_heat_of_the_whole_image_is_one_everywhere_and_nothing_is_lost():
    np.testing.assert_allclose(heat.count(np.array([[0.0, 0, 1, 1]])), 1)
    inside = np.clip(_boxes(30), 0, 1)
    areas = (inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])
    assert heat.count(inside).mean() == pytest.approx(areas.sum())


def test_of_equal_cells_the_peak_is_the_topmost_and_leftmost():
    values = np.full((heat.ROWS, heat.COLUMNS), np.nan)
    values[[7, 3, 3], [1, 9, 20]] = 0.5, 0.5 - 1e-13, 0.5
    assert heat.peak(values) == (0.5, 9.5 / heat.COLUMNS, 3.5 / heat.ROWS)


@pytest.mark.parametrize("seed", range(4))
def test_correct_false_and_missed_are_those_of_pycocotools(seed: int):
    known = facts(images=12, seed=seed)
    kept = outcomes.drafts(known.judged, known)
    assert known.shown_from == 0.4
    counted = [(one.correct, one.false, one.missed) for one in outcomes.scores(known.judged, known.images, kept)]
    found = outcomes.found_objects(known.judged, known.images, kept)
    by_coco = _coco_matches(known, 0.4)
    assert counted == [(sum(hits), boxes - sum(hits), len(hits) - sum(hits)) for hits, boxes in by_coco]
    assert [hits.tolist() for hits in found] == [hits for hits, _ in by_coco]


def _coco_matches(known: Facts, shown_from: float) -> list[tuple[list[bool], int]]:
    """By image: which of its objects pycocotools matches at an IoU of 0.5, and the number of boxes."""
    evaluation = _coco_evaluation(known, shown_from)
    hits = [[False] * len(one.truth.class_id) for one in known.images]
    boxes = [0] * len(known.images)
    for result in filter(None, evaluation.evalImgs):
        boxes[result["image_id"]] += len(result["dtIds"])
        for number, match in zip(result["gtIds"], result["gtMatches"][0], strict=True):
            image, index = divmod(number - 1, 1000)
            hits[image][index] = match > 0
    return list(zip(hits, boxes, strict=True))


def _coco_evaluation(known: Facts, shown_from: float) -> COCOeval:
    truth, found = COCO(), known.judged.detections
    objects = [
        {"id": image * 1000 + k + 1, "image_id": image, "category_id": int(label), "bbox": _xywh(box), "area": 100.0, "iscrowd": 0}
        for image, one in enumerate(known.images)
        for k, (box, label) in enumerate(zip(one.truth.xyxy, one.truth.class_id, strict=True))
    ]
    truth.dataset = {"images": [{"id": i} for i in range(len(known.images))], "annotations": objects}
    truth.dataset["categories"] = [{"id": label, "name": name} for label, name in enumerate(CLASSES)]
    results = [
        {
            "image_id": int(known.judged.image[i]),
            "category_id": int(found.class_id[i]),
            "bbox": _xywh(found.xyxy[i]),
            "score": float(found.confidence[i]),
        }
        for i in range(len(found))
        if found.confidence[i] >= shown_from
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.params.iouThrs, evaluation.params.maxDets = np.array([0.5]), [1000]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
    return evaluation


def _xywh(box: np.ndarray) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


def test_of_two_objects_in_one_place_one_box_finds_one():
    box = np.array([[10, 10, 50, 50]] * 2, np.float32)
    known = facts(images=1)
    image = EvaluatedImage("twins.jpg", (100, 100), GroundTruth(box, np.zeros(2, np.int64)))
    found = known.judged.detections[:1]
    on_them = type(found)(box[:1], found.confidence, np.zeros(1, np.int64), found.class_scores)
    judged = judge([on_them], [image.truth], len(CLASSES))
    assert [hits.tolist() for hits in outcomes.found_objects(judged, [image], np.array([True]))] == [[True, False]]


def test_images_are_ranked_by_f1_then_by_what_there_is_then_by_name():
    scored = [
        ImageScore(0, "b", 0, 1, 0),
        ImageScore(1, "a", 0, 1, 0),
        ImageScore(2, "c", 0, 3, 2),
        ImageScore(3, "empty", 0, 0, 0),
        ImageScore(4, "full", 5, 0, 0),
        ImageScore(5, "half", 1, 1, 1),
    ]
    assert [one.f1 for one in scored] == [0, 0, 0, 1, 1, 0.5]
    assert [one.name for one in outcomes.worst(scored, 2)] == ["c", "a"]
    assert [one.name for one in outcomes.best(scored, 2)] == ["full", "empty"]
    assert [one.name for one in outcomes.worst(scored)] == ["c", "a", "b"]
    assert [one.name for one in outcomes.best(scored)] == ["full", "empty", "half"]


def test_the_only_image_is_among_the_worst():
    only = [ImageScore(0, "only", 3, 0, 0)]
    assert outcomes.worst(only) == tuple(only)
    assert outcomes.best(only) == ()


def test_a_profile_of_nothing_has_no_figures_but_shares_of_nothing_kept():
    known = facts()
    nothing = outcomes.profile(known.judged, np.zeros(len(known.judged), bool), "nothing")
    assert (nothing.mean_iou, nothing.class_accuracy) == (None, None)
    assert (nothing.objects_found, nothing.correct_kept, nothing.false_removed) == (0, 0, 1)


def test_judged_agrees_with_the_loops_of_the_tests():
    known = facts()
    boxes = boxes_of(known)
    assert known.judged.correct().tolist() == [box.right for box in boxes]
    np.testing.assert_allclose(known.judged.iou, [box.iou for box in boxes], rtol=1e-5)


def test_a_curve_is_in_the_order_of_the_iterations_and_stops_at_the_run():
    known = history.curves(list(reversed(rows())), "ap50")
    assert list(known) == ["main", "other"]
    assert [(point.labelled_images, point.value) for point in known["main"]] == [(20, 0.5), (40, 0.61), (60, 0.64)]
    assert [point.iteration for point in history.up_to("main/2", known)] == [1, 2]
    assert history.up_to("main/4", known) == ()


def test_the_tenth_iteration_comes_after_the_ninth():
    table = [row | {"iteration": str(iteration)} for iteration in (10, 9) for row in rows()[:1]]
    assert [point.iteration for point in history.curves(table, "ap50")["main"]] == [9, 10]


def test_a_table_read_as_text_says_the_same():
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, performance.COLUMNS, restval="")
    writer.writeheader()
    writer.writerows(rows())
    read = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert history.curves(read, "ap50") == history.curves(rows(), "ap50")
    assert history.per_class(read, "main/3", CLASSES) == history.per_class(rows(), "main/3", CLASSES)


def test_classes_come_best_first_and_those_without_a_figure_last():
    found = history.per_class(rows(), "main/3", CLASSES)
    assert [(one.label, one.objects) for one in found] == [("petrel", 20), ("gull", 10), ("owl", 0)]
    assert found[-1].ap50 is None and found[-1].change is None
    assert found[0].change == pytest.approx(0.03)
