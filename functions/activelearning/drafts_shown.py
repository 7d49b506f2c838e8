"""What `activelearning status` and `tagger status` show of drafts: how long the next images will take, and what became of the last ones.

Rule: it reads the head of the table that claims are made on and one record beside the model, however large the pool and the past are.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from activelearning import cost, expected_cost, handouts, layout, state, steps
from activelearning.commits import Commit
from activelearning.errors import BlobMissing, UserError
from activelearning.expected_cost import Expected, duration
from activelearning.handouts import Offer
from activelearning.learned_drafts import Returned
from activelearning.settings import Settings
from activelearning.state import State, intact
from activelearning.store import Blobs, Store

NEXT = 40
"""As many images does an example of `tagger download` ask for."""
_MOST = 10**9
"""More images or boxes than these are a mistake."""


@dataclass(frozen=True, slots=True)
class DraftsShown:
    """The work on the `next_images`, with drafts where it is known what they are worth, and drawing all; and of the batches that the model
    learned from, what people did with their drafts."""

    next_images: int
    next_seconds: float | None
    next_drawing_seconds: float
    returned: Returned | None

    @property
    def ahead(self) -> str:
        """`40 images: about 25 minutes (drawing all: 80 minutes)`."""
        if self.next_seconds is None:
            return f"{expected_cost.sentence(self.next_images, self.next_drawing_seconds)}, drawing every box"
        return str(Expected(self.next_images, self.next_seconds, self.next_drawing_seconds))

    @property
    def behind(self) -> str:
        """What people did with the last drafts; empty where none came back."""
        if not self.returned:
            return ""
        last = self.returned
        boxes = f"kept {last.kept:,}, moved {last.nudged:,}, relabelled {last.relabelled:,}, added {last.added:,}, deleted {last.deleted:,}"
        took = f"{last.images:,} images: {boxes}; {duration(last.seconds)} by the cost model"
        return took + (f", {duration(last.expected_seconds)} were expected" if last.expected_images == last.images else "")

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def shown(store: Store, commit: Commit | None) -> tuple[DraftsShown | None, tuple[str, ...]]:
    """What there is to show, None where nothing is known; and sentences about what is wrong with it."""
    try:
        settings = steps.project(store)
    except UserError:
        return None, ()  # whoever shows the rest complains of it
    try:
        return (_shown(store.labels, state.load(store.labels), settings, commit.model) if commit else None), ()
    except UserError as error:
        return None, (str(error),)
    except BlobMissing as error:
        return None, (f"{error}: it is gone from the store, and nobody can claim images; put a copy back, or run `trainer predict`",)


def _shown(blobs: Blobs, current: State, settings: Settings, model: str) -> DraftsShown | None:
    offered = handouts.offer(blobs)
    found = handouts.next_images(blobs, current, offered, settings, NEXT)
    returned = offered.learned.returned if offered.learned and offered.learned.returned.images else None
    if found:
        return DraftsShown(found.images, found.seconds, found.drawing_seconds, returned)
    drawn = None if offered.learned else _drawn(blobs, current, offered, settings, model)
    if drawn:
        return DraftsShown(drawn.images, None, drawn.drawing_seconds, returned)
    return DraftsShown(0, None, 0.0, returned) if returned else None


def _drawn(blobs: Blobs, current: State, offered: Offer, settings: Settings, model: str) -> Expected | None:
    """The work on the next images if every box is drawn, as many boxes as the reviewed images hold that the current model learned from."""
    boxes = _boxes_an_image(blobs, model) if model else None
    images = handouts.count_next(blobs, current, offered, NEXT) if boxes is not None else 0
    costs = cost.model(settings.costs)
    return Expected(images, 0.0, images * (costs.open + costs.draw_seconds(boxes or 0.0))) if images else None


def _boxes_an_image(blobs: Blobs, model: str) -> float | None:
    """Boxes of a reviewed image, as the model's card says; None where it does not."""
    name = layout.model(model, "model.json")
    try:
        content = blobs.read(name).content
    except BlobMissing:
        return None
    with intact(name, "put a copy in its place"):
        card = json.loads(content)
        images, boxes = (_count(card.get(field) or 0) for field in ("labelled_images", "labelled_boxes"))
    return boxes / images if images else None


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise ValueError(f"{str(value)[:40]!r} is no count")
    return value
