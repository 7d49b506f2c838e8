from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainer.detectors.torchvision_heads import masked_conv, masked_linear, to_onnx
from trainer.monte_carlo import draw_masks
from trainer.predictor import open_session


class Linears(nn.Module):
    """Two layers, of 3 and 5 outputs, on six features."""

    inputs: ClassVar[Mapping[str, str]] = {"features": "regions", "masks": "samples"}
    outputs: ClassVar[tuple[str, ...]] = ("three", "five")

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(6, 3), nn.Linear(6, 5, bias=False)])

    def forward(self, features: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        return masked_linear(features, list(self.layers), masks)


class Convolutions(Linears):
    """The same as convolutions with kernels of three and a stride."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(6, count, 3, 2, 1, bias=count == 3) for count in (3, 5)])

    def forward(self, features: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        return masked_conv(features, list(self.layers), masks)


SHAPES = {Linears: (6,), Convolutions: (6, 7, 9)}


def features(kind: type[Linears], count: int) -> Tensor:
    return torch.rand(count, *SHAPES[kind], generator=torch.Generator().manual_seed(1))


def masks(samples: int) -> Tensor:
    return torch.from_numpy(draw_masks({"masks": 6}, samples, 0.4)["masks"])


def by_passes(module: Linears, inputs: Tensor, drawn: Tensor) -> list[Tensor]:
    """Each layer on masked features, one pass a sample."""
    shaped = drawn.view(*drawn.shape, *[1] * (inputs.dim() - 2))
    return [torch.stack([layer(inputs * mask) for mask in shaped], 1) for layer in module.layers]


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize(("rows", "samples"), [(1, 1), (4, 1), (1, 10), (3, 7)])
def test_samples_are_those_of_as_many_passes(kind, rows, samples):
    module, inputs, drawn = kind(), features(kind, rows), masks(samples)
    for output, expected in zip(module(inputs, drawn), by_passes(module, inputs, drawn), strict=True):
        assert output.shape == expected.shape
        assert torch.allclose(output, expected, atol=1e-6)


@pytest.mark.parametrize("kind", SHAPES)
def test_a_mask_of_ones_is_the_plain_layer_and_one_of_zeros_its_bias(kind):
    module, inputs = kind(), features(kind, 4)
    for output, layer in zip(module(inputs, torch.ones(1, 6)), module.layers, strict=True):
        assert torch.allclose(output[:, 0], layer(inputs), atol=1e-6)
    for output, layer in zip(module(inputs, torch.zeros(1, 6)), module.layers, strict=True):
        assert torch.equal(output[:, 0], layer(torch.zeros_like(inputs)))


@pytest.mark.parametrize("kind", SHAPES)
def test_the_exported_layers_give_the_same_for_any_number_of_rows_and_samples(kind):
    module = kind()
    session = open_session(to_onnx(module, features(kind, 3), masks(2)))
    assert [one.name for one in session.get_inputs()] == ["features", "masks"]
    assert [one.name for one in session.get_outputs()] == ["three", "five"]
    for rows, samples in ((1, 1), (5, 2), (2, 10)):
        given = features(kind, rows), masks(samples)
        exported = session.run(None, {"features": given[0].numpy(), "masks": given[1].numpy()})
        for output, expected in zip(exported, module(*given), strict=True):
            np.testing.assert_allclose(output, expected.detach().numpy(), atol=1e-5)


def test_exporting_leaves_the_module_as_it_was():
    module = Linears().train()
    to_onnx(module, features(Linears, 3), masks(2))
    assert module.training
    assert next(module.parameters()).requires_grad
