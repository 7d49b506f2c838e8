"""From the timer to Azure and back, through the real client of azure-mgmt-compute and a played Resource Manager."""

import subprocess
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from activelearning import fleet_shown, jobs, journal, layout, machines, state, steps
from activelearning.errors import UserError
from activelearning.settings import Trainers
from activelearning.store import Store, open_store
from tests.clock import Clock
from tests.core import loops
from tests.fleet import arm
from tests.fleet.arm import REGULAR, SPOT, Arm

MINUTE = 60.0


@dataclass(slots=True)
class World:
    """A project, its clock and its Azure."""

    store: Store
    clock: Clock
    arm: Arm = field(default_factory=Arm)

    def tick(self, minutes: float = 1.0) -> None:
        """Let time pass in minutes, with the timer at each."""
        for _ in range(int(minutes)):
            self.clock.later(MINUTE)
            steps.tick(self.store, self.clock())

    def queue_a_job(self, batch: str = "b1") -> None:
        """A reviewed upload that the sweep will find, and the job that comes of it."""
        loops.hand_in(self.store, batch, [f"{batch}.jpg"])
        self.clock.later(steps.SWEEP_SECONDS)
        steps.tick(self.store, self.clock())

    def hold_the_job(self, owner: str) -> str:
        """A trainer takes the job that waits."""
        job = next(job for job in self.jobs() if job.status == state.QUEUED)
        jobs.start(self.store, job.id, owner, self.clock())
        return job.id

    def jobs(self) -> list[state.Job]:
        return list(state.load(self.store.labels).jobs.values())

    def capacities(self) -> list[tuple[str, int]]:
        return [(name.rpartition("-")[2], count) for what, name, count in self.arm.asked if what == "capacity"]

    def deleted(self) -> list[str]:
        return [name for what, name, _ in self.arm.asked if what == "delete"]

    def trouble(self) -> str:
        shown = fleet_shown.shown(state.load(self.store.labels), self.clock())
        return shown.trouble if shown else ""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    clock = Clock(1_795_000_000.0)
    settings = replace(loops.SETTINGS, trainers=Trainers(most=1))
    found = World(loops.make_project(open_store("memory:", clock), settings), clock)
    monkeypatch.setenv(machines.SCALE_SETS_VARIABLE, f"{SPOT}, {REGULAR}")
    # Where a client comes from is the only thing that is different here: no sign-in, and a transport that goes nowhere.
    monkeypatch.setattr(machines, "connect", found.arm.connect)
    return found


def test_without_work_nothing_is_asked_and_nothing_is_written(world: World) -> None:
    world.tick()
    before = world.store.labels.read(layout.STATE).etag
    world.tick(3)
    assert (world.arm.asked, world.store.labels.read(layout.STATE).etag) == ([], before)


def test_a_job_asks_for_one_machine_once(world: World) -> None:
    world.queue_a_job()
    world.tick(5)
    assert world.capacities() == [("spot", 1)]
    world.arm.deliver(SPOT)
    world.tick(5)
    assert world.capacities() == [("spot", 1)]


def test_no_operation_is_waited_for(world: World) -> None:
    world.queue_a_job()
    assert not any("/operations/" in path for _, path in world.arm.heard)


def test_an_upload_asks_for_a_machine_at_once(world: World) -> None:
    name = loops.hand_in(world.store, "b1", ["1.jpg"])
    (event,) = loops.bodies(world.store, layout.REVIEWED_QUEUE)
    steps.take_in_upload(world.store, event, world.clock())
    assert name in event and world.capacities() == [("spot", 1)]
    steps.take_in_upload(world.store, event, world.clock())
    assert world.capacities() == [("spot", 1)]


def test_an_upload_removes_no_machine(world: World) -> None:
    world.arm.vms.append(arm.Vm("broken", SPOT, "Failed"))
    loops.hand_in(world.store, "b1", ["1.jpg"])
    (event,) = loops.bodies(world.store, layout.REVIEWED_QUEUE)
    steps.take_in_upload(world.store, event, world.clock())
    assert world.deleted() == []
    world.tick()
    assert world.deleted() == ["broken"]


def test_a_tick_in_the_middle_of_another_asks_for_nothing_more(world: World) -> None:
    nested = [True]

    def rival(method: str, path: str) -> None:
        if method == "PATCH" and nested:
            nested.clear()
            steps.tick(world.store, world.clock())

    world.arm.before = rival
    world.queue_a_job()
    assert not nested and world.capacities() == [("spot", 1)]


