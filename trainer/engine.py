"""Which processor runs an exported model: the best one that onnxruntime can use here, and never a slower one without a word.

Rule: what runs is read from the open session, not from what was asked for; where that is less than the machine could do, one sentence
says so and what to do.
"""

import tempfile
from ctypes import util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime
import torch

TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
_SPOKEN = {TENSORRT: "TensorRT", CUDA: "CUDA", CPU: "the CPU"}
GPU_BATCH = 16
"""Images that a GPU looks at together; more give next to nothing, and cost its memory."""
_CPU_INFO = Path("/proc/cpuinfo")
_DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "asimddp"})
"""What processors call instructions that multiply and add four bytes at once."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs a model: the provider that onnxruntime gave the session, and what is to be said against it, if anything."""

    provider: str
    warning: str = ""

    @property
    def on_gpu(self) -> bool:
        """Whether it is a graphics processor."""
        return self.provider in (TENSORRT, CUDA)

    def __str__(self) -> str:
        spoken = f"onnxruntime on {_SPOKEN.get(self.provider, self.provider)}"
        return f"{spoken}. Warning: {self.warning}" if self.warning else spoken


def wanted(available: list[str], has_tensorrt: bool) -> list[str]:
    """The providers to ask for, the fastest first. TensorRT is listed by every GPU build, whether or not its libraries are installed."""
    usable = [name for name in (TENSORRT, CUDA) if name in available and (name != TENSORRT or has_tensorrt)]
    return [*usable, CPU]


def judged(asked: list[str], used: list[str], torch_sees_gpu: bool) -> Engine:
    """What runs, by the session's own word, and what is wrong with it: a GPU that was asked for and not given, or that nobody asked."""
    provider = used[0] if used else CPU
    if provider == CPU and len(asked) > 1:
        why = "onnxruntime was built for a GPU but could not use it: its CUDA or cuDNN libraries are missing or of another version"
        return Engine(provider, f"{why}; prediction is many times slower")
    if provider == CPU and torch_sees_gpu:
        why = "this machine has a GPU that onnxruntime cannot use: pip uninstall onnxruntime, then pip install onnxruntime-gpu"
        return Engine(provider, f"{why}; prediction is many times slower")
    if provider == CUDA and asked[0] == TENSORRT:
        return Engine(provider, "TensorRT is installed, but onnxruntime could not use it")
    return Engine(provider)


def open_session(onnx: bytes | Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """An inference session on the best provider there is; on the CPU with so many threads (0: one a core)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    providers = [(name, _options(name)) for name in _wanted_here()]
    return onnxruntime.InferenceSession(onnx if isinstance(onnx, bytes) else str(onnx), options, providers=providers)


def of_session(session: onnxruntime.InferenceSession) -> Engine:
    """What runs an open session."""
    return judged(list(_wanted_here()), session.get_providers(), torch.cuda.is_available())


def here() -> str:
    """The provider that sessions of this machine will be asked to run on first."""
    return _wanted_here()[0]


def multiplies_bytes(cpu_info: Path = _CPU_INFO) -> bool:
    """Whether this processor has instructions that make a network of bytes pay; False where nobody can tell."""
    try:
        words = cpu_info.read_text().split()
    except OSError:
        return False
    return not _DOT_PRODUCTS.isdisjoint(words)


@cache
def _wanted_here() -> tuple[str, ...]:
    available = onnxruntime.get_available_providers()
    if CUDA in available:
        # finds the libraries that torch's packages bring
        onnxruntime.preload_dlls()
    return tuple(wanted(available, util.find_library("nvinfer") is not None))


def _options(provider: str) -> dict[str, Any]:
    # An engine takes minutes to build; it is kept by graph and device.
    kept = str(Path(tempfile.gettempdir()) / "activelearning-tensorrt")
    return {"trt_engine_cache_enable": "1", "trt_engine_cache_path": kept} if provider == TENSORRT else {}
