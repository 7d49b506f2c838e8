"""The label-efficiency benchmark: its figures by hand, and a small game from end to end."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from activelearning import project_file
from activelearning.draft_rules import fixed
from activelearning.settings import Selection, Settings
from tests.bench.label_efficiency import analysis, command, deciding, play, scenes
from tests.bench.label_efficiency.analysis import Round
from tests.bench.label_efficiency.data import Source, load
from tests.bench.label_efficiency.deciding import Known
from tests.bench.label_efficiency.learner import Learner

FAST = ("--set", "training.iterations=2", "--set", "training.warm_iterations=1", "--set", "prediction.mc_samples=1")


def _round(seconds: float, ap: float, *, boxes: int = 0, strategy: str = "ours", seed: int = 0, number: int = 0) -> Round:
    return Round(strategy, seed, number, 10, boxes, seconds, 0.0, ap, ap, {}, 0, 0, 1)


CURVE = [_round(100, 0.2, boxes=10), _round(200, 0.4, boxes=30), _round(400, 0.5, boxes=40)]


@pytest.mark.parametrize(("target", "seconds"), [(0.1, 100), (0.2, 100), (0.3, 150), (0.4, 200), (0.45, 300), (0.5, 400), (0.51, None)])
def test_a_target_is_reached_on_the_line_between_two_rounds(target, seconds):
    assert analysis.to_target(CURVE, target, lambda one: one.annotator_seconds) == (seconds and pytest.approx(seconds))


def test_boxes_to_a_target_follow_the_same_line():
    assert analysis.to_target(CURVE, 0.3, lambda one: one.boxes) == pytest.approx(20)


def test_a_curve_that_fell_back_has_reached_what_it_reached():
    assert analysis.to_target([_round(1, 0.5), _round(2, 0.4)], 0.5, lambda one: one.annotator_seconds) == 1


def test_the_area_is_the_mean_ap_over_the_range():
    # trapezia: 100 s at 0.3 on average, 200 s at 0.45
    assert analysis.area(CURVE, (100, 400)) == pytest.approx((100 * 0.3 + 200 * 0.45) / 300)
    assert analysis.area(CURVE, (150, 300)) == pytest.approx((50 * 0.35 + 100 * 0.425) / 150)


def test_strategies_are_paired_by_seed():
    ours = [_round(s, a, seed=seed, number=n) for seed in range(3) for n, (s, a) in enumerate([(100, 0.2), (200 + seed, 0.6)])]
    theirs = [
        _round(s, a, strategy="random", seed=seed, number=n)
        for seed in range(3)
        for n, (s, a) in enumerate([(100, 0.2), (300 + seed, 0.6)])
    ]
    found = analysis.outcomes(analysis.by_strategy([*ours, *theirs]), 0.6 / 0.95, ("random",))
    assert [one.strategy for one in found] == ["ours", "random"]
    saved = found[0].saved["random"]
    assert (saved.mean, saved.low, saved.high) == (pytest.approx(100), pytest.approx(100), pytest.approx(100))
    assert not found[1].saved


def test_who_fails_in_some_seeds_has_no_mean_to_boast_of():
    found = analysis.interval([1.0, None, 3.0])
    assert (found.mean, found.low, found.median, found.reached, found.seeds) == (None, None, 3.0, 2, 3)
    assert analysis.interval([1.0, None, None]).median is None
    assert analysis.interval([None, None]) == analysis.Interval(None, None, None, None, 0, 2)


def test_intervals_are_students():
    found = analysis.interval([1.0, 2.0, 3.0, 4.0, 5.0])
    # t of 4 degrees of freedom is 2.776; the standard error is sqrt(2.5 / 5)
    assert (found.low, found.high) == (pytest.approx(3 - 2.7764 * 0.70711, abs=1e-3), pytest.approx(3 + 2.7764 * 0.70711, abs=1e-3))
    assert analysis.interval([1.0, 2.0]).low is None


@pytest.mark.parametrize(
    ("strategy", "selection"),
    [
        ("default", {}),
        ("random", {"strategy": "random"}),
        (
            "entropy+per_second+box_aggregation=top-k+top_k=5",
            {"strategy": "entropy", "per_second": True, "box_aggregation": "top-k", "top_k": 5},
        ),
    ],
)
def test_a_strategy_is_written_as_its_settings(strategy, selection):
    found = project_file.override(Settings(("a",)), command.assignments(strategy), "here").selection
    assert {name: getattr(found, name) for name in selection} == selection


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    scenes.write(folder, 14, 3)
    return folder


def test_scenes_are_the_same_for_the_same_seed(dataset, tmp_path):
    scenes.write(tmp_path, 14, 3)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(files) == 15
    assert all((tmp_path / name).read_bytes() == (dataset / name).read_bytes() for name in files)


def test_a_comparison_writes_its_table_and_repeats_itself_without_training(dataset, tmp_path):
    words = ("--images", str(dataset / "images"), "--labels", str(dataset / "labels.json"), "--long-side", "96", "--seeds", "1", *FAST)
    words += ("--batches", "3,2", "--strategies", "class-balanced-gain+per_second", "--full-iterations", "2", "--processes", "1")
    words += ("--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out"))
    found = command.run(words)
    assert found["strategies"].keys() == {"class-balanced-gain+per_second"}
    assert found["cost_model_seconds"] == {"open": 1.5, "keep": 1.6, "nudge": 4.0, "delete": 1.0, "draw": 7.0}
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == found
    with (tmp_path / "out" / "rounds.csv").open(newline="") as file:
        assert [row["images"] for row in csv.DictReader(file)] == ["3", "5"]
    assert "class-balanced-gain+per_second" in (tmp_path / "out" / "index.html").read_text()
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert command.run(words) == found
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == before


def test_what_is_drawn_by_lot_is_drawn_anew_for_each_seed(dataset, tmp_path):
    data = load(Source(dataset / "images", dataset / "labels.json", long_side=96))
    settings = project_file.override(Settings(data.classes), [word for word in FAST if "=" in word], "here")
    learnt = Learner(data, settings, tmp_path).learn(data.pool[:3], 0)
    selections = [replace(settings, selection=Selection("random", seed=seed)) for seed in (0, 0, 1, 2)]
    chosen = {deciding.choose(data, one, data.pool[:3], Known(learnt, fixed(0.4)), 4) for one in selections}
    assert len(chosen) == 3


def test_the_first_round_costs_every_box_and_is_shared(dataset, tmp_path):
    data = load(Source(dataset / "images", dataset / "labels.json", long_side=96))
    settings = project_file.override(Settings(data.classes), [word for word in FAST if "=" in word], "here")
    game = play.Game("random", settings, data, Learner(data, settings, tmp_path), (3,))
    (only,) = play.play(game, 0, lambda one: None)
    boxes = sum(len(data.labels[place].boxes) for place in play.first_batch(data, 3, 0))
    assert (only.boxes, only.annotator_seconds) == (boxes, pytest.approx(3 * 1.5 + 7 * boxes))
    assert not {data.names[place] for place in data.test} & {data.names[place] for place in play.first_batch(data, 3, 0)}
