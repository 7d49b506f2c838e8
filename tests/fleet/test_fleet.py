"""How many machines, from which set, which to remove: tables, and what holds in any history."""

import json
from dataclasses import dataclass, field, replace
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activelearning import fleet, fleet_shown, state
from activelearning.fleet import Listed, ListedMachine, Raise, Remove, Withdraw, decide, host_of, need, seen
from activelearning.machine_records import Machine, ScaleSet
from activelearning.settings import Trainers
from activelearning.state import DONE, FAILED, QUEUED, RUNNING, TRAIN, Job, State
from activelearning.store import open_store

NOW = 1_000_000.0
SPOT, REGULAR = "/sets/spot", "/sets/regular"


def job(number: int, status: str = QUEUED, owner: str = "", lease: float = 30.0) -> Job:
    held = status == RUNNING
    return Job(f"j{number}", TRAIN, "main/1", 0, status=status, owner=owner, lease_until=NOW + lease if held else 0.0)


def having(*jobs: Job, machines: tuple[Machine, ...] = (), sets: tuple[ScaleSet, ...] = ()) -> State:
    return State(
        jobs={one.id: one for one in jobs},
        machines={one.name: one for one in machines},
        scale_sets={one.id: one for one in sets},
    )


def listed(scale_set: str, *names: str, capacity: int | None = None, status: str = "Succeeded") -> Listed:
    return Listed(scale_set, len(names) if capacity is None else capacity, tuple(ListedMachine(name, state=status) for name in names))


def due(current: State, *sets: Listed, most: int = 1, shards: int = 0, now: float = NOW) -> list[fleet.Action]:
    return decide(seen(current, sets, shards, now), sets, shards, Trainers(most), now)


@pytest.mark.parametrize(
    ("owner", "host"),
    [
        ("t-1-77-ab12cd", "t-1"),
        ("t-10-77-ab12cd", "t-10"),
        ("trainer-spot_3f2a-1-ffffff", "trainer-spot_3f2a"),
        ("T-1-77-ab12cd", "t-1"),
        ("lonely", "lonely"),
        ("", ""),
    ],
)
def test_the_machine_in_an_owner(owner: str, host: str) -> None:
    assert host_of(owner) == host


@pytest.mark.parametrize(
    ("jobs", "shards", "most", "wanted"),
    [
        ((), 0, 3, 0),
        ((), 400, 3, 0),
        ((job(1, DONE), job(2, FAILED)), 8, 3, 0),
        ((job(1),), 0, 3, 1),
        ((job(1),), 8, 3, 1),
        ((job(1), job(2)), 0, 3, 2),
        ((job(1), job(2)), 0, 1, 1),
        ((job(1),), 0, 0, 0),
        ((job(1, RUNNING, "vm-7-aaaaaa"),), 0, 3, 1),
        ((job(1, RUNNING, "vm-7-aaaaaa"),), 1, 3, 2),
        ((job(1, RUNNING, "vm-7-aaaaaa"),), 4, 9, 2),
        ((job(1, RUNNING, "vm-7-aaaaaa"),), 5, 9, 3),
        ((job(1, RUNNING, "vm-7-aaaaaa"),), 4000, 9, 9),
        ((job(1, RUNNING, "desk-7-aaaaaa"),), 0, 3, 0),
        ((job(1, RUNNING, "vm-1-7-aaaaaa"),), 0, 3, 0),
        ((job(1, RUNNING, "desk-7-aaaaaa"),), 8, 9, 2),
        ((job(1, RUNNING, "desk-7-aaaaaa", lease=0.0),), 0, 3, 1),
    ],
)
def test_how_many_machines_have_something_to_do(jobs: tuple[Job, ...], shards: int, most: int, wanted: int) -> None:
    current = having(*jobs, machines=(Machine("vm", SPOT, NOW),))
    assert need(current, shards, most, NOW) == wanted


def asked(scale_set: str, capacity: int, ago: float, accepted: bool = True) -> ScaleSet:
    return ScaleSet(scale_set, capacity, NOW - ago, accepted)


def rests(scale_set: str, ago: float) -> ScaleSet:
    return ScaleSet(scale_set, refused_at=NOW - ago, trouble="none to give")


