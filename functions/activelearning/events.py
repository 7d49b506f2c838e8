"""Events of new blobs: who hears of which, and the text that Event Grid puts into a queue.

Rule: an event wakes, the records decide. It may come twice, late or never, so it says which blob, and nothing else is believed.
"""

import json
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from activelearning import layout
from activelearning.errors import UserError

BLOB_CREATED = "Microsoft.Storage.BlobCreated"
_SUBJECT = re.compile(r"/blobServices/default/containers/([a-z0-9$-]+)/blobs/(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Which new blobs a queue hears of: those in `container` whose name starts with `prefix` and ends with `suffix`."""

    container: str
    prefix: str
    suffix: str
    queue: str

    def matches(self, container: str, name: str) -> bool:
        """Whether this queue hears of a blob."""
        return container == self.container and name.startswith(self.prefix) and name.endswith(self.suffix)


@dataclass(frozen=True, slots=True)
class BlobCreated:
    """A blob has been created or replaced; the name has been checked."""

    container: str
    name: str


# Cut out of a name, because only `layout` knows how names are made: "batches/" and ".csv".
_BATCHES, _, _TABLE = layout.batch_reviewed("ID").partition("ID/reviewed")

SUBSCRIPTIONS = (
    Subscription(layout.IMAGES, "", "", layout.NEW_IMAGES_QUEUE),
    Subscription(layout.LABELS, _BATCHES, _TABLE, layout.REVIEWED_QUEUE),
)
"""The wiring of the loop, for the local stores and the cloud alike.

A batch's `totag.csv` matches too: no one suffix fits `reviewed.csv` and `reviewed-2.csv` alone. Consumers ask
`layout.batch_of_reviewed` and find nothing to do.
"""


def blob_created(container: str, name: str, size: int, etag: str, now: float) -> str:
    """Return the JSON text of one Event Grid event; `size` in bytes, `now` in seconds since the epoch."""
    unique = str(uuid.uuid4())
    data = {
        "api": "PutBlob",
        "requestId": unique,
        "eTag": etag,
        "contentType": "application/octet-stream",
        "contentLength": size,
        "blobType": "BlockBlob",
        "url": f"store:///{container}/{quote(name)}",
        "sequencer": f"{int(now * 1e9):032x}",
    }
    event = {
        "topic": "activelearning",
        "subject": f"/blobServices/default/containers/{container}/blobs/{name}",
        "eventType": BLOB_CREATED,
        "id": unique,
        "eventTime": datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z"),
        "data": data,
        "dataVersion": "",
        "metadataVersion": "1",
    }
    return json.dumps(event, ensure_ascii=False)


def decode(text: str) -> BlobCreated:
    """Read one event in Event Grid's schema, alone or in a list of one, or in that of CloudEvents 1.0.

    Raises `UserError` for everything else, a blob name that `layout.check_blob_name` refuses included.
    """
    event = _event(text)
    kind = event.get("eventType", event.get("type"))
    if kind != BLOB_CREATED:
        raise UserError(f"a message in the queue is no event of a new blob but '{kind}'")
    match = _SUBJECT.fullmatch(str(event.get("subject")))
    if not match:
        raise UserError(f"an event of a new blob has the subject {event.get('subject')!r}, which names no blob")
    return BlobCreated(match[1], layout.check_blob_name(match[2]))


def _event(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"a message in the queue is not JSON: {text[:80]!r}") from None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        raise UserError(f"a message in the queue is not one event: {text[:80]!r}")
    return value
