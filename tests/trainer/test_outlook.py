"""What more labels would bring: intervals that hold as often as they say, sane sentences, and a record that is made once."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pytest

from activelearning import labelled, layout, outlook_shown, table
from activelearning.commits import Commit
from activelearning.labels import Box, ImageLabels
from activelearning.outlook_shown import LEVEL, OPEN, PAYS, Measured, Outlook
from activelearning.settings import Settings
from activelearning.settings import TestSplit as Split
from activelearning.state import Job
from activelearning.store import Store, open_store
from tests.clock import Clock
from tests.trainer.test_report_facts import facts
from tests.trainer.test_report_numbers import Numbers
from trainer import ap_noise, evaluation, learning_curve, outlook, report
from trainer.detections import Detections, no_detections
from trainer.ground_truth import GroundTruth
from trainer.learning_curve import Measurements
from trainer.work import Work

Truth = Callable[[np.ndarray], np.ndarray]


def _estimate(images: Sequence[int], ap: Sequence[float], test_images: int = 72, error: float = 0.016) -> Outlook:
    runs = [Measured(f"main/{k}", n, test_images, y, error, True) for k, (n, y) in enumerate(zip(images, ap, strict=True), 1)]
    return outlook.estimate(runs, [], 50.0, Split(percentage=0.2))


def power_law(random: np.random.Generator) -> Truth:
    """AP over images, in units of the first batch: an error that falls as a power of them."""
    stays, falls, exponent = random.uniform(0.15, 0.6), random.uniform(0.1, 0.35), random.uniform(0.2, 1.1)
    return lambda batches: 1 - stays - falls * batches**-exponent


def exponential(random: np.random.Generator) -> Truth:
    """An error that has fallen after a few batches."""
    stays, falls, rate = random.uniform(0.15, 0.6), random.uniform(0.1, 0.35), random.uniform(0.3, 1.2)
    return lambda batches: 1 - stays - falls * np.exp(-rate * (batches - 1))


def logarithmic(random: np.random.Generator) -> Truth:
    """AP that rises by the same with each doubling, which is neither of the estimator's forms."""
    start, rise = random.uniform(0.2, 0.6), random.uniform(0.01, 0.05)
    return lambda batches: start + rise * np.log2(batches)


@cache
def coverage(make: Callable[[np.random.Generator], Truth], curves: int = 200) -> tuple[float, float]:
    """The shares of simulated curves whose next measured AP, and whose true gain of the next batch, lie in their intervals.

    2 to 7 runs were measured with noise: a part of the standard error that the test images give to all runs alike, the other for each.
    """
    random = np.random.default_rng(11)
    held = [_holds(random, make(random)) for _ in range(curves)]
    return tuple(np.mean(held, 0).tolist())


def _holds(random: np.random.Generator, truth: Truth) -> tuple[bool, bool]:
    batch, runs = int(random.choice([20, 25, 40, 50, 100])), int(random.integers(2, 8))
    error, own = random.uniform(0.008, 0.025), random.uniform(0.45, 1.0)
    batches = np.arange(1, runs + 2.0)
    real = truth(batches)
    seen = np.clip(real + random.normal(0, error * np.sqrt(1 - own**2)) + random.normal(0, own * error, runs + 1), 0, 1)
    errors = np.full(runs, error)
    curve = learning_curve.fit(Measurements(batches[:-1] * batch, seen[:-1], errors, np.zeros(runs)))
    return _inside(curve.measured(batch * batches[-1]), seen[-1]), _inside(curve.gain(batch), real[-1] - real[-2])


def _inside(draws: np.ndarray, value: float) -> bool:
    low, high = np.quantile(draws, [0.1, 0.9])
    return bool(low <= value <= high)


@pytest.mark.parametrize("make", [power_law, exponential, logarithmic])
def test_eight_of_ten_next_measurements_lie_in_the_interval(make: Callable[[np.random.Generator], Truth]) -> None:
    assert 0.7 <= coverage(make)[0] <= 0.92


