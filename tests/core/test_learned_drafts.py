"""What was learned of a model's drafts: the record in the store, the rules that follow from it, and how long a review will take."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from activelearning import draft_rules, drafts_record, expected_cost, layout, learned_drafts
from activelearning.claims import Wanted
from activelearning.cost import CostModel
from activelearning.draft_rules import NEVER, DraftRules
from activelearning.errors import UserError
from activelearning.labels import HUMAN, MODEL, Box, ImageLabels
from activelearning.settings import Drafts
from activelearning.store import open_store
from tests.core.learned import LEARNED, learned

COSTS = CostModel()


def test_what_is_written_is_read_back_and_the_first_record_stays() -> None:
    blobs = open_store("memory:").labels
    assert drafts_record.read(blobs, "main/1") is None and drafts_record.read(blobs, "") is None
    drafts_record.create(blobs, LEARNED)
    drafts_record.create(blobs, learned(other=0.9))
    assert drafts_record.read(blobs, "main/1") == LEARNED


_score = st.floats(0, NEVER)


@budget(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=5), _score, max_size=4), _score, st.floats(0, 1e6), st.sampled_from(draft_rules.SCORES))
def test_any_thresholds_survive_the_store(thresholds: dict[str, float], other: float, seconds: float, score: str) -> None:
    found = learned(thresholds=thresholds, other=other, seconds=seconds, score=score)
    assert drafts_record.from_json(drafts_record.to_json(found)) == found


@pytest.mark.parametrize(
    "change",
    [
        {"score": "guess"},
        {"score": 1},
        {"thresholds": {"cat": -0.1}},
        {"thresholds": {"cat": 2.5}},
        {"thresholds": {"cat": "0.5"}},
        {"thresholds": [0.5]},
        {"other": True},
        {"other": None},
        {"edges": []},
        {"edges": [0.5, 0.1]},
        {"rates": {"cat": [[0.1, 0.1, 0.8]]}},
        {"rates": {"cat": [[0.1, 0.1, 0.1], [0.6, 0.3, 0.1]]}},
        {"other_rates": [[1, 0], [1, 0]]},
        {"factors": {"cat": [1, 1, 0]}},
        {"missed_factor": 0},
        {"missed": 1e300},
        {"seconds": 10**400},
        {"images": 10**400},
        {"edges": [-(10**400)]},
        {"images": 1.5},
        {"duplicates": 1},
        {"returned": {}},
        {"experience": {"cat": {"seen": [1, 2, 3]}}},
    ],
    ids=lambda change: str(change)[:40],
)
def test_a_record_that_makes_no_sense_is_one_sentence(change: dict[str, object]) -> None:
    blobs = open_store("memory:").labels
    blobs.create(layout.drafts("main/1"), json.dumps(json.loads(drafts_record.to_json(LEARNED)) | change).encode())
    with pytest.raises(UserError, match=r"^models/main/1/drafts.json is damaged .*: delete it, and drafts are shown from") as said:
        drafts_record.read(blobs, "main/1")
    assert "Overflow" not in str(said.value) and len(str(said.value)) < 300


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"null", b'{"other": NaN}', b"[" * 20_000])
def test_what_is_no_record_at_all_is_one_sentence_too(content: bytes) -> None:
    blobs = open_store("memory:").labels
    blobs.create(layout.drafts("main/1"), content)
    with pytest.raises(UserError, match="is damaged"):
        drafts_record.read(blobs, "main/1")


def test_numbers_that_are_none_do_not_get_into_the_record() -> None:
    text = drafts_record.to_json(LEARNED).decode().replace('"other": 0.3', '"other": NaN')
    with pytest.raises(ValueError, match="NaN is no number"):
        drafts_record.from_json(text.encode())


@pytest.mark.parametrize(
    ("drafts", "wanted", "rules"),
    [
        (Drafts(), Wanted(), DraftRules({"cat": 0.5}, 0.3, "confidence", 0.4)),
        (
            Drafts(max_confidence=0.9, max_tags_per_pixel=2),
            Wanted(),
            DraftRules({"cat": 0.5}, 0.3, "confidence", 0.4, 0.9, max_tags_per_pixel=2),
        ),
        (Drafts(), Wanted(max_confidence=0.7), DraftRules({"cat": 0.5}, 0.3, "confidence", 0.4, 0.7)),
        (Drafts(), Wanted(min_confidence=0.2), draft_rules.fixed(0.2)),
        (Drafts(learned=False, min_confidence=0.6), Wanted(), draft_rules.fixed(0.6)),
    ],
    ids=["learned", "with bounds of the project", "with a bound of the tagger", "the tagger's confidence wins", "switched off"],
)
def test_which_rules_hold(drafts: Drafts, wanted: Wanted, rules: DraftRules) -> None:
    assert learned_drafts.rules(drafts, LEARNED, wanted) == rules


def test_without_a_record_the_fixed_confidence_holds() -> None:
    assert learned_drafts.rules(Drafts(min_confidence=0.6), None) == draft_rules.fixed(0.6)


def cat(confidence: float, source: str = MODEL) -> Box:
    return Box("cat", 0.1, 0.1, 0.2, 0.2, confidence, source)


def test_the_work_on_an_image_is_what_its_boxes_lead_to_expect() -> None:
    found = expected_cost.of_image(ImageLabels("a.jpg", boxes=(cat(0.7), cat(0.3))), [0], LEARNED, COSTS)
    # one draft: 0.6 kept, 0.3 nudged, 0.1 deleted; the hidden box is an object in 0.2 of cases; 0.5 objects have no box at all
    assert found.seconds == pytest.approx(1.5 + (0.6 * 1.6 + 0.3 * 4 + 0.1 * 1) + (0.2 + 0.5) * 7)
    assert found.drawing_seconds == pytest.approx(1.5 + (0.9 + 0.2 + 0.5) * 7)
    assert found.missed == pytest.approx(0.7) and found.images == 1


def test_a_class_that_was_not_there_and_a_box_below_all_evidence_have_rates_too() -> None:
    assert LEARNED.shares("dog", 0.7) == pytest.approx((0.5, 0.25, 0.25))
    assert LEARNED.shares("cat", 0.01) == pytest.approx((0.1, 0.1, 0.8))


def test_what_people_did_with_earlier_drafts_shifts_the_odds() -> None:
    found = learned(factors={"cat": (0.5, 1.0, 2.0)}, missed_factor=3.0)
    assert found.shares("cat", 0.7) == pytest.approx((0.3 / 0.8, 0.3 / 0.8, 0.2 / 0.8))
    assert found.held_out_shares("cat", 0.7) == pytest.approx((0.6, 0.3, 0.1))
    seconds = expected_cost.of_image(ImageLabels("a.jpg"), [], found, COSTS)
    assert seconds.seconds == pytest.approx(1.5 + 0.5 * 3 * 7) and seconds.missed == pytest.approx(0.5)


def test_a_box_that_a_person_drew_is_kept() -> None:
    assert expected_cost.shares_of(cat(0.2, HUMAN), LEARNED) == (1.0, 0.0, 0.0)
    assert expected_cost.shares_of(replace(cat(0.2), confidence=None), LEARNED) == (1.0, 0.0, 0.0)


def test_images_add_up_and_are_told_in_one_sentence() -> None:
    each = expected_cost.Expected(1, 37.5, 120.0, 0.5)
    assert str(expected_cost.total([each] * 40)) == "40 images: about 25 minutes (drawing all: 80 minutes)"
    assert expected_cost.sentence(1, 20) == "1 image: about 20 seconds" and expected_cost.duration(9000) == "2.5 hours"