@pytest.mark.parametrize(
    ("sets", "shown", "most", "actions"),
    [
        ((), (listed(SPOT), listed(REGULAR)), 5, [Raise(SPOT, 2)]),
        ((), (listed(SPOT, "a"), listed(REGULAR)), 5, [Raise(SPOT, 2)]),
        ((), (listed(SPOT), listed(REGULAR, "a")), 5, [Raise(SPOT, 1)]),
        ((), (listed(SPOT, "a", "b"), listed(REGULAR)), 5, []),
        ((), (listed(SPOT), listed(REGULAR, "a")), 1, []),
        ((), (listed(SPOT, "a", "b", "c"), listed(REGULAR)), 2, []),
        # asked, and on its way
        ((asked(SPOT, 2, 0),), (listed(SPOT, capacity=2), listed(REGULAR)), 5, []),
        ((asked(SPOT, 2, 599),), (listed(SPOT, capacity=0), listed(REGULAR)), 5, []),
        ((asked(SPOT, 1, 30),), (listed(SPOT, capacity=1), listed(REGULAR)), 5, [Raise(SPOT, 2)]),
        # Azure did not hear of it
        ((asked(SPOT, 2, 119, accepted=False),), (listed(SPOT), listed(REGULAR)), 5, []),
        ((asked(SPOT, 2, 120, accepted=False),), (listed(SPOT), listed(REGULAR)), 5, [Raise(SPOT, 2)]),
        # it did not come: given up, and withdrawn where Azure still promises it
        ((asked(SPOT, 2, 600),), (listed(SPOT, capacity=0), listed(REGULAR)), 5, [Raise(REGULAR, 2)]),
        ((asked(SPOT, 2, 600),), (listed(SPOT, capacity=2), listed(REGULAR)), 5, [Withdraw(SPOT)]),
        ((asked(SPOT, 2, 600),), (listed(SPOT, capacity=2),), 5, [Withdraw(SPOT)]),
        ((asked(SPOT, 2, 600),), (listed(SPOT),), 5, []),
        # a part has come: what is promised counts, and is never withdrawn from under it
        ((asked(SPOT, 2, 600),), (listed(SPOT, "a", capacity=2), listed(REGULAR)), 5, [Raise(REGULAR, 1)]),
        ((asked(SPOT, 2, 600),), (listed(SPOT, "a", capacity=2), listed(REGULAR)), 2, []),
        # refused of late
        ((rests(SPOT, 599),), (listed(SPOT), listed(REGULAR)), 5, [Raise(REGULAR, 2)]),
        ((rests(SPOT, 600),), (listed(SPOT), listed(REGULAR)), 5, [Raise(SPOT, 2)]),
        ((rests(SPOT, 5), rests(REGULAR, 5)), (listed(SPOT), listed(REGULAR)), 5, []),
        # a promise that nobody asked for is in the way
        ((), (listed(SPOT, capacity=1), listed(REGULAR)), 1, [Withdraw(SPOT)]),
        # a wrong clock
        ((asked(SPOT, 2, -9999),), (listed(SPOT, capacity=0), listed(REGULAR)), 5, [Raise(REGULAR, 2)]),
    ],
)
def test_which_set_is_asked_for_two_machines(sets: tuple[ScaleSet, ...], shown: tuple[Listed, ...], most: int, actions: list) -> None:
    current = having(job(1), job(2), sets=sets)
    assert due(current, *shown, most=most) == actions


def test_capacity_is_not_lowered_when_there_is_less_to_do() -> None:
    assert due(having(job(1)), listed(SPOT, "a", "b", "c"), most=5) == []
    assert due(State(), listed(SPOT, "a", "b", "c"), most=0) == []
    # An operator's own doing is left alone.
    assert due(State(), listed(SPOT, capacity=3), most=1) == []


IDLE = 10 * 60 + fleet.GRACE_SECONDS


