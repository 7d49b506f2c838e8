"""What the Functions host hands to a worker for each trigger: typed values of its wire, and the trigger's metadata.

Shapes as Microsoft documents and records them: Event Grid's event of a new blob, CloudEvents 1.0, the metadata of a queue message,
a timer, an HTTP request. The host has undone the queue's base64 by then.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

_TOPIC = "/subscriptions/0a1b/resourceGroups/birds/providers/Microsoft.Storage/storageAccounts/birds"
_TIME = "2026-11-20T17:58:31.9584103Z"


@dataclass(frozen=True, slots=True)
class Typed:
    """One value of the wire: `kind` as in its TypedData (`string`, `bytes`, `json`, `int`, `http`)."""

    value: Any
    kind: str = "string"


@dataclass(frozen=True, slots=True)
class Payload:
    """What one invocation is given."""

    value: Typed
    metadata: Mapping[str, Typed] = field(default_factory=dict)


def grid_event(container: str, name: str, kind: str = "Microsoft.Storage.BlobCreated") -> str:
    """An event of a blob in Event Grid's schema."""
    shared = {"topic": _TOPIC, "eventType": kind, "eventTime": _TIME, "dataVersion": "", "metadataVersion": "1"}
    return json.dumps(shared | _about(container, name))


def cloud_event(container: str, name: str) -> str:
    """The same in CloudEvents 1.0; as some senders do, with no escape but JSON's own."""
    shared = {"source": _TOPIC, "type": "Microsoft.Storage.BlobCreated", "time": _TIME, "specversion": "1.0"}
    return json.dumps(shared | _about(container, name), ensure_ascii=False)


def _about(container: str, name: str) -> dict[str, Any]:
    data = {
        "api": "PutBlob",
        "clientRequestId": "6d79dbfb-0e37-4fc4-981f-442c9ca65760",
        "requestId": "831e1650-001e-001b-66ab-eeb76e000000",
        "eTag": "0x8D4BCC2E4835CD0",
        "contentType": "text/csv",
        "contentLength": 524288,
        "blobType": "BlockBlob",
        "url": f"https://birds.blob.core.windows.net/{container}/{quote(name)}",
        "sequencer": "00000000000004420000000000028963",
        "storageDiagnostics": {"batchId": "b68529f3-68cd-4744-baa4-3c0498ec19f0"},
    }
    subject = f"/blobServices/default/containers/{container}/blobs/{name}"
    return {"id": "831e1650-001e-001b-66ab-eeb76e069631", "subject": subject, "data": data}


def queue_message(text: str, kind: str = "string", dequeue_count: int = 1) -> Payload:
    """A message, as text or as bytes; the metadata are then typed as older hosts do it, everything a text, or as JSON."""
    plain = {
        "Id": "800ae4b3-bdd2-4c08-badd-f08e5a34b865",
        "PopReceipt": "AgAAAAMAAAAAAAAAAgtnj8x+1QE=",
        "InsertionTime": "2026-11-20T17:58:31+00:00",
        "ExpirationTime": "2026-11-27T17:58:31+00:00",
        "NextVisibleTime": "2026-11-20T18:08:32+00:00",
    }
    system = {"MethodName": "function", "UtcNow": _TIME, "RandGuid": "24ad4c06-24ad-4e5b-8294-3da9714877e9"}
    metadata = {"DequeueCount": Typed(str(dequeue_count), "json"), "sys": Typed(json.dumps(system), "json"), "QueueTrigger": Typed(text)}
    if kind == "bytes":
        return Payload(Typed(text.encode(), kind), metadata | {name: Typed(json.dumps(value), "json") for name, value in plain.items()})
    return Payload(Typed(text), metadata | {name: Typed(value) for name, value in plain.items()})


def timer(past_due: bool = False) -> Payload:
    """A timer that fires; `past_due` after the host was down."""
    status = {"Last": "2026-11-20T17:58:00+00:00", "Next": "2026-11-20T17:59:00+00:00", "LastUpdated": "2026-11-20T17:58:00+00:00"}
    value = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status if past_due else None, "IsPastDue": past_due}
    return Payload(Typed(json.dumps(value), "json"))


def get(path: str, **query: str) -> Payload:
    """An HTTP request without a body, past the host's check of the key."""
    return _request("GET", path, b"", query)


def post(path: str, body: str) -> Payload:
    """An HTTP request with JSON for a body."""
    return _request("POST", path, body.encode(), {})


def _request(method: str, path: str, body: bytes, query: dict[str, str]) -> Payload:
    address = "https://birds.azurewebsites.net" + path
    headers = {"host": "birds.azurewebsites.net", "accept": "*/*", "x-functions-key": "KEY", "x-forwarded-for": "203.0.113.7"}
    request = {
        "method": Typed(method),
        "url": Typed(address),
        "headers": {name: Typed(value) for name, value in headers.items()},
        "query": {name: Typed(value) for name, value in query.items()},
        "params": {},
        "body": Typed(body, "bytes"),
    }
    return Payload(Typed(request, "http"), {"Headers": Typed(json.dumps(headers), "json"), "Query": Typed(json.dumps(query), "json")})
