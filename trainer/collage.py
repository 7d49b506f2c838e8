"""Training images made of several: mosaics of four, and images that get objects of another.

Rule: pure functions of a batch, a share and a generator, so a batch can be made again; without a share nothing is drawn. An object of which
too little is left to be seen is none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from trainer.detectors import Targets
from trainer.letterbox import FILL
from trainer.recipe import Recipe

_CENTRE = (0.35, 0.65)
_ZOOM = (0.5, 1.0)
_MIN_VISIBLE = 0.35
"""As in `trainer.augment`."""
_MIN_SIDE = 3.0
_PASTED = 0.5
"""Each object of the other image is pasted with this probability."""
_MOST_HIDDEN = 0.3
"""At most this share of a box's area may be pasted over."""
_TRIES = 4

Batch = tuple[Tensor, Targets]


@dataclass(frozen=True, slots=True, eq=False)
class _Objects:
    """One image's objects, without padding: `boxes` (N, 4), `labels` (N,), `masks` (N, H, W) bool or None."""

    boxes: Tensor
    labels: Tensor
    masks: Tensor | None

    def kept(self, which: Tensor) -> "_Objects":
        return _Objects(self.boxes[which], self.labels[which], None if self.masks is None else self.masks[which])


@dataclass(frozen=True, slots=True)
class _Tile:
    """A part of a mosaic, and what it shows: image `source`, new = `zoom` · old + `shift`, in pixels."""

    left: int
    top: int
    right: int
    bottom: int
    source: int
    zoom: float
    shift: tuple[float, float]


def compose(images: Tensor, targets: Targets, recipe: Recipe, generator: Generator) -> Batch:
    """The batch (B, 3, H, W), float 0..255, with as many mosaics and pasted objects as the recipe wants."""
    if recipe.mosaic:
        images, targets = mosaic(images, targets, recipe.mosaic, generator)
    if recipe.copy_paste:
        images, targets = copy_paste(images, targets, recipe.copy_paste, generator)
    return images, targets


def mosaic(images: Tensor, targets: Targets, share: float, generator: Generator) -> Batch:
    """Make this share of the images of four of the batch: itself and three drawn ones, each smaller, met at a drawn point (Bochkovskiy et
    al. 2020). Boxes and masks end with their part."""
    made, known = images.clone(), _unpadded(targets)
    found = list(known)
    for index in torch.nonzero(torch.rand(len(images), generator=generator) < share).flatten().tolist():
        tiles = _tiles(index, len(images), (images.shape[3], images.shape[2]), generator)
        for tile in tiles:
            made[index, :, tile.top : tile.bottom, tile.left : tile.right] = _shown(images[tile.source], tile)
        found[index] = _joined([_moved(known[tile.source], tile) for tile in tiles])
    return made, _padded(found)


def _tiles(index: int, count: int, size: tuple[int, int], generator: Generator) -> list[_Tile]:
    """The four parts of image `index`, of a batch of so many."""
    centre = [round(side * _uniform(*_CENTRE, generator)) for side in size]
    columns, rows = ((0, centre[axis], size[axis]) for axis in (0, 1))
    others = torch.randint(count, (3,), generator=generator).tolist()
    tiles = []
    for part, source in enumerate((index, *others)):
        left, right = columns[part % 2 : part % 2 + 2]
        top, bottom = rows[part // 2 : part // 2 + 2]
        zoom = math.exp(_uniform(math.log(_ZOOM[0]), math.log(_ZOOM[1]), generator))
        # any window of the image that fits, or the whole image anywhere in the part
        shift = (
            left - _uniform(0, 1, generator) * (zoom * size[0] - (right - left)),
            top - _uniform(0, 1, generator) * (zoom * size[1] - (bottom - top)),
        )
        tiles.append(_Tile(left, top, right, bottom, source, zoom, shift))
    return tiles


def _shown(image: Tensor, tile: _Tile) -> Tensor:
    """The pixels of a part, (3, h, w)."""
    x, y = (2 * places / side - 1 for places, side in zip(_places(tile), (image.shape[2], image.shape[1]), strict=True))
    grid = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], -1).to(image.device)
    return functional.grid_sample((image - FILL)[None], grid[None], align_corners=False)[0] + FILL


def _places(tile: _Tile) -> tuple[Tensor, Tensor]:
    """Where the pixel centres of a part's columns and rows were in its image."""
    columns, rows = torch.arange(tile.left, tile.right) + 0.5, torch.arange(tile.top, tile.bottom) + 0.5
    return (columns - tile.shift[0]) / tile.zoom, (rows - tile.shift[1]) / tile.zoom


def _moved(objects: _Objects, tile: _Tile) -> _Objects:
    whole = objects.boxes * tile.zoom + torch.tensor(tile.shift * 2)
    low, high = torch.tensor([tile.left, tile.top] * 2), torch.tensor([tile.right, tile.bottom] * 2)
    clipped = torch.minimum(torch.maximum(whole, low), high)
    masks = None if objects.masks is None else _moved_masks(objects.masks, tile)
    before, after = whole[:, 2:] - whole[:, :2], clipped[:, 2:] - clipped[:, :2]
    visible = (after.prod(1) > _MIN_VISIBLE * before.prod(1)) & (after > _MIN_SIDE).all(1)
    return _Objects(clipped, objects.labels, masks).kept(visible)


