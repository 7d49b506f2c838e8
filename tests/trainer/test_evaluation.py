import contextlib
import io
import warnings

import numpy as np
import pytest

from activelearning.errors import UserError
from activelearning.labels import Box, ImageLabels
from trainer.detections import Detections, no_detections
from trainer.evaluation import Metrics, evaluate
from trainer.ground_truth import GroundTruth, ground_truth

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
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        truth, result = COCO(), COCO()
        truth.dataset = _dataset([(one.xyxy, one.class_id, np.ones(len(one.class_id))) for one in truths])
        result.dataset = _dataset([(one.xyxy, one.class_id, one.confidence) for one in found])
        truth.createIndex()
        result.createIndex()
        evaluation = COCOeval(truth, result, "bbox")
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
        "images": [{"id": image} for image in range(len(images))],
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
