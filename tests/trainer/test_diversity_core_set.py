import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from trainer.query import diversity
from trainer.query.diversity_core_set import core_set

NONE = np.zeros((0, 1), np.float32)


def line(*places: float) -> np.ndarray:
    return np.array(places, np.float32)[:, None]


def plain(embeddings: np.ndarray, labelled: np.ndarray, count: int) -> list[int]:
    """k-centre greedy as the paper has it."""
    if len(labelled):
        chosen, nearest = [], cdist(embeddings, labelled).min(1)
    else:
        chosen = [int(cdist(embeddings, embeddings.mean(0, dtype=float)[None])[:, 0].argmin())]
        nearest = cdist(embeddings, embeddings[chosen]).min(1)
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, cdist(embeddings, embeddings[chosen[-1:]])[:, 0])
    return chosen


def test_points_on_a_line_by_hand() -> None:
    # from 0: 10 is farthest, then 4 (4 from 0, 6 from 10), then 7 (3 from both), then 1 and 2 at 1 and 2
    found = core_set(line(1, 2, 4, 7, 10), line(0), 4)
    assert found.first.tolist() == [4, 2, 3, 1]
    assert found.worth.tolist() == pytest.approx([1, 2, 4, 3, 10])
    assert found.order.tolist() == [4, 2, 3, 1, 0]


def test_without_a_labelled_set_the_middle_comes_first() -> None:
    found = core_set(line(0, 1, 6, 13), NONE, 2)
    assert found.first.tolist() == [2, 3] and found.order.tolist() == [2, 3, 0, 1]
    assert found.worth.tolist() == pytest.approx([6, 5, 7, 7])


def test_equally_far_images_come_by_index_and_copies_are_not_chosen() -> None:
    assert core_set(line(5, -5, 5, -5, 0), line(0), 4).first.tolist() == [0, 1]
    assert core_set(line(3, 3, 3), NONE, 3).order.tolist() == [0, 1, 2]
    assert core_set(NONE, NONE, 3).order.tolist() == []


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(3, 60), st.integers(0, 3), st.integers(1, 40))
def test_it_is_the_plain_algorithm(seed: int, images: int, labelled: int, count: int) -> None:
    random = np.random.default_rng(seed)
    embeddings, known = random.normal(size=(images, 3)).astype(np.float32), random.normal(size=(labelled, 3)).astype(np.float32)
    found = core_set(embeddings, known, min(count, images))
    assert found.first.tolist() == plain(embeddings, known, min(count, images))
    left = np.setdiff1d(np.arange(images), found.first)
    centres = np.concatenate([known, embeddings[found.first]])
    assert found.worth[left] == pytest.approx(cdist(embeddings[left], centres).min(1), abs=1e-3)


def test_more_images_than_are_at_hand_at_once() -> None:
    embeddings = np.random.default_rng(0).normal(size=(20_000, 2)).astype(np.float32)
    assert core_set(embeddings, NONE.repeat(2, 1), 80).first.tolist() == plain(embeddings, NONE.repeat(2, 1), 80)


def test_a_large_labelled_set_is_thinned_evenly_and_a_small_one_is_not() -> None:
    rows = line(*range(100))
    assert diversity.thinned(rows, 4)[:, 0].tolist() == [0, 33, 66, 99]
    assert diversity.thinned(rows, 100) is rows


def test_centred_rows_have_length_one_and_what_is_the_mean_stays_zero() -> None:
    embeddings, labelled = diversity.centred(np.array([[2, 4], [4, 4], [3, 4]], np.float16), np.array([[3, 9]], np.float16))
    assert embeddings.tolist() == [[-1, 0], [1, 0], [0, 0]] and labelled.tolist() == [[0, 1]]
    assert embeddings.dtype == np.float16


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(0, 30))
def test_distances_are_those_of_scipy(seed: int, rows: int, columns: int) -> None:
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(rows, 5)).astype(np.float32), random.normal(size=(columns, 5)).astype(np.float32)
    assert diversity.squared_distances(first, second) == pytest.approx(cdist(first, second, "sqeuclidean"), abs=1e-4)
    assert diversity.squared_distances(first, first).diagonal().max() == 0
