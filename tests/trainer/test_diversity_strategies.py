"""The strategies that look for variety, from candidates and extras to a ranking."""

from dataclasses import replace

import numpy as np
import pytest

from activelearning.errors import UserError
from activelearning.settings import Selection
from tests.trainer.query_pools import box, image, pool, scores
from trainer.query import diversity, ranking
from trainer.query.candidates import Candidates
from trainer.query.diversity import Chosen
from trainer.query.objects import Objects, no_objects
from trainer.query.strategy import Extra, Ranking

NOBODY = np.zeros((0, 2), np.float16)


def images(count: int, **measures: float) -> Candidates:
    return pool([image(f"{number:02d}.jpg", box(entropy=number / 10, aleatoric=0.1, **measures)) for number in range(count)], EVERYTHING)


EVERYTHING = Selection("combo", random_share=0.0)


def ranked(candidates: Candidates, selection: Selection, extra: Extra) -> Ranking:
    return ranking.rank(candidates, selection, extra)


def on_a_circle(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float16)


@pytest.mark.parametrize("strategy", ["core-set", "max-herding"])
def test_an_image_of_which_nothing_is_known_comes_last_and_spoils_nothing(strategy: str) -> None:
    embeddings = on_a_circle(0, 90, 180, 270, 5)
    embeddings[1] = np.nan
    found = ranked(images(5), Selection(strategy, random_share=0.0), Extra(embeddings=embeddings, labelled_embeddings=on_a_circle(0)))
    assert found.order[-1] == 1 and found.score[1] == found.score.min()
    without = ranked(
        images(4), Selection(strategy, random_share=0.0), Extra(embeddings=embeddings[[0, 2, 3, 4]], labelled_embeddings=on_a_circle(0))
    )
    assert [[0, 2, 3, 4][place] for place in without.order] == found.order[:-1].tolist()


