"""What a review costs a person, in seconds: the model behind "a fifth of the time".

Rule: an estimate, one figure an action, the same for both sides of every comparison.
"""

from dataclasses import dataclass

from activelearning.diff import Totals


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds an action takes."""

    open: float = 1.5
    """Look at an image, whether or not it holds anything."""
    keep: float = 1.6
    """Check a draft and leave it untouched."""
    nudge: float = 4.0
    """Move a draft's edges or change its class."""
    delete: float = 1.0
    draw: float = 7.0
    """Draw a box and name its class."""

    def review_seconds(self, images: int, totals: Totals) -> float:
        """Time to open so many images and do to their drafts what `totals` counts."""
        boxes = self.keep * totals.kept + self.nudge * (totals.moved + totals.relabelled)
        return self.open * images + boxes + self.delete * totals.deleted + self.draw * totals.added

    def draw_seconds(self, boxes: int) -> float:
        """Time to draw so many boxes by hand, without opening their images: the work the drafts are to save."""
        return self.draw * boxes
