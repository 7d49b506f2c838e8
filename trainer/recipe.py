"""How a family of detectors is best trained: the part of the settings that follows from the network, not from the project.

Rule: a family states its recipe as data; a setting of project.toml that is not 0 (of a share: not -1) takes its place. `plan` is the one
place where both meet, and what it returns is all that a run goes by.
"""

from dataclasses import dataclass, field, fields, replace

from activelearning.settings import Training

_SHARES = ("multi_scale", "mosaic", "copy_paste")
OWN_SHARE = -1.0
"""A share of project.toml that leaves the choice to the family; 0 means none there."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The rates and shares by which a family learns well.

    `learning_rate`: the highest, of a run from scratch or from pretrained weights; `warm_learning_rate`: of one that starts from the last
    model. `warm_up`: share of the iterations in which the rate rises. `weight_decay` of matrices. `clip_norm`: longest gradient.
    `ema_decay` of the averaged weights. `backbone_rate`: the backbone learns at this share of the rate, and, where `layer_decay` is less
    than 1, each layer below its top at so much less again (BEiT, Bao et al. 2022). `small_share`: share of the iterations from scratch that
    see smaller images. `multi_scale`: images are up to this share smaller or larger, step by step. `mosaic` and `copy_paste`: shares of the
    images that are made of several, or get objects of another (`trainer.collage`).
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
    multi_scale: float = 0.0
    mosaic: float = 0.0
    copy_paste: float = 0.0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "warm_learning_rate", "clip_norm", "layer_decay"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be above 0")
        for one in fields(self):
            if one.name not in ("learning_rate", "warm_learning_rate", "clip_norm") and not 0 <= getattr(self, one.name) <= 1:
                raise ValueError(f"{one.name} must lie between 0 and 1")


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run does: at most so many steps at this highest learning rate; the first `small_share` of them see smaller images, and
    `validation_share` of the images may end it early (`schedule`). All else by the recipe, in which the project's own figures have
    their place already."""

    iterations: int
    learning_rate: float
    small_share: float = 0.3
    validation_share: float = 0.0
    recipe: Recipe = field(default_factory=Recipe)


def plan(settings: Training, family: Recipe, warm: bool) -> Plan:
    """What a run does by the project's settings and its family's recipe; `warm`: it starts from the last model.

    Such a run needs no smaller images, for it knows what things look like; and it watches none, for the last model has learned most
    images by heart, so that the loss on them would not tell when to stop.
    """
    chosen = {name: getattr(settings, name) for name in _SHARES if getattr(settings, name) != OWN_SHARE}
    rates = {name: getattr(settings, name) for name in ("learning_rate", "warm_learning_rate") if getattr(settings, name)}
    recipe = replace(family, **chosen, **rates)
    if warm:
        return Plan(settings.warm_iterations, recipe.warm_learning_rate, 0.0, 0.0, recipe)
    return Plan(settings.iterations, recipe.learning_rate, recipe.small_share, settings.validation_share, recipe)
