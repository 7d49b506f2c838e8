"""What each annotation tool wants to find in a batch's folder, and where it leaves its work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from activelearning.errors import UserError
from activelearning.formats import coco, cvat, vott1, vott2
from activelearning.labels import ImageLabels, Reading, Review
from tagger_client.batch_folder import IMAGES

PROJECT_NAME = "batch"


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool's own file in the folder, and how its drafts are written and its work is read.

    `read` takes the path of the work and the state of images whose state the file cannot tell.
    """

    file: str
    advice: str
    write: Callable[[Sequence[ImageLabels], Path, Sequence[str]], object]
    read: Callable[[Path, Review], Reading]


def _write_vott2(images: Sequence[ImageLabels], path: Path, classes: Sequence[str]) -> object:
    return vott2.write(images, path.parent, source=path.parent.absolute() / IMAGES, name=PROJECT_NAME, classes=classes)


TOOLS = {
    "vott": Tool(
        f"{IMAGES}.json",
        f"open the folder {IMAGES} in VoTT 1 (it finds {IMAGES}.json beside it) and save when you are done",
        lambda images, path, classes: vott1.write(images, path, classes=classes),
        lambda path, unmarked: vott1.read(path, unmarked=unmarked),
    ),
    "vott2": Tool(
        f"{PROJECT_NAME}.vott",
        f"open {PROJECT_NAME}.vott in VoTT 2",
        _write_vott2,
        lambda path, unmarked: vott2.read(path),
    ),
    "cvat": Tool(
        "annotations.xml",
        f"make a CVAT task of the folder {IMAGES} with the labels of annotations.xml, upload annotations.xml as 'CVAT 1.1', tag each image you"
        " have looked at as 'reviewed', and export the task as 'CVAT for images 1.1'",
        lambda images, path, classes: cvat.write(images, path, classes=classes),
        lambda path, unmarked: cvat.read(path, unmarked=unmarked),
    ),
    "coco": Tool(
        "annotations.json",
        f"load the folder {IMAGES} and annotations.json into your tool and export COCO JSON",
        lambda images, path, classes: coco.write(images, path, classes=classes),
        lambda path, unmarked: coco.read(path, unmarked=unmarked),
    ),
}


def write_drafts(tool: str, drafts: Sequence[ImageLabels], folder: Path, classes: Sequence[str]) -> str:
    """Write the tool's files, unless they are there: a person may have begun. Returns what to do with them."""
    path = folder / TOOLS[tool].file
    if not path.exists():
        TOOLS[tool].write(drafts, path, classes)
    return TOOLS[tool].advice


def work_file(tool: str, folder: Path, given: Path | None) -> Path:
    """The file to hand in: the one that was named, or the tool's own."""
    path = given or folder / TOOLS[tool].file
    if not path.exists():
        raise UserError(f"{path}: there is no such file; name the one your tool has written: `tagger upload {folder} FILE`")
    return path
