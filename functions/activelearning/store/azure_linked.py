"""The part of a store that a link opens: the images of one batch to read, the uploads of that batch to create.

Rule: what the link does not name does not exist here, and nothing is listed or overwritten. When a signature has run out, the link is
asked for anew, once; where that is not possible, a sentence says what to do, and everything that was done stays.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient

from activelearning.errors import BlobMissing, Refused, UserError
from activelearning.links import Link, Signatures
from activelearning.store.azure import options
from activelearning.store.azure_blobs import AzureBlobs
from activelearning.store.azure_errors import code_of
from activelearning.store.port import Blob, BlobInfo, Content, Message, Store

_FORBIDDEN = ("AuthorizationPermissionMismatch", "UnauthorizedBlobOverwrite")
_LARGEST = 1 << 30
Renew = Callable[[], Link]
Returned = TypeVar("Returned")


class Holder:
    """Who holds a link, and can perhaps ask for another when it has run out. Threads share one."""

    def __init__(self, link: Link, renew: Renew | None) -> None:
        self.link = link
        self._renew = renew
        self._lock = threading.Lock()

    def after_refusal(self, used: Link, refusal: Refused) -> None:
        """See to it that the link is another than the one that was refused. Raises `UserError` where that cannot be."""
        with self._lock:
            if self.link is not used:
                return
            if self._renew is None:
                raise self._sentence(refusal) from None
            self.link = self._renew()

    def _sentence(self, refusal: Refused) -> UserError:
        if time.time() < self.link.valid_until:
            return refusal
        batch = self.link.batch
        return UserError(
            f"the link to batch {batch} was valid until {self.link.until}: ask whoever gave it to you for a new one "
            f"(`activelearning share … --batch {batch}`), then run the same command again; nothing you have done is lost"
        )


def open_linked(link: Link, renew: Renew | None = None) -> Store:
    """The store as far as a link reaches. `renew` asks for a fresh one, where that can be done."""
    holder = Holder(link, renew)
    images = LinkedBlobs(holder, link.images_container, lambda held: held.read_images, lambda held: {})
    labels = LinkedBlobs(holder, link.labels_container, lambda held: held.read_labels, lambda held: held.create_labels)
    shown = f"a link to batch {link.batch}, valid until {link.until}"
    return Store(link.store, images, labels, _NoQueues(), link.images_container, link.labels_container, shown)


class LinkedBlobs(AzureBlobs):
    """One container, as far as the link reaches: which of its signatures read here, and which create."""

    def __init__(
        self, holder: Holder, container: str, readable: Callable[[Link], Signatures], creatable: Callable[[Link], Signatures]
    ) -> None:
        self._account = f"the store of batch {holder.link.batch}"
        self._bulk = None
        self._announce = lambda name, size, etag: None
        self._holder = holder
        self._name = container
        self._readable = readable
        self._creatable = creatable

    def read(self, name: str) -> Blob:
        return self._renewing(lambda: super(LinkedBlobs, self).read(name))

    def head(self, name: str) -> BlobInfo:
        return self._renewing(lambda: super(LinkedBlobs, self).head(name))

    def create(self, name: str, content: Content) -> None:
        start = 0 if isinstance(content, bytes) else content.tell()

        def from_the_start() -> None:
            if not isinstance(content, bytes):
                content.seek(start)
            super(LinkedBlobs, self).create(name, content)

        self._renewing(from_the_start)

    def _may_have_happened(self, error: HttpResponseError) -> bool:
        # The service says 'forbidden' where it would say 'exists' to whoever may do more than create.
        return super()._may_have_happened(error) or code_of(error) in _FORBIDDEN

    def _won_after_all(self, name: str, mark: str) -> str:
        if not self.exists(name):
            raise Refused(f"the link to batch {self._holder.link.batch} is refused: ask for a new one")
        return super()._won_after_all(name, mark)

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        raise UserError("a link opens one batch and lists nothing: ask whoever gave it to you")

    def _renewing(self, act: Callable[[], Returned]) -> Returned:
        used = self._holder.link
        try:
            return act()
        except Refused as refusal:
            self._holder.after_refusal(used, refusal)
            return act()

    def _blob(self, name: str) -> BlobClient:
        signature = self._readable(self._holder.link).get(name)
        if signature is None:
            raise BlobMissing(f"the link to batch {self._holder.link.batch} does not open '{name}'")
        return self._client(name, signature)

    def _writable(self, name: str) -> BlobClient:
        signature = self._creatable(self._holder.link).get(name)
        if signature is None:
            raise UserError(f"the link to batch {self._holder.link.batch} does not let you write '{name}': ask for a new one")
        return self._client(name, signature)

    def _client(self, name: str, signature: str) -> BlobClient:
        # In one piece: a signature that may only create commits no blocks.
        return BlobClient(self._holder.link.endpoint, self._name, name, credential=signature, max_single_put_size=_LARGEST, **options())


class _NoQueues:
    """A link opens no queue: the upload's event wakes the loop."""

    def _closed(self) -> UserError:
        return UserError("a link opens no queues: ask whoever gave it to you")

    def send(self, queue: str, body: str, delay: float = 0) -> None:
        raise self._closed()

    def receive(self, queue: str, visibility: float, limit: int = 1) -> list[Message]:
        raise self._closed()

    def renew(self, queue: str, message: Message, visibility: float) -> Message:
        raise self._closed()

    def delete(self, queue: str, message: Message) -> None:
        raise self._closed()

    def count(self, queue: str) -> int:
        raise self._closed()

    def peek(self, queue: str, limit: int = 32) -> list[Message]:
        raise self._closed()
