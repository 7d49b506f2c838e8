import contextlib
import io
import warnings
from dataclasses import replace

import numpy as np
import pytest

from activelearning.errors import UserError
from activelearning.labels import Box, ImageLabels, Polygons, Rle
from trainer import run_lengths
from trainer.detections import Detections, no_detections
from trainer.evaluation import Metrics, evaluate
from trainer.ground_truth import GroundTruth, ground_truth, with_masks
from trainer.masks import RleMasks

CLASSES = ("cat", "dog", "owl")
BOX = (10, 10, 110, 110)


def _truth(*boxes: tuple[int, tuple[float, float, float, float]]) -> GroundTruth:
    corners = np.array([box for _, box in boxes], np.float32).reshape(-1, 4)
    return GroundTruth(corners, np.array([label for label, _ in boxes], np.int64))


def _found(*boxes: tuple[int, float, tuple[float, float, float, float]]) -> Detections:
    if not boxes:
        return no_detections(len(CLASSES))
    confidence = np.array([score for _, score, _ in boxes], np.float32)
    corners = np.array([box for _, _, box in boxes], np.float32)
    return Detections(corners, confidence, np.array([label for label, _, _ in boxes], np.int64), np.zeros((len(boxes), 3), np.float32))


def _shifted(pixels: float) -> tuple[float, float, float, float]:
    return (BOX[0] + pixels, BOX[1], BOX[2] + pixels, BOX[3])


def _voc(truth: GroundTruth, found: Detections) -> float | None:
    return evaluate([truth], [found], CLASSES).value("voc_ap50", "cat")


def test_a_perfect_detector_has_one_everywhere():
    truths = [_truth((0, BOX), (1, _shifted(200))), _truth((2, BOX))]
    found = [_found((0, 0.9, BOX), (1, 0.8, _shifted(200))), _found((2, 0.7, BOX))]
    metrics = evaluate(truths, found, CLASSES)
    for name in ("ap", "ap50", "ap75", "ar100", "ap_large", "voc_ap50"):
        assert metrics.value(name) == pytest.approx(1)
    assert metrics.value("ap_small") is None
    assert metrics.absent == ()


def test_a_class_that_the_test_set_lacks_has_no_value_and_is_not_averaged():
    metrics = evaluate([_truth((0, BOX))], [_found((0, 0.9, BOX), (1, 0.9, BOX))], CLASSES)
    assert metrics.absent == ("dog", "owl")
    for name in ("ap", "ap50", "voc_ap50"):
        assert metrics.value(name, "dog") is None
        assert metrics.value(name) == pytest.approx(1)


def test_no_detections_is_zero_not_nothing():
    metrics = evaluate([_truth((0, BOX))], [_found()], CLASSES)
    assert metrics.value("ap") == metrics.value("voc_ap50") == metrics.value("ar100") == 0


def test_only_background_has_no_average_precision_but_a_share_of_silence():
    empty = _truth()
    found = [_found(), _found((0, 0.39, BOX)), _found((0, 0.4, BOX)), _found((1, 0.9, BOX))]
    metrics = evaluate([empty] * 4, found, CLASSES)
    assert metrics.background_images == 4
    assert metrics.value("background_silent") == 0.5
    assert metrics.value("ap") is None and metrics.value("voc_ap50") is None
    assert evaluate([empty] * 4, found, CLASSES, silent_below=0.95).value("background_silent") == 1


def test_background_is_counted_apart_and_its_false_boxes_cost_precision():
    truths, found = [_truth((0, BOX)), _truth()], [_found((0, 0.5, BOX)), _found((0, 0.9, BOX))]
    metrics = evaluate(truths, found, CLASSES)
    assert metrics.value("ap50") == metrics.value("voc_ap50") == pytest.approx(0.5)
    assert metrics.background_images == 1
    assert metrics.value("background_silent") == 0


