"""One machine in place of the cloud: run the function app on a store's own queues, and a trainer beside it.

Rule: it runs the very app that Azure runs. Messages go through azure.functions' own converters; a function that raises sees its
message again, and after five times it lies in the poison queue, as the Functions host does it. Nothing is kept in memory: stop or
kill it at any moment and start it again.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from types import FrameType
from typing import Any

from activelearning import consume, layout
from activelearning.errors import MessageLost, UserError
from activelearning.store import Message, Store, open_store

VISIBILITY_SECONDS = 30.0
RETRY_SECONDS = 5.0
TICK_SECONDS = 1.0
POLL_SECONDS = 0.1
_AT_ONCE = 32
_STOP_SECONDS = 60.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_HEALTHY_SECONDS = 300.0

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the app; `queue` is empty for a timer."""

    name: str
    queue: str
    invoke: Callable[[Any, dict[str, Any]], None]


@cache
def indexed(app: Any) -> tuple[Any, ...]:
    """Index a function app (v2 model) as the host does. Remembered, since azure.functions indexes an app only once."""
    return tuple(app.get_functions())


def functions(app: Any) -> tuple[Function, ...]:
    """The functions that one machine runs. Raises `UserError` for a trigger that is neither queue, timer nor HTTP.

    HTTP functions are left out: on one machine the commands do what they do.
    """
    return tuple(_function(function) for function in indexed(app) if _kind(function) != "httpTrigger")


def _kind(function: Any) -> str:
    return str(function.get_trigger().get_binding_name())


def _function(function: Any) -> Function:
    import azure.functions

    trigger, kind = function.get_trigger(), _kind(function)
    if kind not in ("queueTrigger", "timerTrigger"):
        raise UserError(f"function {function.get_function_name()} has a {kind}; give it a queue, timer or HTTP trigger")
    converter = azure.functions.get_binding_registry().get(kind)  # type: ignore[no-untyped-call]
    user_function = function.get_user_function()

    def invoke(datum: Any, metadata: dict[str, Any]) -> None:
        user_function(**{trigger.name: converter.decode(datum, trigger_metadata=metadata)})

    return Function(function.get_function_name(), getattr(trigger, "queue_name", ""), invoke)


def deliver(function: Function, message: Message) -> None:
    """Invoke a queue-triggered function with a message; raises what it raises."""
    from azure.functions.meta import Datum

    inserted = datetime.fromtimestamp(message.inserted, UTC).isoformat()
    texts = {
        "Id": message.id,
        "PopReceipt": message.receipt,
        "InsertionTime": inserted,
        "ExpirationTime": inserted,
        "NextVisibleTime": inserted,
    }
    metadata = {name: Datum(text, "string") for name, text in texts.items()}
    function.invoke(Datum(message.body, "string"), metadata | {"DequeueCount": Datum(message.dequeue_count, "int")})


def fire(function: Function) -> None:
    """Invoke a timer-triggered function; raises what it raises."""
    from azure.functions.meta import Datum

    function.invoke(Datum(json.dumps({"IsPastDue": False, "Schedule": {"AdjustForDST": True}, "ScheduleStatus": None}), "json"), {})


def drain(store: Store, function: Function, log: Log, stop: threading.Event | None = None) -> int:
    """Deliver every visible message of one function's queue until `stop` is set, and return how many were handled."""
    handled = 0
    while messages := consume.take(store.queues, function.queue, VISIBILITY_SECONDS, _AT_ONCE):
        for message in messages:
            if stop and stop.is_set():
                return handled
            handled += _handle(store, function, message, log)
    return handled


def _handle(store: Store, function: Function, message: Message, log: Log) -> bool:
    # The host's one duty: whatever a function raises, its message comes back later and the others go on.
    try:
        deliver(function, message)
    except Exception as error:  # noqa: BLE001
        log(f"{function.name} failed, try {message.dequeue_count} of {layout.MAX_DEQUEUE_COUNT}: {error}")
        with suppress(MessageLost):
            store.queues.renew(function.queue, message, RETRY_SECONDS)
        return False
    with suppress(MessageLost):
        store.queues.delete(function.queue, message)
    return True


def up(url: str, *, with_trainer: bool, log: Log, stop: threading.Event) -> None:
    """Run functions and trainer until `stop` is set; then finish the function at hand, let the trainer hand its job back, return."""
    os.environ["ACTIVELEARNING_STORE"] = url
    # A store puts the prefix before its queues' names by itself; the app must ask it for the plain ones.
    os.environ.pop("ACTIVELEARNING_QUEUE_PREFIX", None)
    # Machines are the business of the functions in the cloud, which look at them once a minute, not once a second.
    os.environ.pop("ACTIVELEARNING_SCALE_SETS", None)
    store = open_store(url)
    app = importlib.import_module("function_app").app
    workers = [threading.Thread(target=_work, args=(store, f, log, stop), name=f.name) for f in functions(app)]
    for worker in workers:
        worker.start()
    try:
        _supervise(store.url, log, stop) if with_trainer else stop.wait()
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def _work(store: Store, function: Function, log: Log, stop: threading.Event) -> None:
    pause = POLL_SECONDS if function.queue else TICK_SECONDS
    said = ""
    while not stop.wait(pause):
        try:
            drain(store, function, log, stop) if function.queue else fire(function)
            said = ""
        except Exception as error:  # noqa: BLE001  the next round may find the store well again
            # Once, not every second: the same trouble lasts until somebody has mended it.
            trouble = f"{function.name}: {error}"
            if trouble != said:
                log(trouble)
            said = trouble


def _supervise(url: str, log: Log, stop: threading.Event) -> None:
    """Keep one trainer alive; a trainer that dies at once, again and again, is started ever less often.

    `url` is the store's own, which is safe to show: everybody on the machine can read command lines. Keys are inherited.
    """
    pause = 0.0
    while not stop.wait(pause):
        started = time.monotonic()
        trainer = subprocess.Popen([sys.executable, "-m", "trainer.cli", "serve", url])
        while trainer.poll() is None and not stop.wait(POLL_SECONDS):
            pass
        if trainer.poll() is None:
            return _stop(trainer)
        ran = time.monotonic() - started
        pause = restart_pause(pause, ran)
        log(f"the trainer ended with code {trainer.returncode} after {ran:.0f} s and is started again in {pause:.0f} s")
    return None


def restart_pause(before: float, ran: float) -> float:
    """Seconds until a trainer that ran for `ran` seconds is started again: twice the last pause, unless it was well for long."""
    return _SHORTEST_PAUSE if ran >= _HEALTHY_SECONDS else min(max(before * 2, _SHORTEST_PAUSE), _LONGEST_PAUSE)


def _stop(trainer: "subprocess.Popen[bytes]") -> None:
    trainer.terminate()
    try:
        trainer.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        trainer.kill()
        trainer.wait()


def stop_on_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set."""
    stop = threading.Event()

    def handler(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)
    return stop
