"""The machines in Azure: look at them, ask for more, delete one. `fleet` decides; here it is done.

Rule: what is asked for is in the state before Azure hears of it. What Azure answers is never an error of the loop: it becomes one
sentence in the state, for `activelearning status`, and the next tick looks again. Azure's own retries are off, since a function must not
sit out a wait that Azure asks for.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial, reduce
from typing import Any

from activelearning import fleet, journal, layout, state
from activelearning.errors import UserError
from activelearning.fleet import Action, Listed, ListedMachine, Raise, Remove, Withdraw
from activelearning.settings import Trainers
from activelearning.state import State
from activelearning.store import Store

SCALE_SETS_VARIABLE = "ACTIVELEARNING_SCALE_SETS"
_ID = re.compile(r"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.Compute/([A-Za-z]+)/([^/]+)", re.IGNORECASE)
_SCALE_SET = "virtualMachineScaleSets"
_MACHINE = "virtualMachines"
_TOLD = {Raise: "machines asked for", Withdraw: "machines given up", Remove: "machine removed"}


@dataclass(frozen=True, slots=True)
class Resource:
    """The parts of an ARM resource id."""

    subscription: str
    group: str
    name: str


class _NoAnswer(Exception):
    """Azure did not say whether it will do it; the text is for people."""


class _Refusal(Exception):
    """Azure will not do it; the text is for people."""


def parse_id(text: str, kind: str) -> Resource:
    """Read an ARM resource id of a kind such as `virtualMachines`. Raises `UserError`."""
    match = _ID.fullmatch(text.strip().rstrip("/"))
    if not match or match[3].lower() != kind.lower():
        form = f"/subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Compute/{kind}/NAME"
        raise UserError(f"'{text}' is not the resource id of one of the {kind} in Azure: write it like {form}")
    return Resource(match[1], match[2], match[4])


def scale_sets(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The scale sets of `ACTIVELEARNING_SCALE_SETS`, the preferred one first; none where it is not set. Raises `UserError`."""
    named = [text.strip().rstrip("/") for text in environment.get(SCALE_SETS_VARIABLE, "").split(",") if text.strip()]
    for text in named:
        try:
            parse_id(text, _SCALE_SET)
        except UserError as error:
            raise UserError(f"{SCALE_SETS_VARIABLE}: {error}") from None
    return tuple(dict.fromkeys(named))


@cache
def connect(subscription: str) -> Any:
    """Azure's compute service, as whoever is signed in."""
    from activelearning.store.azure import default_credential

    return client(subscription, default_credential())


def client(subscription: str, credential: Any, **options: Any) -> Any:
    """Azure's compute service; it neither tries again by itself nor waits for long."""
    from azure.mgmt.compute import ComputeManagementClient

    return ComputeManagementClient(credential, subscription, retry_total=0, connection_timeout=10, read_timeout=30, **options)


def tend(store: Store, trainers: Trainers, now: float) -> None:
    """Look at the machines and do what is due: ask for some, withdraw what was asked in vain, remove those that are stuck."""
    _tend(store, trainers, now, tuple(_TOLD))


def call(store: Store, trainers: Trainers, now: float) -> None:
    """A job was queued: ask for a machine at once if there is none for it. Everything else waits for the next tick."""
    _tend(store, trainers, now, (Raise,))


def _tend(store: Store, trainers: Trainers, now: float, kinds: tuple[type[Action], ...]) -> None:
    named = scale_sets()
    listed = list(_listed(store, named, now))
    # Who does not see all sets cannot know how many machines there are.
    if not named or len(listed) < len(named):
        return
    for action in _decided(store, trainers, listed, now, kinds):
        _carry_out(store, action, now)


def _listed(store: Store, named: Sequence[str], now: float) -> Iterator[Listed]:
    for scale_set in named:
        try:
            with _plain(f"show the scale set {fleet.short_name(scale_set)}"):
                yield _look(scale_set)
        except (_Refusal, _NoAnswer) as error:
            _note(store, partial(fleet.troubled, scale_set=scale_set, trouble=str(error)), now)


def _look(scale_set: str) -> Listed:
    place = parse_id(scale_set, _SCALE_SET)
    service = connect(place.subscription)
    found = service.virtual_machine_scale_sets.get(place.group, place.name)
    machines = service.virtual_machines.list(place.group, filter=f"'virtualMachineScaleSet/id' eq '{scale_set}'")
    return Listed(scale_set, (found.sku and found.sku.capacity) or 0, tuple(map(_machine, machines)))


def _machine(found: Any) -> ListedMachine:
    facts = found.properties
    made = facts.time_created if facts else None
    return ListedMachine(found.name, made.timestamp() if made else 0.0, (facts and facts.provisioning_state) or "")


