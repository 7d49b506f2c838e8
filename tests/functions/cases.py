"""Payloads, what the store holds before them, and everything that they change: one table for every engine.

`python -m tests.functions.cases ENGINE…` prints, for each engine, what it indexes and what every case comes to, as JSON. It needs no
pytest, so that any interpreter with the engine can run it.
"""

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from activelearning import claims, journal, layout, state, table
from activelearning.store import Store, open_store
from tests.core import loops
from tests.functions import payloads
from tests.functions.answers import Answer
from tests.functions.payloads import Payload

PHOTO = "Île d'Yeu/été 1%20 #2.JPG"
_REVIEWED = layout.batch_reviewed("b1")


@dataclass(frozen=True, slots=True)
class Effects:
    """What is in a store afterwards, without times and random parts."""

    uploads: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Name and images of every upload that waits for training."""
    jobs: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Status and uploads of every job."""
    messages: int = 0
    """How many messages tell of jobs."""
    journal: tuple[str, ...] = ()
    arrived: bool = False
    swept: bool = False


NOTHING = Effects()
QUEUED = Effects(((_REVIEWED, (PHOTO,)),), (("queued", (_REVIEWED,)),), 1, ("job queued",))
_SWEPT = Effects(swept=True)


def _project(store: Store) -> None:
    loops.make_project(store)


def _reviewed(store: Store) -> None:
    _project(store)
    loops.hand_in(store, "b1", [PHOTO])


def _broken(store: Store) -> None:
    store.labels.create(layout.PROJECT, b"classes = [")
    loops.hand_in(store, "b1", [PHOTO])


def _image(store: Store) -> None:
    _project(store)
    store.images.create(PHOTO, b"an image")


def _nothing(store: Store) -> None:
    pass


def _unforeseen(store: Store) -> None:
    _project(store)
    store.labels.create(layout.PERFORMANCE, b"not,our,columns\n1,2,3\n")


