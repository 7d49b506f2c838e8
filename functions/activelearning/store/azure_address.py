"""Which account, containers and queues an address on Azure means, and what proves that we may use them.

Rule: an `Address` can be shown to anybody; the one secret, a connection string's key, lies apart from it and out of every repr.
Importing this module costs nothing: the Functions host asks it for queue names.
"""

import ipaddress
import os
import re
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from activelearning import layout
from activelearning.errors import UserError

CONNECTION_VARIABLE = "AZURE_STORAGE_CONNECTION_STRING"
STORE_VARIABLE = "ACTIVELEARNING_STORE"
_CONNECTION = re.compile(
    r"(DefaultEndpointsProtocol|AccountName|AccountKey|BlobEndpoint|QueueEndpoint|EndpointSuffix|SharedAccessSignature|UseDevelopmentStorage)=",
    re.IGNORECASE,
)
_CONTAINER = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,37}[a-z0-9]")
"""Short enough that `NAME-reviewed-uploads-poison` is a queue's name, which has 63 characters at most."""
_EMULATOR = "http://127.0.0.1"
_EMULATOR_NAME = "devstoreaccount1"
# Microsoft publishes it for the emulator; it opens nothing else.
_EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_FORM = "write it like https://ACCOUNT.blob.core.windows.net or https://ACCOUNT.blob.core.windows.net/CONTAINER"


@dataclass(frozen=True, slots=True)
class Address:
    """Blob and queue endpoints (without a slash at the end) of an account, and the container that holds the images."""

    account: str
    blobs: str
    queues: str
    images: str = layout.IMAGES

    @property
    def labels(self) -> str:
        """The container of the labels: the project's own, beside the images'."""
        return layout.LABELS if self.images == layout.IMAGES else f"{self.images}-{layout.LABELS}"

    @property
    def queue_prefix(self) -> str:
        """What the project's queues start with, so that several projects share an account."""
        return "" if self.images == layout.IMAGES else f"{self.images}-"

    @property
    def url(self) -> str:
        """The address as people write it; holds no secret."""
        return self.blobs if self.images == layout.IMAGES else f"{self.blobs}/{self.images}"

    @property
    def emulated(self) -> bool:
        """Whether this is an emulator, which has no Event Grid."""
        return _is_path_style(urlsplit(self.blobs).hostname or "")


@dataclass(frozen=True, slots=True)
class Key:
    """An account's shared key."""

    account: str
    value: str = field(repr=False)


def is_azure(url: str) -> bool:
    """Whether a store's address means one on Azure."""
    return url.lower().startswith(("http://", "https://")) or bool(_CONNECTION.search(url))


def parse(url: str) -> tuple[Address, Key | None]:
    """Read a URL or a connection string. The key is the connection string's, or that of the environment for the same account.

    An account's own container `images` holds the images, or the one that the URL names (`…/photos`, or `;ImagesContainer=photos` in a
    connection string). Raises `UserError`, which never quotes what may be a secret.
    """
    if _CONNECTION.search(url):
        return _of_connection(url)
    return _with_key(_of_url(url))


def _of_url(url: str) -> Address:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UserError(f"that is no address of a store: {_FORM}") from None
    if parts.query or parts.fragment or parts.username or not parts.hostname:
        raise UserError(f"a store's address holds no signature and no password: {_FORM}")
    if parts.scheme.lower() != "https" and not _is_path_style(parts.hostname):
        raise UserError(f"a store on Azure is opened over https: {_FORM}")
    names = [name for name in parts.path.split("/") if name]
    host = parts.netloc
    account = names.pop(0) if _is_path_style(parts.hostname) and names else parts.hostname.partition(".")[0]
    base = f"{parts.scheme.lower()}://{host}" + (f"/{account}" if _is_path_style(parts.hostname) else "")
    if len(names) > 1:
        raise UserError(f"a store is a whole container, not a folder in one: {_FORM}")
    return Address(account, base, _queues_of(base), _container(names[0]) if names else layout.IMAGES)


def _is_path_style(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _queues_of(blobs: str) -> str:
    parts = urlsplit(blobs)
    if not _is_path_style(parts.hostname or ""):
        return blobs.replace(".blob.", ".queue.", 1)
    # Azurite's ports are neighbours, as in its documentation; a connection string may say otherwise.
    return f"{parts.scheme}://{parts.hostname}:{(parts.port or 10000) + 1}{parts.path}"


def _container(name: str) -> str:
    if not _CONTAINER.fullmatch(name):
        raise UserError(f"'{name}' is no container of images: 3 to 39 lower-case letters, digits and single hyphens; {_FORM}")
    return name


def _of_connection(text: str) -> tuple[Address, Key]:
    pairs = (part.partition("=") for part in text.split(";") if part.strip())
    values = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if values.get("usedevelopmentstorage", "").lower() == "true":
        values |= {"accountname": _EMULATOR_NAME, "accountkey": _EMULATOR_KEY}
        values |= {"blobendpoint": f"{_EMULATOR}:10000/{_EMULATOR_NAME}", "queueendpoint": f"{_EMULATOR}:10001/{_EMULATOR_NAME}"}
    account, key = values.get("accountname", ""), values.get("accountkey", "")
    if not account or not key:
        raise UserError("a connection string needs AccountName and AccountKey: copy it again, or give the URL and sign in with `az login`")
    blobs = values.get("blobendpoint", "").rstrip("/") or _endpoint(values, account, "blob")
    queues = values.get("queueendpoint", "").rstrip("/") or _endpoint(values, account, "queue")
    images = _container(values["imagescontainer"]) if values.get("imagescontainer") else layout.IMAGES
    return Address(account, blobs, queues, images), Key(account, key)


def _endpoint(values: dict[str, str], account: str, service: str) -> str:
    protocol = values.get("defaultendpointsprotocol", "https")
    return f"{protocol}://{account}.{service}.{values.get('endpointsuffix', 'core.windows.net')}"


def _with_key(address: Address) -> tuple[Address, Key | None]:
    """A tagger's folder keeps the URL alone; the connection string that belongs to it is looked for where it was given."""
    for text in (os.environ.get(CONNECTION_VARIABLE, ""), os.environ.get(STORE_VARIABLE, "")):
        if _CONNECTION.search(text):
            given, key = _of_connection(text)
            if given.blobs.lower() == address.blobs.lower():
                return replace(address, queues=given.queues), key
    return address, None
