"""Azure's metadata service of one machine, played on this machine's loopback."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fleet.arm import GROUP
from trainer.machine import Metadata

NAME = "trainer-spot_0001"
RESOURCE = f"{GROUP}/virtualMachines/{NAME}"


@dataclass(slots=True)
class Service:
    """What the service knows; `started` are the events that Azure was told to go ahead with."""

    metadata: Metadata
    instance: Any = field(default_factory=lambda: {"name": NAME, "resourceId": RESOURCE, "vmSize": "Standard_NC4as_T4_v3"})
    events: list[dict[str, Any]] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    broken: bool = False
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released with each question for events."""

    def announce(self, kind: str, *machines: str, event_id: str = "E-1") -> None:
        """Say that something will happen to machines."""
        times = {"EventStatus": "Scheduled", "NotBefore": "Mon, 19 Sep 2016 18:29:47 GMT", "ResourceType": "VirtualMachine"}
        self.events.append({"EventId": event_id, "EventType": kind, "Resources": list(machines)} | times)


@contextmanager
def playing() -> Iterator[Service]:
    """The service, listening."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.headers["Metadata"] == "true", "the service answers to nobody else"
            if service.broken:
                self.send_error(503)
            elif self.path == "/metadata/instance/compute?api-version=2021-02-01":
                self._say(service.instance)
            else:
                assert self.path == "/metadata/scheduledevents?api-version=2020-07-01"
                self._say({"DocumentIncarnation": 1, "Events": service.events})
                service.asked.release()

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            service.started.extend(request["EventId"] for request in body["StartRequests"])
            self._say(None)

        def _say(self, content: Any) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"" if content is None else json.dumps(content).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service = Service(Metadata(f"http://127.0.0.1:{server.server_address[1]}"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
