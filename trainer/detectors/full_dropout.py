"""Monte-Carlo dropout through a whole network (Gal and Ghahramani 2016), for comparison with masks before the last layers alone.

Rule: the network is not changed. Whole channels are dropped after layers of chosen types by hooks that are gone afterwards, come what
may, and every mask comes from one seed. It costs T full passes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Outputs = tuple[Tensor, ...]


@torch.no_grad()
def sample(model: nn.Module, inputs: Sequence[Tensor], layers: Sequence[type[nn.Module]], rate: float, samples: int, seed: int) -> Outputs:
    """Each output of `model(*inputs)`, stacked over T passes: (T, ...); a model that gives one tensor has one output.

    The model is run in evaluation mode, so that its own dropout is off and batch norms are as trained, and gets its mode back. The
    first of many samples are those of few. Raises ValueError as `dropout` does.
    """
    generator = torch.Generator().manual_seed(seed)
    with _evaluating(model), dropout(model, layers, rate, generator):
        passes = [_outputs(model(*inputs)) for _ in range(samples)]
    return tuple(torch.stack(parts) for parts in zip(*passes, strict=True))


@contextmanager
def dropout(model: nn.Module, layers: Sequence[type[nn.Module]], rate: float, generator: torch.Generator) -> Iterator[None]:
    """Within, every layer of those types drops each channel of each image with probability `rate` and divides the rest by 1 - rate.

    Raises ValueError of a rate outside [0, 1) and of a model without such layers, whose samples would all be the same.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"a dropout rate is at least 0 and less than 1, not {rate}")
    chosen = [module for module in model.modules() if isinstance(module, tuple(layers))]
    if not chosen:
        raise ValueError(f"{type(model).__name__} has no layer of type {', '.join(one.__name__ for one in layers)} to drop channels after")
    handles = [module.register_forward_hook(_hook(rate, generator)) for module in chosen]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(rate: float, generator: torch.Generator) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def drop(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        shape = _mask_shape(module, output)
        # torch's own dropout takes no generator; drawn where the generator lives, the masks are the same on every device
        kept = torch.rand(shape, generator=generator, device=generator.device) >= rate
        return output * (kept.to(output) / (1 - rate))

    return drop


def _mask_shape(module: nn.Module, output: Tensor) -> list[int]:
    """One value for each channel of each image, broadcast over the rest; a linear layer's channels are the last axis."""
    channels = output.dim() - 1 if isinstance(module, nn.Linear | nn.LayerNorm) else 1
    return [size if axis in (0, channels) else 1 for axis, size in enumerate(output.shape)]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    # layer by layer: a frozen batch norm may be in another mode than the model
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _outputs(outputs: Tensor | Sequence[Tensor]) -> Outputs:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
