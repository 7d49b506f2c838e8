"""How many machines should train, which scale set to ask for them, which to remove: pure, like `decisions`.

Rule: capacity is asked for as an absolute number and noted before Azure hears of it, so of many ticks one asks; what was asked for,
is promised or is there never exceeds `most` over all sets together. It is lowered only to nothing, in a set that has no machine and did
not keep its promise, before another set is asked. A machine with nothing to do removes itself; the reaper takes those that do not, and
never one that holds a job.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from activelearning.machine_records import Machine, ScaleSet
from activelearning.settings import Trainers
from activelearning.state import QUEUED, RUNNING, Job, State

ARRIVE_SECONDS = 600.0
"""A machine that has not shown up so long after it was asked for is not coming; and so long a set that refused is left alone."""
AGAIN_SECONDS = 120.0
"""Azure is asked again for what it did not answer."""
GRACE_SECONDS = 1200.0
"""So much longer than the idle time a machine has to remove itself."""
SHARD_MESSAGES_A_MACHINE = 4
_FAILED = "Failed"
_DELETING = "Deleting"


@dataclass(frozen=True, slots=True)
class ListedMachine:
    """A machine as Azure shows it: `created_at` is 0 where it does not say; `state` is ARM's provisioning state."""

    name: str
    created_at: float = 0.0
    state: str = "Succeeded"


@dataclass(frozen=True, slots=True)
class Listed:
    """A scale set as Azure shows it: the capacity it promises, and what is there."""

    scale_set: str
    capacity: int = 0
    machines: tuple[ListedMachine, ...] = ()


@dataclass(frozen=True, slots=True)
class Raise:
    """Ask a scale set for this capacity."""

    scale_set: str
    capacity: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Set the capacity of a scale set without machines to nothing, so that none comes late."""

    scale_set: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete a machine."""

    scale_set: str
    machine: str
    reason: str


Action = Raise | Withdraw | Remove


def host_of(owner: str) -> str:
    """The machine in a trainer's name `<machine>-<process>-<hex>`; it may itself hold dashes. ARM's names know no case."""
    return owner.rsplit("-", 2)[0].lower()


def held_by(jobs: Iterable[Job], now: float) -> dict[str, str]:
    """The job that a living trainer holds, by machine."""
    return {host_of(job.owner): job.id for job in jobs if job.status == RUNNING and job.lease_until > now}


