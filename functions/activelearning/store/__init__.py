"""Where images, labels and queues lie: `open_store` and the port that every store implements.

Rule: whoever holds a `Store` cannot tell which kind it is.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from activelearning.errors import UserError
from activelearning.store import azure_address, directory, memory
from activelearning.store.port import Blob, BlobInfo, Blobs, Content, Message, Queues, Store

__all__ = ["Blob", "BlobInfo", "Blobs", "Content", "Message", "Queues", "Store", "open_store"]

# One letter is a drive of Windows.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


def open_store(url: str, clock: Callable[[], float] = time.time) -> Store:
    """Open a store; nothing is written before the first blob or message.

    `memory:` is a fresh store, `memory:NAME` the one of that name in this process; `file:///dir` or a path is a directory;
    `https://ACCOUNT.blob.core.windows.net`, with or without the images' container, or a connection string is one on Azure.
    `clock` gives seconds since the epoch and decides when messages become visible. Raises `UserError` for anything else.
    """
    if azure_address.is_azure(url):
        return _open_azure(url, clock)
    match = _SCHEME.match(url)
    scheme = match[1].lower() if match else ""
    if scheme == "memory":
        return memory.open_memory(url, clock)
    if scheme not in ("", "file"):
        raise UserError(
            f"'{scheme}:' is not a kind of store: use a directory, file:///directory, https://ACCOUNT.blob.core.windows.net or memory:NAME"
        )
    return directory.open_directory(_folder(url, scheme), clock)


def _open_azure(url: str, clock: Callable[[], float]) -> Store:
    # Its libraries take a third of a second to import, and come with an extra.
    from activelearning.store.azure import open_azure

    return open_azure(url, clock)


def _folder(url: str, scheme: str) -> Path:
    path = _path_of_url(url) if scheme else url
    if not path or "\0" in path:
        raise UserError("a store needs a directory: give its path, or file:///directory")
    folder = Path(path).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; a store is a directory")
    return folder


def _path_of_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise UserError(f"'{url}' is not a directory's address: write file:///directory, or just the path")
    # urllib.request takes longer to import than everything else here
    from urllib.request import url2pathname

    return url2pathname(parts.path)
