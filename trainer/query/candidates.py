"""The pool as columns: what query strategies look at.

Rule: images stand in the order of their names once `by_name` made them so, whatever order they came in, so whatever is computed from
them is the same again, to the last bit, and a tie that goes to the lower index goes by name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from activelearning.errors import BoxError
from activelearning.labels import Box, ImageLabels


@dataclass(frozen=True, eq=False)
class Candidates:
    """N images and their B detections. The boxes of image `i` are rows `offsets[i]` to `offsets[i + 1]` of every column.

    `class_id` (B,) int32 counts in `classes`, which are the predicted ones by name; `confidence` (B,) float32, 1 where no detector was
    asked; `measures` (B,) float32 by column name, NaN where a box has none. Columns may share memory and are never written to.
    """

    images: Sequence[str]
    offsets: np.ndarray
    class_id: np.ndarray
    confidence: np.ndarray
    classes: tuple[str, ...] = ()
    measures: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        boxes = len(self.confidence)
        if len(self.offsets) != len(self.images) + 1 or self.offsets[0] != 0 or self.offsets[-1] != boxes or (self.counts < 0).any():
            raise ValueError("offsets must rise from 0 to the number of boxes, one for each image and one for the end")
        if any(len(column) != boxes for column in (self.class_id, *self.measures.values())):
            raise ValueError(f"every column must have a row for each of {boxes} boxes")
        if boxes and not 0 <= self.class_id.min() <= self.class_id.max() < len(self.classes):
            raise ValueError("a class id is not one of the classes")

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def counts(self) -> np.ndarray:
        """Boxes of each image, (N,)."""
        return np.diff(self.offsets)

    @cached_property
    def image_of_box(self) -> np.ndarray:
        """The index of each box's image, (B,) int64, rising."""
        return np.repeat(np.arange(len(self)), self.counts)

    def column(self, name: str) -> np.ndarray:
        """A measure's column as float64, (B,), NaN where it is missing. Raises `KeyError` for one that was not gathered."""
        return np.asarray(self.measures[name].astype(np.float64))


def of_labels(images: Sequence[ImageLabels], columns: Iterable[str] = ()) -> Candidates:
    """The columns of some images, in their order, with those measures that are named.

    Every number is brought into its range, 0..1 or not negative. Raises `BoxError` that names an image whose confidence is none.
    """
    boxes = [box for labels in images for box in labels.boxes]
    classes = tuple(sorted({box.label for box in boxes}))
    number = {name: index for index, name in enumerate(classes)}
    return Candidates(
        [labels.image for labels in images],
        np.cumsum([0, *(len(labels.boxes) for labels in images)], dtype=np.int64),
        np.array([number[box.label] for box in boxes], np.int32),
        np.array([_confidence(box, labels.image) for labels in images for box in labels.boxes], np.float32),
        classes,
        _measures(boxes, sorted(columns)),
    )


def _confidence(box: Box, image: str) -> float:
    # what no detector scored came from a person or another tool, which was sure
    value = 1.0 if box.confidence is None else box.confidence
    if value != value:
        raise BoxError(f"'{image}' has a confidence that is not a number; predict the image again")
    return min(max(value, 0.0), 1.0)


def _measures(boxes: Sequence[Box], columns: Sequence[str]) -> dict[str, np.ndarray]:
    found = [dict(box.measures) for box in boxes] if columns else []
    limit = float(np.finfo(np.float32).max)
    rows = {name: np.array([one.get(name, np.nan) for one in found], np.float64) for name in columns}
    return {name: values.clip(0, limit).astype(np.float32) for name, values in rows.items()}


def concatenated(parts: Sequence[Candidates]) -> Candidates:
    """Several parts, at least one, as one, in their order; all have the same measures."""
    classes = tuple(sorted({name for part in parts for name in part.classes}))
    sizes = np.concatenate([part.counts for part in parts])
    return Candidates(
        [image for part in parts for image in part.images],
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.concatenate([_renumbered(part, classes) for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        classes,
        {name: np.concatenate([part.measures[name] for part in parts]) for name in parts[0].measures},
    )


def _renumbered(part: Candidates, classes: Sequence[str]) -> np.ndarray:
    number = {name: index for index, name in enumerate(classes)}
    return np.asarray(np.array([number[name] for name in part.classes], np.int32)[part.class_id])


def by_name(candidates: Candidates) -> tuple[Candidates, np.ndarray]:
    """The same in the order of the images' names, and the place (N,) int64 that each had before. No name may come twice."""
    place = np.array(sorted(range(len(candidates)), key=candidates.images.__getitem__), np.int64)
    sizes = candidates.counts[place]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    rows = np.repeat(candidates.offsets[place] - offsets[:-1], sizes) + np.arange(offsets[-1])
    ordered = replace(
        candidates,
        images=[candidates.images[index] for index in place],
        offsets=offsets,
        class_id=candidates.class_id[rows],
        confidence=candidates.confidence[rows],
        measures={name: column[rows] for name, column in candidates.measures.items()},
    )
    return ordered, place