@pytest.mark.parametrize("strategy", ["core-set", "max-herding"])
def test_any_head_differs_and_scores_fall_with_the_place(strategy: str) -> None:
    embeddings = on_a_circle(0, 1, 2, 120, 121, 122, 240, 241, 242)
    found = ranked(images(9), Selection(strategy, random_share=0.0), Extra(embeddings=embeddings, labelled_embeddings=NOBODY, first=3))
    assert sorted(found.order[:3] // 3) == [0, 1, 2]
    assert (np.diff(found.score[found.order]) <= 1e-6).all()


@pytest.mark.parametrize("strategy", ["core-set", "max-herding"])
def test_a_hybrid_chooses_among_the_most_uncertain(strategy: str) -> None:
    # the eight of highest entropy are 8 to 15, in pairs of the same look; twelve others are told apart best
    embeddings = np.concatenate([on_a_circle(*range(0, 96, 12)), on_a_circle(*np.repeat([100, 190, 280, 10], 2))])
    extra = Extra(embeddings=embeddings, labelled_embeddings=NOBODY)
    found = ranked(images(16), Selection(strategy, hybrid=2.0, random_share=0.0), extra)
    head = found.order[:4]
    assert (head >= 8).all() and len(set(head // 2)) == 4
    assert found.order[4:].tolist() == [number for number in range(15, -1, -1) if number not in head]


def test_the_most_uncertain_by_hand() -> None:
    def last(candidates: np.ndarray, count: int) -> Chosen:
        assert candidates.tolist() == [3, 0, 2, 1] and count == 2
        return Chosen(np.array([3, 2]), np.zeros(4))

    found = diversity.of_most_uncertain(np.array([5.0, 2, 5, 9, 1, 0, 0, 0]), last, 1000, 2)
    assert found.order.tolist() == [1, 2, 3, 0, 4, 5, 6, 7]


def test_what_is_found_again_halfway_comes_first() -> None:
    pool_of = [
        image("exactly", box(consistency=2.0), box(consistency=1.9)),
        image("halfway", box(consistency=2.0), box(consistency=1.25)),
        image("never", box(consistency=0.0)),
        image("nothing"),
        image("unknown", box()),
    ]
    found = scores(pool_of, Selection("consistency", random_share=0.0))
    assert list(found) == ["halfway", "exactly", "unknown", "never", "nothing"]
    # of the unknown one the mean of the three of which something is known; an image without boxes is known to hold none
    assert [*found.values()] == pytest.approx([1 - 0.05 / 1.3, 1 - 0.6 / 1.3, (2 - 0.65 / 1.3) / 3, 0, 0])


def test_without_any_consistency_the_pool_must_be_predicted_again() -> None:
    with pytest.raises(UserError, match="predict the pool again"):
        scores([image("a", box())], Selection("consistency", random_share=0.0))


def of_class(*labels: int) -> Objects:
    """An image an object, all of the same look."""
    count = len(labels)
    one = np.ones(count, np.float32)
    return Objects(np.arange(count + 1), np.ones((count, 2), np.float16), np.array(labels, np.int32), one, one, ("a", "b"))


def test_ppal_counts_uncertainty_of_a_hard_class_for_more() -> None:
    candidates = pool([image("1", box("a", entropy=1.0)), image("2", box("b", entropy=1.0))], Selection("ppal", random_share=0.0))
    for hard, first in ((0.9, 1), (0.1, 0)):
        extra = Extra(objects=of_class(0, 1).at, class_difficulty={"a": 0.5, "b": hard}, first=1)
        # of two images the second stage is given only the more uncertain one and the other of its four, by index
        order = ranked(candidates, Selection("ppal", random_share=0.0), replace(extra, first=0)).order
        assert order[0] == first


def test_a_model_that_does_not_tell_of_objects_is_named_plainly() -> None:
    unknown = np.zeros(3, bool)
    extra = Extra(objects=lambda indices: no_objects(len(indices)), has_objects=unknown, labelled_boxes={}, class_difficulty={})
    for strategy in ("ppal", "entropy-nms-diverse"):
        with pytest.raises(UserError, match="train once"):
            ranked(images(3), Selection(strategy, random_share=0.0), extra)


@pytest.mark.parametrize("strategy", ["ppal", "entropy-nms-diverse"])
def test_an_image_whose_objects_are_unknown_counts_as_the_mean_of_those_whose_are(strategy: str) -> None:
    # entropies 0 to 0.4; the most uncertain image is one of which another model, or another prediction, told no objects
    known = np.array([True] * 4 + [False])

    def objects_of(indices: np.ndarray) -> Objects:
        some = Objects(
            np.array([0, 1, 2, 3, 4, 4]), np.eye(4, dtype=np.float16), np.zeros(4, np.int32), np.ones(4, np.float32),
            np.arange(4, dtype=np.float32) / 10, ("a",),
        )  # fmt: skip
        return some.at(indices)

    extra = Extra(objects=objects_of, has_objects=known, labelled_boxes={}, class_difficulty={}, first=0)
    # the mean of those known is 0.15
    assert ranked(images(5), Selection(strategy, random_share=0.0), extra).order.tolist() == [3, 2, 4, 1, 0]


@pytest.mark.parametrize("strategy", ["core-set", "max-herding", "ppal", "entropy-nms-diverse", "consistency"])
def test_an_empty_pool_is_ranked(strategy: str) -> None:
    none = pool([], Selection(strategy, random_share=0.0))
    extra = Extra(embeddings=NOBODY, labelled_embeddings=on_a_circle(1), objects=lambda indices: no_objects(len(indices)))
    assert len(ranked(none, Selection(strategy, random_share=0.0), extra).order) == 0


@pytest.mark.parametrize("strategy", ["core-set", "max-herding", "ppal", "entropy-nms-diverse"])
def test_a_strategy_that_was_not_given_what_it_needs_says_so(strategy: str) -> None:
    with pytest.raises(ValueError, match="needs the"):
        ranked(images(3), Selection(strategy, random_share=0.0), Extra())
