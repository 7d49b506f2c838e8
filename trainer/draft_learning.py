"""A run's drafts: from which score on they pay and what becomes of them, learned after each training and written once beside the model.

Rule: where drafts begin to pay is learned from held-out images, which show every box of the model; returned batches show only what was
above a threshold, and of an older model. So they are not mixed: what people did with the drafts they were shown, beside what was expected
of these very drafts, says how many times as often a box is kept, nudged or deleted as held-out images tell, and so weighs the new model's
held-out boxes. Of the drafts below the threshold that claims nothing but that the odds shift alike.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from activelearning import batch_diffs, cost, diff, drafts_record, layout, threshold_meaning
from activelearning.batch_diffs import BatchDiff, Reviewed
from activelearning.commits import Commit
from activelearning.cost import CostModel
from activelearning.learned_drafts import DELETE, LearnedDrafts, Returned
from activelearning.store import Blobs
from trainer import calibrating, calibration, draft_evidence, draft_experience, draft_thresholds
from trainer.draft_evidence import Evidence
from trainer.draft_experience import Seen
from trainer.held_out import HeldOut
from trainer.work import Work


def write(work: Work, run: str, test: HeldOut, parent: Commit | None) -> None:
    """Learn a run's drafts, unless that was done; where there is too little to learn from, say so and leave it."""
    blobs = work.store.labels
    if blobs.exists(layout.drafts(run)) or not len(test):
        return
    found = _evidence(work, run, test)
    if found.objects.sum() < draft_thresholds.LEAST_OBJECTS:
        low = threshold_meaning.drafts(work.store.labels, work.settings.drafts, run).min_confidence
        work.tell(f"drafts are shown from confidence {low:g} on: the test split holds too few objects to learn from which on they pay")
        return
    learned = learn(work, run, found, returned(blobs, work.job.uploads), draft_experience.before(blobs, parent))
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
    seen = draft_experience.added_up(before, draft_experience.experience(work.store.labels, batches))
    return _learned(work, run, found, seen, _summary(batches, cost.model(work.settings.costs)))


def _learned(work: Work, run: str, found: Evidence, seen: Seen, returned: Returned) -> LearnedDrafts:
    classes, costs = work.settings.classes, cost.model(work.settings.costs)
    factors, other = draft_experience.factors_of(seen.by_class, classes)
    low = threshold_meaning.drafts(work.store.labels, work.settings.drafts, run).min_confidence
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
        missed_factor=draft_experience.factor(*seen.missed),
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


def _evidence(work: Work, run: str, test: HeldOut) -> Evidence:
    judged = calibrating.judged(work, test)
    fitted = calibrating.read(work.store.labels, run)
    probability = None
    if fitted and len(test) > 1:
        # a threshold must not be learned from probabilities that were learned from the very same boxes
        sizes = np.array(test.sizes, np.float64).reshape(-1, 2)
        probability = calibration.cross_fitted(judged, sizes, fitted.options).probability
    return draft_evidence.evidence(judged, test.sizes, work.settings.classes, probability)


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
