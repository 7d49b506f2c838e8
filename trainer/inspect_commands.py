"""The commands that show what a model does: validate, corrupt, report.

Rule: each works on the test split, and changes nothing but the files it is asked for.
"""

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from activelearning.commandline import Commands, emit, plural
from activelearning.errors import UserError
from trainer.study_commands import command, say, study_of

if TYPE_CHECKING:
    from trainer.calibration import Calibrated
    from trainer.held_out import HeldOut
    from trainer.study import Study
    from trainer.validation import Extra


def add(program: Commands) -> None:
    """Add all of them."""
    validate = command(program, "validate", _validate, "write every detection beside the truth", "validate ./birds --to ./validation")
    validate.add_argument("--to", required=True, type=Path, metavar="DIR", help="folder for validation.csv and its schema")
    validate.add_argument("--parquet", action="store_true", help="as Parquet instead of CSV")
    validate.add_argument(
        "--full-dropout", type=float, metavar="RATE", help="spread from dropout through the whole network, for comparison"
    )
    corrupt = command(
        program, "corrupt", _corrupt, "see what worse images do to a model", "corrupt ./birds --corruptions fog,jpeg --images 50"
    )
    corrupt.add_argument("--corruptions", metavar="A,B", help="which (default: all)")
    corrupt.add_argument("--severities", default="1,3,5", metavar="1,3,5", help="how strong, 1 to 5")
    corrupt.add_argument("--images", type=int, default=100, metavar="N", help="at most so many test images")
    report = command(program, "report", _report, "write the page that shows how good a model is", "report ./birds --to ./report")
    report.add_argument("--to", type=Path, metavar="DIR", help="write page and plots into a folder (default: beside the model)")


def _validate(arguments: argparse.Namespace) -> None:
    from trainer import calibrating, validation, validation_files, validation_summary

    study = study_of(arguments)
    target = arguments.to / f"validation.{'parquet' if arguments.parquet else 'csv'}"
    arguments.to.mkdir(parents=True, exist_ok=True)
    held_out, extras = _held_out(study, arguments.full_dropout)
    judged = calibrating.judged(study.work, held_out)
    table = validation.validation_table(judged, held_out.images, held_out.truth, study.work.settings.classes, extras)
    validation_files.write(table, target)
    summary = asdict(validation_summary.summary(judged, held_out.truth))
    lines = [f"{plural(len(table), 'row')} written to {target}", *(f"{name:20} {_text(value)}" for name, value in summary.items())]
    emit(arguments, {"model": study.run, "file": str(target), "rows": len(table), "summary": summary}, "\n".join(lines))


def _held_out(study: "Study", full_dropout: float | None) -> "tuple[HeldOut, list[Extra]]":
    """What the model finds, and its calibration's columns; a calibration is not about another kind of spread."""
    if full_dropout is None:
        return study.held_out, _calibrated_columns(study)
    if not 0 < full_dropout < 1:
        raise UserError(f"--full-dropout is {full_dropout:g}, but a rate lies between 0 and 1")
    from trainer import full_network

    say(f"predicting {plural(len(study.held_out), 'image')} {study.work.settings.prediction.mc_samples} times over")
    return full_network.held_out(study, full_dropout), []


def _calibrated_columns(study: "Study") -> "list[Extra]":
    """What the model's calibration makes of the detections, out of fold; nothing where it has none."""
    from trainer import calibrating, calibration

    fitted = calibrating.read(study.work.store.labels, study.run)
    return _extras(calibration.cross_fitted(study.judged, study.sizes, fitted.options)) if fitted else []


def _extras(found: "Calibrated") -> "list[Extra]":
    import numpy as np

    from trainer.validation import Extra

    columns = [
        Extra("calibrated_probability", found.probability, "0..1", "calibrated probability that the box is right"),
        Extra("calibrated_class_probability", found.class_probabilities, "0..1", "calibrated closed-set probability", per_class=True),
        Extra("calibrated_entropy", found.entropy, "bits", "entropy of the calibrated closed-set probabilities"),
    ]
    margin = np.where(np.isfinite(found.margin), found.margin, np.nan).astype(np.float32)
    columns.append(
        Extra("margin", margin, "px", "distance that conformal prediction promises for the true place, nothing if it promises none, of")
    )
    for name in ("aleatoric", "epistemic", "total"):
        std = getattr(found, name)
        if std is not None:
            columns.append(Extra(f"calibrated_{name}", std, "px", f"calibrated {name} standard deviation of"))
    return columns


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_text, value))
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _corrupt(arguments: argparse.Namespace) -> None:
    from trainer import corruption, corruption_suite
    from trainer.corruption_suite import Sample

    if arguments.images < 1:
        raise UserError(f"--images is {arguments.images}, but must be at least 1")
    study = study_of(arguments)
    names = [name.strip() for name in arguments.corruptions.split(",")] if arguments.corruptions else list(corruption.CORRUPTIONS)
    corruption_suite.steps(names, _severities(arguments.severities))
    predictor, held_out = study.predictor(), study.held_out
    samples = [
        Sample(name, pixels, truth)
        for name, truth in list(zip(held_out.images, held_out.truth, strict=True))[: arguments.images]
        if (pixels := study.pixels(name)) is not None
    ]
    found = []
    for row in corruption_suite.suite(predictor, samples, study.work.settings.classes, names, _severities(arguments.severities)):
        found.append(asdict(row))
        say(_corruption_line(found[-1]))
    text = f"model {study.run} on {plural(len(samples), 'test image')}: {plural(len(found), 'row')}, see above"
    emit(arguments, {"model": study.run, "rows": found}, text)


def _severities(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--severities is '{text}', but must be numbers such as 1,3,5") from None


def _corruption_line(row: dict[str, object]) -> str:
    uncertain = row["uncertainty"]
    total = uncertain.get("total") if isinstance(uncertain, dict) else None
    named = " ".join(f"{name} {_text(row[name])}" for name in ("detections", "confidence", "ap50", "recall"))
    return f"{row['corruption']!s:22} {row['severity']}: {named} total spread {_text(total)}"


def _report(arguments: argparse.Namespace) -> None:
    from trainer import reporting

    study = study_of(arguments)
    made = reporting.make(study, time.time(), reporting.current_pool(study))
    if arguments.to:
        arguments.to.mkdir(parents=True, exist_ok=True)
        for name, content in (*made.pngs.items(), (reporting.PAGE, made.html.encode())):
            (arguments.to / name).write_bytes(content)
        where = str(arguments.to / reporting.PAGE)
    else:
        where = reporting.replace(study, made)
    emit(arguments, {"model": study.run, "page": where, "plots": sorted(made.pngs)}, f"wrote {where} and {plural(len(made.pngs), 'plot')}")