def test_a_tick_that_dies_before_azure_hears_it_is_made_good_two_minutes_later(world: World) -> None:
    def die(method: str, path: str) -> None:
        if method == "PATCH":
            raise KeyboardInterrupt

    world.arm.before = die
    with pytest.raises(KeyboardInterrupt):
        world.queue_a_job()
    world.arm.before = lambda method, path: None
    world.tick()
    assert world.capacities() == []
    world.tick()
    assert world.capacities() == [("spot", 1)]


@pytest.mark.parametrize("keeps_capacity", [False, True])
def test_when_spot_gives_none_it_is_withdrawn_before_the_regular_set_is_asked(world: World, keeps_capacity: bool) -> None:
    world.queue_a_job()
    if not keeps_capacity:
        # Azure gave up by itself.
        world.arm.capacity[SPOT] = 0
    world.tick(9)
    assert world.capacities() == [("spot", 1)] and world.trouble() == ""
    world.tick(2)
    withdrawn = [("spot", 0)] if keeps_capacity else []
    assert world.capacities() == [("spot", 1), *withdrawn, ("regular", 1)]
    assert world.trouble() == "trainer-spot gave no machine in 10 minutes: Azure may have none of this size to spare"
    world.arm.deliver(REGULAR)
    world.tick(30)
    assert world.arm.capacity == {SPOT: 0, REGULAR: 1}


@pytest.mark.parametrize("code", ["AllocationFailed", "SkuNotAvailable", "OperationNotAllowed"])
def test_when_azure_refuses_at_once_the_next_set_is_asked_a_minute_later(world: World, code: str) -> None:
    world.arm.refuse("PATCH", "trainer-spot", arm.error(409, code))
    world.queue_a_job()
    assert world.capacities() == []
    assert f"would not start machines (1 in all) in the scale set trainer-spot (409 {code})" in world.trouble()
    world.tick()
    assert world.capacities() == [("regular", 1)]


def test_when_the_machine_that_comes_is_broken_it_is_removed_and_the_next_set_is_asked(world: World) -> None:
    world.queue_a_job()
    (name,) = world.arm.deliver(SPOT)
    world.arm.vms[0].state = "Failed"
    world.tick()
    assert world.deleted() == [name]
    assert world.trouble() == f"trainer-spot gave a machine that never worked, {name}: Azure could not set it up"
    world.arm.finish_deletions()
    world.tick()
    assert world.capacities() == [("spot", 1), ("regular", 1)]


def test_refused_by_all_the_preferred_set_is_asked_again_after_ten_minutes(world: World) -> None:
    for name in ("trainer-spot", "trainer-regular"):
        world.arm.refuse("PATCH", name, arm.error(409, "AllocationFailed"))
    world.queue_a_job()
    world.tick(9)
    assert world.capacities() == []
    world.tick()
    assert world.capacities() == [("spot", 1)]


@pytest.mark.parametrize(
    ("method", "answer", "says"),
    [
        ("GET", arm.error(429, "TooManyRequests", **{"Retry-After": "300"}), "too busy to show the scale set trainer-spot (429 TooMany"),
        ("GET", arm.error(403, "AuthorizationFailed"), "(403 AuthorizationFailed): give the identity the role"),
        ("GET", arm.error(404, "ResourceNotFound"), "is ACTIVELEARNING_SCALE_SETS right?"),
        ("GET", arm.error(401, "InvalidAuthenticationToken"), "is AZURE_CLIENT_ID that of an identity"),
        ("GET", requests.ConnectionError("SECRET address"), "did not answer when asked to show the scale set trainer-spot"),
        ("PATCH", arm.error(429, "TooManyRequests", **{"Retry-After": "300"}), "too busy to start machines (1 in all)"),
        ("PATCH", arm.error(500, "InternalError"), "too busy to start machines (1 in all)"),
        ("PATCH", arm.error(403, "AuthorizationFailed"), "may not be asked to start machines (1 in all)"),
        ("PATCH", requests.ConnectionError("SECRET address"), "did not answer when asked to start machines"),
        ("PATCH", requests.ReadTimeout("SECRET address"), "did not answer when asked to start machines"),
    ],
    ids=lambda value: str(getattr(value, "status", value))[:20],
)
def test_a_failure_of_azure_is_told_once_and_the_tick_goes_on(world: World, method: str, answer: arm.Answer, says: str) -> None:
    world.arm.refuse(method, "trainer-spot", answer, 3 if method == "GET" else 1)
    world.queue_a_job()
    assert [job.status for job in world.jobs()] == [state.QUEUED]
    assert says in world.trouble()
    world.tick(2)
    told = [entry for entry in journal.read(world.store.labels) if entry["what"] == "machines in trouble"]
    assert [entry["scale_set"] for entry in told] == ["trainer-spot"] and says in told[0]["reason"]
    everything = str([world.store.labels.read(info.name).content for info in world.store.labels.list()])
    assert "SECRET" not in everything and "token" not in everything
    world.tick(4)
    assert sum(world.arm.capacity.values()) == 1
    assert (world.trouble() == "") or "403" in world.trouble()


