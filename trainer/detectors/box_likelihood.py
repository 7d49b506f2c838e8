"""Loss attenuation: a network that predicts how far off its boxes are learns it from the likelihood of what it got wrong.

Rule: the true likelihood, up to its constant, so that the scale that costs least is the scale of the errors (Kendall and Gal 2017). The
logarithm of the scale is what is predicted, and it is bounded softly: a hard clip has no gradient beyond it, and never comes back.
"""

import math

import torch
from torch import Tensor

LOG_STD_OF_SCALE = {"laplace": 0.5 * math.log(2), "gaussian": 0.0}
"""What to add to the logarithm of a scale to have that of the standard deviation: a Laplace distribution's is √2 times its scale."""


def nll(kind: str, error: Tensor, log_scale: Tensor) -> Tensor:
    """Negative log-likelihood of each error, without its constant; both of one shape and unit.

    `laplace`: |e| / b + log b; `gaussian`: e² / 2σ² + log σ, with b or σ = exp(log_scale).
    """
    return _NLL[kind](error, log_scale)


_NLL = {
    "laplace": lambda error, log_scale: error.abs() * torch.exp(-log_scale) + log_scale,
    "gaussian": lambda error, log_scale: 0.5 * error**2 * torch.exp(-2 * log_scale) + log_scale,
}


def soft_bounded(log_scale: Tensor, limit: float = 8.0) -> Tensor:
    """Within ±`limit`, smoothly: unchanged up to half of it, with a gradient everywhere, however far out."""
    half = limit / 2
    beyond = log_scale.abs() - half
    return torch.where(beyond > 0, log_scale.sign() * (half + beyond / torch.sqrt(1 + (beyond / half) ** 2)), log_scale)
