"""A container on Azure as a container of the loop.

Rule: every write is one conditional request (If-None-Match or If-Match), so Azure itself decides races. A request whose answer got
lost is sent again by the client and then meets its own effect: each write therefore carries a mark of its own, and who finds it
there has won.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any, BinaryIO

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import BlobClient, ContainerClient

from activelearning import layout
from activelearning.errors import BlobChanged, BlobExists, BlobMissing, BlobNameError
from activelearning.store import port
from activelearning.store._announce import Announce
from activelearning.store.azure_errors import code_of, plain_errors
from activelearning.store.port import Blob, BlobInfo, Content

if TYPE_CHECKING:
    from activelearning.store.azure_bulk import Bulk

_MARK = "writer"
_PAGE = 5000
_LOST_RACES = ("BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet", "BlobNotFound")


class AzureBlobs:
    """One container, made with its first blob. An etag is the service's.

    With `bulk`, what it returns moves whole blobs in memory, at a fraction of the cost.
    """

    def __init__(self, account: str, container: ContainerClient, bulk: "Callable[[], Bulk] | None", announce: Announce) -> None:
        self._account = account
        self._container = container
        self._bulk = bulk
        self._announce = announce

    def read(self, name: str) -> Blob:
        while True:
            # A big blob comes in several requests; one that was replaced meanwhile is begun anew.
            with suppress(BlobChanged), self._reading(name):
                return self._bulk().read(name) if self._bulk else self._read(name)

    def _read(self, name: str) -> Blob:
        stream = self._blob(name).download_blob()
        return Blob(stream.readall(), stream.properties.etag)

    def read_range(self, name: str, start: int, length: int) -> bytes:
        port.check_range(start, length)
        if length == 0:
            self.head(name)
            return b""
        try:
            with self._reading(name):
                return self._blob(name).download_blob(start, length).readall()
        except _PastTheEnd:
            return b""

    def stream(self, name: str, chunk: int = port.CHUNK) -> Iterator[bytes]:
        with self._reading(name):
            for piece in self._blob(name).download_blob().chunks():
                yield from port.pieces(piece, chunk)

    def head(self, name: str) -> BlobInfo:
        with self._reading(name):
            found = self._blob(name).get_blob_properties()
            return BlobInfo(name, found.size, found.last_modified.timestamp())

    def exists(self, name: str) -> bool:
        try:
            self.head(name)
        except BlobMissing:
            return False
        return True

    def create(self, name: str, content: Content) -> None:
        try:
            self.replace(name, content, None)
        except BlobChanged:
            raise BlobExists(f"blob '{name}' exists") from None

    def replace(self, name: str, content: Content, etag: str | None) -> str:
        _check_writable(name)
        start = 0 if isinstance(content, bytes) else content.tell()
        with plain_errors(self._account, f"blob '{name}'"):
            written = self._write(name, content, etag)
        self._announce(name, _position(content) - start, written)
        return written

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        if not port.is_blob_name(f"{prefix}x"):
            # what starts no name is not asked for: the emulator answers it with an internal error
            return
        # Services sort by UTF-8 or by UTF-16, and differ only in names beyond the basic plane: those are sorted here.
        for _, alike in groupby(self._listed(prefix), key=lambda info: _before_high_letters(info.name)):
            yield from sorted(alike, key=lambda info: info.name)

    def _listed(self, prefix: str) -> Iterator[BlobInfo]:
        with suppress(BlobMissing), plain_errors(self._account, f"the list of container '{self._container.container_name}'"):
            for found in self._container.list_blobs(name_starts_with=prefix or None, results_per_page=_PAGE):
                yield BlobInfo(found.name, found.size, found.last_modified.timestamp())

    def _write(self, name: str, content: Content, etag: str | None) -> str:
        mark = uuid.uuid4().hex
        try:
            return self._put_in_container(name, content, etag, mark)
        except HttpResponseError as error:
            if not self._may_have_happened(error):
                raise
            return self._won_after_all(name, mark)

    def _may_have_happened(self, error: HttpResponseError) -> bool:
        """Whether a refused write says that the blob is there: a rival's, or our own, written by a request whose answer was lost."""
        return code_of(error) in _LOST_RACES or isinstance(error, ResourceModifiedError)

    def _put_in_container(self, name: str, content: Content, etag: str | None, mark: str) -> str:
        start = _position(content)
        try:
            return self._put(name, content, etag, mark)
        except HttpResponseError as error:
            if code_of(error) != "ContainerNotFound" or etag is not None:
                raise
        with suppress(ResourceExistsError):
            self._container.create_container()
        if not isinstance(content, bytes):
            content.seek(start)
        return self._put(name, content, etag, mark)

    def _put(self, name: str, content: Content, etag: str | None, mark: str) -> str:
        marks = {_MARK: mark}
        if self._bulk and etag is None and isinstance(content, bytes):
            return self._bulk().create(name, content, marks)
        length = len(content) if isinstance(content, bytes) else _remaining(content)
        return str(self._writable(name).upload_blob(content, length=length, metadata=marks, **_condition(etag))["etag"])

    def _won_after_all(self, name: str, mark: str) -> str:
        """The etag of a write of ours whose answer was lost; raises `BlobChanged` where the blob is another's."""
        with suppress(ResourceNotFoundError):
            found = self._blob(name).get_blob_properties()
            if found.metadata.get(_MARK) == mark:
                return str(found.etag)
        raise BlobChanged(f"blob '{name}' is not what it was")

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        if not port.is_blob_name(name):
            raise BlobMissing(f"there is no blob '{name}'")
        with plain_errors(self._account, f"blob '{name}'"):
            try:
                yield
            except ResourceModifiedError:
                raise BlobChanged(f"blob '{name}' was replaced while it was read") from None
            except HttpResponseError as error:
                if code_of(error) == "InvalidRange":
                    raise _PastTheEnd from None
                raise

    def _blob(self, name: str) -> BlobClient:
        return self._container.get_blob_client(name)

    def _writable(self, name: str) -> BlobClient:
        return self._blob(name)


class _PastTheEnd(Exception):
    """A range begins where the blob has ended."""


def _condition(etag: str | None) -> Mapping[str, Any]:
    if etag is None:
        return {"overwrite": False}
    return {"overwrite": True, "etag": etag, "match_condition": MatchConditions.IfNotModified}


def _position(content: Content) -> int:
    """How many bytes of the content have been read; of content in memory, all of them, since it is always there."""
    return len(content) if isinstance(content, bytes) else content.tell()


def _remaining(file: BinaryIO) -> int:
    """Bytes from where the file stands to its end; the SDK by itself would count the whole file."""
    start = file.tell()
    length = file.seek(0, 2) - start
    file.seek(start)
    return length


def _before_high_letters(name: str) -> str:
    """The part of a name before the first character that UTF-8 and UTF-16 sort differently; all of it where there is none."""
    position = next((index for index, letter in enumerate(name) if letter >= "\ud800"), len(name))
    # Names without such a letter stand alone, whatever they have in common with their neighbours.
    return name[:position] + ("\ud800" if position < len(name) else "")


def _check_writable(name: str) -> None:
    layout.check_blob_name(name)
    if any(part.endswith(".") for part in name.split("/")):
        raise BlobNameError(f"{name!r} cannot be a blob on Azure, which drops a dot at the end of a name or folder; rename the file")
