"""Near-duplicates and bursts: clusters, and exactly one survivor of each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from trainer.query import modifiers, near_duplicates, sequences
from trainer.query.strategy import Ranking


def hashes(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def test_a_chain_is_one_cluster_though_its_ends_differ() -> None:
    assert near_duplicates.clusters(hashes(0b0000, 0b0011, 0b1111, 0b11111111), 2).tolist() == [0, 0, 0, 3]
    assert near_duplicates.clusters(hashes(0b0000, 0b0011, 0b1111, 0b11111111), 1).tolist() == [0, 1, 2, 3]


def test_at_no_bit_only_equal_hashes_are_alike() -> None:
    assert near_duplicates.clusters(hashes(7, 6, 7, 2**64 - 1), 0).tolist() == [0, 1, 0, 3]
    assert near_duplicates.clusters(hashes(), 3).tolist() == []


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 60), st.integers(0, 12))
def test_clusters_are_those_of_single_linkage(seed: int, count: int, bits: int) -> None:
    random = np.random.default_rng(seed)
    # families of a few ancestors, each child some flipped bits away from one before it
    drawn = [int(value) for value in random.integers(0, 2**64, 3, np.uint64)]
    while len(drawn) < count:
        flips = random.choice(64, int(random.integers(0, 15)), replace=False)
        drawn.append(drawn[int(random.integers(len(drawn)))] ^ sum(1 << int(bit) for bit in flips))
    apart = np.array([(a ^ b).bit_count() for i, a in enumerate(drawn) for b in drawn[i + 1 :]], float)
    wanted = fcluster(linkage(apart, "single"), bits + 0.5, "distance")
    found = near_duplicates.clusters(hashes(*drawn), bits)
    assert (np.equal.outer(found, found) == np.equal.outer(wanted, wanted)).all()
    assert all(found[cluster] == cluster for cluster in found)


def test_many_hashes_with_few_pairs_among_them() -> None:
    random = np.random.default_rng(0)
    drawn = random.integers(0, 2**64, 20_000, np.uint64)
    drawn[:500] = drawn[-500:] ^ (np.uint64(1) << random.integers(0, 64, 500, np.uint64))
    found = near_duplicates.clusters(drawn, 3)
    assert found[-500:].tolist() == list(range(500)) and found[:-500].tolist() == list(range(19_500))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_each_cluster_has_exactly_one_survivor_the_first_in_the_ranking(labels: list[int], chance) -> None:
    cluster = np.array([labels.index(label) for label in labels])
    order = list(range(len(labels)))
    chance.shuffle(order)
    ranking = Ranking(np.array(order), np.zeros(len(order)))
    found = modifiers.without_duplicates(ranking, cluster)
    assert found.duplicate_of is not None
    survivors = np.flatnonzero(found.duplicate_of < 0).tolist()
    assert sorted(cluster[survivors].tolist()) == sorted(set(cluster.tolist()))
    assert found.order[: len(survivors)].tolist() == sorted(survivors, key=order.index)
    assert all(order.index(survivor) == min(map(order.index, np.flatnonzero(cluster == cluster[survivor]))) for survivor in survivors)


NAMES = ["a/1", "a/2", "b/1", "a/3", "a/4", "top"]


@pytest.mark.parametrize(
    ("taken", "seconds", "wanted"),
    [
        ((0, 5, 1, 100, 15, 0), 10, [0, 0, 2, 3, 0, 5]),
        ((0, 5, 1, 100, 15, 0), 4, [0, 1, 2, 3, 4, 5]),
        ((7, 7, 7, 7, np.nan, 7), 0, [0, 0, 2, 0, 4, 5]),
        ((np.nan,) * 6, 1e6, [0, 1, 2, 3, 4, 5]),
        ((30, 20, np.nan, 10, 0, np.inf), 10, [0, 0, 2, 0, 0, 5]),
    ],
    ids=["a chain of gaps", "too far apart", "the same second", "no times", "in any order"],
)
def test_bursts_are_images_of_one_folder_taken_one_shortly_after_the_other(taken, seconds: float, wanted: list[int]) -> None:
    assert sequences.bursts(NAMES, np.array(taken, float), seconds).tolist() == wanted


def test_no_images_have_no_bursts() -> None:
    assert sequences.bursts([], np.zeros(0), 5).tolist() == []