@pytest.mark.parametrize(
    ("machine", "status", "jobs", "reason"),
    [
        (Machine("t-1", SPOT, NOW - IDLE + 1), "Succeeded", (), ""),
        (Machine("t-1", SPOT, NOW - IDLE), "Succeeded", (), "it took up no work in 30 minutes"),
        (Machine("t-1", SPOT, NOW - IDLE), "Creating", (), "it took up no work in 30 minutes"),
        (Machine("t-1", SPOT, NOW - IDLE), "Deleting", (), ""),
        (Machine("t-1", SPOT, NOW - 9999, NOW - IDLE + 1), "Succeeded", (), ""),
        (Machine("t-1", SPOT, NOW - 9999, NOW - IDLE), "Succeeded", (), "it did nothing for 30 minutes"),
        (Machine("t-1", SPOT, NOW + 9999), "Succeeded", (), ""),
        (Machine("t-1", SPOT, NOW), "Failed", (), "Azure could not set it up"),
        (Machine("t-1", SPOT, NOW, removed_at=NOW - 599), "Failed", (), ""),
        (Machine("t-1", SPOT, NOW, removed_at=NOW - 600), "Failed", (), "Azure could not set it up"),
        (Machine("t-1", SPOT, NOW), "Failed", (job(1, RUNNING, "t-1-7-abcdef"),), ""),
        (Machine("t-1", SPOT, NOW - IDLE), "Succeeded", (job(1, RUNNING, "T-1-7-abcdef"),), ""),
        (Machine("t-1", SPOT, NOW - IDLE), "Succeeded", (job(1, RUNNING, "t-1-7-abcdef", lease=0.0),), "it took up no work in 30 minutes"),
        (Machine("t-1", SPOT, NOW - IDLE), "Succeeded", (job(1, RUNNING, "t-10-7-abcdef"),), "it took up no work in 30 minutes"),
        (Machine("t-1", SPOT, NOW - IDLE), "Succeeded", (job(1, RUNNING, "t-7-abcdef"),), "it took up no work in 30 minutes"),
    ],
)
def test_which_machine_is_removed(machine: Machine, status: str, jobs: tuple[Job, ...], reason: str) -> None:
    removals = [
        action for action in due(having(*jobs, machines=(machine,)), listed(SPOT, "t-1", status=status)) if isinstance(action, Remove)
    ]
    assert removals == ([Remove(SPOT, "t-1", reason)] if reason else [])


def test_a_helper_with_shards_is_busy_though_it_holds_no_job() -> None:
    current = having(job(1, RUNNING, "desk-7-abcdef"), machines=(Machine("t-1", SPOT, NOW - IDLE),))
    assert due(current, listed(SPOT, "t-1"), shards=1) == []
    assert len(due(current, listed(SPOT, "t-1"), shards=0)) == 1


def test_the_first_sight_of_a_machine_starts_its_idle_time_whenever_it_was_made() -> None:
    old = Listed(SPOT, 1, (ListedMachine("t-1", NOW - 5e5),))
    after = seen(State(), [old], 0, NOW)
    assert after.machines["t-1"] == Machine("t-1", SPOT, NOW, counted_until=NOW)
    assert after.scale_sets[SPOT].machine_seconds == 5e5


def test_the_records_survive_the_state_and_an_older_state_has_none() -> None:
    store = open_store("memory:")
    told = having(machines=(Machine("t-1", SPOT, NOW, 1.0, 2.0, 3.0),), sets=(ScaleSet(SPOT, 2, NOW, True, 5.0, 6.5, "trouble"),))
    state.update(store.labels, lambda before: told)
    assert state.load(store.labels) == told
    older = json.loads(store.labels.read("state.json").content)
    del older["machines"], older["scale_sets"]
    store.labels.replace("state.json", json.dumps(older).encode(), store.labels.read("state.json").etag)
    assert state.load(store.labels) == State()


def test_what_is_shown() -> None:
    assert fleet_shown.shown(State(), NOW) is None
    machines = (Machine("t-1", SPOT, NOW - 90), Machine("t-2", SPOT, NOW - 60))
    sets = (ScaleSet(SPOT, 3, NOW, machine_seconds=5400.0, trouble="spot is in trouble"), ScaleSet(REGULAR))
    found = fleet_shown.shown(having(job(1, RUNNING, "t-1-7-abcdef"), machines=machines, sets=sets), NOW)
    assert found is not None
    assert [(m.machine, m.scale_set, m.minutes, m.job) for m in found.machines] == [("t-1", "spot", 1.5, "j1"), ("t-2", "spot", 1.0, "")]
    assert (found.on_their_way, found.hours, found.trouble) == (1, (("spot", 1.5),), "spot is in trouble")
    assert str(found) == "2 in the cloud, 1 on their way; ran so far 1.5 h of spot"


