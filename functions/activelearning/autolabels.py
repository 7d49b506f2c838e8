"""What the machine accepted without a look: the record of a division of the pool, and the accepted images.

Rule: the record is the decision, created once and first: the table of accepted images follows from it and from the predictions, so who
goes on after a kill writes the same. What a person said of an image always counts more, and an image drawn for the audit is never
trained on before a person saw it.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from activelearning import claims, layout
from activelearning.errors import BlobExists, BlobMissing
from activelearning.labels import BACKGROUND, MODEL, PSEUDO, Box, ImageLabels
from activelearning.state import intact
from activelearning.store import Blobs

_DRAWS = 2**64


@dataclass(frozen=True, slots=True)
class Audit:
    """What people said of accepted boxes of a run: how many they looked at, and how many were wrong.

    An image that was accepted as empty counts as one box. `broken`: so many that the promise is refuted with the stated confidence.
    """

    run: str
    boxes: int
    wrong: int
    broken: bool

    def __str__(self) -> str:
        found = f"of {self.boxes:,} accepted boxes of {self.run} that people looked at {self.wrong:,} were wrong"
        return f"{found}: the promise is broken, they are withdrawn" if self.broken else found


@dataclass(frozen=True, slots=True)
class Record:
    """One division of the pool, made with the model of `run`, which knows `classes`.

    `thresholds` are the least sureness of accepted boxes by class, and by `BACKGROUND` that of images accepted as empty; what has none
    is not accepted. `floor` is the confidence from which a box counts. `audit_share` and `seed` say which accepted images go to people.
    `images`, `boxes` and `audits` count what is accepted, `examine` the images that are not. `rules` are sentences by class; `missed`
    says what is known of objects in accepted images that no accepted box stands for. `held_out` are the images audited until then,
    which are not trained on; `audit` is what they said of the division before this one.
    """

    run: str
    classes: tuple[str, ...]
    precision: float
    confidence: float
    floor: float
    audit_share: float
    seed: int
    thresholds: Mapping[str, float] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    missed: str = ""
    held_out: tuple[str, ...] = ()
    audit: Audit | None = None
    images: int = 0
    boxes: int = 0
    examine: int = 0
    audits: int = 0

    def accepts(self, labels: ImageLabels) -> bool:
        """Whether all that the model says of the image is accepted."""
        boxes = shown(labels, self.floor)
        if not boxes:
            return _passes(self.thresholds.get(BACKGROUND), emptiness(labels))
        return all(_passes(self.thresholds.get(box.label), confidence_of(box)) for box in boxes)

    def marked(self, labels: ImageLabels) -> ImageLabels:
        """A prediction whose boxes that count say from which run they are; weaker ones stay in it as the model's, so nothing is lost."""
        source = f"{PSEUDO}{self.run}"
        boxes = (replace(box, source=source if confidence_of(box) >= self.floor else MODEL) for box in labels.boxes)
        return replace(labels, boxes=tuple(boxes))

    def is_audit(self, image: str) -> bool:
        """Whether an image goes to people if it is accepted."""
        return draw(image, self.seed) < self.audit_share


def draw(image: str, seed: int) -> float:
    """A number 0..1 that says whether, and how soon, an accepted image goes to people: the same in every run, so that the image stays
    unknown to all models."""
    digest = hashlib.blake2b(f"audit {seed} {image}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) / _DRAWS


def shown(labels: ImageLabels, floor: float) -> tuple[Box, ...]:
    """The boxes of a prediction that count."""
    return tuple(box for box in labels.boxes if confidence_of(box) >= floor)


def emptiness(labels: ImageLabels) -> float:
    """How sure it is that the image is empty: 1 minus the confidence of its surest box."""
    return 1 - max(map(confidence_of, labels.boxes), default=0.0)


def confidence_of(box: Box) -> float:
    """A box's confidence; what no detector scored is sure."""
    return 1.0 if box.confidence is None else box.confidence


def create(blobs: Blobs, name: str, record: Record) -> Record:
    """Create the record of a division, and return the one that stands: that of an earlier attempt, if there was one."""
    try:
        blobs.create(layout.autolabel_record(name), json.dumps(asdict(record), ensure_ascii=False, indent=1).encode())
    except BlobExists:
        return read(blobs, name) or record
    return record


def read(blobs: Blobs, name: str) -> Record | None:
    """The record of a division, or None where there is none."""
    try:
        content = blobs.read(layout.autolabel_record(name)).content
    except BlobMissing:
        return None
    with intact(layout.autolabel_record(name), "delete it, and the images in it go back to the pool"):
        return _record(json.loads(content))


def predictions(blobs: Blobs, name: str) -> Iterator[ImageLabels]:
    """The accepted images of a division with all that was predicted of them, row by row; none where its table is gone."""
    if blobs.exists(layout.autolabelled(name)):
        yield from (group.labels for group in claims.walk(blobs, layout.autolabelled(name)))


def labels(blobs: Blobs, name: str) -> Iterator[ImageLabels]:
    """The accepted images of a division with their accepted boxes."""
    for found in predictions(blobs, name):
        yield replace(found, boxes=tuple(box for box in found.boxes if box.source.startswith(PSEUDO)))


def as_predicted(found: ImageLabels) -> ImageLabels:
    """A row of the table of accepted images as the row of the pool that it was."""
    return replace(found, boxes=tuple(replace(box, source=MODEL) for box in found.boxes))


def _passes(threshold: float | None, sureness: float) -> bool:
    return threshold is not None and sureness >= threshold


def _record(found: dict[str, Any]) -> Record:
    known: dict[str, Any] = {one.name: found[one.name] for one in fields(Record) if one.name in found}
    known |= {name: tuple(map(str, known.get(name, ()))) for name in ("classes", "rules", "held_out")}
    known |= {name: _number(known[name]) for name in ("precision", "confidence", "floor", "audit_share") if name in known}
    known |= {name: int(_number(known[name])) for name in ("seed", "images", "boxes", "examine", "audits") if name in known}
    known["thresholds"] = {str(name): _number(value) for name, value in dict(known.get("thresholds", {})).items()}
    known["audit"] = _audit(**known["audit"]) if known.get("audit") else None
    return Record(**known)


def _audit(run: str, boxes: int, wrong: int, broken: bool) -> Audit:
    return Audit(str(run), int(_number(boxes)), int(_number(wrong)), bool(broken))


def _number(value: Any) -> float:
    """A number that stands in the store, whoever wrote it there. Raises `TypeError` or `ValueError` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise ValueError(f"{str(value)[:40]!r} is no number")
    return value
