"""Training by somebody else's program: any command, or a Python function, that keeps this contract.

`trainer once STORE --train-command "python my_train.py"` (or `TRAINER_COMMAND`), or `--train-callable my_module:train`. The program is run
with one argument more, a folder that holds:

    project.json          run, seed, family, classes, input_size [W, H], task, and all settings
    train.json            the labelled images as COCO instances; `file_name` is relative to images/
    watched.json          those of them, also COCO, that `training.validation_share` sets apart; only where it does
    images/               the images as they are in the store
    last/                 model.onnx, model.json, weights.pt of the last model, where there is one that knows no image of the test split
    output/               empty

It must end with exit code 0 and leave in output/:

    model.onnx            inputs and outputs as `trainer/detectors/__init__.py` says, at a fixed input of any size in steps of 32
    model.json            {"family": "compact"}: whose outputs these are; the family of project.toml, by which they will be decoded
    weights.pt            optional (`trainer.weights`): without it the next run of our own training starts from scratch, and
                          `trainer validate --full-dropout` cannot be done

What it prints is shown as progress. Evaluation, calibration, review, prediction and the card then go as with any model.

Rule: which program runs is told by flags and the environment of the machine, never by the store. It is ended, with all it started, when the
trainer is told to stop or loses its lease; what it has done by then is lost. What is wrong with what it leaves is one plain sentence.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO

from activelearning import layout
from activelearning.commits import Commit
from activelearning.errors import BlobMissing, UserError
from activelearning.formats import coco
from activelearning.images import content_hash, upright_size
from activelearning.labels import ImageLabels, Problem
from trainer import custom_output, sampling
from trainer.custom_output import Output
from trainer.work import Work

_CONCURRENT_READS = 4
_PAUSE_SECONDS = 0.2
_END_SECONDS = 5.0
_LONGEST_LINE = 300


def train(work: Work, images: Sequence[ImageLabels], size: tuple[int, int], seed: int, last: Commit | None) -> Output:
    """Run the program on these images and return what it made; `size` (W, H) is only what our own training would take.

    Raises `UserError` when it cannot be run, ends with another exit code than 0, or leaves what does not fit; and what `work.tell` raises.
    """
    with tempfile.TemporaryDirectory(prefix="custom-") as scratch:
        folder = Path(scratch)
        sample = _prepare(work, folder, images, size, seed, last)
        work.tell(f"training is done by: {' '.join(work.means.program)}")
        _run(work, (*work.means.program, str(folder)))
        return custom_output.read(folder / "output", work.settings, sample)


def _prepare(work: Work, folder: Path, images: Sequence[ImageLabels], size: tuple[int, int], seed: int, last: Commit | None) -> Path:
    """Fill the folder, and return an image in it. What cannot be read is reported and left out."""
    with ThreadPoolExecutor(_CONCURRENT_READS) as pool:
        fetched = list(pool.map(lambda one: _fetch(work, folder / "images", one), images))
    work.report(one for one in fetched if isinstance(one, Problem))
    there = [one for one in fetched if isinstance(one, ImageLabels)]
    if not there:
        raise UserError("there is no labelled image to train on; review some first")
    settings = work.settings
    set_apart = set(sampling.watched([1.0] * len(there), settings.training.validation_share, seed)) if not last else set()
    coco.write([one for index, one in enumerate(there) if index not in set_apart], folder / "train.json", classes=settings.classes)
    if set_apart:
        coco.write([there[index] for index in sorted(set_apart)], folder / "watched.json", classes=settings.classes)
    if last:
        _copy_model(work, last.model, folder / "last")
    facts = {"run": work.job.run, "seed": seed, "family": settings.detector.family, "input_size": list(size), **asdict(settings)}
    (folder / "project.json").write_text(json.dumps(facts, indent=1), "utf-8")
    (folder / "output").mkdir()
    return folder / "images" / there[0].image


def _fetch(work: Work, into: Path, labels: ImageLabels) -> ImageLabels | Problem:
    try:
        content = work.store.images.read(layout.check_blob_name(labels.image)).content
        if labels.content_hash not in ("", content_hash(content)):
            return Problem(labels.image, "the image was replaced after it was reviewed; its labels are left out, review it again")
        width, height = upright_size(content, labels.image)
        _write(into, labels.image, content)
    except BlobMissing:
        return Problem(labels.image, "the image is gone from the container; its labels are left out")
    except (UserError, OSError) as error:
        return Problem(labels.image, f"{error}; its labels are left out")
    return replace(labels, width=width, height=height)


def _write(into: Path, name: str, content: bytes) -> None:
    path = into / name
    # a name such as C:x.png is harmless in a store, and leads elsewhere on Windows
    if not path.resolve().is_relative_to(into.resolve()):
        raise UserError(f"{name!r} cannot be the name of a file here")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _copy_model(work: Work, run: str, into: Path) -> None:
    into.mkdir()
    for name in ("model.onnx", "model.json", "weights.pt"):
        # a model that a program made may have no weights
        with suppress(BlobMissing):
            (into / name).write_bytes(work.store.labels.read(layout.model(run, name)).content)


def _run(work: Work, command: Sequence[str]) -> None:
    """Run the program to its end, and tell what it prints. It is looked at all the time whether to go on, also while it prints nothing."""
    # in a session of its own, so that all it starts can be ended with it
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
    except OSError as error:
        raise UserError(f"the training command cannot be run ({error.strerror}): {command[0]}") from None
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    reader = threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True)
    reader.start()
    said = "training"
    try:
        while process.poll() is None or not lines.empty():
            for line in _taken(lines):
                said = line
                work.tell(said)
            work.tell(said)
            time.sleep(_PAUSE_SECONDS)
    finally:
        _end(process)
    reader.join(_END_SECONDS)
    said = [said, *_taken(lines)][-1]
    if process.returncode:
        raise UserError(f"the training command ended with exit code {process.returncode}; the last it printed is: {said}")


def _read_lines(stream: IO[bytes], lines: "queue.Queue[str]") -> None:
    with stream:
        for line in stream:
            text = "".join(one if one.isprintable() else " " for one in line.decode("utf-8", "replace").rstrip())
            if text.strip():
                lines.put(text[:_LONGEST_LINE])


def _taken(lines: "queue.Queue[str]") -> Iterable[str]:
    with suppress(queue.Empty):
        while True:
            yield lines.get_nowait()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the program and what it started: asked first, then forced."""
    for number in ("SIGTERM", "SIGKILL"):
        with suppress(OSError):
            _send(process, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)


def _send(process: "subprocess.Popen[bytes]", number: str) -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        # its group has its number, and may outlive it
        os.killpg(process.pid, getattr(signal, number))
