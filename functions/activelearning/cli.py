"""Make a project, fill it, run it on this machine, look at it, take labels in and out."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from activelearning import formats, layout
from activelearning.commandline import Commands, add_json, busy, emit, plural, progress, warn
from activelearning.errors import UserError
from activelearning.labels import Problem

if TYPE_CHECKING:
    from activelearning.settings import Settings
    from activelearning.store import Store

_EXPORTS = ("coco", "yolo", "voc", "csv")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return commands().main(argv)


def commands() -> Commands:
    """All commands with their arguments."""
    program = Commands("activelearning", __doc__ or "", "activelearning up ./birds")
    _add_init(program)
    _add_upload(program)
    _add_import(program)
    _add_share(program)
    up = program.add("up", _up, "run the functions and a trainer on this machine until Ctrl-C", "up ./birds")
    up.add_argument("store", metavar="STORE", help="a directory, or file:///directory")
    up.add_argument("--no-trainer", action="store_true", help="run the functions only; a trainer runs elsewhere")
    status = program.add("status", _status, "show pool, claims, jobs, model and anything stuck", "status ./birds")
    status.add_argument("store", metavar="STORE")
    add_json(status)
    _add_diff(program)
    _add_retry(program)
    export = program.add("export", _export, "write the labelled set in a tool's format", "export ./birds --format coco --to ./labels")
    export.add_argument("store", metavar="STORE")
    export.add_argument("--format", required=True, choices=_EXPORTS)
    export.add_argument("--to", required=True, type=Path, metavar="DIR", help="a new or empty folder")
    export.add_argument("--with-accepted", action="store_true", help="also the images that the machine accepted without a look")
    add_json(export)
    return program


def _add_init(program: Commands) -> None:
    init = program.add("init", _init, "make a project in a store", "init ./birds --classes petrel,gull")
    init.add_argument(
        "store", metavar="STORE", help="a directory (it is made), or a container: https://ACCOUNT.blob.core.windows.net/CONTAINER"
    )
    init.add_argument("--classes", type=_names, default=(), metavar="A,B,C", help="what there is to find")
    init.add_argument("--from-ini", type=Path, metavar="config.ini", help="take over what an active-learning-detect config.ini says")
    init.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting as in project.toml, e.g. training.iterations=700"
    )
    add_json(init)


def _add_upload(program: Commands) -> None:
    upload = program.add("upload", _upload, "put images into the store", "upload ./birds ./photos --folder island-1")
    upload.add_argument("store", metavar="STORE")
    upload.add_argument("files", nargs="+", type=Path, metavar="FILES", help="images, or folders of them")
    upload.add_argument("--folder", default="", metavar="F", help="put them below this folder of the container")
    add_json(upload)


def _add_import(program: Commands) -> None:
    labels = program.add("import", _import, "take labels in that exist already", "import ./birds ./annotations --format voc --split test")
    labels.add_argument("store", metavar="STORE")
    labels.add_argument("labels", type=Path, metavar="LABELS", help="an annotation file, or a folder of them")
    labels.add_argument("--format", choices=tuple(formats.FORMATS), help="default: by content")
    labels.add_argument("--split", choices=("train", "test"), default="train", help="test: these images are never trained on")
    add_json(labels)


def _add_share(program: Commands) -> None:
    share = program.add(
        "share",
        _share,
        "make a link for an annotator without an account",
        "share https://birds.blob.core.windows.net 40 --as ann --to ann.link",
    )
    share.add_argument("store", metavar="STORE")
    share.add_argument("count", type=int, metavar="N", nargs="?", default=0, help="how many images to claim for them")
    share.add_argument("--as", dest="tagger", default="", metavar="NAME", help="who they are")
    share.add_argument("--batch", default="", metavar="ID", help="a fresh link to a batch that they have already")
    share.add_argument("--to", required=True, type=Path, metavar="FILE", help="where to put the link; whoever has the file has the batch")
    share.add_argument("--hours", type=float, default=8.0, metavar="H", help="how long the link works (default: 8, at most a week)")
    add_json(share)


def _add_diff(program: Commands) -> None:
    diff = program.add("diff", _diff, "show what people made of the drafts, batch by batch", "diff ./birds --by class --to changes.csv")
    diff.add_argument("store", metavar="STORE")
    diff.add_argument("--batch", default="", metavar="ID", help="only this batch")
    diff.add_argument("--by", choices=("batch", "class", "tagger", "day"), default="batch", help="a line for each (default: batch)")
    diff.add_argument("--to", type=Path, metavar="FILE.csv", help="a new file: one row for each draft and each added box")
    add_json(diff)


def _add_retry(program: Commands) -> None:
    retry = program.add("retry", _retry, "give messages and jobs that were given up another try", "retry ./birds")
    retry.add_argument("store", metavar="STORE")
    retry.add_argument("--queue", default="", choices=layout.QUEUES, help="only the messages of this queue")
    retry.add_argument("--job", default="", metavar="ID", help="only this failed job")
    add_json(retry)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _shown(url: str) -> str:
    """A store's address as it was given, unless it holds a key."""
    from activelearning.store import azure_address

    return azure_address.parse(url)[0].url if azure_address.is_azure(url) else url


