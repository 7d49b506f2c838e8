import json
import math
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activelearning.errors import FormatError, UserError
from tests.trainer.unsure_scene import BUDGETS, CLASSES, SOURCE, TABLES, VALUES, detections_of, judged_of, keeps, masked, parsed
from trainer import uncertainties
from trainer.budgets import Budget
from trainer.judged import Judged
from trainer.thresholding import Effect, Rule, Thresholding, effect, fit, from_json

# What is promised of a mix, and of classes.


def test_fitting_looks_at_the_images():
    # ten equal detections in each of 58 images, and one false one
    values = {"u": np.concatenate([np.tile(np.arange(58.0), 10), np.full(58, 1e6)])}
    iou = np.where(values["u"] < 100, 0.9, 0)
    assert fit(judged_of(iou, images=58), values, CLASSES, Budget(), SOURCE).rest.thresholds[0] == math.inf
    assert fit(judged_of(iou, images=638), values, CLASSES, Budget(), SOURCE).rest.thresholds[0] < math.inf


def test_one_half_of_the_images_finds_the_weights_and_the_other_the_thresholds():
    random = np.random.default_rng(4)
    iou = np.where(random.random(80) < 0.5, 0.9, 0)
    values = dict(zip("ab", random.normal(0, 1, (2, 80)), strict=True))
    budget = Budget("correct", 0.3, 0.6)
    plain = fit(judged_of(iou, images=2), values, CLASSES, budget, SOURCE).rest
    found = [
        fit(judged_of(np.where(np.arange(80) % 2 == one, 0.9 - iou, iou), images=2), values, CLASSES, budget, SOURCE).rest for one in (0, 1)
    ]
    assert sorted(one.weights == plain.weights for one in found) == [False, True]
    assert all(one.thresholds != plain.thresholds for one in found)
    assert plain.thresholds[0] < math.inf


def test_the_promise_holds_for_weights_and_classes_that_were_learnt_too():
    random, images = np.random.default_rng(1), 3000
    count = 5 * images
    iou = np.where(random.random(count) < 0.6, random.uniform(0.5, 1, count), 0)
    label = (random.random(count) < 0.25).astype(np.int64)
    noise = random.normal(0, 1, (2, count))
    values = dict(zip("ab", noise + 1.5 * (iou < 0.6) * np.array([[1], [2]]), strict=True))
    judged = judged_of(iou, images, label)
    held = np.zeros((400, 2))
    for draw in held:
        chosen = random.permutation(images) < 120
        mask = chosen[judged.image]
        fitted = fit(_images(judged, chosen), masked(values, mask), CLASSES, Budget(share=0.9), SOURCE, ious=(0.5, 0.7), own_from=20)
        assert set(fitted.own) == set(CLASSES)
        fresh = judged[~mask]
        kept = ~fitted.removes(masked(values, ~mask), fresh.detections.class_id, 0.5)
        correct = fresh.correct(0.5)
        draw[:] = [kept[correct & (fresh.detections.class_id == one)].mean() >= 0.9 for one in (0, 1)]
    assert (held.mean(0) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 400)).all()


def _images(judged: Judged, chosen: np.ndarray) -> Judged:
    """Those images (M,) bool; the detections in their order."""
    part = judged[chosen[judged.image]]
    return replace(part, image=(np.cumsum(chosen) - 1)[part.image], objects=judged.objects[chosen])


@settings(deadline=None, max_examples=60)
@given(TABLES, st.sampled_from(BUDGETS), st.sampled_from([None, 1, 2]))
def test_fitted_thresholds_keep_the_budget_at_every_level(rows, budget, own_from):
    values, judged = parsed(rows)
    judged = replace(judged, detections=replace(judged.detections, class_id=np.arange(len(rows)) % 2))
    fitted = fit(judged, values, CLASSES, budget, SOURCE, own_from=own_from)
    label = judged.detections.class_id
    for iou in fitted.ious:
        for removed in (fitted.removes(values, label, iou), fitted.removes(values, label)):
            parts = [label == CLASSES.index(name) for name in fitted.own] or [np.ones(len(judged), bool)]
            assert all(keeps(removed[part], judged.correct(iou)[part], budget) for part in parts)
            assert keeps(removed, judged.correct(iou), budget)


