"""The order of the pool: bounds and quotas that hold at every prefix, whatever the ranking."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from activelearning.apportionment import alternately, in_millionths, in_turn, seats
from activelearning.ordering import Pool, box_entropy, box_margin, order_pool, top_folder
from activelearning.settings import Selection

Row = tuple[str, float, float, tuple[str, ...]]

_weights = st.lists(st.integers(1, 1000), min_size=1, max_size=6)
_rows = st.lists(
    st.tuples(
        st.sampled_from(["north/", "south/", "east/", ""]),
        st.sampled_from([0.0, 0.1, 0.1, 0.5, 0.9]),
        st.lists(st.sampled_from("abc"), max_size=2, unique=True),
    ),
    max_size=40,
).map(lambda rows: [(f"{folder}{number}.png", score, score, tuple(labels)) for number, (folder, score, labels) in enumerate(rows)])
_selections = st.builds(
    Selection,
    class_balance=st.sampled_from([{}, {"a": 0.6, "b": 0.3, "NULL": 0.1}, {"b": 1.0}, {"a": 0.5, "b": 0.25, "c": 0.25}]),
    folder_quotas=st.sampled_from([{}, {"*": 1.0}, {"north": 0.5, "*": 0.5}, {"south": 0.9, "": 0.1}, {"nowhere": 1.0}]),
    min_confidence=st.sampled_from([0.0, 0.1, 0.2]),
    max_confidence=st.sampled_from([0.5, 1.0]),
)


def _pool(rows: Sequence[Row]) -> Pool:
    return Pool([row[0] for row in rows], [row[2] for row in rows], [row[3] for row in rows])


def _ranked(rows: Sequence[Row]) -> list[int]:
    return sorted(range(len(rows)), key=lambda index: (rows[index][1], rows[index][0]))


def _ordered(rows: Sequence[Row], selection: Selection, late: Sequence[int] = ()) -> list[Row]:
    return [rows[index] for index in order_pool(_pool(rows), _ranked(rows), selection, frozenset(late)).indices]


@budget(max_examples=200, deadline=None)
@given(_weights)
def test_every_prefix_of_the_seats_stays_within_quota(weights: list[int]) -> None:
    given_seats = [0] * len(weights)
    for n, index in enumerate(islice(seats(weights), 150), start=1):
        given_seats[index] += 1
        for weight, count in zip(weights, given_seats, strict=True):
            quota = Fraction(weight * n, sum(weights))
            assert math.floor(quota) <= count <= math.ceil(quota)


@budget(max_examples=100, deadline=None)
@given(_weights)
def test_seats_are_the_quota_method(weights: list[int]) -> None:
    total, counts = sum(weights), [0] * len(weights)
    for n, index in enumerate(islice(seats(weights), 60)):
        eligible = [i for i, a in enumerate(counts) if a * total < weights[i] * (n + 1)]
        assert index == max(eligible, key=lambda i: (Fraction(weights[i], counts[i] + 1), -i))
        counts[index] += 1


def test_shares_become_whole_numbers() -> None:
    assert in_millionths({"b": 0.3, "a": 0.6, "tiny": 1e-12, "none": 0.0}) == {"a": 600_000, "b": 300_000, "tiny": 1}


def test_a_dry_queue_leaves_its_turns_to_the_others() -> None:
    queues = {"a": iter([1, 2]), "b": iter([10, 11, 12, 13, 14, 15]), "c": iter([20, 21, 22])}

    drawn = list(in_turn({"a": 2, "b": 1, "c": 1}, queues))

    assert drawn == [1, 10, 2, 20, 11, 21, 12, 22, 13, 14, 15]


def test_equal_queues_take_turns() -> None:
    assert list(alternately([iter([1, 2, 3]), iter([]), iter([7])])) == [1, 7, 2, 3]


def test_the_ancestors_forty_images_are_split_as_it_did() -> None:
    rows = [(f"{label}{i}.png", i / 100, 0.5, (label,) if label else ()) for label in ("knot", "defect", "") for i in range(60)]
    balance = {"knot": 0.6, "defect": 0.3, "NULL": 0.1}

    first = _ordered(rows, Selection(class_balance=balance))[:40]

    assert Counter(labels for *_, labels in first) == {("knot",): 24, ("defect",): 12, (): 4}
    assert [score for _, score, _, labels in first if labels == ("knot",)] == [i / 100 for i in range(24)]


@budget(max_examples=300, deadline=None)
@given(_rows, _selections)
def test_the_order_loses_and_doubles_nothing(rows: list[Row], selection: Selection) -> None:
    assert sorted(_ordered(rows, selection)) == sorted(rows)


@budget(max_examples=200, deadline=None)
@given(_rows, _selections, st.randoms(use_true_random=False))
def test_the_order_depends_on_the_set_alone(rows: list[Row], selection: Selection, source: random.Random) -> None:
    shuffled = source.sample(rows, len(rows))

    assert _ordered(shuffled, selection) == _ordered(rows, selection)


@budget(max_examples=200, deadline=None)
@given(_rows, _selections)
def test_images_outside_the_bounds_come_last(rows: list[Row], selection: Selection) -> None:
    inside = [selection.min_confidence <= confidence <= selection.max_confidence for _, _, confidence, _ in _ordered(rows, selection)]

    assert inside == sorted(inside, reverse=True)


@budget(max_examples=200, deadline=None)
@given(_rows)
def test_without_quotas_the_ranking_decides(rows: list[Row]) -> None:
    assert _ordered(rows, Selection()) == sorted(rows, key=lambda row: (row[1], row[0]))


@budget(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=80), st.permutations([0.6, 0.3, 0.1]))
def test_every_prefix_honours_the_balance_while_supply_lasts(labels: list[str], shares: list[float]) -> None:
    balance = dict(zip("abc", shares, strict=True))
    rows: list[Row] = [(f"{number}.png", 0.5, 0.5, (label,)) for number, label in enumerate(labels)]
    left, drawn = Counter(labels), Counter[str]()

    for n, (*_, (label,)) in enumerate(_ordered(rows, Selection(class_balance=balance)), start=1):
        drawn[label] += 1
        _assert_within_quota(drawn, balance, n)
        if any(drawn[name] == left[name] for name in balance):
            break


def _assert_within_quota(drawn: Counter[str], shares: dict[str, float], n: int) -> None:
    for name, share in shares.items():
        quota = Fraction(str(share)) * n
        assert math.floor(quota) <= drawn[name] <= math.ceil(quota)


def test_when_a_class_runs_out_the_others_share_its_part() -> None:
    rows: list[Row] = [
        (f"{label}{i:03}.png", 0.5, 0.5, (label,)) for label, count in (("a", 10), ("b", 90), ("c", 90)) for i in range(count)
    ]

    labels = [label for *_, (label,) in _ordered(rows, Selection(class_balance={"a": 0.5, "b": 0.4, "c": 0.1}))]

    assert Counter(labels[:20]) == {"a": 10, "b": 8, "c": 2}
    assert Counter(labels[20:70]) == {"b": 40, "c": 10}


def test_an_image_of_several_classes_fills_one_place() -> None:
    rows: list[Row] = [("both.png", 0.0, 0.5, ("a", "b")), ("a.png", 0.5, 0.5, ("a",)), ("b.png", 0.5, 0.5, ("b",))]

    order = _ordered(rows, Selection(class_balance={"a": 0.5, "b": 0.5}))

    assert [row[0] for row in order] == ["both.png", "b.png", "a.png"]


def test_images_of_classes_without_a_share_come_last() -> None:
    rows: list[Row] = [("other.png", 0.0, 0.5, ("c",)), ("none.png", 0.0, 0.5, ()), ("a.png", 0.9, 0.5, ("a",))]

    assert [row[0] for row in _ordered(rows, Selection(class_balance={"a": 1.0, "c": 0.0}))] == ["a.png", "none.png", "other.png"]


@pytest.mark.parametrize(
    ("quotas", "folders"),
    [
        ({"*": 1.0}, {"": 7, "north": 7, "south": 6}),
        ({"north": 0.5, "*": 0.5}, {"north": 10, "south": 5, "": 5}),
        ({"south": 0.9, "": 0.1}, {"south": 18, "": 2}),
        ({"north": 1.0}, {"north": 20}),
        ({"north": 0.0, "south": 0.25, "*": 0.75}, {"south": 5, "": 15}),
        ({"nowhere": 0.5, "south": 0.5}, {"south": 20}),
    ],
)
def test_folders_get_their_share_of_the_first_twenty(quotas: dict[str, float], folders: dict[str, int]) -> None:
    rows: list[Row] = [(f"{folder}{i:03}.png", i / 50, 0.5, ()) for folder in ("north/x/", "south/", "") for i in range(30)]

    first = _ordered(rows, Selection(folder_quotas=quotas))[:20]

    assert Counter(top_folder(row[0]) for row in first) == folders


@budget(max_examples=100, deadline=None)
@given(st.permutations([0.5, 0.3, 0.2]), st.permutations([0.6, 0.3, 0.1]))
def test_class_and_folder_quotas_hold_together(classes: list[float], folders: list[float]) -> None:
    balance, quotas = dict(zip("abc", classes, strict=True)), dict(zip(("north", "south", "east"), folders, strict=True))
    rows: list[Row] = [(f"{folder}/{label}{i}.png", i / 50, 0.5, (label,)) for folder in quotas for label in balance for i in range(50)]
    by_class, by_folder, within = Counter[str](), Counter[str](), {label: Counter[str]() for label in balance}

    for n, (image, _, _, (label,)) in enumerate(_ordered(rows, Selection(class_balance=balance, folder_quotas=quotas))[:60], start=1):
        by_class[label] += 1
        by_folder[top_folder(image)] += 1
        within[label][top_folder(image)] += 1
        _assert_within_quota(by_class, balance, n)
        _assert_within_quota(within[label], quotas, by_class[label])
        assert all(abs(by_folder[name] - share * n) < len(balance) for name, share in quotas.items())


@budget(max_examples=100, deadline=None)
@given(_rows, _selections, st.integers(0, 2))
def test_late_images_come_last_by_the_same_quotas(rows: list[Row], selection: Selection, step: int) -> None:
    late = range(0, len(rows), step + 1) if step else range(0)
    others = [row for index, row in enumerate(rows) if index not in late]

    order = _ordered(rows, selection, late)

    assert order == _ordered(others, selection) + _ordered([rows[index] for index in late], Selection(**_quotas(selection)))


def _quotas(selection: Selection) -> dict[str, dict[str, float]]:
    return {"class_balance": selection.class_balance, "folder_quotas": selection.folder_quotas}


def test_the_order_says_whose_turn_an_image_filled() -> None:
    rows: list[Row] = [("n/both.png", 0.0, 0.5, ("a", "b")), ("n/b.png", 0.1, 0.5, ("b",)), ("s/none.png", 0.2, 0.5, ())]

    order = order_pool(_pool(rows), _ranked(rows), Selection(class_balance={"a": 0.5, "NULL": 0.5}, folder_quotas={"s": 1.0}))

    # 'a' and NULL have half each, ties go to the first by name; b.png is left, and of its folder nobody wants any
    assert [rows[index][0] for index in order.indices] == ["s/none.png", "n/both.png", "n/b.png"]
    assert (order.by_class, order.by_folder) == ({2: "NULL", 0: "a"}, {2: "s"})


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="every image needs a confidence and labels"):
        Pool(["a.png"], [0.5, 0.5], [()])


@pytest.mark.parametrize(
    ("scores", "bits", "margin"),
    [((), 0.0, 1.0), ((1.0,), 0.0, 1.0), ((0.5,), 1.0, 0.0), ((0.5, 0.5), 2.0, 0.0), ((0.9, 0.05), 0.7554, 0.8), ((0.3,), 0.8813, 0.4)],
)
def test_entropy_and_margin_of_class_scores(scores: tuple[float, ...], bits: float, margin: float) -> None:
    assert box_entropy(scores) == pytest.approx(bits, abs=1e-4)
    assert box_margin(scores) == pytest.approx(margin)
