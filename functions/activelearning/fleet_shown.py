"""What `activelearning status` says of the machines in the cloud: which there are, what they cost in hours, what is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass

from activelearning.fleet import held_by, short_name
from activelearning.machine_records import Machine
from activelearning.state import State


@dataclass(frozen=True, slots=True)
class MachineShown:
    """A machine: since when we know it, and the job it holds, if any."""

    machine: str
    scale_set: str
    minutes: float
    job: str


@dataclass(frozen=True, slots=True)
class FleetShown:
    """The machines in the cloud at one moment. `hours` is what they ran so far, by scale set; `trouble` is empty when all is well."""

    machines: tuple[MachineShown, ...]
    on_their_way: int
    hours: tuple[tuple[str, float], ...]
    trouble: str

    def __str__(self) -> str:
        way = f", {self.on_their_way} on their way" if self.on_their_way else ""
        hours = "; ran so far " + ", ".join(f"{value:.1f} h of {name}" for name, value in self.hours) if self.hours else ""
        return f"{len(self.machines)} in the cloud{way}{hours}"


def shown(current: State, now: float) -> FleetShown | None:
    """What there is to say of machines; None where there never was one."""
    if not current.machines and not current.scale_sets:
        return None
    holding = held_by(current.jobs.values(), now)
    sets = current.scale_sets.values()
    return FleetShown(
        tuple(_shown(machine, holding, now) for machine in current.machines.values()),
        sum(max(one.asked - sum(m.scale_set == one.id for m in current.machines.values()), 0) for one in sets),
        tuple((short_name(one.id), round(one.machine_seconds / 3600, 2)) for one in sets if one.machine_seconds),
        "; ".join(one.trouble for one in sets if one.trouble),
    )


def _shown(machine: Machine, holding: Mapping[str, str], now: float) -> MachineShown:
    minutes = round(max(0.0, now - machine.first_seen) / 60, 1)
    return MachineShown(machine.name, short_name(machine.scale_set), minutes, holding.get(machine.name.lower(), ""))
