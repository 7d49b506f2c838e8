"""The trainer's life: take a job, keep its lease while working on it, let the state take the result in, look for the next.

Rule: the message wakes, the record decides. A trainer that dies leaves a message that comes back and a lease that runs out; one that
is told to stop hands its job back; one that lost its lease stops working.
"""

import json
import math
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from activelearning import commits, consume, jobs, journal, layout, steps
from activelearning.commandline import plural
from activelearning.errors import MessageLost, StoreError, UserError
from activelearning.jobs import Stopped
from activelearning.state import Job
from activelearning.store import Message, Store
from trainer import shard_messages
from trainer.means import Means

if TYPE_CHECKING:
    from trainer.shards import Loaded

POLL_SECONDS = 0.2
REMOTE_POLL_SECONDS = 1.0
"""Each look at a queue in the cloud is paid for."""
VISIBILITY_SECONDS = 30.0
_RENEW_SECONDS = 8.0
_RETRY_SECONDS = 5.0

Log = Callable[[str], None]


def owner_on(machine: str) -> str:
    """A name for this process on a machine; `fleet.host_of` finds the machine in it."""
    return f"{machine}-{os.getpid()}-{os.urandom(3).hex()}"


@dataclass(slots=True)
class Trainer:
    """One trainer process at one store. `stop` may be set at any time, from a signal handler too."""

    store: Store
    log: Log
    stop: threading.Event = field(default_factory=threading.Event)
    owner: str = field(default_factory=lambda: owner_on(socket.gethostname()))
    clock: Callable[[], float] = time.time
    means: Means = field(default_factory=Means)
    _loaded: "Loaded | None" = None
    """The prediction that this trainer last helped with."""

    def serve(self, idle_seconds: float = math.inf) -> bool:
        """Work until told to stop, or until the queues have shown nothing to do for so long: then True."""
        self.log(f"trainer {self.owner} waits for jobs of {self.store.url}")
        worked = time.monotonic()
        while not self.stop.is_set():
            if self.work_on_next():
                worked = time.monotonic()
            elif time.monotonic() - worked >= idle_seconds:
                return True
            else:
                self.stop.wait(REMOTE_POLL_SECONDS if self.store.access else POLL_SECONDS)
        return False

    def drain(self) -> int:
        """Work until the queues are empty, and return how many jobs were finished."""
        finished = 0
        while not self.stop.is_set():
            if self._work_on_job():
                finished += 1
            elif not self._help():
                break
        return finished

    def work_on_next(self) -> bool:
        """Take one message and do its job, or else help another trainer with one; False when the queues show none."""
        return self._work_on_job() or self._help()

    def _work_on_job(self) -> bool:
        """Take one job's message and do its job, if there is one; a job that is with another trainer is none."""
        messages = consume.take(self.store.queues, layout.JOBS_QUEUE, VISIBILITY_SECONDS)
        return bool(messages) and self._handle(messages[0])

    def _help(self) -> bool:
        """Make some shards of a prediction that another trainer holds, if a message asks for it."""
        message = shard_messages.take(self.store.queues)
        if message is None:
            return False
        from trainer import shards

        try:
            took = shards.work_on(self.store, message, self._loaded, self._check_stop)
        except Stopped:
            self.log("shards are handed back: the trainer was told to stop")
        except Exception as error:  # noqa: BLE001  whoever holds the job makes the shards in the end, and says what is wrong with it
            self.log(f"shards could not be made: {error}\n{traceback.format_exc()}")
            self.stop.wait(_RETRY_SECONDS)
        else:
            self._loaded = took.loaded
            if took.loaded and took.made:
                self.log(f"helped with {took.loaded.job}: {plural(took.made, 'shard')} made")
        return True

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise Stopped("told to stop")

    def _handle(self, message: Message) -> bool:
        """Whether the job was ours to do."""
        job_id = job_of(message.body)
        try:
            job = jobs.start(self.store, job_id, self.owner, self.clock())
        except jobs.JobBusy:
            self._put_off(message)
            return False
        # Training needs the memory.
        self._loaded = None
        with _Heartbeat(self, message, job_id) as heartbeat:
            done = job is None or self._work(job, heartbeat)
        self._finish(heartbeat.message, done)
        return True

    def _put_off(self, message: Message) -> None:
        """Look again later. By a copy, since to wait is not to fail: five deliveries would make the message poison."""
        self.store.queues.send(layout.JOBS_QUEUE, message.body, VISIBILITY_SECONDS / 2)
        with suppress(MessageLost):
            self.store.queues.delete(layout.JOBS_QUEUE, message)

    def _finish(self, message: Message, done: bool) -> None:
        if not done:
            self._give_back(message, 0 if self.stop.is_set() else _RETRY_SECONDS)
            return
        steps.advance(self.store, self.clock())
        with suppress(MessageLost):
            self.store.queues.delete(layout.JOBS_QUEUE, message)

    def _give_back(self, message: Message, delay: float) -> None:
        with suppress(MessageLost):
            self.store.queues.renew(layout.JOBS_QUEUE, message, delay)

    def _work(self, job: Job, heartbeat: "_Heartbeat") -> bool:
        """Whether the message is dealt with: the job is committed, given up, or somebody else's."""
        try:
            self._do(job, heartbeat)
        except jobs.LeaseLost as error:
            self.log(f"{job.id}: {error}; another trainer goes on with it")
        except Stopped:
            self.log(f"{job.id} is handed back: the trainer was told to stop")
            jobs.hand_back(self.store, job.id, self.owner)
            return False
        except UserError as error:
            self.log(f"{job.id} cannot be done: {error}")
            jobs.fail(self.store, job.id, str(error), self.clock())
        except Exception as error:  # noqa: BLE001  a fault of ours or of the machine: the queue delivers again, five times at most
            self.log(f"{job.id} failed: {error}\n{traceback.format_exc()}")
            jobs.hand_back(self.store, job.id, self.owner, failed=True)
            return False
        return True

    def _do(self, job: Job, heartbeat: "_Heartbeat") -> None:
        from trainer import turn
        from trainer.work import Work

        what = f"{job.kind} {job.run}"
        self.log(f"{job.id} begins: {what}, try {job.attempts}")
        journal.write(self.store.labels, self.owner, "job begun", self.clock(), job=job.id, run=job.run, attempt=job.attempts)
        settings = steps.project(self.store)
        commit = turn.run(Work(self.store, settings, job, heartbeat.tell, self.clock, self.means))
        # Who lost the lease may not publish: a rival is at work on the same job.
        jobs.renew(self.store, job.id, self.owner, self.clock())
        if not commits.publish(self.store.labels, commit, job.parent):
            jobs.superseded(self.store, job.id, self.clock())
            return
        steps.adopt(self.store)
        journal.write(self.store.labels, self.owner, "committed", self.clock(), job=job.id, run=job.run, sequence=commit.sequence)
        self.log(f"{job.id} is done: {what}, totag {commit.totag}")


