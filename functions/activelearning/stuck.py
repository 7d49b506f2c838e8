"""What does not go on by itself, and what to do about it: one sentence each, by pure functions of the records.

Rule: nothing is stuck before the loop has had time to see to it, and every sentence ends in what a person can do.
"""

from collections.abc import Iterator

from activelearning import fleet, fleet_shown, layout
from activelearning.decisions import at_work, expired, should_train
from activelearning.journal import utc
from activelearning.settings import Policy
from activelearning.state import FAILED, QUEUED, RUNNING, Job, State

SECONDS = 300.0
TIMER_SECONDS = 900.0
"""The timer notes a sweep every five minutes at least, so this is a timer that has stopped."""
LARGE_STATE_BYTES = 2_000_000


def found(current: State, policy: Policy, state_bytes: int, now: float) -> Iterator[str]:
    """Everything that is stuck, the causes before their consequences."""
    yield from _timer(current, now)
    yield from (_failed(job) for job in current.jobs.values() if job.status == FAILED)
    yield from (_waits(job, now - job.queued_at) for job in current.jobs.values() if job.status == QUEUED and _too_long(current, job, now))
    yield from (_silent(job, now) for job in current.jobs.values() if job.status == RUNNING and now - job.lease_until > SECONDS)
    yield from _machines(current, now)
    yield from _claims(current, now)
    yield from _uploads(current, policy, now)
    yield from _images(current, policy, now)
    if state_bytes > LARGE_STATE_BYTES:
        yield (
            f"{layout.STATE} has grown to {state_bytes / 1e6:.1f} MB, which slows everything down: "
            "let a training finish (policy.train_after), or release claims"
        )


def _timer(current: State, now: float) -> Iterator[str]:
    if current.swept_at and now - current.swept_at > TIMER_SECONDS:
        yield (
            f"the timer has not run since {_minute(current.swept_at)}: the functions are not running; start `activelearning up`, "
            "or look at the function app"
        )


def _minute(at: float) -> str:
    return f"{utc(at)[:16]}Z".replace("T", " ")


def _failed(job: Job) -> str:
    return f"job {job.id} ({job.run}) failed: {job.reason}; when that is mended, `activelearning retry` tries it again"


def _too_long(current: State, job: Job, now: float) -> bool:
    # A machine takes minutes to boot; one that does not come at all has its own sentence.
    coming = any(one.asked for one in current.scale_sets.values())
    return now - job.queued_at > (fleet.ARRIVE_SECONDS if coming else SECONDS)


def _waits(job: Job, seconds: float) -> str:
    return (
        f"job {job.id} has waited {seconds / 60:.0f} minutes: is a trainer running? start one with `activelearning up` or `trainer serve`"
    )


def _silent(job: Job, now: float) -> str:
    since = (now - job.lease_until) / 60
    return (
        f"job {job.id} has had no sign of life from {job.owner} for {since:.0f} minutes: the timer takes it back, so the functions are "
        "not running; start `activelearning up`, or look at the function app"
    )


def _machines(current: State, now: float) -> Iterator[str]:
    shown = fleet_shown.shown(current, now)
    if shown and shown.trouble:
        yield f"machines: {shown.trouble}"
    for one in current.scale_sets.values():
        if one.asked and now - one.asked_at > fleet.ARRIVE_SECONDS:
            yield (
                f"{fleet.short_name(one.id)} was asked for a machine {(now - one.asked_at) / 60:.0f} minutes ago and none has come: "
                "look at its quota and at its activity log"
            )


def _claims(current: State, now: float) -> Iterator[str]:
    for batch in expired(current, now - SECONDS):
        yield (
            f"claim {batch.id} of {batch.tagger} ran out at {_minute(batch.expires_at)} and nobody has released it: the timer does, "
            f"or `tagger release`"
        )


def _uploads(current: State, policy: Policy, now: float) -> Iterator[str]:
    waiting = [upload for upload in current.uploads.values() if now - upload.arrived_at > SECONDS]
    # A failed job holds them too, and has its own sentence.
    if should_train(waiting, policy) and not _jobs_open(current):
        yield (
            f"{len(waiting):,} reviewed uploads are enough to train on, but no job was made of them: the functions are not running; "
            "start `activelearning up`, or look at the function app"
        )


def _images(current: State, policy: Policy, now: float) -> Iterator[str]:
    if 0 < current.images_arrived_at < now - policy.quiet_seconds - SECONDS and not _jobs_open(current):
        yield (
            f"new images have waited to be listed since {_minute(current.images_arrived_at)}: the functions are not running; "
            "start `activelearning up`, or look at the function app"
        )


def _jobs_open(current: State) -> bool:
    return bool(at_work(current)) or any(job.status == FAILED for job in current.jobs.values())
