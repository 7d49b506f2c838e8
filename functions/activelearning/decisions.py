"""What the loop does by itself, as pure functions: `decide` says what, `applied` says what the state is then.

Rule: the event wakes, the records decide. Every decision may be taken twice, late or by several at once: it is taken inside the
compare-and-swap on the state, so only one of them finds something to do.

There is one job at a time, however many trainers there are: each training builds on the labels and the model of the one before, and a
prediction is worth what its model is. What takes long and can be divided is the prediction of a large pool, and it is: into shards that
every idle trainer takes, see `layout.SHARDS_QUEUE`.
"""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from activelearning import claims, layout
from activelearning.iterations import Status
from activelearning.settings import Policy, Settings
from activelearning.state import FAILED, PREDICT, QUEUED, RUNNING, TRAIN, Batch, Iteration, Job, State, Upload

FLOW = "main"
LOST_MESSAGE_SECONDS = 30.0
"""A queued job without any message in the queue for so long has lost it."""
RETRY_FAILED_SECONDS = 86_400.0
"""A failed job is tried again after so long, or sooner with the next upload: a full disk may have been emptied by then."""


@dataclass(frozen=True, slots=True)
class ReleaseClaim:
    """A claim has expired: what was not reviewed of it goes back to the pool."""

    batch: str
    tagger: str


@dataclass(frozen=True, slots=True)
class QueueJob:
    """New work for the trainer."""

    job: Job


@dataclass(frozen=True, slots=True)
class TakeBack:
    """The trainer of a running job has not renewed its lease: the job is free again."""

    job: str
    owner: str


@dataclass(frozen=True, slots=True)
class SendJob:
    """Put the message of a queued job into the queue, for the first time or because it was lost."""

    job: str


Action = ReleaseClaim | QueueJob | TakeBack | SendJob


def decide(state: State, settings: Settings, backlog: int, now: float) -> list[Action]:
    """What is due. `backlog` is the number of messages in the job queue, taken ones included."""
    actions: list[Action] = [ReleaseClaim(batch.id, batch.tagger) for batch in expired(state, now)]
    actions += [TakeBack(job.id, job.owner) for job in state.jobs.values() if job.status == RUNNING and job.lease_until <= now]
    new = _new_job(state, settings.policy, now)
    if new:
        actions += [QueueJob(new), SendJob(new.id)]
    actions += [SendJob(job.id) for job in state.jobs.values() if _message_lost(job, backlog, now)]
    return actions


def expired(state: State, now: float) -> list[Batch]:
    """The claims whose time is over."""
    return [batch for batch in state.batches.values() if 0 < batch.expires_at <= now]


def at_work(state: State) -> Job | None:
    """The job that waits for a trainer or is with one; there is one at a time."""
    return next((job for job in state.jobs.values() if job.status in (QUEUED, RUNNING)), None)


def _new_job(state: State, policy: Policy, now: float) -> Job | None:
    """One job at a time: a second would train without the first one's labels, or predict with a model about to be replaced."""
    if at_work(state):
        return None
    training = should_train(state.uploads.values(), policy) and _due(state, training_job(state, now), now)
    return training or (_due(state, prediction_job(state, now), now) if should_predict(state, policy, now) else None)


def _due(state: State, job: Job, now: float) -> Job | None:
    """The job if it is new, or failed long ago: then in the run it had, whose finished parts stand."""
    known = state.jobs.get(job.id)
    if known is None:
        return job
    return replace(job, run=known.run) if known.status == FAILED and not _within(RETRY_FAILED_SECONDS, known.queued_at, now) else None


def _within(seconds: float, then: float, now: float) -> bool:
    # A time in the future is one that a wrong clock wrote.
    return 0 <= now - then < seconds


def should_train(uploads: Iterable[Upload], policy: Policy) -> bool:
    """Whether enough reviewed images wait that no model was trained on."""
    waiting = {image for upload in uploads for image in upload.images}
    return len(waiting) >= max(policy.train_after, 1)


