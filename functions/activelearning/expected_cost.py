"""How long a review will take, before anybody begins it: from what became of such boxes in held-out images and at people's hands.

Rule: an expectation, never more exact than what it rests on. What is not known is None, and nothing is said of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from activelearning import draft_rules
from activelearning.cost import CostModel
from activelearning.labels import Box, ImageLabels
from activelearning.learned_drafts import DELETE, KEEP, NUDGE, LearnedDrafts, Shares


@dataclass(frozen=True, slots=True)
class Expected:
    """The work on some images: `seconds` with their drafts, `drawing_seconds` if every box were drawn, and the boxes `missed` by the
    drafts, as held-out images tell, before what people's additions taught."""

    images: int = 0
    seconds: float = 0.0
    drawing_seconds: float = 0.0
    missed: float = 0.0

    def __add__(self, other: "Expected") -> "Expected":
        return Expected(
            self.images + other.images,
            self.seconds + other.seconds,
            self.drawing_seconds + other.drawing_seconds,
            self.missed + other.missed,
        )

    def __str__(self) -> str:
        return f"{sentence(self.images, self.seconds)} (drawing all: {duration(self.drawing_seconds)})"


def of_image(labels: ImageLabels, shown: Sequence[int], learned: LearnedDrafts, costs: CostModel) -> Expected:
    """The work on one image of the pool, of whose boxes those with the indices `shown` are drafts.

    Open it, and for each draft what is done to it by the odds; draw each object that only a hidden box stands for, or none.
    """
    hidden = set(range(len(labels.boxes))) - set(shown)
    drafts = sum(_review_seconds(shares_of(labels.boxes[index], learned), costs) for index in shown)
    missed = learned.missed + sum(_held_out_right(labels.boxes[index], learned) for index in hidden)
    objects = learned.missed * learned.missed_factor + sum(1 - shares_of(box, learned)[DELETE] for box in labels.boxes)
    drawn = costs.draw * missed * learned.missed_factor
    return Expected(1, costs.open + drafts + drawn, costs.open + costs.draw * objects, missed)


def total(images: Iterable[Expected]) -> Expected:
    """The sum over images."""
    return sum(images, Expected())


def shares_of(box: Box, learned: LearnedDrafts) -> Shares:
    """What will become of a box if it is shown; one that a person drew or confirmed is kept."""
    if not draft_rules.is_draft(box):
        return 1.0, 0.0, 0.0
    return learned.shares(box.label, _score(box, learned))


def held_out_shares_of(box: Box, learned: LearnedDrafts) -> Shares:
    """What became of such boxes in held-out images."""
    return learned.held_out_shares(box.label, _score(box, learned))


def _held_out_right(box: Box, learned: LearnedDrafts) -> float:
    return 1 - held_out_shares_of(box, learned)[DELETE]


def _score(box: Box, learned: LearnedDrafts) -> float:
    # what has no calibrated probability has its confidence
    score = draft_rules.score_of(box, learned.score)
    return score if score is not None else box.confidence or 0.0


def _review_seconds(shares: Shares, costs: CostModel) -> float:
    return shares[KEEP] * costs.keep + shares[NUDGE] * costs.nudge + shares[DELETE] * costs.delete


def as_dict(expected: Expected | None) -> dict[str, float | None]:
    """For `--json`."""
    seconds = (expected.seconds, expected.drawing_seconds) if expected else (None, None)
    return dict(zip(("expected_seconds", "drawing_seconds"), map(rounded, seconds), strict=True))


def rounded(seconds: float | None) -> float | None:
    """To a tenth of a second."""
    return None if seconds is None else round(seconds, 1)


def sentence(images: int, seconds: float) -> str:
    """`40 images: about 25 minutes`."""
    return f"{images:,} {'image' if images == 1 else 'images'}: about {duration(seconds)}"


def duration(seconds: float) -> str:
    """`40 seconds`, `25 minutes`, `3.2 hours`."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"
