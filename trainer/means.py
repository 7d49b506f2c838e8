"""What a trainer trains with: so many of its machine's devices, or somebody else's program.

Rule: this is the machine's matter, told by flags and the environment. Nothing of it ever comes from the store, where many may write.
"""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from activelearning.errors import UserError

COMMAND_VARIABLE = "TRAINER_COMMAND"


@dataclass(frozen=True, slots=True)
class Means:
    """`devices` to train on, 0 for every GPU; `program`: the command that trains in our place (`trainer.custom`), empty for none; `ray`:
    the address of a Ray cluster that predicts large pools, empty for none."""

    devices: int = 1
    program: tuple[str, ...] = ()
    ray: str = ""

    def __post_init__(self) -> None:
        if self.devices < 0:
            raise UserError(f"--devices is {self.devices}, but must be 0 for all GPUs, or the number of devices to train on")


def means(devices: int | None, command: str, function: str, environment: Mapping[str, str]) -> Means:
    """What flags and environment say; flags come first. Under torchrun there is a device for each of its processes.

    Raises `UserError` when they contradict each other, name no program, or torchrun spans several machines.
    """
    if command and function:
        raise UserError("--train-command and --train-callable both say who trains: leave one out")
    if devices is None:
        devices = _torchrun(environment)
    if function:
        return Means(devices, _calling(function))
    return Means(devices, _words(command or environment.get(COMMAND_VARIABLE, "")))


def is_helper(environment: Mapping[str, str]) -> bool:
    """Whether torchrun started this process beside the first one, which starts its own training processes and needs no other."""
    return "TORCHELASTIC_RUN_ID" in environment and environment.get("RANK", "0") != "0"


def _torchrun(environment: Mapping[str, str]) -> int:
    if "TORCHELASTIC_RUN_ID" not in environment:
        return 1
    here, everywhere = environment.get("LOCAL_WORLD_SIZE", "1"), environment.get("WORLD_SIZE", "1")
    if here != everywhere:
        raise UserError("torchrun spans several machines, but one training runs on the devices of one: leave out --nnodes")
    return int(here)


def _calling(function: str) -> tuple[str, ...]:
    module, colon, name = function.partition(":")
    if not (colon and name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise UserError(f"--train-callable is '{function}', but must read module:function")
    return (sys.executable, "-m", "trainer.call_function", function)


def _words(command: str) -> tuple[str, ...]:
    try:
        # a backslash of Windows is part of a path, not an escape
        words = tuple(shlex.split(command, posix=sys.platform != "win32"))
    except ValueError as error:
        raise UserError(f"the training command cannot be read ({error}): {command}") from None
    if command and not words:
        raise UserError("the training command is empty; name a program, or leave it out")
    return words
