"""Which writes wake whom, and which texts are events."""

import json

import pytest

from activelearning import events, layout
from activelearning.errors import UserError
from activelearning.events import BlobCreated
from activelearning.store import Store


def woken(store: Store, queue: str) -> list[BlobCreated]:
    return [events.decode(message.body) for message in store.queues.receive(queue, 30, limit=32)]


def test_a_new_image_wakes_one_queue(store: Store) -> None:
    store.images.create("trip 1/50% größe.jpg", b"1")
    assert woken(store, layout.NEW_IMAGES_QUEUE) == [BlobCreated(store.images_container, "trip 1/50% größe.jpg")]
    assert store.queues.count(layout.REVIEWED_QUEUE) == 0


def test_a_reviewed_batch_wakes_the_other(store: Store) -> None:
    store.labels.create(layout.batch_reviewed("b1"), b"1")
    store.labels.create(layout.batch_reviewed("b1", 2), b"1")
    store.labels.create(layout.batch_original("b1", ".json"), b"1")
    store.labels.create(layout.totag("main/1"), b"1")
    store.labels.replace(layout.STATE, b"1", None)
    names = [event.name for event in woken(store, layout.REVIEWED_QUEUE)]
    assert names == ["batches/b1/reviewed.csv", "batches/b1/reviewed-2.csv"]
    assert store.queues.count(layout.NEW_IMAGES_QUEUE) == 0


def test_a_replaced_image_wakes_again_and_a_refused_write_nobody(store: Store) -> None:
    etag = store.images.replace("a.jpg", b"1", None)
    store.images.replace("a.jpg", b"2", etag)
    for write in (lambda: store.images.create("a.jpg", b"3"), lambda: store.images.replace("a.jpg", b"3", etag)):
        with pytest.raises(Exception, match=r"a\.jpg"):
            write()
    assert len(woken(store, layout.NEW_IMAGES_QUEUE)) == 2


def test_the_subscriptions_are_what_infrastructure_wires() -> None:
    wired = [(item.container, item.prefix, item.suffix, item.queue) for item in events.SUBSCRIPTIONS]
    assert wired == [("images", "", "", "new-images"), ("labels", "batches/", ".csv", "reviewed-uploads")]


def test_an_event_reads_like_event_grids() -> None:
    event = json.loads(events.blob_created("images", "a b/1.jpg", 7, "0x8D", 1_800_000_000.5))
    assert event["subject"] == "/blobServices/default/containers/images/blobs/a b/1.jpg"
    assert event["eventType"] == "Microsoft.Storage.BlobCreated"
    assert event["eventTime"] == "2027-01-15T08:00:00.500000Z"
    assert event["data"]["url"].endswith("/images/a%20b/1.jpg")
    assert (event["data"]["contentLength"], event["data"]["eTag"], event["data"]["blobType"]) == (7, "0x8D", "BlockBlob")
    assert set(event) == {"topic", "subject", "eventType", "id", "eventTime", "data", "dataVersion", "metadataVersion"}


def test_sequencers_sort_by_time() -> None:
    early, late = (json.loads(events.blob_created("images", "a", 1, "e", now))["data"]["sequencer"] for now in (9.0, 1_800_000_000.0))
    assert early < late


def test_both_schemas_are_read_alone_or_in_a_list() -> None:
    text = events.blob_created("labels", "batches/1/reviewed.csv", 1, "e", 0.0)
    cloud = {
        "specversion": "1.0",
        "type": "Microsoft.Storage.BlobCreated",
        "source": "/subscriptions/1/storageAccounts/x",
        "id": "1",
        "time": "2026-11-20T13:26:01Z",
        "subject": "/blobServices/default/containers/labels/blobs/batches/1/reviewed.csv",
        "data": {},
    }
    for version in (text, f"[{text}]", json.dumps(cloud), json.dumps([cloud])):
        assert events.decode(version) == BlobCreated("labels", "batches/1/reviewed.csv")


SUBJECT = "/blobServices/default/containers/images/blobs/"


def created(subject: object) -> str:
    return json.dumps({"eventType": events.BLOB_CREATED, "subject": subject})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "null",
        "7",
        "[]",
        "{}",
        "[" * 40_000,
        json.dumps([1, 2]),
        json.dumps({"eventType": "Microsoft.Storage.BlobDeleted", "subject": SUBJECT + "a.jpg"}),
        created(None),
        created(SUBJECT),
        created(SUBJECT + "../../etc/passwd"),
        created(SUBJECT + "a\nb.jpg"),
        created("/blobServices/default/containers/../blobs/a"),
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        events.decode(text)
