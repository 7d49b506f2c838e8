"""What functions and commands do to a store: read, decide, one conditional write, say what is next.

Rule: every step may run twice, late, or be cut off after any line. It looks at the records first and often finds nothing to do.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, reduce

from activelearning import claims, commits, decisions, events, failures, journal, layout, machines, project_file, state, uploads
from activelearning.decisions import Action, QueueJob, ReleaseClaim, SendJob, TakeBack
from activelearning.errors import BlobMissing, UserError
from activelearning.events import BlobCreated
from activelearning.settings import Settings
from activelearning.state import State
from activelearning.store import Store

SWEEP_SECONDS = 300.0

# Thousands of events in a row find the same text; the settings made of it never change.
_parsed = lru_cache(maxsize=4)(project_file.parse_project)


def project(store: Store) -> Settings:
    """The project's settings; raises `UserError` where the store holds no project."""
    try:
        blob = store.labels.read(layout.PROJECT)
    except BlobMissing:
        raise UserError(f"{store.url} holds no project yet: run `activelearning init {store.url} --classes a,b,c`") from None
    where = f"{layout.PROJECT} of {store.url}"
    try:
        return _parsed(blob.content.decode("utf-8-sig"), where)
    except UnicodeDecodeError:
        raise UserError(f"{where} is no UTF-8 text: save it in this encoding") from None


def take_in_upload(store: Store, event: str, now: float) -> None:
    """An event says that a blob was created: if it is a reviewed upload, note it and do what is due."""
    with failures.noted(store, layout.REVIEWED_QUEUE, event, now):
        _take_in(store, events.decode(event), now)


def _take_in(store: Store, created: BlobCreated, now: float) -> None:
    if created.container == store.labels_container and layout.batch_of_reviewed(created.name):
        note_upload(store, created.name, now)
        # The upload is safe; of a project.toml that cannot be read the timer complains.
        with suppress(UserError):
            _call_machine(store, advance(store, now), now)


def _call_machine(store: Store, done: Iterable[Action], now: float) -> None:
    # It takes minutes to boot; the timer would call it a minute later.
    if machines.scale_sets() and any(isinstance(action, QueueJob) for action in done):
        machines.call(store, project(store).trainers, now)


def note_upload(store: Store, name: str, now: float) -> None:
    """Put a reviewed upload, and its batch's other ones, into the state, unless they are there or were trained on already."""
    batch = layout.batch_of_reviewed(name)
    if batch:
        uploads.take_in(store.labels, batch)


def images_arrived(store: Store, event: str, now: float) -> None:
    """An event says that an image is new: remember when the last one came, at most once in half a quiet time."""
    with failures.noted(store, layout.NEW_IMAGES_QUEUE, event, now):
        _note_image(store, events.decode(event), now)


def _note_image(store: Store, created: BlobCreated, now: float) -> None:
    if created.container != store.images_container or not layout.is_image(created.name):
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
    if machines.scale_sets():
        machines.tend(store, project(store).trainers, now)


def sweep(store: Store, now: float) -> None:
    """Find reviewed uploads and new images whose events were lost."""
    adopt(store)
    uploads.take_in_lost(store.labels)
    register_images(store, now)
    state.update(store.labels, lambda current: replace(current, swept_at=now))


def register_images(store: Store, now: float) -> tuple[int, int]:
    """Look how many images the container holds; where the last listing of the pool saw another number, have it listed again.

    Returns the images there are, and how many more they are than that listing saw. No image is read or copied.
    """
    commit = commits.latest(store.labels)
    seen = commit.pool_images if commit else 0
    count = sum(layout.is_image(info.name) for info in store.images.list())

    def note(current: State) -> State:
        known = 0 < current.images_arrived_at <= now
        return current if known or count == seen else replace(current, images_arrived_at=now)

    state.update(store.labels, note)
    return count, max(count - seen, 0)


def lost_uploads(store: Store) -> Iterator[str]:
    """Reviewed uploads that neither the state nor the labelled set knows."""
    return uploads.lost(store.labels)


def give_back(store: Store, batch: str, tagger: str, now: float) -> int:
    """Release a claim and return how many images that frees; what was reviewed of it stays reviewed."""
    freed = claims.release(store.labels, batch)
    if freed:
        journal.write(store.labels, tagger, "released", now, batch=batch, images=freed)
    return freed


def advance(store: Store, now: float) -> list[Action]:
    """Take in the last commit, then do everything that is due. Returns what was done."""
    current = adopt(store)
    settings = project(store)
    for batch in decisions.expired(current, now):
        # An upload whose event is still on its way must not be given back with the rest.
        uploads.take_in(store.labels, batch.id)
    backlog = store.queues.count(layout.JOBS_QUEUE)
    if not decisions.decide(current, settings, backlog, now):
        return []
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