def _moved_masks(masks: Tensor, tile: _Tile) -> Tensor:
    """Each pixel of the part as the nearest one before, all others empty."""
    height, width = masks.shape[1:]
    x, y = (places.floor().long() for places in _places(tile))
    inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))
    moved = torch.zeros_like(masks)
    picked = masks[:, y.clamp(0, height - 1)][:, :, x.clamp(0, width - 1)]
    moved[:, tile.top : tile.bottom, tile.left : tile.right] = picked & inside
    return moved


def copy_paste(images: Tensor, targets: Targets, share: float, generator: Generator) -> Batch:
    """Paste objects of a drawn other image into this share of the images (Ghiasi et al. 2021): their masks' pixels, or where there is no
    mask the whole box, each at a drawn place where it hides little of any other object; where none is found in a few tries, it is not."""
    made, known = images.clone(), _unpadded(targets)
    found = list(known)
    for index in torch.nonzero(torch.rand(len(images), generator=generator) < share).flatten().tolist():
        source = int(torch.randint(len(images), (1,), generator=generator))
        for number in range(len(known[source].boxes)):
            if source != index and _uniform(0, 1, generator) < _PASTED:
                one = known[source].kept(torch.tensor([number]))
                found[index] = _pasted(made[index], found[index], images[source], one, generator)
    return made, _padded(found)


def _pasted(into: Tensor, objects: _Objects, source: Tensor, one: _Objects, generator: Generator) -> _Objects:
    """Write the one object into the image, and return all its objects; the same as before where there is no room."""
    height, width = into.shape[1:]
    left, top = (max(int(value), 0) for value in one.boxes[0, :2].floor())
    right, bottom = (min(int(value), side) for value, side in zip(one.boxes[0, 2:].ceil(), (width, height), strict=True))
    if right <= left or bottom <= top:
        return objects
    for _ in range(_TRIES):
        x, y = (int(torch.randint(room + 1, (1,), generator=generator)) for room in (width - (right - left), height - (bottom - top)))
        box = one.boxes + torch.tensor([x - left, y - top] * 2)
        if _hidden(objects.boxes, box[0]) <= _MOST_HIDDEN:
            break
    else:
        return objects
    patch = torch.ones(bottom - top, right - left, dtype=torch.bool)
    if one.masks is not None and one.masks.any():
        patch = one.masks[0, top:bottom, left:right]
    place = (slice(y, y + bottom - top), slice(x, x + right - left))
    on_device = patch.to(into.device)
    into[:, *place] = torch.where(on_device, source[:, top:bottom, left:right], into[:, *place])
    return _joined([_uncovered(objects, patch, place), _Objects(box, one.labels, _masks_of(one, patch, place))])


def _hidden(boxes: Tensor, box: Tensor) -> float:
    """The largest share of any of the boxes that the one covers."""
    if not len(boxes):
        return 0.0
    sides = (torch.minimum(boxes[:, 2:], box[2:]) - torch.maximum(boxes[:, :2], box[:2])).clamp(min=0)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1).clamp(min=1e-6)
    return float((sides.prod(1) / areas).max())


def _uncovered(objects: _Objects, patch: Tensor, place: tuple[slice, slice]) -> _Objects:
    if objects.masks is None:
        return objects
    masks = objects.masks.clone()
    masks[:, *place] &= ~patch
    return _Objects(objects.boxes, objects.labels, masks)


def _masks_of(one: _Objects, patch: Tensor, place: tuple[slice, slice]) -> Tensor | None:
    if one.masks is None:
        return None
    masks = torch.zeros_like(one.masks)
    # nobody drew one: there is none at the new place either
    masks[0, *place] = patch & one.masks.any()
    return masks


def _unpadded(targets: Targets) -> list[_Objects]:
    masks = targets.masks
    return [
        _Objects(targets.boxes[row][valid], targets.labels[row][valid], None if masks is None else masks[row][valid])
        for row, valid in enumerate(targets.valid)
    ]


def _padded(objects: Sequence[_Objects]) -> Targets:
    most = max(1, *(len(one.boxes) for one in objects))
    rows = torch.tensor([len(one.boxes) for one in objects])
    boxes = torch.stack([functional.pad(one.boxes, (0, 0, 0, most - len(one.boxes))) for one in objects])
    labels = torch.stack([functional.pad(one.labels, (0, most - len(one.labels))) for one in objects])
    masks = [functional.pad(one.masks, (0, 0, 0, 0, 0, most - len(one.masks))) for one in objects if one.masks is not None]
    return Targets(boxes, labels, torch.arange(most) < rows[:, None], torch.stack(masks) if masks else None)


def _joined(parts: Sequence[_Objects]) -> _Objects:
    boxes, labels = torch.cat([part.boxes for part in parts]), torch.cat([part.labels for part in parts])
    masks = [part.masks for part in parts if part.masks is not None]
    return _Objects(boxes, labels, torch.cat(masks) if masks else None)


def _uniform(low: float, high: float, generator: Generator) -> float:
    return low + (high - low) * float(torch.rand(1, generator=generator))
