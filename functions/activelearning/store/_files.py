"""Put files in place so that a reader sees all or nothing and a crash takes nothing back.

Rule: content is written and flushed under a temporary name in `.store/`, moved in one step, and its folder flushed, in this order.
A kill leaves at most a temporary file, which no list shows and which is swept away after a day.
"""

import contextlib
import errno
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from activelearning.errors import BlobNameError, UserError
from activelearning.store import port
from activelearning.store._lock import locked
from activelearning.store.port import Content

Returned = TypeVar("Returned")

_ETAG_DIGITS = 32
_LOCKS = 256
_DAY = 86_400.0
_PATIENCE = 10.0
MISSING = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EILSEQ}
"""What a file system answers when asked to read what is not there, or cannot be there."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BARRED = {errno.EACCES, errno.EPERM, errno.EROFS}
_UNNAMEABLE = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
_BLOCKED = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
_UNLINKABLE = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
_UNFLUSHABLE = {errno.EINVAL, errno.EBADF, errno.ENOTSUP}


@dataclass(frozen=True, slots=True)
class Written:
    """A temporary file that is safely on the disk."""

    path: Path
    size: int
    etag: str


class Scratch:
    """The folder `.store/` of a directory store: temporary files and locks."""

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        self._root = root
        self._temporary = root / ".store" / "tmp"
        self._locks = root / ".store" / "locks"
        self._clock = clock
        self._durable: set[Path] = set()
        self._swept = False

    @contextlib.contextmanager
    def written(self, content: Content) -> Iterator[Written]:
        """Write content to a temporary file, which is gone afterwards unless it has been moved into place."""
        self._sweep()
        path = self._temporary / uuid.uuid4().hex
        try:
            yield _write(path, content)
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold the lock of a key. Some keys share one, so never hold two."""
        self.make_folder(self._locks)
        number = int(hashlib.sha256(key.encode()).hexdigest(), 16) % _LOCKS
        with locked(self._locks / f"{number:03d}"):
            yield

    def make_folder(self, folder: Path) -> None:
        """Make sure that a folder is there and would survive a crash, and its parents with it."""
        if folder in self._durable and folder.is_dir():
            return
        # Inside the store those of rivals, too: they may not have come as far as flushing them.
        unsure = [path for path in (folder, *folder.parents) if self._root in path.parents or not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for path in unsure:
            sync_folder(path.parent)
        self._durable.add(folder)

    def _sweep(self) -> None:
        self.make_folder(self._temporary)
        if self._swept:
            return
        self._swept = True
        for path in self._temporary.iterdir():
            # A rival may sweep, or finish with, the same file.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < self._clock() - _DAY:
                    path.unlink()


def _write(path: Path, content: Content) -> Written:
    size, digest = 0, hashlib.sha256()
    with path.open("xb") as file:
        for piece in port.pieces(content):
            file.write(piece)
            digest.update(piece)
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return Written(path, size, digest.hexdigest()[:_ETAG_DIGITS])


def etag_of(path: Path) -> str:
    """Return the etag of a file's content; raises `FileNotFoundError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_ETAG_DIGITS]


def etag_of_bytes(content: bytes) -> str:
    """Return the etag of content in memory."""
    return hashlib.sha256(content).hexdigest()[:_ETAG_DIGITS]


def place_once(source: Path, target: Path, lock: contextlib.AbstractContextManager[None]) -> None:
    """Move a temporary file to a name that is free, or raise `FileExistsError`.

    `lock` is taken only where the file system has no hard links.
    """
    try:
        # `os.link` refuses a taken name in the same step; `os.rename` would overwrite it.
        os.link(source, target)
    except OSError as error:
        if error.errno not in _UNLINKABLE:
            raise
        _place_once_locked(source, target, lock)
    sync_folder(target.parent)


def _place_once_locked(source: Path, target: Path, lock: contextlib.AbstractContextManager[None]) -> None:
    with lock:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        patiently(lambda: source.rename(target))


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, where the system can: Windows and some network drives cannot, and see to it themselves."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNFLUSHABLE:
            raise
    finally:
        os.close(handle)


def patiently(action: Callable[[], Returned]) -> Returned:
    """Do something again until it works, for ten seconds: Windows lets nobody touch a file while another has it open."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return action()
        except PermissionError:
            if os.name != "nt" or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextlib.contextmanager
def plain_errors(root: Path, name: str) -> Iterator[None]:
    """Turn what a file system refuses while `name` is written into one plain sentence.

    Raises `BlobNameError` for a name that this file system cannot hold, `UserError` for a full disk or missing rights.
    """
    try:
        yield
    except OSError as error:
        sentence = _sentence(error, root, name)
        if sentence is None:
            raise
        raise sentence from error


def _sentence(error: OSError, root: Path, name: str) -> UserError | None:
    if error.errno in _FULL:
        return UserError(f"no space left in {root} for '{name}'; nothing was written")
    if error.errno in _BARRED:
        return UserError(f"'{name}' cannot be written to {root}: {error.strerror}; nothing was written")
    if error.errno == errno.EXDEV:
        return UserError(f"'{name}' lies on another disk than {root / '.store'}: a store is one disk, without links to others")
    if error.errno in _UNNAMEABLE:
        return BlobNameError(f"{name!r} is no file name that {root} can hold: {error.strerror}; use a shorter or plainer name")
    if error.errno in _BLOCKED:
        return BlobNameError(f"{name!r} cannot be written to {root}: a file cannot lie where a folder is, nor below a file")
    return None
