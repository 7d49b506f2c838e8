"""The function app as one machine runs it: real converters, retries, the poison queue, and an end to everything when told to stop."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

import function_app
from activelearning import events, host, layout, project_file, state, steps
from activelearning.errors import UserError
from activelearning.state import QUEUED
from activelearning.store import open_store
from tests.core import loops
from tests.core.loops import SETTINGS, Clock, hand_in
from tests.store.rivals import ROOT


@pytest.fixture(params=["memory", "directory"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a store with a project, which the function app finds in its environment."""
    found = f"memory:{tmp_path}" if request.param == "memory" else str(tmp_path / "store")
    monkeypatch.setenv("ACTIVELEARNING_STORE", found)
    loops.make_project(open_store(found))
    return found


def _function(name: str, app: Any = function_app.app) -> host.Function:
    return next(function for function in host.functions(app) if function.name == name)


def _app(function: Any, queue: str = "somewhere") -> func.FunctionApp:
    app = func.FunctionApp()
    app.queue_trigger(arg_name="message", queue_name=queue, connection="Store")(function)
    return app


def test_one_machine_runs_what_events_and_the_clock_wake_and_leaves_out_http() -> None:
    found = {function.name: function.queue for function in host.functions(function_app.app)}
    assert found == {"reviewed_upload": layout.REVIEWED_QUEUE, "new_image": layout.NEW_IMAGES_QUEUE, "tick": ""}
    assert {subscription.queue for subscription in events.SUBSCRIPTIONS} == {layout.REVIEWED_QUEUE, layout.NEW_IMAGES_QUEUE}


def test_an_upload_goes_through_event_and_function_to_one_job(url: str) -> None:
    store = open_store(url)
    name = hand_in(store, "b1", ["1.jpg"])
    told: list[str] = []
    assert host.drain(store, _function("reviewed_upload"), told.append) == 1
    (job,) = state.load(store.labels).jobs.values()
    assert (job.uploads, job.status, told) == ((name,), QUEUED, [])
    assert store.queues.count(layout.REVIEWED_QUEUE) == 0 and store.queues.count(layout.JOBS_QUEUE) == 1


def test_new_images_are_noted_and_the_timer_decides(url: str) -> None:
    store = open_store(url)
    store.images.create("1.jpg", b"x")
    assert host.drain(store, _function("new_image"), print) == 1
    assert state.load(store.labels).images_arrived_at == pytest.approx(time.time(), abs=60)
    host.fire(_function("tick"))
    assert state.load(store.labels).swept_at == pytest.approx(time.time(), abs=60)


def test_a_function_sees_the_message_as_in_the_cloud() -> None:
    store, seen = open_store("memory:"), []

    def look(message: func.QueueMessage) -> None:
        seen.append((message.get_body(), message.id, message.dequeue_count, message.pop_receipt, message.insertion_time))

    store.queues.send("somewhere", "tea, ü\n")
    (peeked,) = store.queues.peek("somewhere")
    host.drain(store, _function("look", _app(look)), print)
    body, key, count, receipt, inserted = seen[0]
    assert (body, key, count) == ("tea, ü\n".encode(), peeked.id, 1) and receipt
    assert inserted.timestamp() == pytest.approx(peeked.inserted, abs=1)


def test_a_message_that_fails_five_times_is_set_aside_and_the_others_go_on(clock: Clock) -> None:
    store, told, done = open_store("memory:", clock), [], []

    def pick(message: func.QueueMessage) -> None:
        if message.get_body() == b"bad":
            raise ValueError("no good")
        done.append(message.get_body())

    for body in ("bad", "good"):
        store.queues.send("somewhere", body)
    function = _function("pick", _app(pick))
    for _ in range(7):
        host.drain(store, function, told.append)
        store.queues.send("somewhere", "more")
        clock.later(host.RETRY_SECONDS)
    assert told == [f"pick failed, try {n} of 5: no good" for n in range(1, 6)]
    assert loops.bodies(store, layout.poison_queue("somewhere")) == ["bad"]
    assert done == [b"good"] + [b"more"] * 6


