"""What `activelearning status` shows: pool, claims, jobs, model, and anything stuck with what to do about it."""

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from activelearning import commits, layout, state, steps
from activelearning.errors import BlobMissing
from activelearning.journal import utc
from activelearning.state import FAILED, QUEUED, RUNNING, Batch, Job, State
from activelearning.store import Store

_QUEUES = (layout.REVIEWED_QUEUE, layout.NEW_IMAGES_QUEUE, layout.JOBS_QUEUE, layout.SHARDS_QUEUE)
_STUCK_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class ClaimShown:
    """A claim: how many of its images are still unreviewed, and for how many hours it is valid (below 0: it ran out)."""

    batch: str
    tagger: str
    images: int
    unreviewed: int
    age_hours: float
    hours_left: float

    def __str__(self) -> str:
        left = f"{self.hours_left:.0f} h left" if self.hours_left > 0 else "ran out, waiting to be released"
        return f"{self.batch}: {self.tagger}, {self.unreviewed} of {self.images} images not handed in, {left}"


@dataclass(frozen=True, slots=True)
class JobShown:
    """A job that is not done."""

    job: str
    kind: str
    run: str
    status: str
    progress: str
    attempts: int
    reason: str


@dataclass(frozen=True, slots=True)
class Overview:
    """A project at one moment."""

    store: str
    run: str
    model: str
    pool_images: int
    unreadable_images: int
    labelled_images: int
    test_images: int
    committed_at: str
    images_waiting: bool
    """Images have arrived that are not listed yet, so nobody can claim them."""
    ap50: tuple[tuple[str, float], ...]
    claims: tuple[ClaimShown, ...]
    uploads_waiting: int
    """Reviewed uploads that no model was trained on yet."""
    jobs: tuple[JobShown, ...]
    stuck: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self)


def overview(store: Store, now: float) -> Overview:
    """Read the records and sum them up."""
    current = state.load(store.labels)
    commit = commits.latest(store.labels)
    return Overview(
        store=store.url,
        run=commit.run if commit else "",
        model=commit.model if commit else "",
        pool_images=commit.pool_images if commit else 0,
        unreadable_images=commit.unreadable_images if commit else 0,
        labelled_images=_count_images(store, commit.tagged if commit else ""),
        test_images=_count_images(store, layout.TEST),
        committed_at=utc(commit.committed_at) if commit else "",
        images_waiting=bool(current.images_arrived_at) or (commit is None and any(store.images.list())),
        ap50=tuple(ap50_trend(store)),
        claims=claims_shown(current, now),
        uploads_waiting=len(current.uploads) + sum(1 for _ in steps.lost_uploads(store)),
        jobs=tuple(_job(job) for job in current.jobs.values() if job.status in (QUEUED, RUNNING, FAILED)),
        stuck=tuple(_stuck(store, current, now)),
    )


def _count_images(store: Store, name: str) -> int:
    if not name:
        return 0
    try:
        rows = csv.DictReader(io.StringIO(store.labels.read(name).content.decode("utf-8-sig")))
    except BlobMissing:
        return 0
    return len({(row.get("folder"), row["filename"]) for row in rows})


def ap50_trend(store: Store) -> list[tuple[str, float]]:
    """AP50 over all classes by run, in the order of `performance.csv`."""
    try:
        rows = csv.DictReader(io.StringIO(store.labels.read(layout.PERFORMANCE).content.decode()))
    except BlobMissing:
        return []
    wanted = (row for row in rows if row["class"] == "all" and row["metric"] == "ap50" and row["value"])
    return [(layout.run_name(row["flow"], int(row["iteration"])), float(row["value"])) for row in wanted]


def claims_shown(current: State, now: float) -> tuple[ClaimShown, ...]:
    """Every claim that is not given back, oldest first."""
    held = (batch for batch in current.batches.values() if batch.expires_at)
    return tuple(_claim(current, batch, now) for batch in sorted(held, key=lambda batch: batch.claimed_at))


def _claim(current: State, batch: Batch, now: float) -> ClaimShown:
    reviewed = {image for upload in current.uploads.values() if upload.batch == batch.id for image in upload.images}
    unreviewed = sum(c.image not in reviewed for c in batch.claimed)
    age, left = (now - batch.claimed_at) / 3600, (batch.expires_at - now) / 3600
    return ClaimShown(batch.id, batch.tagger, len(batch.claimed), unreviewed, round(age, 2), round(left, 2))


def _job(job: Job) -> JobShown:
    return JobShown(job.id, job.kind, job.run, job.status, job.progress, job.attempts, job.reason)


def _stuck(store: Store, current: State, now: float) -> Iterator[str]:
    yield from (f"job {j.id} ({j.run}) failed: {j.reason}" for j in current.jobs.values() if j.status == FAILED)
    waiting = ((j, now - j.queued_at) for j in current.jobs.values() if j.status == QUEUED)
    yield from (_waits(j, seconds) for j, seconds in waiting if seconds > _STUCK_SECONDS)
    poisoned = ((queue, store.queues.count(layout.poison_queue(queue))) for queue in _QUEUES)
    yield from (_poisoned(queue, count) for queue, count in poisoned if count)


def _waits(job: Job, seconds: float) -> str:
    return (
        f"job {job.id} has waited {seconds / 60:.0f} minutes: is a trainer running? start one with `activelearning up` or `trainer serve`"
    )


def _poisoned(queue: str, count: int) -> str:
    lie = "1 message" if count == 1 else f"{count} messages"
    return f"{lie} of {queue} could not be handled, see {layout.poison_queue(queue)} and the log of the functions"


def text(shown: Overview) -> str:
    """The overview for a person: a word in front that says what the line is about."""
    return "\n".join(f"{subject:10} {sentence}" for subject, sentence in _lines(shown))


def _lines(shown: Overview) -> Iterator[tuple[str, str]]:
    yield "store", shown.store
    yield "pool", _pool(shown)
    yield "model", _model(shown)
    if shown.ap50:
        yield "AP50", "  ".join(f"{run} {value:.3f}" for run, value in shown.ap50[-6:])
    yield from (("claim", str(claim)) for claim in shown.claims)
    if shown.images_waiting:
        yield "waiting", "new images are not listed yet: a running `activelearning up` lists them, or `trainer once` now"
    if shown.uploads_waiting:
        yield "waiting", f"reviewed uploads that no model was trained on yet: {shown.uploads_waiting:,}"
    yield from (("job", f"{j.job} ({j.run}): {j.status} {j.progress}".rstrip()) for j in shown.jobs if j.status != FAILED)
    yield from (("attention", sentence) for sentence in shown.stuck)


def _pool(shown: Overview) -> str:
    listed = f"{shown.pool_images:,} images listed, {shown.labelled_images:,} labelled, {shown.test_images:,} in the test split"
    return listed + (f", {shown.unreadable_images:,} unreadable" if shown.unreadable_images else "")


def _model(shown: Overview) -> str:
    return f"{shown.model}, current since {shown.committed_at[:19]}Z" if shown.model else "none yet"
