"""Azure Resource Manager, played: the real azure-mgmt-compute client talks to it through a transport of requests.

It keeps scale sets with their capacity and machines with their provisioning state. A raised capacity makes no machine before `deliver`,
a deleted one is there until `finish_deletions`; every change is answered as an operation that goes on, which a client may ask after.
"""

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import requests
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from activelearning import machines

GROUP = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg-trainers/providers/Microsoft.Compute"
SPOT, REGULAR = f"{GROUP}/virtualMachineScaleSets/trainer-spot", f"{GROUP}/virtualMachineScaleSets/trainer-regular"
_FILTER = re.compile(r"'virtualMachineScaleSet/id' eq '([^']+)'")


@dataclass(slots=True)
class Vm:
    """A virtual machine of a scale set."""

    name: str
    scale_set: str
    state: str = "Creating"
    created: str = "2026-11-20T12:00:00.1234567+00:00"


@dataclass(slots=True)
class Answer:
    """What the service says; raised to the client where it is an error."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


def error(status: int, code: str, **headers: str) -> Answer:
    """An error as ARM words it, with a message that must reach nobody."""
    return Answer(status, {"error": {"code": code, "message": f"SECRET-{code} of object 'beef' has no right"}}, headers)


@dataclass(slots=True)
class Arm:
    """The service; `capacity` by scale set, `asked` the changes it was asked for, in order."""

    capacity: dict[str, int] = field(default_factory=lambda: {SPOT: 0, REGULAR: 0})
    vms: list[Vm] = field(default_factory=list)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    heard: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[str, str], None] = lambda method, path: None
    """Called before each request, for what happens in between."""
    page: int = 2
    keeps_capacity: bool = False
    """Whether a machine that goes leaves the capacity as it is; both were seen to be claimed of Flexible sets."""
    _refusals: list[tuple[str, str, Answer | Exception]] = field(default_factory=list)
    _made: int = 0

    def connect(self, subscription: str) -> Any:
        """The real client of azure-mgmt-compute, talking to this."""
        session = requests.Session()
        session.mount("https://", _Adapter(self))
        return machines.client(subscription, _Credential(), transport=RequestsTransport(session=session, session_owner=False))

    def refuse(self, method: str, name: str, answer: Answer | Exception, times: int = 1) -> None:
        """Answer the next requests of a method for whatever path ends in `name` like this."""
        self._refusals += [(method, name, answer)] * times

    def deliver(self, scale_set: str, count: int | None = None) -> list[str]:
        """Make the machines that the capacity promises, or so many."""
        present = sum(vm.scale_set == scale_set for vm in self.vms)
        new = []
        for _ in range(self.capacity[scale_set] - present if count is None else count):
            self._made += 1
            new.append(Vm(f"{scale_set.rpartition('/')[2]}_{self._made:04x}", scale_set, "Succeeded"))
        self.vms += new
        return [vm.name for vm in new]

    def finish_deletions(self) -> None:
        """Let the machines that are being deleted go."""
        for vm in [vm for vm in self.vms if vm.state == "Deleting"]:
            self.vms.remove(vm)
            if not self.keeps_capacity:
                self.capacity[vm.scale_set] = max(self.capacity[vm.scale_set] - 1, 0)

    def answer(self, request: requests.PreparedRequest) -> Answer:
        """Do what a request asks for."""
        parts = urlsplit(str(request.url))
        method, path = str(request.method), unquote(parts.path)
        assert request.headers["Authorization"] == "Bearer token"
        self.heard.append((method, path))
        self.before(method, path)
        for planned in self._refusals:
            if planned[0] == method and path.endswith(planned[1]):
                self._refusals.remove(planned)
                if isinstance(planned[2], Exception):
                    raise planned[2]
                return planned[2]
        if "/virtualMachineScaleSets/" in path:
            return self._scale_set(method, next(name for name in self.capacity if name.lower() == path.lower()), request)
        return self._delete(path) if method == "DELETE" else self._list(parse_qs(parts.query))

    def _scale_set(self, method: str, name: str, request: requests.PreparedRequest) -> Answer:
        if method == "PATCH":
            sku = json.loads(request.body or "{}")["sku"]
            assert sku["name"] == "Standard_NC4as_T4_v3" and sku["tier"] == "Standard", "Azure wants the whole size back"
            self.asked.append(("capacity", name, sku["capacity"]))
            self.capacity[name] = sku["capacity"]
        sku = {"name": "Standard_NC4as_T4_v3", "tier": "Standard", "capacity": self.capacity[name]}
        facts = {"orchestrationMode": "Flexible", "provisioningState": "Succeeded" if method == "GET" else "Updating"}
        body = {"id": name, "name": name.rpartition("/")[2], "location": "westeurope", "sku": sku, "properties": facts}
        return Answer(200, body, {} if method == "GET" else _operation())

    def _list(self, query: dict[str, list[str]]) -> Answer:
        match = _FILTER.fullmatch(query["$filter"][0])
        assert match, query
        start = int(query.get("$skiptoken", ["0"])[0])
        found = [vm for vm in self.vms if vm.scale_set == match[1]]
        body: dict[str, Any] = {"value": [_shown(vm) for vm in found[start : start + self.page]]}
        if start + self.page < len(found):
            body["nextLink"] = (
                f"https://management.azure.com{GROUP}/virtualMachines?api-version=x&$skiptoken={start + self.page}&$filter={match[0]}"
            )
        return Answer(200, body)

    def _delete(self, path: str) -> Answer:
        name = path.rpartition("/")[2]
        self.asked.append(("delete", name, None))
        found = [vm for vm in self.vms if vm.name.lower() == name.lower()]
        if not found:
            return error(404, "ResourceNotFound")
        found[0].state = "Deleting"
        return Answer(202, None, _operation())


def _operation() -> dict[str, str]:
    return {"Azure-AsyncOperation": f"https://management.azure.com{GROUP}/locations/westeurope/operations/1?api-version=x"}


def _shown(vm: Vm) -> dict[str, Any]:
    facts = {"provisioningState": vm.state, "timeCreated": vm.created, "virtualMachineScaleSet": {"id": vm.scale_set}}
    return {"id": f"{GROUP}/virtualMachines/{vm.name}", "name": vm.name, "location": "westeurope", "properties": facts}


class _Credential:
    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        return AccessToken("token", 9_999_999_999)


class _Adapter(HTTPAdapter):
    def __init__(self, arm: Arm):
        super().__init__()
        self._arm = arm

    def send(self, request: requests.PreparedRequest, *_: Any, **_options: Any) -> requests.Response:
        answer = self._arm.answer(request)
        headers = {"Content-Type": "application/json"} | answer.headers
        content = b"" if answer.body is None else json.dumps(answer.body).encode()
        raw = HTTPResponse(io.BytesIO(content), headers, answer.status, preload_content=False)
        response: requests.Response = self.build_response(request, raw)
        return response
