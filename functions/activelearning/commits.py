"""`models/latest.json`: the commit of a cycle. Before it is written nothing has happened, after it everything has.

It is written last, by compare-and-swap. Everything it names is create-once and lies there already. The state takes it in
afterwards (`adopted`), which anybody may do at any time, any number of times.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, fields, replace

from activelearning import layout
from activelearning.errors import BlobMissing
from activelearning.iterations import Status, towards
from activelearning.state import DONE, FAILED, Batch, Iteration, Job, State, intact
from activelearning.store import Blobs

_REMEMBERED_JOBS = 20
_REMEMBERED_ITERATIONS = 50
_WINDOW_BYTES = 1 << 16
_PROBE_BYTES = 1 << 14
"""Holds two lines of a list of uploads, however long their names are."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What is current: the iteration, its model (empty: none yet), the ordered pool, the labelled set."""

    sequence: int
    job: str
    run: str
    model: str
    totag: str
    tagged: str
    listed_at: float
    """When the pool was listed; an image that arrived later is not in `totag`."""
    pool_images: int
    unreadable_images: int
    committed_at: float
    autolabelled: str = ""
    """The division of the pool whose accepted images nobody need see (`layout.division`); empty: none."""
    predicted: str = ""
    """The job with whose model and settings all that is in `totag` or accepted was predicted; empty: not all with the same, or unknown."""
    drafts_of: str = ""
    """The run whose model all boxes in `totag` are of; empty: of several, or unknown (version 0.3.0 did not note it)."""


def latest(blobs: Blobs) -> Commit | None:
    """The last commit, or None before the first."""
    return _read(blobs)[0]


def _read(blobs: Blobs) -> tuple[Commit | None, str | None]:
    try:
        blob = blobs.read(layout.LATEST)
    except BlobMissing:
        return None, None
    known = {f.name for f in fields(Commit)}
    with intact(layout.LATEST, "put an older copy in its place"):
        return Commit(**{key: value for key, value in json.loads(blob.content).items() if key in known}), blob.etag


def publish(blobs: Blobs, commit: Commit, parent: int) -> bool:
    """Make `commit` current if `parent` still is (its sequence number), and say whether it is current now.

    A repeated publication of the same job's commit is True and writes nothing. Raises `BlobChanged` when a rival published at this
    very moment.
    """
    current, etag = _read(blobs)
    if current and current.job == commit.job:
        return True
    if (current.sequence if current else 0) != parent:
        return False
    blobs.replace(layout.LATEST, json.dumps(asdict(commit), indent=1).encode(), etag)
    return True


def consumed(blobs: Blobs, run: str) -> frozenset[str]:
    """Names of all reviewed uploads in a run's labelled set."""
    name = layout.uploads(run)
    try:
        with intact(name, "put a copy in its place"):
            return frozenset(map(str, json.loads(blobs.read(name).content)))
    except BlobMissing:
        return frozenset()


def has_consumed(blobs: Blobs, run: str, upload: str) -> bool:
    """Whether a reviewed upload is in a run's labelled set. The list is sorted, one name a line, and searched by halving.

    So an event costs the same whether ten uploads were trained on before it or a million.
    """
    name = layout.uploads(run)
    try:
        start, stop = 0, blobs.head(name).size
    except BlobMissing:
        return False
    while stop - start > _WINDOW_BYTES:
        middle, found = _line_after(blobs, name, (start + stop) // 2)
        start, stop = (middle, stop) if found <= upload else (start, middle)
    lines = blobs.read_range(name, start, stop - start).split(b"\n")
    return json.dumps(upload).encode() in (line.rstrip(b",") for line in lines)


def _line_after(blobs: Blobs, name: str, position: int) -> tuple[int, str]:
    """Where the first whole line after a position starts, and the upload that it names."""
    piece = blobs.read_range(name, position, _PROBE_BYTES)
    with intact(name, "put a copy in its place"):
        start = piece.index(b"\n") + 1
        return position + start, str(json.loads(piece[start : piece.index(b"\n", start)].rstrip(b",")))


def adopted(before: State, commit: Commit, trained: Collection[str]) -> State:
    """The state that has taken in a commit: its totag is what claims are made on, and what it has trained on is over and done with."""
    if commit.sequence <= before.sequence:
        return before
    finished = {image for upload in before.uploads.values() if upload.name in trained for image in upload.images}
    return replace(
        before,
        sequence=commit.sequence,
        run=commit.run,
        totag=commit.totag,
        next_iteration=max(before.next_iteration, layout.iteration_of(commit.run) + 1),
        images_arrived_at=before.images_arrived_at if before.images_arrived_at > commit.listed_at else 0.0,
        uploads={name: upload for name, upload in before.uploads.items() if name not in trained},
        batches={b.id: b for b in _still_open(before.batches.values(), finished)},
        jobs=_remembered_jobs(before, commit, trained),
        iterations=_remembered_iterations(before, commit),
    )


def _still_open(batches: Iterable[Batch], finished: Collection[str]) -> Iterable[Batch]:
    kept = (replace(batch, claimed=tuple(c for c in batch.claimed if c.image not in finished)) for batch in batches)
    return (batch for batch in kept if batch.claimed)


def _remembered_jobs(before: State, commit: Commit, trained: Collection[str]) -> dict[str, Job]:
    # A failed job is no longer worth a word when others have done its work, or when what it was to predict is out of date.
    jobs = {job.id: job for job in before.jobs.values() if job.status != FAILED or not set(job.uploads).issubset(trained)}
    if commit.job in before.jobs:
        jobs[commit.job] = replace(before.jobs[commit.job], status=DONE, owner="", lease_until=0.0, progress="", reason="")
    done = sorted((job for job in jobs.values() if job.status == DONE), key=lambda job: job.queued_at)
    forgotten = {job.id for job in done[:-_REMEMBERED_JOBS]}
    return {name: job for name, job in jobs.items() if name not in forgotten}


def _remembered_iterations(before: State, commit: Commit) -> dict[str, Iteration]:
    known = before.iterations.get(commit.run)
    current = Iteration(commit.run, towards(known.status, Status.COMPLETED) if known else Status.COMPLETED, commit.committed_at)
    iterations = sorted({**before.iterations, commit.run: current}.values(), key=lambda i: i.updated_at)
    return {i.run: i for i in iterations[-_REMEMBERED_ITERATIONS:]}
