"""What the detector saw of single objects: the features of each image's most confident detections."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The objects of N images. Those of image `i` are rows `offsets[i]` to `offsets[i + 1]` of every column, most confident first.

    `features` (B, F) float16; `class_id` (B,) int32 counts in `classes`; `confidence` (B,) float32, the score of the own class; `entropy`
    (B,) float32, bits, of all class scores (`ordering.box_entropy`).
    """

    offsets: np.ndarray
    features: np.ndarray
    class_id: np.ndarray
    confidence: np.ndarray
    entropy: np.ndarray
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rows = len(self.confidence)
        if self.offsets[0] != 0 or self.offsets[-1] != rows or (np.diff(self.offsets) < 0).any():
            raise ValueError("offsets must rise from 0 to the number of objects")
        if self.features.ndim != 2 or any(len(column) != rows for column in (self.features, self.class_id, self.entropy)):
            raise ValueError(f"every column must have a row for each of {rows} objects")
        if rows and self.classes and not 0 <= self.class_id.min() <= self.class_id.max() < len(self.classes):
            raise ValueError("a class id is not one of the classes")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of_image(self, index: int) -> slice:
        """The rows of an image's objects."""
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))

    def at(self, indices: np.ndarray) -> "Objects":
        """Those of the images named by index, in that order."""
        sizes = np.diff(self.offsets)[indices]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        rows = np.repeat(self.offsets[indices] - offsets[:-1], sizes) + np.arange(offsets[-1])
        return replace(self, offsets=offsets, **{column: getattr(self, column)[rows] for column in _COLUMNS})

    def first(self, most: int) -> "Objects":
        """At most so many of each image, the most confident."""
        place = np.arange(len(self.confidence)) - np.repeat(self.offsets[:-1], np.diff(self.offsets))
        offsets = np.concatenate([[0], np.cumsum(np.minimum(np.diff(self.offsets), most))]).astype(np.int64)
        return replace(self, offsets=offsets, **{column: getattr(self, column)[place < most] for column in _COLUMNS})


_COLUMNS = ("features", "class_id", "confidence", "entropy")

ObjectsOf = Callable[[np.ndarray], Objects]
"""The objects of the images that are named by index (n,), in that order; loaded when they are asked for."""


def no_objects(images: int, width: int = 0) -> Objects:
    """Of so many images without any object."""
    none = np.zeros(0, np.float32)
    return Objects(np.zeros(images + 1, np.int64), np.zeros((0, width), np.float16), none.astype(np.int32), none, none)


def concatenated(parts: Sequence[Objects]) -> Objects:
    """Several parts of one model, at least one, as one, in their order."""
    sizes = np.concatenate([np.diff(part.offsets) for part in parts])
    widest = max(part.features.shape[1] for part in parts)
    parts = [part for part in parts if part.features.shape[1] == widest or len(part.confidence)]
    return Objects(
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        **{column: np.concatenate([getattr(part, column) for part in parts]) for column in _COLUMNS},
        classes=max((part.classes for part in parts), key=len),
    )


def of_length_one(features: np.ndarray) -> np.ndarray:
    """The rows (B, F) as float32 of length 1, so that a product is a cosine; a row of zeros stays."""
    rows = features.astype(np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, length, out=np.zeros_like(rows), where=length > 0))
