"""`trainer`: train, evaluate and predict, when the loop says so or by hand."""

import argparse
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

from activelearning import commits, decisions, jobs, labelled, layout, state, steps
from activelearning.commandline import Commands, add_json, emit, plural
from activelearning.errors import UserError
from activelearning.state import Job, State
from activelearning.store import Store, open_store
from trainer import families_command, inspect_commands, means, similarity_command, study_commands


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return commands().main(argv)


def commands() -> Commands:
    """All commands with their arguments."""
    program = Commands("trainer", __doc__ or "", "trainer once ./birds")
    once = program.add("once", _once, "do every job that is due, then end", "once ./birds")
    once.add_argument("store", metavar="STORE")
    _add_means(once)
    serve = program.add("serve", _serve, "wait for jobs and do them until Ctrl-C", "serve ./birds")
    serve.add_argument("store", metavar="STORE")
    _add_means(serve)
    serve.add_argument("--idle-minutes", type=float, metavar="X", help="end when there was nothing to do for so long")
    serve.add_argument("--remove-machine", action="store_true", help="then delete this virtual machine, which must be one of Azure's")
    predict = program.add(
        "predict", _predict, "write a fresh totag with a model that exists", "predict ./birds --model main/3 --folder night-7"
    )
    predict.add_argument("store", metavar="STORE")
    predict.add_argument("--model", default="", help="a run such as main/3 (default: the current model, for new images only)")
    predict.add_argument("--folder", default="", help="predict all images below this folder")
    _add_ray(predict)
    predict.add_argument("--min-confidence", type=float, default=-1.0, metavar="X", help="predict all images and keep detections above X")
    evaluate = program.add("evaluate", _evaluate, "evaluate a model on the test split", "evaluate ./birds")
    evaluate.add_argument("store", metavar="STORE")
    evaluate.add_argument("--model", default="", help="a run such as main/3 (default: the current model)")
    add_json(evaluate)
    repartition = program.add(
        "repartition", _repartition, "let labelled images join the test split", "repartition ./birds --test-percentage 0.2"
    )
    repartition.add_argument("store", metavar="STORE")
    repartition.add_argument("--test-percentage", type=float, required=True, metavar="SHARE", help="share of all labelled images, 0 to 1")
    add_json(repartition)
    study_commands.add(program)
    inspect_commands.add(program)
    similarity_command.add(program)
    families_command.add(program)
    autolabel = program.add(
        "autolabel", _autolabel, "accept now what reviewed images prove now", "autolabel ./birds --precision 0.99 --confidence 0.95"
    )
    autolabel.add_argument("store", metavar="STORE")
    autolabel.add_argument("--precision", type=float, metavar="SHARE", help="share of the accepted boxes that must be right")
    autolabel.add_argument("--confidence", type=float, metavar="X", help="how sure the proof must be")
    add_json(autolabel)
    return program


def _add_means(command: argparse.ArgumentParser) -> None:
    command.add_argument("--devices", type=int, metavar="N", help="train on so many devices of this machine; 0: all GPUs (default: 1)")
    by_program = f"let this program train (default: ${means.COMMAND_VARIABLE})"
    command.add_argument("--train-command", default="", metavar="COMMAND", help=by_program)
    command.add_argument("--train-callable", default="", metavar="MODULE:FUNCTION", help="let this Python function train")
    _add_ray(command)


def _add_ray(command: argparse.ArgumentParser) -> None:
    command.add_argument("--ray", default="", metavar="ADDRESS", help="predict on this Ray cluster, such as auto or 10.0.0.4:6379")


def _means(arguments: argparse.Namespace) -> means.Means:
    found = means.means(arguments.devices, arguments.train_command, arguments.train_callable, os.environ)
    return replace(found, ray=arguments.ray)