def _open(url: str) -> "tuple[Store, Settings]":
    from activelearning import steps
    from activelearning.store import open_store

    store = open_store(url)
    return store, steps.project(store)


def _note(store: "Store", what: str, **facts: object) -> None:
    from activelearning import journal

    journal.write(store.labels, "person", what, time.time(), **facts)


def _init(arguments: argparse.Namespace) -> None:
    from activelearning import onboarding, steps
    from activelearning.store import open_store

    base, notes = _from_ini(arguments.from_ini) if arguments.from_ini else (None, [])
    if not base and not arguments.classes:
        raise UserError("say which classes there are: --classes a,b,c")
    store = open_store(arguments.store)
    settings = onboarding.make_settings(arguments.classes, arguments.set, base)
    new = onboarding.create_project(store, settings)
    if new:
        _note(store, "project made", classes=list(settings.classes))
    for note in notes:
        print(note, file=sys.stderr)
    with busy("looking for images"):
        images, unlisted = steps.register_images(store, time.time())
    done = "made" if new else "was there already"
    text = f"project {done} in {store.url} with {plural(len(settings.classes), 'class')}: {', '.join(settings.classes)}"
    text += f"\n{_next_step(_shown(arguments.store), images, unlisted)}"
    emit(arguments, {"store": store.url, "new": new, "classes": list(settings.classes), "images": images, "unlisted": unlisted}, text)


def _next_step(store: str, images: int, unlisted: int) -> str:
    if not images:
        return f"now put images in: `activelearning upload {store} PHOTOS`"
    new = f"{plural(images, 'image')} there, {unlisted:,} of them not listed yet; none was copied"
    return f"{new}\na running `activelearning up {store}`, or the functions on Azure, list them for review" if unlisted else new


def _from_ini(path: Path) -> "tuple[Settings, list[str]]":
    from activelearning import config_ini

    reading = config_ini.read_config_ini(_text(path), str(path))
    ignored = [f"{path}: {key} was not taken over: {reason}" for key, reason in reading.ignored]
    return reading.settings, [f"{path}: took over {', '.join(reading.taken)}", *ignored, *reading.warnings]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from None


def _upload(arguments: argparse.Namespace) -> None:
    from activelearning import onboarding

    store, _ = _open(arguments.store)
    files = list(onboarding.find_images(arguments.files, arguments.folder))
    if not files:
        raise UserError("there is no image in what you named")
    outcomes = list(progress(onboarding.upload_images(store, files), "uploading", len(files)))
    problems = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    counts = Counter(outcome for outcome in outcomes if isinstance(outcome, str))
    warn(problems)
    if len(problems) == len(files):
        raise UserError(f"none of {plural(len(files), 'file')} could be uploaded")
    if counts["new"]:
        _note(store, "images uploaded", images=counts["new"])
    text = f"{plural(counts['new'], 'image')} uploaded, {counts['known']:,} there already, {len(problems):,} refused"
    text += f"\na running `activelearning up {_shown(arguments.store)}` lists them for review" if counts["new"] else ""
    emit(arguments, {"new": counts["new"], "known": counts["known"], "refused": list(map(str, problems))}, text)


