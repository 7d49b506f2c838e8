"""What a hand-made held-out set proves, and which images of a hand-made pool that accepts."""

from collections.abc import Sequence

import numpy as np
import pytest

from activelearning import autolabels
from activelearning.autolabels import Record
from activelearning.labels import BACKGROUND, MODEL, Box, ImageLabels, Review
from activelearning.settings import Autolabel, Drafts, Settings
from trainer import autolabel
from trainer.auditing import audited
from trainer.detections import Detections
from trainer.ground_truth import GroundTruth
from trainer.held_out import HeldOut

KNOT, HOLE = 0, 1
SETTINGS = Settings(("knot", "hole"), drafts=Drafts(min_confidence=0.4), autolabel=Autolabel(precision=0.95))
Found = tuple[int, float]
"""Class and confidence of a detection."""


def corners(count: int, shift: float = 0.0) -> np.ndarray:
    """So many boxes side by side, 10 pixels wide."""
    left = 12 * np.arange(count) + shift
    return np.stack([left, np.zeros(count), left + 10, np.full(count, 10)], 1).astype(np.float32)


def held_out(*images: tuple[Sequence[Found], Sequence[int]]) -> HeldOut:
    """Images with what was found in them and the classes that are there: the n-th object under the n-th detection."""
    found, truth = zip(
        *[(_detections(seen), GroundTruth(corners(len(there)), np.array(there, np.int64))) for seen, there in images], strict=True
    )
    names = tuple(f"{number}.jpg" for number in range(len(images)))
    return HeldOut(names, ((400, 100),) * len(images), found, truth)


def _detections(found: Sequence[Found]) -> Detections:
    class_id = np.array([label for label, _ in found], np.int64)
    confidence = np.array([confidence for _, confidence in found], np.float32)
    return Detections(corners(len(found)), confidence, class_id, np.zeros((len(found), 2), np.float32))


def image(name: str, *found: Found) -> ImageLabels:
    """An image of the pool."""
    boxes = [
        Box(SETTINGS.classes[label], 0.1 * n, 0.1, 0.1 * n + 0.05, 0.2, confidence, MODEL) for n, (label, confidence) in enumerate(found)
    ]
    return ImageLabels(name, 400, 100, tuple(boxes), Review.UNOPENED)


GOOD_KNOTS = [([(KNOT, 0.9)], [KNOT])] * 100
EMPTY = [([(KNOT, 0.1)], [])] * 120
POOL = [
    *(image(f"knot-{n}", (KNOT, 0.95)) for n in range(30)),
    *(image(f"empty-{n}", (HOLE, 0.05)) for n in range(30)),
    *(image(f"hole-{n}", (KNOT, 0.95), (HOLE, 0.95)) for n in range(30)),
    *(image(f"weak-{n}", (KNOT, 0.95), (KNOT, 0.45)) for n in range(30)),
]


def divided(known: HeldOut, settings: Settings = SETTINGS, pool: Sequence[ImageLabels] = POOL) -> tuple[Record, set[str]]:
    """The record, and the kinds of images that are accepted."""
    record = autolabel.record(autolabel.decide(known, HeldOut((), (), (), ()), lambda: pool, settings), "main/7", settings, (), None)
    return record, {labels.image.partition("-")[0] for labels in pool if record.accepts(labels)}


def test_an_image_is_accepted_if_every_box_that_counts_is() -> None:
    record, accepted = divided(held_out(*GOOD_KNOTS, *EMPTY))
    assert accepted == {"knot", "empty"} and set(record.thresholds) == {"knot", BACKGROUND}
    assert record.thresholds["knot"] == pytest.approx(0.9)
    assert record.rules[1] == "hole: not enough evidence: about 59 more reviewed boxes of class hole needed"


def test_images_without_boxes_are_a_claim_with_a_rule_of_its_own() -> None:
    without = divided(held_out(*GOOD_KNOTS))
    assert without[1] == {"knot"}
    assert without[0].rules[2] == "empty images: not enough evidence: about 59 more reviewed boxes of that kind needed"
    wrong = divided(held_out(*GOOD_KNOTS, *[([(KNOT, 0.1)], [HOLE])] * 80))
    assert wrong[1] == {"knot"} and "too many of the surest" in wrong[0].rules[2]


def test_an_image_looks_emptier_the_less_sure_its_surest_box_is() -> None:
    known = held_out(*[([(KNOT, 0.1)], [])] * 120, *[([(KNOT, 0.3)], [KNOT])] * 80)
    record, _ = divided(
        known, pool=[image(f"a-{n}", (HOLE, 0.05)) for n in range(200)] + [image(f"b-{n}", (HOLE, 0.2)) for n in range(200)]
    )
    assert record.thresholds[BACKGROUND] == pytest.approx(0.9)
    assert record.accepts(image("x", (KNOT, 0.1))) and not record.accepts(image("x", (KNOT, 0.11)))


def test_where_accepted_images_miss_objects_only_empty_ones_are_accepted() -> None:
    known = held_out(*[([(KNOT, 0.9)], [KNOT, HOLE])] * 100, *EMPTY)
    record, accepted = divided(known)
    assert accepted == {"empty"} and set(record.thresholds) == {BACKGROUND}
    assert record.missed == (
        "100 of 200 objects missed in reviewed images that would be accepted, which does not prove that at most 5% are: "
        "no image with boxes is accepted"
    )


def test_whoever_allows_all_to_be_missed_gets_images_with_boxes() -> None:
    settings = Settings(SETTINGS.classes, drafts=SETTINGS.drafts, autolabel=Autolabel(precision=0.95, max_missed=1.0))
    assert divided(held_out(*[([(KNOT, 0.9)], [KNOT, HOLE])] * 100), settings)[1] == {"knot"}


