"""A trainer that needs no GPU: the real lease, labelled set, publication and adoption, with a table of drafts for a prediction.

It is a generator that stops after each of its steps, so that others act in between, or it never goes on.
"""

import json
from collections import Counter
from collections.abc import Collection, Generator, Iterator
from contextlib import suppress

from activelearning import commits, consume, jobs, journal, labelled, layout, steps, table
from activelearning.commits import Commit
from activelearning.errors import BlobExists, MessageLost, UserError
from activelearning.iterations import Status
from activelearning.labels import ImageLabels
from activelearning.state import PREDICT, TRAIN, Job
from activelearning.store import Blobs, Store
from tests.clock import Clock
from tests.core.loops import drafts

VISIBILITY_SECONDS = 60.0


def turn(store: Store, clock: Clock, owner: str) -> Iterator[None]:
    """A trainer's work on one message; nothing at all when there is none."""
    for message in consume.take(store.queues, layout.JOBS_QUEUE, VISIBILITY_SECONDS):
        yield
        with suppress(jobs.JobBusy, jobs.LeaseLost, MessageLost):
            job = jobs.start(store, str(json.loads(message.body)["job"]), owner, clock())
            if job:
                yield from _work(store, clock, job)
            steps.advance(store, clock())
            store.queues.delete(layout.JOBS_QUEUE, message)


def _work(store: Store, clock: Clock, job: Job) -> Iterator[None]:
    journal.write(store.labels, job.owner, "job begun", clock(), job=job.id)
    yield
    try:
        commit = yield from _results(store, clock, job)
    except UserError as error:
        jobs.fail(store, job.id, str(error), clock())
        return
    jobs.renew(store, job.id, job.owner, clock())
    yield
    if not commits.publish(store.labels, commit, job.parent):
        jobs.superseded(store, job.id, clock())
        return
    yield
    steps.adopt(store)


def _results(store: Store, clock: Clock, job: Job) -> Generator[None, None, Commit]:
    blobs = store.labels
    parent = commits.latest(blobs)
    known = parent.run if parent and parent.tagged else ""
    jobs.move_iteration(store, job.run, Status.TRAINING, clock())
    yield
    done = _labelled_set(blobs, job, known) if job.kind == TRAIN else labelled.read(blobs, parent.tagged).images if known and parent else ()
    jobs.move_iteration(store, job.run, Status.INFERENCE, clock())
    yield
    tagged = layout.tagged(job.run) if job.kind == TRAIN else parent.tagged if parent else ""
    listed_at, count, pool = _pool(store, clock(), job.id, {labels.image for labels in done})
    yield
    totag = layout.totag(job.run, job.id if job.kind == PREDICT else "")
    _once(blobs, totag, table.table_bytes(drafts(image) for image in pool))
    model = job.run if job.kind == TRAIN else parent.model if parent else ""
    return Commit(job.parent + 1, job.id, job.run, model, totag, tagged, listed_at, count, 0, clock())


def _labelled_set(blobs: Blobs, job: Job, known: str) -> tuple[ImageLabels, ...]:
    images = labelled.gather(blobs, known, job.uploads).images
    labelled.write(blobs, job.run, images, commits.consumed(blobs, known) | {*job.uploads})
    _once(blobs, _card(job.run, job.parent + 1), json.dumps(job.uploads).encode())
    return images


def _card(run: str, sequence: int) -> str:
    return layout.model(run, f"card-{sequence}.json")


def _pool(store: Store, now: float, job: str, done: Collection[str]) -> tuple[float, int, list[str]]:
    """When the images were listed, how many there were, and those to predict; pinned, so that a killed job lists the same."""
    names = [info.name for info in store.images.list()]
    pinned = json.dumps([now, len(names), [name for name in names if name not in done]]).encode()
    listed_at, count, pool = json.loads(_once(store.labels, layout.prediction_pool(job), pinned))
    return float(listed_at), int(count), [str(name) for name in pool]


def _once(blobs: Blobs, name: str, content: bytes) -> bytes:
    with suppress(BlobExists):
        blobs.create(name, content)
    return blobs.read(name).content


def trained_on(blobs: Blobs, published: Collection[tuple[int, str]]) -> Counter[str]:
    """How often each upload was trained on by a run that became current, by what the runs wrote down themselves."""
    found: Counter[str] = Counter()
    for sequence, run in published:
        if blobs.exists(_card(run, sequence)):
            found.update(json.loads(blobs.read(_card(run, sequence)).content))
    return found
