"""What `state.json` holds of the machines in the cloud; `fleet` decides on it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of ours, as Azure showed it last. It is only known as long as Azure shows it."""

    name: str
    scale_set: str
    first_seen: float
    last_busy: float = 0.0
    """When it last held a job, or might have helped with one."""
    counted_until: float = 0.0
    """Its time up to here is in `ScaleSet.machine_seconds`."""
    removed_at: float = 0.0
    """When Azure was last told to delete it; 0: never."""


@dataclass(frozen=True, slots=True)
class ScaleSet:
    """What a scale set was asked for and has not given yet, and what its machines have cost."""

    id: str
    asked: int = 0
    """The capacity it was asked for; 0: everything has come, or has been given up."""
    asked_at: float = 0.0
    accepted: bool = False
    """Azure has heard of what is asked."""
    refused_at: float = 0.0
    """When it last had no machine to give; 0: it has kept its word since."""
    machine_seconds: float = 0.0
    trouble: str = ""
    """What is wrong with it, in one sentence."""
