"""What each annotation tool wants to find in a batch's folder, and where it leaves its work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from activelearning import formats
from activelearning.errors import FormatError, UserError
from activelearning.labels import ImageLabels, Reading, Review
from tagger_client.batch_folder import IMAGES, LocalImage, Manifest

PROJECT_NAME = "batch"
CVAT_LABELS = "labels.json"

Write = Callable[[Sequence[ImageLabels], Path, Sequence[str]], object]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool's own file in the folder, and what to do with it (`{}` is the folder)."""

    file: str
    advice: str
    write: Write
    exports: bool = False
    """Whether the work comes back in another file than the one we wrote."""
    hides: frozenset[str] = frozenset()
    """Kinds of image files that the tool never shows."""


def _one_file(form: str) -> Write:
    return lambda images, path, classes: formats.write(images, path, form, classes)


def _write_vott2(images: Sequence[ImageLabels], path: Path, classes: Sequence[str]) -> None:
    from activelearning.formats import vott2

    vott2.write(images, path.parent, source=path.parent.absolute() / IMAGES, name=PROJECT_NAME, classes=classes)


def _write_cvat(images: Sequence[ImageLabels], path: Path, classes: Sequence[str]) -> None:
    from activelearning.formats import output

    with TemporaryDirectory() as scratch:
        copy = Path(scratch) / path.name
        formats.write(images, copy, "cvat", classes)
        # The tool's own file comes last: where it stands, everything does.
        output.create_json(path.parent / CVAT_LABELS, _cvat_labels(copy))
    formats.write(images, path, "cvat", classes)


def _cvat_labels(path: Path) -> list[dict[str, object]]:
    """The labels in the head of a CVAT file as CVAT's own dialog for a new task takes them (tab "Raw")."""
    from activelearning.formats import parsing

    root = parsing.parse_xml(parsing.read_bytes(path), str(path))
    return [
        {tag: label.findtext(tag, "") for tag in ("name", "color", "type")}
        | {
            "attributes": [
                {tag: attribute.findtext(tag, "") for tag in ("name", "input_type", "default_value")}
                | {"mutable": False, "values": attribute.findtext("values", "").split("\n")}
                for attribute in label.iterfind("attributes/attribute")
            ]
        }
        for label in root.iterfind("meta/task/labels/label")
    ]


TOOLS = {
    "vott": Tool(
        f"{IMAGES}.json",
        f"open the folder {{}}/{IMAGES} in VoTT 1 (it finds {IMAGES}.json beside it), step through the images and save",
        _one_file("vott"),
        hides=frozenset({".bmp", ".tif", ".tiff", ".webp"}),
    ),
    "vott2": Tool(f"{PROJECT_NAME}.vott", f"open {{}}/{PROJECT_NAME}.vott in VoTT 2 and step through the images", _write_vott2),
    "cvat": Tool(
        "annotations.xml",
        f"make a CVAT task of the images in {{}}/{IMAGES} with the labels of {CVAT_LABELS} (tab 'Raw'), upload annotations.xml to it as "
        "'CVAT 1.1', tag every image you have looked at as 'reviewed', and export the task as 'CVAT for images 1.1'",
        _write_cvat,
        exports=True,
    ),
    "coco": Tool(
        "annotations.json",
        f"load {{}}/{IMAGES} and annotations.json into your tool, and let it write COCO when you are done",
        _one_file("coco"),
        exports=True,
    ),
}


def check_classes(tool: str, classes: Sequence[str]) -> None:
    """Raise `UserError` for a class name that the tool cannot hold: before anything is claimed."""
    with TemporaryDirectory() as scratch:
        TOOLS[tool].write((), Path(scratch) / TOOLS[tool].file, classes)


def write_drafts(tool: str, drafts: Sequence[ImageLabels], folder: Path, classes: Sequence[str]) -> None:
    """Write the tool's files, unless they are there: a person may have begun."""
    path = folder / TOOLS[tool].file
    if not path.exists():
        TOOLS[tool].write(drafts, path, classes)


def hand_in(tool: str, folder: Path) -> str:
    """The command that hands a batch in."""
    return f"`tagger upload {folder}{' FILE' if TOOLS[tool].exports else ''}`"


def hidden(tool: str, local: LocalImage) -> bool:
    """Whether the tool will never show this file."""
    return Path(local.file).suffix in TOOLS[tool].hides


def work_file(tool: str, folder: Path, given: Path | None) -> Path:
    """The file to hand in: the one that was named, or the tool's own."""
    path = given or folder / TOOLS[tool].file
    if not path.exists():
        raise UserError(f"{path}: there is no such file; name the one your tool has written: `tagger upload {folder} FILE`")
    return path


def read(manifest: Manifest, path: Path, unmarked: Review) -> Reading:
    """Read what the tool has written. Images whose state the file cannot tell are `unmarked`."""
    try:
        return formats.read(path, manifest.tool, unmarked=unmarked, names=[local.file for local in manifest.images])
    except FormatError as error:
        actual = _detected(path)
        if actual in (None, manifest.tool):
            raise
        raise UserError(
            f"{path}: this is {formats.FORMATS[str(actual)]}, but the batch was laid out for {formats.FORMATS[manifest.tool]}; "
            "hand in the file that this tool has written"
        ) from error


def _detected(path: Path) -> str | None:
    try:
        return formats.detect(path)
    except FormatError:
        return None
