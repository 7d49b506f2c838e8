"""Projects with a pool to review, and the hands of a person at each tool: they edit its file as the tool would, not by our readers."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import defusedxml.ElementTree
import pytest
from PIL import Image

from activelearning import cli as activelearning_cli
from activelearning import commits, layout, onboarding, table
from activelearning.commits import Commit
from activelearning.labels import MODEL, Box, ImageLabels, Review
from activelearning.store import Store, open_store
from tagger_client import cli as tagger_cli

CLASSES = ("cat", "dog")
WIDTH, HEIGHT = 64, 48

Drawn = tuple[str, float, float, float, float]
"""Class and corners xmin, ymin, xmax, ymax in pixels."""


@dataclass(frozen=True)
class Ran:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The error, after seeing that it is one line and nothing else."""
        assert self.code == 1 and not self.out, (self.out, self.err)
        lines = [line for line in self.err.splitlines() if not line.startswith(("warning: ", "using "))]
        assert len(lines) == 1 and lines[0].startswith("error: "), self.err
        return lines[0].removeprefix("error: ")

    @property
    def value(self) -> dict[str, object]:
        assert self.code == 0, self.err
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


def _run(main: Callable[[Sequence[str]], int], capsys: pytest.CaptureFixture[str], arguments: Iterable[object]) -> Ran:
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return Ran(code, out, err)


@dataclass(frozen=True)
class Terminal:
    """Runs the programs as the console scripts do."""

    capsys: pytest.CaptureFixture[str]

    def tagger(self, *arguments: object) -> Ran:
        return _run(tagger_cli.main, self.capsys, arguments)

    def activelearning(self, *arguments: object) -> Ran:
        return _run(activelearning_cli.main, self.capsys, arguments)


def on_a_full_disk(largest: int, module: str, *arguments: object) -> str:
    """Run a program where no file can grow beyond so many bytes; returns what it said, which is one line and an error."""
    pytest.importorskip("resource")
    program = f"import resource, sys; from {module} import main; resource.setrlimit(resource.RLIMIT_FSIZE, ({largest}, {largest}))"
    command = [sys.executable, "-c", f"{program}; sys.exit(main(sys.argv[1:]))", *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 1 and not ran.stdout and len(ran.stderr.splitlines()) == 1, ran.stderr
    return ran.stderr


def photo(shade: int = 90, size: tuple[int, int] = (WIDTH, HEIGHT), orientation: int = 1, kind: str = "JPEG") -> bytes:
    """An image file. `orientation` is EXIF's: 6 stands on its side."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.new("RGB", size, (shade, 120, 200)).save(out, kind, exif=exif)
    return out.getvalue()


def draft(label: str, corners: tuple[float, float, float, float], confidence: float = 0.8) -> Box:
    """A model's box, corners in pixels of a 64 × 48 image."""
    x1, y1, x2, y2 = corners
    return Box(label, x1 / WIDTH, y1 / HEIGHT, x2 / WIDTH, y2 / HEIGHT, confidence, MODEL)


CAT, DOG = draft("cat", (8, 8, 24, 24)), draft("dog", (32, 16, 56, 40), 0.6)


def in_memory(tmp_path: Path) -> str:
    """The address of a store for one test, without the waits for a disk."""
    return f"memory:{tmp_path.name}"


def project(place: Path | str, names: Sequence[str], boxes: Sequence[Box] = (CAT, DOG), classes: Sequence[str] = CLASSES) -> Store:
    """A project with these images, each different, and a totag that lists them in this order with these drafts."""
    store = open_store(str(place))
    onboarding.create_project(store, onboarding.make_settings(classes, []))
    for shade, name in enumerate(names):
        store.images.create(name, photo(shade))
    list_pool(store, [ImageLabels(name, WIDTH, HEIGHT, tuple(boxes), Review.UNOPENED, image_confidence=0.6) for name in names])
    return store


def list_pool(store: Store, pool: Sequence[ImageLabels]) -> None:
    """Publish a totag as a trainer does."""
    publish_totag(store, table.table_bytes(pool), len(pool))


def publish_totag(store: Store, content: bytes, images: int) -> None:
    """Publish these bytes as the totag."""
    before = commits.latest(store.labels)
    sequence = before.sequence + 1 if before else 1
    run = layout.run_name("main", sequence)
    store.labels.create(layout.totag(run), content)
    commit = Commit(sequence, f"predict-{sequence}", run, "", layout.totag(run), "", 1.0, images, 0, 1.0)
    assert commits.publish(store.labels, commit, sequence - 1)


def uploads(store: Store) -> dict[str, dict[str, ImageLabels]]:
    """Reviewed uploads by the end of their name, with their labels by image."""
    names = [info.name for info in store.labels.list("batches/") if layout.batch_of_reviewed(info.name)]
    return {name.rpartition("/")[2]: _labels(store, name) for name in names}


def _labels(store: Store, name: str) -> dict[str, ImageLabels]:
    reading = table.read_labels(store.labels.read(name).content.decode(), name)
    assert not reading.problems
    return {labels.image: labels for labels in reading.images}


def rounded(labels: ImageLabels) -> list[Drawn]:
    """Boxes in whole pixels."""
    return [_in_pixels(box, labels.width, labels.height) for box in labels.boxes]


def _in_pixels(box: Box, width: int, height: int) -> Drawn:
    return box.label, round(box.xmin * width), round(box.ymin * height), round(box.xmax * width), round(box.ymax * height)


def files_of(folder: Path) -> dict[str, str]:
    """Local file by blob name."""
    return {image["image"]: image["file"] for image in json.loads((folder / "batch.json").read_text("utf-8"))["images"]}


Work = Mapping[str, Sequence[Drawn]]
"""What a person leaves in each image that was opened, by blob name."""


def review(folder: Path, work: Work) -> list[Path]:
    """Do the work at the batch's tool; returns the file to hand in where it is not the tool's own."""
    tool = json.loads((folder / "batch.json").read_text("utf-8"))["tool"]
    named = files_of(folder)
    return _HANDS[tool](folder, {named[image]: boxes for image, boxes in work.items()})


def _vott(folder: Path, work: Work) -> list[Path]:
    path = folder / "images.json"
    saved = json.loads(path.read_text("utf-8"))
    saved.pop("drafts", None)
    saved["frames"] |= {file: [_vott_region(box, at) for at, box in enumerate(boxes, 1)] for file, boxes in work.items()}
    saved["visitedFrames"] = sorted({*work, *(saved["visitedFrames"] if path.with_suffix(".saved").exists() else ())})
    path.with_suffix(".saved").touch()
    path.write_text(json.dumps(saved), "utf-8")
    return []


def _vott_region(box: Drawn, at: int) -> dict[str, object]:
    label, x1, y1, x2, y2 = box
    corners = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return {
        **corners,
        "width": WIDTH,
        "height": HEIGHT,
        "box": corners,
        "UID": f"{at:08x}",
        "id": at,
        "type": "rect",
        "tags": [label],
        "name": at,
    }


def _vott2(folder: Path, work: Work) -> list[Path]:
    path = folder / "batch.vott"
    saved = json.loads(path.read_text("utf-8"))
    for identity, asset in saved["assets"].items():
        if asset["name"] in work:
            boxes = work[asset["name"]]
            asset["state"] = 2 if boxes else 1
            file = folder / f"{identity}-asset.json"
            file.unlink(missing_ok=True)
            if boxes:
                file.write_text(json.dumps({"asset": asset, "regions": [_vott2_region(box) for box in boxes], "version": "2.2.0"}), "utf-8")
    path.write_text(json.dumps(saved), "utf-8")
    return []


def _vott2_region(box: Drawn) -> dict[str, object]:
    label, x1, y1, x2, y2 = box
    points = [{"x": x, "y": y} for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))]
    bounds = {"left": x1, "top": y1, "width": x2 - x1, "height": y2 - y1}
    return {"id": f"{x1}-{y1}", "type": "RECTANGLE", "tags": [label], "boundingBox": bounds, "points": points}