def test_support_counts_objects():
    metrics = evaluate([_truth((0, BOX), (0, (0, 0, 20, 20)), (1, BOX))], [_found()], CLASSES)
    support = {(row.label, row.name): row.support for row in metrics.rows}
    assert support["cat", "ap"] == 2 and support["all", "ap"] == 3 and support["owl", "ap"] == 0
    assert support["cat", "ap_small"] == 1 and support["cat", "ap_large"] == 1


def test_every_value_is_between_zero_and_one_or_none():
    metrics = evaluate(*_random(0), CLASSES)
    assert all(row.value is None or 0 <= row.value <= 1 for row in metrics.rows)


def test_voc_recall_and_precision_by_hand():
    # by confidence: right, wrong, right, of three objects: precision 1, 1/2, 2/3 → monotone 1 and 2/3, each at a third of recall
    truth = _truth((0, BOX), (0, _shifted(200)), (0, _shifted(400)))
    found = _found((0, 0.9, BOX), (0, 0.8, _shifted(600)), (0, 0.7, _shifted(200)))
    assert _voc(truth, found) == pytest.approx((1 + 2 / 3) / 3)


def test_voc_counts_only_the_most_confident_detection_of_an_object():
    # IoU of the two is 0.6, so suppression at 0.7 leaves both
    assert _voc(_truth((0, BOX), (0, _shifted(300))), _found((0, 0.9, BOX), (0, 0.8, _shifted(25)))) == pytest.approx(0.5)
    assert _voc(_truth((0, BOX)), _found((0, 0.8, BOX), (0, 0.9, _shifted(25)))) == pytest.approx(1)


def test_voc_suppresses_before_it_counts():
    # the second overlaps the first by 0.82: one detection, not a false positive
    truth = _truth((0, BOX), (0, _shifted(300)))
    found = _found((0, 0.9, BOX), (0, 0.8, _shifted(10)), (0, 0.7, _shifted(300)))
    assert _voc(truth, found) == pytest.approx(1)


def test_voc_wants_more_than_half_an_overlap():
    half, more = (10, 10, 110, 60), (10, 10, 110, 61)
    assert _voc(_truth((0, BOX)), _found((0, 0.9, half))) == 0
    assert _voc(_truth((0, BOX)), _found((0, 0.9, more))) == pytest.approx(1)


def test_voc_a_detection_belongs_to_the_object_it_overlaps_most():
    # both detections overlap the first object most, so the second object is missed
    truth = _truth((0, BOX), (0, _shifted(40)))
    found = _found((0, 0.9, BOX), (0, 0.8, _shifted(19)))
    assert _voc(truth, found) == pytest.approx(0.5)


def test_voc_ties_keep_the_order_of_the_images():
    right, wrong = (_truth((0, BOX)), _found((0, 0.5, BOX))), (_truth(), _found((0, 0.5, BOX)))
    for pairs, expected in (((right, wrong), 1.0), ((wrong, right), 0.5)):
        truths, found = zip(*pairs, strict=True)
        assert evaluate(truths, found, CLASSES).value("voc_ap50") == pytest.approx(expected)


def _random(seed: int, images: int = 20) -> tuple[list[GroundTruth], list[Detections]]:
    random = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(images):
        boxes = [(int(random.integers(0, 2)), tuple(_box(random))) for _ in range(random.integers(0, 6))]
        near = [(label, float(random.uniform(0.3, 1)), tuple(np.array(box) + random.normal(0, 4, 4))) for label, box in boxes]
        false = [(int(random.integers(0, 3)), float(random.uniform(0, 0.7)), tuple(_box(random))) for _ in range(random.integers(0, 4))]
        truths.append(_truth(*boxes))
        found.append(_found(*(one for one in near + false if one[2][2] > one[2][0] and one[2][3] > one[2][1])))
    return truths, found


def _box(random: np.random.Generator) -> np.ndarray:
    corner, sides = random.integers(0, 400, 2), random.integers(10, 160, 2)
    return np.concatenate([corner, corner + sides]).astype(float)


def _pycocotools(truths: list[GroundTruth], found: list[Detections]) -> dict[str, float]:
    boxes = _dataset([(one.xyxy, one.class_id, np.ones(len(one.class_id))) for one in truths])
    return _summarised(boxes, _dataset([(one.xyxy, one.class_id, one.confidence) for one in found]), "bbox")


