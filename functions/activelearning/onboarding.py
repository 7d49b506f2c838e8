"""Making a project, and putting images into its container."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

from activelearning import intact, layout, project_file
from activelearning.errors import BlobExists, BlobNameError, UserError
from activelearning.labels import Problem
from activelearning.settings import Settings
from activelearning.store import Store

_CONCURRENT_UPLOADS = 8

Outcome = Literal["new", "known"] | Problem
"""What became of a file: it is a new blob, the very same is there already, or why it was refused."""


def make_settings(classes: Sequence[str], assignments: Sequence[str], base: Settings | None = None) -> Settings:
    """Settings from class names and `key = value` lines as they would stand in project.toml (`training.iterations = 700`)."""
    start = base or Settings(tuple(classes))
    named = replace(start, classes=tuple(classes)) if classes else start
    return project_file.override(named, assignments, "the command line")


def create_project(store: Store, settings: Settings) -> bool:
    """Write project.toml and return True; False if the very same is there. Raises `UserError` if another one is."""
    content = project_file.render_project(settings).encode()
    try:
        store.labels.create(layout.PROJECT, content)
    except BlobExists:
        existing = store.labels.read(layout.PROJECT).content.decode("utf-8-sig")
        if project_file.parse_project(existing, layout.PROJECT) == settings:
            return False
        raise UserError(f"{store.url} holds a project with other settings: edit its {layout.PROJECT}, or choose another store") from None
    return True


def find_images(paths: Iterable[Path], folder: str) -> Iterator[tuple[Path, str]]:
    """Image files with their blob names: a file by its name, a folder's files by their path in it, below `folder`."""
    below = _checked_folder(folder)
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and layout.is_image(p.name))
            yield from ((p, layout.join_image(below, p.relative_to(path).as_posix())) for p in inside)
        elif path.is_file():
            yield path, layout.join_image(below, path.name)
        else:
            raise UserError(f"{path}: there is no such file or folder")


def _checked_folder(folder: str) -> str:
    inner = folder.strip("/")
    try:
        return layout.check_blob_name(inner) if inner else ""
    except BlobNameError:
        raise UserError(f"--folder {folder!r} is not a folder of the container: write it like island-1/night-2") from None


def upload_images(store: Store, files: Iterable[tuple[Path, str]]) -> Iterator[Outcome]:
    """Create a blob for each file, several at a time; yield in order what became of each.

    An image that is there already with other content is refused, never overwritten. Raises `UserError` when the store takes no more.
    """
    with ThreadPoolExecutor(_CONCURRENT_UPLOADS) as pool:
        yield from pool.map(lambda pair: _upload(store, *pair), files)


def _upload(store: Store, path: Path, name: str) -> Outcome:
    try:
        content = _whole_image(path)
    except UserError as error:
        return Problem(str(path), str(error).removeprefix(f"{path}: "))
    try:
        store.images.create(name, content)
    except BlobNameError as error:
        return Problem(str(path.parent), str(error))
    except BlobExists:
        if store.images.read(name).content != content:
            return Problem(str(path), f"{name} is in the container with other content and stays; put this one elsewhere with --folder")
        return "known"
    return "new"


def _whole_image(path: Path) -> bytes:
    if not layout.is_image(path.name):
        raise UserError(f"{path}: its name ends in none of {', '.join(sorted(layout.IMAGE_SUFFIXES))}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    intact.check_whole(content, str(path))
    return content
