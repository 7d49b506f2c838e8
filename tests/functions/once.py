"""A cold start: `python -m tests.functions.once EVENT` imports the function app, calls each function once, and says what it cost.

`ACTIVELEARNING_STORE` names the store, EVENT is the text of an upload's event. Prints JSON: seconds of the import and of all calls, and
every module that is loaded in the end.
"""

import json
import sys
import time


def main(event: str) -> dict[str, object]:
    """Import, call, and report."""
    started = time.perf_counter()
    import function_app

    imported = time.perf_counter()
    _call_each(function_app, event.encode())
    called = time.perf_counter()
    return {"import_seconds": imported - started, "call_seconds": called - imported, "modules": sorted(sys.modules)}


def _call_each(app: object, event: bytes) -> None:
    import azure.functions as func

    given = {
        "queueTrigger": lambda: func.QueueMessage(body=event),
        "timerTrigger": lambda: None,
        "httpTrigger": lambda: func.HttpRequest(method="GET", url="https://birds.azurewebsites.net/api", body=b""),
    }
    for built in app.app.get_functions():  # type: ignore[attr-defined]
        trigger = built.get_trigger()
        built.get_user_function()(**{trigger.name: given[trigger.get_binding_name()]()})


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
