"""Training on several devices of one machine: a process for each, which take their parts of the same batches (`trainer.ranks`).

Rule: this process only watches. It joins in no step, so nothing that happens to a training process can hang it: when one dies, or the run
is stopped, it ends them all. Store, lease and state are its alone; checkpoints and progress reach it through a pipe, step by step.
"""

import copy
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from activelearning.errors import ActiveLearningError, UserError
from activelearning.jobs import Stopped
from activelearning.settings import Training
from trainer import checkpoint as checkpoints
from trainer import ranks, training
from trainer.checkpoint import Checkpoint
from trainer.ranks import Ranks
from trainer.recipe import Plan
from trainer.training import Example, Progress

_PIXELS, _MODEL = "pixels.npy", "model.pt"
_END_SECONDS = 5.0


class RankDied(ActiveLearningError):
    """A training process ended by itself: the run cannot go on, but may be begun again from its last checkpoint."""


def device_count(asked: int) -> int:
    """How many devices to train on, given what was asked for; 0: every GPU, and without one the CPU.

    Raises `UserError` when there are not so many GPUs.
    """
    gpus = torch.cuda.device_count()
    if gpus and asked > gpus:
        raise UserError(f"--devices says {asked}, but this machine has {gpus}: leave it out, or say 0 for all there are")
    return asked or max(gpus, 1)


