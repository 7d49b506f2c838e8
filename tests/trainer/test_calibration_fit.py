import os
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest

from activelearning.errors import UserError
from trainer.calibration import Calibrated, Options, boxes, closed_set, cross_fitted, fit, fitting, from_json, scores, to_json
from trainer.calibration.calibrated import Figures
from trainer.calibration.maps import logit, sigmoid
from trainer.detections import Detections, no_detections
from trainer.judged import Judged
from trainer.spread import Spread

CLASSES = ("knot", "crack", "stain")
SIZE = (640.0, 480.0)


def _judged(images: int, seed: int = 0, *, spread: bool = True, each: int = 20) -> Judged:
    """Detections whose scores promise too much, whose classes are surer than they say, and whose deviations are a third too small."""
    random = np.random.default_rng(seed)
    count = images * each
    truth = random.integers(0, 3, count)
    true_logit = random.normal(0, 1.5, count)
    right = random.random(count) < sigmoid(true_logit)
    confidence = sigmoid(true_logit / 2 + 1).astype(np.float32)
    class_scores = np.repeat((confidence * 0.4)[:, None], 3, 1)
    class_scores[np.arange(count), truth] = confidence
    corner, sides = random.uniform(10, 200, (count, 2)), random.uniform(40, 200, (count, 2))
    xyxy = np.concatenate([corner, corner + sides], 1).astype(np.float32)
    std = (np.tile(sides, 2) * random.uniform(0.01, 0.03, (count, 4))).astype(np.float32)
    told = Spread(std, std / 4, class_scores / 10, confidence) if spread else None
    found = Detections(xyxy, confidence, truth.astype(np.int64), class_scores.astype(np.float32), told)
    truth_xyxy = np.where(right[:, None], xyxy - random.normal(0, 1.5 * std), np.nan).astype(np.float32)
    iou, image = np.where(right, 0.8, 0.1).astype(np.float32), np.repeat(np.arange(images), each)
    return Judged(found, image, right, iou, truth_xyxy, np.where(right, truth, -1), np.full((images, 3), each, np.int64))


def _sizes(judged: Judged) -> np.ndarray:
    return np.tile(SIZE, (len(judged.objects), 1))


def _same(first: Calibrated, second: Calibrated) -> None:
    for field in fields(Calibrated):
        one, other = getattr(first, field.name), getattr(second, field.name)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4, err_msg=field.name)


def test_what_was_wrong_is_mended_on_images_not_fitted_on():
    judged, new = _judged(50), _judged(200, seed=1)
    calibration = fit(judged, _sizes(judged), CLASSES)
    figures = fitting.figures(fitting.apply(calibration.maps, new, _sizes(new)), new, 0.5)
    before = fitting.figures(fitting.uncalibrated(new), new, 0.5)
    assert figures.detection is not None and before.detection is not None and before.total is not None and figures.total is not None
    assert before.detection.d_ece > 0.15 and figures.detection.d_ece < 0.04
    assert before.total.inside_all < 0.1 and figures.total.inside == pytest.approx([0.683] * 4, abs=0.03)
    for name in ("aleatoric", "epistemic"):
        assert getattr(figures, name).ece < 0.03 < getattr(before, name).ece
    assert figures.inside_margins == pytest.approx(0.9, abs=0.03)
    # the figures of the calibration itself promise what new images then keep
    assert calibration.after.detection is not None and calibration.after.total is not None
    assert calibration.after.detection.brier == pytest.approx(figures.detection.brier, abs=0.02)
    assert calibration.after.total.inside_all == pytest.approx(figures.total.inside_all, abs=0.05)


def _every_option() -> list[Options]:
    detection = [replace(Options(), detection=one) for one in (*scores.METHODS, "context")]
    closed = [replace(Options(), closed_set=one) for one in closed_set.METHODS]
    return [*detection, *closed, *(replace(Options(), box=one) for one in boxes.METHODS)]


@pytest.mark.parametrize("options", _every_option(), ids=lambda one: f"{one.detection}-{one.closed_set}-{one.box}")
def test_every_method_gives_probabilities_and_survives_being_written(options):
    judged = _judged(6)
    calibration = fit(judged, _sizes(judged), CLASSES, options, date="2026-11-21")
    again = from_json(to_json(calibration), "calibration.json")
    assert again == calibration and again.options == options and again.date == "2026-11-21"
    found = judged.detections[judged.image == 2]
    calibrated = again.apply(found, SIZE)
    _same(calibrated, calibration.apply(found, SIZE))
    assert len(calibrated) == len(found)
    assert ((calibrated.probability >= 0) & (calibrated.probability <= 1)).all()
    np.testing.assert_allclose(calibrated.class_probabilities.sum(1), 1, rtol=1e-5)
    assert ((calibrated.entropy >= 0) & (calibrated.entropy <= np.log2(3) + 1e-5)).all()
    for field in fields(Calibrated):
        assert getattr(calibrated, field.name).dtype == np.float32
        assert (getattr(calibrated, field.name) >= 0).all()


