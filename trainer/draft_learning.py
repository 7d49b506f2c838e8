"""A run's drafts: from which score on they pay and what becomes of them, learned after each training and written once beside the model.

Rule: where drafts begin to pay is learned from held-out images, which show every box of the model; returned batches show only what was
above a threshold, and of an older model. So they are not mixed: what people did with the drafts they were shown, beside what was expected
of these very drafts, says how many times as often a box is kept, nudged or deleted as held-out images tell, and so weighs the new model's
held-out boxes. Of the drafts below the threshold that claims nothing but that the odds shift alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from activelearning import batch_diffs, cost, diff, draft_rules, drafts_record, expected_cost, layout
from activelearning.batch_diffs import BatchDiff, ImageDiff, Reviewed
from activelearning.commits import Commit
from activelearning.cost import CostModel
from activelearning.errors import UserError
from activelearning.labels import Box
from activelearning.learned_drafts import DELETE, KEEP, NUDGE, Experience, LearnedDrafts, Returned, Shares
from activelearning.store import Blobs
from trainer import calibrating, calibration, draft_evidence, draft_thresholds
from trainer.draft_evidence import Evidence
from trainer.held_out import HeldOut
from trainer.work import Work

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


def write(work: Work, run: str, test: HeldOut, parent: Commit | None) -> None:
    """Learn a run's drafts, unless that was done; where there is too little to learn from, say so and leave it."""
    blobs = work.store.labels
    if blobs.exists(layout.drafts(run)) or not len(test):
        return
    found = _evidence(work, run, test)
    if found.objects.sum() < draft_thresholds.LEAST_OBJECTS:
        low = work.settings.drafts.min_confidence
        work.tell(f"drafts are shown from confidence {low:g} on: the test split holds too few objects to learn from which on they pay")
        return
    learned = learn(work, run, found, returned(blobs, work.job.uploads), _before(blobs, parent))
    drafts_record.create(blobs, learned)
    work.tell(_told(learned))


def relearn(work: Work, run: str, test: HeldOut) -> None:
    """Learn a run's drafts again, as another calibration states their probabilities; what people did with drafts stays as it is known.

    Where nothing was learned there is nothing to do.
    """
    old = drafts_record.read(work.store.labels, run)
    if old:
        seen = Seen(old.experience, old.missed_experience)
        drafts_record.replace(work.store.labels, _learned(work, run, _evidence(work, run, test), seen, old.returned))


def learn(work: Work, run: str, found: Evidence, batches: Sequence[BatchDiff], before: LearnedDrafts | None) -> LearnedDrafts:
    """What the evidence says, weighed by what people did with earlier drafts; `before` is the record of the model before."""
    seen = added_up(before, experience(work.store.labels, batches))
    return _learned(work, run, found, seen, _summary(batches, cost.model(work.settings.costs)))


def _learned(work: Work, run: str, found: Evidence, seen: Seen, returned: Returned) -> LearnedDrafts:
    classes, costs = work.settings.classes, cost.model(work.settings.costs)
    factors, other = factors_of(seen.by_class, classes)
    low = work.settings.drafts.min_confidence
    weights = np.array([factors[name] for name in classes])
    chosen = draft_thresholds.choose(found, costs, classes, low, weights)
    rates = draft_thresholds.rates(found, classes, chosen.rules.score)
    right = found.outcome != DELETE
    images, objects = len(found.labels), float(found.objects.sum())
    return LearnedDrafts(
        run=run,
        images=images,
        score=chosen.rules.score,
        thresholds=chosen.rules.thresholds,
        other=chosen.rules.other,
        duplicates=chosen.rules.duplicates,
        other_class=chosen.rules.other_class,
        slivers=chosen.rules.slivers,
        edges=rates.edges,
        rates=rates.by_class,
        other_rates=rates.other,
        objects=objects / images,
        missed=max(objects - float(right.sum()), 0.0) / images,
        seconds=chosen.seconds,
        fixed_seconds=chosen.fixed_seconds,
        fixed_confidence=low,
        drawing_seconds=chosen.drawing_seconds,
        factors=factors,
        other_factors=other,
        missed_factor=_factor(*seen.missed),
        experience=seen.by_class,
        missed_experience=seen.missed,
        returned=returned,
    )


