"""VoTT 2.x projects: `<name>.vott` and, for every image with regions, `<id>-asset.json` in the same folder.

Source: microsoft/VoTT 2.2.0, `editorPage.tsx` (selectAsset, onAssetMetadataChanged), `assetService.ts`, `currentProjectReducer.ts`.

A draft is written with state 0 ("not visited") in both files although it has regions. VoTT reads the regions of any listed asset
that has a file; when a person opens the image it sets the state to 2, or to 1 and removes the file if no region is left, and saves
both files. So opened and unopened drafts stay apart. Two traps: VoTT opens the last visited image, else the first, by itself when
the project is opened; and renaming or deleting a tag sets state 2 on every asset that carries it, opened or not.

Cannot hold: run lengths (they become the outline of their largest part), outlines of several rings (they become their box), the size of
images that nobody measured.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from activelearning import layout
from activelearning.errors import FormatError
from activelearning.formats import output, parsing, places
from activelearning.formats import vott2_assets as assets
from activelearning.formats.colours import palette
from activelearning.formats.vott2_assets import Keys
from activelearning.labels import ImageLabels, Problem, Reading, Review

_SUFFIX = "-asset.json"


def read(path: Path, *, root: str = "") -> Reading:
    """Read a project, given as its `.vott` file or the folder that holds just one.

    `image` is the name below the project's source folder or container; where the project doesn't tell that (its connections are
    encrypted) below `root`, else the whole path. State 0 is unopened, 1 reviewed and empty, 2 reviewed.
    """
    file = _project_file(path)
    project = parsing.json_object(parsing.read_bytes(file), str(file))
    listed = project.get("assets") or {}
    if "sourceConnection" not in project or not isinstance(listed, dict):
        raise FormatError(f"{file}: has no 'sourceConnection', so it is not a VoTT 2 project")
    return places.collect(_images(file, listed, root or _root(project)), file.name)


def _project_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    files = sorted(path.glob("*.vott"))
    if len(files) != 1:
        raise FormatError(f"{path}: holds {len(files)} VoTT projects (*.vott), not one; name the file")
    return files[0]


def _root(project: Keys) -> str:
    connection = project["sourceConnection"]
    options = connection.get("providerOptions") if isinstance(connection, dict) else None
    if not isinstance(options, dict):
        return ""
    return str(options.get("folderPath") or options.get("containerName") or "")


def _images(file: Path, listed: Mapping[str, object], root: str) -> Iterator[ImageLabels | Problem]:
    # the files are listed, not looked up by id: an id from outside is no safe part of a path
    files = {found.name.removesuffix(_SUFFIX): found for found in sorted(file.parent.glob(f"*{_SUFFIX}"))}
    for identity in [*listed, *(identity for identity in files if identity not in listed)]:
        yield from _image(f"{file.name}, asset {identity}", listed.get(identity, {}), files.get(identity), root)


def _image(where: str, value: object, file: Path | None, root: str) -> Iterator[ImageLabels | Problem]:
    listed = yield from places.attempt(where, _checked, value)
    filed = yield from places.attempt(where, _metadata, file)
    if listed is None or filed is None:
        return
    asset = {**listed, **filed.asset}
    name = yield from places.attempt(where, assets.name_of, asset, root)
    states = assets.state_of(listed), assets.state_of(filed.asset)
    if states == (assets.TAGGED, None) and not file:
        yield Problem(where, "has boxes by the project, but its asset file is missing; it was left out, find that file")
    elif name is not None:
        if states == (assets.TAGGED, assets.UNOPENED):
            yield Problem(where, "is tagged by the project but never opened by its own file; it counts as unopened, open it in VoTT")
        # VoTT could not remove the file of a draft whose boxes the person took away
        regions = [] if states == (assets.EMPTY, assets.UNOPENED) else filed.regions
        yield from assets.image_of(where, name, asset, regions, _review(*states))


@dataclass(frozen=True, slots=True)
class _Filed:
    asset: Keys
    regions: object = None


def _metadata(file: Path | None) -> _Filed:
    if file is None:
        return _Filed({})
    metadata = parsing.json_object(parsing.read_bytes(file), file.name)
    return _Filed(_checked(metadata.get("asset")), metadata.get("regions"))


def _checked(value: object) -> Keys:
    asset = places.record(value)
    assets.check_type(asset)
    return asset


def _review(listed: int | None, filed: int | None) -> Review:
    """The asset file is saved first, so it decides – but for a draft that was emptied."""
    opened = listed if filed is None or (listed, filed) == (assets.EMPTY, assets.UNOPENED) else filed
    return Review.REVIEWED if opened in (assets.EMPTY, assets.TAGGED) else Review.UNOPENED


def write(
    images: Sequence[ImageLabels], folder: Path, *, source: PurePath | None = None, name: str = "labels", classes: Sequence[str] = ()
) -> Path:
    """Write a new project into `folder` and return its `.vott` file.

    `source` is the folder of the images as the machine that runs VoTT sees it; its kind (Windows or not) decides the asset ids, and
    image names are paths below it. Without it, the images lie in `folder`. VoTT shows the images in the given order.
    """
    below = source if source is not None else folder.absolute()
    parts = [(image, _asset_below(below, image)) for image in images]
    for image, asset in parts:
        if image.boxes:
            output.create_json(folder / f"{asset['id']}{_SUFFIX}", assets.metadata_of(image, asset))
    tags = output.class_names(images, classes)
    project = _project(name, _connections(name, below, folder.absolute()), tags)
    file = folder / f"{name}.vott"
    output.create_json(file, project | {"assets": {str(asset["id"]): asset for _, asset in parts}})
    return file


def _asset_below(source: PurePath, image: ImageLabels) -> dict[str, object]:
    kind = PureWindowsPath if isinstance(source, PureWindowsPath) else PurePosixPath
    relative = kind(layout.check_blob_name(image.image))
    return assets.asset_of(image, assets.asset_id(relative), assets.encode_path(str(kind(source) / relative)))


def _connections(name: str, source: PurePath, target: PurePath) -> dict[str, object]:
    return {
        "sourceConnection": _connection(f"{name} images", source),
        "targetConnection": _connection(f"{name} target", target),
    }


def _connection(name: str, folder: PurePath) -> dict[str, object]:
    options = {"folderPath": str(folder), "relativePath": True}
    return {"name": name, "providerType": "localFileSystemProxy", "providerOptions": options, "id": _identity(name)}


def _identity(text: str) -> str:
    return re.sub("[^A-Za-z0-9]", "-", text)[:40]


def _project(name: str, connections: Mapping[str, object], tags: Sequence[str]) -> dict[str, object]:
    colours = palette(tags)
    return {
        "name": name,
        **connections,
        "videoSettings": {"frameExtractionRate": 15},
        "tags": [{"name": tag, "color": colours[tag]} for tag in tags],
        "useSecurityToken": False,
        "id": _identity(name),
        "activeLearningSettings": {"autoDetect": False, "predictTag": True, "modelPathType": "coco"},
        "exportFormat": {"providerType": "vottJson", "providerOptions": {"assetState": "visited", "includeImages": False}},
        "version": assets.VERSION,
    }
