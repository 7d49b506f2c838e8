"""The engine of `activelearning up`: azure.functions' own converters over what our host indexed.

Queue and timer go through `host`. HTTP functions, which one machine leaves out, go through their converters here.
"""

from typing import Any

import azure.functions
from azure.functions.meta import Datum

import function_app
from activelearning import host
from tests.functions import answers
from tests.functions.answers import Answer
from tests.functions.payloads import Payload


def index() -> list[dict[str, Any]]:
    """What the app tells the host of its functions."""
    return [
        answers.function(built.get_function_name(), built.get_settings_dict("retry_policy") or None, built.get_raw_bindings())
        for built in host.indexed(function_app.app)
    ]


def call(name: str, payload: Payload) -> Answer:
    """Invoke a function; what it raises is the answer's error."""
    value = answers.datum(payload.value, Datum)
    metadata = {key: answers.datum(typed, Datum) for key, typed in payload.metadata.items()}
    try:
        return _http(name, value, metadata) if payload.value.kind == "http" else _event(name, value, metadata)
    except Exception as error:  # noqa: BLE001  the host takes whatever a function raises
        return Answer(error=repr(error))


def _event(name: str, value: Datum, metadata: dict[str, Datum]) -> Answer:
    (function,) = (function for function in host.functions(function_app.app) if function.name == name)
    function.invoke(value, metadata)
    return Answer()


def _http(name: str, value: Datum, metadata: dict[str, Datum]) -> Answer:
    (built,) = (built for built in host.indexed(function_app.app) if built.get_function_name() == name)
    registry = azure.functions.get_binding_registry()
    request = registry.get("httpTrigger").decode(value, trigger_metadata=metadata)
    returned = built.get_user_function()(**{built.get_trigger().name: request})
    return answers.answer_of(registry.get("http").encode(returned, expected_type=None))
