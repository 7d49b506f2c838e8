"""The folder a batch is reviewed in: `batch.json`, `images/`, the drafts as they were, and the tool's own files.

Rule: nothing in it is deleted or overwritten by us once a person may have worked on it. `batch.json` is written before the claim
is made, so that a download that was cut off goes on with the very same claim.
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from activelearning import layout
from activelearning.errors import UserError
from activelearning.labels import ImageLabels

MANIFEST = "batch.json"
IMAGES = "images"
DRAFTS = "drafts.csv"

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
    """Reviewed uploads made from this folder."""
    released: bool = False

    @property
    def usable(self) -> tuple[LocalImage, ...]:
        """The images that could be fetched."""
        return tuple(image for image in self.images if not image.problem)


def read_manifest(folder: Path) -> Manifest:
    """Raises `UserError` where the folder is not one of ours."""
    path = folder / MANIFEST
    try:
        value = json.loads(path.read_text("utf-8"))
        images = tuple(LocalImage(**image) for image in value["images"])
        return Manifest(**value | {"images": images, "uploaded": tuple(value["uploaded"])})
    except FileNotFoundError:
        raise UserError(
            f"{folder}: there is no {MANIFEST}, so this is not the folder of a batch; name the one `tagger download` made"
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: it is damaged ({error}); download the batch again into a new folder") from None


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Replace `batch.json` in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / MANIFEST, json.dumps(asdict(manifest), indent=1, ensure_ascii=False).encode())
    return manifest


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); make room or choose another folder, then run the command again"
        ) from None


def local_names(images: Iterable[ImageLabels]) -> tuple[LocalImage, ...]:
    """A plain file name for each image: its rank first, so every tool shows the batch in order, then what it is called."""
    return tuple(LocalImage(labels.image, _file_name(rank, labels.image)) for rank, labels in enumerate(images, 1))


def _file_name(rank: int, image: str) -> str:
    folder, filename = layout.split_image(image)
    stem, dot, suffix = filename.rpartition(".")
    readable = _UNSAFE.sub("_", "_".join(part for part in (*folder.split("/"), stem) if part))
    return f"{rank:04d}_{readable[-_LONGEST_NAME:]}{dot}{suffix.lower()}"


def mark(folder: Path, **changes: object) -> Manifest:
    """Change single fields of `batch.json`."""
    return write_manifest(folder, replace(read_manifest(folder), **changes))  # type: ignore[arg-type]
