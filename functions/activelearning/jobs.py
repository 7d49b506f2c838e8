"""What a trainer does to its job's record: lease it, keep the lease, get ahead, give it back or up.

Rule: the lease is in the state, so one trainer at a time holds a job whatever the queue delivers; and every change names its owner
or is harmless from anybody.
"""

from collections.abc import Collection
from dataclasses import replace
from functools import reduce

from activelearning import commits, decisions, journal, state, steps
from activelearning.errors import ActiveLearningError, UserError
from activelearning.iterations import Status, failure_of, towards
from activelearning.state import DONE, FAILED, QUEUED, RUNNING, TRAIN, Iteration, Job, State
from activelearning.store import Store

LEASE_SECONDS = 30.0
MAX_ATTEMPTS = 5


class LeaseLost(ActiveLearningError):
    """Another trainer has the job now, or it is over: stop working on it."""


class Stopped(ActiveLearningError):
    """The trainer was told to stop: keep what was done, and hand the job back."""


class JobBusy(ActiveLearningError):
    """A living trainer works on the job: leave its message alone."""


def refuse_if_busy(current: State) -> None:
    """Raises `UserError` while a job is queued or running, for whoever must not get into its way."""
    busy = next((job for job in current.jobs.values() if job.status in (QUEUED, RUNNING)), None)
    if busy:
        raise UserError(f"job {busy.id} is {busy.status}: wait for it, or run `trainer once`")


def start(store: Store, job_id: str, owner: str, now: float) -> Job | None:
    """Lease a job. None: there is nothing left to do for its message. Raises `JobBusy` while another trainer lives."""
    before = state.load(store.labels).jobs.get(job_id)
    after = state.update(store.labels, lambda current: _leased(current, job_id, owner, now)).jobs.get(job_id)
    _tell_of_failure(store, before, after, now)
    return after if after and after.status == RUNNING else None


def _leased(before: State, job_id: str, owner: str, now: float) -> State:
    job = before.jobs.get(job_id)
    if job is None or job.status in (DONE, FAILED):
        return before
    if job.status == RUNNING and job.owner != owner and job.lease_until > now:
        raise JobBusy(f"{job_id} is with {job.owner}")
    if job.attempts >= MAX_ATTEMPTS:
        return _given_up(before, job_id, f"it was begun {job.attempts} times and never finished: see the trainer's log", now)
    return before.with_job(replace(job, status=RUNNING, owner=owner, lease_until=now + LEASE_SECONDS, attempts=job.attempts + 1))


def renew(store: Store, job_id: str, owner: str, now: float, progress: str = "") -> None:
    """Say that the trainer lives and how far it is. Raises `LeaseLost`."""

    def longer(before: State) -> State:
        job = _mine(before, job_id, owner)
        return before.with_job(replace(job, lease_until=now + LEASE_SECONDS, progress=progress or job.progress))

    state.update(store.labels, longer)


def forgive(store: Store, job_id: str) -> None:
    """A job that gets ahead, however often its trainer is killed, is not one that can never be done."""

    state.update(store.labels, lambda before: _forgiven(before, job_id))


def _forgiven(before: State, job_id: str) -> State:
    job = before.jobs.get(job_id)
    return before.with_job(replace(job, attempts=0)) if job and job.attempts else before


def _mine(current: State, job_id: str, owner: str) -> Job:
    job = current.jobs.get(job_id)
    if job is None or job.status != RUNNING or job.owner != owner:
        raise LeaseLost(f"{job_id} is no longer with {owner}")
    return job


def hand_back(store: Store, job_id: str, owner: str, failed: bool = False) -> None:
    """Give a running job back, unfinished; what somebody else has taken since is theirs.

    A trainer that was told to stop has not failed, so that attempt does not count.
    """

    def free(before: State) -> State:
        job = before.jobs.get(job_id)
        if job is None or job.status != RUNNING or job.owner != owner:
            return before
        return before.with_job(replace(job, status=QUEUED, owner="", lease_until=0.0, attempts=max(job.attempts - (not failed), 0)))

    state.update(store.labels, free)


def fail(store: Store, job_id: str, reason: str, now: float) -> None:
    """Give a job up for a reason that trying again will not mend."""
    before = state.load(store.labels).jobs.get(job_id)

    after = state.update(store.labels, lambda current: _given_up(current, job_id, reason, now)).jobs.get(job_id)
    _tell_of_failure(store, before, after, now)


def _given_up(before: State, job_id: str, reason: str, now: float) -> State:
    job = before.jobs.get(job_id)
    if job is None or job.status in (DONE, FAILED):
        return before
    iteration = before.iterations.get(job.run)
    return decisions.failed(before, job_id, reason, failure_of(iteration.status) if iteration else None, now)


def _tell_of_failure(store: Store, before: Job | None, after: Job | None, now: float) -> None:
    if after and after.status == FAILED and before != after:
        journal.write(store.labels, "trainer", "job failed", now, job=after.id, reason=after.reason)


def move_iteration(store: Store, run: str, status: Status, now: float) -> None:
    """Move a training run's iteration on to a status of its turn; one that is there or beyond stays. A job that gets ahead is forgiven."""

    def step(before: State) -> State:
        iteration = before.iterations.get(run)
        if iteration is None or towards(iteration.status, status) == iteration.status:
            return before
        after = before.with_iteration(Iteration(run, towards(iteration.status, status), now))
        return reduce(_forgiven, (job.id for job in before.jobs.values() if job.run == run and job.kind == TRAIN), after)

    state.update(store.labels, step)


def superseded(store: Store, job_id: str, now: float) -> None:
    """Another commit came first. Training is done again on top of it, from its finished parts; a prediction is decided afresh.

    A job that is over, or that another trainer has begun again on top of that commit, is left alone.
    """
    current = steps.adopt(store)
    trained = commits.consumed(store.labels, current.run)

    def rebase(before: State) -> State:
        job = before.jobs.get(job_id)
        if job is None or job.status != RUNNING or job.parent == before.sequence:
            return before
        return before.with_job(_rebased(job, before.sequence, trained))

    state.update(store.labels, rebase)


def _rebased(job: Job, sequence: int, trained: Collection[str]) -> Job:
    left = tuple(name for name in job.uploads if name not in trained)
    if left:
        return replace(job, uploads=left, parent=sequence, status=QUEUED, owner="", lease_until=0.0, sent_at=0.0)
    return replace(job, status=DONE, owner="", lease_until=0.0, reason="a newer model was published first")
