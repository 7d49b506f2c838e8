"""The states of one turn of the loop, and the only table of the moves between them.

States and their meaning follow iterative pseudo-labelling with its CVAT stages; INFERENCE after EVALUATION_COMPLETE is the
active-learning turn, which predicts the pool with the model it has just trained.
"""

from enum import StrEnum

from activelearning.errors import ActiveLearningError


class Status(StrEnum):
    """Where an iteration stands."""

    INITIALIZED = "INITIALIZED"
    SAMPLING = "SAMPLING"
    SAMPLING_COMPLETE = "SAMPLING_COMPLETE"
    PRE_INFERENCE = "PRE_INFERENCE"
    INFERENCE = "INFERENCE"
    INFERENCE_COMPLETE = "INFERENCE_COMPLETE"
    INFERENCE_FAILED = "INFERENCE_FAILED"
    CVAT_EXPORT = "CVAT_EXPORT"
    CVAT_PENDING = "CVAT_PENDING"
    CVAT_FAILED = "CVAT_FAILED"
    MERGING = "MERGING"
    MERGE_COMPLETE = "MERGE_COMPLETE"
    TRAINING = "TRAINING"
    TRAINING_COMPLETE = "TRAINING_COMPLETE"
    TRAINING_FAILED = "TRAINING_FAILED"
    TRAINING_CANCELLED = "TRAINING_CANCELLED"
    EVALUATING = "EVALUATING"
    EVALUATION_COMPLETE = "EVALUATION_COMPLETE"
    EVALUATION_FAILED = "EVALUATION_FAILED"
    EVALUATION_CANCELLED = "EVALUATION_CANCELLED"
    COMPLETED = "COMPLETED"


_MOVES: dict[Status, tuple[Status, ...]] = {
    Status.INITIALIZED: (Status.SAMPLING, Status.PRE_INFERENCE, Status.TRAINING, Status.INFERENCE),
    Status.SAMPLING: (Status.SAMPLING_COMPLETE,),
    Status.SAMPLING_COMPLETE: (Status.INFERENCE,),
    Status.PRE_INFERENCE: (Status.INFERENCE,),
    Status.INFERENCE: (Status.INFERENCE_COMPLETE, Status.INFERENCE_FAILED),
    Status.INFERENCE_FAILED: (Status.INFERENCE,),
    Status.INFERENCE_COMPLETE: (Status.MERGING, Status.CVAT_EXPORT, Status.COMPLETED),
    Status.CVAT_EXPORT: (Status.CVAT_PENDING, Status.CVAT_FAILED),
    Status.CVAT_FAILED: (Status.CVAT_EXPORT,),
    Status.CVAT_PENDING: (Status.MERGING,),
    Status.MERGING: (Status.MERGE_COMPLETE,),
    Status.MERGE_COMPLETE: (Status.TRAINING,),
    Status.TRAINING: (Status.TRAINING_COMPLETE, Status.TRAINING_FAILED, Status.TRAINING_CANCELLED),
    Status.TRAINING_FAILED: (Status.TRAINING,),
    Status.TRAINING_CANCELLED: (Status.TRAINING,),
    Status.TRAINING_COMPLETE: (Status.EVALUATING,),
    Status.EVALUATING: (Status.EVALUATION_COMPLETE, Status.EVALUATION_FAILED, Status.EVALUATION_CANCELLED),
    Status.EVALUATION_FAILED: (Status.EVALUATING,),
    Status.EVALUATION_CANCELLED: (Status.EVALUATING,),
    Status.EVALUATION_COMPLETE: (Status.INFERENCE, Status.COMPLETED),
    Status.COMPLETED: (),
}

TURN = (
    Status.INITIALIZED,
    Status.TRAINING,
    Status.TRAINING_COMPLETE,
    Status.EVALUATING,
    Status.EVALUATION_COMPLETE,
    Status.INFERENCE,
    Status.INFERENCE_COMPLETE,
    Status.COMPLETED,
)
"""The way of an active-learning turn when nothing fails."""

_FAILURE = {
    Status.INFERENCE: Status.INFERENCE_FAILED,
    Status.TRAINING: Status.TRAINING_FAILED,
    Status.EVALUATING: Status.EVALUATION_FAILED,
}


class IllegalMove(ActiveLearningError):
    """The table knows no such move."""


def move(current: Status, target: Status) -> Status:
    """Return `target`, or raise `IllegalMove`. Staying where one is is no move: a step that is repeated after a kill says it twice."""
    if target != current and target not in _MOVES[current]:
        raise IllegalMove(
            f"an iteration cannot go from {current} to {target}; from there it goes to {', '.join(_MOVES[current]) or 'nowhere'}"
        )
    return target


def towards(current: Status, target: Status) -> Status:
    """Move along the turn to `target`, one legal move at a time. A run that resumes behind its status stays where it is."""
    failed_at = {failure: running for running, failure in _FAILURE.items()}
    if current in failed_at and TURN.index(target) >= TURN.index(failed_at[current]):
        current = move(current, failed_at[current])
    while current in TURN and TURN.index(current) < TURN.index(target):
        current = move(current, TURN[TURN.index(current) + 1])
    return current


def failure_of(current: Status) -> Status:
    """The failed state of the stage that an iteration is in, or that comes next; a state that no stage follows stays as it is."""
    ahead = TURN[TURN.index(current) :] if current in TURN else ()
    return next((_FAILURE[status] for status in ahead if status in _FAILURE), current)