def test_what_is_no_event_ends_in_the_poison_queue_of_its_function(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setenv("ACTIVELEARNING_STORE", "memory:")
    store, told = open_store("memory:", clock), []
    store.queues.send(layout.REVIEWED_QUEUE, "hello")
    for _ in range(6):
        host.drain(store, _function("reviewed_upload"), told.append)
        clock.later(host.RETRY_SECONDS)
    assert len(told) == 5 and "not JSON" in told[0]
    assert loops.bodies(store, layout.poison_queue(layout.REVIEWED_QUEUE)) == ["hello"]


def test_other_triggers_are_refused() -> None:
    app = func.FunctionApp()

    @app.blob_trigger(arg_name="blob", path="images/{name}", connection="Store")
    def hello(blob: func.InputStream) -> None:
        pass

    with pytest.raises(UserError, match="function hello has a blobTrigger; give it a queue, timer or HTTP trigger"):
        host.functions(app)


def test_draining_stops_when_told() -> None:
    store, stop, seen = open_store("memory:"), threading.Event(), []

    def once(message: func.QueueMessage) -> None:
        seen.append(message.get_body())
        stop.set()

    for n in range(3):
        store.queues.send("somewhere", str(n))
    assert host.drain(store, _function("once", _app(once)), print, stop) == 1
    assert len(seen) == 1 and store.queues.count("somewhere") == 2


def _until(condition: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_up_survives_a_damaged_project_says_so_once_and_goes_on_when_it_is_mended(url: str) -> None:
    store, told, stop = open_store(url), [], threading.Event()
    damaged = store.labels.replace(layout.PROJECT, b"classes = [", store.labels.read(layout.PROJECT).etag)
    running = threading.Thread(target=host.up, args=(url,), kwargs={"with_trainer": False, "log": told.append, "stop": stop})
    running.start()
    try:
        name = hand_in(store, "b1", ["1.jpg"])
        _until(lambda: name in state.load(store.labels).uploads and told)
        time.sleep(2.2)
        store.labels.replace(layout.PROJECT, project_file.render_project(SETTINGS).encode(), damaged)
        _until(lambda: state.load(store.labels).jobs)
    finally:
        stop.set()
        running.join()
    assert len(told) == 1 and told[0].startswith("tick: project.toml of ")
    assert store.queues.count(layout.poison_queue(layout.REVIEWED_QUEUE)) == 0


def test_two_machines_on_one_store_queue_one_job(tmp_path: Path) -> None:
    store = loops.make_project(open_store(str(tmp_path)))
    program = "import sys, threading, activelearning.host as h; h.up(sys.argv[1], with_trainer=False, log=print, stop=h.stop_on_signals())"
    machines = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT / "functions", stdout=-1) for _ in range(2)]
    try:
        names = [hand_in(store, f"b{n}", [f"{n}.jpg"]) for n in range(5)]
        _until(lambda: set(names) <= state.load(store.labels).uploads.keys() and state.load(store.labels).jobs)
    finally:
        for machine in machines:
            machine.terminate()
    assert [(machine.communicate()[0], machine.returncode) for machine in machines] == [(b"", 0)] * 2
    assert len(state.load(store.labels).jobs) == store.queues.count(layout.JOBS_QUEUE) == 1
    assert steps.adopt(store).sequence == 0


def test_a_prefix_for_the_cloud_is_not_put_before_the_queues_of_one_machine(tmp_path: Path) -> None:
    store = loops.make_project(open_store(str(tmp_path)))
    program = "import sys, activelearning.host as h; h.up(sys.argv[1], with_trainer=False, log=print, stop=h.stop_on_signals())"
    environment = os.environ | {"ACTIVELEARNING_QUEUE_PREFIX": "photos-"}
    machine = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT / "functions", env=environment, stdout=-1, stderr=-1
    )
    try:
        hand_in(store, "b1", ["1.jpg"])
        _until(lambda: state.load(store.labels).jobs)
    finally:
        machine.terminate()
    assert machine.communicate() == (b"", b"") and machine.returncode == 0
    assert store.queues.count(layout.REVIEWED_QUEUE) == 0


_TRAINER = """
import json, os, pathlib, signal, sys
told = json.dumps({"arguments": sys.argv[1:], "store": os.environ["ACTIVELEARNING_STORE"]})
pathlib.Path("half").write_text(told); os.replace("half", "told")
signal.pause()
"""


def test_a_trainer_is_told_an_address_that_may_be_shown_and_inherits_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, told, stop = str(tmp_path / "store"), tmp_path / "told", threading.Event()
    monkeypatch.setenv("ACTIVELEARNING_STORE", "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "__init__.py").touch()
    (tmp_path / "trainer" / "cli.py").write_text(_TRAINER)
    running = threading.Thread(target=host.up, args=(given,), kwargs={"with_trainer": True, "log": print, "stop": stop})
    running.start()
    try:
        _until(told.exists)
    finally:
        stop.set()
        running.join()
    assert json.loads(told.read_text()) == {"arguments": ["serve", open_store(given).url], "store": given}
    assert open_store(given).url != given


@pytest.mark.parametrize(
    ("before", "ran", "pause"),
    [(0.0, 0.1, 1.0), (1.0, 0.1, 2.0), (32.0, 10.0, 60.0), (60.0, 299.0, 60.0), (60.0, 300.0, 1.0), (0.0, 1e6, 1.0)],
)
def test_a_trainer_that_dies_at_once_waits_longer_until_it_was_well(before: float, ran: float, pause: float) -> None:
    assert host.restart_pause(before, ran) == pause
