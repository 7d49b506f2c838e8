"""`tagger`: claim images, review them in VoTT or CVAT, hand them in."""

import argparse
import getpass
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from activelearning import claims, journal, layout, state, steps
from activelearning.claims import Wanted
from activelearning.commandline import Commands, add_json, emit, plural, progress
from activelearning.diff import sentence
from activelearning.errors import UserError
from activelearning.labels import Problem
from activelearning.store import Store, open_store
from tagger_client import batch_folder

STORE_VARIABLE = "ACTIVELEARNING_STORE"
_TOOLS = ("vott", "vott2", "cvat", "coco")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return commands().main(argv)


def commands() -> Commands:
    """All commands with their arguments."""
    program = Commands("tagger", __doc__ or "", "tagger download 40 --store ./birds --to monday")
    _add_download(program)
    upload = program.add("upload", _upload, "hand in what is reviewed in a batch's folder", "upload monday")
    upload.add_argument("folder", type=Path, metavar="DIR")
    upload.add_argument("file", type=Path, nargs="?", metavar="FILE", help="what your tool wrote, where it is not in DIR")
    upload.add_argument("--all-reviewed", action="store_true", help="every image in the file was looked at, whatever the file says")
    add_json(upload)
    release = program.add("release", _release, "give back the images of a batch that are not reviewed", "release monday")
    release.add_argument("folder", type=Path, metavar="DIR")
    release.add_argument("--discard-reviews", action="store_true", help="even if the folder holds reviews that are not handed in")
    add_json(release)
    status = program.add("status", _status, "show who has which images, or how far a batch is", "status monday")
    status.add_argument("folder", type=Path, nargs="?", metavar="DIR")
    _add_store(status)
    add_json(status)
    return program


def _add_store(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--store", default=os.environ.get(STORE_VARIABLE, ""), help=f"where the project is (default: ${STORE_VARIABLE})")


def _add_download(program: Commands) -> None:
    download = program.add(
        "download", _download, "claim images and lay them out for your tool", "download 40 --store ./birds --to monday --tool cvat"
    )
    download.add_argument("count", type=int, metavar="N", help="how many images")
    _add_store(download)
    download.add_argument("--to", required=True, type=Path, metavar="DIR", help="a new or empty folder")
    download.add_argument("--tool", choices=_TOOLS, default="vott")
    download.add_argument("--as", dest="tagger", default="", metavar="NAME", help="who you are (default: your login name)")
    download.add_argument("--folder", default="", help="only images below this folder of the container")
    download.add_argument("--class", dest="label", default="", metavar="CLASS", help="only images where the model sees this class")
    download.add_argument("--min-confidence", type=float, metavar="X", help="only drafts at least so confident, and images with one")
    download.add_argument("--max-confidence", type=float, metavar="Y", help="only drafts at most so confident, and images with one")
    add_json(download)


def _store(url: str) -> Store:
    if not url:
        raise UserError(f"say where the project is: --store STORE, or set {STORE_VARIABLE}")
    return open_store(url)


def _warn(problems: Sequence[Problem]) -> None:
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)


def _download(arguments: argparse.Namespace) -> None:
    from tagger_client import download

    wanted = Wanted(arguments.folder, arguments.label, arguments.min_confidence, arguments.max_confidence)
    tagger = layout.check_id(arguments.tagger or getpass.getuser())
    done = download.download(_store(arguments.store), arguments.to, arguments.count, arguments.tool, tagger, wanted, time.time(), progress)
    _warn(done.problems)
    got = len(done.manifest.usable)
    text = f"{plural(got, 'image')} with {plural(done.drafts, 'draft box')} in {arguments.to} (batch {done.manifest.batch})"
    if len(done.manifest.images) < arguments.count:
        text += f"; {arguments.count} were asked for, {len(done.manifest.images)} are free"
    text += f"\nnow {done.open_this}; then `tagger upload {arguments.to}`"
    value = {
        "batch": done.manifest.batch,
        "images": got,
        "drafts": done.drafts,
        "folder": str(arguments.to),
        "problems": [str(p) for p in done.problems],
    }
    emit(arguments, value, text)


