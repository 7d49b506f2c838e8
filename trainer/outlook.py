"""What more labelled images would bring, after a run: gathers the runs that can be compared, estimates, keeps the answer.

Rule: written once a run, from the model cards and `performance.csv` alone; a run without a figure has no outlook, and one that is not
comparable is left out by name.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from activelearning import cost, diff, labelled, layout, outlook_shown
from activelearning.commits import Commit
from activelearning.errors import BlobExists, BlobMissing
from activelearning.labels import ImageLabels
from activelearning.outlook_shown import Band, LeftOut, Measured, Outlook, Step
from activelearning.settings import TestSplit
from trainer import ap_noise, learning_curve, performance
from trainer.evaluation import ALL
from trainer.held_out import HeldOut
from trainer.learning_curve import Curve, Measurements
from trainer.work import Work

METRIC = "ap"
STANDARD_ERROR = "ap_standard_error"
"""The key of the model card."""
STEPS = (20, 40, 100, 200)
"""Further images to train on."""

_CONFIDENCE = 0.8
_WORTH_IMAGES = 100
_LEAST_WORTH = 0.005
"""Of AP: less is not worth a hundred images to anybody, however well it is measured."""
_PER_IMAGE = 0.12
"""Standard error of AP times the square root of the test images, where nobody resampled them; on the blood cells it is 0.11 to 0.14."""
_MOST_RUNS = 60
_CURVE_POINTS = 33
_SMALLEST_SPLIT = 0.5
"""A run is left out whose test split held a smaller share of the images that it holds now."""
_OF_NO_ACCOUNT = frozenset({"seed", "threads", "checkpoint_every"})


def standard_error(work: Work, test: HeldOut) -> float | None:
    """By how much the AP of a model may be off, for its card; None where that cannot be told."""
    return ap_noise.standard_error(test.truth, test.found, len(work.settings.classes)) if len(test) else None


def write(work: Work, parent: Commit | None) -> None:
    """Write the outlook of the job's run, which must have been evaluated, unless that was done; `parent` is the commit before it."""
    blobs, run = work.store.labels, work.job.run
    if blobs.exists(layout.outlook(run)):
        return
    measured, left_out = _runs(work)
    if not measured or measured[-1].run != run:
        return
    found = estimate(measured, left_out, _seconds_per_image(work, parent), work.settings.test)
    with suppress(BlobExists):
        blobs.create(layout.outlook(run), outlook_shown.encode(found))
    work.tell(found.headline)
    work.tell(found.advice)


def estimate(measured: Sequence[Measured], left_out: Sequence[LeftOut], seconds_per_image: float | None, split: TestSplit) -> Outlook:
    """The outlook after the last of the measured runs. The intervals are central and are to hold eight cases of ten."""
    last = measured[-1]
    curve = learning_curve.fit(measurements(measured))
    noise = math.sqrt(2) * float(np.median(curve.noise))
    worth = max(_LEAST_WORTH, noise)
    return Outlook(
        run=last.run,
        confidence=_CONFIDENCE,
        noise=round(min(noise, 1.0), 6),
        worth=round(min(worth, 1.0), 6),
        worth_images=_WORTH_IMAGES,
        probability=round(float((curve.gain(_WORTH_IMAGES) > worth).mean()), 4),
        seconds_per_image=seconds_per_image,
        measured=tuple(measured),
        left_out=tuple(left_out),
        steps=tuple(_step(curve, more, _reviews(more, last, split)) for more in STEPS),
        curve=_bands(curve, measured[0].labelled_images, last.labelled_images + STEPS[-1]),
    )


def measurements(measured: Sequence[Measured]) -> Measurements:
    """What the curve is fitted to.

    A run that was tested on m of the M test images of the last one may differ from it by the choice of the others: of two means, one of
    which is over a part of the images of the other, the difference has the variance s² (1/m - 1/M), s² being that of one image.
    """
    tested = np.array([one.test_images for one in measured], np.float64)
    last = measured[-1]
    apart = last.standard_error**2 * np.maximum(last.test_images / tested - 1, 0)
    return Measurements(
        np.array([one.labelled_images for one in measured], np.float64),
        np.array([one.ap for one in measured], np.float64),
        np.array([one.standard_error for one in measured], np.float64),
        np.sqrt(apart),
    )


def _step(curve: Curve, more: int, reviews: int) -> Step:
    values = (*_interval(curve.gain(more)), *_interval(curve.measured(curve.images + more)))
    return Step(more, reviews, *values)


def _interval(draws: np.ndarray) -> tuple[float, float, float]:
    """Median and bounds of the central interval."""
    beside = (1 - _CONFIDENCE) / 2
    low, middle, high = np.quantile(draws, [beside, 0.5, 1 - beside])
    return round(float(middle), 6), round(float(low), 6), round(float(high), 6)


def _bands(curve: Curve, first: int, last: int) -> tuple[Band, ...]:
    return tuple(Band(round(float(images), 3), *_interval(curve.ap(float(images)))) for images in np.linspace(first, last, _CURVE_POINTS))


