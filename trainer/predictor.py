"""Prediction with onnxruntime: image files in, detections in pixels of the original images out.

Rule: one damaged file never stops a run, it is reported with its reason; and however many images there are, only a few are in
memory.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from activelearning.errors import BlobMissing, UserError
from activelearning.settings import Prediction
from trainer.detections import Detections
from trainer.detectors import family
from trainer.letterbox import DetectorImage, read_image

INPUT = "images"
"""Name of the exported model's input."""

Source = bytes | Path | Callable[[], bytes]
"""An encoded image, where it lies, or how to get it; asked for in a worker thread, shortly before it is needed."""

_AHEAD_PER_THREAD = 4


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """What was found in an image, in pixels of its upright size (w, h)."""

    name: str
    detections: Detections
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Failed:
    """An image that cannot be predicted, and one sentence that says why."""

    name: str
    reason: str


def open_session(onnx: bytes | Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """An inference session on CUDA where onnxruntime has it, else on the CPU with so many threads (0: one a core)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    available = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    return onnxruntime.InferenceSession(onnx if isinstance(onnx, bytes) else str(onnx), options, providers=providers)