def _upload(arguments: argparse.Namespace) -> None:
    from tagger_client import upload

    manifest = batch_folder.read_manifest(arguments.folder)
    handed = upload.upload(open_store(manifest.store), arguments.folder, arguments.file, arguments.all_reviewed, time.time())
    _warn(handed.review.problems)
    left = upload.open_images(handed.review)
    text = (
        f"{plural(len(handed.review.fresh), 'image')} handed in"
        if handed.name
        else "nothing new since the last upload; nothing was handed in"
    )
    text += f"\n{sentence(handed.review.totals)}"
    if left:
        text += (
            f"\n{plural(left, 'image')} not opened yet: go on and upload again, or give them back with `tagger release {arguments.folder}`"
        )
    value = {
        "upload": handed.name,
        "images": len(handed.review.fresh),
        **asdict(handed.review.totals),
        "problems": [str(p) for p in handed.review.problems],
    }
    emit(arguments, value, text)


def _release(arguments: argparse.Namespace) -> None:
    manifest = batch_folder.read_manifest(arguments.folder)
    store = open_store(manifest.store)
    waiting = 0 if arguments.discard_reviews or not manifest.ready else _not_handed_in(store, arguments.folder, manifest)
    if waiting:
        raise UserError(
            f"{arguments.folder} holds {plural(waiting, 'reviewed image')} not handed in: run `tagger upload {arguments.folder}` first, or say --discard-reviews"
        )
    freed = claims.release(store.labels, manifest.batch)
    batch_folder.mark(arguments.folder, released=True)
    if freed:
        journal.write(store.labels, manifest.tagger, "released", time.time(), batch=manifest.batch, images=freed)
    text = f"{plural(freed, 'image')} given back; the files in {arguments.folder} are untouched"
    emit(arguments, {"batch": manifest.batch, "images": freed}, text)


def _not_handed_in(store: Store, folder: Path, manifest: batch_folder.Manifest) -> int:
    from tagger_client import upload

    return len(upload.review_of(folder, manifest, steps.project(store).classes, None, False).fresh)


def _status(arguments: argparse.Namespace) -> None:
    if arguments.folder:
        return _status_of_folder(arguments)
    current = state.load(_store(arguments.store).labels)
    batches = [b for b in current.batches.values() if b.expires_at]
    value = {"claims": [{"batch": b.id, "tagger": b.tagger, "images": len(b.claimed), "expires_at": b.expires_at} for b in batches]}
    lines = [f"{b.id}  {b.tagger}  {plural(len(b.claimed), 'image')}, until {journal.utc(b.expires_at)[:16]}Z" for b in batches]
    return emit(arguments, value, "\n".join(lines) or "no image is with a tagger")


def _status_of_folder(arguments: argparse.Namespace) -> None:
    from tagger_client import upload

    manifest = batch_folder.read_manifest(arguments.folder)
    store = open_store(manifest.store)
    if not manifest.ready:
        return emit(arguments, {"batch": manifest.batch, "ready": False}, f"batch {manifest.batch}: its download was cut off; run it again")
    review = upload.review_of(arguments.folder, manifest, steps.project(store).classes, None, False)
    left = upload.open_images(review)
    value = {"batch": manifest.batch, "ready": True, "images": len(review.images), "open": left, "not_handed_in": len(review.fresh)}
    text = (
        f"batch {manifest.batch}: {plural(len(review.images), 'image')}, {left} not opened, {len(review.fresh)} reviewed and not handed in"
    )
    return emit(arguments, value | asdict(review.totals), f"{text}\n{sentence(review.totals)}")


if __name__ == "__main__":
    sys.exit(main())
