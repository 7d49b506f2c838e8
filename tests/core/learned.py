"""What was learned of a model's drafts, for tests: one class that is mostly right above 0.5, one of which nothing is known."""

from dataclasses import replace
from typing import Any

from activelearning.learned_drafts import Experience, LearnedDrafts, Returned

LEARNED = LearnedDrafts(
    run="main/1",
    images=10,
    score="confidence",
    thresholds={"cat": 0.5},
    other=0.3,
    duplicates=False,
    other_class=False,
    slivers=False,
    edges=(0.1, 0.5),
    rates={"cat": ((0.1, 0.1, 0.8), (0.6, 0.3, 0.1))},
    other_rates=((0.25, 0.25, 0.5), (0.5, 0.25, 0.25)),
    objects=4.0,
    missed=0.5,
    seconds=12.0,
    fixed_seconds=15.0,
    fixed_confidence=0.4,
    drawing_seconds=29.5,
    factors={"cat": (1.0, 1.0, 1.0)},
    experience={"cat": Experience((3.0, 2.0, 1.0), (4.0, 1.0, 1.0))},
    missed_experience=(7.0, 5.0),
    returned=Returned(2, 12, 30, 4, 1, 5, 8, 300.0, 280.0, 12),
)


def learned(**changes: Any) -> LearnedDrafts:
    """The same with some fields changed."""
    return replace(LEARNED, **changes)
