"""What functions, trainer and commands do to a store: read, decide, one conditional write, say what is next.

Rule: every step may run twice, late, or be cut off after any line. It looks at the records first and often finds nothing to do.
"""

import json
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import reduce

from activelearning import commits, decisions, events, journal, layout, project_file, state, uploads
from activelearning.decisions import Action, QueueJob, ReleaseClaim, SendJob, TakeBack
from activelearning.errors import ActiveLearningError, BlobMissing, UserError
from activelearning.iterations import Status, failure_of, towards
from activelearning.settings import Settings
from activelearning.state import DONE, FAILED, QUEUED, RUNNING, TRAIN, Iteration, Job, State
from activelearning.store import Store

SWEEP_SECONDS = 300.0
LEASE_SECONDS = 30.0
MAX_ATTEMPTS = 5


class LeaseLost(ActiveLearningError):
    """Another trainer has the job now, or it is over: stop working on it."""


class JobBusy(ActiveLearningError):
    """A living trainer works on the job: leave its message alone."""


def project(store: Store) -> Settings:
    """The project's settings; raises `UserError` where the store holds no project."""
    try:
        blob = store.labels.read(layout.PROJECT)
    except BlobMissing:
        raise UserError(f"{store.url} holds no project yet: run `activelearning init {store.url} --classes a,b,c`") from None
    where = f"{layout.PROJECT} of {store.url}"
    try:
        return project_file.parse_project(blob.content.decode("utf-8-sig"), where)
    except UnicodeDecodeError:
        raise UserError(f"{where} is no UTF-8 text: save it in this encoding") from None


def take_in_upload(store: Store, event: str, now: float) -> None:
    """An event says that a blob was created: if it is a reviewed upload, note it and do what is due."""
    created = events.decode(event)
    if created.container == layout.LABELS and layout.batch_of_reviewed(created.name):
        note_upload(store, created.name, now)
        # The upload is safe; of a project.toml that cannot be read the timer complains.
        with suppress(UserError):
            advance(store, now)


def note_upload(store: Store, name: str, now: float) -> None:
    """Put a reviewed upload, and its batch's other ones, into the state, unless they are there or were trained on already."""
    batch = layout.batch_of_reviewed(name)
    if batch:
        uploads.take_in(store.labels, batch)


def images_arrived(store: Store, event: str, now: float) -> None:
    """An event says that an image is new: remember when the last one came, at most once in half a quiet time."""
    created = events.decode(event)
    if created.container != layout.IMAGES or not layout.is_image(created.name):
        return
    quiet = _quiet_seconds(store)

    def note(current: State) -> State:
        return current if abs(now - current.images_arrived_at) < quiet / 2 else replace(current, images_arrived_at=now)

    state.update(store.labels, note)


def _quiet_seconds(store: Store) -> float:
    # An image has arrived even while project.toml is being mended.
    try:
        return project(store).policy.quiet_seconds
    except UserError:
        return 0.0


def tick(store: Store, now: float) -> None:
    """The timer: find what no event told of, then do what is due."""
    if not 0 <= now - adopt(store).swept_at < SWEEP_SECONDS:
        sweep(store, now)
    advance(store, now)


def sweep(store: Store, now: float) -> None:
    """Find reviewed uploads and new images whose events were lost."""
    adopt(store)
    for name in list(lost_uploads(store)):
        note_upload(store, name, now)
    arrived = has_unlisted_images(store)

    def note(current: State) -> State:
        known = 0 < current.images_arrived_at <= now
        return replace(current, swept_at=now, images_arrived_at=now if arrived and not known else current.images_arrived_at)

    state.update(store.labels, note)


def lost_uploads(store: Store) -> Iterator[str]:
    """Reviewed uploads that neither the state nor the labelled set knows."""
    return uploads.lost(store.labels)


def has_unlisted_images(store: Store) -> bool:
    """Whether the number of images differs from what the last listing of the pool saw."""
    commit = commits.latest(store.labels)
    seen = commit.pool_images if commit else 0
    return sum(layout.is_image(info.name) for info in store.images.list()) != seen


def advance(store: Store, now: float) -> list[Action]:
    """Take in the last commit, then do everything that is due. Returns what was done."""
    current = adopt(store)
    settings = project(store)
    for batch in decisions.expired(current, now):
        # An upload whose event is still on its way must not be given back with the rest.
        uploads.take_in(store.labels, batch.id)
    backlog = store.queues.count(layout.JOBS_QUEUE)
    actions: list[Action] = []

    def change(before: State) -> State:
        actions[:] = decisions.decide(before, settings, backlog, now)
        return reduce(lambda current, action: decisions.applied(current, action, now), actions, before)

    state.update(store.labels, change)
    for action in actions:
        _carry_out(store, action, now)
    return actions


def _carry_out(store: Store, action: Action, now: float) -> None:
    match action:
        case ReleaseClaim(batch, tagger):
            journal.write(store.labels, "loop", "claim expired", now, batch=batch, tagger=tagger)
        case QueueJob(job):
            journal.write(store.labels, "loop", "job queued", now, job=job.id, run=job.run, uploads=list(job.uploads))
        case TakeBack(job_id, owner):
            journal.write(store.labels, "loop", "job taken back", now, job=job_id, owner=owner)
        case SendJob(job_id):
            send_job(store, job_id)


def send_job(store: Store, job: str) -> None:
    """Put a job's message into the queue. Twice is harmless: the record decides who works."""
    store.queues.send(layout.JOBS_QUEUE, json.dumps({"job": job}))


def adopt(store: Store) -> State:
    """Let the state take in the last commit, if it has not yet."""
    commit = commits.latest(store.labels)
    current = state.load(store.labels)
    if commit is None or commit.sequence <= current.sequence:
        return current
    trained = commits.consumed(store.labels, commit.run)
    return state.update(store.labels, lambda before: commits.adopted(before, commit, trained))


def start_job(store: Store, job_id: str, owner: str, now: float) -> Job | None:
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


def renew_lease(store: Store, job_id: str, owner: str, now: float, progress: str = "") -> None:
    """Say that the trainer lives and how far it is. Raises `LeaseLost`."""

    def renew(before: State) -> State:
        job = _mine(before, job_id, owner)
        return before.with_job(replace(job, lease_until=now + LEASE_SECONDS, progress=progress or job.progress))

    state.update(store.labels, renew)


def forgive_attempts(store: Store, job_id: str) -> None:
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


def fail_job(store: Store, job_id: str, reason: str, now: float) -> None:
    """Give a job up for a reason that trying again will not mend."""
    before = state.load(store.labels).jobs.get(job_id)

    def fail(current: State) -> State:
        return _given_up(current, job_id, reason, now)

    _tell_of_failure(store, before, state.update(store.labels, fail).jobs.get(job_id), now)


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
    current = adopt(store)
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
