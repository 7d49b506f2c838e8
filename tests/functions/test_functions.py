"""The functions on the payloads that Azure's host sends, through both engines: what they answer, and what is in the store afterwards."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from activelearning import layout
from tests.functions import answers, cases, converters, interpreters, payloads, runtime
from tests.functions.cases import CASES
from tests.functions.payloads import Typed

ROOT = interpreters.ROOT


def _missing() -> str:
    """Why Microsoft's engine does not take part in this process; empty where it does."""
    if sys.version_info < (3, 13):
        return "Microsoft's runtime needs Python 3.13 or later; the test with a second interpreter runs it"
    return "" if importlib.util.find_spec("azure_functions_runtime") else "azure-functions-runtime is not installed in this environment"


@pytest.fixture(params=["converters"] if _missing() else ["converters", "runtime"])
def engine(request: pytest.FixtureRequest) -> Any:
    """An engine that runs in this process."""
    return {"converters": converters, "runtime": runtime}[request.param]


@pytest.fixture(params=["memory", "directory"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store; the functions' environment is put back afterwards."""
    monkeypatch.setenv("ACTIVELEARNING_STORE", "")
    return f"memory:{tmp_path}" if request.param == "memory" else str(tmp_path / "store")


@pytest.mark.parametrize("name", CASES)
def test_a_payload_does_what_it_should(name: str, engine: Any, url: str) -> None:
    case = CASES[name]
    answer, effects = cases.play(engine, case, url)
    assert effects == case.effects
    assert case.error in answer.error and bool(answer.error) == bool(case.error)
    assert (answer.response[0] if answer.response else "") == case.status


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.status])
def test_an_answer_is_json_or_one_sentence_and_holds_no_key(name: str, engine: Any, url: str) -> None:
    response = cases.play(engine, CASES[name], url)[0].response
    assert response
    status, headers, body = response
    assert dict(headers)["content-type"] == "application/json"
    assert "KEY" not in body and "Traceback" not in body
    shown = json.loads(body)
    if status == "409":
        assert shown.keys() == {"error"} and "\n" not in shown["error"]
    elif CASES[name].function == "batches":
        assert shown == {"images": 1}
    else:
        assert shown["store"] == cases.open_store(url).url
        assert (shown["uploads_waiting"], shown["images_waiting"]) == ((0, True) if CASES[name].prepare is cases._image else (1, False))


def test_a_function_app_without_a_store_says_so(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTIVELEARNING_STORE", raising=False)
    answer = engine.call("status", payloads.get("/api/status"))
    assert answer.response[0] == "409" and json.loads(answer.response[2])["error"].startswith("ACTIVELEARNING_STORE is not set")
    assert engine.call("tick", payloads.timer()).error.startswith("UserError(")


EXPECTED = {
    "reviewed_upload": [{"type": "queueTrigger", "direction": "IN", "name": "message", "queueName": "reviewed-uploads"}],
    "new_image": [{"type": "queueTrigger", "direction": "IN", "name": "message", "queueName": "new-images"}],
    "tick": [{"type": "timerTrigger", "direction": "IN", "name": "timer", "schedule": "0 * * * * *"}],
    "status": [
        {"type": "http", "direction": "OUT", "name": "$return"},
        {"type": "httpTrigger", "direction": "IN", "name": "request", "methods": ["GET"], "authLevel": "FUNCTION", "route": "status"},
    ],
    "batches": [
        {"type": "http", "direction": "OUT", "name": "$return"},
        {"type": "httpTrigger", "direction": "IN", "name": "request", "methods": ["POST"], "authLevel": "FUNCTION", "route": "batches"},
    ],
}


def _described(index: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Bindings by function, after a look at what all queue triggers and all functions have in common."""
    assert all(function["retries"] is None for function in index), "Azure honours no retry policy of a queue function"
    bindings = {function["name"]: function["bindings"] for function in index}
    queues = [binding for found in bindings.values() for binding in found if binding["type"] == "queueTrigger"]
    assert {binding.pop("connection") for binding in queues} == {"Store"}
    return bindings


def test_the_host_is_told_of_every_trigger(engine: Any) -> None:
    assert _described(engine.index()) == EXPECTED


@pytest.mark.skipif(bool(_missing()), reason=_missing() or "it takes part")
def test_both_engines_agree_in_this_process() -> None:
    assert cases.report(runtime) == cases.report(converters)


def _other_process(python: Path | str, program: list[str], **environment: str) -> Any:
    paths = os.pathsep.join([str(ROOT / "functions"), str(ROOT)])
    done = subprocess.run(
        [str(python), *program], cwd=ROOT, env=os.environ | {"PYTHONPATH": paths} | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_prefix_stands_before_the_names_of_the_queues() -> None:
    program = "import json; from tests.functions import converters; print(json.dumps(converters.index()))"
    index = _other_process(sys.executable, ["-c", program], ACTIVELEARNING_QUEUE_PREFIX="photos-")
    names = {binding["queueName"] for found in _described(index).values() for binding in found if "queueName" in binding}
    assert names == {"photos-" + layout.REVIEWED_QUEUE, "photos-" + layout.NEW_IMAGES_QUEUE}


def test_microsofts_runtime_indexes_and_does_the_same_on_a_second_interpreter() -> None:
    try:
        python = interpreters.python_with_runtime()
    except interpreters.Missing as missing:
        pytest.skip(str(missing))
    report = _other_process(python, ["-m", "tests.functions.cases", "converters", "runtime"])
    assert report["runtime"] == report["converters"]
    assert report["runtime"]["cases"].keys() == CASES.keys()
    assert _described(report["runtime"]["index"]) == EXPECTED
    for name, case in CASES.items():
        assert report["runtime"]["cases"][name]["effects"] == json.loads(json.dumps(cases.asdict(case.effects)))


def test_a_value_of_the_wire_keeps_its_kind_all_the_way_down() -> None:
    typed = Typed({"method": Typed("GET"), "headers": {"a": Typed("b")}, "body": Typed(b"", "bytes")}, "http")
    made = answers.datum(typed, lambda value, kind: (kind, value))
    assert made == ("http", {"method": ("string", "GET"), "headers": {"a": ("string", "b")}, "body": ("bytes", b"")})