def _log(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _serve(arguments: argparse.Namespace) -> None:
    from trainer import machine
    from trainer.serve import Trainer

    idle_minutes = math.inf if arguments.idle_minutes is None else arguments.idle_minutes
    if not idle_minutes > 0:
        raise UserError(f"--idle-minutes is {idle_minutes:g}, but must be above 0")
    if arguments.remove_machine and math.isinf(idle_minutes):
        raise UserError("--remove-machine needs to know when: say --idle-minutes 10 too")
    if means.is_helper(os.environ):
        return
    trainer = Trainer(open_store(arguments.store), _log, _stop_on_signals(), means=_means(arguments))
    if arguments.remove_machine:
        machine.serve(trainer, idle_minutes * 60)
    else:
        trainer.serve(idle_minutes * 60)


def _once(arguments: argparse.Namespace) -> None:
    from trainer.serve import Trainer

    if means.is_helper(os.environ):
        return
    store = open_store(arguments.store)
    steps.project(store)
    trainer = Trainer(store, _log, _stop_on_signals(), means=_means(arguments))
    steps.sweep(store, time.time() - steps.project(store).policy.quiet_seconds)
    steps.advance(store, time.time())
    finished = trainer.drain()
    print(f"{plural(finished, 'job')} done" if finished else "nothing to do: no reviewed upload and no new image")


def _predict(arguments: argparse.Namespace) -> None:
    from trainer.serve import Trainer

    store = open_store(arguments.store)
    steps.project(store)
    steps.adopt(store)
    job = _queue_prediction(store, arguments)
    steps.send_job(store, job.id)
    Trainer(store, _log, _stop_on_signals(), means=means.Means(ray=arguments.ray)).drain()
    ended = state.load(store.labels).jobs.get(job.id)
    if ended and ended.reason:
        raise UserError(ended.reason)
    commit = commits.latest(store.labels)
    print(f"wrote {commit.totag if commit else 'nothing'}")


def _queue_prediction(store: Store, arguments: argparse.Namespace) -> Job:
    now, made = time.time(), []

    def queue(before: State) -> State:
        jobs.refuse_if_busy(before)
        made[:] = [decisions.prediction_job(before, now, arguments.model, arguments.folder, arguments.min_confidence)]
        return before.with_job(made[0])

    state.update(store.labels, queue)
    return made[0]


def _evaluate(arguments: argparse.Namespace) -> None:
    from trainer import assessment, performance
    from trainer.work import Work, read_onnx

    store = open_store(arguments.store)
    settings = steps.project(store)
    commit = commits.latest(store.labels)
    model = arguments.model or (commit.model if commit else "")
    test = labelled.read(store.labels, layout.TEST).images
    if not model or not test:
        raise UserError(
            "there is no model yet: train one"
            if not model
            else "there is no test split: `trainer repartition` or `activelearning import --split test`"
        )
    work = Work(store, settings, Job("evaluate", "evaluate", model, 0), lambda line: None, time.time)
    card = performance.read_card(store.labels, model)
    metrics = assessment.evaluate(work, assessment.predict_test(work, read_onnx(store, model), card["family"], test))
    rows = [{"class": row.label, "metric": row.name, "value": row.value, "support": row.support} for row in metrics.rows] if metrics else []
    lines = [
        f"{row['class']:20} {row['metric']:18} {'-' if row['value'] is None else format(row['value'], '.4f'):>8}  ({row['support']})"
        for row in rows
    ]
    emit(
        arguments,
        {"model": model, "test_images": len(test), "metrics": rows},
        "\n".join([f"model {model} on {plural(len(test), 'test image')}", *lines]),
    )


def _repartition(arguments: argparse.Namespace) -> None:
    from activelearning.importing import current_labels
    from activelearning.settings import TestSplit
    from trainer import split

    store = open_store(arguments.store)
    settings = steps.project(store)
    tagged = current_labels(store)
    joined = split.grow(store.labels, tagged, {labels.image for labels in tagged}, TestSplit(arguments.test_percentage, settings.test.seed))
    total = len(labelled.read(store.labels, layout.TEST).images)
    text = f"{plural(joined, 'image')} joined the test split, which holds {total:,} now; none ever leaves it"
    emit(arguments, {"joined": joined, "test_images": total}, text)


def _autolabel(arguments: argparse.Namespace) -> None:
    from trainer import autolabel_command

    found = autolabel_command.run(open_store(arguments.store), arguments.precision, arguments.confidence, _log)
    lines = [f"{plural(found.images, 'image')} accepted, {found.audits:,} of them for the audit; {found.examine:,} to examine"]
    emit(arguments, asdict(found), "\n".join([*lines, *found.rules, found.missed]))


if __name__ == "__main__":
    sys.exit(main())
