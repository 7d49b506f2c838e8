"""Detections whose uncertainties and correctness are set by hand or drawn, for the tests of thresholds."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from trainer.budgets import Budget
from trainer.detections import Detections
from trainer.judged import Judged
from trainer.spread import Spread

CLASSES = ("cat", "dog")
SOURCE = "model 1234 on test split 5678"
# by hand: correct ones at 1, 2, 3, 4, false ones at 3 and 5
VALUES = np.array([3.0, 1, 4, 5, 2, 3])
CORRECT = np.array([True, True, True, False, True, False])
BUDGETS = [Budget(of, share, None) for of in ("correct", "false") for share in (0.3, 0.5, 0.9, 0.95, 1.0)]
TABLES = st.lists(st.tuples(st.integers(-6, 6), st.integers(-6, 6), st.sampled_from([0, 0.55, 0.9])), min_size=1, max_size=14)


def detections_of(scores: Sequence[Sequence[float]], spread: Spread | None = None) -> Detections:
    scored = np.array(scores, np.float32).reshape(-1, len(CLASSES))
    boxes = np.tile(np.array([[0, 0, 10, 20]], np.float32), (len(scored), 1))
    return Detections(boxes, scored.max(1, initial=0), scored.argmax(1) if len(scored) else np.zeros(0, np.int64), scored, spread)


def judged_of(iou: Sequence[float] | np.ndarray, images: int = 1, label: np.ndarray | None = None, missed: int = 0) -> Judged:
    """Detections of the images in turn: an IoU of 0 is a box on nothing. `missed` objects of the first class nobody found."""
    overlap = np.asarray(iou, np.float32)
    count = len(overlap)
    label = np.zeros(count, np.int64) if label is None else label
    found = detections_of(np.where(label[:, None] == np.arange(2), 0.8, 0.1))
    image = np.arange(count) % images
    objects = np.zeros((images, 2), np.int64)
    np.add.at(objects, (image[overlap > 0], label[overlap > 0]), 1)
    objects[0, 0] += missed
    truth = np.full((count, 4), np.nan, np.float32)
    return Judged(found, image, overlap > 0, overlap, truth, np.where(overlap > 0, label, -1), objects)


def parsed(rows: Sequence[tuple[float, ...]]) -> tuple[dict[str, np.ndarray], Judged]:
    table = np.array(rows, float)
    return {f"u{at}": column for at, column in enumerate(table.T[:-1])}, judged_of(table[:, -1], images=3)


def keeps(removed: np.ndarray, correct: np.ndarray, budget: Budget) -> bool:
    safe = ~removed[correct] if budget.of == "correct" else removed[~correct]
    return not len(safe) or safe.sum() / len(safe) >= budget.share


def masked(values: dict[str, np.ndarray], mask: np.ndarray) -> dict[str, np.ndarray]:
    return {name: column[mask] for name, column in values.items()}