def should_predict(state: State, policy: Policy, now: float) -> bool:
    """Whether images wait that no totag knows, and have stopped arriving."""
    return 0 < state.images_arrived_at <= now - policy.quiet_seconds


def training_job(state: State, now: float) -> Job:
    """The job that trains on everything that waits."""
    uploads = in_review_order(state.uploads.values())
    run = layout.run_name(FLOW, state.next_iteration)
    return Job(job_id(TRAIN, *sorted(uploads)), TRAIN, run, state.sequence, uploads, queued_at=now)


def in_review_order(uploads: Collection[Upload]) -> tuple[str, ...]:
    """Names of uploads so that the last review of an image comes last: by arrival of their batch, and in a batch by version.

    Events may come out of turn, so the arrival alone does not say which of two reviews of a batch is the newer.
    """
    first: dict[str, float] = {}
    for upload in uploads:
        first[upload.batch] = min(upload.arrived_at, first.get(upload.batch, upload.arrived_at))
    ordered = sorted(uploads, key=lambda u: (first[u.batch], u.batch, layout.version_of_reviewed(u.name)))
    return tuple(upload.name for upload in ordered)


def prediction_job(state: State, now: float, model: str = "", folder: str = "", min_confidence: float = -1.0) -> Job:
    """The job that lists new images and predicts them, or, where a model or folder is named, predicts those anew."""
    run = state.run or layout.run_name(FLOW, 0)
    number = job_id(PREDICT, str(state.sequence), repr(state.images_arrived_at), model, folder, repr(min_confidence))
    return Job(number, PREDICT, run, state.sequence, (), model, folder, min_confidence, queued_at=now)


def job_id(kind: str, *parts: str) -> str:
    """A name for exactly this work."""
    digest = hashlib.sha256("\0".join((kind, *parts)).encode()).hexdigest()
    return f"{kind}-{digest[:16]}"


def _message_lost(job: Job, backlog: int, now: float) -> bool:
    return job.status == QUEUED and backlog == 0 and not _within(LOST_MESSAGE_SECONDS, job.sent_at, now)


def applied(state: State, action: Action, now: float) -> State:
    """The state after one action."""
    match action:
        case ReleaseClaim(batch):
            return claims.without_claim(state, batch)
        case QueueJob(job):
            return _queued(state, job, now)
        case TakeBack(job_id):
            return state.with_job(replace(state.jobs[job_id], status=QUEUED, owner="", lease_until=0.0))
        case SendJob(job_id):
            return state.with_job(replace(state.jobs[job_id], sent_at=now))


def _queued(state: State, job: Job, now: float) -> State:
    if job.kind != TRAIN or job.id in state.jobs:
        return state.with_job(job)
    # A failed one whose work this job takes over is in the journal; here they would pile up, each with the uploads of all before it.
    kept = {known.id: known for known in state.jobs.values() if known.status != FAILED or not _takes_over(job, known)}
    started = replace(state, next_iteration=state.next_iteration + 1, jobs=kept)
    return started.with_job(job).with_iteration(Iteration(job.run, Status.INITIALIZED, now))


def _takes_over(job: Job, failed: Job) -> bool:
    return failed.kind == TRAIN and set(failed.uploads) <= set(job.uploads)


def retried(state: State, job: str, now: float) -> State:
    """The state in which a failed job is queued anew, on top of what is current, as if it had never been tried."""
    again = replace(state.jobs[job], status=QUEUED, attempts=0, reason="", parent=state.sequence, queued_at=now, sent_at=now)
    return state.with_job(again)


def failed(state: State, job: str, reason: str, status: Status | None, now: float) -> State:
    """The state in which a job is given up: it stays visible with its reason, and what it was to train on waits for the next one."""
    ended = replace(state.jobs[job], status=FAILED, owner="", lease_until=0.0, reason=reason)
    after = state.with_job(ended)
    return after.with_iteration(Iteration(ended.run, status, now)) if status and ended.run in state.iterations else after
