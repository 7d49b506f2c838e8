"""From several uncertainties of each image to its score: third of the three levels.

Rule: components are made comparable by their values over the images that have detections, at least one; a component that is the same
for all of these contributes 0; an image without detections counts as the lowest of every component.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Combine = Callable[[Sequence[np.ndarray], np.ndarray], np.ndarray]
"""From K components, each (N,), and a mask (N,) of the images with detections to a score (N,)."""


def minmax(values: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Scaled to 0..1 over the images with detections; 0 for the others and where all are the same."""
    low, high = values[filled].min(), values[filled].max()
    # a quotient of tiny numbers can round above 1
    return np.asarray(np.where(filled & (high > low), ((values - low) / (high - low or 1.0)).clip(0, 1), 0.0))


def zscore(values: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Less the mean and by the population's standard deviation; the lowest for images without detections; 0 where all are the same."""
    known = values[filled]
    # the deviation of equal values need not be 0 in floats, and that of tiny ones can be
    if known.min() == known.max() or not known.std():
        return np.zeros(len(values))
    scaled = (values - known.mean()) / known.std()
    return np.asarray(np.where(filled, scaled, scaled[filled].min()))


def _sum(components: Sequence[np.ndarray], filled: np.ndarray) -> np.ndarray:
    return np.asarray(sum(minmax(values, filled) for values in components))


def _first_less_last(components: Sequence[np.ndarray], filled: np.ndarray) -> np.ndarray:
    return np.asarray(_sum(components[:-1], filled) - minmax(components[-1], filled))


def _max_zscore(components: Sequence[np.ndarray], filled: np.ndarray) -> np.ndarray:
    return np.asarray(np.max([zscore(values, filled) for values in components], axis=0))


COMBINATIONS: Mapping[str, Combine] = {"minmax-sum": _sum, "minmax-difference": _first_less_last, "zscore-max": _max_zscore}
"""`minmax-sum`: min-max normalised, added up. `minmax-difference`: the same, the last component subtracted. `zscore-max`: the largest
of the standardised components, as Choi et al. (ICCV 2021) do."""
