"""Why an image stands where it stands, in a few plain words for the person who reviews it.

Rule: a text names only what counted for this image.
"""

from collections.abc import Callable

import numpy as np

from activelearning.settings import Selection
from trainer.query import measures, registry, uncertainty
from trainer.query.candidates import Candidates
from trainer.query.strategy import Extra, Ranking

AUDIT, BY_LOT = "audit", "by lot"


def reasons(candidates: Candidates, selection: Selection, ranking: Ranking, extra: Extra) -> Callable[[int], str]:
    """From an image's index to what its ranking goes by: `entropy per second of a WBC box`, `near-duplicate of cam-1/0004.jpg`, …"""
    of_strategy = _of_strategy(candidates, selection)

    def reason(index: int) -> str:
        stands = -1 if ranking.duplicate_of is None else int(ranking.duplicate_of[index])
        if stands < 0 and ranking.by_lot is not None and ranking.by_lot[index]:
            return BY_LOT
        return of_strategy(index) if stands < 0 else f"{_likeness(index, stands, extra)} {_name(stands, candidates, extra)}"

    return reason


def _likeness(index: int, stands: int, extra: Extra) -> str:
    alike = extra.clusters is not None and extra.clusters[index] == extra.clusters[stands]
    return "near-duplicate of" if alike else "taken within moments of"


def _name(stands: int, candidates: Candidates, extra: Extra) -> str:
    return candidates.images[stands] if stands < len(candidates) else extra.labelled_images[stands - len(candidates)]


def _of_strategy(candidates: Candidates, selection: Selection) -> Callable[[int], str]:
    measure, name = uncertainty.one_measure(selection), _weighed(registry.in_force(selection))
    if not measure:
        return lambda index: name
    values = measures.of_boxes(candidates, measure, selection.calibrated)
    return lambda index: f"{name}{_of_boxes(index, candidates, values, selection)}"


def _weighed(selection: Selection) -> str:
    """The strategy's name with what its scores are multiplied by: `class-weighted entropy per second`."""
    before = "class-weighted " if selection.class_weights != "none" else ""
    after = " per second" if selection.per_second and not registry.STRATEGIES[selection.strategy].per_second else ""
    return f"{before}{selection.strategy}{after}"


def _of_boxes(index: int, candidates: Candidates, values: np.ndarray, selection: Selection) -> str:
    start, stop = candidates.offsets[index : index + 2].tolist()
    if start == stop:
        return ", no box found"
    if selection.box_aggregation == "max" or stop - start == 1:
        box = start + int(np.argmax(values[start:stop]))
        return f" of a {candidates.classes[candidates.class_id[box]]} box"
    return f", {_DESCRIBED[selection.box_aggregation]} {stop - start} boxes"


_DESCRIBED = {"min": "least of", "mean": "mean of", "sum": "sum of", "top-k": "least sure of"}
