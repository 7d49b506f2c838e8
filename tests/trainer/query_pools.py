"""Small pools of predictions, and what strategies make of them."""

from collections.abc import Sequence

from activelearning.labels import Box, ImageLabels, Review
from activelearning.settings import Selection
from trainer.query import candidates, ranking
from trainer.query.candidates import Candidates
from trainer.query.strategy import Extra


def box(label: str = "a", confidence: float | None = 0.5, **measures: float) -> Box:
    """A detection with these measures."""
    return Box(label, 0.1, 0.1, 0.5, 0.5, confidence, "model", None, tuple(sorted(measures.items())))


def image(name: str, *boxes: Box) -> ImageLabels:
    """An image that nobody reviewed."""
    return ImageLabels(name, 640, 480, boxes, Review.UNOPENED)


def pool(images: Sequence[ImageLabels], selection: Selection = Selection(per_second=True)) -> Candidates:  # noqa: B008
    """The candidates by name, with what the settings need."""
    return candidates.by_name(candidates.of_labels(images, ranking.columns(selection)))[0]


def scores(images: Sequence[ImageLabels], selection: Selection, extra: Extra | None = None) -> dict[str, float]:
    """Each image's score by its name, in the order of the ranking."""
    found = pool(images, selection)
    ranked = ranking.rank(found, selection, extra or Extra())
    return {found.images[index]: float(ranked.score[index]) for index in ranked.order}
