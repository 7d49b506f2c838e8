"""Making a project, and putting images into its container."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from activelearning import layout, project_file
from activelearning.errors import BlobExists, BlobNameError, UserError
from activelearning.images import upright_size
from activelearning.labels import Problem
from activelearning.settings import Settings
from activelearning.store import Store

_CONCURRENT_UPLOADS = 8


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
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and layout.is_image(p.name))
            yield from ((p, _below(folder, p.relative_to(path).as_posix())) for p in inside)
        elif path.is_file():
            yield path, _below(folder, path.name)
        else:
            raise UserError(f"{path}: there is no such file or folder")


def _below(folder: str, name: str) -> str:
    return layout.join_image(folder.strip("/"), name)


def upload_images(store: Store, files: Iterable[tuple[Path, str]]) -> Iterator[tuple[str, Problem | None]]:
    """Create a blob for each file, several at a time; yield in order what became of each: `new` or `known`, or the problem.

    An image that is there already with other content is refused, never overwritten.
    """
    with ThreadPoolExecutor(_CONCURRENT_UPLOADS) as pool:
        yield from pool.map(lambda pair: _upload(store, *pair), files)


def _upload(store: Store, path: Path, name: str) -> tuple[str, Problem | None]:
    try:
        if not layout.is_image(name):
            raise UserError(f"{path}: the suffix is none of {', '.join(sorted(layout.IMAGE_SUFFIXES))}")
        content = path.read_bytes()
        upright_size(content, str(path))
        store.images.create(name, content)
    except BlobExists:
        if store.images.read(name).content == path.read_bytes():
            return "known", None
        return "refused", Problem(
            str(path), f"{name} is in the container with other content and stays; upload this file under another name"
        )
    except BlobNameError as error:
        return "refused", Problem(str(path.parent), str(error))
    except UserError as error:
        where, _, what = str(error).partition(": ")
        return "refused", Problem(where, what)
    return "new", None
