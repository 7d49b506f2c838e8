"""`state.json`: what is being done right now, by whom. Small: it grows with the active work, never with the pool.

Rule: it is a TinyDB document, read with its ETag and written back whole by compare-and-swap. `update` takes a pure function from
the old state to the new one and runs it again when somebody else wrote in between, so a decision is always made on what is there.
Should it be lost, only the claims are: uploads, model and run are found again in the blobs.
"""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tinydb.storages import Storage

from activelearning import layout
from activelearning.errors import BlobChanged, BlobMissing, StoreError, UserError
from activelearning.iterations import Status
from activelearning.machine_records import Machine, ScaleSet
from activelearning.store import Blobs

_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Claimed:
    """One image of a claim and the bytes its rows take in the totag it was claimed from."""

    image: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A claim: these images are with this tagger until `expires_at` (seconds since the epoch, like all times here).

    `expires_at` 0 means that the claim was given back and only reviewed images are left in it, waiting for training.
    """

    id: str
    tagger: str
    totag: str
    claimed: tuple[Claimed, ...]
    claimed_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class Upload:
    """A reviewed upload that no committed model has been trained on yet."""

    name: str
    batch: str
    images: tuple[str, ...]
    arrived_at: float


TRAIN = "train"
PREDICT = "predict"
QUEUED = "queued"
RUNNING = "running"
DONE = "done"
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work for the trainer. Its id is a hash of what it works on, so the same work is never two jobs."""

    id: str
    kind: str
    run: str
    parent: int
    """Sequence number of the commit it builds on."""
    uploads: tuple[str, ...] = ()
    model: str = ""
    folder: str = ""
    min_confidence: float = -1.0
    """Below 0: what `project.toml` says."""
    status: str = QUEUED
    queued_at: float = 0.0
    sent_at: float = 0.0
    attempts: int = 0
    owner: str = ""
    lease_until: float = 0.0
    progress: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Iteration:
    """One turn of a flow."""

    run: str
    status: Status
    updated_at: float


@dataclass(frozen=True, slots=True)
class State:
    """Everything in `state.json`. The mappings are by id, name or run."""

    sequence: int = 0
    """The commit (`models/latest.json`) that this state has taken in."""
    run: str = ""
    totag: str = ""
    """The table that claims are made on; empty until the pool was listed for the first time."""
    next_iteration: int = 1
    images_arrived_at: float = 0.0
    """When an image that no totag knows was last seen to arrive; 0: none is waiting."""
    swept_at: float = 0.0
    batches: Mapping[str, Batch] = field(default_factory=dict)
    uploads: Mapping[str, Upload] = field(default_factory=dict)
    jobs: Mapping[str, Job] = field(default_factory=dict)
    iterations: Mapping[str, Iteration] = field(default_factory=dict)
    machines: Mapping[str, Machine] = field(default_factory=dict)
    scale_sets: Mapping[str, ScaleSet] = field(default_factory=dict)

    def with_batch(self, batch: Batch) -> "State":
        """This state with the batch put in or replaced."""
        return replace(self, batches={**self.batches, batch.id: batch})

    def without_batch(self, batch: str) -> "State":
        """This state without the batch."""
        return replace(self, batches=_without(self.batches, batch))

    def with_upload(self, upload: Upload) -> "State":
        """This state with the upload put in or replaced."""
        return replace(self, uploads={**self.uploads, upload.name: upload})

    def with_job(self, job: Job) -> "State":
        """This state with the job put in or replaced."""
        return replace(self, jobs={**self.jobs, job.id: job})

    def with_iteration(self, iteration: Iteration) -> "State":
        """This state with the iteration put in or replaced."""
        return replace(self, iterations={**self.iterations, iteration.run: iteration})

    def with_scale_set(self, scale_set: ScaleSet) -> "State":
        """This state with the scale set's record put in or replaced."""
        return replace(self, scale_sets={**self.scale_sets, scale_set.id: scale_set})


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}


