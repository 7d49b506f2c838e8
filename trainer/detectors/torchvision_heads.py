"""Monte-Carlo dropout before the last layers of torchvision's heads: all samples in one product, with the masks as inputs.

Rule: a dropout mask on the features before a layer is the same as that mask on the layer's weights. So T samples are one layer with T
times the outputs, what comes before runs once, and whoever has the masks (see `trainer.monte_carlo`) gets the same samples, in torch
and in ONNX. A mask of ones is the plain layer. Shapes: T samples, F features or channels, K outputs of a layer.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer import onnx_graph


class Samples(Protocol):
    """A module that samples and can be exported, an `nn.Module`."""

    inputs: ClassVar[Mapping[str, str]]
    """Names of the inputs, in order, each with the name of its first axis, which is of any length from 1 up."""
    outputs: ClassVar[tuple[str, ...]]
    """Names of the outputs, in order."""

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]: ...


def masked_linear(features: Tensor, layers: Sequence[nn.Linear], masks: Tensor) -> tuple[Tensor, ...]:
    """Of features (N, F) and masks (T, F) what each layer gives (N, T, K); one matrix product for all layers and samples."""
    weight, bias = _joined(layers)
    stacked = (masks[:, None] * weight).flatten(0, 1)
    product = functional.linear(features, stacked).unflatten(1, (-1, len(weight))) + bias
    return product.split([layer.out_features for layer in layers], 2)


def masked_conv(features: Tensor, layers: Sequence[nn.Conv2d], masks: Tensor) -> tuple[Tensor, ...]:
    """Of features (B, F, H, W) and channel masks (T, F) what each layer gives (B, T, K, H, W); one convolution.

    The layers have the same kernel size, stride, padding and dilation, and no groups.
    """
    weight, bias = _joined(layers)
    stacked = (masks[:, None, :, None, None] * weight).flatten(0, 1)
    first = layers[0]
    product = functional.conv2d(features, stacked, None, first.stride, first.padding, first.dilation)
    product = product.unflatten(1, (-1, len(weight))) + bias[:, None, None]
    return product.split([layer.out_channels for layer in layers], 2)


def masked_patches(patches: Tensor, layers: Sequence[nn.Conv2d], masks: Tensor) -> tuple[Tensor, ...]:
    """What `masked_conv` gives at N places alone, (N, T, K) of each layer, from the features that its kernel covers there, (N, P, F),
    row by row, and channel masks (T, F); one matrix product."""
    weight, bias = _joined(layers)
    weight = weight.flatten(2).transpose(1, 2)
    stacked = (masks[:, None, None] * weight).flatten(2).flatten(0, 1)
    product = functional.linear(patches.flatten(1), stacked).unflatten(1, (-1, len(weight))) + bias
    return product.split([layer.out_channels for layer in layers], 2)


def _joined(layers: Sequence[nn.Linear] | Sequence[nn.Conv2d]) -> tuple[Tensor, Tensor]:
    # the bias is added after the features, so that no mask touches it
    biases = [layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias for layer in layers]
    return torch.cat([layer.weight for layer in layers]), torch.cat(biases)


def to_onnx(samples: Samples, *example: Tensor) -> bytes:
    """The module as an ONNX file. The examples (at least two rows each, else the exporter takes the length for fixed) set all
    other axes."""
    return onnx_graph.to_onnx(samples, example, samples.inputs, samples.outputs)