def test_eight_of_ten_true_gains_lie_in_the_interval_where_the_error_is_a_power_law() -> None:
    assert 0.7 <= coverage(power_law)[1] <= 0.92


@pytest.mark.parametrize(
    ("images", "ap", "gain_of_100", "verdicts"),
    [
        ((25, 50, 75, 100), (0.527, 0.559, 0.584, 0.585), (0.01, 0.05), {PAYS, OPEN}),
        ((25, 50, 100), (0.534, 0.565, 0.568), (0.003, 0.035), {OPEN}),
        ((50, 100, 200, 400), (0.61, 0.612, 0.609, 0.611), (0.0, 0.005), {LEVEL}),
        ((25, 50), (0.2, 0.4), (0.08, 0.4), {PAYS}),
        ((50, 100), (0.6, 0.5), (0.0, 0.04), {LEVEL, OPEN}),
    ],
)
def test_known_courses_give_sane_answers(
    images: Sequence[int], ap: Sequence[float], gain_of_100: tuple[float, float], verdicts: set[str]
) -> None:
    found = _estimate(images, ap)
    step = next(one for one in found.steps if one.more == 100)
    assert gain_of_100[0] <= step.gain <= gain_of_100[1]
    assert found.verdict in verdicts
    assert f"{images[-1]:,} labelled images" in found.headline


def test_more_images_bring_more_and_all_bounds_are_in_order() -> None:
    found = _estimate((25, 50, 75, 100), (0.527, 0.559, 0.584, 0.585))
    gains = [one.gain for one in found.steps]
    assert gains == sorted(gains) and gains[0] > 0
    assert all(0 <= one.gain_low <= one.gain <= one.gain_high and one.ap_low <= one.ap <= one.ap_high for one in found.steps)
    assert [one.ap for one in found.curve] == sorted(one.ap for one in found.curve)


def test_the_fewer_runs_the_wider_the_interval() -> None:
    ap = (0.527, 0.559, 0.584, 0.585)
    widths = [(step := _estimate((25, 50, 75, 100)[:k], ap[:k]).steps[1]).gain_high - step.gain_low for k in (1, 2, 4)]
    assert widths[0] > 3 * widths[1] > 3 * widths[2]


def test_the_same_runs_give_the_same_answer() -> None:
    assert _estimate((25, 50), (0.5, 0.6)) == _estimate((25, 50), (0.5, 0.6))


@pytest.mark.parametrize(("images", "ap"), [((1,), (0.0,)), ((7,), (1.0,)), ((5, 5, 5), (0.2, 0.9, 0.1)), ((1, 10**6), (0.0, 1.0))])
def test_odd_courses_have_an_answer_too(images: Sequence[int], ap: Sequence[float]) -> None:
    found = _estimate(images, ap)
    assert outlook_shown.decode(json.loads(outlook_shown.encode(found)), found.run) == found


@pytest.mark.parametrize(
    ("column", "value"),
    [("images", 0.0), ("ap", 1.1), ("ap", np.nan), ("standard_error", 0.0), ("apart", -1.0)],
)
def test_what_no_measurement_can_be_is_refused(column: str, value: float) -> None:
    fine = {"images": 25.0, "ap": 0.5, "standard_error": 0.01, "apart": 0.0} | {column: value}
    with pytest.raises(ValueError, match=r"measure|above 0|between"):
        Measurements(**{name: np.array([one]) for name, one in fine.items()})


def test_a_smaller_test_split_of_then_counts_less() -> None:
    runs = [Measured("main/1", 25, 36, 0.5, 0.022, True), Measured("main/2", 50, 72, 0.55, 0.016, True)]
    found = outlook.measurements(runs)
    # Var(mean of 36) - Var(mean of all 72) = s² / 36 - s² / 72 where s² / 72 = 0.016²
    assert found.apart.tolist() == pytest.approx([0.016, 0.0])