@contextmanager
def intact(name: str, advice: str) -> Iterator[None]:
    """Turn whatever decoding a damaged record raises into one plain sentence that ends in `advice`."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise UserError(f"{name} is damaged ({type(error).__name__}: {error}): {advice}") from None


class StateStorage(Storage):
    """TinyDB's storage over one blob, written only if nobody else wrote since it was read.

    `tinydb.TinyDB(storage=StateStorage, blobs=store.labels)` opens the state for queries; a write that lost the race raises
    `BlobChanged`.
    """

    def __init__(self, blobs: Blobs):
        self._blobs = blobs
        self._etag: str | None = None

    def read(self) -> dict[str, dict[str, Any]] | None:
        """Return the tables, or None where there is no state yet."""
        try:
            blob = self._blobs.read(layout.STATE)
        except BlobMissing:
            self._etag = None
            return None
        self._etag = blob.etag
        with _intact():
            tables: dict[str, dict[str, Any]] = json.loads(blob.content)
        return tables

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        """Write the tables if the blob is still the one that was read; raises `BlobChanged`."""
        self._etag = self._blobs.replace(layout.STATE, _rendered(data).encode(), self._etag)


def _rendered(tables: Mapping[str, Mapping[str, Any]]) -> str:
    # One table a line: indented text takes seven times as long to write, and every upload's note is a write.
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(table)}" for name, table in tables.items()) + "\n}\n"


def load(blobs: Blobs) -> State:
    """The state as it is now; an empty one where nothing was written yet."""
    return _decode(StateStorage(blobs).read())


def update(blobs: Blobs, change: Callable[[State], State]) -> State:
    """Apply a pure change by compare-and-swap and return the state that holds it.

    `change` may run several times. A change that changes nothing writes nothing. Raises what `change` raises, and `StoreError`
    when rivals win for a whole minute.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    pause = 0.002
    while True:
        storage = StateStorage(blobs)
        before = _decode(storage.read())
        after = change(before)
        if after == before:
            return before
        try:
            storage.write(_encode(after))
        except BlobChanged:
            if time.monotonic() > deadline:
                raise StoreError("state.json is written by others without pause; try again later") from None
            time.sleep(random.uniform(0, pause))
            pause = min(pause * 2, 0.5)
        else:
            return after


_SCALARS = ("sequence", "run", "totag", "next_iteration", "images_arrived_at", "swept_at")


def _encode(state: State) -> dict[str, dict[str, Any]]:
    return {
        "loop": {"1": {name: getattr(state, name) for name in _SCALARS}},
        "batches": _table(
            _document(batch) | {"claimed": [[c.image, c.start, c.stop] for c in batch.claimed]} for batch in state.batches.values()
        ),
        "uploads": _table(map(_document, state.uploads.values())),
        "jobs": _table(map(_document, state.jobs.values())),
        "iterations": _table(map(_document, state.iterations.values())),
        "machines": _table(map(_document, state.machines.values())),
        "scale_sets": _table(map(_document, state.scale_sets.values())),
    }


def _table(documents: Any) -> dict[str, Any]:
    # TinyDB keys documents by whole numbers; the names that matter are inside.
    return {str(number): document for number, document in enumerate(documents, 1)}


def _document(value: Any) -> dict[str, Any]:
    # The slots of a dataclass are its fields, and far quicker to come by.
    return {name: list(v) if isinstance(v := getattr(value, name), tuple) else v for name in value.__slots__}


def _intact() -> AbstractContextManager[None]:
    return intact(layout.STATE, "put an older copy in its place, or move it away: who has which images is forgotten then, and nothing else")


def _decode(tables: Mapping[str, Mapping[str, Any]] | None) -> State:
    with _intact():
        return State() if tables is None else _state(tables)


def _state(tables: Mapping[str, Mapping[str, Any]]) -> State:
    def rows(name: str) -> list[dict[str, Any]]:
        return list(tables.get(name, {}).values())

    loop = next(iter(rows("loop")), {})
    return State(
        **loop,
        batches={row["id"]: Batch(**row | {"claimed": tuple(Claimed(*c) for c in row["claimed"])}) for row in rows("batches")},
        uploads={row["name"]: Upload(row["name"], row["batch"], tuple(row["images"]), row["arrived_at"]) for row in rows("uploads")},
        jobs={row["id"]: Job(**row | {"uploads": tuple(row["uploads"])}) for row in rows("jobs")},
        iterations={row["run"]: Iteration(row["run"], Status(row["status"]), row["updated_at"]) for row in rows("iterations")},
        machines={row["name"]: Machine(**row) for row in rows("machines")},
        scale_sets={row["id"]: ScaleSet(**row) for row in rows("scale_sets")},
    )
