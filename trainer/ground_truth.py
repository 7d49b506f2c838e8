"""What is truly in an image, in pixels: what training learns from and evaluation compares with.

Rule: a mask is what a person drew, and never made of a box; an object without one has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from activelearning.errors import FormatError, UserError
from activelearning.labels import ImageLabels, Mask, Rle
from trainer import run_lengths
from trainer.letterbox import DetectorImage
from trainer.training import Example

_SEEN = 0.35
"""Of an object's box: what shows less of it is no example of the object (as in augmentation)."""


@dataclass(frozen=True, slots=True, eq=False)
class GroundTruth:
    """The objects of one image: `xyxy` (G, 4) float32 corners in pixels of the upright image, `class_id` (G,) int64.

    `masks`, G of them at the image's size, None for an object that nobody drew one of; None altogether where masks are not asked for.
    """

    xyxy: np.ndarray
    class_id: np.ndarray
    masks: tuple[Rle | None, ...] | None = None

    def __post_init__(self) -> None:
        if self.xyxy.shape != (len(self.class_id), 4):
            raise ValueError(f"xyxy must be of shape ({len(self.class_id)}, 4), not {self.xyxy.shape}")
        if self.masks is not None and len(self.masks) != len(self.class_id):
            raise ValueError(f"masks must be of {len(self.class_id)} objects, not {len(self.masks)}")

    @property
    def without_mask(self) -> int:
        """How many objects lack a mask; 0 where masks are not asked for."""
        return sum(mask is None for mask in self.masks or ())


def ground_truth(labels: ImageLabels, classes: Sequence[str], size: tuple[int, int]) -> GroundTruth:
    """The boxes of an image whose upright size is `size` (w, h). Raises `UserError` for a class that is not in `classes`."""
    class_of = {name: index for index, name in enumerate(classes)}
    unknown = sorted({box.label for box in labels.boxes} - class_of.keys())
    if unknown:
        raise UserError(f"{labels.image}: class '{unknown[0]}' is not in project.toml ({', '.join(classes)})")
    corners = np.array([box.xyxy for box in labels.boxes]).reshape(-1, 4) * np.array([*size, *size])
    return GroundTruth(corners.astype(np.float32), np.array([class_of[box.label] for box in labels.boxes], np.int64))


def with_masks(labels: ImageLabels, classes: Sequence[str], size: tuple[int, int]) -> GroundTruth:
    """The same with each object's mask; a damaged one counts as none."""
    masks = tuple(_at_size(box.mask, size) for box in labels.boxes)
    return replace(ground_truth(labels, classes, size), masks=masks)


TRUTH = {"boxes": ground_truth, "masks": with_masks}
"""How the truth of an image is read, by the project's task."""


def _at_size(mask: Mask | None, size: tuple[int, int]) -> Rle | None:
    if mask is None:
        return None
    try:
        found = run_lengths.resized(mask, size) if isinstance(mask, Rle) else run_lengths.of_polygons(mask, size)
    except FormatError:
        return None
    # a mask of nothing is no mask
    return found if run_lengths.is_any(found) else None


def inside(truth: GroundTruth, tile: np.ndarray) -> GroundTruth:
    """The boxes as they are seen in a tile (4,) of the image, in its pixels; those of which less than `_SEEN` is in it are left out.

    Masks are not cut, and there must be none.
    """
    offset = np.tile(tile[:2], 2)
    seen = truth.xyxy.clip(offset, np.tile(tile[2:], 2))
    area, whole = (np.prod(corners[:, 2:] - corners[:, :2], 1) for corners in (seen, truth.xyxy))
    stays = (area > 0) & (area >= _SEEN * whole)
    return GroundTruth((seen - offset)[stays].astype(np.float32), truth.class_id[stays])


def example(image: DetectorImage, truth: GroundTruth) -> Example:
    """The training example: the truth moved to the pixels that the detector sees."""
    masks = None if truth.masks is None else tuple(mask and _letterboxed(mask, image) for mask in truth.masks)
    return Example(image.pixels, image.letterbox.to_input(truth.xyxy), truth.class_id, masks)


def _letterboxed(mask: Rle, image: DetectorImage) -> Rle:
    """The mask in the detector's input, each pixel as the nearest of the image."""
    height, width = image.pixels.shape[:2]
    inner = image.without_padding.shape
    columns, rows = run_lengths.nearest(inner[1], image.size[0]), run_lengths.nearest(inner[0], image.size[1])
    return run_lengths.of_patch(run_lengths.sampled(mask, columns, rows), image.letterbox.pad, (width, height))
