"""Scores by hand: every measure, aggregation, combination and strategy of uncertainty, and what an image without detections counts as."""

import math

import numpy as np
import pytest
from scipy import stats

from activelearning import settings
from activelearning.errors import BoxError, UserError
from activelearning.labels import Box, ImageLabels
from activelearning.settings import Selection
from tests.trainer.query_pools import box, image, pool, scores
from trainer.query import candidates, combinations, measures, modifiers, uncertainty
from trainer.query.aggregation import AGGREGATIONS, of_images
from trainer.query.combinations import minmax, zscore
from trainer.query.measures import MEASURES
from trainer.query.registry import STRATEGIES


def test_registries_hold_what_settings_allow() -> None:
    assert tuple(MEASURES) == settings.UNCERTAINTIES
    assert tuple(AGGREGATIONS) == settings.BOX_AGGREGATIONS
    assert tuple(modifiers.ORDERS) == settings.ORDERS
    assert tuple(modifiers.CLASS_WEIGHTS) == settings.CLASS_WEIGHTS
    assert all(strategy.meaning and strategy.source for strategy in STRATEGIES.values())
    assert all(measure.meaning and measure.source for measure in MEASURES.values())


FULL = {"entropy": 1.5, "margin": 0.25, "probability": 0.8, "total_px": 5.0, "calibrated_px": 7.5}
FULL |= {"aleatoric": 0.1, "epistemic": 0.2, "total": 0.3, "class_epistemic": 0.05, "mutual_information": 0.4}
FULL |= {"aleatoric_px": 3.0, "epistemic_px": 4.0}
"""A detection of confidence 0.9; 7.5 / 5 is calibration's factor 1.5 for deviations."""

BITS_OF_FIFTH = 0.721928  # −0.2 log₂ 0.2 − 0.8 log₂ 0.8


@pytest.mark.parametrize(
    ("name", "raw", "calibrated"),
    [
        ("unconfidence", 0.1, 0.2),
        ("margin", 0.75, 0.4),  # calibrated: 1 − |0.8 − 0.2|
        ("entropy", 1.5, BITS_OF_FIFTH),
        ("aleatoric", 0.1, 0.15),
        ("epistemic", 0.2, 0.3),
        ("total", 0.3, 0.45),
        ("class_epistemic", 0.05, 0.05),
        ("mutual_information", 0.4, 0.4),
        ("improbability", 0.2, 0.2),
        ("aleatoric_px", 3.0, 4.5),
        ("epistemic_px", 4.0, 6.0),
        ("total_px", 5.0, 7.5),
        ("calibrated_px", 7.5, 7.5),
    ],
)
def test_a_measure_of_a_box(name: str, raw: float, calibrated: float) -> None:
    found = candidates.of_labels([image("a.jpg", box(confidence=0.9, **FULL))], MEASURES[name].columns)

    assert measures.of_boxes(found, name) == pytest.approx([raw], rel=1e-5)
    assert measures.of_boxes(found, name, calibrated=True) == pytest.approx([calibrated], rel=1e-5)


@pytest.mark.parametrize(("name", "value"), [("unconfidence", 0.2), ("margin", 0.4), ("entropy", BITS_OF_FIFTH)])
def test_the_confidence_alone_says_what_no_column_does(name: str, value: float) -> None:
    found = candidates.of_labels([image("a.jpg", box(confidence=0.8))], MEASURES[name].columns)

    assert measures.of_boxes(found, name, calibrated=True) == pytest.approx([value], rel=1e-5)


def test_a_box_without_a_column_counts_as_the_mean_and_a_pool_without_it_is_refused() -> None:
    some = pool([image("a.jpg", box(epistemic=0.2), box(epistemic=0.6)), image("b.jpg", box())], Selection("mcbox"))
    assert measures.of_boxes(some, "epistemic") == pytest.approx([0.2, 0.6, 0.4])
    with pytest.raises(UserError, match="no detection of the pool has calibrated_px and epistemic and total_px, which the query strategy"):
        scores([image("a.jpg", box())], Selection("mcbox"))
    assert scores([image("b.jpg"), image("a.jpg")], Selection("mcbox")) == {"a.jpg": 0.0, "b.jpg": 0.0}


def test_numbers_out_of_range_are_brought_into_it_and_no_number_is_refused() -> None:
    found = candidates.of_labels([image("a.jpg", box(confidence=1e300, entropy=1e300), box(confidence=-3.0, entropy=-1.0))], ["entropy"])
    assert found.confidence.tolist() == [1.0, 0.0]
    assert found.column("entropy").tolist() == [float(np.finfo(np.float32).max), 0.0]
    with pytest.raises(BoxError, match=r"'a\.jpg' has a confidence that is not a number; predict the image again"):
        candidates.of_labels([image("a.jpg", box(confidence=math.nan))])