def _cvat(folder: Path, work: Work) -> list[Path]:
    root = defusedxml.ElementTree.fromstring((folder / "annotations.xml").read_text("utf-8"))
    for image in root.iter("image"):
        if image.attrib["name"] in work:
            for shape in image.findall("*"):
                image.remove(shape)
            ElementTree.SubElement(image, "tag", {"label": "reviewed", "source": "manual"})
            for box in work[image.attrib["name"]]:
                ElementTree.SubElement(image, "box", _cvat_box(box))
    path = folder / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("annotations.xml", ElementTree.tostring(root, "unicode"))
    return [path]


def _cvat_box(box: Drawn) -> dict[str, str]:
    corners = dict(zip(("xtl", "ytl", "xbr", "ybr"), (f"{value:.2f}" for value in box[1:]), strict=True))
    return {"label": box[0], "source": "manual", "occluded": "0", "z_order": "0", **corners}


def _coco(folder: Path, work: Work) -> list[Path]:
    """A tool that hands back the images that were worked on, and knows none of our keys."""
    saved = json.loads((folder / "annotations.json").read_text("utf-8"))
    ids = {image["file_name"]: image["id"] for image in saved["images"]}
    categories = {category["name"]: category["id"] for category in saved["categories"]}
    drawn = [(ids[file], box) for file, boxes in work.items() for box in boxes]
    annotations = [
        {"id": at, "image_id": image, "category_id": categories[b[0]], "bbox": [b[1], b[2], b[3] - b[1], b[4] - b[2]], "iscrowd": 0}
        for at, (image, b) in enumerate(drawn, 1)
    ]
    images = [
        {key: image[key] for key in ("id", "file_name", "width", "height")} for image in saved["images"] if image["file_name"] in work
    ]
    path = folder / "export.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": saved["categories"]}), "utf-8")
    return [path]


_HANDS = {"vott": _vott, "vott2": _vott2, "cvat": _cvat, "coco": _coco}
