"""Microsoft's own engine in this process: PyPI `azure-functions-runtime`, what Azure runs functions of Python 3.13 and later with.

It is pinned in `runtime-requirements.txt`, since `native_invocation` is meant for Microsoft's own shell. It asks its caller for the
classes of the wire, so it needs neither gRPC nor a host; one process indexes one app.
"""

import asyncio
import json
import sys
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.functions import answers
from tests.functions.answers import Answer
from tests.functions.payloads import Payload

APP = Path(__file__).parents[2] / "functions"


class _Message(SimpleNamespace):
    """Any message of the wire. The numbers are those of its FunctionRpc.proto."""

    Failure, Success = 0, 1
    undefined, out, inout = 0, 1, 2


class _Protos:
    def __getattr__(self, name: str) -> type[_Message]:
        return _Message


def index() -> list[dict[str, Any]]:
    """What the runtime tells the host of the app's functions."""
    return [answers.function(found.name, found.retry_options, found.raw_bindings) for found in _indexed().values()]


def call(name: str, payload: Payload) -> Answer:
    """Invoke a function; what it raises is the answer's error."""
    from azure_functions_runtime.bindings.datumdef import Datum
    from azure_functions_runtime.native_invocation import invocation_request_native

    found = _indexed()[name]
    (trigger,) = (binding["name"] for binding in map(json.loads, found.raw_bindings) if binding["type"].endswith("Trigger"))
    inputs = [(trigger, answers.datum(payload.value, Datum))]
    metadata = {key: answers.datum(typed, Datum) for key, typed in payload.metadata.items()}
    invoked = invocation_request_native("invocation", found.function_id, inputs, metadata)
    succeeded, returned, outputs, error, _ = asyncio.run(invoked)
    assert not outputs
    return answers.answer_of(returned) if succeeded else Answer(error=error)


@cache
def _indexed() -> dict[str, Any]:
    import azure_functions_runtime

    azure_functions_runtime.start_threadpool_executor()
    # An app indexes once; the other engine has done so with the module that is loaded.
    loaded = sys.modules.pop("function_app", None)
    try:
        return asyncio.run(_start(azure_functions_runtime))
    finally:
        if loaded:
            sys.modules["function_app"] = loaded


async def _start(engine: ModuleType) -> dict[str, Any]:
    properties = {"protos": _Protos(), "host": "127.0.0.1"}
    wanted = _Message(worker_init_request=_Message(capabilities={}, function_app_directory=str(APP)))
    started = await engine.worker_init_request(_Message(request=wanted, properties=properties))
    if started.result.status != _Message.Success:
        raise RuntimeError(f"the runtime could not index the app: {started.result.exception.message}")
    found = await engine.functions_metadata_request(_Message(request=_Message(), properties=properties))
    return {metadata.name: metadata for metadata in found.function_metadata_results}
