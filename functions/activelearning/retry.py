"""Another try for what was given up: messages in the poison queues, and the failed job.

Rule: a message goes back by send, then delete, and the job by one write of its record before its message: it may come twice, it is
never nowhere, and `retry` may be killed and repeated at will. The records decide what there still is to do.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass

from activelearning import decisions, journal, layout, state, steps
from activelearning.errors import MessageLost, UserError
from activelearning.state import FAILED, TRAIN, Job, State
from activelearning.store import Queues, Store

_VISIBILITY_SECONDS = 30.0
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Retried:
    """What was given another try: messages by queue, and jobs. `left` messages are just in the hands of somebody else."""

    messages: dict[str, int]
    jobs: tuple[str, ...]
    left: int

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self)


def retry(store: Store, queue: str, job: str, now: float) -> Retried:
    """Give one queue's messages, one job, or, where both are empty, everything another try.

    Raises `UserError` for a job that is unknown or has not failed, while another job is at work, and where there is no project.
    """
    if not store.labels.exists(layout.PROJECT):
        steps.project(store)  # says so; one that cannot be read keeps nobody from trying again
    queues = (queue,) if queue else () if job else layout.QUEUES
    moved = {name: put_back(store.queues, name) for name in queues}
    wanted = (job,) if job else () if queue else _worth_a_try(state.load(store.labels))
    for name in wanted:
        retry_job(store, name, now)
    left = sum(store.queues.count(layout.poison_queue(name)) for name in queues)
    done = Retried({name: count for name, count in moved.items() if count}, wanted, left)
    if done.messages or done.jobs:
        journal.write(store.labels, "person", "retried", now, **done.as_dict())
    return done


def put_back(queues: Queues, queue: str) -> int:
    """Move every message of a queue's poison queue back, and return how many that were."""
    moved = 0
    while messages := queues.receive(layout.poison_queue(queue), _VISIBILITY_SECONDS, _AT_ONCE):
        for message in messages:
            queues.send(queue, message.body)
            # Lost means that a rival has put the same message back.
            with suppress(MessageLost):
                queues.delete(layout.poison_queue(queue), message)
            moved += 1
    return moved


def _worth_a_try(current: State) -> tuple[str, ...]:
    """The failed job to try again, if none is at work: the newest training has the uploads of all the others."""
    if decisions.at_work(current):
        return ()
    failed = (job for job in current.jobs.values() if job.status == FAILED)
    newest = sorted(failed, key=lambda job: (job.kind == TRAIN, job.queued_at))
    return tuple(job.id for job in newest[-1:])


def retry_job(store: Store, job: str, now: float) -> None:
    """Queue a failed job anew, as if it had never been tried, and send its message."""
    state.update(store.labels, lambda current: _checked(current, job, now))
    steps.send_job(store, job)


def _checked(current: State, job: str, now: float) -> State:
    known = current.jobs.get(job)
    if known is None:
        raise UserError(f"there is no job '{job}'; {_failed_jobs(current.jobs.values())}")
    if known.status != FAILED:
        raise UserError(f"job {job} is {known.status}, not failed, so there is nothing to try again")
    rival = decisions.at_work(current)
    if rival:
        raise UserError(f"job {rival.id} is {rival.status}, and there is one job at a time: try {job} again when it is over")
    return decisions.retried(current, job, now)


def _failed_jobs(jobs: Iterable[Job]) -> str:
    failed = [job.id for job in jobs if job.status == FAILED]
    return f"failed are {', '.join(failed)}" if failed else "no job has failed"


def text(done: Retried, now_running: Job | None) -> str:
    """What was done, for a person. `now_running` is the job that keeps a failed one waiting, if there is one."""
    lines = [f"{count:,} of {queue} put back" for queue, count in done.messages.items()]
    lines += [f"job {job} is queued again" for job in done.jobs]
    if done.left:
        lines.append(f"{done.left:,} more are just being put back by somebody else, or were until a moment ago: look again in a minute")
    if now_running and not done.jobs:
        lines.append(f"job {now_running.id} is {now_running.status}; a job that failed before is tried again when it is over")
    return "\n".join(lines) or "there is nothing to try again"
