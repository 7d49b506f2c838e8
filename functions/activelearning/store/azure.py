"""A store on Azure: two containers and the queues of one storage account.

Rule: the service version is pinned here, for the cloud and the emulator alike, so what was tested is what is spoken. Who may do what
is Azure's to say: we sign in as whoever runs us, or use the key of a connection string.
"""

import logging
from base64 import b64decode
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import ContainerClient, ExponentialRetry
from azure.storage.queue import QueueClient, TextBase64DecodePolicy, TextBase64EncodePolicy
from requests.adapters import HTTPAdapter

from activelearning import layout
from activelearning.store._announce import Announce, announcer
from activelearning.store.azure_address import Address, Key, parse
from activelearning.store.azure_blobs import AzureBlobs
from activelearning.store.azure_queues import AzureQueues
from activelearning.store.port import Queues, Store

if TYPE_CHECKING:
    from activelearning.store.azure_bulk import Bulk

API_VERSION = "2025-11-05"
_CONNECTIONS = 32
_PIECE = 4 << 20
_BY_KEY = "the key of a connection string"
_BY_IDENTITY = "your Azure sign-in (`az login` or a managed identity)"


def open_azure(url: str, clock: Callable[[], float], credential: Any = None, stand_in: bool = True) -> Store:
    """Open the store at a URL or connection string. `credential`: by default whoever is signed in (`DefaultAzureCredential`).

    An emulator has no Event Grid: with `stand_in` the store tells of new blobs there, as every local store does.
    """
    address, key = parse(url)
    proof = _key_credential(key) if key else credential or default_credential()
    queues = AzureQueues(address.account, lambda queue: _queue(address, proof, queue))

    def blobs(name: str, container: str, bulk: "Callable[[], Bulk] | None") -> AzureBlobs:
        return AzureBlobs(address.account, _container(address, name, proof), bulk, announce(container))

    def announce(container: str) -> Announce:
        return _announcer(address, container, queues, clock) if stand_in and address.emulated else _silence

    images = blobs(address.images, layout.IMAGES, cache(lambda: _bulk(address, key, proof)))
    labels = blobs(address.labels, layout.LABELS, None)
    return Store(address.url, images, labels, queues, address.images, address.labels, _BY_KEY if key else _BY_IDENTITY)


@cache
def default_credential() -> Any:
    """Whoever is signed in: a managed identity in the cloud (`AZURE_CLIENT_ID` says which), `az login` and its like on a desk."""
    from azure.identity import DefaultAzureCredential

    # It warns in twenty lines of every way of signing in that there might have been; our one sentence comes in its place.
    logging.getLogger("azure.identity").setLevel(logging.ERROR)
    return DefaultAzureCredential()


def _key_credential(key: Key) -> dict[str, str]:
    return {"account_name": key.account, "account_key": key.value}


def _container(address: Address, name: str, proof: Any) -> ContainerClient:
    pieces: dict[str, Any] = dict.fromkeys(("max_single_put_size", "max_block_size", "max_single_get_size", "max_chunk_get_size"), _PIECE)
    return ContainerClient(address.blobs, name, proof, **pieces, **options())


def _bulk(address: Address, key: Key | None, proof: Any) -> "Bulk":
    # functions never read an image
    from activelearning.store.azure_bulk import Bulk

    return Bulk(address, address.images, key, proof)


class _AnyText(TextBase64DecodePolicy):
    """What somebody typed into the portal is no Base64; it is handed on as it is, and ends in the poison queue like any nonsense."""

    def decode(self, content: str, response: Any) -> str:
        try:
            return b64decode(content, validate=True).decode()
        except ValueError:
            return content


def _queue(address: Address, proof: Any, name: str) -> QueueClient:
    base64: dict[str, Any] = {"message_encode_policy": TextBase64EncodePolicy(), "message_decode_policy": _AnyText()}
    return QueueClient(address.queues, address.queue_prefix + name, proof, **base64, **options())


def options() -> dict[str, Any]:
    """What every client of the SDK is opened with."""
    # The SDK's own first pause is fifteen seconds, in which a tagger would think that nothing happens.
    retry = _Retry(initial_backoff=1, increment_base=2, retry_total=4)
    return {"api_version": API_VERSION, "retry_policy": retry, "connection_timeout": 10, "read_timeout": 60, "transport": _transport()}


class _Retry(ExponentialRetry):
    """Patience with the service and the network; that nobody is signed in is no better half a minute later."""

    def increment(self, settings: Any, request: Any, response: Any = None, error: Any = None, **more: Any) -> bool:
        return not isinstance(error, ClientAuthenticationError) and super().increment(settings, request, response, error, **more)


@cache
def _transport() -> RequestsTransport:
    """One pool of connections for all clients of the process; requests' own holds ten."""
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return RequestsTransport(session=session, session_owner=False)


def _announcer(address: Address, container: str, queues: Queues, clock: Callable[[], float]) -> Announce:
    return announcer(container, queues, clock, address.images if container == layout.IMAGES else address.labels)


def _silence(name: str, size: int, etag: str) -> None:
    """The cloud tells of new blobs by itself."""