def returned(blobs: Blobs, uploads: Iterable[str]) -> list[BatchDiff]:
    """The diffs of these reviewed uploads; those that answer no drafts, such as imported labels and labels looked at again, are left out.

    What of them cannot be read was reported when the labelled set was gathered.
    """
    by_batch: dict[str, list[str]] = {}
    for name in sorted(uploads, key=layout.version_of_reviewed):
        by_batch.setdefault(layout.batch_of_reviewed(name) or "", []).append(name)
    known = [Reviewed(batch, tuple(names), 0.0) for batch, names in by_batch.items() if batch and blobs.exists(layout.batch_totag(batch))]
    return batch_diffs.of_drafts(batch_diffs.read_all(blobs, known))


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


def added_up(before: LearnedDrafts | None, now: Seen) -> Seen:
    """What was seen now, and with half the weight what was before."""
    if before is None:
        return now
    old = {label: _scaled(one, _FORGOTTEN) for label, one in before.experience.items()}
    added, expected = before.missed_experience
    return _joined(Seen(old, (added * _FORGOTTEN, expected * _FORGOTTEN)), now)


def factors_of(seen: Mapping[str, Experience], classes: Sequence[str]) -> tuple[dict[str, Shares], Shares]:
    """How many times as often as expected boxes of each class were kept, nudged and deleted, and those of all classes.

    A class of which little was seen has the factors of all, and with nothing seen at all they are 1.
    """
    whole = _sum(seen.values())
    overall = _factors(whole, (1.0, 1.0, 1.0))
    return {name: _factors(seen.get(name, Experience()), overall) for name in classes}, overall


def _evidence(work: Work, run: str, test: HeldOut) -> Evidence:
    judged = calibrating.judged(work, test)
    fitted = calibrating.read(work.store.labels, run)
    probability = None
    if fitted and len(test) > 1:
        # a threshold must not be learned from probabilities that were learned from the very same boxes
        sizes = np.array(test.sizes, np.float64).reshape(-1, 2)
        probability = calibration.cross_fitted(judged, sizes, fitted.options).probability
    return draft_evidence.evidence(judged, test.sizes, work.settings.classes, probability)


def _before(blobs: Blobs, parent: Commit | None) -> LearnedDrafts | None:
    """What was learned last: of the parent's model, or of the nearest run of its flow before it, for a run that learned nothing remembers
    nothing."""
    if not (parent and parent.model):
        return None
    flow, last = parent.model.rpartition("/")[0], layout.iteration_of(parent.model)
    earlier = (layout.run_name(flow, number) for number in range(last - 1, max(last - 1 - _EARLIER_RUNS, 0), -1))
    return next(filter(None, (_intact(blobs, run) for run in (parent.model, *earlier))), None)


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
    kept, nudged, deleted = (_factor(*three) for three in zip(one.seen, one.expected, towards, strict=True))
    return kept, nudged, deleted


def _factor(seen: float, expected: float, towards: float = 1.0) -> float:
    factor = (seen + _PRIOR_BOXES * towards) / (expected + _PRIOR_BOXES)
    return min(max(factor, 1 / _LARGEST_FACTOR), _LARGEST_FACTOR)


def _summary(batches: Sequence[BatchDiff], costs: CostModel) -> Returned:
    totals = diff.total(one.totals for one in batches)
    images, counted = sum(len(one.images) for one in batches), [one for one in batches if one.images]
    expected = [(len(one.images), one.expected) for one in counted]
    boxes = (totals.kept, totals.moved, totals.relabelled, totals.deleted, totals.added)
    told = (costs.review_seconds(images, totals), sum((one.seconds for _, one in expected if one), 0.0))
    return Returned(len(counted), images, *boxes, *told, sum(number for number, one in expected if one))


def _told(learned: LearnedDrafts) -> str:
    fixed = f"{learned.fixed_seconds:.1f} s with all from confidence {learned.fixed_confidence:g} on"
    return f"drafts: an image takes about {learned.seconds:.1f} s with them, {fixed}, {learned.drawing_seconds:.1f} s without"
