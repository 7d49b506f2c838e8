"""How like two sets of objects are: golden values from scipy and by hand, and what must hold for any sets."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy.stats import gaussian_kde

from trainer import object_features, set_similarity
from trainer.set_similarity import Objects, compare

CLASSES = ("cell", "plate")


def _cosines(size: int) -> np.ndarray:
    """The orthonormal DCT-II as a matrix, from its definition."""
    rows = [[math.cos(math.pi * (2 * x + 1) * k / (2 * size)) for x in range(size)] for k in range(size)]
    return np.array(rows) * np.array([math.sqrt((1 if k == 0 else 2) / size) for k in range(size)])[:, None]


def test_texture_is_the_mean_magnitude_of_the_cosine_transform_without_its_constant() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    found = [np.abs(_cosines(7) @ crop[:, :, channel].astype(float) @ _cosines(5).T) for channel in range(3)]
    expected = sum(one.sum() - one[0, 0] for one in found) / (3 * (7 * 5 - 1))
    assert object_features.mean_coefficient(crop) == pytest.approx(expected)
    assert object_features.mean_coefficient(np.full((6, 4, 3), 200, np.uint8)) == pytest.approx(0, abs=1e-9)
    assert object_features.mean_coefficient(np.zeros((1, 1, 3), np.uint8)) == 0


def test_a_histogram_has_shares_by_colour_and_expects_the_colour() -> None:
    crop = np.zeros((3, 4, 3), np.uint8)
    crop[0] = (255, 0, 31)
    shares = object_features.histogram(crop)
    assert shares[7, 0, 0] == pytest.approx(1 / 3) and shares[0, 0, 0] == pytest.approx(2 / 3) and shares.sum() == pytest.approx(1)
    # bins' centres are 1/16 and 15/16: red is 15/48 + 2/48, green and blue 1/16
    brightness, red_green, yellow_blue = object_features.colour(shares)
    assert (brightness, red_green, yellow_blue) == pytest.approx(
        ((17 / 48 + 2 / 16) / 3, 17 / 48 - 1 / 16, (17 / 48 + 1 / 16) / 2 - 1 / 16)
    )


def test_colour_does_not_know_size_and_size_does_not_know_resolution() -> None:
    rows = [
        object_features.features(np.full((side, 2 * side, 3), (200, 30, 90), np.uint8), (2 * side, side), (640, 480)) for side in (8, 40)
    ]
    assert rows[0][object_features.BRIGHTNESS :].tolist() == rows[1][object_features.BRIGHTNESS :].tolist()
    assert rows[0][object_features.ASPECT] == rows[1][object_features.ASPECT] == pytest.approx(math.log(2))
    assert rows[1][object_features.SIZE] - rows[0][object_features.SIZE] == pytest.approx(math.log(5))
    again = object_features.features(np.zeros((16, 32, 3), np.uint8), (32, 16), (1280, 960))
    assert again[object_features.SIZE] == pytest.approx(rows[0][object_features.SIZE])


@pytest.mark.parametrize(("shift", "scale", "count"), [(0.0, 1.0, 40), (1.0, 1.0, 40), (0.5, 3.0, 15), (8.0, 0.5, 60)])
def test_divergence_is_that_of_scipys_densities(shift: float, scale: float, count: int) -> None:
    random = np.random.default_rng(3)
    first, second = random.normal(0, 1, 50), random.normal(shift, scale, count)
    width = max(gaussian_kde(values).factor * values.std(ddof=1) for values in (first, second))
    p, q = (gaussian_kde(values, width / values.std(ddof=1)) for values in (first, second))

    def integrand(x: float) -> float:
        one, other = float(p(x)[0]), float(q(x)[0])
        middle = (one + other) / 2
        return 0.5 * sum(value * math.log2(value / middle) for value in (one, other) if value > 1e-300)

    expected, _ = integrate.quad(integrand, -12, 20, limit=300, epsabs=1e-7)
    assert set_similarity.divergence(first, second, 0.01) == pytest.approx(expected, abs=2e-4)


def test_divergence_of_constants_asks_whether_they_are_alike_within_the_resolution() -> None:
    same, near, far = np.full(9, 1.0), np.full(9, 1.01), np.full(9, 2.0)
    assert set_similarity.divergence(same, same, 0.05) == 0
    assert set_similarity.divergence(same, near, 0.05) < 0.01
    assert set_similarity.divergence(same, far, 0.05) == pytest.approx(1)


_SAMPLE = st.lists(st.floats(-50, 50), min_size=2, max_size=12).map(np.array)


@given(_SAMPLE, _SAMPLE)
@settings(max_examples=60)
def test_divergence_is_symmetric_and_bounded_whatever_the_samples(first: np.ndarray, second: np.ndarray) -> None:
    found = set_similarity.divergence(first, second, 0.05)
    assert 0 <= found <= 1
    assert found == pytest.approx(set_similarity.divergence(second, first, 0.05), abs=1e-9)


@pytest.mark.parametrize(("values", "expected"), [((0, 1, 1), 0.75), ((0.3, 2, 1), 1.3), ((0.5, 1, 3), 1.75), ((0, 4, 2), 2.5)])
def test_the_distance_of_a_class_is_the_references(values: tuple[float, float, float], expected: float) -> None:
    assert set_similarity.combined(*values) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("objects", "counts", "expected"), [(100, [100], 1), (100, [30, 50, 100], 2), (10, [40, 40], 1), (90, [10, 20, 30], 6), (5, [0], 5)]
)
def test_a_crowded_set_is_weighed_as_in_the_reference(objects: int, counts: list[int], expected: int) -> None:
    assert set_similarity.crowding(objects, counts) == expected


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([[0.85, 0.08, 0.07], [0.84, 0.09, 0.07]], [1, 1, 1]),
        ([[1.0, 0.0], [1.0, 0.0]], [1, 0]),
        ([[0.0, 0.0], [0.0, 0.0]], [0, 0]),
        # 1/ω is 2, 4, 8, 10, 1000: deviation over mean is 1.9; the quarter below .1 has no weight
        ([[0.5, 0.25, 0.125, 0.1, 0.001]], [2, 4, 8, 10, 0]),
    ],
)
def test_classes_weigh_as_in_the_reference(shares: list[list[float]], expected: list[float]) -> None:
    assert set_similarity.class_weights(np.array(shares)).tolist() == pytest.approx(expected)


def _objects(seed: int, count: int = 60, plates: float = 0.5, **moved: float) -> Objects:
    """Objects of two classes; `moved` shifts a column."""
    random = np.random.default_rng(seed)
    rows = random.normal(0, 1, (count, 6)) * (0.3, 0.4, 0.5, 0.1, 0.05, 0.05)
    for name, value in moved.items():
        rows[:, getattr(object_features, name)] += value
    return Objects((np.arange(count) < plates * count).astype(np.int64), rows)


def _value(of: Objects, to: Objects) -> float:
    value = compare(of, to, CLASSES).value
    assert value is not None
    return value


def test_a_set_is_like_itself_and_a_draw_nearly() -> None:
    assert _value(_objects(0), _objects(0)) == pytest.approx(1)
    assert 0.9 < _value(_objects(0, 200), _objects(1, 200)) < 1


@pytest.mark.parametrize("column", ["ASPECT", "SIZE", "TEXTURE", "BRIGHTNESS", "RED_GREEN", "YELLOW_BLUE"])
def test_each_feature_makes_sets_differ_and_is_named(column: str) -> None:
    found = compare(_objects(0, 200, **{column: 3.0}), _objects(1, 200), CLASSES)
    assert found.value is not None and found.value < 0.72
    name = {"BRIGHTNESS": "colour", "RED_GREEN": "colour", "YELLOW_BLUE": "colour"}.get(column, column.lower())
    for one in found.classes:
        assert one.divergence and set_similarity.FEATURES[int(np.argmax(one.divergence))] == name and max(one.divergence) > 0.9


def test_nothing_in_common_is_nought() -> None:
    assert _value(_objects(0, ASPECT=9, SIZE=9, TEXTURE=9, RED_GREEN=9), _objects(1)) == pytest.approx(0, abs=1e-3)


def test_the_more_of_another_kind_is_mixed_in_the_less_alike() -> None:
    plain, other = _objects(0, 200), _objects(1, 200, SIZE=2.0, RED_GREEN=0.5)
    values = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        mixed = np.where((np.arange(200) % 4 < 4 * share)[:, None], other.features, _objects(2, 200).features)
        values.append(_value(Objects(plain.class_id, mixed), plain))
    assert values == sorted(values, reverse=True) and values[0] - values[-1] > 0.3


def test_too_much_of_a_class_is_as_far_off_as_too_little() -> None:
    even = _objects(0, 400)
    few, many = (compare(_objects(1, 400, plates), even, CLASSES) for plates in (0.25, 0.75))
    assert few.value == pytest.approx(many.value or 0, abs=0.06) and (few.value or 1) < 0.9 * _value(_objects(1, 400), even)


def test_a_class_with_too_few_objects_is_not_guessed_at() -> None:
    of, to = _objects(0, 60, plates=4 / 60), _objects(1, 60, plates=4 / 60)
    found = compare(of, to, CLASSES)
    assert [one.similarity is None for one in found.classes] == [False, True]
    assert found.value == found.classes[0].similarity and found.classes[1].objects_of == 4
    assert compare(_objects(0, 4), _objects(1, 4), CLASSES).value is None
    nothing = Objects(np.zeros(0, np.int64), np.zeros((0, 6)))
    assert compare(nothing, nothing, CLASSES).value is None


def test_a_common_class_that_is_missing_altogether_is_nought() -> None:
    found = compare(_objects(0, 60, plates=0), _objects(1, 60), CLASSES)
    assert found.classes[1].similarity == 0 and found.classes[1].divergence is None
    assert found.value is not None and found.value < 0.6


def test_features_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Objects(np.zeros(1, np.int64), np.full((1, 6), np.nan))
    with pytest.raises(ValueError, match="shape"):
        Objects(np.zeros(2, np.int64), np.zeros((1, 6)))
