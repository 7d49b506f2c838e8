"""How a family of detectors is best trained: the part of the settings that follows from the network, not from the project.

Rule: a family states its recipe as data; a setting of project.toml that is not 0 takes its place.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """The rates and shares by which a family learns well.

    `learning_rate`: the highest, of a run from scratch or from pretrained weights; `warm_learning_rate`: of one that starts from the last
    model. `warm_up`: share of the iterations in which the rate rises. `weight_decay` of matrices. `clip_norm`: longest gradient.
    `ema_decay` of the averaged weights. `backbone_rate`: the backbone learns at this share of the rate, and, where `layer_decay` is less
    than 1, each layer below its top at so much less again (BEiT, Bao et al. 2022). `small_share`: share of the iterations from scratch that
    see smaller images.
    """

    learning_rate: float = 3e-3
    warm_learning_rate: float = 1e-3
    warm_up: float = 0.05
    weight_decay: float = 0.05
    clip_norm: float = 10.0
    ema_decay: float = 0.998
    backbone_rate: float = 1.0
    layer_decay: float = 1.0
    small_share: float = 0.3
