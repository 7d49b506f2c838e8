"""An exported model in smaller numbers, which takes less time: bytes for processors, half precision for graphics processors.

Rule: inputs, outputs and what the file says of itself stay as they are, so whoever predicts need not know. Nothing here judges what the
smaller numbers cost: `engine_choice` does.

Static quantisation with ranges from real images (Jacob et al., CVPR 2018): activations of 8 bits without sign, weights of 7 bits with sign,
for each channel its own scale. With 8 bits, processors without VNNI would overflow in the sum of two products, so the same model would
find other objects there; on the blood cells the eighth bit is worth nothing (AP .5932 with 7, .5931 with 8, .5963 in float32).
"""

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
from onnxruntime.quantization.shape_inference import quant_pre_process

Batch = Mapping[str, np.ndarray]
"""All inputs of a model by name."""

_OPERATORS = ["Conv", "Add", "Relu", "MatMul"]


def to_int8(model: bytes, batches: Iterable[Batch]) -> bytes:
    """The model with 8-bit activations and 7-bit weights, whose ranges are those that the batches reach.

    Raises whatever onnxruntime raises for a graph that it cannot quantise.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        given, prepared, quantised = (Path(folder) / f"{name}.onnx" for name in ("given", "prepared", "int8"))
        given.write_bytes(model)
        # symbolic inference gives up on graphs that plain inference understands
        quant_pre_process(str(given), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(quantised),
            _Batches(batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            nodes_to_exclude=_left_exact(onnx.load(prepared)),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return _described_as(onnx.load(quantised), model)


def to_float16(model: bytes) -> bytes:
    """The model in half precision between float32 inputs and outputs; numbers beyond its range become the largest it has."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        # it tells of every weight too small for half precision; what that costs is measured
        warnings.filterwarnings("ignore", module=r"onnxruntime\.transformers\.float16")
        made = convert_float_to_float16(onnx.load_from_string(model), keep_io_types=True)
    return _described_as(_each_node_once(made), model)


class _Batches(CalibrationDataReader):
    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else dict(batch)


def _left_exact(model: onnx.ModelProto) -> list[str]:
    """Products without a weight: attention, and samples of dropout, whose small differences are what is asked for. And sums with a
    constant, which end a network: they are small, and would cost more to convert than to do."""
    weights = {one.name for one in model.graph.initializer}
    left = {"MatMul": False, "Add": True}
    return [node.name for node in model.graph.node if left.get(node.op_type) is (not weights.isdisjoint(node.input))]


def _each_node_once(made: onnx.ModelProto) -> onnx.ModelProto:
    """Without the second of two equal nodes: the converter casts a value anew for each node that takes it, under the same names."""
    first = {name: number for number, node in reversed([*enumerate(made.graph.node)]) for name in node.output}
    nodes = onnx.GraphProto(node=[node for number, node in enumerate(made.graph.node) if first[node.output[0]] == number]).node
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def _described_as(made: onnx.ModelProto, model: bytes) -> bytes:
    """With what the original says of itself, which neither conversion keeps for sure."""
    said = onnx.load_from_string(model).metadata_props
    del made.metadata_props[:]
    made.metadata_props.extend(said)
    return bytes(made.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, the root logger that onnxruntime's quantiser writes to is silent below errors."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
