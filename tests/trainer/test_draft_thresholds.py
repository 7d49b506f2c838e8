"""From which score on drafts pay: exact on the evidence, shrunk where there is little, and never worse than what it replaces."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from activelearning.cost import CostModel
from activelearning.draft_rules import CONFIDENCE, NEVER, PROBABILITY, DraftRules, fixed
from activelearning.labels import Box
from activelearning.learned_drafts import DELETE, KEEP, NUDGE
from tests.bench.annotator import correct
from tests.trainer.judged_scene import found_in, truth_of
from trainer import draft_evidence, draft_thresholds
from trainer.detections import Detections
from trainer.draft_evidence import Evidence, evidence
from trainer.ground_truth import GroundTruth
from trainer.judged import judge

COSTS = CostModel()
CLASSES = ("deer", "fox")
SIZE = (200, 200)
DEER, FOX, FAR = (0.0, 0.0, 10.0, 10.0), (100.0, 0.0, 120.0, 10.0), (50.0, 50.0, 60.0, 70.0)

_rows = st.lists(st.tuples(st.integers(0, 6).map(lambda n: n / 8), st.sampled_from([5.4, 3.0, -1.0])), max_size=12)


@budget(max_examples=300, deadline=None)
@given(_rows)
def test_the_sweep_finds_what_trying_every_threshold_finds(rows: list[tuple[float, float]]) -> None:
    score, gain = np.array([s for s, _ in rows]), np.array([g for _, g in rows])
    threshold, saved = draft_thresholds.best_threshold(score, gain)
    by_hand = max((sum(g for s, g in rows if s >= low) for low in [*{s for s, _ in rows}, NEVER]), default=0.0)
    assert saved == pytest.approx(by_hand)
    assert float(gain[score >= threshold].sum()) == pytest.approx(saved)
    assert np.isfinite(threshold) and 0 <= threshold <= NEVER


@pytest.mark.parametrize(
    ("score", "gain", "threshold"),
    [
        ([], [], NEVER),
        ([0.9, 0.5], [-1.0, -1.0], NEVER),
        ([0.9, 0.5], [5.4, -1.0], 0.7),
        ([0.9, 0.5], [5.4, 5.4], 0.5),
        # one right box below two wrong ones pays, below six it does not
        ([0.9, 0.8, 0.7, 0.5, 0.2], [5.4, -1, -1, 5.4, -1], 0.35),
        ([0.9, *[0.8] * 6, 0.5], [5.4, *[-1.0] * 6, 5.4], 0.85),
        # those of one score are shown together
        ([0.5, 0.5], [-1.0, 5.4], 0.5),
    ],
)
def test_a_threshold_lies_between_what_pays_and_what_does_not(score: list[float], gain: list[float], threshold: float) -> None:
    assert draft_thresholds.best_threshold(np.array(score), np.array(gain))[0] == pytest.approx(threshold)


def test_neighbouring_floats_keep_their_sides() -> None:
    low, high = 0.5, np.nextafter(0.5, 1)
    threshold, _ = draft_thresholds.best_threshold(np.array([low, high]), np.array([-1.0, 5.4]))
    assert low < threshold <= high


@pytest.mark.parametrize(
    ("rules", "confidences"),
    [
        (fixed(0.5), [0.75, 0.5, 0.5]),
        (DraftRules({"deer": 0.6}, other=0.3), [0.75, 0.5]),
        (DraftRules(other=0.1, duplicates=True), [0.75, 0.25, 0.5]),
        (fixed(0.9), []),
    ],
)
def test_what_is_shown_is_said_of_each_detection(rules: DraftRules, confidences: list[float]) -> None:
    found = [
        found_in(((0, 0, 10, 9), 0.75, 0), ((0, 0, 10, 8), 0.5, 0), ((30, 30, 40, 40), 0.25, 1)),
        # no table lists a box outside of its image
        found_in(((100, 0, 120, 6), 0.5, 1), ((300, 300, 310, 310), 0.99, 1)),
    ]
    judged = judge(found, [truth_of((DEER, 0)), truth_of((FOX, 1))], 2)
    shown = draft_evidence.shown(judged, [SIZE] * 2, CLASSES, None, rules)
    assert sorted(judged.detections.confidence[shown].tolist()) == sorted(confidences)


def scene() -> Evidence:
    """A deer kept and found twice, a fox nudged, and one that nobody found."""
    found = [
        found_in(((0, 0, 10, 9), 0.75, 0), ((0, 0, 10, 8), 0.5, 0), ((200, 200, 210, 210), 0.25, 1)),
        found_in(((100, 0, 120, 6), 0.5, 1)),
    ]
    truth = [truth_of((DEER, 0), (FAR, 1)), truth_of((FOX, 1))]
    return evidence(judge(found, truth, 2), [SIZE] * 2, CLASSES)


def test_boxes_are_kept_nudged_or_deleted_as_a_person_would() -> None:
    found = scene()
    # the box off the image has no area in it, so no table lists it
    assert found.outcome.tolist() == [KEEP, DELETE, NUDGE] and found.image.tolist() == [0, 0, 1]
    assert found.objects.tolist() == [[1, 1], [0, 1]]
    assert draft_evidence.gains(found, COSTS).tolist() == pytest.approx([5.4, -1.0, 3.0])


def test_seconds_of_an_image_count_opening_drawing_and_what_drafts_save() -> None:
    found = scene()
    assert draft_evidence.seconds_an_image(found, 0.0, COSTS) == pytest.approx(1.5 + 3 * 7 / 2)
    saved = float(draft_evidence.gains(found, COSTS)[found.shown(fixed(0.0))].sum())
    # open two, keep one, delete one, nudge one, draw one
    assert draft_evidence.seconds_an_image(found, saved, COSTS) == pytest.approx((2 * 1.5 + 1.6 + 1 + 4 + 7) / 2)


def test_what_is_expected_is_what_the_simulated_annotator_does() -> None:
    found, truth = many(40, seed=1), many_truth(40, seed=1)
    for low in (0.0, 0.3, 0.6):
        mask, start, seconds = found.shown(fixed(low)), 0, 0.0
        for labels, objects in zip(found.labels, truth, strict=True):
            drafts = [box for box, mine in zip(labels.boxes, mask[start : start + len(labels.boxes)], strict=True) if mine]
            seconds += COSTS.review_seconds(1, correct(drafts, objects).totals)
            start += len(labels.boxes)
        told = draft_evidence.seconds_an_image(found, float(draft_evidence.gains(found, COSTS)[mask].sum()), COSTS)
        assert told == pytest.approx(seconds / 40)


def many(images: int, seed: int, noise: float = 0.5) -> Evidence:
    """Images with one object of either class each, found with a confidence that tells, among false boxes."""
    drawn = list(_drawn(images, seed, noise))
    judged = judge([found for found, _ in drawn], [truth for _, truth in drawn], 2)
    return evidence(judged, [SIZE] * images, CLASSES, judged.detections.confidence / 2)


def many_truth(images: int, seed: int) -> list[list[Box]]:
    return [
        [Box(CLASSES[label], *map(float, xyxy / 200)) for xyxy, label in zip(truth.xyxy.astype(float), truth.class_id, strict=True)]
        for _, truth in _drawn(images, seed, 0.5)
    ]


def _drawn(images: int, seed: int, noise: float) -> Iterator[tuple[Detections, GroundTruth]]:
    rng = np.random.default_rng(seed)
    for number in range(images):
        label = number % 2
        x = float(rng.integers(20, 80))
        rows = (
            [((x, x, x + 40, x + float(rng.choice([40, 26]))), round(float(rng.uniform(0.4, 1)), 3), label)] if rng.random() < 0.9 else []
        )
        rows += [
            ((x + 60, 1.0, x + 70, 11.0), round(float(rng.uniform(0.05, 0.7)), 3), label) for _ in range(int(rng.random() < noise) * 2)
        ]
        yield found_in(*rows[:2]), truth_of(((x, x, x + 40, x + 40), label))


def test_no_thresholds_cost_less_on_the_evidence_than_those_learned() -> None:
    found = many(60, seed=2)
    gain = draft_evidence.gains(found, COSTS)
    for kind in (CONFIDENCE, PROBABILITY):
        rules = draft_thresholds.learn(found, COSTS, CLASSES, kind)
        learned = float(gain[found.shown(rules)].sum())
        scores = [*np.unique(found.score(kind))[::3], NEVER]
        others = (DraftRules(dict(zip(CLASSES, pair, strict=True)), 0.0, kind) for pair in itertools.product(scores, repeat=2))
        # thirty objects of all classes count for each, so that a class's own optimum may be missed by a little
        assert learned >= max(float(gain[found.shown(one)].sum()) for one in others) - 3 * COSTS.delete


def test_what_is_chosen_is_never_worse_than_the_fixed_confidence() -> None:
    for seed in range(4):
        chosen = draft_thresholds.choose(many(40, seed), COSTS, CLASSES, 0.4)
        assert chosen.seconds <= chosen.fixed_seconds < chosen.drawing_seconds


def test_where_the_fixed_confidence_is_best_it_stays() -> None:
    # every box is right, so that nothing is to be gained
    found = many(40, seed=3, noise=0.0)
    chosen = draft_thresholds.choose(found, COSTS, CLASSES, 0.0)
    assert chosen.rules == fixed(0.0) and chosen.seconds == chosen.fixed_seconds


def test_a_class_of_which_little_is_known_goes_by_all_classes() -> None:
    found = many(60, seed=4)
    only_deer = found.of_images([number for number in range(60) if number % 2 == 0])
    rules = draft_thresholds.learn(only_deer, COSTS, CLASSES, CONFIDENCE)
    assert rules.thresholds["fox"] == rules.other and np.isfinite(rules.other)


def test_cleaning_is_on_only_where_it_pays() -> None:
    doubled = [found_in(((0, 0, 10, 10), 0.9, 0), ((0, 0, 10, 8), 0.85, 0)) for _ in range(30)]
    truth = [truth_of((DEER, 0)) for _ in range(30)]
    rules = draft_thresholds.learn(evidence(judge(doubled, truth, 2), [SIZE] * 30, CLASSES), COSTS, CLASSES, CONFIDENCE)
    assert rules.duplicates is False, "a threshold between the two does it"
    equal = [found_in(((0, 0, 10, 10), 0.9, 0), ((0, 0, 10, 8), 0.9, 0)) for _ in range(30)]
    rules = draft_thresholds.learn(evidence(judge(equal, truth, 2), [SIZE] * 30, CLASSES), COSTS, CLASSES, CONFIDENCE)
    assert rules.duplicates and not rules.slivers and not rules.other_class


def test_slivers_are_cleaned_away_where_people_do_not_label_them() -> None:
    found = [found_in(((0, 50, 10, 90), 0.9, 0), ((50, 50, 60, 70), 0.6, 1)) for _ in range(30)]
    drawn, undrawn = truth_of((FAR, 1), ((0.0, 50.0, 10.0, 90.0), 0)), truth_of((FAR, 1))
    for truth, slivers in ((undrawn, True), (drawn, False)):
        known = evidence(judge(found, [truth] * 30, 2), [SIZE] * 30, CLASSES)
        # of one class, so that no threshold of its own can do it
        one = Evidence(known.labels, known.class_id * 0 + 1, known.confidence, None, known.outcome, known.sliver, known.objects)
        assert draft_thresholds.learn(one, COSTS, CLASSES, CONFIDENCE).slivers is slivers


def test_rates_are_shares_of_a_whole_at_any_score() -> None:
    for found in (many(40, seed=5), many(2, seed=5), scene()):
        rates = draft_thresholds.rates(found, CLASSES, CONFIDENCE)
        assert list(rates.edges) == sorted(set(rates.edges)) and set(rates.by_class) == set(CLASSES)
        for table in (rates.other, *rates.by_class.values()):
            assert len(table) == len(rates.edges)
            assert all(sum(shares) == pytest.approx(1, abs=1e-5) and min(shares) > 0 for shares in table)


def test_rates_follow_what_became_of_the_boxes() -> None:
    found = many(200, seed=6)
    rates = draft_thresholds.rates(found, CLASSES, CONFIDENCE)
    right = [kept + nudged for kept, nudged, _ in rates.other]
    assert right[-1] > 0.75 and right[0] < 0.3


@pytest.mark.parametrize("images", [1, 2])
def test_next_to_no_evidence_gives_rules_all_the_same(images: int) -> None:
    chosen = draft_thresholds.choose(many(images, seed=7), COSTS, CLASSES, 0.4)
    assert np.isfinite([chosen.seconds, chosen.fixed_seconds, chosen.drawing_seconds, chosen.rules.other]).all()


def test_costs_decide() -> None:
    found = many(60, seed=8)
    cheap, dear = (draft_thresholds.learn(found, CostModel(delete=seconds), CLASSES, CONFIDENCE).other for seconds in (0.01, 50.0))
    assert cheap < dear