def need(current: State, shard_messages: int, most: int, now: float) -> int:
    """How many machines of ours have something to do: one a job that no trainer elsewhere holds, and some for shards that wait."""
    ours = {name.lower() for name in current.machines}
    elsewhere = held_by(current.jobs.values(), now).keys() - ours
    active = [job for job in current.jobs.values() if job.status in (QUEUED, RUNNING)]
    jobs = sum(job.status == QUEUED or host_of(job.owner) not in elsewhere for job in active)
    # Messages without a running job are stale: whoever takes them drops them.
    waiting = shard_messages if any(job.status == RUNNING for job in active) else 0
    return min(most, jobs + -(-waiting // SHARD_MESSAGES_A_MACHINE))


def seen(current: State, listed: Sequence[Listed], shard_messages: int, now: float) -> State:
    """The state with what Azure shows taken in: which machines there are and were busy, what has come, what has been given up."""
    holding = held_by(current.jobs.values(), now)
    # A machine that helps with shards holds no job.
    may_help = shard_messages > 0 and any(job.status == RUNNING for job in current.jobs.values())
    machines = {
        machine.name: _machine(current.machines.get(machine.name), one.scale_set, machine, now, may_help or machine.name.lower() in holding)
        for one in listed
        for machine in one.machines
    }
    sets = {one.scale_set: _scale_set(current, one, now) for one in listed}
    # What never did anything needs no record.
    noted = {name: known for name, known in sets.items() if name in current.scale_sets or known != ScaleSet(name)}
    return replace(current, machines=machines, scale_sets={**current.scale_sets, **noted})


def _machine(known: Machine | None, scale_set: str, listed: ListedMachine, now: float, busy: bool) -> Machine:
    machine = known or Machine(listed.name, scale_set, now)
    return replace(machine, last_busy=now if busy else machine.last_busy, counted_until=now)


def _scale_set(current: State, listed: Listed, now: float) -> ScaleSet:
    known = current.scale_sets.get(listed.scale_set, ScaleSet(listed.scale_set))
    names = {machine.name for machine in listed.machines}
    gone = sum(machine.scale_set == known.id and machine.name not in names for machine in current.machines.values())
    seconds = known.machine_seconds + sum(_uncounted(current.machines, machine, now) for machine in listed.machines)
    # A machine that has come and gone again is not on its way any more.
    counted = replace(known, machine_seconds=round(seconds, 1), asked=max(known.asked - gone, 0))
    return _settled(counted, len(names), now)


def _uncounted(machines: Mapping[str, Machine], listed: ListedMachine, now: float) -> float:
    """Seconds that a machine ran since it was last counted, the first time since it was made."""
    known = machines.get(listed.name)
    since = known.counted_until if known else listed.created_at or now
    return max(0.0, now - since)


def _settled(known: ScaleSet, present: int, now: float) -> ScaleSet:
    """What came of the asking: everything is there, it takes too long, or it still may come."""
    if known.asked and present >= known.asked:
        return replace(known, asked=0, refused_at=0.0, trouble="")
    if known.asked and not _within(ARRIVE_SECONDS, known.asked_at, now):
        late = f"{short_name(known.id)} gave no machine in {ARRIVE_SECONDS / 60:.0f} minutes: Azure may have none of this size to spare"
        return replace(known, asked=0, refused_at=now, trouble=late)
    return known if _rests(known, now) else replace(known, trouble="")


def decide(current: State, listed: Sequence[Listed], shard_messages: int, trainers: Trainers, now: float) -> list[Action]:
    """What is due; `current` has taken in `listed`. The first scale set is the one that is asked first."""
    wanted = need(current, shard_messages, trainers.most, now)
    return [*_removals(current, listed, trainers, now), *_asks(current, listed, wanted, trainers.most, now)]


def _removals(current: State, listed: Sequence[Listed], trainers: Trainers, now: float) -> list[Action]:
    holding = held_by(current.jobs.values(), now)
    free = ((one.scale_set, machine) for one in listed for machine in one.machines if machine.name.lower() not in holding)
    judged = ((scale_set, m.name, _straggles(current.machines[m.name], m.state, trainers, now)) for scale_set, m in free)
    return [Remove(scale_set, name, reason) for scale_set, name, reason in judged if reason]


def _straggles(known: Machine, state: str, trainers: Trainers, now: float) -> str:
    """Why a machine should go; empty where it may stay, or is on its way out already."""
    if state == _DELETING or (known.removed_at and _within(ARRIVE_SECONDS, known.removed_at, now)):
        return ""
    if state == _FAILED:
        return "Azure could not set it up"
    idle = now - max(known.first_seen, known.last_busy)
    if idle < trainers.idle_minutes * 60 + GRACE_SECONDS:
        return ""
    return f"it did nothing for {idle / 60:.0f} minutes" if known.last_busy else f"it took up no work in {idle / 60:.0f} minutes"


def _asks(current: State, listed: Sequence[Listed], wanted: int, most: int, now: float) -> list[Action]:
    known = {one.scale_set: current.scale_sets.get(one.scale_set, ScaleSet(one.scale_set)) for one in listed}
    missing = wanted - sum(_supply(one, known[one.scale_set]) for one in listed)
    room = most - sum(_committed(one, known[one.scale_set]) for one in listed)
    broken = [one.scale_set for one in listed if _breaks_its_word(one, known[one.scale_set], missing > 0, now)]
    if broken:
        # Nobody else is asked before Azure shows that these are withdrawn.
        return [Withdraw(name) for name in broken if not _within(AGAIN_SECONDS, known[name].asked_at, now)]
    more = _more(listed, known, missing, room, now) if missing > 0 else []
    is_wanted = room >= 0 and sum(len(one.machines) for one in listed) < wanted
    return more or ([Raise(one.id, one.asked) for one in known.values() if _is_unheard(one, now)] if is_wanted else [])


def _is_unheard(known: ScaleSet, now: float) -> bool:
    return known.asked > 0 and not known.accepted and not _within(AGAIN_SECONDS, known.asked_at, now)


def _supply(listed: Listed, known: ScaleSet) -> int:
    """Machines that are there or on their way."""
    return max(len(listed.machines), known.asked)


def _committed(listed: Listed, known: ScaleSet) -> int:
    """As many as there may come to be without another word from us."""
    return max(_supply(listed, known), listed.capacity)


def _breaks_its_word(listed: Listed, known: ScaleSet, missing: bool, now: float) -> bool:
    """Whether a set promises machines that do not come, which is in the way of asking anybody else."""
    promises = listed.capacity > 0 and not listed.machines and not known.asked
    return promises and (missing or _rests(known, now))


def _more(listed: Sequence[Listed], known: Mapping[str, ScaleSet], missing: int, room: int, now: float) -> list[Action]:
    """What to ask of the first set that has not refused of late and would not promise enough already."""
    for one in listed:
        record = known[one.scale_set]
        capacity = min(_supply(one, record) + missing, _committed(one, record) + room)
        if capacity > _committed(one, record) and not _rests(record, now):
            return [Raise(one.scale_set, capacity)]
    return []


def _rests(known: ScaleSet, now: float) -> bool:
    return known.refused_at > 0 and _within(ARRIVE_SECONDS, known.refused_at, now)


def _within(seconds: float, then: float, now: float) -> bool:
    # A time in the future is one that a wrong clock wrote.
    return 0 <= now - then < seconds


def applied(current: State, action: Action, now: float) -> State:
    """The state in which Azure is about to be asked for this."""
    known = current.scale_sets.get(action.scale_set, ScaleSet(action.scale_set))
    match action:
        case Raise(_, capacity):
            return current.with_scale_set(replace(known, asked=capacity, asked_at=now, accepted=False))
        case Withdraw():
            return current.with_scale_set(replace(known, asked=0, asked_at=now))
        case Remove(_, name, reason):
            machine = current.machines[name]
            after = replace(current, machines={**current.machines, name: replace(machine, removed_at=now)})
            if machine.last_busy:
                return after
            # The next one of this set would be no better, so another set is asked first.
            trouble = f"{short_name(action.scale_set)} gave a machine that never worked, {name}: {reason}"
            return after.with_scale_set(replace(known, refused_at=now, trouble=trouble))


def accepted(current: State, action: Action) -> State:
    """The state in which Azure has heard of what was asked."""
    known = current.scale_sets.get(action.scale_set)
    if not isinstance(action, Raise) or known is None or known.asked != action.capacity:
        return current
    return current.with_scale_set(replace(known, accepted=True))


def refused(current: State, action: Action, trouble: str, now: float) -> State:
    """The state in which Azure has said no: the set is left alone for a while, and another is asked for machines."""
    known = current.scale_sets.get(action.scale_set, ScaleSet(action.scale_set))
    if isinstance(action, Raise) and known.asked == action.capacity:
        known = replace(known, asked=0, refused_at=now)
    return current.with_scale_set(replace(known, trouble=trouble))


def troubled(current: State, scale_set: str, trouble: str) -> State:
    """The state in which something is wrong with a scale set; what it was asked for still counts, since Azure may have heard it."""
    known = current.scale_sets.get(scale_set, ScaleSet(scale_set))
    return current.with_scale_set(replace(known, trouble=trouble))


def short_name(scale_set: str) -> str:
    """The last part of an ARM id, which people know it by."""
    return scale_set.rpartition("/")[2]
