"""Bursts: images of one folder that a camera took within moments, of which people need see one first.

Rule: only what has a time can be in a burst; an image without one stands for itself.
"""

from collections.abc import Sequence

import numpy as np

from activelearning.layout import split_image


def bursts(images: Sequence[str], taken: np.ndarray, seconds: float) -> np.ndarray:
    """The burst of each image as the lowest index in it, (N,) int64.

    `images` are blob names, `taken` (N,) float64 the time each was taken, in seconds, NaN where that is not known. In one folder, an image
    taken at most `seconds` after the one before it belongs to its burst; at 0 seconds only images of the same second do.
    """
    folders = np.unique([split_image(image)[0] for image in images], return_inverse=True)[1] if len(images) else np.zeros(0, np.int64)
    burst = np.arange(len(images))
    known = np.flatnonzero(np.isfinite(taken))
    ordered = known[np.lexsort((known, taken[known], folders[known]))]
    goes_on = (np.diff(folders[ordered]) == 0) & (np.diff(taken[ordered]) <= seconds)
    starts = np.flatnonzero(np.concatenate([[True], ~goes_on])[: len(ordered)])
    if len(starts):
        lowest = np.minimum.reduceat(ordered, starts)
        burst[ordered] = np.repeat(lowest, np.diff(np.append(starts, len(ordered))))
    return burst
