"""A trainer on a machine of Azure's: it drains and removes itself, and keeps its work when the machine is taken away."""

import signal
import threading
from collections.abc import Iterator

import pytest
import torch

from activelearning import fleet, jobs, layout, machines, state, steps
from activelearning.errors import UserError
from activelearning.store import Store, open_store
from tests.clock import Clock
from tests.fleet import arm, imds
from tests.fleet.imds import NAME, RESOURCE, Service
from tests.trainer import loops, scenes
from tests.trainer.loops import World, hand_in
from trainer import checkpoint, cli, detectors, machine, training
from trainer.checkpoint import Checkpoint
from trainer.machine import Machine, Notice, Watch
from trainer.recipe import Plan
from trainer.serve import Trainer, job_of, owner_on
from trainer.weights import Weights


@pytest.fixture
def service() -> Iterator[Service]:
    with imds.playing() as found:
        yield found


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> arm.Arm:
    found = arm.Arm(vms=[arm.Vm(NAME, arm.SPOT, "Succeeded")])
    monkeypatch.setattr(machines, "connect", found.connect)
    # Nobody plays the notice of a deletion here unless a test does.
    monkeypatch.setattr(machine, "_DELETION_SECONDS", 0.0)
    return found


@pytest.fixture
def commands() -> Iterator[None]:
    """A command sets what its process does about signals; the tests' process is not its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def a_world(name: str = "memory:") -> World:
    clock = Clock()
    store = open_store(name, clock)
    loops.make(store, clock, images=6)
    found = World(store, clock)
    found.settle()
    return found


def with_a_job(world: World) -> None:
    hand_in(world.store, "b1", range(4))
    world.clock.later(steps.SWEEP_SECONDS)
    steps.tick(world.store, world.clock())


def the_job(store: Store) -> state.Job:
    (job,) = (job for job in state.load(store.labels).jobs.values() if job.kind == state.TRAIN)
    return job


def test_a_machine_knows_its_name_and_id(service: Service) -> None:
    assert service.metadata.machine() == Machine(NAME, RESOURCE)


@pytest.mark.parametrize("instance", [{}, [], {"name": "x"}, "text", None])
def test_what_is_no_machine_of_azures_is_one_sentence(service: Service, instance: object) -> None:
    service.instance = instance
    with pytest.raises(UserError, match=r"no machine of Azure's.*leave --remove-machine out"):
        service.metadata.machine()
    service.broken = True
    with pytest.raises(UserError, match=r"\(HTTPError\): leave"):
        service.metadata.machine()


def test_the_metadata_service_is_asked_without_a_proxy(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert service.metadata.machine().name == NAME


@pytest.mark.parametrize("kind", ["Preempt", "Terminate", "Reboot", "Redeploy"])
def test_a_notice_is_for_this_machine_alone(service: Service, kind: str) -> None:
    here = Machine(NAME, RESOURCE)
    assert service.metadata.notice(here) is None
    service.announce(kind, "trainer-spot_0002", event_id="E-other")
    service.announce("Freeze", NAME, event_id="E-freeze")
    assert service.metadata.notice(here) is None
    service.announce(kind, "trainer-spot_0002", NAME.upper())
    assert service.metadata.notice(here) == Notice("E-1", kind)


def test_a_service_that_is_out_of_order_does_not_end_the_watch(service: Service) -> None:
    stop, told = threading.Event(), []
    service.events.append({"nonsense": 1})
    with Watch(service.metadata, Machine(NAME, RESOURCE), stop, told.append, pause=0.01):
        for _ in range(3):
            service.asked.acquire()
        service.broken = True
        assert not stop.wait(0.1)
        service.events.clear()
        service.announce("Preempt", NAME)
        service.broken = False
        assert stop.wait(30)
        assert service.started == [], "Azure is not told to go ahead while the trainer still works"
    assert (service.started, told) == (["E-1"], ["Azure takes this machine away (Preempt): the trainer stops"])


def test_leaving_without_a_notice_acknowledges_nothing(service: Service) -> None:
    stop = threading.Event()
    with Watch(service.metadata, Machine(NAME, RESOURCE), stop, print, pause=0.01):
        service.asked.acquire()
    assert service.started == [] and not stop.is_set()


def test_an_idle_trainer_drains_and_removes_its_machine(service: Service, azure: arm.Arm) -> None:
    clock = Clock()
    world = World(open_store("memory:", clock), clock)
    loops.make(world.store, clock, images=2)
    steps.tick(world.store, clock.later(steps.SWEEP_SECONDS))
    steps.tick(world.store, clock.later(loops.SETTINGS.policy.quiet_seconds))
    trainer = world.trainer(world.store)
    machine.serve(trainer, 0.05, service.metadata)
    assert [job.status for job in state.load(world.store.labels).jobs.values()] == [state.DONE]
    assert fleet.host_of(trainer.owner) == NAME.lower()
    assert azure.asked == [("delete", NAME, None)]


def test_the_notice_of_its_own_deletion_is_acknowledged(service: Service, azure: arm.Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_DELETION_SECONDS", 60.0)
    azure.before = lambda method, path: service.announce("Terminate", NAME) if method == "DELETE" else None
    world = a_world()
    machine.serve(world.trainer(world.store), 0.05, service.metadata)
    assert service.started == ["E-1"]


def test_a_trainer_that_is_told_to_stop_leaves_its_machine_alone(service: Service, azure: arm.Arm) -> None:
    world = a_world()
    trainer = world.trainer(world.store)
    trainer.stop.set()
    machine.serve(trainer, 0.0, service.metadata)
    assert azure.asked == []


def test_a_message_that_comes_between_idle_and_deleted_waits_for_the_next_trainer(service: Service, azure: arm.Arm) -> None:
    world = a_world()

    def meanwhile(method: str, path: str) -> None:
        if method == "DELETE":
            with_a_job(world)

    azure.before = meanwhile
    machine.serve(world.trainer(world.store), 0.05, service.metadata)
    assert azure.asked == [("delete", NAME, None)]
    (message,) = world.store.queues.receive(layout.JOBS_QUEUE, 60, 32)
    assert job_of(message.body) == the_job(world.store).id and the_job(world.store).status == state.QUEUED


def test_a_machine_that_may_not_remove_itself_says_so_and_is_left_to_the_reaper(service: Service, azure: arm.Arm) -> None:
    azure.refuse("DELETE", NAME, arm.error(403, "AuthorizationFailed"))
    world = a_world()
    with pytest.raises(UserError, match=f"may not be asked to delete the machine {NAME}"):
        machine.serve(world.trainer(world.store), 0.05, service.metadata)


def weights(store: Store) -> Weights:
    return Weights.from_bytes(store.labels.read(layout.model(the_job(store).run, "weights.pt")).content)


def test_an_evicted_trainer_keeps_the_iteration_it_is_at_and_the_next_ends_where_it_would_have(service: Service, azure: arm.Arm) -> None:
    whole, world = a_world(), a_world()
    for one in (whole, world):
        with_a_job(one)
    whole.trainer(whole.store).drain()
    trainer = world.trainer(world.store)

    def evict(line: str) -> None:
        world.told.append(line)
        if "training on" in line:
            service.announce("Preempt", NAME)
            # The notice is a second away; training must not be over before.
            assert trainer.stop.wait(30)

    trainer.log = evict
    machine.serve(trainer, 60.0, service.metadata)
    job = the_job(world.store)
    assert (job.status, job.owner, job.attempts) == (state.QUEUED, "", 0)
    assert (service.started, azure.asked) == (["E-1"], [])
    kept = checkpoint.read(world.store.labels.read(layout.model(job.run, "checkpoint.pt")).content)
    assert kept
    assert kept.iteration == 1, "a checkpoint is due every four iterations only"
    world.trainer(world.store).drain()
    assert any("going on from the checkpoint at iteration 1" in line for line in world.told)
    assert all(torch.equal(one, weights(whole.store).state[name]) for name, one in weights(world.store).state.items())


CONFIG = scenes.CONFIG


@pytest.mark.parametrize("at", [1, 3, 5, 6])
def test_stopped_at_any_iteration_and_resumed_is_never_stopped(at: int) -> None:
    def train(**options: object) -> torch.nn.Module:
        model = detectors.build("compact", 2, seed=0)
        return training.train(model, scenes.scenes(), CONFIG, Plan(6, 2e-3), **options)  # type: ignore[arg-type]

    saved: list[bytes] = []

    def stop(progress: training.Progress) -> None:
        if progress.iteration == at:
            raise jobs.Stopped("told to stop")

    with pytest.raises(jobs.Stopped):
        train(on_progress=stop, on_checkpoint=lambda checkpoint: saved.append(checkpoint.to_bytes()))
    last = checkpoint.read(saved[-1])
    assert last.iteration == at
    whole, resumed = train().state_dict(), train(checkpoint=last).state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_trainer_that_lost_its_lease_keeps_nothing() -> None:
    def lose(progress: training.Progress) -> None:
        raise jobs.LeaseLost("it is with another")

    saved: list[Checkpoint] = []
    with pytest.raises(jobs.LeaseLost):
        model = detectors.build("compact", 2, seed=0)
        training.train(model, scenes.scenes(), CONFIG, Plan(2, 2e-3), on_checkpoint=saved.append, on_progress=lose)
    assert saved == []


def test_an_owner_names_its_machine_and_no_two_are_alike() -> None:
    first, second = owner_on("t-1"), owner_on("t-1")
    assert first != second and fleet.host_of(first) == fleet.host_of(second) == "t-1"
    assert fleet.host_of(Trainer(open_store("memory:"), print).owner)


@pytest.mark.usefixtures("commands")
def test_the_command_ends_when_idle_and_removes_its_machine(
    service: Service, azure: arm.Arm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "IMDS", service.metadata.base)
    a_world("memory:on-a-machine")
    assert cli.main(["serve", "memory:on-a-machine", "--idle-minutes", "0.001"]) == 0
    assert azure.asked == []
    assert cli.main(["serve", "memory:on-a-machine", "--idle-minutes", "0.001", "--remove-machine"]) == 0
    assert azure.asked == [("delete", NAME, None)]
    assert f"machine {NAME} has nothing to do and removes itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--remove-machine"], "--remove-machine needs to know when: say --idle-minutes 10 too"),
        (["--idle-minutes", "0"], "--idle-minutes is 0, but must be above 0"),
        (["--idle-minutes", "nan"], "--idle-minutes is nan, but must be above 0"),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(options: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "memory:", *options]) == 1
    assert capsys.readouterr().err == f"error: {says}\n"
