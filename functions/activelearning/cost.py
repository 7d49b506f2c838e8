"""What a review costs a person, in seconds: the model behind "a fifth of the time".

Rule: an estimate, one figure an action, the same for both sides of every comparison. The figures are the project's `[costs]`.
"""

from dataclasses import astuple, dataclass

from activelearning.diff import Totals
from activelearning.settings import Costs


@dataclass(frozen=True, slots=True)
class CostModel(Costs):
    """Seconds an action takes: `open` an image, whether or not it holds anything; `keep` a draft untouched; `nudge` its edges or change its
    class; `delete` it; `draw` a box and name its class."""

    def review_seconds(self, images: int, totals: Totals) -> float:
        """Time to open so many images and do to their drafts what `totals` counts."""
        boxes = self.keep * totals.kept + self.nudge * (totals.moved + totals.relabelled)
        return self.open * images + boxes + self.delete * totals.deleted + self.draw * totals.added

    def draw_seconds(self, boxes: float) -> float:
        """Time to draw so many boxes by hand, without opening their images: the work the drafts are to save."""
        return self.draw * boxes


def model(costs: Costs) -> CostModel:
    """A project's costs."""
    return CostModel(*astuple(costs))
