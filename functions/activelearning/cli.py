"""`activelearning`: make a project, fill it, run it on this machine, look at it, take labels in and out."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from activelearning import journal, onboarding, overview, steps
from activelearning.commandline import Commands, add_json, emit, plural, progress
from activelearning.errors import UserError
from activelearning.labels import Problem
from activelearning.settings import Settings
from activelearning.store import open_store


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return commands().main(argv)


def commands() -> Commands:
    """All commands with their arguments."""
    program = Commands("activelearning", __doc__ or "", "activelearning up ./birds")
    _add_init(program)
    _add_upload(program)
    _add_import(program)
    up = program.add("up", _up, "run the functions and a trainer on this machine until Ctrl-C", "up ./birds")
    up.add_argument("store", metavar="STORE", help="a directory, or file:///directory")
    up.add_argument("--no-trainer", action="store_true", help="run the functions only; a trainer runs elsewhere")
    status = program.add("status", _status, "show pool, claims, jobs, model and anything stuck", "status ./birds")
    status.add_argument("store", metavar="STORE")
    add_json(status)
    export = program.add("export", _export, "write the labelled set in a tool's format", "export ./birds --format coco --to ./labels")
    export.add_argument("store", metavar="STORE")
    export.add_argument("--format", required=True, choices=("coco", "yolo", "voc", "csv"))
    export.add_argument("--to", required=True, type=Path, metavar="DIR", help="a new or empty folder")
    add_json(export)
    return program


def _add_init(program: Commands) -> None:
    init = program.add("init", _init, "make a project in a store", "init ./birds --classes petrel,gull")
    init.add_argument("store", metavar="STORE", help="a directory (it is made), or file:///directory")
    init.add_argument("--classes", type=_names, default=(), metavar="A,B,C")
    init.add_argument("--from-ini", type=Path, metavar="config.ini", help="take over what an active-learning-detect config.ini says")
    init.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting as in project.toml, e.g. training.iterations=700"
    )
    add_json(init)


def _add_upload(program: Commands) -> None:
    upload = program.add("upload", _upload, "put images into the store", "upload ./birds ./photos --folder island-1")
    upload.add_argument("store", metavar="STORE")
    upload.add_argument("files", nargs="+", type=Path, metavar="FILES", help="images, or folders of them")
    upload.add_argument("--folder", default="", help="put them below this folder of the container")
    add_json(upload)


def _add_import(program: Commands) -> None:
    labels = program.add("import", _import, "take labels in that exist already", "import ./birds ./annotations --format voc --split test")
    labels.add_argument("store", metavar="STORE")
    labels.add_argument("labels", type=Path, metavar="LABELS", help="an annotation file, or a folder of them")
    labels.add_argument("--format", choices=("voc", "coco", "yolo", "vott", "vott2", "cvat", "csv"), help="default: by content")
    labels.add_argument("--split", choices=("train", "test"), default="train", help="test: these images are never trained on")
    add_json(labels)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _init(arguments: argparse.Namespace) -> None:
    base, notes = _from_ini(arguments.from_ini) if arguments.from_ini else (None, [])
    if not base and not arguments.classes:
        raise UserError("say which classes there are: --classes a,b,c")
    store = open_store(arguments.store)
    settings = onboarding.make_settings(arguments.classes, arguments.set, base)
    new = onboarding.create_project(store, settings)
    if new:
        journal.write(store.labels, "person", "project made", time.time(), classes=list(settings.classes))
    for note in notes:
        print(note, file=sys.stderr)
    done = "made" if new else "was there already"
    text = f"project {done} in {store.url} with {plural(len(settings.classes), 'class')}: {', '.join(settings.classes)}"
    emit(arguments, {"store": store.url, "new": new, "classes": list(settings.classes)}, text)


def _from_ini(path: Path) -> tuple[Settings, list[str]]:
    from activelearning import config_ini

    reading = config_ini.read_config_ini(_text(path), str(path))
    ignored = [f"{path}: {key} was not taken over: {reason}" for key, reason in reading.ignored]
    return reading.settings, [f"{path}: took over {', '.join(reading.taken)}", *ignored, *reading.warnings]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def _upload(arguments: argparse.Namespace) -> None:
    store = open_store(arguments.store)
    steps.project(store)
    files = list(onboarding.find_images(arguments.files, arguments.folder))
    counts: Counter[str] = Counter()
    problems: list[Problem] = []
    for outcome, problem in progress(onboarding.upload_images(store, files), "uploading", len(files)):
        counts[outcome] += 1
        problems += [problem] if problem else []
    _warn(problems)
    if counts["new"]:
        journal.write(store.labels, "person", "images uploaded", time.time(), images=counts["new"])
    text = f"{plural(counts['new'], 'image')} uploaded, {counts['known']:,} were there already, {counts['refused']:,} refused"
    emit(arguments, {"new": counts["new"], "known": counts["known"], "refused": list(map(str, problems))}, text)
    if not files:
        raise UserError("no image was found in what you named")


def _warn(problems: Sequence[Problem]) -> None:
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)


def _import(arguments: argparse.Namespace) -> None:
    from activelearning import importing

    store = open_store(arguments.store)
    taken = importing.import_labels(store, arguments.labels, steps.project(store).classes, arguments.format, arguments.split)
    _warn(taken.problems)
    if taken.new:
        journal.write(store.labels, "person", "labels imported", time.time(), images=taken.images, split=arguments.split)
    into = "the test split" if arguments.split == "test" else "the labelled set"
    text = f"{plural(taken.images, 'image')} with {plural(taken.boxes, 'box')} read, {taken.new:,} new in {into}, {plural(len(taken.problems), 'problem')}"
    emit(arguments, {"images": taken.images, "boxes": taken.boxes, "new": taken.new, "problems": list(map(str, taken.problems))}, text)


def _up(arguments: argparse.Namespace) -> None:
    from activelearning import host

    steps.project(open_store(arguments.store))
    print(f"running on {arguments.store}; stop with Ctrl-C", file=sys.stderr)
    host.up(arguments.store, with_trainer=not arguments.no_trainer, log=_log, stop=host.stop_on_signals())
    print("stopped", file=sys.stderr)


def _log(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _status(arguments: argparse.Namespace) -> None:
    store = open_store(arguments.store)
    steps.project(store)
    shown = overview.overview(store, time.time())
    emit(arguments, shown.as_dict(), overview.text(shown))


def _export(arguments: argparse.Namespace) -> None:
    from activelearning import importing

    store = open_store(arguments.store)
    count = importing.export_labels(store, arguments.format, arguments.to, steps.project(store).classes)
    emit(arguments, {"images": count, "folder": str(arguments.to)}, f"{plural(count, 'image')} written to {arguments.to}")


if __name__ == "__main__":
    sys.exit(main())
