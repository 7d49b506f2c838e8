"""List the files below a folder by their whole relative name, with as little looking as possible.

Rule: lazy, one folder at a time; folders that the prefix rules out are never opened.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from activelearning.store import _files, port
from activelearning.store.port import BlobInfo

_Identity = tuple[int, int]


def files_below(root: Path, prefix: str) -> Iterator[BlobInfo]:
    """Yield regular files by name in code point order, folders joined by '/'; links are followed, but never in a circle.

    A file that vanishes meanwhile is left out, as is a folder.
    """
    base = _base(prefix)
    above = _above(root, base)
    if above is not None:
        yield from _walk(root, base, prefix, above)


def _base(prefix: str) -> str:
    folder, slash, _ = prefix.rpartition("/")
    # A prefix like '../' is the start of no blob's name: the walk from the top finds nothing below it and cannot climb.
    return folder + slash if port.is_blob_name(folder) else ""


def _above(root: Path, base: str) -> frozenset[_Identity] | None:
    """The folders above `base`, or None where one is missing or its own ancestor."""
    parts = base.split("/")[:-1]
    folders = [root.joinpath(*parts[:depth]) for depth in range(len(parts))]
    try:
        above = frozenset(_identity(folder) for folder in folders)
    except OSError:
        return None
    return above if len(above) == len(folders) else None


def _walk(root: Path, base: str, prefix: str, above: frozenset[_Identity]) -> Iterator[BlobInfo]:
    folder = root / base
    try:
        here = _identity(folder)
        names = sorted(name for name in _names(folder, base) if _wanted(name, prefix))
    except OSError as error:
        if error.errno in _files.MISSING:
            return
        # A folder that may not be read must not look like one without images.
        raise
    if here in above:
        return
    for name in names:
        if name.endswith("/"):
            yield from _walk(root, name, prefix, above | {here})
        else:
            yield from _info(root, name)


def _names(folder: Path, base: str) -> Iterator[str]:
    """Entries under their whole name, folders with a '/' at the end: so they sort where the names of their files do."""
    with os.scandir(folder) as entries:
        for entry in entries:
            # A link to itself makes an entry raise; a path says that it is nothing.
            target = Path(entry) if entry.is_symlink() else entry
            if target.is_dir():
                yield f"{base}{entry.name}/"
            elif target.is_file():
                yield base + entry.name


def _wanted(name: str, prefix: str) -> bool:
    return name.startswith(prefix) or (name.endswith("/") and prefix.startswith(name))


def _info(root: Path, name: str) -> Iterator[BlobInfo]:
    try:
        status = os.stat(f"{root}/{name}")  # noqa: PTH116 – a Path for each of a million blobs would double the time
    except (FileNotFoundError, NotADirectoryError):
        return
    yield BlobInfo(name, status.st_size, status.st_mtime)


def _identity(folder: Path) -> _Identity:
    status = folder.stat()
    return status.st_dev, status.st_ino
