"""What a label of the image is expected to add, the rarer its classes are among the labels there are.

Formula: score = sum over classes c of sqrt(u_c / (1 + n_c)), with u_c the summed uncertainty (`entropy`) of the image's boxes predicted
as c, and n_c the boxes of c that people have labelled. The root is the diminishing return: twenty boxes of a class count as 4.5 of them;
1 / sqrt(1 + n_c) prefers rare classes. An image without detections scores 0; `selection.class_balance` brings such images in.
Sources: concave over modular functions for selecting data, Wei, Iyer and Bilmes, ICML 2015; inverse square root frequency, Mahajan et
al., ECCV 2018.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from activelearning.settings import Selection
from trainer.query import measures
from trainer.query.candidates import Candidates
from trainer.query.measures import MEASURES
from trainer.query.strategy import LABELLED, Extra, Ranking, Strategy, by_score


def _class_balanced(candidates: Candidates, selection: Selection, extra: Extra) -> Ranking:
    if extra.labelled_boxes is None:
        raise ValueError("class-balanced-gain needs the boxes labelled of each class")
    uncertainty = measures.of_boxes(candidates, "entropy", selection.calibrated)
    labelled = np.array([extra.labelled_boxes.get(name, 0) for name in candidates.classes], np.float64)
    return by_score(class_balanced_gain(uncertainty, candidates, labelled))


def class_balanced_gain(uncertainty: np.ndarray, candidates: Candidates, labelled: np.ndarray) -> np.ndarray:
    """The score (N,) from the boxes' uncertainty (B,), not negative, and the boxes labelled of each of `candidates.classes` (C,)."""
    width = max(len(candidates.classes), 1)
    pairs, group = np.unique(candidates.image_of_box * width + candidates.class_id, return_inverse=True)
    summed = np.bincount(group, uncertainty, len(pairs))
    gains = np.sqrt(summed / (1 + labelled[pairs % width])) if len(pairs) else summed
    return np.bincount(pairs // width, gains, len(candidates))


_GAIN = Strategy(
    _class_balanced,
    "entropy of classes that few boxes are labelled of",
    "concave over modular: Wei, Iyer and Bilmes, ICML 2015",
    frozenset((LABELLED,)),
    lambda selection: MEASURES["entropy"].columns,
)
STRATEGIES: Mapping[str, Strategy] = {
    "class-balanced-gain": _GAIN,
    "gain-per-second": replace(_GAIN, meaning=f"{_GAIN.meaning}, for each second of review", per_second=True),
}
