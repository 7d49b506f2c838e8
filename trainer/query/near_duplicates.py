"""Images that look the same: clusters of perceptual hashes a few bits apart.

Rule: two images are in one cluster if a chain of images leads from one to the other, each link close enough, so clusters never overlap and
each has exactly one survivor, the first in the ranking (`modifiers.without_duplicates`).
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

BITS = 64
_COMPARED = 1 << 16
"""So many pairs are compared at a time: they fit the processor's cache."""
_KEPT = 2_000_000
"""So many pairs are kept before they are merged."""


def clusters(hashes: np.ndarray, bits: int) -> np.ndarray:
    """The cluster of each hash (N,) uint64, as the lowest index in it, (N,) int64. One that is like no other is a cluster of its own.

    Two are alike if at most `bits` of their 64 differ. Then one of `bits + 1` bands of the 64 is equal in both, so only hashes with an
    equal band are compared (Manku, Jain and Das Sarma, WWW 2007), and all of those. A million hashes take some seconds at 3 bits, some
    twenty at 6, minutes at 10.
    """
    different, place = np.unique(hashes.astype(np.uint64), return_inverse=True)
    parts = _Union(len(different))
    for band in _bands(different, bits + 1):
        for first, second in _close_pairs(different, band, bits):
            parts.join(first, second)
    return _lowest_of_each(parts.roots()[place])


def _bands(hashes: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """The bits of each band in turn, as numbers (N,)."""
    edges = np.linspace(0, BITS, count + 1).round().astype(int)
    for low, high in pairwise(edges):
        yield (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)


def _close_pairs(hashes: np.ndarray, band: np.ndarray, bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of indices, some at a time, whose band is equal and whose hashes differ in at most so many bits."""
    order = np.argsort(band, kind="stable")
    edges = np.flatnonzero(np.diff(band[order], prepend=band[order[:1]] ^ np.uint64(1), append=band[order[-1:]] ^ np.uint64(1)))
    sizes = np.diff(edges)
    for start, size in zip(edges[:-1][sizes > 1], sizes[sizes > 1], strict=True):
        bucket = order[start : start + size]
        yield from _close_in(hashes[bucket], bucket, bits)


def _close_in(hashes: np.ndarray, index: np.ndarray, bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rows = max(1, _COMPARED // len(hashes))
    for start in range(0, len(hashes), rows):
        part = hashes[start : start + rows]
        first, second = np.divmod(np.flatnonzero(np.bitwise_count(part[:, None] ^ hashes[start:]) <= bits), len(hashes) - start)
        above = second > first
        if above.any():
            yield index[start + first[above]], index[start + second[above]]


class _Union:
    """Which of N things are joined. Links are gathered and then merged at once, so no more than `_KEPT` of them are kept."""

    def __init__(self, count: int) -> None:
        self._roots = np.arange(count)
        self._links: list[np.ndarray] = []
        self._waiting = 0

    def join(self, first: np.ndarray, second: np.ndarray) -> None:
        """Join pairs of indices."""
        self._links.append(np.stack([first, second]))
        self._waiting += len(first)
        if self._waiting > _KEPT:
            self._merge()

    def roots(self) -> np.ndarray:
        """The same number for all that are joined."""
        self._merge()
        return self._roots

    def _merge(self) -> None:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        if not self._links:
            return
        first, second = (self._roots[ends] for ends in np.concatenate(self._links, axis=1))
        count = len(self._roots)
        graph = coo_array((np.ones(len(first), bool), (first, second)), (count, count))
        self._roots = connected_components(graph, directed=False)[1][self._roots].astype(np.int64)
        self._links, self._waiting = [], 0


def _lowest_of_each(cluster: np.ndarray) -> np.ndarray:
    _, first, place = np.unique(cluster, return_index=True, return_inverse=True)
    return first[place].astype(np.int64)