def _decided(store: Store, trainers: Trainers, listed: Sequence[Listed], now: float, kinds: tuple[type[Action], ...]) -> list[Action]:
    """Take in what there is, and note what will be asked before it is."""
    shard_messages = store.queues.count(layout.SHARDS_QUEUE)
    actions: list[Action] = []

    def change(before: State) -> State:
        after = fleet.seen(before, listed, shard_messages, now)
        actions[:] = [a for a in fleet.decide(after, listed, shard_messages, trainers, now) if isinstance(a, kinds)]
        return reduce(lambda current, action: fleet.applied(current, action, now), actions, after)

    before = state.load(store.labels)
    _tell_of_trouble(store, before, state.update(store.labels, change), now)
    return actions


def _carry_out(store: Store, action: Action, now: float) -> None:
    name = fleet.short_name(action.scale_set)
    try:
        with _plain(_what(action, name)):
            _ask(action)
    except _Refusal as error:
        _note(store, partial(fleet.refused, action=action, trouble=str(error), now=now), now)
    except _NoAnswer as error:
        _note(store, partial(fleet.troubled, scale_set=action.scale_set, trouble=str(error)), now)
    else:
        state.update(store.labels, partial(fleet.accepted, action=action))
        journal.write(store.labels, "loop", _TOLD[type(action)], now, **asdict(action) | {"scale_set": name})


def _what(action: Action, name: str) -> str:
    match action:
        case Raise(_, capacity):
            return f"start machines ({capacity} in all) in the scale set {name}"
        case Withdraw():
            return f"withdraw the capacity of the scale set {name}"
        case Remove(_, machine):
            return f"delete the machine {machine}"


def _ask(action: Action) -> None:
    match action:
        case Raise(scale_set, capacity):
            _set_capacity(scale_set, capacity)
        case Withdraw(scale_set):
            _set_capacity(scale_set, 0)
        case Remove(scale_set, name):
            place = parse_id(scale_set, _SCALE_SET)
            _delete(Resource(place.subscription, place.group, name))


def _set_capacity(scale_set: str, capacity: int) -> None:
    place = parse_id(scale_set, _SCALE_SET)
    sets = connect(place.subscription).virtual_machine_scale_sets
    # Azure wants the whole size back, of which only the number changes.
    sku = sets.get(place.group, place.name).sku
    sku.capacity = capacity
    sets.begin_update(place.group, place.name, {"sku": sku}, polling=False)


def _delete(machine: Resource) -> None:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        connect(machine.subscription).virtual_machines.begin_delete(machine.group, machine.name, polling=False)
    except ResourceNotFoundError:
        # Gone already, which is what was wanted.
        return


def remove(machine: str) -> None:
    """Delete the machine of an ARM resource id, without waiting until it is gone. Raises `UserError` when Azure will not."""
    place = parse_id(machine, _MACHINE)
    try:
        with _plain(f"delete the machine {place.name}"):
            _delete(place)
    except (_Refusal, _NoAnswer) as error:
        raise UserError(str(error)) from None


def _note(store: Store, change: Callable[[State], State], now: float) -> None:
    before = state.load(store.labels)
    _tell_of_trouble(store, before, state.update(store.labels, change), now)


def _tell_of_trouble(store: Store, before: State, after: State, now: float) -> None:
    """Say it in the journal once, not every minute."""
    for name, known in after.scale_sets.items():
        told = before.scale_sets.get(name)
        if known.trouble and (told is None or told.trouble != known.trouble):
            journal.write(store.labels, "loop", "machines in trouble", now, scale_set=fleet.short_name(name), reason=known.trouble)


@contextmanager
def _plain(what: str) -> Iterator[None]:
    """Turn what Azure answers into a sentence without addresses and ids, which the service's own texts hold."""
    from azure.core import exceptions as azure

    try:
        yield
    except azure.ClientAuthenticationError:
        raise _NoAnswer(f"Azure does not let us {what}: is AZURE_CLIENT_ID that of an identity this machine has?") from None
    except azure.HttpResponseError as error:
        raise _answer(what, error.status_code or 0, str(getattr(error.error, "code", "") or "")) from None
    except azure.AzureError as error:
        raise _NoAnswer(f"Azure did not answer when asked to {what} ({type(error).__name__}); it is asked again") from None


def _answer(what: str, status: int, code: str) -> _Refusal | _NoAnswer:
    answer = f"{status} {code}".strip()
    if status in (408, 429) or not 400 <= status < 500:
        return _NoAnswer(f"Azure was too busy to {what} ({answer}); it is asked again")
    if status == 403:
        return _Refusal(f"Azure may not be asked to {what} ({answer}): give the identity the role for the machines, as infra/ does")
    if status == 404:
        return _Refusal(f"Azure cannot {what} ({answer}): is {SCALE_SETS_VARIABLE} right?")
    return _Refusal(f"Azure would not {what} ({answer}): it may have none of this size to spare, or the quota is used up")
