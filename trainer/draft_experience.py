"""What people did with drafts, beside what was expected of those very drafts; and how many times as often, then, which thing happens.

Rule: counts are added up and halved with each training, never mixed with held-out boxes; a factor stays near 1 where little was seen.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from activelearning import draft_rules, drafts_record, expected_cost, layout
from activelearning.batch_diffs import BatchDiff, ImageDiff
from activelearning.commits import Commit
from activelearning.errors import UserError
from activelearning.labels import Box
from activelearning.learned_drafts import DELETE, KEEP, NUDGE, Experience, LearnedDrafts, Shares
from activelearning.store import Blobs

_PRIOR_BOXES = 20.0
"""As if so many boxes more had been seen, and all as expected: so few change no factor by much."""
_LARGEST_FACTOR = 5.0
_FORGOTTEN = 0.5
"""What was seen before the last training counts so much less with each that learns."""
_EARLIER_RUNS = 20
"""So many runs before the last are looked through for what was learned."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What people did with drafts, by class, beside what was expected of them; `missed` is how many boxes they added, and as many as were
    expected."""

    by_class: Mapping[str, Experience] = field(default_factory=dict)
    missed: tuple[float, float] = (0.0, 0.0)


def experience(blobs: Blobs, batches: Iterable[BatchDiff]) -> Seen:
    """What people did with the drafts of these batches, beside what the models that they are of had led to expect.

    Batches of which nothing was expected tell nothing here.
    """

    @cache
    def learned_of(model: str) -> LearnedDrafts | None:
        return _intact(blobs, model)

    seen = Seen()
    for batch in batches:
        model = learned_of(batch.handout.model) if batch.handout else None
        if model:
            seen = _joined(seen, *(_of_image(image, model, batch) for image in batch.images))
    return seen


def before(blobs: Blobs, parent: Commit | None) -> LearnedDrafts | None:
    """What was learned last: of the parent's model, or of the nearest run of its flow before it, for a run that learned nothing remembers
    nothing."""
    if not (parent and parent.model):
        return None
    flow, last = parent.model.rpartition("/")[0], layout.iteration_of(parent.model)
    earlier = (layout.run_name(flow, number) for number in range(last - 1, max(last - 1 - _EARLIER_RUNS, 0), -1))
    return next(filter(None, (_intact(blobs, run) for run in (parent.model, *earlier))), None)


def added_up(last: LearnedDrafts | None, now: Seen) -> Seen:
    """What was seen now, and with half the weight what was before."""
    if last is None:
        return now
    old = {label: _scaled(one, _FORGOTTEN) for label, one in last.experience.items()}
    added, expected = last.missed_experience
    return _joined(Seen(old, (added * _FORGOTTEN, expected * _FORGOTTEN)), now)


def factors_of(seen: Mapping[str, Experience], classes: Sequence[str]) -> tuple[dict[str, Shares], Shares]:
    """How many times as often as expected boxes of each class were kept, nudged and deleted, and those of all classes.

    A class of which little was seen has the factors of all, and with nothing seen at all they are 1.
    """
    whole = _sum(seen.values())
    overall = _factors(whole, (1.0, 1.0, 1.0))
    return {name: _factors(seen.get(name, Experience()), overall) for name in classes}, overall


def _intact(blobs: Blobs, run: str) -> LearnedDrafts | None:
    try:
        return drafts_record.read(blobs, run)
    except UserError:
        return None  # status complains of it; what it alone remembered is lost


def _of_image(image: ImageDiff, learned: LearnedDrafts, batch: BatchDiff) -> Seen:
    """One image: each draft where it went, and where it was expected to go."""
    by_class: dict[str, Experience] = {}
    found = image.diff
    gone = [(KEEP, pair.draft) for pair in found.kept] + [(NUDGE, pair.draft) for pair in (*found.moved, *found.relabelled)]
    for outcome, draft in (*gone, *((DELETE, box) for box in found.deleted)):
        if draft_rules.is_draft(draft):
            by_class[draft.label] = _plus(by_class.get(draft.label, Experience()), _one(outcome, draft, learned))
    expected = batch.handout.images.get(image.drafts.image) if batch.handout else None
    return Seen(by_class, (float(len(found.added)), expected.missed) if expected else (0.0, 0.0))


def _one(outcome: int, draft: Box, learned: LearnedDrafts) -> Experience:
    kept, nudged, deleted = (float(outcome == one) for one in (KEEP, NUDGE, DELETE))
    return Experience((kept, nudged, deleted), expected_cost.held_out_shares_of(draft, learned))


def _joined(*parts: Seen) -> Seen:
    by_class: dict[str, Experience] = {}
    for part in parts:
        for label, one in part.by_class.items():
            by_class[label] = _plus(by_class.get(label, Experience()), one)
    return Seen(by_class, (sum(part.missed[0] for part in parts), sum(part.missed[1] for part in parts)))


def _sum(parts: Iterable[Experience]) -> Experience:
    whole = Experience()
    for part in parts:
        whole = _plus(whole, part)
    return whole


def _plus(first: Experience, second: Experience) -> Experience:
    return Experience(_added(first.seen, second.seen), _added(first.expected, second.expected))


def _added(first: Shares, second: Shares) -> Shares:
    return first[KEEP] + second[KEEP], first[NUDGE] + second[NUDGE], first[DELETE] + second[DELETE]


def _scaled(one: Experience, by: float) -> Experience:
    (kept, nudged, deleted), (keep, nudge, delete) = one.seen, one.expected
    return Experience((kept * by, nudged * by, deleted * by), (keep * by, nudge * by, delete * by))


def _factors(one: Experience, towards: Shares) -> Shares:
    kept, nudged, deleted = (factor(*three) for three in zip(one.seen, one.expected, towards, strict=True))
    return kept, nudged, deleted


def factor(seen: float, expected: float, towards: float = 1.0) -> float:
    factor = (seen + _PRIOR_BOXES * towards) / (expected + _PRIOR_BOXES)
    return min(max(factor, 1 / _LARGEST_FACTOR), _LARGEST_FACTOR)