def train(
    model: nn.Module,
    examples: Sequence[Example],
    config: Training,
    plan: Plan,
    devices: int,
    *,
    checkpoint: Checkpoint | None = None,
    on_checkpoint: Callable[[Checkpoint], None] = lambda checkpoint: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> nn.Module:
    """`training.train` on so many devices: the same arguments, the same result up to rounding, the same errors.

    Raises `RankDied` when a training process ends by itself.
    """
    if devices == 1:
        return training.train(
            model, examples, config, plan, checkpoint=checkpoint, on_checkpoint=on_checkpoint, on_progress=on_progress, tell=tell
        )
    if config.batch_size < devices:
        raise UserError(f"training.batch_size is {config.batch_size}, but there must be an image for each of {devices} devices")
    if not examples:
        raise UserError(training.NO_EXAMPLES)
    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        run = _prepare(Path(folder), model, examples, config, plan, checkpoint)
        end = _watch(run, devices, _Heard(on_checkpoint, on_progress, tell))
    model.load_state_dict(end.model)
    average = copy.deepcopy(model).cpu().eval()
    average.load_state_dict(end.average)
    return average


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """What every training process is handed. In the folder lie the pixels, which all of them map, and the model; `others` are the
    examples' other fields."""

    folder: Path
    others: tuple[dict[str, Any], ...]
    config: Training
    plan: Plan
    checkpoint: bytes | None


@dataclass(frozen=True, slots=True)
class _Heard:
    checkpoint: Callable[[Checkpoint], None]
    progress: Callable[[Progress], None]
    tell: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Reached:
    """A checkpoint's bytes; at the `end` of a run, its model and average only."""

    checkpoint: bytes
    end: bool = False


@dataclass(frozen=True, slots=True)
class _Failed:
    """Why a run cannot be done, as a `UserError` says it."""

    sentence: str


def _prepare(
    folder: Path, model: nn.Module, examples: Sequence[Example], config: Training, plan: Plan, checkpoint: Checkpoint | None
) -> _Run:
    pixels = np.lib.format.open_memmap(folder / _PIXELS, "w+", np.uint8, (len(examples), *examples[0].pixels.shape))
    for row, example in zip(pixels, examples, strict=True):
        row[:] = example.pixels
    pixels.flush()
    torch.save(model, folder / _MODEL)
    names = [one.name for one in fields(Example) if one.name != "pixels"]
    others = tuple({name: getattr(example, name) for name in names} for example in examples)
    return _Run(folder, others, config, plan, checkpoint.to_bytes() if checkpoint else None)


def _watch(run: _Run, devices: int, heard: _Heard) -> Checkpoint:
    """Start the processes, pass on what they say, and return what they ended with; whatever happens, none is left."""
    context = get_context("spawn")
    pipes = [context.Pipe() for _ in range(devices)]
    processes = [context.Process(target=_work, args=(run, rank, devices, pipes[rank][1]), daemon=True) for rank in range(devices)]
    try:
        for process, (_, theirs) in zip(processes, pipes, strict=True):
            process.start()
            # so that the pipe ends with the process
            theirs.close()
        return _attend([ours for ours, _ in pipes], processes, heard)
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()
        for ours, _ in pipes:
            ours.close()


def _attend(pipes: Sequence[Connection], processes: Sequence[BaseProcess], heard: _Heard) -> Checkpoint:
    """Pass on what is said until the end. Who speaks waits for the answer, whether to go on."""
    stopped: Stopped | None = None
    while True:
        rank, said = _hear(pipes, processes)
        if isinstance(said, _Failed):
            raise UserError(said.sentence)
        if isinstance(said, _Reached):
            found = checkpoints.read(said.checkpoint)
            assert found is not None
            if said.end:
                return found
            heard.checkpoint(found)
        if stopped:
            raise stopped
        try:
            if isinstance(said, Progress):
                heard.progress(said)
            elif isinstance(said, str):
                heard.tell(said)
        except Stopped as error:
            # the last checkpoint comes yet
            stopped = error
        pipes[rank].send(stopped is None)


def _hear(pipes: Sequence[Connection], processes: Sequence[BaseProcess]) -> tuple[int, object]:
    """The rank that speaks next, and what it says."""
    ready = connection.wait(pipes)
    rank = next(number for number, pipe in enumerate(pipes) if pipe in ready)
    try:
        return rank, pipes[rank].recv()
    except (EOFError, OSError):
        processes[rank].join(_END_SECONDS)
        raise RankDied(_died(rank, len(pipes), processes[rank].exitcode)) from None


def _died(rank: int, count: int, code: int | None) -> str:
    how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
    return f"training process {rank + 1} of {count} {how}; the lines before this one may say why, and too little memory is one reason"


def _work(run: _Run, rank: int, count: int, pipe: Connection) -> None:
    """A training process, from its start to its end, which the watching process brings about."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # what is sent to all of a terminal or a service must reach the one that can keep a checkpoint
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    device = ranks.device_of(rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.set_num_threads(run.config.threads or max((os.cpu_count() or 1) // count, 1))
    meeting = f"file://{(run.folder / 'meeting').as_posix()}"
    # figures of this process are added up on the CPU, gradients where they are
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=meeting, rank=rank, world_size=count)
    try:
        _train(run, Ranks(rank, count, device), pipe)
    except UserError as error:
        pipe.send(_Failed(str(error)))
    # no rank leaves while another may still wait for its last word
    pipe.recv()


def _train(run: _Run, together: Ranks, pipe: Connection) -> None:
    # our own file, in a folder that nobody else may write
    model: nn.Module = torch.load(run.folder / _MODEL, weights_only=False)
    pixels = np.load(run.folder / _PIXELS, mmap_mode="r", allow_pickle=False)
    examples = [Example(pixels=row, **rest) for row, rest in zip(pixels, run.others, strict=True)]

    def say(what: object) -> None:
        if together.rank == 0:
            pipe.send(what)
            if not pipe.recv():
                raise Stopped("told to stop")

    average = training.train(
        model,
        examples,
        run.config,
        run.plan,
        checkpoint=checkpoints.read(run.checkpoint) if run.checkpoint else None,
        on_checkpoint=lambda reached: say(_Reached(reached.to_bytes())),
        on_progress=say,
        tell=say,
        together=together,
    )
    if together.rank == 0:
        pipe.send(_Reached(Checkpoint(0, model.state_dict(), average.state_dict(), {}).to_bytes(), end=True))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
