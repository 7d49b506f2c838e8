"""What the machine accepted without a look: the record of each run, and the accepted images.

Rule: the record says what was promised, on what evidence, and what came of it; it is created once, after the table it speaks of. What a
person said of an image always counts more, and an image drawn for the audit is never trained on before a person saw it.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import Any, BinaryIO

from activelearning import layout, table
from activelearning.errors import BlobExists, BlobMissing
from activelearning.labels import ImageLabels
from activelearning.state import intact
from activelearning.store import Blobs

_DRAWS = 2**64


@dataclass(frozen=True, slots=True)
class Audit:
    """What people said of accepted boxes of a run: how many they looked at, and how many were wrong.

    `broken`: so many that the promise is refuted with the stated confidence.
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
    """One run's accepted images. `rules` are sentences by class; `missed` says what is known of objects in accepted images that no
    accepted box stands for; `held_out` are audited images, which no model is trained on; `audits` counts those of this run."""

    run: str
    precision: float
    confidence: float
    images: int
    boxes: int
    examine: int
    audits: int
    rules: tuple[str, ...]
    missed: str
    held_out: tuple[str, ...] = ()
    audit: Audit | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)


def is_audit(image: str, seed: int, share: float) -> bool:
    """Whether an accepted image goes to people all the same; the same in every run, so that it stays unknown to all models."""
    digest = hashlib.blake2b(f"audit {seed} {image}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) < share * _DRAWS


def write(blobs: Blobs, name: str, accepted: BinaryIO, record: Record) -> None:
    """Write the table of accepted images, then the record; those of an earlier, killed attempt stay."""
    encoded = json.dumps(asdict(record), ensure_ascii=False, indent=1).encode()
    with suppress(BlobExists):
        blobs.create(layout.autolabelled(name), accepted)
    with suppress(BlobExists):
        blobs.create(layout.autolabel_record(name), encoded)


def read(blobs: Blobs, name: str) -> Record | None:
    """A run's record, or None where nothing was accepted by it."""
    try:
        content = blobs.read(layout.autolabel_record(name)).content
    except BlobMissing:
        return None
    with intact(layout.autolabel_record(name), "delete it, and the images in it go back to the pool"):
        return _record(json.loads(content))


def images(blobs: Blobs, name: str) -> tuple[ImageLabels, ...]:
    """The accepted images of a run, in the order of their names."""
    try:
        text = blobs.read(layout.autolabelled(name)).content.decode("utf-8-sig")
    except BlobMissing:
        return ()
    return table.read_labels(text, layout.autolabelled(name)).images


def _record(found: dict[str, Any]) -> Record:
    known = {one.name: found[one.name] for one in fields(Record) if one.name in found}
    audit = known.get("audit")
    lists = {name: tuple(map(str, known.get(name, ()))) for name in ("rules", "held_out")}
    return Record(**known | lists | {"audit": Audit(**audit) if audit else None})
