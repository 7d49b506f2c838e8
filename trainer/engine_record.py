"""`models/<run>/engine.json`: which file of a run's model predicts, and why; written once, before anything is learned of the model.

Rule: whoever predicts with a run's model asks here, so that evaluation, calibration, drafts, promises and every trainer that helps with
the pool look through the same file. A run of an older version has no such record, and predicts as it was trained.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, fields

from activelearning import layout
from activelearning.errors import BlobExists, BlobMissing, UserError
from activelearning.settings import NUMBERS
from activelearning.state import intact
from activelearning.store import Blobs

FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a run's model computes with, and why: the average precision of the model as trained and in smaller numbers, None where
    nothing was measured, on so many `images` of the `split`. `sha256` is that of the file that predicts."""

    numbers: str
    reason: str
    sha256: str
    ap_float32: float | None = None
    ap_smaller: float | None = None
    images: int = 0
    split: str = ""

    def __post_init__(self) -> None:
        if self.numbers not in NUMBERS[1:]:
            raise ValueError(f"'{self.numbers}' is none of: {', '.join(NUMBERS[1:])}")


def create(blobs: Blobs, run: str, choice: Choice) -> None:
    """Write what was chosen for a run; what an earlier attempt wrote stays."""
    with suppress(BlobExists):
        blobs.create(layout.engine(run), json.dumps(asdict(choice), indent=1, ensure_ascii=False).encode())


def read(blobs: Blobs, run: str) -> Choice | None:
    """What was chosen for a run; None where nothing was, as in older versions. Raises `UserError` for a record that is damaged."""
    name = layout.engine(run)
    try:
        content = blobs.read(name).content
    except BlobMissing:
        return None
    with intact(name, "put a copy in its place, or retrain"):
        found = json.loads(content)
        return Choice(**{field.name: found[field.name] for field in fields(Choice)})


def model_bytes(blobs: Blobs, run: str) -> bytes:
    """The file of a run's model that predicts. Raises `BlobMissing` without one, `UserError` where it is another than was judged."""
    choice = read(blobs, run)
    name = layout.model_in(run, choice.numbers if choice else FLOAT32)
    content = blobs.read(name).content
    if choice and choice.numbers != FLOAT32 and choice.sha256 != sha256(content):
        raise UserError(f"{name} is not the file that {layout.engine(run)} is about: put that back, or retrain")
    return content


def sha256(content: bytes) -> str:
    """The hash by which a file is known again."""
    return hashlib.sha256(content).hexdigest()
