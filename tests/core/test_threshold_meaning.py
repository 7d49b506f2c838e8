"""What thresholds mean with later models, by numbers worked out by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activelearning import layout, threshold_meaning
from activelearning.errors import UserError
from activelearning.settings import Drafts, Selection, Settings
from activelearning.store import open_store
from activelearning.threshold_meaning import Curve, Record, curve, learned, told

SETTINGS = Settings(("a",), drafts=Drafts(min_confidence=0.4))
# ten objects; the first model finds six of them from .4 on
FIRST = curve([0.9, 0.8, 0.8, 0.7, 0.5, 0.4, 0.3, 0.2], 10)
# the second model says less of the same: its sixth is at .25
SECOND = curve([0.6, 0.5, 0.45, 0.4, 0.3, 0.25, 0.1], 10)


@pytest.mark.parametrize(("confidence", "recall"), [(1, 0), (0.9, 0.1), (0.85, 0.1), (0.8, 0.3), (0.4, 0.6), (0.39, 0.6), (0, 0.8)])
def test_recall_counts_boxes_of_at_least_that_confidence(confidence: float, recall: float) -> None:
    assert FIRST.recall(confidence) == pytest.approx(recall)


@pytest.mark.parametrize(("recall", "confidence"), [(0.1, 0.6), (0.3, 0.45), (0.6, 0.25), (0.61, 0.1), (0.7, 0.1), (0.9, 0.1)])
def test_a_recall_is_reached_from_the_highest_confidence_that_reaches_it(recall: float, confidence: float) -> None:
    assert SECOND.confidence(recall) == confidence


def test_a_threshold_finds_as_many_objects_with_the_next_model_and_says_so() -> None:
    first = learned("main/1", FIRST, SETTINGS, None)
    assert first.meanings["drafts.min_confidence"].now == 0.4 and told(first) == []
    second = learned("main/2", SECOND, SETTINGS, first)
    [one] = [second.meanings["drafts.min_confidence"]]
    assert (one.asked, one.since, one.recall, one.now) == (0.4, "main/1", 0.6, 0.25)
    assert told(second) == [
        "drafts.min_confidence is 0.4, as set for main/1, which found 60% of the objects from there on; "
        "main/2 finds as many from 0.250 on, so that is what counts"
    ]


def test_the_meaning_stays_that_of_the_first_model_however_many_follow() -> None:
    record = learned("main/1", FIRST, SETTINGS, None)
    for number, found in enumerate([SECOND, curve([0.5], 10), SECOND, FIRST], 2):
        record = learned(f"main/{number}", found, SETTINGS, record)
    assert record.meanings["drafts.min_confidence"].now == 0.4


def test_a_changed_threshold_begins_anew_with_the_model_there_was() -> None:
    first = learned("main/1", FIRST, SETTINGS, None)
    changed = replace(SETTINGS, drafts=Drafts(min_confidence=0.8))
    one = learned("main/2", SECOND, changed, first).meanings["drafts.min_confidence"]
    assert (one.asked, one.since, one.recall, one.now) == (0.8, "main/1", 0.3, 0.45)


def test_no_bound_stays_none_and_nothing_known_stays_as_it_is() -> None:
    assert set(learned("main/1", FIRST, SETTINGS, None).meanings) == {"drafts.min_confidence"}
    nothing = learned("main/2", curve([], 10), SETTINGS, learned("main/1", FIRST, SETTINGS, None))
    assert nothing.meanings["drafts.min_confidence"].now == 0.4
    # the first model finds nothing from .95 on, so no share of the objects says what .95 means
    high = replace(SETTINGS, drafts=Drafts(min_confidence=0.95))
    assert learned("main/2", SECOND, high, learned("main/1", FIRST, high, None)).meanings["drafts.min_confidence"].now == 0.95


def test_settings_are_read_as_they_are_meant_with_a_model() -> None:
    labels = open_store("memory:").labels
    settings = replace(SETTINGS, selection=Selection(min_confidence=0.4, max_confidence=0.8))
    record = learned("main/2", SECOND, settings, learned("main/1", FIRST, settings, None))
    threshold_meaning.create(labels, record)
    assert threshold_meaning.drafts(labels, settings.drafts, "main/2").min_confidence == 0.25
    moved = threshold_meaning.selection(labels, settings.selection, "main/2")
    assert (moved.min_confidence, moved.max_confidence) == (0.25, 0.45)
    assert threshold_meaning.drafts(labels, settings.drafts, "main/1") == settings.drafts
    assert threshold_meaning.drafts(labels, Drafts(min_confidence=0.7), "main/2").min_confidence == 0.7
    by_probability = replace(settings.selection, calibrated=True)
    assert threshold_meaning.selection(labels, by_probability, "main/2") == by_probability


def test_bounds_never_cross() -> None:
    labels = open_store("memory:").labels
    settings = replace(SETTINGS, drafts=Drafts(min_confidence=0.4, max_confidence=0.8))
    record = learned("main/2", SECOND, settings, learned("main/1", FIRST, settings, None))
    threshold_meaning.create(labels, replace(record, meanings={"drafts.max_confidence": replace(_of(record), asked=0.8, now=0.2)}))
    assert threshold_meaning.drafts(labels, settings.drafts, "main/2") == settings.drafts


def _of(record: Record) -> threshold_meaning.Meaning:
    return record.meanings["drafts.max_confidence"]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"run": "x", "curve": {"objects": 1, "confidences": [2], "found": [1]}, "meanings": {}}', b"\xff"]
)
def test_a_damaged_record_is_one_sentence(content: bytes) -> None:
    labels = open_store("memory:").labels
    labels.create(layout.threshold_meaning("main/1"), content)
    with pytest.raises(UserError, match=r"thresholds\.json is damaged"):
        threshold_meaning.drafts(labels, Drafts(), "main/1")


@given(st.lists(st.floats(0, 1), max_size=3000), st.floats(0.01, 0.99))
def test_a_record_is_read_as_it_was_written_and_equal_models_mean_the_same(right: list[float], asked: float) -> None:
    found = curve(right, len(right) + 5)
    settings = replace(SETTINGS, drafts=Drafts(min_confidence=asked))
    first = learned("main/1", found, settings, None)
    second = learned("main/2", found, settings, first)
    assert threshold_meaning.from_json(threshold_meaning.to_json(second)) == second
    now = second.meanings["drafts.min_confidence"].now
    assert found.recall(now) == found.recall(asked)


def test_a_curve_of_nothing_is_a_curve() -> None:
    assert (Curve().recall(0.5), len(curve([0.5] * 5000, 9000).found)) == (0.0, 1000)
