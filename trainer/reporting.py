"""The report of a run in the store: gathers the facts, writes page and plots beside the model."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict

import numpy as np
from PIL import Image

from activelearning import autolabels, batch_diffs, claims, cost, drafts_record, journal, layout, learned_drafts, outlook_shown
from activelearning.batch_diffs import BatchDiff
from activelearning.cost import CostModel
from activelearning.errors import BlobExists
from activelearning.labels import ImageLabels
from trainer import budgets, calibrating, calibration, draft_evidence, performance, report, uncertainties
from trainer.budgets import Budget
from trainer.calibration import Calibrated, Calibration
from trainer.report import EvaluatedImage, Facts, Pool, Report, ReturnedBatch, Separation
from trainer.study import Study

PAGE = "report.html"
_NEWEST_BATCHES = 50
_SHARE = 0.95
_SHOWN = {
    "D-ECE of confidence": ("detection", "d_ece"),
    "MCE of confidence": ("detection", "mce"),
    "Brier score of confidence": ("detection", "brier"),
    "NLL of confidence": ("detection", "nll"),
    "LaECE of confidence": ("detection", "la_ece"),
    "ECE of the class": ("closed_set", "ece"),
    "SCE of the class": ("closed_set", "sce"),
    "NLL of the class": ("closed_set", "nll"),
    "ECE of corners": ("total", "ece"),
    "NLL of corners": ("total", "nll"),
    "RMSUE of corners, px": ("total", "rmsue"),
    "sharpness of corners, px": ("total", "sharpness"),
    "CRPS of corners, px": ("total", "crps"),
    "interval score of corners, px": ("total", "interval_score"),
}
"""What the calibration page shows, and which of the calibration's figures that is."""


def write(study: Study, made: Report) -> None:
    """Write a report beside its model; what an earlier, killed attempt wrote stays."""
    for name, content in _files(made).items():
        with suppress(BlobExists):
            study.work.store.labels.create(layout.model(study.run, name), content)


def replace(study: Study, made: Report) -> str:
    """Put a report beside the model in the place of one that may be there, and return the page's name."""
    blobs = study.work.store.labels
    for name, content in _files(made).items():
        calibrating.replace_file(blobs, layout.model(study.run, name), content)
    return layout.model(study.run, PAGE)


def _files(made: Report) -> dict[str, bytes]:
    return {**{f"report/{name}": png for name, png in made.pngs.items()}, PAGE: made.html.encode()}


def make(study: Study, made_at: float, pool: Iterable[ImageLabels]) -> Report:
    """The report of a run; `pool` are the images that nobody has labelled, with what the model says of them."""
    return report.write(_facts(study, made_at, pool))


def current_pool(study: Study) -> Iterable[ImageLabels]:
    """What the current totag says, if all of it is of this run's model."""
    if not study.commit or study.commit.drafts_of != study.run:
        return ()
    return (group.labels for group in claims.walk(study.work.store.labels, study.commit.totag))


def _facts(study: Study, made_at: float, pool: Iterable[ImageLabels]) -> Facts:
    held_out, judged, settings = study.held_out, study.judged, study.work.settings
    fitted = calibrating.read(study.work.store.labels, study.run)
    calibrated = _out_of_fold(study, fitted)
    values = uncertainties.of(judged.detections)
    names = zip(held_out.images, held_out.sizes, held_out.truth, strict=True)
    return Facts(
        run=study.run,
        made_at=f"{journal.utc(made_at)[:19]}Z",
        classes=settings.classes,
        performance=performance.read(study.work.store.labels),
        judged=judged,
        images=tuple(EvaluatedImage(name, size, truth) for name, size, truth in names),
        image=lambda name: _image(study, name),
        shown_from=settings.drafts.min_confidence,
        shown=_shown(study, calibrated),
        probability=None if calibrated is None else calibrated.probability,
        std=None if calibrated is None else calibrated.total,
        uncertainties=values,
        separations=_separations(study, values),
        budget=_SHARE,
        pool=_pool(study, pool),
        calibration=_before_and_after(fitted) if fitted else {},
        returned=_returned(study),
        outlook=outlook_shown.shown(study.work.store.labels, study.run)[0],
    )


def _out_of_fold(study: Study, fitted: Calibration | None) -> Calibrated | None:
    # what is shown must not have been learned from the very boxes it is shown of
    return fitted and calibration.cross_fitted(study.judged, study.sizes, fitted.options)


def _shown(study: Study, calibrated: Calibrated | None) -> np.ndarray | None:
    """Which detections people are shown, where thresholds were learned."""
    learned, settings = drafts_record.read(study.work.store.labels, study.run), study.work.settings
    if learned is None or not settings.drafts.learned:
        return None
    probability = None if calibrated is None else calibrated.probability
    return draft_evidence.shown(
        study.judged, study.held_out.sizes, settings.classes, probability, learned_drafts.rules(settings.drafts, learned)
    )


def _image(study: Study, name: str) -> Image.Image | None:
    pixels = study.pixels(name)
    return None if pixels is None else Image.fromarray(pixels)


def _separations(study: Study, values: Mapping[str, np.ndarray]) -> tuple[Separation, ...]:
    """Over all classes, at IoU 0.5."""
    correct, budget = study.judged.correct(), Budget(share=_SHARE, confidence=None)
    rows = uncertainties.separations(study.judged, values, study.work.settings.classes, share=_SHARE, ious=(0.5,))
    return tuple(
        Separation(
            row.uncertainty, row.auc, row.jsd, row.fd_at_cd, row.cd_at_fd, budgets.threshold(values[row.uncertainty], correct, budget)
        )
        for row in rows
        if row.label == uncertainties.ALL and row.iou == 0.5
    )


def _pool(study: Study, images: Iterable[ImageLabels]) -> Pool | None:
    confidence = np.array([labels.image_confidence or 0.0 for labels in images])
    current = study.commit.autolabelled if study.commit and study.commit.model == study.run else study.run
    record = autolabels.read(study.work.store.labels, current) if current else None
    counts = {"accepted": record.images, "audit": record.audits, "to examine": record.examine} if record else {}
    return Pool(confidence, counts) if len(confidence) or counts else None


def _returned(study: Study) -> tuple[ReturnedBatch, ...]:
    costs = cost.model(study.work.settings.costs)
    return tuple(_returned_batch(one, costs) for one in batch_diffs.newest(study.work.store.labels, _NEWEST_BATCHES))


def _returned_batch(found: BatchDiff, costs: CostModel) -> ReturnedBatch:
    totals, images, expected = found.totals, len(found.images), found.expected
    boxes = totals.kept + totals.moved + totals.relabelled + totals.added
    counts = (totals.kept, totals.moved, totals.relabelled, totals.deleted, totals.added)
    seconds, drawing = costs.review_seconds(images, totals), costs.open * images + costs.draw_seconds(boxes)
    return ReturnedBatch(found.batch, found.tagger, images, found.drafts, *counts, seconds, drawing, expected.seconds if expected else None)


def _before_and_after(fitted: Calibration) -> dict[str, tuple[float, float]]:
    """The figures that the report shows, by the names it shows them by; those that both have."""
    before, after = asdict(fitted.before), asdict(fitted.after)
    return {
        shown: (before[part][name], after[part][name])
        for shown, (part, name) in _SHOWN.items()
        if before[part] is not None and after[part] is not None
    }
