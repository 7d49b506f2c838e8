"""Drawn facts for the tests of the report, and what `Facts` refuses."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from trainer.detections import Detections
from trainer.ground_truth import GroundTruth
from trainer.judged import judge
from trainer.report import EvaluatedImage, Facts, Pool, Separation
from trainer.spread import Spread

CLASSES = ("petrel", "gull", "owl")
_SIZES = ((120, 90), (90, 120), (200, 100))


def facts(images: int = 9, seed: int = 5) -> Facts:
    """All a report can tell, of drawn images: objects found with some error, some missed, some boxes on nothing, one image empty."""
    random = np.random.default_rng(seed)
    evaluated = [_image(random, index) for index in range(images)]
    judged = judge([_found(random, one) for one in evaluated], [one.truth for one in evaluated], len(CLASSES))
    count, spread = len(judged), judged.detections.spread
    uncertainties = {"unconfidence": 1 - judged.detections.confidence, "any_other": random.uniform(0, 3, count)}
    return Facts(
        run="main/3",
        made_at="2026-11-21T17:40:00Z",
        classes=CLASSES,
        performance=rows(),
        judged=judged,
        images=evaluated,
        image=painted(evaluated),
        shown_from=0.4,
        probability=np.clip(judged.detections.confidence**1.5, 0, 1),
        std=None if spread is None else spread.total * np.float32(0.8),
        uncertainties=uncertainties,
        separations=(
            Separation("unconfidence", 0.81, 0.42, 0.37, 0.55, 0.45),
            Separation("any_other", 0.5, None, 0.04, 0.05, 2.9),
            Separation("of nothing", None, None, None, None, None),
        ),
        pool=Pool(random.uniform(0, 1, 41), {"labelled": 1204, "examine": 17, "audit": 5}),
        calibration={"ECE": (0.083, 0.021), "within one": (0.5, 0.69), "from nought": (0.0, 0.1)},
    )


def rows() -> list[dict[str, object]]:
    """Rows of three iterations of `main` and one of another flow; the class owl has no figure, and text stands beside numbers."""
    table = []
    for flow, iteration, images, ap50 in (("main", 1, 20, 0.5), ("main", 2, 40, 0.61), ("main", "3", "60", 0.64), ("other", 1, 20, 0.45)):
        figures = {"all": (ap50, 30), "petrel": (ap50 + 0.1, 20), "gull": (str(ap50 - 0.1), "10"), "owl": ("", 0)}
        for label, (value, support) in figures.items():
            for metric, factor in (("ap50", 1), ("ap", 0.6), ("ap75", 0.7)):
                shown = value if value == "" else float(value) * factor
                known = {"class": label, "metric": metric, "value": shown, "support": support}
                table.append({"flow": flow, "iteration": iteration, "labelled_images": images, "test_images": "9", **known})
    return table


def painted(images: list[EvaluatedImage]) -> Callable[[str], Image.Image | None]:
    """A loader of plain images in the sizes of those given."""
    sizes = {one.name: one.size for one in images}
    return lambda name: Image.new("RGB", sizes[name], (120, 140, 160))


def without_split(**changes: object) -> Facts:
    """Facts of a run that was not evaluated."""
    nothing = {"judged": None, "images": (), "probability": None, "std": None, "uncertainties": {}, "separations": (), "performance": ()}
    return replace(facts(), **nothing | changes)


def _image(random: np.random.Generator, index: int) -> EvaluatedImage:
    size = _SIZES[index % 3]
    objects = 0 if index == 4 else int(random.integers(2, 7))
    return EvaluatedImage(f"cam-1/{index:02}.jpg", size, GroundTruth(_boxes(random, objects, size), random.integers(0, 2, objects)))


def _boxes(random: np.random.Generator, count: int, size: tuple[int, int]) -> np.ndarray:
    corners = random.uniform(0, 0.7, (count, 2))
    sides = random.uniform(0.1, 0.3, (count, 2))
    return (np.concatenate([corners, corners + sides], 1) * np.tile(size, 2)).astype(np.float32)


def _found(random: np.random.Generator, image: EvaluatedImage) -> Detections:
    """Most objects, some twice or as another class, and three boxes on nothing."""
    picked = np.flatnonzero(random.uniform(size=len(image.truth.class_id)) < 0.85)
    picked = np.concatenate([picked, picked[:2]])
    moved = image.truth.xyxy[picked] + random.normal(0, 2.5, (len(picked), 4))
    boxes = np.concatenate([moved, _boxes(random, 3, image.size)]).astype(np.float32)
    labels = np.concatenate([image.truth.class_id[picked], random.integers(0, 3, 3)])
    labels = np.where(random.uniform(size=len(labels)) < 0.1, 2, labels)
    scores = random.uniform(0.02, 1, (len(labels), len(CLASSES))).astype(np.float32)
    confidence = scores[np.arange(len(labels)), labels]
    return Detections(boxes, confidence, labels, scores, _spread(random, len(labels)))


def _spread(random: np.random.Generator, count: int) -> Spread:
    aleatoric, epistemic = (random.uniform(0.5, 3, (count, 4)).astype(np.float32) for _ in range(2))
    return Spread(aleatoric, epistemic, np.zeros((count, len(CLASSES)), np.float32), np.zeros(count, np.float32))


def test_lengths_that_do_not_fit_are_refused_by_name():
    known = facts()
    for changes, name in (
        ({"images": known.images[1:]}, "images must be the 9"),
        ({"probability": np.zeros(2)}, "probability must be of shape"),
        ({"std": np.zeros((len(known.judged), 2))}, "std must be of shape"),
        ({"uncertainties": {"doubt": np.full(len(known.judged), np.nan)}}, "uncertainties 'doubt' must be finite"),
    ):
        with pytest.raises(ValueError, match=name):
            replace(known, **changes)


def test_an_image_without_extent_is_refused():
    with pytest.raises(ValueError, match=r"flat\.jpg must have a size"):
        EvaluatedImage("flat.jpg", (0, 10), GroundTruth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)))
