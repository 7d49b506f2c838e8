"""Claim images, review them in VoTT or CVAT, hand them in."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from activelearning.commandline import Commands, add_json, emit, plural, progress, warn
from activelearning.errors import UserError
from tagger_client.batch_folder import MANIFEST, TOOLS, abandon, read_manifest

if TYPE_CHECKING:
    from activelearning.links import Link
    from activelearning.store import Store
    from tagger_client.download import Downloaded, Order
    from tagger_client.linked import Desk

STORE_VARIABLE = "ACTIVELEARNING_STORE"
LINK_VARIABLE = "ACTIVELEARNING_LINK"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return commands().main(argv)


def commands() -> Commands:
    """All commands with their arguments."""
    program = Commands("tagger", __doc__ or "", "tagger download 40 --store ./birds --to monday")
    _add_download(program)
    upload = program.add("upload", _upload, "hand in what is reviewed in a batch's folder", "upload monday")
    _add_folder(upload)
    upload.add_argument("file", type=Path, nargs="?", metavar="FILE", help="what your tool wrote, where it is not in DIR")
    upload.add_argument("--all-reviewed", action="store_true", help="every image in the file was looked at, whatever the file says")
    add_json(upload)
    release = program.add("release", _release, "give back the images of a batch that are not reviewed", "release monday")
    _add_folder(release)
    release.add_argument("--discard-reviews", action="store_true", help="even if the folder holds reviews that are not handed in")
    add_json(release)
    status = program.add("status", _status, "show who has which images, or how far a batch is", "status monday")
    _add_folder(status, nargs="?")
    _add_store(status)
    add_json(status)
    return program


def _add_folder(sub: argparse.ArgumentParser, nargs: str | None = None) -> None:
    sub.add_argument("folder", type=Path, metavar="DIR", nargs=nargs, help="the folder that `tagger download` made")
    _add_link(sub)


def _add_link(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--link",
        default=os.environ.get(LINK_VARIABLE, ""),
        metavar="LINK",
        help=f"a link you were given: a file or an address (default: ${LINK_VARIABLE})",
    )


def _add_store(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--store", default=os.environ.get(STORE_VARIABLE, ""), help=f"where the project is (default: ${STORE_VARIABLE})")


def _add_download(program: Commands) -> None:
    download = program.add(
        "download", _download, "claim images and lay them out for your tool", "download 40 --store ./birds --to monday --tool cvat"
    )
    download.add_argument("count", type=int, metavar="N", help="how many images; a link in a file is for as many as it says")
    _add_store(download)
    _add_link(download)
    download.add_argument("--review", action="store_true", help="reviewed images whose labels the model doubts, to correct them")
    download.add_argument("--to", required=True, type=Path, metavar="DIR", help="a new or empty folder")
    download.add_argument("--tool", choices=TOOLS, default=TOOLS[0], help=f"what you review in (default: {TOOLS[0]}, which is VoTT 1)")
    download.add_argument("--as", dest="tagger", default="", metavar="NAME", help="who you are (default: your login name)")
    download.add_argument("--folder", default="", metavar="F", help="only images below this folder of the container")
    download.add_argument("--class", dest="label", default="", metavar="C", help="only images where the model sees this class")
    download.add_argument("--min-confidence", type=float, metavar="X", help="only drafts at least so confident, and images with one")
    download.add_argument("--max-confidence", type=float, metavar="Y", help="only drafts at most so confident, and images with one")
    add_json(download)


def _opened(url: str) -> "Store":
    from activelearning.store import open_store

    if not url:
        raise UserError(f"say where the project is: --store STORE, or set {STORE_VARIABLE}")
    return _said(open_store(url))


def _said(store: "Store") -> "Store":
    """The store, after saying what opens it, where anything has to."""
    if store.access:
        print(f"using {store.access}", file=sys.stderr)
    return store


def _tagger(name: str) -> str:
    import getpass
    import re

    from activelearning import layout

    if name:
        return layout.check_id(name)
    try:
        return layout.check_id(re.sub(r"[^A-Za-z0-9._-]+", "-", getpass.getuser()).strip("-._"))
    except (UserError, OSError, KeyError, ImportError):
        raise UserError("this machine does not say who you are: add --as NAME") from None


def _download(arguments: argparse.Namespace) -> None:
    from activelearning.claims import Wanted
    from tagger_client import download, label_review, wording

    wanted = Wanted(arguments.folder, arguments.label, arguments.min_confidence, arguments.max_confidence)
    order = download.Order(arguments.count, arguments.tool, _tagger(arguments.tagger), wanted, review=arguments.review)
    if arguments.link:
        done = _download_by_link(arguments.link, arguments.to, order)
    else:
        claim = label_review.claim if order.review else download.claim_in_store
        done = download.download(_opened(arguments.store), arguments.to, order, time.time(), progress, claim)
    warn(done.problems)
    emit(arguments, *wording.downloaded(done, arguments.to, arguments.count))


def _download_by_link(where: str, folder: Path, order: "Order") -> "Downloaded":
    from dataclasses import replace

    from activelearning import claims
    from tagger_client import download, linked

    if order.review:
        raise UserError("a link hands out images of the pool only: --review needs --store")
    desk = linked.desk(where)
    begun = (folder / MANIFEST).exists()
    mine = replace(order, batch=read_manifest(folder).batch if begun else desk.batch or claims.new_id(time.time()))
    if not begun:
        # Noted before it is claimed: a link whose answer got lost is asked for again, for the very same batch.
        download.begin(folder, mine, "")
    link = _claimed_link(desk, folder, mine)
    same = replace(mine, tagger=link.tagger, count=link.count)
    return download.download(_said(linked.open_store(desk, link)), folder, same, time.time(), progress, linked.claimed(link))


def _claimed_link(desk: "Desk", folder: Path, order: "Order") -> "Link":
    manifest = read_manifest(folder)
    try:
        return desk.again(order.batch) if manifest.images else desk.claim(order)
    except UserError:
        if not manifest.images and not manifest.ready:
            abandon(folder)
        raise


def _upload(arguments: argparse.Namespace) -> None:
    from tagger_client import upload, wording

    note = _nothing if arguments.link else upload.note_in_store
    store = _store_of(arguments)
    done = upload.upload(store, arguments.folder, arguments.file, arguments.all_reviewed, time.time(), note)
    warn(done.review.problems)
    emit(arguments, *wording.handed(done, arguments.folder))


def _nothing(*_: object) -> None:
    """An upload by link is noted by the function that its event wakes."""


def _store_of(arguments: argparse.Namespace) -> "Store":
    """The store of a batch's folder: by link, if one was given, else with whatever proves who we are."""
    manifest = read_manifest(arguments.folder)
    if not arguments.link:
        return _opened(manifest.store)
    from tagger_client import linked

    desk = linked.desk(arguments.link)
    return _said(linked.open_store(desk, desk.again(manifest.batch)))


