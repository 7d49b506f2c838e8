import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from trainer.calibration import box_metrics, boxes, isotonic
from trainer.calibration.box_metrics import BoxFigures
from trainer.calibration.boxes import BoxMap
from trainer.calibration.maps import Factor, Knots


class _Boxes:
    """Right boxes of three classes, some hundred pixels large, whose residuals are Gaussian with a deviation `factor` times as large as
    the one predicted, by class and coordinate (3, 4)."""

    def __init__(self, count: int, seed: int, factor: np.ndarray | float = 1.0) -> None:
        random = np.random.default_rng(seed)
        sides = random.uniform(40, 200, (count, 2))
        self.xyxy = np.concatenate([np.zeros((count, 2)), sides], 1).astype(np.float32)
        self.class_id = random.integers(0, 3, count)
        self.std = (np.tile(sides, 2) * random.uniform(0.01, 0.1, (count, 4))).astype(np.float32)
        self.residual = random.normal(0, self.std * np.broadcast_to(factor, (3, 4))[self.class_id])

    def fit(self, method: str, least: int = 30) -> BoxMap | None:
        return boxes.fit(method, self.std, self.residual, self.xyxy, self.class_id, 3, least)

    def figures(self, box_map: BoxMap | None) -> BoxFigures:
        assert box_map is not None
        figures = box_metrics.of_boxes(self.residual, box_map(self.std, self.xyxy, self.class_id))
        assert figures is not None and figures.count == len(self.std)
        return figures


@pytest.mark.parametrize("factor", [1.0, 0.3, 2.5])
@pytest.mark.parametrize("method", boxes.METHODS)
def test_a_gaussian_stays_or_becomes_one(method, factor):
    figures = _Boxes(12_000, 1, factor).figures(_Boxes(12_000, 0, factor).fit(method))
    assert figures.inside == pytest.approx([0.6827] * 4, abs=0.01)
    assert figures.inside_all == pytest.approx(0.6827**4, abs=0.02)
    assert figures.ece <= 0.01


def test_the_mean_of_absolute_residuals_in_place_of_their_squares_would_not_do():
    # the reference's way: isotonic σ → |r|, read as a standard deviation
    fitting, judging = _Boxes(12_000, 0), _Boxes(12_000, 1)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(fitting.std.ravel(), np.abs(fitting.residual).ravel())
    figures = box_metrics.of_boxes(judging.residual, theirs.predict(judging.std.ravel()).reshape(-1, 4))
    assert figures is not None
    assert np.mean(figures.inside) == pytest.approx(0.575, abs=0.01)
    assert figures.ece == pytest.approx(0.0705, abs=0.01)


def test_every_class_and_coordinate_has_its_own_map():
    factor = np.array([[1, 1, 2, 2], [3, 1, 1, 0.5], [1, 0.2, 1, 1]])
    fitting, judging = _Boxes(20_000, 0, factor), _Boxes(20_000, 1, factor)
    for method in ("iso_perclscoo", "rel_iso_perclscoo"):
        assert judging.figures(fitting.fit(method)).inside == pytest.approx([0.6827] * 4, abs=0.01)
        assert judging.figures(fitting.fit(method)).ece <= 0.01
    assert judging.figures(fitting.fit("ts_all")).ece > 0.05


def test_the_factor_is_the_closed_form():
    sample = _Boxes(50, 0)
    assert sample.fit("ts_all") == BoxMap(((Factor(float(np.sqrt(np.mean((sample.residual / sample.std) ** 2)))),),), False)
    per_coordinate = sample.fit("ts_percoo")
    assert per_coordinate is not None
    expected = np.sqrt(((sample.residual / sample.std) ** 2).mean(0))
    assert [one.factor for one in per_coordinate.maps[0]] == pytest.approx(expected)


def test_isotonic_at_its_finest_is_the_root_of_scikit_learns():
    sample = _Boxes(60, 0)
    std, residual = sample.std.ravel().astype(float), sample.residual.ravel()
    theirs = IsotonicRegression().fit(std, residual**2).predict(std)
    np.testing.assert_allclose(isotonic.deviation(std, residual, 1)(std), np.sqrt(theirs), rtol=1e-6)