@pytest.mark.parametrize(
    ("labelled_images", "test_images", "share", "reviews"),
    # 80 and 20 hold their fifth: 40 more need 50; a split that is large enough takes none; one that is empty is filled first
    [(80, 20, 0.2, 50), (100, 72, 0.2, 40), (100, 72, 0.0, 40), (100, 5, 0.2, 70), (100, 5, 1.0, 1400)],
)
def test_images_that_will_join_the_test_split_are_reviewed_too(labelled_images: int, test_images: int, share: float, reviews: int) -> None:
    found = outlook.estimate([Measured("main/1", labelled_images, test_images, 0.5, 0.02, True)], [], 60.0, Split(percentage=share))
    step = next(one for one in found.steps if one.more == 40)
    assert (step.more, step.reviews, found.minutes(step)) == (40, reviews, reviews)


def _scene(seed: int, images: int = 12) -> tuple[list[GroundTruth], list[Detections]]:
    """Random objects of three classes, most of them found with some error, and boxes on nothing."""
    random = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(images):
        corners = random.uniform(0, 300, (int(random.integers(0, 8)), 2))
        boxes = np.concatenate([corners, corners + random.uniform(20, 90, corners.shape)], 1).astype(np.float32)
        labels = random.integers(0, 3, len(boxes))
        kept = random.uniform(size=len(boxes)) < 0.85
        guesses = np.concatenate([boxes[kept] + random.normal(0, 4, (int(kept.sum()), 4)), random.uniform(0, 50, (3, 4)).cumsum(1)])
        guessed = np.concatenate([labels[kept], random.integers(0, 3, 3)])
        scores = random.uniform(0.02, 1, (len(guesses), 3)).astype(np.float32)
        truth.append(GroundTruth(boxes, labels))
        found.append(Detections(guesses.astype(np.float32), scores[np.arange(len(guesses)), guessed], guessed, scores))
    return truth, found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_average_precision_is_cocos(seed: int) -> None:
    truth, found = _scene(seed)
    coco = evaluation.evaluate(truth, found, ("a", "b", "c")).value("ap")
    assert ap_noise.mean_average_precision(truth, found, 3) == pytest.approx(coco, abs=1e-5)


def test_the_standard_error_is_that_of_cocos_ap_over_resampled_images() -> None:
    truth, found = _scene(3, images=20)
    random, values = np.random.default_rng(99), []
    for _ in range(150):
        drawn = random.integers(0, 20, 20)
        values.append(evaluation.evaluate([truth[i] for i in drawn], [found[i] for i in drawn], ("a", "b", "c")).value("ap"))
    # two bootstraps of 100 and 150 resamples differ by a tenth of their size
    assert ap_noise.standard_error(truth, found, 3) == pytest.approx(np.std(values, ddof=1), rel=0.3)


def test_no_standard_error_from_too_little() -> None:
    truth, found = _scene(0)
    assert ap_noise.standard_error(truth[:4], found[:4], 3) is None
    empty = GroundTruth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    assert ap_noise.standard_error([empty] * 9, [no_detections(3)] * 9, 3) is None
    assert ap_noise.mean_average_precision([empty] * 9, [no_detections(3)] * 9, 3) is None


SETTINGS = Settings(("a", "b"))


def _row(run: str, ap: object, labelled_images: object = 25, test_images: object = 72, **more: object) -> dict[str, object]:
    flow, _, iteration = run.rpartition("/")
    row = {"flow": flow, "iteration": iteration, "class": "all", "metric": "ap", "value": ap, "support": 1}
    return row | {"labelled_images": labelled_images, "test_images": test_images, "at": ""} | more


def _card(**changes: object) -> dict[str, object]:
    return {"classes": ["a", "b"], "family": "compact", "settings": asdict(SETTINGS), outlook.STANDARD_ERROR: 0.02} | changes