def test_who_cannot_see_one_set_asks_none(world: World) -> None:
    world.arm.refuse("GET", "trainer-regular", arm.error(403, "AuthorizationFailed"), 20)
    world.queue_a_job()
    world.tick(3)
    assert world.capacities() == [] and "trainer-regular" in world.trouble()


def test_an_ask_whose_answer_was_lost_still_counts(world: World) -> None:
    def lose_answer(method: str, path: str) -> None:
        if method == "PATCH":
            world.arm.capacity[SPOT] = 1
            world.arm.before = lambda method, path: None
            raise requests.ConnectionError("lost")

    world.arm.before = lose_answer
    world.queue_a_job()
    world.arm.deliver(SPOT)
    world.tick(30)
    assert world.capacities() == [] and world.arm.capacity == {SPOT: 1, REGULAR: 0}


def test_shards_that_wait_ask_for_helpers_up_to_the_most(world: World) -> None:
    project = world.store.labels.read(layout.PROJECT)
    settings = replace(loops.SETTINGS, trainers=Trainers(most=3))
    world.store.labels.replace(layout.PROJECT, steps.project_file.render_project(settings).encode(), project.etag)
    world.queue_a_job()
    (first,) = world.arm.deliver(SPOT)
    world.tick()
    job = world.hold_the_job(f"{first}-12-abcdef")
    for number in range(40):
        world.store.queues.send(layout.SHARDS_QUEUE, f"{number}")
    for _ in range(40):
        state.update(world.store.labels, lambda before: before.with_job(replace(before.jobs[job], lease_until=world.clock() + 90)))
        world.tick()
        world.arm.deliver(SPOT)
    assert world.capacities() == [("spot", 1), ("spot", 3)]
    # They help for longer than the reaper would wait.
    assert world.deleted() == []


def test_a_machine_that_does_nothing_is_removed_once_and_a_busy_one_never(world: World) -> None:
    world.queue_a_job()
    (name,) = world.arm.deliver(SPOT)
    world.tick()
    job = world.hold_the_job(f"{name}-12-abcdef")
    for _ in range(60):
        state.update(world.store.labels, lambda before: before.with_job(replace(before.jobs[job], lease_until=world.clock() + 90)))
        world.tick()
    assert world.deleted() == []
    jobs.fail(world.store, job, "no disk", world.clock())
    world.tick(29)
    assert world.deleted() == []
    world.tick(3)
    assert world.deleted() == [name]
    world.arm.finish_deletions()
    world.tick(15)
    assert world.deleted() == [name] and world.arm.vms == []
    (entry,) = (entry for entry in journal.read(world.store.labels) if entry["what"] == "machine removed")
    assert (entry["machine"], entry["scale_set"], entry["reason"]) == (name, "trainer-spot", "it did nothing for 30 minutes")


def test_a_machine_that_could_not_be_removed_is_tried_again_and_one_that_is_gone_is_no_trouble(world: World) -> None:
    world.arm.vms.append(arm.Vm("broken", SPOT, "Failed"))
    world.arm.refuse("DELETE", "broken", arm.error(403, "AuthorizationFailed"))
    world.arm.refuse("DELETE", "broken", arm.error(404, "ResourceNotFound"))
    world.tick()
    assert "may not be asked to delete the machine broken (403" in world.trouble()
    world.tick(10)
    assert "delete" not in world.trouble() and world.arm.heard.count(("DELETE", f"{arm.GROUP}/virtualMachines/broken")) == 2


def test_all_pages_of_machines_are_seen(world: World) -> None:
    world.arm.vms += [arm.Vm(f"vm{number}", SPOT, "Succeeded") for number in range(5)]
    world.tick()
    assert sorted(state.load(world.store.labels).machines) == [f"vm{number}" for number in range(5)]


