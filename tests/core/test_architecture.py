"""Who may import whom, what a command may load, and that blob names are made in one place: read from the source, and tried."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "functions" / "activelearning"
PARTS = {"function_app": [ROOT / "functions" / "function_app.py"]} | {
    part: sorted((ROOT / part).rglob("*.py")) for part in ("trainer", "tagger_client")
}
HEAVY = {"torch", "torchvision", "onnx", "onnxruntime", "onnxscript", "numpy", "pandas", "pycocotools", "faster_coco_eval"}

AZURE_MODULES = tuple(f"azure{part}.py" for part in ("", "_blobs", "_bulk", "_errors", "_linked", "_queues", "_sas"))
ALLOWED_AT_ONCE = {"state.py": {"tinydb"}, "formats/": {"defusedxml"}} | {
    f"store/{name}": {"azure", "obstore", "requests"} for name in AZURE_MODULES
}
ALLOWED_LAZILY = {"images.py": {"PIL"}, "intact.py": {"PIL"}, "store/": {"azure", "obstore"}} | {
    name: {"azure"} for name in ("host.py", "machines.py")
}
"""What modules of the core may import beyond the standard library: when they are loaded, and inside functions."""

PREFIXES = ("batches/", "totag/", "tagged/", "models/", "journal/", "predictions/", "failures/", "autolabelled/", "review/")


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _imports(path: Path, lazily: bool) -> Iterator[str]:
    """Full names of the modules that a file imports, inside functions or outside of them."""
    inside = {node for function in ast.walk(_tree(path)) if isinstance(function, ast.FunctionDef) for node in ast.walk(function)}
    for node in set(ast.walk(_tree(path))) - _for_types_only(path):
        if (node in inside) is not lazily:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _for_types_only(path: Path) -> set[ast.AST]:
    guards = (node for node in ast.walk(_tree(path)) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    return {node for guard in guards for node in ast.walk(guard)}


def _roots(path: Path, lazily: bool) -> set[str]:
    return {name.partition(".")[0] for name in _imports(path, lazily)} - sys.stdlib_module_names


def _allowed(path: Path, table: dict[str, set[str]]) -> set[str]:
    name = path.relative_to(CORE).as_posix()
    return {"activelearning"}.union(
        *(modules for place, modules in table.items() if name == place or (place[-1] == "/" and name.startswith(place)))
    )


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: path.relative_to(CORE).as_posix())
def test_the_core_imports_the_standard_library_and_little_else(path: Path) -> None:
    at_once = _allowed(path, ALLOWED_AT_ONCE)
    assert _roots(path, lazily=False) <= at_once
    assert _roots(path, lazily=True) <= at_once | _allowed(path, ALLOWED_LAZILY)


@pytest.mark.parametrize("part", sorted(PARTS))
def test_the_parts_do_not_know_of_one_another(part: str) -> None:
    for path in PARTS[part]:
        imported = _roots(path, lazily=False) | _roots(path, lazily=True)
        assert imported.isdisjoint(PARTS.keys() - {part}), path


@pytest.mark.parametrize("part", ["function_app", "tagger_client"])
def test_only_the_trainer_needs_what_is_heavy(part: str) -> None:
    for path in PARTS[part]:
        assert (_roots(path, lazily=False) | _roots(path, lazily=True)).isdisjoint(HEAVY), path


@pytest.mark.parametrize(
    ("module", "most"), [("activelearning.cli", 250), ("tagger_client.cli", 250), ("trainer.cli", 250), ("function_app", 400)]
)
def test_importing_a_command_or_the_functions_loads_nothing_heavy(module: str, most: int) -> None:
    program = f"import sys; before = len(sys.modules); import {module}; print(len(sys.modules) - before, *sys.modules)"
    environment = {"PYTHONPATH": f"{ROOT / 'functions'}:{ROOT}"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    count, *loaded = done.stdout.split()
    assert {name.partition(".")[0] for name in loaded}.isdisjoint(HEAVY | {"PIL"})
    assert int(count) < most
    assert done.stderr == ""


def _literals(path: Path) -> Iterator[tuple[int, str]]:
    """Every text in a file that is no docstring, parts of f-strings included."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not _is_docstring(path, node):
            yield node.lineno, node.value


@cache
def _docstrings(path: Path) -> set[ast.AST]:
    return {node.value for node in ast.walk(_tree(path)) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}


def _is_docstring(path: Path, node: ast.AST) -> bool:
    return node in _docstrings(path)


def test_blob_names_are_made_in_one_place() -> None:
    layout = CORE / "layout.py"
    assert {prefix for _, text in _literals(layout) for prefix in PREFIXES if text.startswith(prefix)} == {*PREFIXES}
    files = [*CORE.rglob("*.py"), *(path for paths in PARTS.values() for path in paths)]
    found = [f"{path}:{line} {text!r}" for path in files if path != layout for line, text in _literals(path) if text.startswith(PREFIXES)]
    assert found == []


def test_queue_names_are_made_in_one_place() -> None:
    names = re.compile("reviewed-uploads|new-images|train-jobs|predict-shards|.*-poison")
    files = [*CORE.rglob("*.py"), *(path for paths in PARTS.values() for path in paths)]
    found = [f"{path}:{line}" for path in files if path != CORE / "layout.py" for line, text in _literals(path) if names.fullmatch(text)]
    assert found == []
