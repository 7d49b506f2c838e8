"""What a report tells, as one frozen value of plain arrays: the page is a pure function of it.

Rule: lengths are checked on construction. What an iteration does not have is None or empty, and the page says in words why.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from activelearning.outlook_shown import Outlook
from trainer.ground_truth import GroundTruth
from trainer.judged import Judged


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedImage:
    """One image of the test split: its blob name, its upright size (w, h) in pixels, and what is truly in it."""

    name: str
    size: tuple[int, int]
    truth: GroundTruth

    def __post_init__(self) -> None:
        if min(self.size) <= 0:
            raise ValueError(f"{self.name} must have a size, not {self.size}")


@dataclass(frozen=True, slots=True)
class Separation:
    """How well one uncertainty tells false detections from correct ones; a figure that there is none of is None.

    `auc` is the area under the ROC curve whose positives are false detections; `jsd` the Jensen-Shannon distance of the two
    distributions; `fd_at_cd` the share 0..1 of false detections removed while the budget's share of correct ones stays, `cd_at_fd` the
    share of correct ones kept while the budget's share of false ones goes. A detection whose uncertainty is at least `threshold` is
    removed: the one that belongs to `fd_at_cd`; `inf` removes none.
    """

    uncertainty: str
    auc: float | None
    jsd: float | None
    fd_at_cd: float | None
    cd_at_fd: float | None
    threshold: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """What the model says of the images that nobody has labelled.

    `confidence` (P,) is each image's, 0..1; `counts` says how many images automatic labelling put where, empty when it is off.
    """

    confidence: np.ndarray
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReturnedBatch:
    """What people made of one batch: its reviewed `images`, what became of the `drafts` in them, boxes `added`; the `seconds` of all that
    by the cost model, as they were expected (None: not known), and of drawing every box."""

    batch: str
    tagger: str
    images: int
    drafts: int
    kept: int
    nudged: int
    relabelled: int
    deleted: int
    added: int
    seconds: float
    drawing_seconds: float
    expected_seconds: float | None = None

    @property
    def seconds_an_image(self) -> float | None:
        """By the cost model."""
        return self.seconds / self.images if self.images else None

    @property
    def drawing_an_image(self) -> float | None:
        """Had every box been drawn."""
        return self.drawing_seconds / self.images if self.images else None

    @property
    def expected_an_image(self) -> float | None:
        """As it was expected when the batch was handed out."""
        return self.expected_seconds / self.images if self.images and self.expected_seconds is not None else None


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """All that the report of one run is made of.

    `made_at` is a moment in UTC as `2026-11-21T17:40:00Z`. `performance` holds the rows of `performance.csv`, of every iteration, as
    numbers or as text. `judged` are the N detections in the `images` of the test split, image by image in the same order, None without
    a split. `image` loads an image by name, upright, None when it cannot be read. `shown_from` is the confidence from which people are
    shown a draft; where thresholds were learned, `shown` (N,) bool says of each detection whether they are. `probability` (N,) is the
    calibrated probability of being right and `std` (N, 4) the calibrated standard deviations of the corners in pixels, each None without
    a calibration. `uncertainties` (N,) by name, larger where the model is less sure. `budget` is the share that `separations` keep or
    remove. `calibration` has each metric before and after.
    `outlook` is what more labelled images would bring, None where the run has none.
    """

    run: str
    made_at: str
    classes: Sequence[str]
    performance: Sequence[Mapping[str, Any]]
    judged: Judged | None
    images: Sequence[EvaluatedImage]
    image: Callable[[str], Image.Image | None]
    shown_from: float
    shown: np.ndarray | None = None
    probability: np.ndarray | None = None
    std: np.ndarray | None = None
    uncertainties: Mapping[str, np.ndarray] = field(default_factory=dict)
    separations: Sequence[Separation] = ()
    budget: float = 0.95
    pool: Pool | None = None
    calibration: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    returned: Sequence[ReturnedBatch] = ()
    """The newest reviewed batches, the last one last."""
    outlook: Outlook | None = None

    def __post_init__(self) -> None:
        images, count = (len(self.judged.objects), len(self.judged)) if self.judged is not None else (0, 0)
        if len(self.images) != images:
            raise ValueError(f"images must be the {images} that were judged, not {len(self.images)}")
        _check("shown", self.shown, (count,))
        _check("probability", self.probability, (count,))
        _check("std", self.std, (count, 4))
        for name, values in self.uncertainties.items():
            _check(f"uncertainties '{name}'", values, (count,))

    @property
    def sizes(self) -> np.ndarray:
        """(M, 2) float64 width and height of each image."""
        return np.array([one.size for one in self.images], np.float64).reshape(-1, 2)

    @property
    def best_spread(self) -> np.ndarray | None:
        """(N, 4) standard deviations of the corners: the calibrated ones, else the model's own, None where there are none."""
        if self.std is not None or self.judged is None or self.judged.detections.spread is None:
            return self.std
        return self.judged.detections.spread.total


def _check(name: str, array: np.ndarray | None, shape: tuple[int, ...]) -> None:
    if array is None:
        return
    if array.shape != shape:
        raise ValueError(f"{name} must be of shape {shape}, not {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