def test_rare_classes_share_a_rule():
    # two correct dogs, but one false one
    iou, label = np.array([0.9, 0, 0.9, 0, 0.9, 0.9, 0]), np.array([0, 0, 0, 0, 1, 1, 1])
    values = {"u": np.array([1.0, 2, 3, 4, 10, 9, 20])}
    judged = judged_of(iou, label=label)
    fitted = fit(judged, values, CLASSES, Budget("correct", 1.0, None), SOURCE, own_from=2)
    assert set(fitted.own) == {"cat"}
    assert fitted.own["cat"].thresholds[0] / fitted.own["cat"].weights[0] == pytest.approx(3.5)
    assert fitted.rest.thresholds[0] / fitted.rest.weights[0] == pytest.approx(15)
    assert fitted.removes(values, label).tolist() == [False, False, False, True, False, False, True]
    assert set(fit(judged, values, CLASSES, Budget("correct", 1.0, None), SOURCE, own_from=1).own) == set(CLASSES)
    assert not fit(judged, values, CLASSES, Budget("correct", 1.0, None), SOURCE).own
    # enough at the lowest level, not at the highest
    assert not fit(judged_of(iou * 0.7, label=label), values, CLASSES, Budget("correct", 1.0, None), SOURCE, own_from=1).own


# What is removed, and what that does.


def _thresholding(budget: Budget | None = None) -> Thresholding:
    judged = judged_of([0.9, 0.9, 0.6, 0, 0.9, 0], missed=2)
    return fit(judged, {"unconfidence": VALUES}, CLASSES, budget or Budget("correct", 1.0, None), SOURCE, ious=(0.5, 0.75))


def test_effect_by_hand():
    judged = judged_of([0.9, 0.9, 0.6, 0, 0.9, 0], missed=2)
    removed = np.array([False, False, True, True, True, False])
    assert effect(judged, removed, 0.5) == Effect(0.5, 2, 2, 1, 1, missed_before=2, missed_after=4)
    assert effect(judged, removed, 0.75) == Effect(0.75, 2, 1, 1, 2, missed_before=3, missed_after=4)


def test_detections_are_removed_by_the_threshold_that_holds_at_every_level():
    weight = _thresholding().rest.weights[0]
    assert [one / weight for one in _thresholding().rest.thresholds] == pytest.approx([4.5, 3.5])
    found = replace(detections_of([[0.5, 0.1]] * 3), confidence=np.array([-3.4, -2.6, -2.4], np.float32))
    # 1 - confidence is 4.4, 3.6, 3.4
    assert _thresholding().removed(found).tolist() == [False, False, False]
    assert _thresholding().removed(found, 0.75).tolist() == [True, True, False]
    with pytest.raises(KeyError):
        _thresholding().removed(found, 0.55)


def test_detections_of_other_classes_or_without_the_uncertainty_are_refused():
    found = detections_of([[0.5, 0.1]])
    with pytest.raises(UserError, match="for 1 classes"):
        replace(_thresholding(), classes=("cat",)).removed(found)
    with pytest.raises(ValueError, match="of 2 classes, not of 1"):
        fit(judged_of([0.9, 0]), {"u": np.zeros(2)}, ("cat",), Budget(), SOURCE)
    with pytest.raises(UserError, match="need 'aleatoric'"):
        replace(_thresholding(), names=("aleatoric",)).removed(found)


