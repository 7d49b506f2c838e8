"""What a Bicep file declares, read from tree-sitter's tree, and the faults a compiler would find in how its names are used.

Rule: no fault is guessed from text; every one is read off the tree. No compiler is to be had offline, so this one is small and strict:
what it does not know, it reports.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

FUNCTIONS = frozenset(
    {
        *("base64", "empty", "environment", "filter", "guid", "loadJsonContent", "loadTextContent", "replace", "resourceGroup"),
        *("string", "subscription", "subscriptionResourceId", "toLower", "union", "uniqueString", "utcNow"),
    }
)
_TYPE = re.compile(r"Microsoft\.[A-Za-z]+(/[A-Za-z]+)+@\d{4}-\d{2}-\d{2}")
_DECLARATIONS = {
    "parameter_declaration": "param",
    "variable_declaration": "var",
    "resource_declaration": "resource",
    "module_declaration": "module",
    "output_declaration": "output",
}


@dataclass(frozen=True)
class Declaration:
    """One named thing of a file. `source` is a resource's `type@version` or a module's path; `value` is its expression, if any."""

    kind: str
    name: str
    value: Node | None
    source: str = ""
    existing: bool = False


@dataclass(frozen=True)
class Template:
    """One file. Names are unique: the second of two is left out here and told by `faults`."""

    path: Path
    root: Node
    scope: str
    declared: dict[str, Declaration]
    outputs: dict[str, Declaration]
    twice: tuple[str, ...] = field(default=())

    def of(self, kind: str) -> dict[str, Declaration]:
        """The declarations of a kind, outputs excepted, in the order of the file."""
        return {name: entry for name, entry in self.declared.items() if entry.kind == kind}


def read(path: Path) -> Template:
    """Read a file; what does not parse leaves ERROR nodes, which `syntax_errors` finds."""
    root = _parser().parse(path.read_bytes()).root_node
    entries = [_declaration(node) for node in root.named_children if node.type in _DECLARATIONS]
    named, outputs = [[entry for entry in entries if (entry.kind == "output") is wanted] for wanted in (False, True)]
    count = Counter((entry.kind == "output", entry.name) for entry in entries)
    scope = next((text(node.named_children[0]) for node in root.named_children if node.type == "target_scope_assignment"), "resourceGroup")
    return Template(path, root, scope, _by_name(named), _by_name(outputs), tuple(name for (_, name), times in count.items() if times > 1))


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_bicep.language()))


def _by_name(entries: list[Declaration]) -> dict[str, Declaration]:
    first: dict[str, Declaration] = {}
    for entry in entries:
        first.setdefault(entry.name, entry)
    return first


def _declaration(node: Node) -> Declaration:
    kind = _DECLARATIONS[node.type]
    name, *rest = expressions(node)
    rest = [child for child in rest if child.type != "type"]
    source = text(rest.pop(0)) if kind in ("resource", "module") else ""
    existing = any(child.type == "existing" for child in node.children)
    return Declaration(kind, word(name), rest[0] if rest else None, source, existing)


def expressions(node: Node) -> list[Node]:
    """The children of a node that mean something."""
    return [child for child in node.named_children if "comment" not in child.type]


def word(node: Node) -> str:
    """The source text of a node."""
    return (node.text or b"").decode()


def text(node: Node) -> str:
    """What a string without interpolation says."""
    return word(node)[1:-1]


def walk(node: Node) -> Iterator[Node]:
    """A node and everything below it."""
    yield node
    for child in node.children:
        yield from walk(child)


def syntax_errors(template: Template) -> list[str]:
    """What tree-sitter could not make sense of."""
    bad = (node for node in walk(template.root) if node.type == "ERROR" or node.is_missing)
    return [f"{template.path.name} line {node.start_point[0] + 1}: syntax" for node in bad]


def faults(path: Path) -> list[str]:
    """Everything wrong in a file, and in how it calls its modules."""
    template = read(path)
    found = [*syntax_errors(template), *(f"'{name}' is declared twice" for name in template.twice)]
    found += [*_undefined(template), *_unused(template), *_unpinned(template), *_module_faults(template)]
    return [f"{path.name}: {fault}" for fault in found]


def _undefined(template: Template) -> Iterator[str]:
    known = {*template.declared, *(f"{name}()" for name in FUNCTIONS)}
    yield from (f"'{name}' is not defined" for name in used_names(template) if name not in known)


def _unused(template: Template) -> Iterator[str]:
    used = set(used_names(template))
    for entry in (*template.of("param").values(), *template.of("var").values()):
        if entry.name not in used:
            yield f"{entry.kind} '{entry.name}' is not used"


def used_names(template: Template) -> list[str]:
    """Every name that an expression of the file asks for, a function's with `()`; loop variables and lambda arguments are left out."""
    values = (*(entry.value for entry in template.declared.values()), *(entry.value for entry in template.outputs.values()))
    return [name for value in values if value is not None for name in _free(value, frozenset())]


def _free(node: Node, bound: frozenset[str]) -> Iterator[str]:
    if node.type == "identifier":
        yield from () if word(node) in bound else (word(node),)
        return
    children = expressions(node)
    if node.type in ("for_statement", "lambda_expression"):
        bound |= {word(children.pop(0))}
    if node.type == "object_property" and children[0].type == "identifier":
        children.pop(0)
    if node.type == "call_expression":
        yield f"{word(children.pop(0))}()"
    for child in children:
        yield from _free(child, bound)


def _unpinned(template: Template) -> Iterator[str]:
    for entry in template.of("resource").values():
        if not _TYPE.fullmatch(entry.source):
            yield f"resource '{entry.name}' is of '{entry.source}', which pins no released version"


def _module_faults(template: Template) -> Iterator[str]:
    for entry in template.of("module").values():
        target = template.path.parent / entry.source
        if not target.is_file():
            yield f"module '{entry.name}' is in '{entry.source}', which is no file here"
            continue
        yield from _call_faults(entry, read(target))
        yield from _output_faults(template, entry.name, read(target))


def _call_faults(entry: Declaration, target: Template) -> Iterator[str]:
    given = set(_properties(_body(entry)).get("params", {}))
    params = target.of("param")
    yield from (f"module '{entry.name}' has no param '{name}'" for name in sorted(given - params.keys()))
    needed = {name for name, param in params.items() if param.value is None}
    yield from (f"module '{entry.name}' needs the param '{name}'" for name in sorted(needed - given))


def _output_faults(template: Template, module: str, target: Template) -> Iterator[str]:
    for node in walk(template.root):
        if node.type == "member_expression" and re.fullmatch(rf"{module}(!|\[\d+\])?\.outputs", word(expressions(node)[0])):
            name = word(expressions(node)[-1])
            if name not in target.outputs:
                yield f"module '{module}' has no output '{name}'"


def _body(entry: Declaration) -> Node:
    """The object of a resource or module, from under its loop and its condition."""
    assert entry.value is not None
    return entry.value if entry.value.type == "object" else next(node for node in reversed(entry.value.children) if node.type == "object")


def _properties(body: Node) -> dict[str, dict[str, Node]]:
    """The properties of an object that are objects themselves, with theirs."""
    pairs = (expressions(node) for node in expressions(body))
    return {word(key): {word(expressions(node)[0]): node for node in expressions(value)} for key, value in pairs if value.type == "object"}
