"""Where images, labels and queues lie: `open_store` and the port that every store implements.

Rule: whoever holds a `Store` cannot tell which kind it is.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from activelearning.errors import UserError
from activelearning.store import directory, memory
from activelearning.store.port import Blob, BlobInfo, Blobs, Content, Message, Queues, Store

__all__ = ["Blob", "BlobInfo", "Blobs", "Content", "Message", "Queues", "Store", "open_store"]

# One letter is a drive of Windows.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_CONNECTION_STRING = re.compile(r"(DefaultEndpointsProtocol|AccountName|BlobEndpoint|UseDevelopmentStorage)=", re.IGNORECASE)


def open_store(url: str, clock: Callable[[], float] = time.time) -> Store:
    """Open a store; nothing is written before the first blob or message.

    `memory:` is a fresh store, `memory:NAME` the one of that name in this process; `file:///dir` or a path is a directory.
    `clock` gives seconds since the epoch and decides when messages become visible. Raises `UserError` for anything else.
    """
    match = _SCHEME.match(url)
    scheme = match[1].lower() if match else ""
    if scheme in ("http", "https") or _CONNECTION_STRING.search(url):
        # The address itself stays out of the text: it may carry a key.
        raise UserError("a store on Azure comes with the extra 'azure', which this version does not have yet: use a directory")
    if scheme == "memory":
        return memory.open_memory(url, clock)
    if scheme not in ("", "file"):
        raise UserError(f"'{scheme}:' is not a kind of store: use a directory, file:///directory or memory:NAME")
    return directory.open_directory(_folder(url, scheme), clock)


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
    return url2pathname(parts.path)
