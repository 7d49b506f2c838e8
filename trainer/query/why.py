"""Why an image stands where it stands, in a few plain words for the person who reviews it.

Rule: a text names only what counted for this image.
"""

from collections.abc import Callable

import numpy as np

from activelearning.settings import Selection
from trainer.query import measures, uncertainty
from trainer.query.candidates import Candidates
from trainer.query.strategy import Extra, Ranking

AUDIT, BY_LOT = "audit", "by lot"


def reasons(candidates: Candidates, selection: Selection, ranking: Ranking, extra: Extra) -> Callable[[int], str]:
    """From an image's index to what its ranking goes by: `entropy of a WBC box`, `near-duplicate of cam-1/0004.jpg`, …"""
    of_strategy = _of_strategy(candidates, selection)

    def reason(index: int) -> str:
        stands = -1 if ranking.duplicate_of is None else int(ranking.duplicate_of[index])
        if stands < 0 and ranking.by_lot is not None and ranking.by_lot[index]:
            return BY_LOT
        return of_strategy(index) if stands < 0 else f"{_likeness(index, stands, extra)} {candidates.images[stands]}"

    return reason


def _likeness(index: int, stands: int, extra: Extra) -> str:
    alike = extra.clusters is not None and extra.clusters[index] == extra.clusters[stands]
    return "near-duplicate of" if alike else "taken within moments of"


def _of_strategy(candidates: Candidates, selection: Selection) -> Callable[[int], str]:
    measure = uncertainty.one_measure(selection)
    if not measure:
        return lambda index: selection.strategy
    values = measures.of_boxes(candidates, measure, selection.calibrated)
    return lambda index: f"{selection.strategy}{_of_boxes(index, candidates, values, selection)}"


def _of_boxes(index: int, candidates: Candidates, values: np.ndarray, selection: Selection) -> str:
    start, stop = candidates.offsets[index : index + 2].tolist()
    if start == stop:
        return ", no box found"
    if selection.box_aggregation == "max" or stop - start == 1:
        box = start + int(np.argmax(values[start:stop]))
        return f" of a {candidates.classes[candidates.class_id[box]]} box"
    return f", {_DESCRIBED[selection.box_aggregation]} {stop - start} boxes"


_DESCRIBED = {"min": "least of", "mean": "mean of", "sum": "sum of", "top-k": "least sure of"}
