"""Lines of a blob, read by ranges that grow: a few cost little, and many are not slow."""

from collections.abc import Iterator

from activelearning.store import Blobs

FIRST_READ = 1 << 15
"""Bytes; the next reads are twice as large each, up to a megabyte."""
_LARGEST_READ = 1 << 20


def lines(blobs: Blobs, name: str, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """The lines between two offsets with the offsets they start at, each with its line end but perhaps the last."""
    rest, size = b"", FIRST_READ
    while start < stop:
        piece = blobs.read_range(name, start + len(rest), min(size, stop - start - len(rest)))
        whole = (rest + piece).splitlines(keepends=True) if piece else [rest]
        rest = whole.pop() if piece and not whole[-1].endswith(b"\n") else b""
        for line in whole:
            yield start, line
            start += len(line)
        if not piece:
            return
        size = min(size * 2, _LARGEST_READ)