def _summarised(objects: dict[str, list[dict[str, object]]], results: dict[str, list[dict[str, object]]], kind: str) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        truth, result = COCO(), COCO()
        truth.dataset, result.dataset = objects, results
        truth.createIndex()
        result.createIndex()
        evaluation = COCOeval(truth, result, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "", "", "ar100")
    return {name: value for name, value in zip(names, evaluation.stats, strict=False) if name}


def _dataset(images: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, list[dict[str, object]]]:
    boxes = [
        {"image_id": image, "category_id": int(label), "bbox": [*box[:2], *(box[2:] - box[:2])], "score": float(score)}
        for image, (xyxy, labels, scores) in enumerate(images)
        for box, label, score in zip(xyxy.astype(float), labels, scores, strict=True)
    ]
    for number, box in enumerate(boxes, 1):
        box |= {"id": number, "area": box["bbox"][2] * box["bbox"][3], "iscrowd": 0}
    return {
        "images": [{"id": image, "width": 160, "height": 120} for image in range(len(images))],
        "annotations": boxes,
        "categories": [{"id": one} for one in range(3)],
    }


@pytest.mark.parametrize("seed", range(4))
def test_coco_figures_equal_those_of_pycocotools(seed):
    truths, found = _random(seed)
    metrics = evaluate(truths, found, CLASSES)
    for name, expected in _pycocotools(truths, found).items():
        assert metrics.value(name) == pytest.approx(expected, abs=1e-6), name


def test_ground_truth_is_in_pixels_of_the_upright_image():
    labels = ImageLabels("a/b.jpg", boxes=(Box("dog", 0.25, 0.5, 0.5, 1.0), Box("cat", 0, 0, 1, 1)))
    truth = ground_truth(labels, CLASSES, (640, 480))
    assert truth.xyxy.tolist() == [[160, 240, 320, 480], [0, 0, 640, 480]]
    assert truth.class_id.tolist() == [1, 0]
    assert ground_truth(ImageLabels("a/b.jpg"), CLASSES, (640, 480)).xyxy.shape == (0, 4)


def test_a_class_that_the_project_lacks_is_named():
    with pytest.raises(UserError, match=r"a/b\.jpg: class 'bat' is not in project\.toml \(cat, dog, owl\)"):
        ground_truth(ImageLabels("a/b.jpg", boxes=(Box("bat", 0, 0, 1, 1),)), CLASSES, (10, 10))


def test_a_figure_that_does_not_exist_is_a_key_error():
    with pytest.raises(KeyError):
        Metrics((), (), 0).value("ap")


def _blob(random: np.random.Generator, box: np.ndarray) -> np.ndarray:
    """An ellipse in a box of an image of 160 × 120."""
    rows, columns = np.mgrid[:120, :160]
    (left, top), (right, bottom) = box[:2], box[2:]
    x, y = (columns + 0.5 - (left + right) / 2) / (right - left) * 2, (rows + 0.5 - (top + bottom) / 2) / (bottom - top) * 2
    return np.asarray(x**2 + y**2 <= random.uniform(0.6, 1))


def _random_masks(seed: int) -> tuple[list[GroundTruth], list[Detections]]:
    random = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(10):
        count = int(random.integers(0, 5))
        corners = random.integers(0, 60, (count, 2))
        boxes = np.concatenate([corners, corners + random.integers(10, 55, (count, 2))], 1).astype(float)
        near = np.concatenate([boxes + random.normal(0, 2, boxes.shape), boxes[:1] + 30])
        near = near[(near[:, 2:] > near[:, :2] + 1).all(1)]
        labels = random.integers(0, 2, count)
        drawn = tuple(run_lengths.of_pixels(_blob(random, box)) for box in boxes)
        truths.append(GroundTruth(boxes.astype(np.float32), labels, drawn))
        one = _found(*((int(random.integers(0, 2)), float(random.uniform(0.1, 1)), tuple(box)) for box in near))
        found.append(replace(one, masks=RleMasks(tuple(run_lengths.of_pixels(_blob(random, box)) for box in one.xyxy))))
    return truths, found


