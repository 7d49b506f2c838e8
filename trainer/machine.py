"""The machine that a trainer runs on, where that is one of Azure's: its name, the notice that it will be taken away, its own removal.

Rule: a notice sets the trainer's `stop`, and Azure is told to go ahead only after the job was handed back. A machine removes itself only
when there is nothing to do; a message that comes in between stays in its queue, and the functions ask for another machine.
"""

import json
import math
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from activelearning import machines
from activelearning.errors import UserError
from trainer.serve import Log, Trainer, owner_on

IMDS = "http://169.254.169.254"
"""Azure's Instance Metadata Service, the same on every machine and reachable from nowhere else."""
_INSTANCE = "/metadata/instance/compute?api-version=2021-02-01"
_EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
_LEAVING = frozenset({"Preempt", "Terminate", "Reboot", "Redeploy"})
_INSTANCE_SECONDS = 10.0
_EVENTS_SECONDS = 150.0
"""The first question after a boot is answered after up to two minutes."""
_DELETION_SECONDS = 360.0
"""So long Azure takes at most to give notice of a deletion that was asked for."""
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine: its name, and its ARM resource id."""

    name: str
    resource_id: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Azure will do something to the machine, such as `Preempt`, that no process survives."""

    event_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata service. A proxy could not reach it, so none is used."""

    base: str = IMDS

    def machine(self) -> Machine:
        """Which machine this is. Raises `UserError` where it is none of Azure's."""
        try:
            found = self._ask(_INSTANCE, _INSTANCE_SECONDS)
            return Machine(found["name"], found["resourceId"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"this is no machine of Azure's, as far as its metadata service says ({type(error).__name__}): leave --remove-machine out"
            ) from None

    def notice(self, machine: Machine) -> Notice | None:
        """What Azure is about to do to the machine; events of its neighbours are shown too, and left out here.

        Raises `OSError` or `ValueError` when there is no answer that can be read.
        """
        events = self._ask(_EVENTS, _EVENTS_SECONDS).get("Events", [])
        ours = (event for event in events if event["EventType"] in _LEAVING and _is_about(machine, event))
        return next((Notice(event["EventId"], event["EventType"]) for event in ours), None)

    def acknowledge(self, notice: Notice) -> None:
        """Tell Azure that it need not wait any longer. Raises `OSError`."""
        self._ask(_EVENTS, _INSTANCE_SECONDS, {"StartRequests": [{"EventId": notice.event_id}]})

    def _ask(self, path: str, seconds: float, body: dict[str, Any] | None = None) -> dict[str, Any]:
        content = json.dumps(body).encode() if body else None
        request = Request(self.base + path, content, {"Metadata": "true", "Content-Type": "application/json"})
        with build_opener(ProxyHandler({})).open(request, timeout=seconds) as answer:
            found = json.loads(answer.read() or b"{}")
        if not isinstance(found, dict):
            raise ValueError("the metadata service answered with something else than an object")
        return found


def _is_about(machine: Machine, event: dict[str, Any]) -> bool:
    return machine.name.lower() in (str(name).lower() for name in event.get("Resources", ()))


@dataclass(slots=True)
class Watch:
    """While it is entered, a thread looks for a notice and sets `stop` at the first; on leaving, Azure is told to go ahead."""

    metadata: Metadata
    machine: Machine
    stop: threading.Event
    log: Log
    pause: float = _PAUSE_SECONDS
    _notice: Notice | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Watch":
        # A daemon: the service may take minutes for an answer, and the trainer must be able to end meanwhile.
        threading.Thread(target=self._look_out, name="notices", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._notice:
            # Without it the machine goes a little later.
            with suppress(OSError, ValueError):
                self.metadata.acknowledge(self._notice)

    def _look_out(self) -> None:
        while not self._over.is_set() and self._notice is None:
            # A service that is out of order for a while must not end the watch.
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                self._notice = self.metadata.notice(self.machine)
            if self._notice is None:
                self._over.wait(self.pause)
        if self._notice:
            self.log(f"Azure takes this machine away ({self._notice.kind}): the trainer stops")
            self.stop.set()


def serve(
    trainer: Trainer, idle_seconds: float = math.inf, metadata: Metadata | None = None, remove: Callable[[str], None] = machines.remove
) -> None:
    """Work until there was nothing to do for so long, then delete the machine; or until Azure takes it away, or a signal comes.

    Raises `UserError` when this is no machine of Azure's, or Azure will not delete it.
    """
    service = metadata or Metadata(IMDS)
    machine = service.machine()
    trainer.owner = owner_on(machine.name)
    with Watch(service, machine, trainer.stop, trainer.log):
        if trainer.serve(idle_seconds):
            trainer.log(f"machine {machine.name} has nothing to do and removes itself")
            remove(machine.resource_id)
            # Azure gives notice of it, and waits for minutes unless it is told to go ahead.
            trainer.stop.wait(_DELETION_SECONDS)
