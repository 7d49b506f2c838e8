"""What is truly in an image, in pixels: what training learns from and evaluation compares with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from activelearning.errors import UserError
from activelearning.labels import ImageLabels
from trainer.letterbox import DetectorImage
from trainer.training import Example


@dataclass(frozen=True, slots=True, eq=False)
class GroundTruth:
    """The objects of one image: `xyxy` (G, 4) float32 corners in pixels of the upright image, `class_id` (G,) int64."""

    xyxy: np.ndarray
    class_id: np.ndarray

    def __post_init__(self) -> None:
        if self.xyxy.shape != (len(self.class_id), 4):
            raise ValueError(f"xyxy must be of shape ({len(self.class_id)}, 4), not {self.xyxy.shape}")


def ground_truth(labels: ImageLabels, classes: Sequence[str], size: tuple[int, int]) -> GroundTruth:
    """The boxes of an image whose upright size is `size` (w, h). Raises `UserError` for a class that is not in `classes`."""
    class_of = {name: index for index, name in enumerate(classes)}
    unknown = sorted({box.label for box in labels.boxes} - class_of.keys())
    if unknown:
        raise UserError(f"{labels.image}: class '{unknown[0]}' is not in project.toml ({', '.join(classes)})")
    corners = np.array([box.xyxy for box in labels.boxes]).reshape(-1, 4) * np.array([*size, *size])
    return GroundTruth(corners.astype(np.float32), np.array([class_of[box.label] for box in labels.boxes], np.int64))


def example(image: DetectorImage, truth: GroundTruth) -> Example:
    """The training example: the truth moved to the pixels that the detector sees."""
    return Example(image.pixels, image.letterbox.to_input(truth.xyxy), truth.class_id)
