"""What a deployment would make: every resource of `main.bicep` and its modules, loops and conditions worked out.

Rule: a resource is listed once, with the values it would be sent; nothing is asked of Azure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tree_sitter import Node

from tests.infra.bicep import Declaration, Template, expressions, read
from tests.infra.expressions import SUBSCRIPTION, Context, evaluate, group_id


@dataclass(frozen=True)
class Resource:
    """One resource, made or only referred to. `id` is its ARM id; `scope` the id of what an extension resource is put on."""

    type: str
    id: str
    name: str
    existing: bool
    scope: str
    body: Mapping[str, Any]
    tags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def properties(self) -> dict[str, Any]:
        """What is sent as its properties."""
        return dict(self.body.get("properties", {}))

    def member(self, name: str) -> Any:
        """`id` and `name` are known; everything else is Azure's answer."""
        return {"id": self.id, "name": self.name}.get(name, _Answer(f"{self.id}.{name}"))


@dataclass(frozen=True)
class _Answer:
    """What only Azure knows."""

    path: str

    def member(self, name: str) -> "_Answer":
        return _Answer(f"{self.path}.{name}")

    def __str__(self) -> str:
        return f"<{self.path}>"


@dataclass(frozen=True)
class _Skipped:
    """A resource or module whose condition does not hold."""

    name: str

    def member(self, name: str) -> Any:
        raise ValueError(f"'{self.name}' is not made, yet its '{name}' is asked for")


@dataclass(frozen=True)
class _Outputs:
    values: Mapping[str, Any]

    def member(self, name: str) -> Any:
        assert name == "outputs", name
        return self.values


class Deployment:
    """One run of a template in a place. Everything is worked out when first asked for, as ARM orders it by what refers to what."""

    def __init__(self, template: Template, params: Mapping[str, Any], group: str = "") -> None:
        unknown = params.keys() - template.of("param").keys()
        assert not unknown, f"{template.path.name} has no parameter {unknown}"
        self._template, self._params, self._group = template, params, group
        self._values: dict[str, Any] = {}
        self._modules: list[Deployment] = []

    def value(self, name: str) -> Any:
        """What a name of the template stands for."""
        if name not in self._values:
            self._values[name] = _settled(self._find(self._template.declared[name]))
        return self._values[name]

    def outputs(self) -> dict[str, Any]:
        """The outputs' values."""
        return {name: _settled(self._evaluate(entry.value)) for name, entry in self._template.outputs.items()}

    def resources(self) -> list[Resource]:
        """What is made, modules' resources included; what is only referred to is left out."""
        values = [self.value(name) for kind in ("resource", "module") for name in self._template.of(kind)]
        flat = (entry for value in values for entry in (value if isinstance(value, list) else [value]))
        own = [entry for entry in flat if isinstance(entry, Resource) and not entry.existing]
        self.outputs()
        return own + [resource for module in self._modules for resource in module.resources()]

    def _find(self, entry: Declaration) -> Any:
        if entry.kind == "param":
            return self._params[entry.name] if entry.name in self._params else self._evaluate(entry.value)
        if entry.kind == "var":
            return self._evaluate(entry.value)
        assert entry.value is not None
        return self._made(entry, entry.value, self._context())

    def _context(self) -> Context:
        return Context(self.value, self._template.path.parent, self._group, {})

    def _evaluate(self, node: Node | None) -> Any:
        assert node is not None, f"{self._template.path.name}: a parameter without a default was not given"
        return evaluate(node, self._context())

    def _made(self, entry: Declaration, node: Node, at: Context) -> Any:
        if node.type == "for_statement":
            name, values, body = expressions(node)
            names = (name.text or b"").decode()
            return [self._made(entry, body, at.binding(names, value)) for value in evaluate(values, at)]
        if node.type == "if_statement":
            condition, body = expressions(node)
            return self._made(entry, body, at) if evaluate(condition, at) else _Skipped(entry.name)
        body = dict(_fields(node, at))
        return self._resource(entry, body) if entry.kind == "resource" else self._module(entry, body)

    def _resource(self, entry: Declaration, body: Mapping[str, Any]) -> Resource:
        kind = entry.source.partition("@")[0]
        make = partial(Resource, entry.source, name=body["name"], existing=entry.existing, body=body, tags=body.get("tags", {}))
        if parent := body.get("parent"):
            return make(id=f"{parent.id}/{kind.rpartition('/')[2]}/{body['name']}", scope="")
        place = _attribute(body["scope"], "id") if "scope" in body else group_id(self._group) if self._group else SUBSCRIPTION
        if kind == "Microsoft.Resources/resourceGroups":
            return make(id=group_id(body["name"]), scope="")
        return make(id=f"{place}/providers/{kind}/{body['name']}", scope=place)

    def _module(self, entry: Declaration, body: Mapping[str, Any]) -> _Outputs:
        group = _attribute(body["scope"], "name") if "scope" in body else self._group
        module = Deployment(read(self._template.path.parent / entry.source), body["params"], group)
        self._modules.append(module)
        return _Outputs(module.outputs())


def _attribute(scope: Any, name: str) -> Any:
    """Of a resource, or of what `resourceGroup()` gives."""
    return scope[name] if isinstance(scope, dict) else scope.member(name)


def _settled(value: Any) -> Any:
    """Azure's answers as text, so that they can be compared and joined."""
    return str(value) if isinstance(value, _Answer) else value


def _fields(node: Node, at: Context) -> Iterator[tuple[str, Any]]:
    for pair in expressions(node):
        key, value = expressions(pair)
        name = (key.text or b"").decode()
        # What only sets an order may name what is not made.
        yield name, [] if name == "dependsOn" else _answers(evaluate(value, at))


def _answers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _answers(entry) for key, entry in value.items()}
    return [_answers(entry) for entry in value] if isinstance(value, list) else _settled(value)


def deployed(main: Path, params: Mapping[str, Any]) -> Deployment:
    """The deployment of a main template to the subscription."""
    return Deployment(read(main), params)