@pytest.mark.parametrize("budget", [*BUDGETS, Budget(), Budget("false")])
@pytest.mark.parametrize("own_from", [None, 0])
def test_from_nothing_it_learns_to_do_nothing_or_to_trust_nothing(budget, own_from):
    none = uncertainties.of(detections_of([]))
    fitted = fit(judged_of([], images=1), none, CLASSES, budget, SOURCE, own_from=own_from)
    assert fitted.removed(detections_of([])).shape == (0,)
    assert fitted.removed(detections_of([[0.5, 0.1], [0.1, 0.2]])).tolist() == [budget.of == "false"] * 2


def test_what_it_was_fitted_on_is_recorded():
    found = _thresholding().fitted_on
    assert (found.source, found.images, found.detections, found.objects, found.correct) == (SOURCE, 1, 6, 6, (4, 3))


# The file.


@pytest.mark.parametrize("budget", [Budget("correct", 0.75, None), Budget(), Budget("false", 0.9, 0.99)])
def test_a_file_is_read_as_it_was_written(budget):
    fitted = replace(_thresholding(budget), own={"dog": Rule((0.125,), (math.inf, 1e-300))})
    assert from_json(fitted.to_json(), "thresholds.json", SOURCE) == fitted
    assert from_json(fitted.to_json().encode(), "thresholds.json", SOURCE).budget == budget


def test_thresholds_of_another_model_are_not_used():
    with pytest.raises(FormatError, match=r"thresholds\.json holds thresholds that were fitted on another model"):
        from_json(_thresholding().to_json(), "thresholds.json", "model 9")


def _changed(**changes: object) -> str:
    return json.dumps(json.loads(_thresholding().to_json()) | changes)


_RULE = {"weights": [1.0], "thresholds": [1.0, 2.0]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "[" * 100_000,
        "{}",
        '{"activelearning_thresholding": 1}',
        b"\xff\xfe\x00",
        _changed(activelearning_thresholding=2),
        _changed(more=[]),
        _changed(names=[]),
        _changed(names="u"),
        _changed(names=[1]),
        _changed(names=["a", "a"]),
        _changed(classes=["cat", "cat"]),
        _changed(ious=["0.5", 0.75]),
        _changed(ious=[0.5]),
        _changed(ious=[0.5, 7]),
        _changed(budget={"of": "correct", "share": 2, "confidence": None}),
        _changed(budget={"of": "correct", "share": "1", "confidence": None}),
        _changed(budget=None),
        _changed(rest=_RULE | {"weights": [-1.0]}),
        _changed(rest=_RULE | {"weights": [True]}),
        _changed(rest=_RULE | {"weights": [1.0, 1.0]}),
        _changed(rest=_RULE | {"thresholds": [1.0]}),
        _changed(rest=_RULE | {"thresholds": [1.0, None]}),
        _changed(rest=_RULE | {"thresholds": [1.0, "often"]}),
        _changed(rest=_RULE | {"thresholds": [1.0, []]}),
        _changed(rest=_RULE).replace("2.0", "NaN"),
        _changed(rest=_RULE).replace("[1.0]", "[1e999]"),
        _changed(rest=_RULE).replace("2.0", "1" * 5000),
        _changed(own={"bird": _RULE}),
        _changed(own=[_RULE]),
        _changed(fitted_on={}),
        _changed(fitted_on={"source": SOURCE, "images": 1.5, "detections": 1, "objects": 1, "correct": [1, 1]}),
        _changed(fitted_on={"source": SOURCE, "images": 1, "detections": 1, "objects": 1, "correct": [1]}),
    ],
)
def test_a_damaged_file_is_one_plain_sentence(text):
    with pytest.raises(FormatError, match=r"^thresholds\.json holds no thresholds, or damaged ones: fit them again$"):
        from_json(text, "thresholds.json", SOURCE)


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3), lambda one: st.lists(one) | st.dictionaries(st.text(), one)
)


@settings(deadline=None)
@given(st.sampled_from(sorted(json.loads(_thresholding().to_json()))), _json)
def test_whatever_a_file_holds_it_is_read_or_refused(key, value):
    with suppress(FormatError):
        assert from_json(_changed(**{key: value}), "thresholds.json", SOURCE).names == ("unconfidence",)
