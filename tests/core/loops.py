"""What the tests of the core need of a project: a clock, labels, tables in a store, and a trainer that needs no GPU.

The trainer is a generator: it stops after each of its steps, so that a test lets others act in between, or never goes on with it.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from activelearning import commits, consume, jobs, labelled, layout, project_file, state, steps, table
from activelearning.commits import Commit
from activelearning.errors import BlobExists, MessageLost, UserError
from activelearning.iterations import Status
from activelearning.labels import Box, ImageLabels, Review
from activelearning.settings import Policy, Settings
from activelearning.state import PREDICT, TRAIN, Job, State
from activelearning.store import Blobs, Store
from tests.clock import Clock

SETTINGS = Settings(("bird", "fish"), policy=Policy(quiet_seconds=10.0))


def make_project(store: Store, settings: Settings = SETTINGS) -> Store:
    """Write project.toml."""
    store.labels.create(layout.PROJECT, project_file.render_project(settings).encode())
    return store


def labelled_image(image: str, mark: float = 0.5, review: Review = Review.REVIEWED) -> ImageLabels:
    """An image with one box whose right edge is `mark`, so that two reviews can be told apart."""
    return ImageLabels(image, 640, 480, (Box("bird", 0.0, 0.0, mark, 0.5),), review)


def drafts(image: str, boxes: int = 1, confidence: float = 0.5, label: str = "bird") -> ImageLabels:
    """An image of the pool as the model sees it."""
    found = tuple(Box(label, 0.1, 0.1, 0.2 + n / 100, 0.3, confidence, "model") for n in range(boxes))
    return ImageLabels(image, 640, 480, found, Review.UNOPENED)


def hand_in(store: Store, batch: str, images: Iterable[str], version: int = 1, mark: float = 0.5) -> str:
    """Create a reviewed upload and return its name."""
    name = layout.batch_reviewed(batch, version)
    store.labels.create(name, table.table_bytes(labelled_image(image, mark) for image in images))
    return name


def list_pool(store: Store, text: bytes, name: str = "totag/main/0.csv") -> None:
    """Make a table of any content the one that claims are made on."""
    store.labels.create(name, text)
    state.update(store.labels, lambda before: State(1, "main/0", name, batches=before.batches, uploads=before.uploads))


def bodies(store: Store, queue: str) -> list[str]:
    """The messages of a queue."""
    return [message.body for message in store.queues.peek(queue)]


def work(store: Store, clock: Clock, owner: str = "trainer") -> bool:
    """Take one message and do its job to the end; False when there is none."""
    return any(list(turn(store, clock, owner)))


def turn(store: Store, clock: Clock, owner: str) -> Iterator[bool]:
    """A trainer's work on one message, step by step; nothing at all when there is none."""
    for message in consume.take(store.queues, layout.JOBS_QUEUE, 60.0):
        yield True
        with suppress(jobs.JobBusy, MessageLost):
            job = jobs.start(store, str(json.loads(message.body)["job"]), owner, clock())
            if job:
                yield from _job(store, clock, job)
            steps.advance(store, clock())
            store.queues.delete(layout.JOBS_QUEUE, message)


def _job(store: Store, clock: Clock, job: Job) -> Iterator[bool]:
    try:
        commit = yield from _results(store, clock, job)
    except UserError as error:
        jobs.fail(store, job.id, str(error), clock())
        return
    yield True
    if commits.publish(store.labels, commit, job.parent):
        yield True
        steps.adopt(store)
    else:
        jobs.superseded(store, job.id, clock())


def _results(store: Store, clock: Clock, job: Job) -> Iterator[bool]:  # type: ignore[misc]
    blobs = store.labels
    parent = commits.latest(blobs)
    known = parent.run if parent and parent.tagged else ""
    jobs.move_iteration(store, job.run, Status.TRAINING, clock())
    if job.kind == TRAIN:
        labelled.write(blobs, job.run, labelled.gather(blobs, known, job.uploads).images, commits.consumed(blobs, known) | {*job.uploads})
        _once(blobs, layout.model(job.run, f"card-{job.parent + 1}.json"), json.dumps(job.uploads).encode())
    yield True
    pinned = json.dumps([clock(), sorted(info.name for info in store.images.list())]).encode()
    listed_at, images = json.loads(_once(blobs, layout.prediction_pool(job.id), pinned))
    yield True
    tagged = (layout.tagged(job.run) if job.kind == TRAIN else parent.tagged if parent else "") or ""
    done = {labels.image for labels in labelled.read(blobs, tagged).images} if tagged else set()
    totag = layout.totag(job.run, job.id if job.kind == PREDICT else "")
    _once(blobs, totag, table.table_bytes(drafts(image) for image in images if image not in done))
    model = job.run if job.kind == TRAIN else parent.model if parent else ""
    return Commit(job.parent + 1, job.id, job.run, model, totag, tagged, listed_at, len(images), 0, clock())


def _once(blobs: Blobs, name: str, content: bytes) -> bytes:
    with suppress(BlobExists):
        blobs.create(name, content)
    return blobs.read(name).content


def interrupted(blobs: Blobs, method: str, rival: Callable[[], object]) -> Blobs:
    """The same blobs, but a rival is quicker, once: it acts right before the first call of `method`."""
    waiting = [rival]

    class Interrupted:
        def __getattr__(self, name: str) -> Any:
            if name == method and waiting:
                waiting.pop()()
            return getattr(blobs, name)

    return Interrupted()  # type: ignore[return-value]


def settle(store: Store, clock: Clock, rounds: int = 12) -> None:
    """Let timer and trainer do everything that is due."""
    for _ in range(rounds):
        clock.later(steps.SWEEP_SECONDS)
        steps.tick(store, clock())
        while work(store, clock):
            clock.later(1)


def trained_in(store: Store) -> list[tuple[str, ...]]:
    """The uploads of each training run, as its card in the store says."""
    cards = (info.name for info in store.labels.list("models/main") if "/card-" in info.name)
    return [tuple(json.loads(store.labels.read(name).content)) for name in cards]


def commit_everything(store: Store, pool: Iterable[ImageLabels]) -> None:
    """A training run on all noted uploads with `pool` as its totag, committed and adopted."""
    before, parent = state.load(store.labels), commits.latest(store.labels)
    run, known = layout.run_name("main", before.next_iteration), parent.run if parent else ""
    gathered = labelled.gather(store.labels, known, before.uploads)
    labelled.write(store.labels, run, gathered.images, commits.consumed(store.labels, known) | before.uploads.keys())
    store.labels.create(layout.totag(run), table.table_bytes(pool))
    number = (parent.sequence if parent else 0) + 1
    commit = Commit(max(number, before.sequence + 1), f"train-{run}", run, run, layout.totag(run), layout.tagged(run), 0.0, 0, 0, 0.0)
    assert commits.publish(store.labels, commit, number - 1)
    steps.adopt(store)
