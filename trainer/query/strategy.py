"""What a query strategy is: candidates, settings and what was loaded for it in; a ranking out.

Rule: a strategy says what it needs (`Strategy.needs`, `Strategy.columns`), and nothing else is loaded for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from activelearning.settings import Selection
from trainer.query.candidates import Candidates
from trainer.query.objects import ObjectsOf

EMBEDDINGS, OBJECTS, CONSISTENCY, LABELLED, DIFFICULTY = "embeddings", "objects", "consistency", "labelled", "difficulty"
NEEDS = frozenset((EMBEDDINGS, OBJECTS, CONSISTENCY, LABELLED, DIFFICULTY))
"""What a strategy may need beside the predictions."""


@dataclass(frozen=True, slots=True, eq=False)
class Extra:
    """What is known beside the predictions; row `i` of what is of images belongs to `candidates.images[i]`. None where not loaded.

    `embeddings` (N, D) and `labelled_embeddings` (M, D) are of whole images, of the candidates and of the labelled set; `objects` gives
    the features of the detections of some images, and `has_objects` (N,) bool says of which they are known, None: of all; `consistency`
    (N,) is higher where the predictions of an image and of its augmented copies agree less; `labelled_boxes` counts the boxes of each
    class that people have labelled, and `class_difficulty` says how hard each class is, 0..1; `seconds` (N,) what an image is expected to
    cost a person; `clusters` and `bursts`, each (N + L,) int, are equal for near-duplicates, and for images taken within moments, first
    of the candidates, then of the `labelled_images` (L,). A strategy that picks one image after the other picks `first` of them; the rest
    follow by a score.
    """

    embeddings: np.ndarray | None = None
    labelled_embeddings: np.ndarray | None = None
    objects: ObjectsOf | None = None
    has_objects: np.ndarray | None = None
    consistency: np.ndarray | None = None
    labelled_boxes: Mapping[str, int] | None = None
    class_difficulty: Mapping[str, float] | None = None
    seconds: np.ndarray | None = None
    clusters: np.ndarray | None = None
    bursts: np.ndarray | None = None
    labelled_images: Sequence[str] = ()
    first: int = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """N images in the order to review them: `order` (N,) int64 holds each index once; `score` (N,) float64, higher comes earlier.

    A strategy that picks one image after the other gives as score what each was worth when it was picked. `duplicate_of` (N,) int64 is
    the image that stands for a suppressed near-duplicate, from N on the labelled ones, -1 elsewhere; None where nobody looked. `by_lot`
    (N,) bool are the images that stand where they stand by lot; None where none does.
    """

    order: np.ndarray
    score: np.ndarray
    duplicate_of: np.ndarray | None = None
    by_lot: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.order) != len(self.score) or (np.bincount(self.order, minlength=len(self.score)) != 1).any():
            raise ValueError("a ranking holds every image once")
        if not np.isfinite(self.score).all():
            raise ValueError("a ranking's score is not a finite number")


Rank = Callable[[Candidates, Selection, Extra], Ranking]


@dataclass(frozen=True, slots=True)
class Strategy:
    """An entry of the registry: `meaning` says in words what comes first, `source` where it comes from.

    `needs` are those of `NEEDS` that must be in `Extra`; `columns` the measure columns of the tables that it reads under these settings.
    `by_place`: the order is all it tells, since it draws by lot or picks one image after the other, so its scores are not weighed.
    `per_second`: its scores are always divided by the seconds that an image is expected to cost.
    """

    rank: Rank
    meaning: str
    source: str
    needs: frozenset[str] = frozenset()
    columns: Callable[[Selection], frozenset[str]] = lambda selection: frozenset()
    by_place: bool = False
    per_second: bool = False

    def __post_init__(self) -> None:
        if not self.needs <= NEEDS:
            raise ValueError(f"a strategy cannot need {', '.join(sorted(self.needs - NEEDS))}")


def by_score(score: np.ndarray) -> Ranking:
    """Images by falling score (N,), ties by the lower index, which is by name."""
    return Ranking(np.argsort(-score, kind="stable"), score)