def test_what_machines_cost_is_counted_by_scale_set(world: World) -> None:
    start = world.clock()
    made = datetime.fromtimestamp(start - 90, UTC).isoformat()
    world.arm.vms += [
        arm.Vm("s1", SPOT, "Succeeded", made),
        arm.Vm("s2", SPOT, "Succeeded", made),
        arm.Vm("r1", REGULAR, "Succeeded", made),
    ]
    world.tick(6)
    world.arm.vms.clear()
    world.tick(60)
    sets = state.load(world.store.labels).scale_sets
    lived = 90 + 6 * MINUTE
    assert sets[SPOT].machine_seconds == pytest.approx(2 * lived, abs=0.2)
    assert sets[REGULAR].machine_seconds == pytest.approx(lived, abs=0.2)


def test_a_message_that_comes_while_an_idle_machine_removes_itself_gets_another_machine(world: World) -> None:
    world.queue_a_job()
    (first,) = world.arm.deliver(SPOT)
    world.tick()
    loops.work(world.store, world.clock, f"{first}-12-abcdef")
    # It has drained, and asks Azure to delete it; before it is gone, the next upload comes.
    machines.remove(f"{arm.GROUP}/virtualMachines/{first}")
    world.queue_a_job("b2")
    assert world.capacities() == [("spot", 1)], "the machine that goes still counts, so there are never two"
    world.arm.finish_deletions()
    world.tick()
    assert world.capacities() == [("spot", 1), ("spot", 1)]
    (second,) = world.arm.deliver(SPOT)
    assert loops.work(world.store, world.clock, f"{second}-12-abcdef")
    assert len(loops.trained_in(world.store)) == 2


def test_a_job_whose_machine_vanished_is_not_lost(world: World) -> None:
    world.queue_a_job()
    (first,) = world.arm.deliver(SPOT)
    world.tick()
    killed = loops.turn(world.store, world.clock, f"{first}-12-abcdef")
    next(killed), next(killed)
    world.arm.vms.clear()
    world.arm.capacity[SPOT] = 0
    world.tick(3)
    assert world.capacities() == [("spot", 1), ("spot", 1)]
    (second,) = world.arm.deliver(SPOT)
    assert loops.work(world.store, world.clock, f"{second}-12-abcdef")
    assert len(loops.trained_in(world.store)) == 1


def test_the_machine_of_a_trainer_elsewhere_is_not_ours_to_call(world: World) -> None:
    loops.hand_in(world.store, "b1", ["1.jpg"])
    steps.sweep(world.store, world.clock())
    steps.advance(world.store, world.clock())
    job = world.hold_the_job("my-desk-12-abcdef")
    for _ in range(5):
        state.update(world.store.labels, lambda before: before.with_job(replace(before.jobs[job], lease_until=world.clock() + 90)))
        world.tick()
    assert world.capacities() == []


@pytest.mark.parametrize(
    "text",
    ["trainer-spot", f"{arm.GROUP}/virtualMachines/vm1", "/subscriptions/x", f"{SPOT}/virtualMachines/1", f"{SPOT},nonsense"],
)
def test_a_scale_set_that_is_none_is_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match=r"ACTIVELEARNING_SCALE_SETS: '.*' is not the resource id of one of the virtualMachineScaleSets"):
        machines.scale_sets({machines.SCALE_SETS_VARIABLE: text})


def test_scale_sets_are_read_in_their_order() -> None:
    assert machines.scale_sets({}) == machines.scale_sets({machines.SCALE_SETS_VARIABLE: " , "}) == ()
    assert machines.scale_sets({machines.SCALE_SETS_VARIABLE: f"{SPOT}/ ,\n{REGULAR},{SPOT}"}) == (SPOT, REGULAR)


def test_removing_what_is_no_machine_or_is_refused_is_one_sentence(world: World) -> None:
    with pytest.raises(UserError, match="one of the virtualMachines in Azure"):
        machines.remove(SPOT)
    world.arm.refuse("DELETE", "vm1", arm.error(403, "AuthorizationFailed"))
    with pytest.raises(UserError, match=r"may not be asked to delete the machine vm1 \(403 AuthorizationFailed\)"):
        machines.remove(f"{arm.GROUP}/virtualMachines/vm1")


def test_without_scale_sets_a_tick_loads_nothing_of_azure(tmp_path: Path) -> None:
    program = (
        "import sys, os; os.environ.pop('ACTIVELEARNING_SCALE_SETS', None)\n"
        "from activelearning import steps, onboarding; from activelearning.store import open_store\n"
        f"store = open_store({str(tmp_path)!r}); onboarding.create_project(store, onboarding.make_settings(('a',), (), None))\n"
        "steps.tick(store, 1e9); print([name for name in sys.modules if name.startswith('azure')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