def _import(arguments: argparse.Namespace) -> None:
    from activelearning import importing

    store, settings = _open(arguments.store)
    with busy("reading labels"):
        taken = importing.import_labels(store, arguments.labels, settings.classes, arguments.format, arguments.split, time.time())
    warn(taken.problems)
    if taken.new:
        _note(store, "labels imported", images=taken.images, split=arguments.split)
    into = "the test split" if arguments.split == "test" else "the labelled set"
    text = f"{plural(taken.images, 'image')} with {plural(taken.boxes, 'box')} read, {taken.new:,} new in {into}"
    text += f", {taken.unreviewed:,} left out that nobody has reviewed" if taken.unreviewed else ""
    text += f", {plural(len(taken.problems), 'problem')}" if taken.problems else ""
    counts = {"images": taken.images, "boxes": taken.boxes, "new": taken.new, "unreviewed": taken.unreviewed}
    emit(arguments, counts | {"problems": list(map(str, taken.problems))}, text)


def _share(arguments: argparse.Namespace) -> None:
    from activelearning import sharing

    if bool(arguments.batch) == bool(arguments.count):
        raise UserError("say how many images to share and for whom (40 --as ann), or which batch to make a fresh link to (--batch ID)")
    store, _ = _open(arguments.store)
    with sharing.new_file(arguments.to) as write:
        if arguments.batch:
            link = sharing.again(store, arguments.store, arguments.batch, time.time(), arguments.hours)
        else:
            order = sharing.Order(arguments.tagger, arguments.count, hours=arguments.hours)
            link = sharing.share(store, arguments.store, order, time.time())
        write(link)
    images = len(link.read_images)
    shown = {"batch": link.batch, "tagger": link.tagger, "images": images, "file": str(arguments.to), "valid_until": link.until}
    text = f"{plural(images, 'image')} for {link.tagger} (batch {link.batch}); the link in {arguments.to} works until {link.until}"
    text += f"\ngive them the file; they run `tagger download {link.count} --link {arguments.to.name} --to monday`"
    emit(arguments, shown, text)


def _up(arguments: argparse.Namespace) -> None:
    from activelearning import host

    _open(arguments.store)
    print(f"running on {_shown(arguments.store)}; stop with Ctrl-C", file=sys.stderr)
    host.up(arguments.store, with_trainer=not arguments.no_trainer, log=_log, stop=host.stop_on_signals())
    print("stopped", file=sys.stderr)


def _log(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _status(arguments: argparse.Namespace) -> None:
    from activelearning import overview, overview_text
    from activelearning.store import open_store

    shown = overview.overview(open_store(arguments.store), time.time())
    emit(arguments, shown.as_dict(), overview_text.text(shown))


def _diff(arguments: argparse.Namespace) -> None:
    from activelearning import diff_command

    diff_command.run(arguments)


def _retry(arguments: argparse.Namespace) -> None:
    from activelearning import decisions, retry, state
    from activelearning.store import open_store

    store = open_store(arguments.store)
    done = retry.retry(store, arguments.queue, arguments.job, time.time())
    emit(arguments, done.as_dict(), retry.text(done, decisions.at_work(state.load(store.labels))))


def _export(arguments: argparse.Namespace) -> None:
    from activelearning import importing

    store, settings = _open(arguments.store)
    with busy("writing labels"):
        count = importing.export_labels(store, arguments.format, arguments.to, settings.classes, with_accepted=arguments.with_accepted)
    emit(arguments, {"images": count, "folder": str(arguments.to)}, f"{plural(count, 'image')} written to {arguments.to}")


if __name__ == "__main__":
    sys.exit(main())
