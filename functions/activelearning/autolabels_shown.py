"""What `activelearning status` shows of auto-labelling."""

from collections.abc import Iterator
from dataclasses import dataclass

from activelearning import autolabels
from activelearning.autolabels import Audit
from activelearning.commits import Commit
from activelearning.errors import UserError
from activelearning.store import Blobs


@dataclass(frozen=True, slots=True)
class AutolabelShown:
    """What is accepted now, by which promise, and what people said of what was accepted before; `rules` are sentences by class."""

    run: str
    precision: float
    confidence: float
    images: int
    boxes: int
    examine: int
    audits: int
    audit: Audit | None
    rules: tuple[str, ...]
    missed: str

    def __str__(self) -> str:
        promised = f"{self.precision:g} right at confidence {self.confidence:g}"
        accepted = f"{self.images:,} images with {self.boxes:,} boxes accepted, {self.audits:,} of them for the audit"
        return f"{promised}: {accepted}; {self.examine:,} images to examine"


def shown(blobs: Blobs, commit: Commit | None) -> tuple[AutolabelShown | None, tuple[str, ...]]:
    """What the current commit accepts, None where it accepts nothing by itself; and sentences about what is wrong with it."""
    try:
        found = autolabels.read(blobs, commit.autolabelled) if commit and commit.autolabelled else None
    except UserError as error:
        return None, (str(error),)
    if found is None:
        return None, ()
    values = {name: getattr(found, name) for name in AutolabelShown.__slots__}
    return AutolabelShown(**values), tuple(_trouble(found.audit))


def _trouble(audit: Audit | None) -> Iterator[str]:
    if audit and audit.broken:
        advice = "what is accepted now is proved with them counted; raise autolabel.precision, or set it to 0 to accept nothing"
        yield f"auto-labelling: {audit}; {advice}"
