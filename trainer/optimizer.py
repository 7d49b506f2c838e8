"""Which weights learn at which rate, and which of them decay: the optimizer's groups, by a family's recipe.

Rule: decided from names and shapes alone, so that a run that resumes makes the same groups in the same order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.recipe import Recipe

_NOT_DECAYED = ("pos_embed", "position_embedding", "cls_token", "mask_token", "register_token")
"""Parts of the names of a transformer's learned inputs, which are matrices but no maps: as DINOv2 and BEiT leave them out."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Weights that learn alike: at `scale` times the run's rate, with this decay."""

    weights: tuple[Tensor, ...]
    scale: float
    weight_decay: float


def groups(model: nn.Module, recipe: Recipe) -> list[Group]:
    """The groups of all weights that learn: per scale first those that decay, then norms, biases, scalars and learned inputs, whose size
    is no sign of overfitting.

    A model may say where its backbone is: `backbone_layers`, prefixes of parameter names, the layer next to the image first. Raises
    `ValueError` where the recipe wants a rate of its own for the backbone and the model does not say, or names a layer it has not.
    """
    weights = dict(model.named_parameters())
    scale_of = scales(weights, _layers(model, recipe), recipe)
    found: dict[tuple[float, bool], list[Tensor]] = {}
    for scale in dict.fromkeys(scale_of.values()):
        found |= {(scale, True): [], (scale, False): []}
    for name, weight in weights.items():
        if weight.requires_grad:
            found[scale_of[name], _decays(name, weight)].append(weight)
    return [Group(tuple(found[key]), key[0], recipe.weight_decay if key[1] else 0.0) for key in found if found[key]]


def scales(names: Iterable[str], layers: Sequence[str], recipe: Recipe) -> dict[str, float]:
    """At which share of the rate each named weight learns.

    The last of the `layers` is the top of the backbone, at `backbone_rate`; each before it learns at `layer_decay` of the next; what
    belongs to none, at the full rate. Of two layers that one name begins with, the longer one counts.
    """
    depth = {layer: len(layers) - 1 - number for number, layer in enumerate(layers)}
    by_length = sorted(layers, key=len, reverse=True)
    own = {name: next((layer for layer in by_length if _belongs(name, layer)), None) for name in names}
    missing = set(layers) - {layer for layer in own.values() if layer is not None}
    if missing:
        raise ValueError(f"no weight belongs to {', '.join(sorted(missing))}")
    return {name: 1.0 if layer is None else recipe.backbone_rate * recipe.layer_decay ** depth[layer] for name, layer in own.items()}


def adamw(chosen: Sequence[Group], learning_rate: float) -> torch.optim.Optimizer:
    """AdamW over the groups."""
    return torch.optim.AdamW(
        [{"params": list(group.weights), "weight_decay": group.weight_decay, "lr": learning_rate * group.scale} for group in chosen],
        lr=learning_rate,
        fused=True,
    )


def _layers(model: nn.Module, recipe: Recipe) -> tuple[str, ...]:
    if recipe.backbone_rate == recipe.layer_decay == 1:
        return ()
    layers = getattr(model, "backbone_layers", ())
    if not layers:
        raise ValueError(f"the recipe has a rate for the backbone, but {type(model).__name__} names no backbone_layers")
    return tuple(layers)


def _belongs(name: str, layer: str) -> bool:
    # so that `layers.1` is not the beginning of `layers.10`
    return f"{name}.".startswith(layer if layer.endswith(".") else f"{layer}.")


def _decays(name: str, weight: Tensor) -> bool:
    return weight.ndim > 1 and not any(part in name for part in _NOT_DECAYED)