def test_objects_of_images_that_are_not_accepted_count_as_missed_nowhere() -> None:
    record, _ = divided(held_out(*GOOD_KNOTS, *[([(KNOT, 0.9), (HOLE, 0.5)], [KNOT, HOLE, HOLE])] * 50, *[([], [KNOT])] * 50))
    assert record.missed == "0 of 100 objects missed in reviewed images that would be accepted"


def test_a_box_as_sure_as_the_table_states_it_is_on_the_same_side_of_the_threshold() -> None:
    """As a float32, 0.3999999 is below 0.4; the table says 0.4."""
    known = held_out(*[([(KNOT, 0.3999999)], [KNOT])] * 100)
    record, _ = divided(known, pool=[image(f"a-{n}", (KNOT, 0.4)) for n in range(50)])
    assert record.thresholds["knot"] == 0.4 and record.accepts(image("x", (KNOT, 0.4)))


def test_no_held_out_image_proves_nothing_and_an_empty_pool_needs_nothing() -> None:
    record, accepted = divided(HeldOut((), (), (), ()))
    assert accepted == set() and record.thresholds == {} and all("not enough evidence" in rule for rule in record.rules)
    assert [*divided(held_out(*GOOD_KNOTS), pool=[])[0].rules] == [
        f"{name}: there is none in the pool" for name in ("knot", "hole", "empty images")
    ]


def test_with_a_floor_of_nothing_every_box_counts() -> None:
    settings = Settings(SETTINGS.classes, drafts=Drafts(min_confidence=0.0), autolabel=Autolabel(precision=0.95))
    record, accepted = divided(held_out(*GOOD_KNOTS, *[([], [])] * 250), settings, [*POOL, *(image(f"bare-{n}") for n in range(9))])
    assert accepted == {"knot", "bare"} and record.thresholds[BACKGROUND] == 1.0


def test_accepted_boxes_say_their_run_and_weaker_ones_stay_the_models() -> None:
    record = Record("main/7", SETTINGS.classes, 0.95, 0.95, 0.4, 0.05, 0)
    labels = image("a", (KNOT, 0.9), (HOLE, 0.1))
    marked = record.marked(labels)
    assert [box.source for box in marked.boxes] == ["pseudo@main/7", MODEL] and marked.review is Review.UNOPENED
    assert autolabels.as_predicted(marked) == labels


def test_the_share_of_audits_is_as_asked_and_the_same_each_time() -> None:
    names = [f'čam/{number}, "x".jpg' for number in range(4000)]
    drawn = {name for name in names if autolabels.draw(name, 1) < 0.05}
    assert 150 < len(drawn) < 250 and drawn == {name for name in names if autolabels.draw(name, 1) < 0.05}
    assert len(drawn & {name for name in names if autolabels.draw(name, 2) < 0.05}) < 40


@pytest.mark.parametrize(
    ("accepted", "said", "boxes", "wrong"),
    [
        ([KNOT, HOLE], [KNOT, HOLE], 2, 0),
        ([KNOT, HOLE], [KNOT, KNOT], 2, 1),
        ([KNOT, HOLE], [], 2, 2),
        ([KNOT], [KNOT, HOLE], 1, 0),
        ([], [], 1, 0),
        ([], [HOLE], 1, 1),
    ],
)
def test_an_audit_counts_boxes_and_images_accepted_as_empty(accepted: list[int], said: list[int], boxes: int, wrong: int) -> None:
    record = Record("main/7", SETTINGS.classes, 0.95, 0.95, 0.4, 0.05, 0)
    found = audited(
        record, [image("a", *((label, 0.9) for label in accepted))], {"a": image("a", *((label, 0.9) for label in said))}, SETTINGS.classes
    )
    assert (found.boxes, found.wrong, found.broken) == (boxes, wrong, wrong > 0 and boxes == wrong)


def test_boxes_of_a_class_that_is_gone_are_neither_right_nor_wrong() -> None:
    record = Record("main/7", SETTINGS.classes, 0.95, 0.95, 0.4, 0.05, 0)
    found = audited(record, [image("a", (HOLE, 0.9))], {"a": image("a", (KNOT, 0.9))}, ("knot",))
    assert (found.boxes, found.wrong) == (0, 0)


def test_what_is_right_beside_other_boxes_proves_nothing_of_boxes_alone() -> None:
    beside, alone = ([(KNOT, 0.95), (HOLE, 0.6)], [KNOT]), ([(KNOT, 0.95)], [HOLE])
    settings = Settings(SETTINGS.classes, drafts=SETTINGS.drafts, autolabel=Autolabel(precision=0.95, max_missed=1.0))
    pool = [image(f"both-{n}", (KNOT, 0.95), (HOLE, 0.6)) for n in range(1500)] + [image(f"alone-{n}", (KNOT, 0.95)) for n in range(10)]
    record, accepted = divided(held_out(*[beside] * 596, *[alone] * 4), settings, pool)
    assert accepted == set() and "knot" not in record.thresholds


def test_audited_images_prove_nothing_by_themselves_but_can_refute() -> None:
    nothing, good = HeldOut((), (), (), ()), held_out(*GOOD_KNOTS)
    few, bad = held_out(*GOOD_KNOTS[:20]), held_out(*[([(KNOT, 0.95)], [HOLE])] * 60)
    thresholds = [
        autolabel.decide(known, audited, lambda: POOL, SETTINGS).thresholds
        for known, audited in ((good, nothing), (few, nothing), (few, good), (good, bad))
    ]
    assert "knot" in thresholds[0] and not any("knot" in one for one in thresholds[1:])
