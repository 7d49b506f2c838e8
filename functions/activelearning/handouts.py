"""`batches/<id>/handout.json`: who was handed a batch when, with which model's drafts, and how long each image was expected to take.

Rule: written once, by whoever makes the claim, right after it. What was really shown lies beside it, in the batch's `totag.csv`. A batch
without a handout is an older one, and nothing was expected of it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

from activelearning import claims, commits, cost, draft_rules, drafts_record, expected_cost, layout, learned_drafts
from activelearning.claims import Wanted
from activelearning.errors import BlobExists, BlobMissing, UserError
from activelearning.expected_cost import Expected
from activelearning.labels import ImageLabels, Problem
from activelearning.learned_drafts import LearnedDrafts
from activelearning.settings import Settings
from activelearning.state import Batch, State, intact
from activelearning.store import Blobs

_LATEST = 32_503_680_000.0
"""The year 3000: a time beyond it is none."""


@dataclass(frozen=True, slots=True)
class Handout:
    """One claim. `model` is the run whose drafts were shown, empty where that is not known; `images` holds what was expected of each image,
    nothing where nothing was. `review` says that what was shown were people's labels, to be looked at again, and no drafts."""

    tagger: str
    claimed_at: float
    model: str = ""
    images: Mapping[str, Expected] = field(default_factory=dict)
    review: bool = False

    def expected(self, images: Iterable[str]) -> Expected | None:
        """What was expected of these images; None unless something was of every one."""
        names = list(images)
        known = bool(names) and all(name in self.images for name in names)
        return expected_cost.total(self.images[name] for name in names) if known else None


@dataclass(frozen=True, slots=True)
class Offer:
    """What is handed out now: the table that claims are made on, the model that all its drafts are of (empty: of several, or unknown), and
    what was learned of these."""

    totag: str = ""
    model: str = ""
    learned: LearnedDrafts | None = None

    def of(self, totag: str) -> "Offer":
        """The same if it is about this table, else one that knows nothing."""
        return self if totag == self.totag else Offer(totag)


def offer(blobs: Blobs) -> Offer:
    """Read what is handed out now. Raises `UserError` where what was learned of the drafts is damaged, before anything is claimed."""
    commit = commits.latest(blobs)
    return Offer(commit.totag, commit.drafts_of, drafts_record.read(blobs, commit.drafts_of)) if commit else Offer()


def hand_out(blobs: Blobs, batch: Batch, rows: Sequence[ImageLabels], offered: Offer, settings: Settings, wanted: Wanted) -> None:
    """Note that a batch is claimed; what was noted before stays."""
    same = offered.of(batch.totag)
    images = dict(zip((labels.image for labels in rows), _expected(rows, same, settings, wanted), strict=False))
    with suppress(BlobExists):
        found = Handout(batch.tagger, batch.claimed_at, same.model, images, layout.is_review(batch.totag))
        blobs.create(layout.batch_handout(batch.id), _encode(found))


def next_images(blobs: Blobs, current: State, offered: Offer, settings: Settings, count: int) -> Expected | None:
    """The work on the next images that anybody will be handed, at most `count`, read from the head of the table; None where nothing is
    known of it, or none is left."""
    if offered.learned is None:
        return None
    found = expected_cost.total(_expected(list(islice(_free(blobs, current, offered.totag), count)), offered, settings, Wanted()))
    return found if found.images else None


def count_next(blobs: Blobs, current: State, offered: Offer, count: int) -> int:
    """How many images anybody will be handed next, at most `count`."""
    return sum(1 for _ in islice(_free(blobs, current, offered.totag), count)) if offered.totag else 0


def _free(blobs: Blobs, current: State, totag: str) -> Iterator[ImageLabels]:
    claimed = {one.image for batch in current.batches.values() for one in batch.claimed}
    busy = claimed.union(*(upload.images for upload in current.uploads.values()))
    groups = claims.walk(blobs, totag, claims.taken(current, totag))
    return (group.labels for group in groups if group.labels.image not in busy)


def _expected(rows: Sequence[ImageLabels], offered: Offer, settings: Settings, wanted: Wanted) -> Iterator[Expected]:
    if offered.learned is None:
        return
    rules, costs = learned_drafts.rules(settings.drafts, offered.learned, wanted), cost.model(settings.costs)
    for labels in rows:
        # a cap on overlap needs the image's size, which a foreign table may not tell
        usable = rules if labels.width and labels.height else replace(rules, max_tags_per_pixel=0)
        yield expected_cost.of_image(labels, draft_rules.kept(labels, usable), offered.learned, costs)


def read(blobs: Blobs, batch: str) -> Handout | None:
    """The handout of a batch; None where there is none. Raises `UserError` for one that is damaged."""
    name = layout.batch_handout(batch)
    try:
        content = blobs.read(name).content
    except BlobMissing:
        return None
    with intact(name, "delete it; nothing but what was expected of this batch is lost"):
        return _decode(json.loads(content))


def if_intact(blobs: Blobs, batch: str) -> tuple[Handout | None, tuple[Problem, ...]]:
    """The handout of a batch, None where there is none; and what is wrong with one that cannot be read, for nothing is lost with it."""
    try:
        return read(blobs, batch), ()
    except UserError as error:
        return None, (Problem(f"batch {batch}", str(error)),)


def _encode(handout: Handout) -> bytes:
    images = {image: [round(value, 2) for value in (one.seconds, one.drawing_seconds, one.missed)] for image, one in handout.images.items()}
    return json.dumps(asdict(handout) | {"images": images}, ensure_ascii=False, allow_nan=False).encode()


def _decode(found: dict[str, Any]) -> Handout:
    tagger, model = found["tagger"], found["model"]
    if not (isinstance(tagger, str) and isinstance(model, str) and tagger.isprintable() and model.isprintable()):
        raise ValueError("the tagger or the model has no name")
    layout.check_blob_name(layout.drafts(model or "none"))
    images = {str(image): _expectation(*numbers) for image, numbers in dict(found["images"]).items()}
    return Handout(tagger, _seconds(found["claimed_at"]), model, images, found.get("review") is True)


def _expectation(seconds: Any, drawing: Any, missed: Any) -> Expected:
    return Expected(1, _seconds(seconds), _seconds(drawing), _seconds(missed))


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise ValueError(f"{str(value)[:40]!r} is no number of seconds")
    return float(value)