def _store(rows: Sequence[dict[str, object]], cards: dict[str, object]) -> Store:
    store = open_store("memory:")
    header = list(_row("main/1", 0))
    lines = [",".join(header), *(",".join(str(row[name]) for name in header) for row in rows)]
    store.labels.create(layout.PERFORMANCE, "\n".join(lines).encode())
    for run, card in cards.items():
        content = card if isinstance(card, bytes) else json.dumps(card).encode()
        store.labels.create(layout.model(run, "model.json"), content)
    return store


def _written(store: Store, run: str = "main/3", uploads: tuple[str, ...] = (), parent: Commit | None = None) -> Outlook | None:
    work = Work(store, SETTINGS, Job("j", "train", run, 2, uploads), lambda line: None, Clock())
    outlook.write(work, parent)
    return outlook_shown.read(store.labels, run)


ROWS = (_row("main/1", 0.5), _row("main/2", 0.55, 50), _row("main/3", 0.57, 75))
CARDS = {f"main/{number}": _card() for number in (1, 2, 3)}


def test_the_record_holds_the_runs_it_was_made_from() -> None:
    found = _written(_store(ROWS, CARDS))
    assert found and found.left_out == () and found.seconds_per_image is None
    assert [(one.run, one.labelled_images, one.ap, one.standard_error, one.resampled) for one in found.measured] == [
        ("main/1", 25, 0.5, 0.02, True),
        ("main/2", 50, 0.55, 0.02, True),
        ("main/3", 75, 0.57, 0.02, True),
    ]


def test_a_run_is_answered_by_what_was_known_then() -> None:
    others = (_row("main/4", 0.9, 100), _row("other/1", 0.1), _row("main/2", 0.3, metric="ap50"), _row("main/2", 0.2, **{"class": "a"}))
    assert _written(_store((*ROWS, *others), CARDS)) == _written(_store(ROWS, CARDS))


def test_what_a_killed_attempt_wrote_stays() -> None:
    store = _store(ROWS, CARDS)
    first = _written(store)
    store.labels.replace(layout.PERFORMANCE, b"flow\n", store.labels.read(layout.PERFORMANCE).etag)
    assert _written(store) == first


@pytest.mark.parametrize("rows", [ROWS[:2], (*ROWS[:2], _row("main/3", "", 75)), (*ROWS[:2], _row("main/3", 0.5, 75, 0))])
def test_a_run_without_a_figure_has_no_outlook(rows: Sequence[dict[str, object]]) -> None:
    assert _written(_store(rows, CARDS)) is None


def _otherwise(part: str, **changes: object) -> dict[str, object]:
    settings = asdict(SETTINGS)
    return _card(settings=settings | {part: settings[part] | changes})


@pytest.mark.parametrize(
    ("card", "test_images", "reason"),
    [
        (_card(classes=["a", "c"]), 72, "it knew other classes"),
        (_card(family="other"), 72, "its detector or its training was set otherwise"),
        (_otherwise("detector", long_side=640), 72, "its detector or its training was set otherwise"),
        (_otherwise("training", iterations=7), 72, "its detector or its training was set otherwise"),
        (_card(), 35, "it was tested on 35 images only, the last run on 72"),
        (b"[", 72, "its model card is gone or damaged"),
        (b"[1]", 72, "its model card is gone or damaged"),
        (_otherwise("training", seed=7, threads=3), 72, ""),
        (_card(settings={}), 72, ""),
        (_card(settings=5), 72, ""),
        (_card(), 36, ""),
    ],
)
def test_a_run_that_cannot_be_compared_is_left_out_by_name(card: object, test_images: int, reason: str) -> None:
    found = _written(_store((_row("main/1", 0.5, 25, test_images), *ROWS[1:]), CARDS | {"main/1": card}))
    assert found is not None
    assert [(one.run, one.reason) for one in found.left_out] == ([("main/1", reason)] if reason else [])
    assert [one.run for one in found.measured] == (["main/2", "main/3"] if reason else ["main/1", "main/2", "main/3"])