@pytest.mark.parametrize(
    ("how", "first", "second"), [("min", 0.1, 0.5), ("mean", 0.4, 0.5), ("max", 0.9, 0.5), ("sum", 1.6, 0.5), ("top-k", 0.6, 0.5)]
)
def test_aggregations(how: str, first: float, second: float) -> None:
    found = pool([image("a.jpg"), image("b.jpg", *[box()] * 4), image("c.jpg"), image("d.jpg", box()), image("e.jpg")])

    # the three largest of 0.9, 0.5, 0.4 and … are 0.9, 0.5 and 0.4, sum 1.8
    of_four = [0.3, 0.9, 0.1, 0.3] if how != "top-k" else [0.4, 0.9, 0.1, 0.5]
    assert of_images(np.array([*of_four, 0.5]), found, how, 3, 7.0) == pytest.approx([7.0, first, 7.0, second, 7.0])


def test_minmax_and_zscore_agree_with_scipy_and_guard_constants() -> None:
    values, everywhere = np.random.default_rng(0).gamma(2.0, size=50), np.ones(50, bool)
    assert zscore(values, everywhere) == pytest.approx(stats.zscore(values))
    assert minmax(values, everywhere) == pytest.approx((values - np.min(values)) / np.ptp(values))
    some = np.array([True, True, True, False])
    assert minmax(np.array([1.0, 3.0, 2.0, 99.0]), some).tolist() == [0.0, 1.0, 0.5, 0.0]
    assert zscore(np.array([1.0, 3.0, 2.0, 99.0]), some) == pytest.approx([-math.sqrt(1.5), math.sqrt(1.5), 0, -math.sqrt(1.5)])
    for same in (np.full(4, 0.1), np.full(4, 1e300)):
        assert minmax(same, some).tolist() == zscore(same, some).tolist() == [0.0] * 4


def test_one_component_that_is_constant_contributes_nothing() -> None:
    components, filled = [np.array([0.0, 1.0, 4.0]), np.full(3, 0.7)], np.ones(3, bool)

    assert combinations.COMBINATIONS["minmax-sum"](components, filled).tolist() == [0.0, 0.25, 1.0]
    assert combinations.COMBINATIONS["minmax-difference"](components, filled).tolist() == [0.0, 0.25, 1.0]
    assert combinations.COMBINATIONS["zscore-max"](components, filled) == pytest.approx([0.0, 0.0, (4 - 5 / 3) / np.std([0, 1, 4])])


def _described(name: str, *rows: tuple[float, float, float, float]) -> ImageLabels:
    """Boxes by entropy, aleatoric, epistemic and class_epistemic."""
    columns = ("entropy", "aleatoric", "epistemic", "class_epistemic")
    return image(name, *(box(**dict(zip(columns, row, strict=True)), aleatoric_px=100 * row[1], epistemic_px=100 * row[2]) for row in rows))


THREE = [
    _described("a.jpg", (1.0, 0.10, 0.05, 0.20), (0.2, 0.30, 0.15, 0.10)),
    _described("b.jpg", (0.5, 0.20, 0.35, 0.00)),
    _described("c.jpg", (2.0, 0.50, 0.05, 0.40)),
    image("d.jpg"),
]
"""By the maximum: entropy 1, 0.5, 2; aleatoric 0.3, 0.2, 0.5; epistemic 0.15, 0.35, 0.05; class_epistemic 0.2, 0, 0.4."""

