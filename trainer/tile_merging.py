"""What was found in the tiles of an image, made one answer: an object on a tile's border is found once.

Rule: a box that a tile's border may have cut gives way to a whole one of the same object, and where all are cut, to the box around them.
The most confident look tells the rest. Only tiles that overlap are compared, so the work grows with the image and not with its square.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainer import detections, looks
from trainer.detections import Detections

_SAME_IN_COMMON = 0.5
"""Two tiles' boxes that overlap so much in what both tiles show are one object."""
_AT_BORDER = 0.03
"""Of a tile's side: a box that ends so near to its border may go on beyond."""


def merged(parts: Sequence[Detections], tiles: np.ndarray, size: tuple[int, int], iou: float) -> Detections:
    """What was found in the tiles (T, 4) of an image of `size` (w, h), all in pixels of the image, most confident first; ties by tile.

    Of whole boxes of one class that overlap by more than `iou` the most confident stays.
    """
    if len(parts) == 1:
        return parts[0]
    every = looks.joined(parts)
    order = np.argsort(-every.confidence, kind="stable")
    of_tile = np.repeat(np.arange(len(parts)), [len(one) for one in parts])[order]
    corners = tiles.astype(np.float32)
    every = every[order]
    seen = _Seen(every, of_tile, _cut(every.xyxy, corners[of_tile], size), corners)
    xyxy, alive = _without_pieces(seen)
    seen = replace(seen, found=replace(every, xyxy=xyxy))
    return seen.found[_suppressed(seen, alive, iou)]


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """All tiles' boxes, most confident first: the tile of each (N,), and whether that tile's border may have cut it (N,)."""

    found: Detections
    of_tile: np.ndarray
    cut: np.ndarray
    tiles: np.ndarray

    def neighbours(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The boxes of each two tiles that overlap, as indices, and the corners of what both show."""
        boxes_of = [np.flatnonzero(self.of_tile == tile) for tile in range(len(self.tiles))]
        for first, second in np.argwhere(np.triu(detections.box_iou(self.tiles, self.tiles), 1) > 0).tolist():
            one, other = self.tiles[first], self.tiles[second]
            yield boxes_of[first], boxes_of[second], np.concatenate([np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])])

    def same_class(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Which of these boxes are of one class, (len(one), len(other))."""
        return np.asarray(np.equal.outer(self.found.class_id[one], self.found.class_id[other]))


def _cut(xyxy: np.ndarray, tile: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Whether a border of each box's tile (N, 4) that is none of the image may have cut it, (N,)."""
    near = np.maximum(1.0, _AT_BORDER * np.tile(tile[:, 2:] - tile[:, :2], 2))
    inner = tile != np.array([0, 0, *size], np.float32)
    return np.asarray(((np.abs(xyxy - tile) <= near) & inner).any(1))


def _without_pieces(seen: _Seen) -> tuple[np.ndarray, np.ndarray]:
    """The boxes (N, 4), those of joined pieces grown around them, and which of them are left (N,)."""
    alive, links = np.ones(len(seen.found), bool), []
    for first, second in _same_objects(seen):
        if seen.cut[first] and seen.cut[second]:
            links.append((first, second))
        else:
            alive[first if seen.cut[first] else second] = False
    xyxy = seen.found.xyxy.copy()
    for pieces in _groups(links, alive):
        corners = xyxy[pieces]
        alive[pieces[1:]] = False
        xyxy[pieces[0]] = np.concatenate([corners[:, :2].min(0), corners[:, 2:].max(0)])
    return xyxy, alive


def _same_objects(seen: _Seen) -> Iterator[tuple[int, int]]:
    """Pairs of boxes of two tiles, one of them or both cut, that are the same in what both tiles show."""
    for one, other, common in seen.neighbours():
        low, high = np.tile(common[:2], 2), np.tile(common[2:], 2)
        overlap = detections.box_iou(seen.found.xyxy[one].clip(low, high), seen.found.xyxy[other].clip(low, high))
        may = seen.same_class(one, other) & np.logical_or.outer(seen.cut[one], seen.cut[other])
        for row, column in np.argwhere((overlap >= _SAME_IN_COMMON) & may).tolist():
            yield int(one[row]), int(other[column])


def _groups(links: Sequence[tuple[int, int]], alive: np.ndarray) -> list[list[int]]:
    """The living pieces that links hold together, each group in order, most confident first."""
    group: dict[int, list[int]] = {}
    for first, second in links:
        if alive[first] and alive[second]:
            both = sorted({*group.get(first, [first]), *group.get(second, [second])})
            group |= dict.fromkeys(both, both)
    return [members for index, members in group.items() if members[0] == index]


def _suppressed(seen: _Seen, alive: np.ndarray, iou: float) -> np.ndarray:
    """Class-wise greedy non-maximum suppression of the living boxes among tiles: those that stay, (N,)."""
    repeats: dict[int, list[int]] = {}
    for one, other, _ in seen.neighbours():
        overlap = detections.box_iou(seen.found.xyxy[one], seen.found.xyxy[other])
        for row, column in np.argwhere((overlap > iou) & seen.same_class(one, other)).tolist():
            surer, less = sorted((int(one[row]), int(other[column])))
            repeats.setdefault(surer, []).append(less)
    stays = alive.copy()
    for index in np.flatnonzero(alive).tolist():
        if stays[index]:
            stays[repeats.get(index, [])] = False
    return stays