def _release(arguments: argparse.Namespace) -> None:
    from tagger_client import linked, release

    free = release.free_in_store
    if arguments.link:
        desk = linked.desk(arguments.link)
        free = lambda store, manifest, now: desk.free(manifest.batch)  # noqa: E731
    manifest, freed = release.release(_store_of(arguments), arguments.folder, arguments.discard_reviews, time.time(), free)
    text = f"{plural(freed, 'image')} given back; the files in {arguments.folder} are untouched"
    emit(arguments, {"batch": manifest.batch, "images": freed}, text)


def _status(arguments: argparse.Namespace) -> None:
    if arguments.folder:
        return _status_of_folder(arguments)
    from dataclasses import asdict

    from activelearning import commits, drafts_shown, overview, state, steps

    store = _opened(arguments.store)
    steps.project(store)
    claims = overview.claims_shown(state.load(store.labels), time.time())
    drafts, broken = drafts_shown.shown(store, commits.latest(store.labels))
    ahead = [f"the next {drafts.ahead}"] if drafts and drafts.next_images else []
    text = "\n".join([*(map(str, claims) if claims else ("no image is with a tagger",)), *ahead, *broken])
    return emit(arguments, {"claims": [asdict(c) for c in claims], "drafts": asdict(drafts) if drafts else None}, text)


def _status_of_folder(arguments: argparse.Namespace) -> None:
    from tagger_client import review, wording

    manifest = read_manifest(arguments.folder)
    if not manifest.ready:
        return emit(arguments, *wording.unfinished(manifest, arguments.folder))
    shown = review.review_of(_store_of(arguments), arguments.folder, manifest)
    warn(shown.problems)
    return emit(arguments, *wording.batch_status(manifest, shown, arguments.folder))


if __name__ == "__main__":
    sys.exit(main())
