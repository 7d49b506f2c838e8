"""A torch module as an ONNX graph whose chosen axes are of any length.

Rule: the module handed in stays as it is, and nobody is warned of what only the exporter's authors can mend.
"""

import copy
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_UNCHECKED = "TRANSFORMERS_DISABLE_TORCH_CHECK"
"""Tells the library `transformers` to leave its checks of shapes out of its graphs; ONNX has no operator for them."""


def to_onnx(module: nn.Module, example: Sequence[Tensor], inputs: Mapping[str, str], outputs: Sequence[str]) -> bytes:
    """One ONNX file of the module in evaluation mode, on the CPU.

    `inputs` names the inputs in order, each with the name of its first axis, which may be of any length; those of one name are equally
    long. The examples, at least two rows each, else the exporter takes the length for fixed, set all other axes.
    """
    dims = {axis: torch.export.Dim(axis) for axis in inputs.values()}
    with quiet_exporter():
        program: Any = torch.onnx.export(
            copy.deepcopy(module).cpu().eval(),
            tuple(example),
            dynamo=True,
            verbose=False,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple({0: dims[axis]} for axis in inputs.values()),
        )
    return _content(program)


def to_onnx_strictly(module: nn.Module, example: Sequence[Tensor], inputs: Mapping[str, str], outputs: Sequence[str]) -> bytes:
    """The same as `to_onnx`, for a module whose Python must be traced itself: by running it, the exporter takes lengths for fixed that are
    not, and says nothing of it."""
    dims = {axis: torch.export.Dim(axis) for axis in inputs.values()}
    with quiet_exporter(), _environment(_UNCHECKED, "1"):
        traced = torch.export.export(
            copy.deepcopy(module).cpu().eval(),
            tuple(example),
            dynamic_shapes=tuple({0: dims[axis]} for axis in inputs.values()),
            strict=True,
        )
        program: Any = torch.onnx.export(traced, (), dynamo=True, verbose=False, input_names=list(inputs), output_names=list(outputs))
    return _content(program)


def _content(program: Any) -> bytes:
    content: bytes = program.model_proto.SerializeToString()
    return content


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Within, torch's exporter says nothing but errors."""
    # it warns of its own internals, which nobody who trains a detector can mend
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(torch|onnxscript|onnx_ir|onnx|copyreg)(\.|$)")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Within, the environment variable has this value."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
