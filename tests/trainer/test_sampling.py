"""Which examples a step sees."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer import sampling
from trainer.sampling import Epoch


def _stream(epoch, epochs, seed=0):
    return [index for iteration in range(epoch.length * epochs) for index in sampling.batch_indices(epoch, 1, seed, iteration)]


@pytest.mark.parametrize(("count", "batch_size"), [(7, 3), (8, 4), (3, 8), (1, 4)])
def test_where_no_class_is_rare_every_example_comes_once_an_epoch(count, batch_size):
    epoch = sampling.epoch_of([[0]] * count, 0.1, 0.5)
    stream = [index for iteration in range(count) for index in sampling.batch_indices(epoch, batch_size, 0, iteration)]
    for number in range(batch_size):
        assert sorted(stream[number * count : (number + 1) * count]) == list(range(count))


def test_epochs_and_seeds_shuffle_differently():
    epoch = Epoch((1.0,) * 20)
    assert len({tuple(sampling.batch_indices(epoch, 20, seed, number)) for seed in range(3) for number in range(3)}) == 9


def test_repeats_follow_the_rarest_class_of_an_image():
    # class 1 is in 1 of 100 images with objects, a tenth of the share below which it is rare: √10 times
    labels = [[0]] * 99 + [[0, 1, 1]]
    assert sampling.epoch_of(labels, 0.1, 0.5).repeats == pytest.approx((1.0,) * 99 + (10**0.5,))
    assert sampling.epoch_of(labels, 0.0, 0.5).repeats == (1.0,) * 100


def test_empty_images_are_at_most_their_share():
    epoch = sampling.epoch_of([[0]] * 10 + [[]] * 90, 0.1, 0.5)
    counts = Counter(_stream(epoch, 50))
    assert sum(counts[index] for index in range(10)) == 500
    assert 490 <= sum(counts[index] for index in range(10, 100)) <= 510
    assert set(counts) == set(range(100))


@pytest.mark.parametrize(
    ("labels", "most", "repeats"), [([[], []], 0.5, (1, 1)), ([[0], []], 0.5, (1, 1)), ([[0], [], []], 1.0, (1, 1, 1))]
)
def test_few_or_only_empty_images_come_like_all(labels, most, repeats):
    assert sampling.epoch_of(labels, 0.1, most).repeats == repeats


@given(st.lists(st.floats(0, 5), min_size=1, max_size=30).filter(lambda some: sum(some) > 0.5), st.integers(0, 5))
def test_every_epoch_draws_each_example_as_often_as_asked_within_one(repeats, seed):
    epoch = Epoch(tuple(repeats))
    scale = epoch.length / sum(repeats)
    counts = np.bincount(_stream(epoch, 1, seed), minlength=len(repeats))
    assert counts.sum() == epoch.length
    assert (np.abs(counts - np.array(repeats) * scale) < 1 + 1e-6).all()


def test_watched_images_are_a_random_share_or_none():
    assert len(sampling.watched([1.0] * 40, 0.1, 0)) == 4
    assert sampling.watched([1.0] * 20, 0.1, 0) == []
    assert sampling.watched([1.0] * 40, 0.1, 0) != sampling.watched([1.0] * 40, 0.1, 1)


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=12).filter(any), st.floats(0, 0.5), st.integers(0, 200))
def test_something_is_always_left_to_learn_from(repeats, share, seed):
    watched = sampling.watched(repeats, share, seed)
    assert any(times for index, times in enumerate(repeats) if index not in watched)
