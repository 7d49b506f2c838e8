"""What `activelearning status` shows: pool, claims, jobs, model, and anything stuck with what to do about it."""

import csv
import io
from dataclasses import asdict, dataclass

from activelearning import commits, layout, state
from activelearning.errors import BlobMissing
from activelearning.journal import utc
from activelearning.state import FAILED, QUEUED, RUNNING, Batch, Job, State
from activelearning.store import Store

_QUEUES = (layout.REVIEWED_QUEUE, layout.NEW_IMAGES_QUEUE, layout.JOBS_QUEUE)
_STUCK_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class ClaimShown:
    """A claim: how many of its images are still unreviewed, and for how many hours it is valid."""

    batch: str
    tagger: str
    images: int
    unreviewed: int
    age_hours: float
    hours_left: float


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
    ap50: tuple[tuple[str, float], ...]
    claims: tuple[ClaimShown, ...]
    uploads_waiting: int
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
        store.url,
        commit.run if commit else "",
        commit.model if commit else "",
        commit.pool_images if commit else 0,
        commit.unreadable_images if commit else 0,
        _count_images(store, commit.tagged if commit else ""),
        _count_images(store, layout.TEST),
        utc(commit.committed_at) if commit else "",
        tuple(ap50_trend(store)),
        tuple(_claim(current, batch, now) for batch in current.batches.values() if batch.expires_at),
        len(current.uploads),
        tuple(_job(job) for job in current.jobs.values() if job.status in (QUEUED, RUNNING, FAILED)),
        tuple(_stuck(store, current, now)),
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


def _claim(current: State, batch: Batch, now: float) -> ClaimShown:
    reviewed = {image for upload in current.uploads.values() if upload.batch == batch.id for image in upload.images}
    unreviewed = sum(c.image not in reviewed for c in batch.claimed)
    age, left = (now - batch.claimed_at) / 3600, (batch.expires_at - now) / 3600
    return ClaimShown(batch.id, batch.tagger, len(batch.claimed), unreviewed, round(age, 2), round(left, 2))


def _job(job: Job) -> JobShown:
    return JobShown(job.id, job.kind, job.run, job.status, job.progress, job.attempts, job.reason)


def _stuck(store: Store, current: State, now: float) -> list[str]:
    found = [f"job {j.id} ({j.run}) failed: {j.reason}" for j in current.jobs.values() if j.status == FAILED]
    found += [
        f"job {j.id} has waited {(now - j.queued_at) / 60:.0f} minutes: is a trainer running? start one with `activelearning up` or `trainer serve`"
        for j in current.jobs.values()
        if j.status == QUEUED and now - j.queued_at > _STUCK_SECONDS
    ]
    for queue in _QUEUES:
        poisoned = store.queues.count(layout.poison_queue(queue))
        if poisoned:
            found.append(
                f"{poisoned} messages of {queue} could not be handled and lie in {layout.poison_queue(queue)}: see the log of the functions"
            )
    return found


def text(shown: Overview) -> str:
    """The overview for a person."""
    lines = [
        f"store      {shown.store}",
        f"pool       {shown.pool_images:,} images, {shown.labelled_images:,} labelled, {shown.test_images:,} in the test split"
        + (f", {shown.unreadable_images:,} unreadable" if shown.unreadable_images else ""),
        f"model      {shown.model or 'none yet'}" + (f", current since {shown.committed_at[:19]}Z" if shown.committed_at else ""),
    ]
    if shown.ap50:
        lines.append("AP50       " + "  ".join(f"{run} {value:.3f}" for run, value in shown.ap50[-6:]))
    lines += [
        f"claim      {c.batch}: {c.tagger}, {c.unreviewed} of {c.images} images open, {c.hours_left:.0f} h left" for c in shown.claims
    ]
    if shown.uploads_waiting:
        lines.append(f"waiting    {shown.uploads_waiting} reviewed uploads not trained on yet")
    lines += [f"job        {j.job} ({j.run}): {j.status} {j.progress}".rstrip() for j in shown.jobs if j.status != FAILED]
    lines += [f"attention  {sentence}" for sentence in shown.stuck]
    return "\n".join(lines)
