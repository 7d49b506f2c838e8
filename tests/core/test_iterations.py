"""The one table of moves: the way of a turn is legal, every failure has a way back, and nothing else is allowed."""

import itertools

import pytest

from activelearning.iterations import TURN, IllegalMove, Status, failure_of, move, towards


def test_a_turn_goes_from_initialized_to_completed_by_legal_moves() -> None:
    for current, target in itertools.pairwise(TURN):
        assert move(current, target) is target
    assert towards(Status.INITIALIZED, Status.COMPLETED) is Status.COMPLETED


@pytest.mark.parametrize(
    ("current", "target"),
    [(Status.COMPLETED, Status.TRAINING), (Status.INITIALIZED, Status.COMPLETED), (Status.TRAINING, Status.INFERENCE)],
)
def test_other_moves_are_refused_with_what_is_possible(current: Status, target: Status) -> None:
    with pytest.raises(IllegalMove, match=f"cannot go from {current} to {target}; from there it goes to"):
        move(current, target)


def test_staying_is_no_move() -> None:
    assert all(move(status, status) is status for status in Status)


@pytest.mark.parametrize(
    ("current", "target", "expected"),
    [
        (Status.INITIALIZED, Status.TRAINING, Status.TRAINING),
        (Status.INFERENCE, Status.TRAINING, Status.INFERENCE),
        (Status.TRAINING_FAILED, Status.TRAINING, Status.TRAINING),
        (Status.EVALUATION_FAILED, Status.INFERENCE, Status.INFERENCE),
        (Status.EVALUATION_FAILED, Status.TRAINING, Status.EVALUATION_FAILED),
        (Status.TRAINING_CANCELLED, Status.COMPLETED, Status.TRAINING_CANCELLED),
        (Status.COMPLETED, Status.TRAINING, Status.COMPLETED),
    ],
)
def test_a_run_moves_on_and_never_back(current: Status, target: Status, expected: Status) -> None:
    assert towards(current, target) is expected


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        (Status.INITIALIZED, Status.TRAINING_FAILED),
        (Status.TRAINING, Status.TRAINING_FAILED),
        (Status.TRAINING_COMPLETE, Status.EVALUATION_FAILED),
        (Status.EVALUATING, Status.EVALUATION_FAILED),
        (Status.EVALUATION_COMPLETE, Status.INFERENCE_FAILED),
        (Status.INFERENCE, Status.INFERENCE_FAILED),
        (Status.INFERENCE_COMPLETE, Status.INFERENCE_COMPLETE),
        (Status.COMPLETED, Status.COMPLETED),
        (Status.TRAINING_FAILED, Status.TRAINING_FAILED),
    ],
)
def test_a_failure_is_that_of_the_stage_it_happened_in_or_before(current: Status, expected: Status) -> None:
    assert failure_of(current) is expected