def _reviews(more: int, last: Measured, split: TestSplit) -> int:
    """How many images must be reviewed until so many more are trained on: new labels join the test split until it has its share."""
    missing = split.percentage * (last.labelled_images + last.test_images) - last.test_images
    # a split that takes nearly everything would ask for more than anybody reviews
    return max(more, math.ceil((more + missing) / max(1 - split.percentage, 0.1)))


def _runs(work: Work) -> tuple[list[Measured], list[LeftOut]]:
    """The runs of the job's flow until now that tell of its curve, in their order, and the others."""
    rows = _figures(work)
    cards = {run: _card(work, run) for run in (*rows, work.job.run)}
    own, last = cards[work.job.run], rows.get(work.job.run, {})
    faults = {run: _fault(own, cards[run], row, last) for run, row in rows.items()}
    measured = [_measured(run, row, cards[run]) for run, row in rows.items() if not faults[run]]
    return measured, [LeftOut(run, fault) for run, fault in faults.items() if fault]


def _figures(work: Work) -> dict[str, Mapping[str, Any]]:
    """The row of AP over all classes of each run until now; rows that make no sense are passed over."""
    flow, _, _ = work.job.run.rpartition("/")
    found = {}
    for row in performance.read(work.store.labels):
        if row.get("metric") == METRIC and row.get("class") == ALL and row.get("flow") == flow and _is_figure(row):
            found[int(row["iteration"])] = row
    until = layout.iteration_of(work.job.run)
    return {layout.run_name(flow, number): found[number] for number in sorted(found)[-_MOST_RUNS:] if number <= until}


def _is_figure(row: Mapping[str, Any]) -> bool:
    """Whether a row, which may be a person's, holds a figure and what it stands for."""
    counts = (str(row.get(name)) for name in ("iteration", "labelled_images", "test_images"))
    if not all(text.isascii() and text.isdigit() and int(text[:10]) > 0 and len(text) < 10 for text in counts):
        return False
    try:
        return 0 <= float(str(row.get("value"))) <= 1
    except ValueError:
        return False


def _card(work: Work, run: str) -> Mapping[str, Any]:
    """A run's model card, empty where it is gone or damaged."""
    try:
        found = performance.read_card(work.store.labels, run)
    except (BlobMissing, ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _fault(own: Mapping[str, Any], card: Mapping[str, Any], row: Mapping[str, Any], last: Mapping[str, Any]) -> str:
    """Why a run's AP cannot be compared with the last one's; empty where it can."""
    if not card:
        return "its model card is gone or damaged"
    if card.get("classes") != own.get("classes"):
        return "it knew other classes"
    if any(_differs(own, card, part) for part in ("detector", "training")) or card.get("family") != own.get("family"):
        return "its detector or its training was set otherwise"
    now, then = int(last["test_images"]) if last else 0, int(row["test_images"])
    return f"it was tested on {then:,} images only, the last run on {now:,}" if then < _SMALLEST_SPLIT * now else ""


def _differs(own: Mapping[str, Any], card: Mapping[str, Any], part: str) -> bool:
    """Whether two cards disagree about a setting that both know and that matters to the curve."""
    mine, theirs = (_part(one, part) for one in (own, card))
    return any(mine[name] != theirs[name] for name in (mine.keys() & theirs.keys()) - _OF_NO_ACCOUNT)


def _part(card: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    settings = card.get("settings")
    found = settings.get(part) if isinstance(settings, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _measured(run: str, row: Mapping[str, Any], card: Mapping[str, Any]) -> Measured:
    labelled_images, test_images = int(row["labelled_images"]), int(row["test_images"])
    found = card.get(STANDARD_ERROR)
    known = isinstance(found, float) and 0 < found < 1
    error = found if known else _PER_IMAGE / math.sqrt(test_images)
    return Measured(run, labelled_images, test_images, float(row["value"]), round(float(error or 0), 6) or 1e-6, known)


def _seconds_per_image(work: Work, parent: Commit | None) -> float | None:
    """What an image of the job's batches took to review, by the cost model and what became of its drafts; None where none was handed out.

    Only images that were not labelled before count: to look through labels again is other work.
    """
    blobs = work.store.labels
    before = {labels.image for labels in labelled.read(blobs, parent.tagged).images} if parent and parent.tagged else set()
    pairs = [pair for upload in work.job.uploads for pair in _handed_out(work, upload) if pair[0].image not in before]
    if not pairs:
        return None
    totals = diff.total(diff.tally(drafts.boxes, reviewed) for drafts, reviewed in pairs)
    return round(cost.model(work.settings.costs).review_seconds(len(pairs), totals) / len(pairs), 2)


def _handed_out(work: Work, upload: str) -> list[tuple[ImageLabels, ImageLabels]]:
    """The images of an upload as they were handed out and as they came back; none of an import, which nobody was handed."""
    batch = layout.batch_of_reviewed(upload)
    if not batch:
        return []
    drafts = {labels.image: labels for labels in labelled.read_upload(work.store.labels, layout.batch_totag(batch)).images}
    reviewed = labelled.union(labelled.read_upload(work.store.labels, upload).images)
    return [(drafts[labels.image], labels) for labels in reviewed if labels.image in drafts]
