"""Whether the promise is kept: BCCD, a detector trained on 200 images, rules from few reviewed images, judged on all other images."""

import argparse
from collections.abc import Callable, Sequence

import numpy as np

from activelearning.settings import Drafts, Training
from tests.bench import bccd
from trainer import promise
from trainer.calibration import Options, cross_fitted
from trainer.calibration.fitting import apply, fit_maps
from trainer.judged import Judged

_SIZE = (640.0, 480.0)
"""All images of BCCD."""
Sureness = Callable[[Judged, Judged], tuple[np.ndarray, np.ndarray]]


def run(args: list[str]) -> dict[str, object]:
    """Keys: `promise`, `splits`, `kept` (in how many splits the accepted boxes were as often right as promised; where none is accepted,
    nothing is broken), `accepting` (in how many any was accepted), `accepted_share` of the true objects of the images judged, and
    `share_of_boxes` above the drafts' threshold, means over the splits; `precision` of all accepted boxes together. `ceiling` is the
    share of objects that could be accepted if the threshold were chosen knowing the truth. `others` holds other promises, and sureness
    by calibrated probability instead of confidence, as the loop has it."""
    options = _parser().parse_args(args)
    judged = bccd.judged_by_200(options.iterations, options.seed, options.threads)
    judged = judged[judged.detections.confidence >= Drafts().min_confidence]
    wanted = [(options.promise, "confidence"), *((share, name) for share in (0.99, 0.95, 0.9) for name in ("confidence", "probability"))]
    rows = [measure(judged, share, name, options) for share, name in dict.fromkeys(wanted)]
    return rows[0] | {"others": rows[1:]}


def measure(judged: Judged, share: float, sureness: str, options: argparse.Namespace) -> dict[str, object]:
    """The figures of one promise."""
    splits = [_split(judged, share, _SURENESS[sureness], options, number) for number in range(options.splits)]
    accepted, wrong, objects, boxes = (np.array(column) for column in zip(*splits, strict=True))
    return {
        "promise": share,
        "splits": options.splits,
        "kept": int((wrong <= (1 - share) * accepted).sum()),
        "accepting": int((accepted > 0).sum()),
        "accepted_share": round(float((accepted / objects).mean()), 3),
        "share_of_boxes": round(float((accepted / boxes).mean()), 3),
        "precision": round(1 - float(wrong.sum() / accepted.sum()), 4) if accepted.any() else None,
        "ceiling": round(_ceiling(judged, share, _SURENESS[sureness]), 3),
        "sureness": sureness,
        "reviewed_images": options.reviewed,
    }


def _split(judged: Judged, share: float, sureness: Sureness, options: argparse.Namespace, number: int) -> tuple[int, int, int, int]:
    """Accepted boxes, wrong ones among them, objects and boxes of the images that were not reviewed."""
    images = np.random.default_rng(number).permutation(len(judged.objects))
    reviewed, others = (judged.of_images(np.sort(part)) for part in (images[: options.reviewed], images[options.reviewed :]))
    known, asked = sureness(reviewed, others)
    accepted = np.zeros(len(others), bool)
    for label, name in enumerate(bccd.CLASSES):
        mine, theirs = reviewed.detections.class_id == label, others.detections.class_id == label
        rule = promise.class_rule(
            name,
            known[mine],
            reviewed.correct()[mine],
            reviewed.image[mine],
            asked[theirs],
            precision=share,
            confidence=options.confidence,
        )
        if rule.threshold is not None:
            accepted[theirs] = asked[theirs] >= rule.threshold
    return int(accepted.sum()), int((accepted & ~others.correct()).sum()), int(others.objects.sum()), len(others)


def _by_confidence(reviewed: Judged, others: Judged) -> tuple[np.ndarray, np.ndarray]:
    return reviewed.detections.confidence, others.detections.confidence


def _by_probability(reviewed: Judged, others: Judged) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated on the reviewed images, those of the reviewed ones out of fold."""
    maps = fit_maps(reviewed, _sizes(reviewed), Options())
    return cross_fitted(reviewed, _sizes(reviewed), Options()).probability, apply(maps, others, _sizes(others)).probability


def _sizes(judged: Judged) -> np.ndarray:
    return np.tile(_SIZE, (len(judged.objects), 1))


_SURENESS: dict[str, Sureness] = {"confidence": _by_confidence, "probability": _by_probability}


def _ceiling(judged: Judged, share: float, sureness: Sureness) -> float:
    known, _ = sureness(judged, judged)
    most = (_most(known, judged, judged.detections.class_id == label, share) for label in range(len(bccd.CLASSES)))
    return sum(most) / int(judged.objects.sum())


def _most(known: np.ndarray, judged: Judged, mine: np.ndarray, share: float) -> int:
    correct: Sequence[bool] = judged.correct()[mine][np.argsort(-known[mine], kind="stable")]
    counts = np.arange(1, int(mine.sum()) + 1)
    return int(np.max(counts * (np.cumsum(correct) >= share * counts), initial=0))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench promise")
    parser.add_argument("--promise", type=float, default=0.99)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--reviewed", type=int, default=100, help="reviewed images")
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--iterations", type=int, default=Training().iterations)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser
