"""What a Bicep expression is worth, computed from tree-sitter's tree.

Rule: what only Azure knows (an id that it gives, an endpoint) is a text `<…>` that says where it comes from, so that two values are
equal only if they come from one place. Both branches of a condition are never asked for: an unguarded look at something that is not
made raises.
"""

import base64
import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tree_sitter import Node

from tests.infra.bicep import expressions, word

SUBSCRIPTION = "/subscriptions/S"


class Member(Protocol):
    """A value whose members are asked for by name: a resource or a module."""

    def member(self, name: str) -> Any: ...


@dataclass(frozen=True)
class Context:
    """Where an expression stands: its names, the file it is in, and the resource group it is deployed to (empty: the subscription)."""

    lookup: Callable[[str], Any]
    folder: Path
    group: str
    bound: Mapping[str, Any]

    def binding(self, name: str, value: Any) -> "Context":
        """The same place with one more name."""
        return Context(self.lookup, self.folder, self.group, {**self.bound, name: value})


def evaluate(node: Node, at: Context) -> Any:
    """The value of an expression. Raises `KeyError` for what is not defined and `ValueError` for what this reader does not know."""
    try:
        known = _KINDS[node.type]
    except KeyError:
        raise ValueError(f"line {node.start_point[0] + 1}: an expression of the kind '{node.type}' is not known here") from None
    return known(node, at)


def _string(node: Node, at: Context) -> str:
    source, inside, parts = node.text or b"", node.start_byte, []
    position = 1
    for child in node.named_children:
        parts.append(source[position : child.start_byte - inside].decode())
        parts.append(_part(child, at))
        position = child.end_byte - inside
    return "".join((*parts, source[position:-1].decode()))


def _part(node: Node, at: Context) -> str:
    if node.type == "interpolation":
        return _text(evaluate(expressions(node)[0], at))
    return word(node)[1:] if node.type == "escape_sequence" else word(node)


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _identifier(node: Node, at: Context) -> Any:
    return at.bound[word(node)] if word(node) in at.bound else at.lookup(word(node))


def _object(node: Node, at: Context) -> dict[str, Any]:
    pairs = (expressions(entry) for entry in expressions(node))
    return {_key(key, at): evaluate(value, at) for key, value in pairs}


def _key(node: Node, at: Context) -> str:
    return word(node) if node.type == "identifier" else _string(node, at)


def _array(node: Node, at: Context) -> list[Any]:
    return [evaluate(entry, at) for entry in expressions(node)]


def _for(node: Node, at: Context) -> list[Any]:
    name, values, body = expressions(node)
    return [evaluate(body, at.binding(word(name), value)) for value in evaluate(values, at)]


def _ternary(node: Node, at: Context) -> Any:
    condition, yes, no = expressions(node)
    return evaluate(yes if evaluate(condition, at) else no, at)


def _binary(node: Node, at: Context) -> Any:
    left, right = expressions(node)
    return _OPERATORS[word(node.children[1])](evaluate(left, at), evaluate(right, at))


def _unary(node: Node, at: Context) -> Any:
    assert word(node.children[0]) == "!", word(node)
    return not evaluate(expressions(node)[0], at)


def _member(node: Node, at: Context) -> Any:
    owner, name = expressions(node)
    value = evaluate(owner, at)
    return value[word(name)] if isinstance(value, dict) else value.member(word(name))


def _subscript(node: Node, at: Context) -> Any:
    owner, position = expressions(node)
    return evaluate(owner, at)[evaluate(position, at)]


def _call(node: Node, at: Context) -> Any:
    name, *rest = expressions(node)
    arguments = expressions(rest[0]) if rest else []
    if word(name) == "filter":
        return _filter(*arguments, at)
    values = [evaluate(argument, at) for argument in arguments]
    return _AT_PLACE[word(name)](at, *values) if word(name) in _AT_PLACE else _CALLS[word(name)](*values)


def _filter(values: Node, rule: Node, at: Context) -> list[Any]:
    name, body = expressions(rule)
    return [value for value in evaluate(values, at) if evaluate(body, at.binding(word(name), value))]


def _unique(*values: Any) -> str:
    return base64.b32encode(hashlib.sha256(repr(values).encode()).digest()).decode().lower()[:13]


def _union(*values: dict[str, Any]) -> dict[str, Any]:
    return {key: entry for value in values for key, entry in value.items()}


def group_id(group: str) -> str:
    """The resource id of a resource group."""
    return f"{SUBSCRIPTION}/resourceGroups/{group}"


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda left, right: left == right,
    ">": lambda left, right: left > right,
    "&&": lambda left, right: left and right,
    "||": lambda left, right: left or right,
}
_CALLS: dict[str, Callable[..., Any]] = {
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "empty": lambda value: not value,
    "environment": lambda: {"suffixes": {"storage": "core.windows.net"}},
    "guid": lambda *values: str(uuid.uuid5(uuid.NAMESPACE_URL, "|".join(values))),
    "replace": lambda value, old, new: value.replace(old, new),
    "string": _text,
    "subscription": lambda: {"id": SUBSCRIPTION},
    "subscriptionResourceId": lambda kind, name: f"{SUBSCRIPTION}/providers/{kind}/{name}",
    "toLower": str.lower,
    "union": _union,
    "uniqueString": _unique,
    "utcNow": lambda form: form.replace("yyyy", "2026").replace("MM", "11"),
}
_AT_PLACE: dict[str, Callable[..., Any]] = {
    "loadJsonContent": lambda at, path: json.loads((at.folder / path).read_text("utf-8")),
    "loadTextContent": lambda at, path: (at.folder / path).read_text("utf-8"),
    "resourceGroup": lambda at, name=None: {"id": group_id(name or at.group), "name": name or at.group},
}
_KINDS: dict[str, Callable[[Node, Context], Any]] = {
    "string": _string,
    "number": lambda node, at: int(word(node)),
    "boolean": lambda node, at: word(node) == "true",
    "null": lambda node, at: None,
    "identifier": _identifier,
    "object": _object,
    "array": _array,
    "for_statement": _for,
    "ternary_expression": _ternary,
    "binary_expression": _binary,
    "unary_expression": _unary,
    "parenthesized_expression": lambda node, at: evaluate(expressions(node)[0], at),
    "member_expression": _member,
    "subscript_expression": _subscript,
    "call_expression": _call,
}
