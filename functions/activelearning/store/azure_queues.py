"""Storage queues as the queues of the loop.

Rule: bodies are Base64, as the Functions host sends and expects them; messages never expire; a receipt is the service's pop receipt.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue import QueueClient

from activelearning.errors import BlobMissing, MessageLost
from activelearning.store import port
from activelearning.store.azure_errors import code_of, plain_errors
from activelearning.store.port import Message

_AT_ONCE = 32
_FOR_EVER = -1
_LOST = ("MessageNotFound", "PopReceiptMismatch", "QueueNotFound", "InvalidQueryParameterValue")


class AzureQueues:
    """The queues of a project; `client` opens one by its name. Times are whole seconds here, rounded up."""

    def __init__(self, account: str, client: Callable[[str], QueueClient]) -> None:
        self._account = account
        self._client = cache(client)

    def send(self, queue: str, body: str, delay: float = 0) -> None:
        port.check_message(queue, body)
        client = self._client(queue)
        with plain_errors(self._account, f"queue '{queue}'"):
            try:
                client.send_message(body, visibility_timeout=math.ceil(delay), time_to_live=_FOR_EVER)
            except ResourceNotFoundError:
                with suppress(ResourceExistsError):
                    client.create_queue()
                client.send_message(body, visibility_timeout=math.ceil(delay), time_to_live=_FOR_EVER)

    def receive(self, queue: str, visibility: float, limit: int = 1) -> list[Message]:
        port.check_visibility(visibility)
        received: list[Message] = []
        while len(received) < limit:
            asked = min(limit - len(received), _AT_ONCE)
            some = list(self._receive(queue, math.ceil(visibility), asked))
            received += some
            if len(some) < asked:
                break
        return received

    def _receive(self, queue: str, seconds: int, count: int) -> Iterator[Message]:
        with suppress(BlobMissing), plain_errors(self._account, f"queue '{queue}'"):
            pages = self._client(queue).receive_messages(messages_per_page=count, max_messages=count, visibility_timeout=seconds)
            yield from map(_message, pages)

    def renew(self, queue: str, message: Message, visibility: float) -> Message:
        with plain_errors(self._account, f"queue '{queue}'"), _or_lost(queue, message):
            renewed = self._client(queue).update_message(message.id, message.receipt, visibility_timeout=math.ceil(visibility))
        return replace(message, receipt=str(renewed.pop_receipt))

    def delete(self, queue: str, message: Message) -> None:
        with plain_errors(self._account, f"queue '{queue}'"), _or_lost(queue, message):
            self._client(queue).delete_message(message.id, message.receipt)

    def count(self, queue: str) -> int:
        with suppress(BlobMissing), plain_errors(self._account, f"queue '{queue}'"):
            return int(self._client(queue).get_queue_properties().approximate_message_count or 0)
        return 0

    def peek(self, queue: str, limit: int = 32) -> list[Message]:
        with suppress(BlobMissing), plain_errors(self._account, f"queue '{queue}'"):
            return [replace(_message(found), receipt="") for found in self._client(queue).peek_messages(min(limit, _AT_ONCE))]
        return []


def _message(found: Any) -> Message:
    inserted: datetime = found.inserted_on
    return Message(found.id, found.content, found.dequeue_count, found.pop_receipt or "", inserted.timestamp())


@contextmanager
def _or_lost(queue: str, message: Message) -> Iterator[None]:
    """Turn what the service says of a stale receipt into `MessageLost`."""
    try:
        yield
    except HttpResponseError as error:
        if code_of(error) not in _LOST:
            raise
        raise MessageLost(f"message {message.id} of '{queue}' is with another consumer, or gone") from None
