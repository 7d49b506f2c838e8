"""Rankings: by lot, by class, per second, turned round, without near-duplicates; whatever the strategy, every image once."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from activelearning import draft_rules, drafts_record, expected_cost, learned_drafts, settings
from activelearning.cost import CostModel
from activelearning.draft_rules import NEVER, DraftRules, fixed
from activelearning.labels import Box, ImageLabels
from activelearning.learned_drafts import LearnedDrafts
from activelearning.settings import Costs, Drafts, Selection, Settings
from activelearning.store import open_store
from tests.trainer.query_pools import box, image, pool, scores
from trainer import review_seconds
from trainer.query import candidates, cost, modifiers, ranking, registry
from trainer.query.objects import Objects
from trainer.query.registry import STRATEGIES
from trainer.query.strategy import LABELLED, Extra, Ranking, Strategy, by_score

BY_PREDICTIONS = tuple(name for name, strategy in STRATEGIES.items() if strategy.needs <= {LABELLED})
LABELLED_BOXES = {"a": 99, "b": 3}

_boxes = st.builds(
    lambda label, confidence, value: box(label, confidence, **dict.fromkeys(settings.UNCERTAINTIES[1:], value), probability=value / 2),
    st.sampled_from("abc"),
    st.sampled_from([0.1, 0.5, 0.9]),
    st.sampled_from([0.0, 0.25, 0.25, 1.0]),
)
_images = st.lists(st.lists(_boxes, max_size=4), max_size=12).map(
    lambda rows: [image(f"{'n' if number % 3 else 's'}/{number:02}.jpg", *boxes) for number, boxes in enumerate(rows)]
)
_selections = st.builds(
    Selection,
    strategy=st.sampled_from(BY_PREDICTIONS),
    box_aggregation=st.sampled_from(settings.BOX_AGGREGATIONS),
    calibrated=st.booleans(),
    relative=st.booleans(),
    order=st.sampled_from(settings.ORDERS),
    class_weights=st.sampled_from(settings.CLASS_WEIGHTS),
    per_second=st.booleans(),
    random_share=st.sampled_from([0.0, 0.3]),
)


def _extra(images: Sequence[ImageLabels], selection: Selection) -> Extra:
    found = pool(images, selection)
    seconds = (
        cost.expected_seconds(found, Costs(), fixed(0.4), cost.by_probability(found)) if registry.in_force(selection).per_second else None
    )
    return Extra(labelled_boxes=LABELLED_BOXES, seconds=seconds)


def _known(images: list[ImageLabels]) -> list[ImageLabels]:
    """With one image more, so that every measure is known of some box."""
    return [*images, image("t/known.jpg", box(**dict.fromkeys(settings.UNCERTAINTIES[1:], 0.5)))]


def test_the_registry_is_what_settings_allow() -> None:
    assert tuple(registry.STRATEGIES) == settings.STRATEGIES


@budget(max_examples=150, deadline=None)
@given(_images, _selections, st.randoms(use_true_random=False))
def test_every_image_is_ranked_once_whatever_order_they_come_in(
    images: list[ImageLabels], selection: Selection, chance: random.Random
) -> None:
    images = _known(images)
    shuffled = chance.sample(images, len(images))

    found = scores(images, selection, _extra(images, selection))

    assert sorted(found) == sorted(one.image for one in images)
    assert list(found.items()) == list(scores(shuffled, selection, _extra(images, selection)).items())
    if selection.order == "highest" and selection.strategy != "class-stratified-random" and not selection.random_share:
        assert list(found) == sorted(found, key=lambda name: (-found[name], name))


@budget(max_examples=50, deadline=None)
@given(_images, st.sampled_from(BY_PREDICTIONS), st.integers(1, 6))
def test_parts_put_together_are_the_whole(images: list[ImageLabels], strategy: str, size: int) -> None:
    columns = STRATEGIES[strategy].columns(Selection(strategy))
    parts = [candidates.of_labels(images[start : start + size], columns) for start in range(0, len(images) + 1, size)]

    whole, parted = candidates.of_labels(images, columns), candidates.concatenated(parts)

    assert (list(whole.images), whole.classes, set(whole.measures)) == (list(parted.images), parted.classes, set(parted.measures))
    for column in ("offsets", "class_id", "confidence"):
        assert getattr(whole, column).tolist() == getattr(parted, column).tolist()
    for name in parted.measures:
        assert np.array_equal(whole.column(name), parted.column(name), equal_nan=True)


def test_columns_that_do_not_fit_together_are_refused() -> None:
    one = np.zeros(1, np.float32)
    with pytest.raises(ValueError, match="offsets must rise"):
        candidates.Candidates(["a"], np.array([0, 2]), one.astype(np.int32), one, ("a",))
    with pytest.raises(ValueError, match="a row for each of 1 boxes"):
        candidates.Candidates(["a"], np.array([0, 1]), one.astype(np.int32), one, ("a",), {"entropy": np.zeros(2)})
    with pytest.raises(ValueError, match="not one of the classes"):
        candidates.Candidates(["a"], np.array([0, 1]), one.astype(np.int32), one)
    with pytest.raises(ValueError, match="holds every image once"):
        Ranking(np.array([0, 0]), np.zeros(2))
    with pytest.raises(ValueError, match="not a finite number"):
        by_score(np.array([math.inf]))
    with pytest.raises(ValueError, match="cannot need pictures"):
        Strategy(by_score, "", "", frozenset(("pictures",)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs the expected seconds"):
        ranking.rank(pool([]), Selection("entropy", per_second=True), Extra())
    with pytest.raises(ValueError, match="needs the boxes labelled"):
        ranking.rank(pool([]), Selection("class-balanced-gain"), Extra())


# By lot.


def test_random_is_the_same_again_and_another_with_another_seed() -> None:
    images = [image(f"{number}.jpg") for number in range(1000)]
    first, again, other = (scores(images, Selection("random", seed=seed)) for seed in (1, 1, 2))

    assert first == again
    assert sum(first[name] < other[name] for name in first) in range(400, 600)
    assert np.mean(list(first.values())) == pytest.approx(0.5, abs=0.05)
    assert all(0 <= score <= 1 for score in first.values())
    assert scores(images[:10], Selection("random", seed=1)).items() <= first.items()


@budget(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=40), st.integers(0, 9))
def test_every_prefix_is_stratified_as_even_as_supply_allows(labels: list[str], seed: int) -> None:
    images = [image(f"{number:02}.jpg", *(box(one) for one in label)) for number, label in enumerate(labels)]
    left, shown = Counter(labels), Counter[str](dict.fromkeys(labels, 0))

    for name in scores(images, Selection("class-stratified-random", seed=seed)):
        label = labels[int(name[:2])]
        assert shown[label] == min(shown[other] for other in left if shown[other] < left[other])
        shown[label] += 1


def test_an_image_of_several_classes_counts_for_each() -> None:
    images = [image("ab1.jpg", box("a"), box("b")), image("ab2.jpg", box("a"), box("b")), image("a.jpg", box("a")), image("none.jpg")]

    order = list(scores(images, Selection("class-stratified-random")))

    # none is the rarest; then b, which brings a with it; a alone has shown itself twice when its turn comes
    assert order[0] == "none.jpg" and order[3] == "a.jpg"


# By what is labelled.


def test_class_balanced_gain() -> None:
    images = [
        image("common.jpg", *[box("a", 0.5)] * 20),
        image("one.jpg", box("a", 0.5)),
        image("rare.jpg", box("b", 0.5)),
        image("new.jpg", box("c", 0.5, entropy=0.25), box("a", 0.5)),
        image("none.jpg"),
    ]

    found = scores(images, Selection("class-balanced-gain"), Extra(labelled_boxes=LABELLED_BOXES))

    # 20 boxes of 1 bit among 99 + 1: √(20/100); 1 of 3 + 1: √(1/4); √(0.25/1) + √(1/100)
    assert found == pytest.approx({"new.jpg": 0.6, "rare.jpg": 0.5, "common.jpg": math.sqrt(0.2), "one.jpg": 0.1, "none.jpg": 0.0})


# Per second.


def test_expected_seconds() -> None:
    images = [
        image("a.jpg", box("a", 0.9, probability=0.64), box("b", 0.3), box("b", 0.25, probability=0.36)),
        image("b.jpg"),
        image("c.jpg", box("b", 1.0)),
    ]
    of_draft = 1.6 * 0.64 + 4 * 2 * 0.8 * 0.2 + 1 * 0.04

    def seconds(rules: DraftRules) -> list[float]:
        found = pool(images)
        return cost.expected_seconds(found, Costs(), rules, cost.by_probability(found)).tolist()

    assert seconds(fixed(0.4)) == pytest.approx([1.5 + of_draft + 7 * 0.3 + 7 * 0.36, 1.5, 1.5 + 1.6], rel=1e-5)
    assert seconds(fixed(0.4, 0.8))[2] == pytest.approx(1.5 + 7)
    # of 'b' from 0.3 on: 0.3 shown, 0.25 hidden
    shown = 1.6 * 0.3 + 8 * math.sqrt(0.3) * (1 - math.sqrt(0.3)) + (1 - math.sqrt(0.3)) ** 2
    assert seconds(DraftRules({"b": 0.3}, other=2.0))[0] == pytest.approx(1.5 + 7 * 0.64 + shown + 7 * 0.36, rel=1e-5)
    # by probability: 0.64 hidden, 0.36 shown; what has none needs a confidence of 0.4
    by_probability = DraftRules({"b": 0.3}, other=0.7, score="probability", floor=0.4)
    assert seconds(by_probability)[0] == pytest.approx(1.5 + 7 * 0.64 + 7 * 0.3 + 1.6 * 0.36 + 8 * 0.6 * 0.4 + 0.16, rel=1e-5)
    cheap = cost.expected_seconds(pool(images), Costs(*[1e-9] * 5), fixed(0.4), cost.by_probability(pool(images)))
    assert cheap.tolist() == [0.001] * 3


LEARNED = LearnedDrafts(
    "main/1", 30, "probability", {"a": 0.5, "b": NEVER}, 0.2, True, True, False, (0.0, 0.4, 0.8),
    {"a": ((0.1, 0.2, 0.7), (0.5, 0.3, 0.2), (0.9, 0.1, 0.0))}, ((0.2, 0.2, 0.6), (0.4, 0.4, 0.2), (0.8, 0.1, 0.1)),
    5.0, 0.25, 20.0, 25.0, 0.4, 40.0, {"b": (1.2, 0.9, 0.5)}, (0.8, 1.0, 1.5), 1.4,
)  # fmt: skip
"""What becomes of drafts by probability below 0.4, 0.8 and above; of 'b' none is shown."""


@pytest.mark.parametrize("score", ["probability", "confidence"])
def test_expected_seconds_by_experience_are_what_a_batch_is_expected_to_take(score: str) -> None:
    learned, costs = replace(LEARNED, score=score), CostModel(1.0, 2.0, 3.0, 0.5, 9.0)
    rules = learned_drafts.rules(Drafts(min_confidence=0.3), learned)
    chance, images = random.Random(0), []
    for number in range(40):
        # far apart, so that none is a duplicate of another
        corners = [(x / 10, 0.1, x / 10 + 0.05, 0.2) for x in range(number % 5)]
        measures = [(("probability", chance.random()),) if chance.random() < 0.7 else () for _ in corners]
        boxes = (
            Box(chance.choice("abc"), *xyxy, chance.random(), "model", None, found) for xyxy, found in zip(corners, measures, strict=True)
        )
        images.append(image(f"{number:02}.jpg", *boxes))

    found = cost.expected_seconds(pool(images), costs, rules, cost.by_experience(pool(images), learned))

    expected = [expected_cost.of_image(one, draft_rules.kept(one, rules), learned, costs).seconds for one in images]
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_pool_costs_what_was_learned_of_its_models_drafts() -> None:
    blobs, settings = open_store("memory:").labels, Settings(("a",))
    found = pool([image("a.jpg", box("a", 0.7, probability=0.64))])

    before = review_seconds.of_pool(blobs, settings, "main/1", found)
    drafts_record.create(blobs, LEARNED)

    assert before == pytest.approx([1.5 + 1.6 * 0.64 + 8 * 0.8 * 0.2 + 0.04])
    # 0.5, 0.3, 0.2 by 0.8, 1.0, 1.5: the sum is 1; and 0.25 missed 1.4 times as often
    assert review_seconds.of_pool(blobs, settings, "main/1", found) == pytest.approx([1.5 + 1.6 * 0.4 + 4 * 0.3 + 0.3 + 7 * 0.25 * 1.4])
    assert review_seconds.of_pool(blobs, settings, "", found) == pytest.approx(before)


def test_a_score_per_second() -> None:
    images = [image("a.jpg", box(entropy=3.0)), image("b.jpg", box(entropy=2.0)), image("c.jpg", box(entropy=0.0))]

    found = scores(images, Selection("entropy", per_second=True), Extra(seconds=np.array([6.0, 2.0, 1.0])))

    assert found == {"b.jpg": 1.0, "a.jpg": 0.5, "c.jpg": 0.0} and list(found) == ["b.jpg", "a.jpg", "c.jpg"]


@pytest.mark.parametrize("strategy", settings.BY_PLACE)
def test_what_draws_or_picks_one_after_the_other_is_not_weighed(strategy: str) -> None:
    images = [image(f"{number}.jpg", box("ab"[number % 2], entropy=number / 10)) for number in range(8)]
    turned = np.radians([0, 5, 90, 95, 180, 185, 270, 275])
    one = np.ones(8, np.float32)
    looks = Objects(np.arange(9), np.eye(8, dtype=np.float16), np.arange(8, dtype=np.int32) % 2, one, one, ("a", "b"))
    extra = Extra(
        np.stack([np.cos(turned), np.sin(turned)], 1),
        np.zeros((0, 2)),
        looks.at,
        labelled_boxes=LABELLED_BOXES,
        class_difficulty={},
        first=4,
    )
    plain = Selection(strategy, random_share=0.0)
    cheap_first = replace(extra, seconds=np.array([64.0, 32, 16, 8, 4, 2, 1, 0.5]))

    weighed = scores(images, replace(plain, per_second=True, class_weights="inverse-frequency"), cheap_first)

    assert list(weighed.items()) == list(scores(images, plain, extra).items())


def test_the_settings_name_what_is_not_weighed() -> None:
    assert tuple(name for name, strategy in STRATEGIES.items() if strategy.by_place) == settings.BY_PLACE
    for name in STRATEGIES:
        in_force = registry.in_force(Selection(name, per_second=True, class_weights="inverse-frequency"))
        assert (in_force.per_second, in_force.class_weights != "none") == ((name not in settings.BY_PLACE,) * 2)


# Modifiers.


def test_class_weights_prefer_what_is_predicted_rarely() -> None:
    images = [image("a.jpg", *[box("a", 0.5)] * 5), image("ab.jpg", box("a", 0.5), box("a", 0.5), box("b", 0.5)), image("none.jpg")]

    found = scores(images, Selection("entropy", class_weights="inverse-frequency"))

    # 8 detections, 7 of a, 1 of b; the mean over an image's classes, not its boxes
    assert found == pytest.approx({"ab.jpg": (8 / 7 + 8) / 2, "a.jpg": 8 / 7, "none.jpg": 0.0})


@given(st.lists(st.tuples(st.floats(-9, 9).map(lambda value: round(value, 9)), st.floats(0.01, 100)), min_size=1, max_size=20))
def test_a_larger_weight_never_makes_a_score_smaller(rows: list[tuple[float, float]]) -> None:
    score, weight = np.array(rows).T

    small, large = (modifiers.weighted(by_score(score), factor * weight).score for factor in (1, 2))

    assert (large >= small).all() and (np.sign(large) == np.sign(score)).all()


@pytest.mark.parametrize("size", [10, 15, 100])
def test_spread_selects_what_its_source_does(size: int) -> None:
    score = np.random.default_rng(0).permutation(100.0 * np.arange(100))
    ascending = np.argsort(score).reshape(5, 20)
    expected = {*ascending[:4, 20 - size // 5 :].ravel().tolist(), *ascending[4, : size // 5].tolist()}

    assert set(modifiers.in_order(by_score(score), "spread").order[:size].tolist()) == expected


def test_lowest_comes_first_and_ties_go_by_name() -> None:
    images = [image("c.jpg", box(entropy=1.0)), image("b.jpg", box(entropy=1.0)), image("a.jpg", box(entropy=2.0)), image("d.jpg")]

    assert list(scores(images, Selection("entropy", order="lowest"))) == ["d.jpg", "b.jpg", "c.jpg", "a.jpg"]
    assert list(scores(images, Selection("entropy"))) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]


def test_a_share_of_the_places_goes_by_lot_evenly() -> None:
    ranked = modifiers.with_lots(by_score(np.arange(10.0)), np.array([0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.95, 0.8]), 0.25)
    # every fourth place: the highest lot is that of 8, which came by its score, then that of 0
    assert ranked.order.tolist() == [9, 8, 7, 0, 6, 5, 4, 3, 2, 1]
    assert ranked.by_lot is not None and np.flatnonzero(ranked.by_lot).tolist() == [0, 3]


@pytest.mark.parametrize(("share", "drawn"), [(0.0, 0), (0.1, 4), (0.5, 20), (1.0, 40)])
def test_lots_reach_images_that_no_strategy_would_choose(share: float, drawn: int) -> None:
    images = [image(f"{number:02}.jpg", *([box(entropy=1.0)] if number % 2 else [])) for number in range(40)]
    found = ranking.rank(pool(images, Selection("entropy")), Selection("entropy", random_share=share), Extra())
    assert sorted(found.order.tolist()) == list(range(40))
    assert (0 if found.by_lot is None else int(found.by_lot.sum())) == drawn
    # images without a box score 0 and would all come last
    assert any(index % 2 == 0 for index in found.order[:20].tolist()) is bool(drawn)


def test_of_each_cluster_the_first_stays_and_the_others_come_last_in_order() -> None:
    images = [image(f"{number}.jpg", box(entropy=value)) for number, value in enumerate([5.0, 6.0, 4.0, 3.0, 2.0, 1.0])]
    clusters, bursts = np.array([0, 0, 2, 3, 2, 5]), np.array([0, 1, 2, 2, 4, 0])

    found = pool(images, Selection("entropy"))
    near = ranking.rank(found, Selection("entropy"), Extra(clusters=clusters))
    both = ranking.rank(found, Selection("entropy"), Extra(clusters=clusters, bursts=bursts))

    assert near.order.tolist() == [1, 2, 3, 5, 0, 4]
    assert near.duplicate_of is not None and near.duplicate_of.tolist() == [1, -1, -1, -1, 2, -1]
    # 3 was taken with 2; 5 with 0, which is last already, but neither is the first of its burst that stays
    assert both.duplicate_of is not None and both.duplicate_of.tolist() == [1, -1, -1, 2, 2, -1]
    assert both.order.tolist() == [1, 2, 5, 3, 0, 4]


def test_a_labelled_image_stands_for_its_cluster() -> None:
    # of six images, 0 and 2 are like the first labelled one, 1 and 4 like each other, 5 like the second
    clusters = np.array([0, 1, 0, 3, 1, 5, 0, 5])

    found = modifiers.without_duplicates(by_score(np.array([6.0, 5, 4, 3, 2, 1])), clusters)

    assert found.order.tolist() == [1, 3, 0, 2, 4, 5]
    assert found.duplicate_of is not None and found.duplicate_of.tolist() == [6, -1, 6, -1, 1, 7]


@given(st.lists(st.integers(0, 4), max_size=20), st.randoms(use_true_random=False))
def test_exactly_one_of_each_cluster_stays(clusters: list[int], chance: random.Random) -> None:
    score = np.array([chance.choice([0.0, 0.5, 1.0]) for _ in clusters])

    found = modifiers.without_duplicates(by_score(score), np.array(clusters, np.int64))

    kept = len(set(clusters))
    assert sorted(clusters[index] for index in found.order[:kept]) == sorted(set(clusters))
    for part in (found.order[:kept], found.order[kept:]):
        assert part.tolist() == sorted(part.tolist(), key=lambda index: (-score[index], index))
