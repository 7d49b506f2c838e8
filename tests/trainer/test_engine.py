"""What runs a model, and what is said where that is less than the machine could do."""

from pathlib import Path

import pytest

from tests.trainer import scenes
from trainer import engine
from trainer.engine import CPU, CUDA, TENSORRT, Engine

MISSING = "onnxruntime was built for a GPU but could not use it"
UNUSED = "this machine has a GPU that onnxruntime cannot use"


@pytest.mark.parametrize(
    ("available", "tensorrt", "asked"),
    [
        ([CPU], False, [CPU]),
        (["AzureExecutionProvider", CPU], True, [CPU]),
        ([TENSORRT, CUDA, CPU], True, [TENSORRT, CUDA, CPU]),
        ([TENSORRT, CUDA, CPU], False, [CUDA, CPU]),
    ],
)
def test_the_fastest_provider_that_is_there_is_asked_first(available: list[str], tensorrt: bool, asked: list[str]) -> None:
    assert engine.wanted(available, tensorrt) == asked


@pytest.mark.parametrize(
    ("asked", "used", "torch_sees", "provider", "warning"),
    [
        ([CPU], [CPU], False, CPU, ""),
        ([CPU], [CPU], True, CPU, UNUSED),
        ([CUDA, CPU], [CUDA, CPU], True, CUDA, ""),
        ([CUDA, CPU], [CPU], True, CPU, MISSING),
        ([CUDA, CPU], [CPU], False, CPU, MISSING),
        ([TENSORRT, CUDA, CPU], [TENSORRT, CUDA, CPU], True, TENSORRT, ""),
        ([TENSORRT, CUDA, CPU], [CUDA, CPU], True, CUDA, "TensorRT is installed"),
    ],
)
def test_nothing_is_slower_without_a_word(asked: list[str], used: list[str], torch_sees: bool, provider: str, warning: str) -> None:
    found = engine.judged(asked, used, torch_sees)
    assert found.provider == provider and found.warning.startswith(warning) and bool(found.warning) is bool(warning)
    assert found.on_gpu is (provider != CPU)


def test_it_is_spoken_of_plainly() -> None:
    assert str(Engine(CPU)) == "onnxruntime on the CPU"
    assert str(Engine(CUDA, "it is old")) == "onnxruntime on CUDA. Warning: it is old"


def test_a_session_says_what_runs_it() -> None:
    found = engine.of_session(engine.open_session(scenes.onnx(), threads=1))
    assert found.provider == engine.here() and found.warning == ""


@pytest.mark.parametrize(
    ("flags", "fast"), [("flags : fpu avx2 avx512_vnni\n", True), ("Features : fp asimddp", True), ("flags : avx2", False)]
)
def test_a_processor_says_whether_it_multiplies_bytes(tmp_path: Path, flags: str, fast: bool) -> None:
    (tmp_path / "cpuinfo").write_text(flags)
    assert engine.multiplies_bytes(tmp_path / "cpuinfo") is fast
    assert engine.multiplies_bytes(tmp_path / "none") is False