def test_no_image_is_calibrated_by_itself():
    judged = _judged(10)
    options = replace(Options(), detection="platt_all", folds=10)
    truth = cross_fitted(judged, _sizes(judged), options)
    # one image's truth turned round changes what the others get, and not what it gets itself
    turned = judged.image == 4
    matched = judged.matched ^ turned
    lies = Judged(
        judged.detections, judged.image, matched, matched.astype(np.float32), judged.truth_xyxy, judged.truth_class, judged.objects
    )
    changed = cross_fitted(lies, _sizes(judged), options)
    np.testing.assert_array_equal(changed.probability[turned], truth.probability[turned])
    assert (changed.probability[~turned] != truth.probability[~turned]).mean() > 0.99
    assert fit(lies, _sizes(judged), CLASSES, options).before.detection != fit(judged, _sizes(judged), CLASSES, options).before.detection


def test_classes_are_learnt_from_boxes_on_objects_whoever_they_belong_to():
    judged = _judged(6)
    expected = fitting.fit_maps(judged, _sizes(judged), Options()).closed_set
    # a box that only touches another object says nothing about its class
    touching = replace(judged, truth_class=np.where(judged.matched, judged.truth_class, (judged.detections.class_id + 1) % 3))
    assert fitting.fit_maps(touching, _sizes(judged), Options()).closed_set == expected
    # one that lies on an object of another class does
    mistaken = replace(touching, iou=np.full(len(judged), 0.8, np.float32))
    assert fitting.fit_maps(mistaken, _sizes(judged), Options()).closed_set != expected


def test_cross_fitting_is_by_image_and_the_same_for_the_same_seed():
    judged = _judged(7)
    options = replace(Options(), folds=3)
    _same(cross_fitted(judged, _sizes(judged), options), cross_fitted(judged, _sizes(judged), options))
    other = cross_fitted(judged, _sizes(judged), replace(options, seed=1))
    assert (other.probability != cross_fitted(judged, _sizes(judged), options).probability).any()


@pytest.mark.parametrize(("images", "number"), [(7, 3), (2, 5), (10, 10), (1, 2)])
def test_folds_hold_every_image_once(images, number):
    parts = list(fitting.folds(images, number, 0))
    assert sorted(np.concatenate(parts)) == list(range(images))
    assert len(parts) == min(images, number) and max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("options", [Options(), Options(detection="iso_percls", closed_set="iso_percls", box="iso_perclscoo")])
def test_the_order_of_the_rows_does_not_matter(options):
    judged = _judged(8)
    order = np.random.default_rng(5).permutation(len(judged))
    shuffled = judged[order]
    straight, mixed = (cross_fitted(one, _sizes(one), options) for one in (judged, shuffled))
    _same(straight[order], mixed)
    first, second = (fit(one, _sizes(one), CLASSES, options) for one in (judged, shuffled))
    found = judged.detections[judged.image == 0]
    _same(first.apply(found, SIZE), second.apply(found, SIZE))


def test_a_model_that_tells_no_deviations_still_has_probabilities_and_margins():
    judged = _judged(6, spread=False)
    calibration = fit(judged, _sizes(judged), CLASSES)
    assert calibration.maps.margins.unit == "size"
    calibrated = calibration.apply(judged.detections[judged.image == 0], SIZE)
    assert calibrated.aleatoric is calibrated.epistemic is calibrated.total is None
    assert np.isfinite(calibrated.margin).all()
    assert calibration.after.total is None and calibration.after.detection is not None
    assert from_json(to_json(calibration), "x") == calibration


def test_a_deviation_that_is_never_positive_is_left_out():
    judged = _judged(6)
    told = judged.detections.spread
    assert told is not None
    object.__setattr__(told, "epistemic", np.zeros_like(told.epistemic))
    calibration = fit(judged, _sizes(judged), CLASSES)
    assert calibration.maps.epistemic is None and calibration.before.epistemic is None
    calibrated = calibration.apply(judged.detections[judged.image == 0], SIZE)
    assert calibrated.epistemic is None and calibrated.total is not None


@pytest.mark.parametrize("method", ["context", "iso_all", "beta_percls"])
def test_an_image_without_detections_has_none_calibrated(method):
    judged = _judged(6)
    calibration = fit(judged, _sizes(judged), CLASSES, Options(detection=method))
    calibrated = calibration.apply(no_detections(3), SIZE)
    assert len(calibrated) == 0 and calibrated.class_probabilities.shape == (0, 3) and calibrated.margin.shape == (0, 4)
    assert calibrated.total is not None and calibrated.total.shape == (0, 4)


