"""The folder a batch is reviewed in: `batch.json`, `images/` and the tool's own files.

Rule: nothing in it is deleted or overwritten by us once a person may have worked on it. `batch.json` is written before the claim
is made, so that a download that was cut off goes on with the very same claim.
"""

import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_origin

from activelearning import layout
from activelearning.errors import UserError
from activelearning.labels import ImageLabels

TOOLS = ("vott", "vott2", "cvat", "coco")

MANIFEST = "batch.json"
IMAGES = "images"

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 120


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image of the batch and its file in `images/`; the files sort in the order to review them."""

    image: str
    file: str
    width: int = 0
    height: int = 0
    problem: str = ""

    def __post_init__(self) -> None:
        _check_types(self)
        if self.file != _sanitised(self.file):
            raise ValueError(f"'{self.file}' is no file of a batch")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `batch.json` holds. `ready` is set when every image and the tool's files lie there."""

    store: str
    batch: str
    tagger: str
    tool: str
    count: int
    images: tuple[LocalImage, ...] = ()
    ready: bool = False
    uploaded: tuple[str, ...] = ()
    """Reviewed uploads made from this folder, in their order."""
    released: bool = False
    review: bool = False
    """Whether its images were reviewed before."""

    def __post_init__(self) -> None:
        _check_types(self)
        if self.tool not in TOOLS:
            raise ValueError(f"'{self.tool}' is no tool")

    @property
    def command(self) -> str:
        """The download that goes on with this one, but for its folder."""
        review = " --review" if self.review else ""
        return f"tagger download {self.count}{review} --store {self.store}"

    @property
    def usable(self) -> tuple[LocalImage, ...]:
        """The images that could be fetched."""
        return tuple(image for image in self.images if not image.problem)


def _check_types(value: LocalImage | Manifest) -> None:
    for one in fields(value):
        kind = get_origin(one.type) or one.type
        if not isinstance(getattr(value, one.name), kind):  # type: ignore[arg-type]
            raise TypeError(f"'{one.name}' is not what it should be")


def read_manifest(folder: Path) -> Manifest:
    """Raises `UserError` where the folder is not one of ours."""
    path = folder / MANIFEST
    try:
        return _decode(json.loads(path.read_text("utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder}: there is no {MANIFEST} in it; name the folder that `tagger download` made") from None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}: is damaged ({error}); nothing was touched, put the file back as it was or download another batch into a new folder"
        ) from None


def _decode(value: dict[str, Any]) -> Manifest:
    images = tuple(LocalImage(**image) for image in value["images"])
    return Manifest(**value | {"images": images, "uploaded": tuple(value["uploaded"])})


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Replace `batch.json` in one step."""
    write_file(folder / MANIFEST, json.dumps(asdict(manifest), indent=1, ensure_ascii=False).encode())
    return manifest


def mark(folder: Path, **changes: object) -> Manifest:
    """Change single fields of `batch.json`."""
    return write_manifest(folder, replace(read_manifest(folder), **changes))  # type: ignore[arg-type]


def abandon(folder: Path) -> None:
    """Take back a folder for which nothing could be claimed, if there is nothing else in it."""
    (folder / MANIFEST).unlink()
    with suppress(OSError):
        folder.rmdir()


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens, making its folder."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); make room or choose another folder, then run the command again"
        ) from None


def local_names(images: Iterable[ImageLabels]) -> tuple[LocalImage, ...]:
    """A plain file name for each image: its rank first, so every tool shows the batch in order, then what it is called."""
    return tuple(LocalImage(labels.image, _file_name(rank, labels.image)) for rank, labels in enumerate(images, 1))


def _file_name(rank: int, image: str) -> str:
    folder, filename = layout.split_image(image)
    stem, dot, suffix = filename.rpartition(".")
    readable = _sanitised("_".join(part for part in (*folder.split("/"), stem) if part))
    return f"{rank:04d}_{readable[-_LONGEST_NAME:]}{dot}{_sanitised(suffix.lower())[-_LONGEST_NAME:]}"


def _sanitised(name: str) -> str:
    return _UNSAFE.sub("_", name)
