import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.query.diversity_ppal import class_weight, class_weights, difficulty, k_medoids, matching_distances, ppal
from trainer.query.objects import Objects, concatenated, no_objects

NONE = np.zeros(0, np.float32)


def objects(*images: list[tuple[tuple[float, ...], int, float]], width: int = 2) -> Objects:
    """Of each image its objects: feature, class, confidence."""
    rows = [row for image in images for row in image]
    return Objects(
        np.cumsum([0, *map(len, images)]),
        np.array([row[0] for row in rows], np.float16).reshape(-1, width),
        np.array([row[1] for row in rows], np.int32),
        np.array([row[2] for row in rows], np.float32),
        np.ones(len(rows), np.float32),
    )


def test_difficulty_by_hand() -> None:
    # 1 - 0.5^0.6 · 0.25^0.4 = 1 - 2^-1.4
    found = difficulty(np.array([1.0, 0.5, 0.9, 0.0]), np.array([1.0, 0.25, 0.0, 0.8]))
    assert found.tolist() == pytest.approx([0, 1 - 2**-1.4, 1, 1])


def test_the_weight_of_a_class_runs_from_one_to_one_point_two() -> None:
    assert class_weight(0.0) == 1
    assert class_weight(1.0) == pytest.approx(1.2)
    # 1 + 0.06 · ln(1 + (e^(10/3) - 1) · 0.5) = 1 + 0.06 · ln 14.5158
    assert class_weight(0.5) == pytest.approx(1.160523, abs=1e-5)
    assert class_weights({"b": 0.0}, ("a", "b")).tolist() == pytest.approx([1.2, 1])


def test_matching_distance_by_hand() -> None:
    one = [((1, 0), 0, 0.8), ((0, 1), 1, 0.2)]
    other = [((3, 0), 0, 0.5), ((1, 1), 0, 0.5)]
    # one → other: (0.8 · 1 + 0.2 · -1) / 1 = 0.6; other → one: (0.5 · 1 + 0.5 · 0.7071) / 1 = 0.8536
    found = matching_distances(objects(one, other, []))
    assert found[0, 1] == found[1, 0] == pytest.approx(1 - (0.6 + 0.853553) / 2, abs=1e-3)
    assert found[0, 2] == found[1, 2] == 2
    assert found.diagonal().tolist() == [0, 0, 0]


def plain_likeness(first: Objects, a: int, b: int) -> float:
    total, weights = 0.0, 0.0
    for i in range(first.offsets[a], first.offsets[a + 1]):
        rows = [j for j in range(first.offsets[b], first.offsets[b + 1]) if first.class_id[j] == first.class_id[i]]
        f = first.features[i].astype(float)
        cosines = [f @ g / (np.linalg.norm(f) * np.linalg.norm(g)) for g in (first.features[j].astype(float) for j in rows)]
        total += float(first.confidence[i]) * max(cosines, default=-1.0)
        weights += float(first.confidence[i])
    return total / weights if weights else -1.0


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 4), min_size=1, max_size=7))
def test_matching_distance_is_that_of_the_definition(seed: int, sizes: list[int]) -> None:
    random = np.random.default_rng(seed)
    images = [
        [(tuple(random.normal(size=3)), int(random.integers(3)), float(random.uniform(0.1, 1))) for _ in range(size)] for size in sizes
    ]
    drawn = objects(*images, width=3)
    found = matching_distances(drawn)
    for a in range(len(sizes)):
        for b in range(len(sizes)):
            wanted = 0 if a == b else 1 - (plain_likeness(drawn, a, b) + plain_likeness(drawn, b, a)) / 2
            assert found[a, b] == pytest.approx(wanted, abs=5e-3)


def on_a_line(*places: float) -> np.ndarray:
    return np.abs(np.subtract.outer(places, places)).astype(float)


@pytest.mark.parametrize("seed", range(5))
def test_medoids_are_the_middles_of_clusters_whichever_image_is_drawn_first(seed: int) -> None:
    found = k_medoids(on_a_line(0, 1, 2, 50, 51, 52, 53, 54), 2, np.random.default_rng(seed))
    assert sorted(found.tolist()) == [1, 5]


def test_as_many_medoids_as_images_are_all_of_them_copies_too() -> None:
    assert sorted(k_medoids(on_a_line(0, 0, 0, 5), 4, np.random.default_rng(0)).tolist()) == [0, 1, 2, 3]
    assert len(k_medoids(on_a_line(3, 1), 9, np.random.default_rng(0))) == 2


def test_only_the_most_uncertain_go_into_the_second_stage_and_copies_do_not_come_together() -> None:
    # sixteen images: the first eight are the most uncertain, four copies of each of two kinds
    kinds = [[((1.0, 0.0), 0, 0.9)], [((0.0, 1.0), 0, 0.9)]]
    every = objects(*(kinds[number // 4 % 2] for number in range(16)))
    scores = np.linspace(2, 1, 16)
    found = ppal(scores, every.at, 1000, seed=3)
    assert len(found.first) == 2 and sorted(number // 4 for number in found.first.tolist()) == [0, 1]
    left = [number for number in range(16) if number not in found.first]
    assert found.order[2:].tolist() == left


def test_an_empty_pool_and_one_image() -> None:
    assert ppal(NONE, no_objects(0).at, 10, 0).order.tolist() == []
    assert ppal(np.ones(1), no_objects(1).at, 10, 0).order.tolist() == [0]


def test_objects_are_picked_and_cut_image_by_image() -> None:
    every = objects([((1, 0), 0, 0.9), ((2, 0), 1, 0.8)], [], [((3, 0), 0, 0.7)])
    picked = every.at(np.array([2, 0, 1, 2]))
    assert picked.features[:, 0].tolist() == [3, 1, 2, 3] and picked.offsets.tolist() == [0, 1, 3, 3, 4]
    assert picked.first(1).features[:, 0].tolist() == [3, 1, 3] and picked.first(1).offsets.tolist() == [0, 1, 2, 2, 3]
    joined = concatenated([no_objects(1), every])
    assert joined.offsets.tolist() == [0, 0, 2, 2, 3] and joined.features.shape == (3, 2)


def test_objects_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="offsets must rise"):
        Objects(np.array([0, 2]), np.zeros((1, 2), np.float16), np.zeros(1, np.int32), np.zeros(1), np.zeros(1))
    with pytest.raises(ValueError, match="a row for each of 1"):
        Objects(np.array([0, 1]), np.zeros((1, 2), np.float16), np.zeros(2, np.int32), np.zeros(1), np.zeros(1))
    with pytest.raises(ValueError, match="one of the classes"):
        Objects(np.array([0, 1]), np.zeros((1, 2), np.float16), np.ones(1, np.int32), np.zeros(1), np.zeros(1), ("a",))
