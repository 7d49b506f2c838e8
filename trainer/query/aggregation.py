"""From the boxes of an image to the image: second of the three levels of a score.

Rule: larger is less sure, so `max` is the box the model is least sure of. Images without detections are the caller's to fill in.
"""

from collections.abc import Callable, Mapping

import numpy as np

from trainer.query.candidates import Candidates


def of_images(values: np.ndarray, candidates: Candidates, how: str, top_k: int, without_boxes: float = 0.0) -> np.ndarray:
    """One value (N,) float64 for each image from those of its boxes (B,); `without_boxes` for images that have none."""
    filled = candidates.counts > 0
    result = np.full(len(candidates), without_boxes)
    if filled.any():
        result[filled] = AGGREGATIONS[how](
            np.asarray(values, np.float64), candidates.offsets[:-1][filled], candidates.counts[filled], top_k
        )
    return result


def _min(values: np.ndarray, starts: np.ndarray, counts: np.ndarray, top_k: int) -> np.ndarray:
    return np.minimum.reduceat(values, starts)


def _mean(values: np.ndarray, starts: np.ndarray, counts: np.ndarray, top_k: int) -> np.ndarray:
    return np.asarray(np.add.reduceat(values, starts) / counts)


def _max(values: np.ndarray, starts: np.ndarray, counts: np.ndarray, top_k: int) -> np.ndarray:
    return np.maximum.reduceat(values, starts)


def _sum(values: np.ndarray, starts: np.ndarray, counts: np.ndarray, top_k: int) -> np.ndarray:
    return np.add.reduceat(values, starts)


def _top_k(values: np.ndarray, starts: np.ndarray, counts: np.ndarray, top_k: int) -> np.ndarray:
    """The mean of the `top_k` largest, of all where there are fewer."""
    image = np.repeat(np.arange(len(counts)), counts)
    falling = values[np.lexsort((-values, image))]
    chosen = np.arange(len(values)) - starts[image] < top_k
    return np.asarray(np.add.reduceat(np.where(chosen, falling, 0.0), starts) / np.minimum(counts, top_k))


AGGREGATIONS: Mapping[str, Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]] = {
    "min": _min,
    "mean": _mean,
    "max": _max,
    "sum": _sum,
    "top-k": _top_k,
}
"""From values (B,), the first row and the number of rows of each of M images that have some, and `top_k`, to (M,).

`max` and `mean` are the usual ones, `sum` lets crowded images come first (Brust et al., VISAPP 2019); `top-k` lies between.
"""
