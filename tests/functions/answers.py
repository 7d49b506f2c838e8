"""What an engine says of an app and of one invocation, in values that can be compared.

An engine is a module with `index()` and `call(function, payload)`: `converters` is the one that `activelearning up` uses, `runtime`
is Microsoft's own.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.functions.payloads import Typed


@dataclass(frozen=True, slots=True)
class Answer:
    """`error` is empty when the function returned; `response` is what an HTTP function returned: status, headers, body."""

    error: str = ""
    response: tuple[str, tuple[tuple[str, str], ...], str] | None = None


def datum(typed: Typed, kind: Callable[..., Any]) -> Any:
    """A value of the wire as an engine's own `Datum`."""
    if isinstance(typed.value, dict):
        return kind({name: _inside(value, kind) for name, value in typed.value.items()}, typed.kind)
    return kind(typed.value, typed.kind)


def _inside(value: Any, kind: Callable[..., Any]) -> Any:
    return {name: datum(typed, kind) for name, typed in value.items()} if isinstance(value, dict) else datum(value, kind)


def answer_of(returned: Any) -> Answer:
    """What came back, read from the `Datum` that the engine would send to the host."""
    if returned is None:
        return Answer()
    parts = returned.value
    headers = tuple(sorted((name, value.value) for name, value in parts["headers"].items()))
    return Answer(response=(parts["status_code"].value, headers, parts["body"].value.decode()))


def function(name: str, retries: Any, bindings: list[str]) -> dict[str, Any]:
    """One function of an index; `bindings` are the JSON texts that the host is told."""
    return {"name": name, "retries": retries, "bindings": sorted((json.loads(text) for text in bindings), key=lambda b: str(b["name"]))}
