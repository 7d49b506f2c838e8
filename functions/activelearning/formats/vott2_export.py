"""VoTT 2's exports: `NAME-export.json` (all assets in one file) and `NAME-export.csv` (pixel boxes).

Source: microsoft/VoTT 2.2.0, `providers/export/vottJson.ts` and `csv.ts`. The JSON says of each image whether it was opened.
The CSV cannot hold images without boxes, folders, image sizes, masks, confidences and sources; all its images count as reviewed.
The JSON cannot hold masks that are not one polygon (they become their box).
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

from activelearning import shapes
from activelearning.errors import FormatError
from activelearning.formats import output, parsing, places
from activelearning.formats import vott2_assets as assets
from activelearning.formats.colours import palette
from activelearning.formats.vott2_assets import Keys
from activelearning.labels import Box, ImageLabels, Problem, Reading, Review, box_from_pixels

SizeOf = Callable[[str], tuple[int, int]]

COLUMNS = ("image", "xmin", "ymin", "xmax", "ymax", "label")


def read(path: Path, *, root: str = "", size_of: SizeOf | None = None) -> Reading:
    """Read an export; JSON or CSV by what is in it.

    JSON: `image` is the path below `root`, or the whole path, as exports do not tell the source folder. CSV: the bare name;
    `size_of(image)` gives width and height in pixels, which the CSV lacks.
    """
    raw = parsing.read_bytes(path)
    text = parsing.decode(raw, str(path))
    if text.lstrip().startswith("{"):
        return places.collect(_json_images(path.name, _assets(path, raw), root), path.name)
    if size_of is None:
        raise FormatError(f"{path}: has pixels but no image sizes; the images are needed to read it")
    return places.collect(_csv_images(path, text, size_of), path.name)


def _assets(path: Path, raw: bytes) -> Mapping[str, object]:
    listed = parsing.json_object(raw, str(path)).get("assets")
    if not isinstance(listed, dict):
        raise FormatError(f"{path}: has no 'assets', so it is not a VoTT 2 export")
    return listed


def _json_images(file: str, listed: Mapping[str, object], root: str) -> Iterator[ImageLabels | Problem]:
    for identity, value in listed.items():
        where = f"{file}, asset {identity}"
        entry = yield from places.attempt(where, _entry, value, root)
        if entry is not None:
            name, asset, regions = entry
            yield from assets.image_of(where, name, asset, regions, _review(asset))


def _entry(value: object, root: str) -> tuple[str, Keys, object]:
    metadata = places.record(value)
    asset = places.record(metadata.get("asset"))
    assets.check_type(asset)
    return assets.name_of(asset, root), asset, metadata.get("regions")


def _review(asset: Keys) -> Review:
    return Review.REVIEWED if assets.state_of(asset) in (assets.EMPTY, assets.TAGGED) else Review.UNOPENED


def _csv_images(path: Path, text: str, size_of: SizeOf) -> Iterator[ImageLabels | Problem]:
    by_image: dict[str, list[tuple[int, Mapping[str, object]]]] = {}
    for line, row in _rows(path, text):
        by_image.setdefault(str(row["image"]), []).append((line, row))
    for encoded, rows in by_image.items():
        where = f"{path.name}, image '{encoded}'"
        name = yield from places.attempt(where, places.image_name, unquote(encoded))
        if name is not None:
            width, height = size_of(name)
            found = (one for line, row in rows for one in _csv_box(f"{path.name} row {line}", row, width, height))
            boxes, problems = places.split(found)
            yield from problems
            yield ImageLabels(name, width, height, boxes)


def _rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if tuple(rows.fieldnames or ())[: len(COLUMNS)] != COLUMNS:
            raise FormatError(f"{path}: does not begin with {','.join(COLUMNS)}, so it is not a VoTT 2 CSV export")
        for row in rows:
            yield rows.line_num, row
    except csv.Error as error:
        raise FormatError(f"{path} row {rows.line_num}: is not CSV ({error})") from None


def _csv_box(where: str, row: Mapping[str, object], width: int, height: int) -> Iterator[Box | Problem]:
    box = yield from places.attempt(where, _row_box, row, width, height)
    if box:
        yield box


def _row_box(row: Mapping[str, object], width: int, height: int) -> Box:
    xmin, ymin, xmax, ymax = (places.number(row.get(key), key) for key in COLUMNS[1:5])
    return box_from_pixels(places.label(row.get("label")), (xmin, ymin, xmax, ymax), width, height)


def write(images: Sequence[ImageLabels], path: Path, *, classes: Sequence[str] = ()) -> None:
    """Write a new export: CSV if `path` ends so, else JSON."""
    if path.suffix.lower() == ".csv":
        output.create(path, _csv_text(images))
    else:
        output.create_json(path, _json_export(images, path.stem, output.class_names(images, classes)))


def _csv_text(images: Sequence[ImageLabels]) -> str:
    names = [PurePosixPath(image.image).name for image in images]
    output.refuse_twins(images, names, "VoTT 2's CSV knows an image by its bare file name only")
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(COLUMNS)
    for image, name in zip(images, names, strict=True):
        writer.writerows((quote(name), *shapes.to_pixels(box, shapes.measured(image)), box.label) for box in image.boxes)
    return text.getvalue()


def _json_export(images: Sequence[ImageLabels], name: str, tags: Sequence[str]) -> dict[str, object]:
    colours = palette(tags)
    listed = {}
    for image in images:
        asset = assets.asset_of(image, assets.asset_id(PurePosixPath(image.image)), assets.encode_path(image.image))
        listed[str(asset["id"])] = assets.metadata_of(image, asset)
    project = {"name": name, "version": assets.VERSION, "tags": [{"name": tag, "color": colours[tag]} for tag in tags]}
    return project | {"assets": listed}
