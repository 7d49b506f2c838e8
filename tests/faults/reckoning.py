"""What became of everything in a simulated town: counted from the records, all of them, when the weather has cleared up."""

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from activelearning import commits, labelled, layout
from activelearning.labels import ImageLabels
from tests.faults import stage

if TYPE_CHECKING:
    from tests.faults.simulation import Town


@dataclass(frozen=True, slots=True)
class Reckoning:
    """What became of everything. `lost`: uploads in no labelled set, and images without their last labels; `stuck`: work left over."""

    uploads: int
    images: int
    lost: int
    twice: int
    torn: int
    handed_out_twice: int
    stuck: int
    kills: int
    torn_writes: int
    rivals: int
    events: dict[str, int]
    sweeps: int
    commits: int
    largest_state_bytes: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For a benchmark's JSON."""
        return asdict(self)


def reckon(town: "Town", started: float) -> Reckoning:
    """Count what the records say, all of them."""
    weather, blobs = town.weather, town.store.labels
    reviews = {info.name for info in blobs.list(layout.BATCHES) if layout.batch_of_reviewed(info.name)}
    commit = commits.latest(blobs)
    consumed = commits.consumed(blobs, commit.run) if commit else frozenset()
    trained = stage.trained_on(blobs, weather.published)
    counts = weather.counts
    return Reckoning(
        uploads=len(reviews),
        images=town.images,
        lost=len(reviews - consumed) + _with_wrong_labels(town, reviews, commit.tagged if commit else ""),
        twice=sum(count - 1 for count in trained.values()),
        torn=counts["torn"],
        handed_out_twice=counts["handed_out_twice"],
        stuck=town.left_over(),
        kills=counts["kills"],
        torn_writes=counts["torn_writes"],
        rivals=counts["rivals"],
        events={what: counts[what] for what in ("duplicated", "late", "reordered", "lost")},
        sweeps=town.sweeps,
        commits=len(weather.published),
        largest_state_bytes=town.largest_state,
        seconds=round(time.monotonic() - started, 1),
    )


def _with_wrong_labels(town: "Town", reviews: set[str], tagged: str) -> int:
    """Reviewed images that are not in the labelled set, or with other labels than those of a last review of them.

    An image may have been in two batches, one after the other; of each, the last version counts.
    """
    last: dict[tuple[str, str], tuple[int, ImageLabels]] = {}
    for name in reviews:
        batch, version = layout.batch_of_reviewed(name) or "", layout.version_of_reviewed(name)
        for labels in labelled.read(town.store.labels, name).images:
            last[labels.image, batch] = max(last.get((labels.image, batch), (0, labels)), (version, labels), key=lambda pair: pair[0])
    allowed: dict[str, list[Any]] = {}
    for (image, _), (_, labels) in last.items():
        allowed.setdefault(image, []).append(labels.boxes)
    found = {labels.image: labels.boxes for labels in labelled.read(town.store.labels, tagged).images} if tagged else {}
    return sum(found.get(image) not in boxes for image, boxes in allowed.items()) + len(found.keys() - allowed.keys())
