"""How unsure a model is of its boxes: what the predicted box scale says (aleatoric) and what Monte-Carlo samples say (epistemic).

Units: pixels of the same image as the boxes, standard deviations throughout; information in bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Of N boxes of C classes, all float32.

    `aleatoric` (N, 4) is the standard deviation of each corner coordinate xmin, ymin, xmax, ymax that the model predicts itself;
    `epistemic` (N, 4) that of the corners over the Monte-Carlo samples; `class_epistemic` (N, C) that of every class's score over the
    samples; `mutual_information` (N,) what the samples tell about the classes (Houlsby et al. 2011), in bits.
    """

    aleatoric: np.ndarray
    epistemic: np.ndarray
    class_epistemic: np.ndarray
    mutual_information: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.mutual_information)
        shapes = {"aleatoric": (count, 4), "epistemic": (count, 4), "class_epistemic": (count, self.class_epistemic.shape[-1])}
        for name, shape in (shapes | {"mutual_information": (count,)}).items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float32:
                raise ValueError(f"{name} must be float32 of shape {shape}, not {array.dtype} of shape {array.shape}")

    def __len__(self) -> int:
        return len(self.mutual_information)

    def __getitem__(self, index: np.ndarray | slice) -> "Spread":
        return Spread(*(getattr(self, field.name)[index] for field in fields(self)))

    @property
    def total(self) -> np.ndarray:
        """(N, 4) standard deviation of each corner by the law of total variance: both variances added."""
        return np.sqrt(self.aleatoric**2 + self.epistemic**2)

    def scaled(self, factors: np.ndarray) -> "Spread":
        """The same in an image whose corner coordinates are `factors` (4,) times as large."""
        factors = factors.astype(np.float32)
        return Spread(self.aleatoric * factors, self.epistemic * factors, self.class_epistemic, self.mutual_information)


def concatenate(parts: Sequence[Spread]) -> Spread:
    """The spreads of several images, at least one, in one value."""
    return Spread(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Spread)))


def relative(std: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
    """Standard deviations (N, 4) of corners as shares of the box: x by its width, y by its height; of a box without extent, 0."""
    size = np.tile(xyxy[:, 2:] - xyxy[:, :2], 2)
    return np.divide(std, size, out=np.zeros_like(std), where=size > 0)


def sampled(sampled_scores: np.ndarray, sampled_xyxy: np.ndarray, aleatoric: np.ndarray) -> Spread:
    """From T samples of class scores (T, N, C) and corners (T, N, 4), and the predicted standard deviations (N, 4)."""
    mean = sampled_scores.mean(0, dtype=np.float64)
    information = (_binary_entropy(mean) - _binary_entropy(sampled_scores).mean(0)).sum(-1)
    parts = aleatoric, sampled_xyxy.std(0), sampled_scores.std(0), np.maximum(information, 0)
    return Spread(*(part.astype(np.float32) for part in parts))


def _binary_entropy(p: np.ndarray) -> np.ndarray:
    """Bits of independent yes-or-no answers, as the classes of a detector with a sigmoid a class are."""
    p = np.clip(p.astype(np.float64), 1e-12, 1 - 1e-12)
    return -p * np.log2(p) - (1 - p) * np.log2(1 - p)
