"""What a review changed, where each box comes from, and what the review cost."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from activelearning import outlines, rle
from activelearning.cost import CostModel
from activelearning.diff import Diff, Totals, compare, provenance, sentence, tally, total
from activelearning.labels import Box, ImageLabels, Mask, Polygons, Review

_span = st.lists(st.integers(0, 8), min_size=2, max_size=2, unique=True).map(lambda ends: [end / 8 for end in sorted(ends)])
_boxes = st.lists(
    st.builds(lambda label, x, y: Box(label, x[0], y[0], x[1], y[1], 0.5, "model"), st.sampled_from("ab"), _span, _span), max_size=8
)


def _draft(label: str = "knot", xmin: float = 0.1, xmax: float = 0.5, confidence: float = 0.7) -> Box:
    return Box(label, xmin, 0.1, xmax, 0.5, confidence, "model", measures=(("entropy", 0.9),))


def _counts(diff: Diff) -> tuple[int, int, int, int, int]:
    return len(diff.kept), len(diff.moved), len(diff.relabelled), len(diff.added), len(diff.deleted)


@pytest.mark.parametrize(
    ("reviewed", "counts"),
    [
        ([_draft()], (1, 0, 0, 0, 0)),
        ([_draft(xmax=0.503)], (1, 0, 0, 0, 0)),
        ([_draft(xmax=0.55)], (0, 1, 0, 0, 0)),
        ([_draft("defect")], (0, 0, 1, 0, 0)),
        ([_draft("defect", xmax=0.55)], (0, 0, 1, 0, 0)),
        ([_draft(xmin=0.4, xmax=0.8)], (0, 0, 0, 1, 1)),
        ([], (0, 0, 0, 0, 1)),
        ([_draft(), _draft()], (1, 0, 0, 1, 0)),
        ([_draft("defect"), _draft(xmax=0.6)], (0, 1, 0, 1, 0)),
    ],
    ids=["same", "a hair off", "moved", "relabelled", "both", "elsewhere", "deleted", "doubled", "same class goes first"],
)
def test_one_draft_becomes(reviewed: list[Box], counts: tuple[int, ...]) -> None:
    assert _counts(compare([_draft()], reviewed)) == counts


_SQUARE = Polygons(((0.1, 0.1, 0.5, 0.1, 0.5, 0.5, 0.1, 0.5),))
_NOTCHED = Polygons(((0.1, 0.1, 0.5, 0.1, 0.5, 0.5, 0.3, 0.3, 0.1, 0.5),))
_PIXELS = rle.from_runs([22, *[8, 12] * 7, 8, 230], 20, 20)


@pytest.mark.parametrize(
    ("drafted", "came_back", "kept"),
    [
        (_SQUARE, _SQUARE, True),
        (_SQUARE, _NOTCHED, False),
        (_PIXELS, _PIXELS, True),
        (_PIXELS, outlines.trace(_PIXELS), True),
        (_NOTCHED, outlines.fill(_NOTCHED, 20, 20), True),
        (_NOTCHED, _PIXELS, False),
        (_PIXELS, None, True),
        (None, _PIXELS, True),
    ],
    ids=["outline", "changed outline", "pixels", "as outline", "as pixels", "changed pixels", "mask lost", "mask drawn"],
)
def test_a_changed_mask_is_a_nudge_whatever_form_its_format_gave_it(drafted: Mask | None, came_back: Mask | None, kept: bool) -> None:
    draft, reviewed = (replace(_draft(), mask=mask) for mask in (drafted, came_back))
    assert _counts(compare([draft], [reviewed], 20, 20)) == (int(kept), int(not kept), 0, 0, 0)
    [back] = provenance([draft], [reviewed], 20, 20)
    assert back.source == ("human-confirmed" if kept else "human") and back.mask == came_back


def test_a_mask_that_nobody_touched_is_kept_though_its_box_was_made_anew() -> None:
    draft, made_anew = replace(_draft(), mask=_PIXELS), Box("knot", 0.05, 0.1, 0.45, 0.5, mask=_PIXELS)
    assert _counts(compare([draft], [made_anew], 20, 20)) == (1, 0, 0, 0, 0)


def test_the_closest_pair_is_made_first() -> None:
    near, far = _draft(xmax=0.52), _draft(xmax=0.6)
    diff = compare([_draft()], [far, near])

    assert [pair.reviewed for pair in diff.moved] == [near]
    assert diff.moved[0].iou == pytest.approx(0.4 / 0.42)
    assert diff.added == (far,)


def test_a_pixels_rounding_is_no_move() -> None:
    draft = Box("knot", 0.1043, 0.1043, 0.1243, 0.1243, 0.5)
    rounded = Box("knot", 0.10, 0.10, 0.12, 0.12)

    assert _counts(compare([draft], [rounded], 100, 100)) == (1, 0, 0, 0, 0)
    assert _counts(compare([draft], [rounded], 1000, 1000)) == (0, 0, 0, 1, 1)
    assert _counts(compare([draft], [rounded])) == (0, 0, 0, 1, 1)


@budget(max_examples=200, deadline=None)
@given(_boxes, _boxes)
def test_every_box_is_accounted_for_once(drafts: list[Box], reviewed: list[Box]) -> None:
    diff = compare(drafts, reviewed)
    pairs = [*diff.kept, *diff.moved, *diff.relabelled]

    assert sorted([pair.reviewed for pair in pairs] + list(diff.added), key=repr) == sorted(reviewed, key=repr)
    assert sorted([pair.draft for pair in pairs] + list(diff.deleted), key=repr) == sorted(drafts, key=repr)
    assert all(pair.iou >= 0.5 for pair in pairs)
    assert all((pair.draft.label == pair.reviewed.label) == (pair not in diff.relabelled) for pair in pairs)
    assert sum(box.source == "human-confirmed" for box in provenance(drafts, reviewed)) == len(diff.kept)


@budget(max_examples=100, deadline=None)
@given(_boxes)
def test_an_untouched_review_keeps_every_draft(drafts: list[Box]) -> None:
    assert _counts(compare(drafts, drafts)) == (len(drafts), 0, 0, 0, 0)


def test_a_box_says_where_it_comes_from() -> None:
    moved = Box("knot", 0.6, 0.6, 0.9, 0.9)
    returned = [Box("knot", 0.61, 0.6, 0.9, 0.9), Box("knot", 0.1, 0.1, 0.501, 0.5), Box("new", 0, 0, 0.05, 0.05, 0.3, "model")]
    confirmed = Box("knot", 0.1, 0.1, 0.501, 0.5, 0.7, "human-confirmed", measures=(("entropy", 0.9),))

    assert provenance([_draft(), moved], returned) == (
        Box("knot", 0.61, 0.6, 0.9, 0.9),
        confirmed,
        Box("new", 0, 0, 0.05, 0.05),
    )


def test_totals_add_up_over_images() -> None:
    totals = total(
        [
            tally([_draft()], ImageLabels("a.png", boxes=(_draft(), _draft(xmin=0.6, xmax=0.9)))),
            tally([_draft()], ImageLabels("b.png")),
            tally([_draft()], ImageLabels("c.png", boxes=(_draft(),), review=Review.UNOPENED)),
        ]
    )

    assert totals == Totals(kept=1, added=1, deleted=1, reviewed_empty=1, unopened=1)


@pytest.mark.parametrize(
    ("totals", "text"),
    [
        (Totals(310, 41, 2, 88, 12, 3, 2), "kept 310, moved 41, relabelled 2, added 88, deleted 12; 3 images empty, 2 not opened"),
        (Totals(reviewed_empty=1), "kept 0, moved 0, relabelled 0, added 0, deleted 0; 1 image empty, 0 not opened"),
    ],
)
def test_totals_are_a_sentence(totals: Totals, text: str) -> None:
    assert sentence(totals) == text


def test_a_review_costs_its_actions_and_the_opening_of_its_images() -> None:
    totals = Totals(kept=10, moved=2, relabelled=1, added=3, deleted=4, reviewed_empty=1, unopened=5)

    assert CostModel().review_seconds(6, totals) == pytest.approx(6 * 1.5 + 10 * 1.6 + 3 * 4.0 + 4 * 1.0 + 3 * 7.0)
    assert CostModel().draw_seconds(16) == pytest.approx(112)
    assert CostModel(draw=5).draw_seconds(2) == 10