@dataclass
class Azure:
    """What happens to scale sets in any history: machines come or not, late or never, and go; capacity follows or does not."""

    capacity: dict[str, int] = field(default_factory=lambda: {SPOT: 0, REGULAR: 0})
    machines: dict[str, str] = field(default_factory=dict)
    made: int = 0

    def come(self, scale_set: str) -> None:
        if sum(place == scale_set for place in self.machines.values()) < self.capacity[scale_set]:
            self.made += 1
            self.machines[f"t-{self.made}"] = scale_set

    def go(self, number: int, keeps_capacity: bool) -> None:
        if self.machines:
            name = sorted(self.machines)[number % len(self.machines)]
            place = self.machines.pop(name)
            self.capacity[place] -= 0 if keeps_capacity else 1

    def shown(self) -> list[Listed]:
        return [
            Listed(one, self.capacity[one], tuple(ListedMachine(name, NOW) for name, place in self.machines.items() if place == one))
            for one in (SPOT, REGULAR)
        ]


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.sampled_from([SPOT, REGULAR])),
        st.tuples(st.just("go"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("jobs"), st.integers(0, 4)),
        st.tuples(st.just("hold"), st.integers(0, 5), st.sampled_from(["t-1", "t-2", "t-3", "desk"])),
        st.tuples(st.just("shards"), st.integers(0, 20)),
        st.tuples(st.just("later"), st.sampled_from([60.0, 300.0, 1900.0])),
        st.tuples(st.just("tick"), st.sampled_from(["heard", "refused", "lost", "unheard", "withdrawal fails"])),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(events=EVENTS, most=st.integers(0, 4))
def test_in_any_history_there_are_never_more_than_the_most_and_no_machine_at_work_is_removed(events: list, most: int) -> None:
    azure, current, now, shards = Azure(), State(), NOW, 0
    for event in events:
        match event:
            case ("come", scale_set):
                azure.come(scale_set)
            case ("go", number, keeps_capacity):
                azure.go(number, keeps_capacity)
            case ("jobs", count):
                current = replace(current, jobs={f"j{n}": job(n) for n in range(count)})
            case ("hold", number, machine) if f"j{number}" in current.jobs:
                held = replace(current.jobs[f"j{number}"], status=RUNNING, owner=f"{machine}-7-abcdef", lease_until=now + 90)
                current = current.with_job(held)
            case ("shards", count):
                shards = count
            case ("later", seconds):
                now += seconds
            case ("tick", answer):
                current = _tick(azure, current, shards, most, now, answer)
        assert len(azure.machines) <= most
        assert sum(azure.capacity.values()) <= most


def _tick(azure: Azure, current: State, shards: int, most: int, now: float, answer: str) -> State:
    shown = azure.shown()
    current = seen(current, shown, shards, now)
    actions = decide(current, shown, shards, Trainers(most), now)
    current = reduce(lambda before, action: fleet.applied(before, action, now), actions, current)
    again = seen(current, shown, shards, now)
    assert again == current and decide(again, shown, shards, Trainers(most), now) == [], "the same once more asks for nothing"
    holding = fleet.held_by(current.jobs.values(), now)
    for action in actions:
        match action:
            case Remove(_, name):
                assert name not in holding
                azure.machines.pop(name)
            case Withdraw(scale_set):
                assert scale_set not in azure.machines.values()
                azure.capacity[scale_set] = azure.capacity[scale_set] if answer == "withdrawal fails" else 0
            case Raise(scale_set, capacity):
                assert capacity >= azure.capacity[scale_set]
                current = _raised(azure, current, action, now, answer)
    return current


def _raised(azure: Azure, current: State, action: Raise, now: float, answer: str) -> State:
    if answer == "refused":
        return fleet.refused(current, action, "none to give", now)
    if answer != "unheard":
        azure.capacity[action.scale_set] = action.capacity
    return current if answer in ("lost", "unheard") else fleet.accepted(current, action)


@given(jobs=st.integers(1, 5), most=st.integers(1, 4))
def test_what_is_due_is_done_in_the_end(jobs: int, most: int) -> None:
    """With spot never giving a machine, the regular set does all of it."""
    azure, now = Azure(), NOW
    current = having(*(job(number) for number in range(jobs)))
    for _ in range(15):
        current = _tick(azure, current, 0, most, now, "heard")
        for _ in range(most):
            azure.come(REGULAR)
        now += 60
    assert len(azure.machines) == min(jobs, most) and azure.capacity[SPOT] == 0
