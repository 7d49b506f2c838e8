"""The commands that learn from the test split what a model's figures are worth: calibrate, threshold.

Rule: what they find out is kept beside the model.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from activelearning import layout
from activelearning.commandline import Command, Commands, add_json, emit, plural
from activelearning.errors import BlobMissing, FormatError, UserError
from activelearning.store import open_store

if TYPE_CHECKING:
    import numpy as np

    from trainer.budgets import Budget
    from trainer.judged import Judged
    from trainer.study import Study
    from trainer.thresholding import Thresholding

_THRESHOLDS = "thresholds.json"


def add(program: Commands) -> None:
    """Add both of them."""
    calibrate = command(program, "calibrate", _calibrate, "make confidence and spread of a model mean what they say", "calibrate ./birds")
    for name in ("detection", "closed_set", "box"):
        calibrate.add_argument(f"--{name.replace('_', '-')}", metavar="METHOD", help="see README; an unknown one lists what there is")
    calibrate.add_argument("--dry-run", action="store_true", help="only show the figures")
    threshold = command(
        program, "threshold", _threshold, "find what to remove because the model is unsure of it", "threshold ./birds --keep-correct 0.95"
    )
    budget = threshold.add_mutually_exclusive_group()
    budget.add_argument("--keep-correct", type=float, metavar="SHARE", help="keep so many of the correct detections (default: 0.95)")
    budget.add_argument("--remove-false", type=float, metavar="SHARE", help="or remove so many of the false ones")
    threshold.add_argument("--uncertainties", default="unconfidence", metavar="A,B", help="which to mix, or all (default: unconfidence)")
    threshold.add_argument("--confidence", type=float, default=0.95, metavar="X", help="how surely the budget holds for new images")
    threshold.add_argument("--per-class", action="store_true", help="thresholds for each class that is frequent enough")


def command(program: Commands, name: str, run: Command, purpose: str, example: str) -> argparse.ArgumentParser:
    """A command about one model of a store; returns its parser, for further arguments."""
    parser = program.add(name, run, purpose, example)
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--model", default="", help="a run such as main/3 (default: the current model)")
    add_json(parser)
    return parser


def study_of(arguments: argparse.Namespace) -> "Study":
    """The model that the command line is about."""
    from trainer import study

    return study.of_run(open_store(arguments.store), arguments.model, say)


def say(line: str) -> None:
    """Tell of progress, beside what is printed."""
    print(line, file=sys.stderr, flush=True)


def _calibrate(arguments: argparse.Namespace) -> None:
    from trainer import calibrating, draft_learning
    from trainer.calibration import Options

    chosen = {name: value for name in ("detection", "closed_set", "box") if (value := getattr(arguments, name))}
    options, study = Options(**chosen), study_of(arguments)
    fitted = calibrating.fit(study.work, study.held_out, options)
    if not arguments.dry_run:
        calibrating.replace(study.work, study.run, fitted)
        draft_learning.relearn(study.work, study.run, study.held_out)
    figures = {when: asdict(getattr(fitted, when)) for when in ("before", "after")}
    found = {"model": study.run, "options": asdict(options), **asdict(fitted.sample), **figures}
    emit(arguments, found, "\n".join([f"model {study.run}, {plural(len(study.held_out), 'test image')}", *_figure_lines(figures)]))


def _figure_lines(figures: dict[str, dict[str, object]]) -> Iterator[str]:
    yield f"{'':34} {'before':>9} {'after':>9}   (after: on images that were not learned from)"
    for part, values in figures["before"].items():
        after = figures["after"][part]
        if isinstance(values, dict) and isinstance(after, dict):
            yield from (
                f"{f'{part} {name}':34} {value:9.4f} {after[name]:9.4f}" for name, value in values.items() if isinstance(value, float)
            )


def _threshold(arguments: argparse.Namespace) -> None:
    from trainer import thresholding, uncertainties
    from trainer.budgets import CORRECT, FALSE, Budget

    study = study_of(arguments)
    wanted_false = arguments.remove_false is not None
    share = arguments.remove_false if wanted_false else 0.95 if arguments.keep_correct is None else arguments.keep_correct
    budget = Budget(FALSE if wanted_false else CORRECT, share, arguments.confidence)
    values = _chosen(uncertainties.of(study.judged.detections), arguments.uncertainties)
    own_from = 30 if arguments.per_class else None
    source = f"{study.source} {own_from}"
    fitted = _kept(study, source, budget, tuple(values))
    if fitted is None:
        fitted = thresholding.fit(study.judged, values, study.work.settings.classes, budget, source, own_from=own_from)
        _keep(study, _THRESHOLDS, fitted.to_json().encode())
    label = study.judged.detections.class_id
    removed, mix = fitted.removes(values, label), fitted.mixed(values, label)
    effects = [asdict(thresholding.effect(study.judged, removed, iou)) for iou in fitted.ious]
    rows = uncertainties.separations(study.judged, values | {"mix": mix}, study.work.settings.classes, share=share)
    table = [asdict(row) for row in rows if row.iou is None]
    baseline = _nearest_vertex(study.judged, mix, budget)
    thresholds = json.loads(fitted.to_json())
    found = {"model": study.run, "thresholds": thresholds, "effects": effects, "nearest_vertex": baseline, "separations": table}
    emit(arguments, found, "\n".join(_threshold_lines(study.run, table, effects, baseline, share)))


def _nearest_vertex(judged: "Judged", mix: "np.ndarray", budget: "Budget") -> dict[str, object] | None:
    """What the published rule would do with the same mix at IoU 0.5; None where there is no false or no correct detection."""
    from trainer import budgets, thresholding

    correct = judged.correct()
    if correct.all() or not correct.any():
        return None
    return asdict(thresholding.effect(judged, mix >= budgets.nearest_vertex(mix, correct, budget), 0.5))


def _threshold_lines(
    run: str,
    table: Sequence[dict[str, object]],
    effects: Sequence[dict[str, object]],
    baseline: dict[str, object] | None,
    share: float,
) -> Iterator[str]:
    yield f"model {run}: how well each uncertainty tells false detections from correct ones, mean over IoU .50 to .75"
    percent = f"{share:.0%}"
    yield f"{'uncertainty':20} {'class':14} {'AUC':>7} {'JSD':>7} {f'FD@CD{percent}':>9} {f'CD@FD{percent}':>9}"
    for row in table:
        figures = " ".join(f"{'-' if row[name] is None else f'{row[name]:.3f}':>{width}}" for name, width in _COLUMNS)
        yield f"{row['uncertainty']!s:20} {row['label']!s:14} {figures}"
    yield f"the threshold on the mix, at IoU 0.5: {_effect(effects[0])}"
    if baseline:
        yield f"the published rule (nearest vertex of the ROC curve), which promises nothing: {_effect(baseline)}"


def _effect(effect: dict[str, object]) -> str:
    return (
        f"{effect['correct_kept']} of {_sum(effect, 'correct')} correct detections kept, "
        f"{effect['false_removed']} of {_sum(effect, 'false')} false ones removed, "
        f"missed objects {effect['missed_before']} → {effect['missed_after']}"
    )


_COLUMNS = (("auc", 7), ("jsd", 7), ("fd_at_cd", 9), ("cd_at_fd", 9))


def _sum(effect: dict[str, object], kind: str) -> int:
    return int(str(effect[f"{kind}_kept"])) + int(str(effect[f"{kind}_removed"]))


def _chosen(values: "dict[str, np.ndarray]", names: str) -> "dict[str, np.ndarray]":
    wanted = list(values) if names == "all" else [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in values]
    if unknown:
        raise UserError(f"there is no uncertainty '{unknown[0]}'; there are: {', '.join(values)}")
    return {name: values[name] for name in wanted}


def _kept(study: "Study", source: str, budget: object, names: tuple[str, ...]) -> "Thresholding | None":
    """The thresholds that were fitted before, if they answer the same question."""
    from trainer import thresholding

    name = layout.model(study.run, _THRESHOLDS)
    with suppress(BlobMissing, FormatError):
        found = thresholding.from_json(study.work.store.labels.read(name).content, name, source)
        return found if (found.budget, found.names) == (budget, names) else None
    return None


def _keep(study: "Study", file: str, content: bytes) -> None:
    from trainer import calibrating

    calibrating.replace_file(study.work.store.labels, layout.model(study.run, file), content)
