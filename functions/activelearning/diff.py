"""What a review changed: a model's drafts against what came back.

Rule: one draft answers for one reviewed box at most. Pairs are made greedily: same class before other class, untouched before
moved, higher IoU before lower, then by the order of the drafts and of the reviewed boxes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace

from activelearning import outlines
from activelearning.labels import HUMAN, HUMAN_CONFIRMED, Box, ImageLabels, Review, iou

UNTOUCHED_IOU = 0.99
MATCH_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Pair:
    """A draft and the reviewed box it became, with their IoU."""

    draft: Box
    reviewed: Box
    iou: float


@dataclass(frozen=True, slots=True)
class Diff:
    """One image's review. `kept`, `moved`, `relabelled` and `added` follow the reviewed boxes, `deleted` the drafts."""

    kept: tuple[Pair, ...] = ()
    """Same class, and IoU of at least 0.99 or no corner further off than one pixel."""
    moved: tuple[Pair, ...] = ()
    """Same class, and IoU of at least 0.5."""
    relabelled: tuple[Pair, ...] = ()
    """Another class, and IoU of at least 0.5."""
    added: tuple[Box, ...] = ()
    deleted: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Totals:
    """Reviews in numbers: boxes by what became of them, and images that were found empty or not opened at all."""

    kept: int = 0
    moved: int = 0
    relabelled: int = 0
    added: int = 0
    deleted: int = 0
    reviewed_empty: int = 0
    unopened: int = 0

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


def compare(drafts: Sequence[Box], reviewed: Sequence[Box], width: int = 0, height: int = 0) -> Diff:
    """What a person made of one image's drafts.

    `width` and `height` are the image's pixels: formats round corners to pixels, so a box that is off by one pixel at most was not
    touched. With 0, unknown, only the IoU counts. Where both have masks, these alone tell whether it was touched, for formats make boxes of
    them; where only one has, the boxes do.
    """
    pixel = _pixel(width, height)
    drafts_of = _match(drafts, reviewed, pixel)
    pairs = [Pair(drafts[i], reviewed[j], iou(drafts[i], reviewed[j])) for j, i in sorted(drafts_of.items())]
    matched = set(drafts_of.values())
    return Diff(
        kept=tuple(pair for pair in pairs if _untouched(pair.draft, pair.reviewed, pixel)),
        moved=tuple(pair for pair in pairs if _moved(pair.draft, pair.reviewed, pixel)),
        relabelled=tuple(pair for pair in pairs if pair.draft.label != pair.reviewed.label),
        added=tuple(box for j, box in enumerate(reviewed) if j not in drafts_of),
        deleted=tuple(box for i, box in enumerate(drafts) if i not in matched),
    )


def provenance(drafts: Sequence[Box], reviewed: Sequence[Box], width: int = 0, height: int = 0) -> tuple[Box, ...]:
    """The reviewed boxes in their order, each with where it comes from.

    A draft kept untouched is `human-confirmed` and keeps the detector's confidence and measures; every other box is `human` and has
    none. Corners and masks stay as they came back. `width` and `height` as in `compare`.
    """
    pixel = _pixel(width, height)
    drafts_of = _match(drafts, reviewed, pixel)
    return tuple(_with_source(box, drafts[drafts_of[j]] if j in drafts_of else None, pixel) for j, box in enumerate(reviewed))


def tally(drafts: Sequence[Box], reviewed: ImageLabels) -> Totals:
    """One image's review in numbers; of an image that nobody opened, only that."""
    if reviewed.review is Review.UNOPENED:
        return Totals(unopened=1)
    diff = compare(drafts, reviewed.boxes, reviewed.width, reviewed.height)
    counts = (len(diff.kept), len(diff.moved), len(diff.relabelled), len(diff.added), len(diff.deleted))
    return Totals(*counts, reviewed_empty=int(not reviewed.boxes))


def total(tallies: Iterable[Totals]) -> Totals:
    """The sum over images."""
    return sum(tallies, Totals())


def sentence(totals: Totals) -> str:
    """`kept 310, moved 41, relabelled 2, added 88, deleted 12; 3 images empty, 2 not opened`."""
    boxes = ", ".join(f"{name} {getattr(totals, name)}" for name in ("kept", "moved", "relabelled", "added", "deleted"))
    images = "image" if totals.reviewed_empty == 1 else "images"
    return f"{boxes}; {totals.reviewed_empty} {images} empty, {totals.unopened} not opened"


def _pixel(width: int, height: int) -> tuple[float, float]:
    """One pixel's width and height as fractions, with a margin for the rounding of floats; 0 where the size is unknown."""
    return (1.000001 / width, 1.000001 / height) if width > 0 and height > 0 else (0.0, 0.0)


def _match(drafts: Sequence[Box], reviewed: Sequence[Box], pixel: tuple[float, float]) -> dict[int, int]:
    """Index of the draft by index of the reviewed box, for every pair."""
    close = [(i, j) for i, draft in enumerate(drafts) for j, box in enumerate(reviewed) if _close(draft, box, pixel)]
    drafts_of: dict[int, int] = {}
    taken: set[int] = set()
    for i, j in sorted(close, key=lambda pair: _preference(drafts[pair[0]], reviewed[pair[1]], pixel)):
        if i not in taken and j not in drafts_of:
            drafts_of[j] = i
            taken.add(i)
    return drafts_of


def _close(draft: Box, box: Box, pixel: tuple[float, float]) -> bool:
    # a box of a few pixels may lose half its IoU to rounding alone
    return iou(draft, box) >= MATCH_IOU or _untouched(draft, box, pixel)


def _preference(draft: Box, box: Box, pixel: tuple[float, float]) -> tuple[bool, bool, float]:
    return draft.label != box.label, not _untouched(draft, box, pixel), -iou(draft, box)


def _untouched(draft: Box, box: Box, pixel: tuple[float, float]) -> bool:
    if draft.label != box.label:
        return False
    if draft.mask is not None and box.mask is not None:
        return iou(draft, box) > 0 and outlines.alike(draft.mask, box.mask, *pixel)
    return iou(draft, box) >= UNTOUCHED_IOU or _same_pixels(draft, box, pixel)


def _moved(draft: Box, box: Box, pixel: tuple[float, float]) -> bool:
    return draft.label == box.label and not _untouched(draft, box, pixel)


def _same_pixels(draft: Box, box: Box, pixel: tuple[float, float]) -> bool:
    return all(abs(mine - theirs) <= step for mine, theirs, step in zip(draft.xyxy, box.xyxy, pixel * 2, strict=True))


def _with_source(box: Box, draft: Box | None, pixel: tuple[float, float]) -> Box:
    if draft is not None and _untouched(draft, box, pixel):
        return replace(box, source=HUMAN_CONFIRMED, confidence=draft.confidence, measures=draft.measures)
    return replace(box, source=HUMAN, confidence=None, measures=())