def job_of(body: str) -> str:
    """The job's id in a message; what is no such message names no job."""
    with suppress(ValueError, TypeError, KeyError):
        return str(json.loads(body)["job"])
    return ""


class _Heartbeat:
    """Renews lease and message from a thread of its own while the work goes on, and tells the work when to stop."""

    def __init__(self, trainer: Trainer, message: Message, job_id: str):
        self.message = message
        self._trainer = trainer
        self._job_id = job_id
        self._progress = ""
        self._told = 0.0
        self._lost: jobs.LeaseLost | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "_Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def tell(self, progress: str) -> None:
        """Note the progress, log it when it is new or now and then, and raise `Stopped` or `LeaseLost` when the work must end."""
        if self._lost:
            raise self._lost
        if self._trainer.stop.is_set():
            raise Stopped("told to stop")
        now = time.monotonic()
        is_news = progress != self._progress and not progress.startswith("iteration")
        if is_news or now - self._told > _RENEW_SECONDS:
            self._told = now
            self._trainer.log(progress)
        self._progress = progress

    def _beat(self) -> None:
        while not self._over.wait(_RENEW_SECONDS):
            # A store that is out of reach for a while is no reason to stop: the lease says when it is too late.
            with suppress(StoreError, UserError, OSError):
                self._renew()

    def _renew(self) -> None:
        try:
            jobs.renew(self._trainer.store, self._job_id, self._trainer.owner, self._trainer.clock(), self._progress)
        except jobs.LeaseLost as error:
            self._lost = error
            return
        with suppress(MessageLost):
            self.message = self._trainer.store.queues.renew(layout.JOBS_QUEUE, self.message, VISIBILITY_SECONDS)