@pytest.mark.parametrize("seed", range(3))
def test_mask_figures_equal_those_of_pycocotools(seed):
    truths, found = _random_masks(seed)
    # a tenth of the objects lack a mask: pycocotools passes over crowds
    truths = [replace(one, masks=tuple(None if (number + seed) % 10 == 9 else m for m in one.masks)) for number, one in enumerate(truths)]
    metrics = evaluate(truths, found, CLASSES)
    for name, expected in _pycocotools_masks(truths, found).items():
        # theirs says -1 where there is nothing to find
        assert metrics.value(f"mask_{name}") == (None if expected == -1 else pytest.approx(expected, abs=1e-6)), name
    assert metrics.value("ap50") > 0


def _pycocotools_masks(truths: list[GroundTruth], found: list[Detections]) -> dict[str, float]:
    from pycocotools import mask as coco

    boxes = _dataset([(one.xyxy, one.class_id, np.ones(len(one.class_id))) for one in truths])
    for drawn, keys in zip((mask for one in truths for mask in one.masks), boxes["annotations"], strict=True):
        x, y, w, h = keys["bbox"]
        ring = [x, y, x + w, y, x + w, y + h, x, y + h]
        region = coco.frPyObjects([ring], 120, 160)[0] if drawn is None else {"size": [120, 160], "counts": drawn.counts.encode()}
        keys |= {"segmentation": region, "area": float(coco.area(region)), "iscrowd": int(drawn is None)}
    results = _dataset([(one.xyxy, one.class_id, one.confidence) for one in found])
    for drawn, keys in zip((mask for one in found for mask in one.masks.each), results["annotations"], strict=True):
        region = {"size": [120, 160], "counts": drawn.counts.encode()}
        keys |= {"segmentation": region, "area": float(coco.area(region))}
    return _summarised(boxes, results, "segm")


def test_masks_are_not_judged_where_there_are_none():
    truths, found = _random_masks(0)
    names = {row.name for row in evaluate(truths, [replace(one, masks=None) for one in found], CLASSES).rows}
    assert not any(name.startswith("mask") for name in names)
    assert "mask_ap_small" in {row.name for row in evaluate(truths, found, CLASSES).rows}


def test_an_object_without_a_mask_is_neither_found_nor_missed():
    whole = run_lengths.of_pixels(np.ones((8, 8), bool))
    truth = GroundTruth(np.array([[0, 0, 8, 8]] * 2, np.float32), np.array([0, 1]), (None, whole))
    one = replace(_found((0, 0.9, (0, 0, 8, 8)), (1, 0.9, (0, 0, 8, 8))), masks=RleMasks((whole, whole)))
    metrics = evaluate([truth], [one], CLASSES)
    assert metrics.value("mask_ap", "dog") == 1 and metrics.value("mask_ap", "cat") is None
    assert [row.support for row in metrics.rows if (row.name, row.label) == ("mask_ap", "cat")] == [0]


def test_damaged_masks_count_as_none_and_others_are_brought_to_the_image_s_size():
    small = run_lengths.of_pixels(np.eye(4, dtype=bool))
    outline = Polygons(((0.25, 0.25, 0.75, 0.25, 0.75, 0.75, 0.25, 0.75), (1e30, -1e30, 1, 0.5, 0.5, 0.5)))
    masks = (small, Rle("oooo", 9, 9), Rle("1", 10**6, 10**6), outline, None, Rle("1", 1, 1))
    labels = ImageLabels("a/b.jpg", 8, 8, tuple(Box("cat", 0, 0, 1, 1, mask=mask) for mask in masks))
    truth = with_masks(labels, CLASSES, (8, 8))
    assert truth.without_mask == 4
    assert (run_lengths.pixels(truth.masks[0]) == np.eye(4, dtype=bool).repeat(2, 0).repeat(2, 1)).all()
    assert run_lengths.pixels(truth.masks[3])[2:6, 2:6].all()
