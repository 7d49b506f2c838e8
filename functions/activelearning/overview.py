"""What `activelearning status` shows: pool, claims, jobs, model, machines, and anything stuck with what to do about it.

Rule: it only reads, and it works when something else does not: a project.toml that cannot be read is one of the things it shows.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from activelearning import (
    autolabels_shown,
    commits,
    drafts_shown,
    failures,
    fleet_shown,
    jobs,
    journal,
    layout,
    outlook_shown,
    state,
    steps,
    stuck,
)
from activelearning.autolabels_shown import AutolabelShown
from activelearning.drafts_shown import DraftsShown
from activelearning.errors import BlobMissing, UserError
from activelearning.fleet_shown import FleetShown
from activelearning.journal import utc
from activelearning.outlook_shown import Outlook
from activelearning.settings import Policy
from activelearning.state import DONE, FAILED, Batch, Job, State
from activelearning.store import Store

_MOST_POISONED = 32


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
    """A job that is not done. `silent_seconds` is how long ago its trainer last gave a sign of life, None where it has none."""

    job: str
    kind: str
    run: str
    status: str
    progress: str
    attempts: int
    reason: str
    owner: str
    age_seconds: float
    silent_seconds: float | None


@dataclass(frozen=True, slots=True)
class EventShown:
    """The last thing that happened."""

    what: str
    at: str
    age_seconds: float


@dataclass(frozen=True, slots=True)
class PoisonShown:
    """A message that was given up after five tries: what it is about, and why, where that is known."""

    queue: str
    about: str
    reason: str
    age_hours: float


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
    mask_ap50: tuple[tuple[str, float], ...]
    outlook: Outlook | None
    autolabel: AutolabelShown | None
    drafts: DraftsShown | None
    claims: tuple[ClaimShown, ...]
    uploads_waiting: int
    """Reviewed uploads that no model was trained on yet."""
    jobs: tuple[JobShown, ...]
    last_event: EventShown | None
    poisoned: dict[str, int]
    """Messages given up, by queue."""
    poison: tuple[PoisonShown, ...]
    """The first of them."""
    fleet: FleetShown | None
    stuck: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self) | {"outlook": self.outlook.as_dict() if self.outlook else None}


def overview(store: Store, now: float) -> Overview:
    """Read the records and sum them up. Raises `UserError` where there is no project."""
    policy, trouble = _policy(store)
    current = state.load(store.labels)
    commit = commits.latest(store.labels)
    autolabel, broken = autolabels_shown.shown(store.labels, commit)
    drafts, unknown = drafts_shown.shown(store, commit)
    outlook, damaged = outlook_shown.shown(store.labels, commit.model if commit else "")
    poisoned = {queue: count for queue in layout.QUEUES if (count := store.queues.count(layout.poison_queue(queue)))}
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
        ap50=tuple(trend(store, "ap50")),
        mask_ap50=tuple(trend(store, "mask_ap50")),
        outlook=outlook,
        autolabel=autolabel,
        drafts=drafts,
        claims=claims_shown(current, now),
        uploads_waiting=len(current.uploads) + _unnoticed_uploads(store, current, now),
        jobs=tuple(_job(job, now) for job in current.jobs.values() if job.status != DONE),
        last_event=_last_event(store, current, now),
        poisoned=poisoned,
        poison=tuple(message for queue in poisoned for message in _poison(store, current, queue, now)),
        fleet=fleet_shown.shown(current, now),
        stuck=(*trouble, *broken, *unknown, *damaged, *stuck.found(current, policy, _state_bytes(store), now)),
    )


def _policy(store: Store) -> tuple[Policy, tuple[str, ...]]:
    """The project's policy; where project.toml cannot be read the default one, and what is wrong with it."""
    try:
        return steps.project(store).policy, ()
    except UserError as error:
        if not store.labels.exists(layout.PROJECT):
            raise
        return Policy(), (f"{error}; until then nothing is queued",)


def _state_bytes(store: Store) -> int:
    try:
        return store.labels.head(layout.STATE).size
    except BlobMissing:
        return 0


def _unnoticed_uploads(store: Store, current: State, now: float) -> int:
    """Uploads that no event told of. While the timer runs it finds them, and nobody has to look through all batches for them."""
    swept = 0 <= now - current.swept_at < stuck.TIMER_SECONDS
    return 0 if swept else sum(1 for _ in steps.lost_uploads(store))


def _count_images(store: Store, name: str) -> int:
    # Reads a whole table: as long as no commit says how many images it has labelled, the one thing here that grows with them.
    if not name:
        return 0
    try:
        rows = csv.DictReader(io.StringIO(store.labels.read(name).content.decode("utf-8-sig")))
    except BlobMissing:
        return 0
    return len({(row.get("folder"), row["filename"]) for row in rows})


def trend(store: Store, metric: str) -> list[tuple[str, float]]:
    """A metric over all classes by run, in the order of `performance.csv`."""
    try:
        rows = csv.DictReader(io.StringIO(store.labels.read(layout.PERFORMANCE).content.decode()))
    except BlobMissing:
        return []
    wanted = (row for row in rows if row["class"] == "all" and row["metric"] == metric and row["value"])
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


def _job(job: Job, now: float) -> JobShown:
    silent = round(now - job.lease_until + jobs.LEASE_SECONDS, 1) if job.lease_until else None
    age = round(now - job.queued_at, 1)
    return JobShown(job.id, job.kind, job.run, job.status, job.progress, job.attempts, job.reason, job.owner, age, silent)


def _last_event(store: Store, current: State, now: float) -> EventShown | None:
    events = list(_events(store, current, now))
    if not events:
        return None
    at, what = max(events)
    return EventShown(what, utc(at), round(now - at, 1))


def _events(store: Store, current: State, now: float) -> Iterator[tuple[float, str]]:
    entry = journal.newest(store.labels, now)
    if entry:
        yield journal.seconds(entry["at"]), f"{entry['what']} ({entry['who']})"
    if current.images_arrived_at:
        yield current.images_arrived_at, "new images"
    yield from ((upload.arrived_at, f"reviewed upload of {upload.batch}") for upload in current.uploads.values())


def _poison(store: Store, current: State, queue: str, now: float) -> Iterator[PoisonShown]:
    reasons = failures.reasons(store.labels, queue)
    for message in store.queues.peek(layout.poison_queue(queue), _MOST_POISONED):
        about = failures.about(message.body)
        reason = reasons.get(about) or _reason_of_job(current, about.removeprefix("job "))
        yield PoisonShown(queue, about, reason, round((now - message.inserted) / 3600, 2))


def _reason_of_job(current: State, job: str) -> str:
    known = current.jobs.get(job)
    if known is None:
        return ""
    return known.reason if known.status == FAILED else f"the job itself is {known.status}"