@pytest.mark.parametrize(("count", "at_least"), [(100, 30), (29, 30), (60, 30), (1, 30), (7, 2)])
def test_every_level_rests_on_enough_residuals(count, at_least):
    std = np.arange(1.0, count + 1)
    knots = isotonic.deviation(std, std, at_least)
    assert len(knots.x) == max(count // at_least, 1)
    assert knots.y[0] == pytest.approx(np.sqrt(np.mean(std[: max(at_least, 1) if count >= 2 * at_least else count] ** 2)))


def test_a_rare_class_is_calibrated_like_all():
    sample = _Boxes(2000, 0, np.array([[1.0], [3.0], [0.2]]))
    sample.class_id[sample.class_id == 2] = 0
    sample.class_id[:29] = 2
    for method in ("iso_perclscoo", "rel_iso_perclscoo"):
        own, rare, none = sample.fit(method), sample.fit(method, least=29), sample.fit(method, least=5000)
        assert own is not None and rare is not None and none is not None
        assert own.maps[2] == none.maps[0] == none.maps[1] and own.maps[0] != own.maps[1] != own.maps[2]
        assert rare.maps[2] != own.maps[2] and rare.maps[:2] == own.maps[:2]
    percoo, common = sample.fit("iso_percoo"), sample.fit("iso_perclscoo", least=5000)
    assert percoo is not None and common is not None and percoo.maps[0] == common.maps[0]


def test_a_relative_map_does_not_know_how_large_the_image_is():
    sample = _Boxes(500, 0)
    for method in ("rel_iso_all", "rel_iso_perclscoo"):
        one = sample.fit(method)
        assert one is not None
        small = one(sample.std, sample.xyxy, sample.class_id)
        np.testing.assert_allclose(one(sample.std * 3, sample.xyxy * 3, sample.class_id), small * 3, rtol=1e-4)


@pytest.mark.parametrize("method", boxes.METHODS)
def test_deviations_of_zero_and_unknown_ones_teach_nothing(method):
    clean, dirty = _Boxes(400, 0), _Boxes(500, 0)
    for name in ("xyxy", "class_id", "std", "residual"):
        getattr(dirty, name)[:400] = getattr(clean, name)
    dirty.std[400:430], dirty.std[430:460], dirty.std[460:480], dirty.residual[480:] = 0, np.nan, np.inf, np.nan
    fitted = clean.fit(method)
    assert fitted == dirty.fit(method) and fitted is not None
    std = np.array([[0.0, np.nan, 1.0, 2.0]], np.float32)
    with np.errstate(all="raise"):
        calibrated = fitted(std, dirty.xyxy[:1], dirty.class_id[:1])
    assert calibrated[0, 0] >= 0 and np.isnan(calibrated[0, 1]) and (calibrated[0, 2:] > 0).all()
    assert fitted(std[:0], dirty.xyxy[:0], dirty.class_id[:0]).shape == (0, 4)


@pytest.mark.parametrize("method", boxes.METHODS)
def test_without_a_positive_deviation_there_is_no_map(method):
    sample = _Boxes(40, 0)
    for value in (0, np.nan):
        sample.std[:] = value
        assert sample.fit(method) is None
    assert _Boxes(0, 0).fit(method) is None


@pytest.mark.parametrize("method", boxes.METHODS)
def test_a_coordinate_without_a_positive_deviation_is_calibrated_like_the_others(method):
    sample = _Boxes(400, 0)
    sample.std[:, 1] = 0
    fitted = sample.fit(method)
    assert fitted is not None
    assert (fitted(np.ones((2, 4), np.float32), sample.xyxy[:2], sample.class_id[:2]) > 0).all()


@pytest.mark.parametrize("method", boxes.METHODS)
def test_boxes_without_extent_do_not_break_a_map(method):
    sample = _Boxes(100, 0)
    sample.xyxy[:5] = 0
    fitted = sample.fit(method)
    assert fitted is not None
    assert np.isfinite(fitted(sample.std, sample.xyxy, sample.class_id)).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 80), st.integers(0, 10_000), st.sampled_from(boxes.METHODS), st.integers(1, 40))
def test_maps_are_monotone_whatever_the_boxes_and_their_order(count, seed, method, least):
    sample = _Boxes(count, seed)
    first = sample.fit(method, least)
    order = np.random.default_rng(seed).permutation(count)
    for name in ("xyxy", "class_id", "std", "residual"):
        setattr(sample, name, getattr(sample, name)[order])
    second = sample.fit(method, least)
    assert first is not None and second is not None
    probe = np.repeat(np.linspace(0, 30, 61, dtype=np.float32)[:, None], 4, 1)
    box = np.tile(np.array([0, 0, 100, 50], np.float32), (61, 1))
    for label in range(3):
        mapped = first(probe, box, np.full(61, label))
        assert (mapped >= 0).all() and (np.diff(mapped, axis=0) >= -1e-9).all()
        np.testing.assert_allclose(mapped, second(probe, box, np.full(61, label)), rtol=1e-6)


@pytest.mark.parametrize("maps", [(), ((),), ((Factor(1.0), Factor(1.0)),), ((Knots((0.0,), (1.0,)),), ())])
def test_a_map_has_one_column_or_four(maps):
    with pytest.raises(ValueError):
        BoxMap(maps, False)
