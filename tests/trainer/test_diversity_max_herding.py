import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist

from trainer.query.diversity_max_herding import bandwidth, max_herding


def coverage(embeddings: np.ndarray, chosen: list[int], labelled: np.ndarray) -> float:
    """The mean over all of the largest kernel value, by the definition."""
    centres = np.concatenate([labelled, embeddings[chosen]])
    if not len(centres):
        return 0.0
    return float(np.exp(-(cdist(embeddings, centres) ** 2) / np.median(pdist(embeddings)) ** 2).max(1).mean())


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.integers(3, 25), st.integers(0, 3), st.integers(1, 8))
def test_each_choice_raises_coverage_as_much_as_any_could(seed: int, images: int, labelled: int, count: int) -> None:
    random = np.random.default_rng(seed)
    embeddings, known = random.normal(size=(images, 2)), random.normal(size=(labelled, 2))
    found = max_herding(embeddings.astype(np.float32), known.astype(np.float32), count, seed)
    for place, image in enumerate(found.first.tolist()):
        before = found.first[:place].tolist()
        covered = coverage(embeddings, before, known)
        gains = {other: coverage(embeddings, [*before, other], known) - covered for other in range(images)}
        assert gains[image] == pytest.approx(max(gains.values()), abs=1e-5)
        assert found.worth[image] == pytest.approx(gains[image], abs=1e-5)
    assert len(found.first) == min(count, images)
    assert sorted(found.order.tolist()) == list(range(images))
    assert (np.diff(found.worth[found.order]) <= 1e-6).all()


def test_what_is_like_most_of_the_others_comes_first_by_hand() -> None:
    # the distances are 1 1 1 2 8 9 9 10 10 11, so the bandwidth is 8.5
    embeddings = np.array([[0], [1], [2], [10], [11]], np.float32)
    found = max_herding(embeddings, embeddings[:0], 1, 0)
    squared = np.array([4, 1, 0, 64, 81])
    assert found.first.tolist() == [2] and found.worth[2] == pytest.approx(np.exp(-squared / 8.5**2).mean(), abs=1e-5)
    # with it labelled, the other cluster gains more
    assert max_herding(embeddings, embeddings[2:3], 1, 0).first.tolist()[0] in (3, 4)


def test_the_bandwidth_is_the_median_distance() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    assert bandwidth(rows) == pytest.approx(np.median(pdist(rows)), rel=1e-3)
    # three in four are the same: half of the distances are 0, and those of the others are 5
    assert bandwidth(np.array([[0, 0]] * 9 + [[3, 4]], np.float32)) == pytest.approx(5)
    assert bandwidth(np.zeros((3, 2), np.float32)) == 1


def test_copies_of_the_labelled_set_gain_nothing_and_are_not_chosen() -> None:
    embeddings = np.ones((4, 2), np.float32)
    found = max_herding(embeddings, embeddings[:1], 3, 0)
    assert found.first.tolist() == [] and found.order.tolist() == [0, 1, 2, 3]


def test_of_a_large_pool_a_sample_drawn_by_seed_is_judged_and_chosen() -> None:
    random = np.random.default_rng(1)
    embeddings = random.normal(size=(3000, 2)).astype(np.float32)
    found = [max_herding(embeddings, embeddings[:0], 10, seed, candidates=200, judges=300).first.tolist() for seed in (7, 7, 8)]
    assert found[0] == found[1] != found[2]
    best = coverage(embeddings, max_herding(embeddings, embeddings[:0], 10, 0).first.tolist(), embeddings[:0])
    assert coverage(embeddings, found[0], embeddings[:0]) > 0.95 * best