THIRD = 1 / 3
S = math.sqrt(1.5)
"""The z-score of the highest of three equally spaced values."""
Z_ALEATORIC = [
    (value - THIRD) / math.sqrt(0.14 / 9) for value in (0.3, 0.2, 0.5)
]  # mean 1/3, variance (0.01 + 0.16 + 0.25) / 27 = 0.14 / 9
Z_EPISTEMIC = [(value - 0.55 / 3) / math.sqrt(0.14 / 9) for value in (0.15, 0.35, 0.05)]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("entropy", (1.0, 0.5, 2.0, 0.0)),
        ("mcbox", (0.15, 0.35, 0.05, 0.0)),
        ("albox", (0.3, 0.2, 0.5, 0.0)),
        ("mcclass", (0.2, 0.0, 0.4, 0.0)),
        # box by box: max(1 + 0.1, 0.2 + 0.3), 0.5 + 0.2, 2 + 0.5
        ("combo", (1.1, 0.7, 2.5, 0.0)),
        # min-max: entropy 1/3, 0, 1; aleatoric 1/3, 0, 1; epistemic 1/3, 1, 0; class_epistemic 1/2, 0, 1
        ("ental", (2 * THIRD, 0.0, 2.0, 0.0)),
        ("epuncert", (THIRD + 0.5, 1.0, 1.0, 0.0)),
        ("alluncert", (2 * THIRD + 0.5, 1.0, 2.0, 0.0)),
        ("highep_lowal", (0.5, 1.0, 0.0, 0.0)),
        # a: aleatoric −0.27, epistemic −0.27, class 0; b: epistemic 1.34; c: aleatoric 1.34; d: the highest of the lowest
        ("sota", (0.0, Z_EPISTEMIC[1], Z_ALEATORIC[2], max(Z_ALEATORIC[1], Z_EPISTEMIC[2], -S))),
    ],
)
def test_a_strategy_by_the_least_sure_box(strategy: str, expected: tuple[float, ...]) -> None:
    found = scores(THREE, Selection(strategy, box_aggregation="max"))

    assert [found[f"{name}.jpg"] for name in "abcd"] == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_scores_of_several_measures_against_another_way_to_compute_them() -> None:
    chance = np.random.default_rng(1)
    rows = {f"{number:02}.jpg": chance.gamma(2.0, 0.1, (chance.integers(1, 6), 4)).astype(np.float32) for number in range(40)}
    images = [_described(name, *map(tuple, boxes.tolist())) for name, boxes in rows.items()]
    means = np.array([boxes.astype(np.float64).mean(0) for boxes in rows.values()])
    scaled = (means - means.min(0)) / np.ptp(means, 0)
    _, aleatoric, epistemic, of_class = scaled.T
    expected = {
        "alluncert": scaled[:, 1:].sum(1),
        "highep_lowal": epistemic + of_class - aleatoric,
        "epuncert": epistemic + of_class,
        "ental": scaled[:, :2].sum(1),
        "sota": stats.zscore(means[:, 1:], axis=0).max(1),
    }

    for strategy, values in expected.items():
        found = scores(images, Selection(strategy))
        assert [found[name] for name in rows] == pytest.approx(values, rel=1e-6)


def test_absolute_and_weighted_and_calibrated() -> None:
    assert scores(THREE, Selection("mcbox", "max", relative=False))["b.jpg"] == pytest.approx(35)
    assert scores(THREE, Selection("albox", "max", relative=False))["c.jpg"] == pytest.approx(50)
    weights = {"entropy": 0.5, "epistemic": 10.0, "aleatoric": 0.0}
    assert scores(THREE, Selection("combo", "max", weights=weights))["a.jpg"] == pytest.approx(max(0.5 + 0.5, 0.1 + 1.5))
    both = [image("a.jpg", box(probability=0.5), box(confidence=0.8))]
    assert scores(both, Selection("entropy", "sum", calibrated=True))["a.jpg"] == pytest.approx(1 + BITS_OF_FIFTH, rel=1e-5)


@pytest.mark.parametrize(
    ("selection", "labels", "score"),
    [
        (Selection("least-confidence", "max"), image("a.jpg", box(confidence=0.9), box(confidence=0.4)), 0.6),
        (Selection("least-confidence"), image("a.jpg", box(confidence=0.9), box(confidence=0.4)), 0.35),
        (Selection("least-confidence"), image("a.jpg"), 1.0),
        (Selection("least-confidence"), image("a.jpg", Box("a", 0, 0, 1, 1)), 0.0),
        (Selection("most-confidence", "max"), image("a.jpg", box(confidence=0.9), box(confidence=0.4)), 0.4),
        (Selection("most-confidence"), image("a.jpg"), 0.0),
        (Selection("margin"), image("a.jpg", box(margin=0.25)), 0.75),
        (Selection("margin", "min"), image("a.jpg", box(confidence=0.9), box(confidence=0.5)), 0.2),
        (Selection("margin"), image("a.jpg"), 0.0),
        (Selection("entropy"), image("a.jpg", box(entropy=1.5)), 1.5),
        (Selection("entropy"), image("a.jpg", box(confidence=0.5)), 1.0),
        (Selection("entropy"), image("a.jpg"), 0.0),
        (Selection("combo", weights={"unconfidence": 2.0, "entropy": 1.0}), image("a.jpg"), 2.0),
    ],
)
def test_a_strategy_of_one_measure(selection: Selection, labels: ImageLabels, score: float) -> None:
    assert scores([labels], selection)["a.jpg"] == pytest.approx(score, rel=1e-5)


@pytest.mark.parametrize(("how", "confidence"), [("min", 0.9), ("mean", 0.7), ("max", 0.5), ("sum", 0.4), ("top-k", 0.7)])
def test_an_images_confidence_is_what_its_unsureness_leaves(how: str, confidence: float) -> None:
    found = pool([image("a.jpg", box(confidence=0.9), box(confidence=0.5)), image("b.jpg")])

    assert uncertainty.image_confidence(found, Selection(box_aggregation=how)) == pytest.approx([confidence, 0.0])
