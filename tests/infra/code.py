"""What the code asks of its surroundings, read from the source: environment variables and the triggers' connections.

Rule: read off the syntax tree, so that a name built in a constant is found and one in a docstring is not.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_READERS = ("os.environ.get", "os.getenv", "environment.get")
"""The last is how a function reads that takes the environment as an argument."""


def environment(part: str) -> set[str]:
    """The names of the environment variables that a top-level folder's code reads."""
    return {name for path in (ROOT / part).rglob("*.py") for name in _read(ast.parse(path.read_text("utf-8")))}


def connections() -> set[str]:
    """The connections that the triggers of the function app name."""
    tree = ast.parse((ROOT / "functions" / "function_app.py").read_text("utf-8"))
    keywords = (node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "connection")
    return {keyword.value.value for keyword in keywords if isinstance(keyword.value, ast.Constant)}


def _read(tree: ast.Module) -> Iterator[str]:
    constants, loops = dict(_constants(tree)), dict(_loops(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in _READERS:
            yield from _names(node.args[0], constants, loops)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ" and isinstance(node.ctx, ast.Load):
            yield from _names(node.slice, constants, loops)


def _loops(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """What `name` runs over in `for name in ("A", "B")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.comprehension | ast.For) and isinstance(node.iter, ast.Tuple) and isinstance(node.target, ast.Name):
            yield node.target.id, [str(entry.value) for entry in node.iter.elts if isinstance(entry, ast.Constant)]


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for path in [tree, *_imported(tree)]:
        for node in path.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.targets[0], ast.Name):
                yield node.targets[0].id, str(node.value.value)


def _imported(tree: ast.Module) -> Iterator[ast.Module]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("activelearning."):
            path = ROOT / "functions" / f"{node.module.replace('.', '/')}.py"
            if path.is_file():
                yield ast.parse(path.read_text("utf-8"))


def _names(node: ast.expr, constants: dict[str, str], loops: dict[str, list[str]]) -> list[str]:
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    name = ast.unparse(node)
    assert name in constants or loops.get(name), f"'{name}' names an environment variable and is no constant"
    return [constants[name]] if name in constants else loops[name]