def test_images_without_detections_count_and_do_no_harm():
    judged = _judged(6)
    more = Judged(*(getattr(judged, field.name) for field in fields(Judged)[:-1]), np.full((9, 3), 20))
    calibration = fit(more, np.tile(SIZE, (9, 1)), CLASSES)
    assert calibration.sample.images == 9 and calibration.sample.detections == 120
    assert len(cross_fitted(more, np.tile(SIZE, (9, 1)), replace(Options(), folds=9))) == 120


def test_a_higher_score_is_never_less_probable_at_the_same_place():
    judged = _judged(20)
    found = judged.detections[:2]
    for method in (*scores.METHODS, "context"):
        calibration = fit(judged, _sizes(judged), CLASSES, replace(Options(), detection=method))
        probabilities = []
        for confidence in np.linspace(0.05, 0.95, 19, dtype=np.float32):
            # the median of the image is held by its other box at the same distance on the other side
            pair = np.array([confidence, sigmoid(-logit(confidence))], np.float32)
            one = Detections(found.xyxy, pair, found.class_id, found.class_scores, found.spread)
            probabilities.append(calibration.apply(one, SIZE).probability[0])
        assert (np.diff(probabilities) >= -1e-6).all(), method


def test_what_it_was_fitted_on_is_told():
    judged = _judged(6)
    calibration = fit(judged, _sizes(judged), CLASSES)
    assert (calibration.sample.images, calibration.sample.detections) == (6, 120)
    assert calibration.sample.right == judged.correct(0.5).sum() == calibration.maps.margins.count
    assert calibration.classes == CLASSES and calibration.date is None
    assert calibration.before.detection is not None and calibration.before.detection.count == 120


def _nothing_right() -> Judged:
    return _judged(6)[~_judged(6).matched]


@pytest.mark.parametrize(
    ("judged", "message"),
    [
        (_judged(0), "none of 0 detections in 0 images is right at IoU 0.5; review more images"),
        (_nothing_right(), r"none of \d+ detections in 6 images is right at IoU 0.5"),
        (_judged(1), "at least two reviewed images"),
    ],
)
def test_too_little_to_learn_from_is_one_plain_sentence(judged, message):
    with pytest.raises(UserError, match=message) as raised:
        fit(judged, _sizes(judged), CLASSES)
    assert "\n" not in str(raised.value)


def test_two_boxes_in_two_images_are_enough():
    judged = _judged(40)
    keep = np.flatnonzero(judged.matched & (judged.image < 2))[[0, -1]]
    few = judged[keep].of_images(np.array([0, 1]))
    calibration = fit(few, _sizes(few), CLASSES)
    calibrated = calibration.apply(few.detections, SIZE)
    assert np.isfinite(calibrated.probability).all() and np.isinf(calibrated.margin).all()
    assert calibration.after.inside_margins is None and calibration.before.inside_margins is None
    assert calibration.maps.margins.quantiles == (None,) * 4
    assert from_json(to_json(calibration), "x") == calibration


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"detection": "pickle"}, "'pickle' is no detection method; it is one of: ts_all, .*context"),
        ({"closed_set": "beta_all"}, "no closed_set method"),
        ({"box": "iso"}, "no box method"),
        ({"joint": "both"}, "no joint method"),
        ({"unit": "m"}, "no unit method"),
        ({"iou": 0.0}, "iou and alpha"),
        ({"alpha": 1.0}, "iou and alpha"),
        ({"folds": 1}, "folds"),
        ({"least": 0}, "least"),
        ({"seed": -1}, "seed"),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        Options(**wrong)


def test_another_model_is_refused():
    judged = _judged(6)
    calibration = fit(judged, _sizes(judged), CLASSES)
    with pytest.raises(ValueError, match="3 classes is not for detections of 2"):
        calibration.apply(no_detections(2), SIZE)
    with pytest.raises(ValueError, match="classes"):
        fit(judged, _sizes(judged), CLASSES[:2])
    with pytest.raises(ValueError, match="sizes"):
        fit(judged, _sizes(judged)[:3], CLASSES)


def test_figures_of_nothing_are_none():
    nothing = _judged(0)
    figures = fitting.figures(fitting.uncalibrated(nothing), nothing, 0.5)
    assert figures == Figures(None, None, None, None, None, None)


def test_applying_a_calibration_needs_numpy_alone():
    judged = _judged(6)
    text = to_json(fit(judged, _sizes(judged), CLASSES))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    program = (
        "import sys, numpy as np; from trainer.calibration import from_json; from trainer.detections import no_detections;"
        "from_json(sys.stdin.read(), 'x').apply(no_detections(3), (640, 480)); import trainer.cli;"
        "print([name for name in ('scipy', 'sklearn', 'torch', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], input=text, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"
