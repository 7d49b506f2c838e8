"""Monte-Carlo dropout at prediction: which channels each sample leaves out.

Rule: masks are drawn from a fixed seed, once a predictor, so that the same image always gets the same figures, whoever predicts it.
"""

from collections.abc import Mapping

import numpy as np

_SEED = 0


def draw_masks(channels: Mapping[str, int], samples: int, rate: float) -> dict[str, np.ndarray]:
    """By the name of the model's input its masks (T, channels) float32: 0 for a channel dropped, 1 / (1 - rate) for one kept.

    One sample is the plain model: nothing is dropped.
    """
    generator = np.random.default_rng(_SEED)
    if samples == 1:
        return {name: np.ones((1, count), np.float32) for name, count in channels.items()}
    return {name: _draw(generator, (samples, count), rate) for name, count in channels.items()}


def _draw(generator: np.random.Generator, shape: tuple[int, int], rate: float) -> np.ndarray:
    return ((generator.random(shape) >= rate) / (1 - rate)).astype(np.float32)
