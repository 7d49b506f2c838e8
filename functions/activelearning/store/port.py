"""What every store can do: blobs that are created once or swapped, and queues that deliver at least once.

Rule: nothing here that a cloud's blob storage and queues cannot do, and no call returns before its effect would survive a crash.
Blobs are never deleted; queues forget a message only when its consumer says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from activelearning import layout
from activelearning.errors import BlobNameError

CHUNK = 1 << 20
MAX_MESSAGE_BYTES = 48 * 1024
"""A storage queue takes 64 KiB of Base64. Messages name things, so none comes near."""

Content = bytes | BinaryIO
"""A file object is read from where it stands to its end, so a big table never has to lie in memory."""


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """A blob without its content; `size` in bytes, `modified` in seconds since the epoch."""

    name: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob's content, and the etag to hand to `replace`. An etag is opaque: compare it, never read it."""

    content: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Message:
    """A delivery. `receipt` proves that it is yours and changes with every renewal; `inserted` is in seconds since the epoch."""

    id: str
    body: str
    dequeue_count: int
    receipt: str
    inserted: float


class Blobs(Protocol):
    """One container.

    Writing raises `BlobNameError` for a name that `layout.check_blob_name` refuses; for reading, no such blob exists.
    Readers see a blob whole or not at all, the old version or the new one.
    """

    def read(self, name: str) -> Blob:
        """Return content and etag of the same moment, or raise `BlobMissing`."""

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """Return bytes `start` to `start + length`: fewer at the end, none past it. Raises `BlobMissing`.

        Two ranges may come from two versions of a blob that is being replaced; a blob created once has but one.
        """

    def stream(self, name: str, chunk: int = CHUNK) -> Iterator[bytes]:
        """Yield one version of the blob in pieces of at most `chunk` bytes. `BlobMissing` is raised when the first is taken."""

    def head(self, name: str) -> BlobInfo:
        """Return name, size and time of the last change, or raise `BlobMissing`."""

    def exists(self, name: str) -> bool:
        """Whether there is such a blob now."""

    def create(self, name: str, content: Content) -> None:
        """Write a blob that nobody will overwrite; of many rivals one wins, the others get `BlobExists`."""

    def replace(self, name: str, content: Content, etag: str | None) -> str:
        """Write if the blob still is what `etag` says (None: there must be none), and return the new etag.

        Raises `BlobChanged` when somebody else wrote since: read again, decide again.
        """

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        """Yield the blobs whose name starts with `prefix`.

        They come in code point order of the whole name, so `a-b` < `a.b` < `a/b`. A blob written meanwhile may or may not show.
        """


class Queues(Protocol):
    """All queues of a store; one comes into being with its first message. Delivery is at least once, in no promised order."""

    def send(self, queue: str, body: str, delay: float = 0) -> None:
        """Add a message that can be received in `delay` seconds."""

    def receive(self, queue: str, visibility: float, limit: int = 1) -> list[Message]:
        """Take up to `limit` messages, roughly the longest visible first, and hide them for `visibility` seconds.

        Who neither deletes nor renews in time sees them delivered to the next, with a `dequeue_count` one higher (it starts at 1).
        """

    def renew(self, queue: str, message: Message, visibility: float) -> Message:
        """Hide a message for `visibility` seconds from now; 0 gives it back. Only the returned message is valid from here on.

        Raises `MessageLost` if it ran out and another consumer has it.
        """

    def delete(self, queue: str, message: Message) -> None:
        """Say that a message is dealt with, or raise `MessageLost` if another consumer has it now or has deleted it."""

    def count(self, queue: str) -> int:
        """How many messages there are, visible or not; in the cloud an estimate."""

    def peek(self, queue: str, limit: int = 32) -> list[Message]:
        """Look at messages without taking them. They have no receipt.

        The local stores show the hidden ones too, a cloud's queue does not: never conclude anything from a message's absence.
        """


@dataclass(frozen=True, slots=True)
class Store:
    """A place with images, labels and queues. Whoever opens `url` sees the same; it holds no secret and may be shown."""

    url: str
    images: Blobs
    labels: Blobs
    queues: Queues
    images_container: str = layout.IMAGES
    labels_container: str = layout.LABELS
    """What the containers are called in events."""
    access: str = ""
    """What proves that we may use it, in words; empty where nothing has to."""


def is_blob_name(name: str) -> bool:
    """Whether a blob of that name can exist."""
    try:
        return bool(layout.check_blob_name(name))
    except BlobNameError:
        return False


def pieces(content: Content, chunk: int = CHUNK) -> Iterator[bytes]:
    """Cut content into pieces of at most `chunk` bytes."""
    if isinstance(content, bytes):
        yield from (content[start : start + chunk] for start in range(0, len(content), chunk))
        return
    while piece := content.read(chunk):
        yield piece


def check_range(start: int, length: int) -> None:
    """Raise `ValueError` for a range before the first byte, which every store would read differently."""
    if start < 0 or length < 0:
        raise ValueError(f"a range cannot start at {start} and be {length} bytes long")


def check_visibility(visibility: float) -> None:
    """Raise `ValueError` for a message that would be received and visible at once, and so taken twice by one call."""
    if not visibility > 0:
        raise ValueError(f"a message cannot be received for {visibility} seconds")


def check_message(queue: str, body: str) -> None:
    """Raise `ValueError` for a message that some store could not hold."""
    layout.check_id(queue)
    if len(body.encode()) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message to '{queue}' is longer than {MAX_MESSAGE_BYTES} bytes; let it name what it is about")