def _claimed(store: Store) -> None:
    _project(store)
    loops.list_pool(store, table.table_bytes([loops.drafts(PHOTO)]))
    claims.claim(store.labels, "b7", "ann", 1, claims.Wanted(), 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Case:
    """An invocation (twice where `times` says so) of `function`; `error` is a part of what it raises, `status` an HTTP answer's."""

    function: str
    payload: Payload
    effects: Effects = NOTHING
    prepare: Callable[[Store], None] = _project
    error: str = ""
    status: str = ""
    times: int = 1


def _upload(text: str, **how: Any) -> Payload:
    return payloads.queue_message(text, **how)


_EVENT = payloads.grid_event("labels", _REVIEWED)
_TOTAG = payloads.grid_event("labels", layout.batch_totag("b1"))
_DELETED = payloads.grid_event("labels", _REVIEWED, "Microsoft.Storage.BlobDeleted")

CASES = {
    "upload, Event Grid": Case("reviewed_upload", _upload(_EVENT), QUEUED, _reviewed),
    "upload, CloudEvents": Case("reviewed_upload", _upload(payloads.cloud_event("labels", _REVIEWED)), QUEUED, _reviewed),
    "upload, a list of one event": Case("reviewed_upload", _upload(f"[{_EVENT}]"), QUEUED, _reviewed),
    "upload, bytes, fifth try": Case("reviewed_upload", _upload(_EVENT, kind="bytes", dequeue_count=5), QUEUED, _reviewed),
    "upload, delivered twice": Case("reviewed_upload", _upload(_EVENT), QUEUED, _reviewed, times=2),
    "upload to a project that is broken": Case("reviewed_upload", _upload(_EVENT), Effects(QUEUED.uploads), _broken),
    "what was handed out": Case("reviewed_upload", _upload(_TOTAG), NOTHING, _reviewed),
    "another container": Case("reviewed_upload", _upload(payloads.grid_event("images", _REVIEWED)), NOTHING, _reviewed),
    "a deletion": Case(
        "reviewed_upload", _upload(_DELETED), NOTHING, _reviewed, 'UserError("a message in the queue is no event of a new blob'
    ),
    "no event": Case("reviewed_upload", _upload("hello"), error="UserError(\"a message in the queue is not JSON: 'hello'"),
    "no text": Case("reviewed_upload", _upload(""), error="UserError(\"a message in the queue is not JSON: ''"),
    "image, Event Grid": Case("new_image", _upload(payloads.grid_event("images", PHOTO)), Effects(arrived=True)),
    "image, CloudEvents": Case("new_image", _upload(payloads.cloud_event("images", PHOTO), kind="bytes"), Effects(arrived=True)),
    "image before there is a project": Case(
        "new_image", _upload(payloads.grid_event("images", PHOTO)), Effects(arrived=True), prepare=_nothing
    ),
    "no image": Case("new_image", _upload(payloads.grid_event("images", "notes.txt"))),
    "a name with a line break": Case(
        "new_image", _upload(payloads.grid_event("images", "a\n.jpg")), error="BlobNameError(\"'a\\\\n.jpg' cannot be a blob name"
    ),
    "timer, nothing due": Case("tick", payloads.timer(), _SWEPT),
    "timer, past due": Case("tick", payloads.timer(past_due=True), _SWEPT),
    "timer finds a lost upload": Case(
        "tick", payloads.timer(), Effects(QUEUED.uploads, QUEUED.jobs, 1, ("job queued",), swept=True), _reviewed
    ),
    "timer finds new images": Case("tick", payloads.timer(), Effects(arrived=True, swept=True), _image),
    "timer releases an old claim": Case("tick", payloads.timer(), Effects(journal=("claim expired",), swept=True), _claimed),
    "timer without a project": Case("tick", payloads.timer(), _SWEPT, _nothing, "holds no project yet"),
    "status": Case("status", payloads.get("/api/status"), NOTHING, _reviewed, status="200"),
    "status, key in the address": Case("status", payloads.get("/api/status", code="KEY"), NOTHING, _image, status="200"),
    "status without a project": Case("status", payloads.get("/api/status"), NOTHING, _nothing, status="409"),
    "status that meets what nobody foresaw": Case("status", payloads.get("/api/status"), NOTHING, _unforeseen, "KeyError('class')"),
    "a batch given back": Case(
        "batches", payloads.post("/api/batches", '{"release": "b7"}'), Effects(journal=("released",)), _claimed, status="200"
    ),
    "a question that is none": Case("batches", payloads.post("/api/batches", '{"tagger": 7}'), NOTHING, _claimed, status="409"),
    "a body that is no JSON": Case("batches", payloads.post("/api/batches", "hello"), NOTHING, _claimed, status="409"),
    "status of a project that is broken": Case("status", payloads.get("/api/status"), NOTHING, _broken, status="200"),
}


def play(engine: Any, case: Case, url: str) -> tuple[Answer, Effects]:
    """Play one case on an empty store, and return its last answer and what the store then holds."""
    os.environ["ACTIVELEARNING_STORE"] = url
    store = open_store(url)
    case.prepare(store)
    for _ in range(case.times):
        answer = engine.call(case.function, case.payload)
    return answer, effects(store)


def effects(store: Store) -> Effects:
    """What a store holds."""
    current = state.load(store.labels)
    return Effects(
        uploads=tuple((name, upload.images) for name, upload in sorted(current.uploads.items())),
        jobs=tuple((job.status, job.uploads) for job in current.jobs.values()),
        messages=store.queues.count(layout.JOBS_QUEUE),
        journal=tuple(entry["what"] for entry in journal.read(store.labels)),
        arrived=current.images_arrived_at > 0,
        swept=current.swept_at > 0,
    )


def report(engine: Any) -> dict[str, Any]:
    """What an engine indexes and what every case comes to, each on a directory of its own, whose name is left out."""
    with tempfile.TemporaryDirectory() as folder:
        played = {name: _played(engine, case, Path(folder) / str(number)) for number, (name, case) in enumerate(CASES.items())}
    return {"index": engine.index(), "cases": played}


def _played(engine: Any, case: Case, folder: Path) -> dict[str, Any]:
    answer, after = play(engine, case, str(folder))
    text = json.dumps({"answer": asdict(answer), "effects": asdict(after)})
    found: dict[str, Any] = json.loads(text.replace(folder.as_uri(), "STORE"))
    return found


def _main(engines: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in engines:
        yield name, report(importlib.import_module(f"tests.functions.{name}"))


if __name__ == "__main__":
    print(json.dumps(dict(_main(sys.argv[1:]))))
