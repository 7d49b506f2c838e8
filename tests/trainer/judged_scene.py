"""Two images and an empty one with deer and foxes, and what a detector found in them, for the tests of validation."""

import numpy as np

from trainer import validation
from trainer.detections import Detections
from trainer.ground_truth import GroundTruth
from trainer.judged import Judged, judge
from trainer.spread import Spread
from trainer.validation import Extra, Table

CLASSES = ("deer", "fox")
NAMES = ("a.jpg", "b.jpg", "none.jpg")


def found_in(*rows: tuple[tuple[float, float, float, float], float, int], classes: int = 2, spread: bool = False) -> Detections:
    """Detections of (corners, confidence, class); the other classes score a quarter of it."""
    xyxy = np.array([corners for corners, *_ in rows], np.float32).reshape(-1, 4)
    confidence = np.array([score for _, score, _ in rows], np.float32)
    label = np.array([one for *_, one in rows], np.int64)
    scores = np.repeat(confidence[:, None] / 4, classes, 1)
    scores[np.arange(len(rows)), label] = confidence
    return Detections(xyxy, confidence, label, scores, unsure(len(rows), classes) if spread else None)


def unsure(count: int, classes: int) -> Spread:
    four, each = np.arange(count * 4, dtype=np.float32).reshape(-1, 4), np.arange(count * classes, dtype=np.float32).reshape(-1, classes)
    return Spread(four + 1, four + 0.5, each / 8, np.full(count, 0.25, np.float32))


def truth_of(*rows: tuple[tuple[float, float, float, float], int]) -> GroundTruth:
    return GroundTruth(np.array([corners for corners, _ in rows], np.float32).reshape(-1, 4), np.array([one for _, one in rows], np.int64))


DEER, FAR, FOX = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 70.0), (100.0, 0.0, 120.0, 10.0)
TRUTH = [truth_of((DEER, 0), (FAR, 1)), truth_of((FOX, 1)), truth_of()]
FOUND = [
    # on the deer, again on the deer, on nothing
    found_in(((0, 0, 10, 8), 0.75, 0), ((0, 0, 10, 10), 0.5, 0), ((200, 200, 210, 210), 0.25, 1), spread=True),
    # a deer where a fox is
    found_in(((100, 0, 120, 10), 0.5, 0), spread=True),
    found_in(spread=True),
]


def judged() -> Judged:
    return judge(FOUND, TRUTH, 2)


def table(*extras: Extra) -> Table:
    return validation.validation_table(judged(), NAMES, TRUTH, CLASSES, extras)


def values_of(one: Table, name: str) -> list[str | float | None]:
    index = [column.name for column in one.columns].index(name)
    return [row[index] for row in one.rows()]


def hostile() -> Table:
    """The table of the scene with a formula, quotes, commas and line breaks in its names."""
    names = ('=HYPERLINK("x"),1', "two\r\nlines, and\ra third", "none.jpg")
    return validation.validation_table(judged(), names, TRUTH, ("@deer", '"fox"\n'))