@pytest.mark.parametrize("value", ["nan", "-0.1", "2", "x", "1e999", ""])
def test_a_figure_that_makes_no_sense_is_passed_over(value: str) -> None:
    found = _written(_store((_row("main/1", value), *ROWS[1:]), CARDS))
    assert found and [one.run for one in found.measured] == ["main/2", "main/3"]


@pytest.mark.parametrize("stated", [None, "0.1", 5.0, -1.0, True])
def test_an_unknown_standard_error_is_guessed_from_the_number_of_test_images(stated: object) -> None:
    found = _written(_store(ROWS, CARDS | {"main/1": _card(**{outlook.STANDARD_ERROR: stated})}))
    assert found and (found.measured[0].resampled, found.measured[0].standard_error) == (False, pytest.approx(0.12 / 72**0.5, abs=1e-6))


def test_the_time_is_that_of_the_last_batches_without_imports_and_second_looks() -> None:
    store = _store(ROWS, CARDS)
    draft = Box("a", 0.1, 0.1, 0.5, 0.5, 0.9, "model")
    handed = [ImageLabels(name, 100, 100, (draft,)) for name in ("1.jpg", "2.jpg", "known.jpg")]
    store.labels.create(layout.batch_totag("b1"), table.table_bytes(handed))
    kept, drawn = Box("a", 0.1, 0.1, 0.5, 0.5), Box("b", 0.6, 0.6, 0.9, 0.9)
    reviewed = [ImageLabels("1.jpg", 100, 100, (kept, drawn)), ImageLabels("2.jpg", 100, 100), ImageLabels("known.jpg", 100, 100)]
    store.labels.create(layout.batch_reviewed("b1"), table.table_bytes(reviewed))
    store.labels.create(layout.batch_reviewed("import-1"), table.table_bytes([ImageLabels("3.jpg", 100, 100, (drawn,))]))
    labelled.write(store.labels, "main/2", [ImageLabels("known.jpg", 100, 100, (kept,))], [])
    parent = Commit(2, "j0", "main/2", "main/2", "", layout.tagged("main/2"), 0.0, 0, 0, 0.0)
    found = _written(store, uploads=(layout.batch_reviewed("b1"), layout.batch_reviewed("import-1")), parent=parent)
    # two images opened, a draft kept, one deleted, a box drawn
    assert found and found.seconds_per_image == pytest.approx((2 * 1.5 + 1.6 + 1.0 + 7.0) / 2)


def test_a_damaged_batch_costs_only_the_time() -> None:
    store = _store(ROWS, CARDS)
    store.labels.create(layout.batch_totag("b1"), b"\xff\xfe no table")
    store.labels.create(layout.batch_reviewed("b1"), b"nor this")
    found = _written(store, uploads=(layout.batch_reviewed("b1"), layout.batch_reviewed("gone")))
    assert found and found.seconds_per_image is None


def test_the_page_shows_the_record() -> None:
    found = replace(_estimate((25, 50, 100), (0.534, 0.565, 0.568)), left_out=(outlook_shown.LeftOut("main/<0>", "it knew other classes"),))
    made = report.write(replace(facts(), outlook=found))
    shown = {name: value for name, (value, _) in Numbers(made.html).values.items() if name.startswith("outlook.")}
    for index, step in enumerate(found.steps):
        for name in ("more", "reviews", "gain", "gain_low", "gain_high", "ap"):
            assert shown.pop(f"outlook.{index}.{name}") == getattr(step, name)
        assert shown.pop(f"outlook.{index}.minutes") == pytest.approx(step.reviews * 50 / 60)
    assert shown == {f"outlook.{name}": getattr(found, name) for name in ("worth_images", "worth", "probability", "noise", "confidence")}
    assert "main/<wbr>&lt;0&gt;" in made.html and made.pngs["outlook.png"].startswith(b"\x89PNG")
