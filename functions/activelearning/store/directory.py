"""A store in a directory: containers are folders of plain files that people may look at and copy into.

Rule: `images/` and `labels/` hold blobs and nothing else; what the store needs for itself lies in `.store/` and `queues/`. A file
copied in by hand is a blob like any other, but tells nobody of itself, and while it is being copied it can be read half-done.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from activelearning import layout
from activelearning.errors import BlobChanged, BlobExists, BlobMissing, BlobNameError
from activelearning.store import _files, _listing, port
from activelearning.store._announce import Announce, announcer
from activelearning.store._files import Scratch, Written
from activelearning.store.directory_queues import DirectoryQueues
from activelearning.store.port import Blob, BlobInfo, Content, Store

_WINDOWS_FAULT = re.compile(r'.*[<>:"|?*].*|(.*/)?(con|prn|aux|nul|com\d|lpt\d)([./].*)?|.*[. ](/.*)?', re.IGNORECASE)


def open_directory(root: Path, clock: Callable[[], float]) -> Store:
    """Return the store in this directory, which need not exist before the first write."""
    scratch = Scratch(root, clock)
    queues = DirectoryQueues(root / "queues", scratch, clock)
    images = DirectoryBlobs(root / layout.IMAGES, scratch, announcer(layout.IMAGES, queues, clock))
    labels = DirectoryBlobs(root / layout.LABELS, scratch, announcer(layout.LABELS, queues, clock))
    return Store(root.as_uri(), images, labels, queues)


class DirectoryBlobs:
    """One container as a folder.

    An etag is a hash of the content. A blob that was changed and changed back has its old etag again, and `replace` goes ahead:
    that is harmless, since what was decided from that content still holds for that content.
    """

    def __init__(self, root: Path, scratch: Scratch, announce: Announce) -> None:
        self._root = root
        self._scratch = scratch
        self._announce = announce

    def read(self, name: str) -> Blob:
        with self._open(name) as file:
            content = file.read()
        return Blob(content, _files.etag_of_bytes(content))

    def read_range(self, name: str, start: int, length: int) -> bytes:
        port.check_range(start, length)
        with self._open(name) as file:
            file.seek(start)
            return file.read(length)

    def stream(self, name: str, chunk: int = port.CHUNK) -> Iterator[bytes]:
        with self._open(name) as file:
            yield from port.pieces(file, chunk)

    def head(self, name: str) -> BlobInfo:
        with self._open(name) as file:
            status = os.fstat(file.fileno())
        return BlobInfo(name, status.st_size, status.st_mtime)

    def exists(self, name: str) -> bool:
        try:
            self.head(name)
        except BlobMissing:
            return False
        return True

    def create(self, name: str, content: Content) -> None:
        path = self._writable(name)
        with _files.plain_errors(self._root.parent, name):
            written = self._create(path, name, content)
        self._announce(name, written.size, written.etag)

    def replace(self, name: str, content: Content, etag: str | None) -> str:
        path = self._writable(name)
        with _files.plain_errors(self._root.parent, name):
            written = self._create_first(path, name, content) if etag is None else self._swap(path, name, content, etag)
        self._announce(name, written.size, written.etag)
        return written.etag

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        return _listing.files_below(self._root, prefix)

    def _create(self, path: Path, name: str, content: Content) -> Written:
        if path.is_file():
            raise self._existing(path, name)
        self._scratch.make_folder(path.parent)
        with self._scratch.written(content) as written:
            try:
                _files.place_once(written.path, path, self._lock(name))
            except FileExistsError:
                raise self._existing(path, name) from None
        return written

    def _existing(self, path: Path, name: str) -> BlobExists | BlobNameError:
        if path.is_dir():
            return BlobNameError(f"{name!r} cannot be a blob in {self._root}: it is a folder there; use another name")
        # Whoever is told 'exists' may rely on it; its creator may have died before flushing.
        _files.sync_folder(path.parent)
        return BlobExists(f"blob '{name}' exists")

    def _create_first(self, path: Path, name: str, content: Content) -> Written:
        try:
            return self._create(path, name, content)
        except BlobExists:
            raise BlobChanged(f"blob '{name}' has been created meanwhile") from None

    def _swap(self, path: Path, name: str, content: Content, etag: str) -> Written:
        # Most rivals lose here, before writing costs them anything; the answer that counts is the one under the lock.
        _require(path, name, etag)
        with self._scratch.written(content) as written:
            with self._lock(name):
                _require(path, name, etag)
                _files.patiently(lambda: written.path.replace(path))
            _files.sync_folder(path.parent)
        return written

    def _lock(self, name: str) -> AbstractContextManager[None]:
        return self._scratch.lock(f"{self._root.name}/{name}")

    def _open(self, name: str) -> BinaryIO:
        if not _fits(name):
            raise _missing(name)
        path = self._path(name)
        try:
            return _files.patiently(lambda: path.open("rb"))
        except OSError as error:
            if error.errno in _files.MISSING or path.is_dir():
                raise _missing(name) from None
            raise

    def _writable(self, name: str) -> Path:
        layout.check_blob_name(name)
        if not _fits(name):
            raise BlobNameError(f"{name!r} is no file name on Windows; rename the file")
        return self._path(name)

    def _path(self, name: str) -> Path:
        return self._root.joinpath(*name.split("/"))


def _fits(name: str) -> bool:
    return port.is_blob_name(name) and not (os.name == "nt" and fails_on_windows(name))


def fails_on_windows(name: str) -> bool:
    """Whether Windows would take a name for a device, a drive or a stream, or drop its last character."""
    return bool(_WINDOWS_FAULT.fullmatch(name))


def _require(path: Path, name: str, etag: str) -> None:
    try:
        unchanged = _files.etag_of(path) == etag
    except FileNotFoundError:
        unchanged = False
    if not unchanged:
        raise BlobChanged(f"blob '{name}' is not what it was")


def _missing(name: str) -> BlobMissing:
    return BlobMissing(f"there is no blob '{name}'")
