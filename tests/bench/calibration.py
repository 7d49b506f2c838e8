"""How true calibrated values are on images that were not calibrated on: few images of BCCD, many random draws, a detector of 200 images."""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from activelearning.settings import Training
from tests.bench import bccd
from trainer.calibration import Figures, Options, boxes, closed_set, context, fitting, score_metrics, scores
from trainer.calibration.calibrated import Maps
from trainer.judged import Judged

_SIZE = (640.0, 480.0)
"""All images of BCCD."""


def run(args: list[str]) -> dict[str, object]:
    """Keys: `d_ece_before` and, by the default method, `d_ece_after`: of the detections of all splits together, each in images that its
    calibration did not see. The same split by split, where few boxes of few images show much by chance: means `d_ece_split_before`,
    `d_ece_split_after`, the worst, and `d_ece_split_of_chance`, which true probabilities of independent boxes would show;
    `d_ece_split_fitted_on_all`, were it fitted on all images, those that judge included. `methods`, the means of every method by what it
    calibrates; `images` to calibrate on and `judged_on`."""
    options = _parser().parse_args(args)
    judged = bccd.judged_by_200(options.iterations, options.seed, options.threads)
    return measure(judged, np.tile(_SIZE, (len(judged.objects), 1)), options.images, options.splits)


def measure(judged: Judged, wh: np.ndarray, images: int, splits: int) -> dict[str, object]:
    """What `run` returns, for any judged detections of images of sizes `wh` (M, 2)."""
    draws = list(_draws(len(judged.objects), images, splits))
    before = [fitting.figures(fitting.uncalibrated(held_out), held_out, Options().iou) for held_out in _held_out(judged, draws)]
    after = {options: [_fitted_on(judged, wh, draw, options) for draw in draws] for options in _candidates()}
    on_all = fitting.fit_maps(judged, wh, Options())
    limit = [_detection(_figures(on_all, held_out, wh)) for held_out in _held_out(judged, draws)]
    default = _mean([_detection(one) for one in after[Options()]])
    return {
        "d_ece_before": _pooled(judged, draws, (part.detections.confidence for part in _held_out(judged, draws))),
        "d_ece_after": _pooled(judged, draws, _probabilities(judged, wh, draws)),
        "d_ece_split_before": _mean([_detection(one) for one in before])["d_ece"],
        "d_ece_split_after": default["d_ece"],
        "d_ece_split_worst": round(max(_detection(one)["d_ece"] for one in after[Options()]), 4),
        "d_ece_split_of_chance": default["of_chance"],
        "d_ece_split_fitted_on_all": _mean(limit)["d_ece"],
        "methods": _methods(before, after),
        "images": images,
        "judged_on": len(judged.objects) - images,
        "splits": splits,
    }


def _probabilities(judged: Judged, wh: np.ndarray, draws: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    for draw in draws:
        chosen = np.isin(judged.image, draw)
        yield fitting.apply(fitting.fit_maps(judged[chosen], wh, Options()), judged[~chosen], wh).probability


def _pooled(judged: Judged, draws: Sequence[np.ndarray], probabilities: Iterable[np.ndarray]) -> float:
    """The D-ECE of what all splits say of the images that they did not learn from, taken together."""
    columns = [(part.detections.class_id, part.correct(Options().iou), part.iou) for part in _held_out(judged, draws)]
    joined = (np.concatenate(column) for column in zip(*columns, strict=True))
    found = score_metrics.of_scores(np.concatenate(list(probabilities)), *joined)
    assert found is not None
    return round(found.d_ece, 4)


def _draws(images: int, fitted_on: int, splits: int) -> Iterator[np.ndarray]:
    for seed in range(splits):
        yield np.random.default_rng(seed).permutation(images)[:fitted_on]


def _held_out(judged: Judged, draws: Sequence[np.ndarray]) -> Iterator[Judged]:
    for draw in draws:
        yield judged[~np.isin(judged.image, draw)]


def _fitted_on(judged: Judged, wh: np.ndarray, draw: np.ndarray, options: Options) -> Figures:
    chosen = np.isin(judged.image, draw)
    return _figures(fitting.fit_maps(judged[chosen], wh, options), judged[~chosen], wh)


def _figures(maps: Maps, judged: Judged, wh: np.ndarray) -> Figures:
    return fitting.figures(fitting.apply(maps, judged, wh), judged, Options().iou)


def _candidates() -> list[Options]:
    """The default, and as few more options as bring every method up; those of a kind that has fewer come up again."""
    default = Options()
    lists = {"detection": (*scores.METHODS, context.METHOD), "closed_set": closed_set.METHODS, "box": boxes.METHODS}
    ordered = {name: sorted(methods, key=lambda one, name=name: one != getattr(default, name)) for name, methods in lists.items()}
    most = max(map(len, ordered.values()))
    return [replace(default, **{name: methods[row % len(methods)] for name, methods in ordered.items()}) for row in range(most)]


def _methods(before: Sequence[Figures], after: Mapping[Options, Sequence[Figures]]) -> dict[str, dict[str, dict[str, float]]]:
    """By what is calibrated and by method the means; `none` is the detector's own."""
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for name, pick in {"detection": _detection, "closed_set": _closed_set, "box": _box}.items():
        rows = {"none": before, **{getattr(one, name): found for one, found in after.items()}}
        tables[name] = {method: _mean([pick(one) for one in found]) for method, found in rows.items()}
    return tables


def _detection(figures: Figures) -> dict[str, float]:
    one = figures.detection
    assert one is not None
    keys = {"d_ece": one.d_ece, "of_chance": one.d_ece_of_chance, "equal_mass": one.d_ece_equal_mass}
    return keys | {"la_ece": one.la_ece, "brier": one.brier, "nll": one.nll}


def _closed_set(figures: Figures) -> dict[str, float]:
    one = figures.closed_set
    assert one is not None
    return {"ece": one.ece, "sce": one.sce, "brier": one.brier, "nll": one.nll}


def _box(figures: Figures) -> dict[str, float]:
    """Of the total deviation; `inside` ±1 of it is .683 for a Gaussian; `inside_margins` should be 1 − α."""
    one = figures.total
    assert one is not None
    keys = {"ece": one.ece, "nll": one.nll, "crps": one.crps, "inside": float(np.mean(one.inside)), "inside_all": one.inside_all}
    return keys if figures.inside_margins is None else keys | {"inside_margins": figures.inside_margins}


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench calibration")
    parser.add_argument("--images", type=int, default=50, help="to calibrate on; the others judge")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=Training().iterations)
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--threads", type=int, default=1)
    return parser
