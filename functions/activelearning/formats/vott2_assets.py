"""VoTT 2's unit: an asset with its regions, as it stands in `<id>-asset.json` and, many together, in the JSON export.

Source: microsoft/VoTT 2.2.0, `models/applicationState.ts`, `services/assetService.ts`, `common/utils.ts`. Coordinates are pixels;
`name` and `path` are URL-encoded. Extra keys of regions survive VoTT's saving, so `confidence` and `source` ride along; VoTT moves
a region in place, so they stay as they were when a person corrects the box.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from urllib.parse import quote, unquote, urlsplit

from activelearning import outlines, shapes
from activelearning.errors import FormatError
from activelearning.formats import output, places
from activelearning.labels import Box, ImageLabels, Polygons, Problem, Review, box_from_pixels

VERSION = "2.2.0"
UNOPENED, EMPTY, TAGGED = 0, 1, 2
"""`AssetState`: not visited, visited, tagged."""

Keys = Mapping[str, object]

_IMAGE = 1
_BOXES = ("RECTANGLE", "SQUARE", "POLYGON")
_UNENCODED = ";,/:@&=+$-_.!~*'()"
"""What JavaScript's encodeURI leaves alone, less `#` and `?`, which VoTT encodes itself."""


def name_of(asset: Keys, root: str = "") -> str:
    """An asset's name, decoded, relative to `root` if it lies below it; else its whole path or URL path."""
    path = places.image_name(asset.get("path"))
    decoded = unquote(_url_path(path) if path.lower().startswith(("http://", "https://")) else path.removeprefix("file:"))
    return places.image_name(decoded.removeprefix(root.replace("\\", "/").rstrip("/") + "/") if root else decoded)


def _url_path(url: str) -> str:
    """What comes before the SAS, which is no part of the name."""
    try:
        return urlsplit(url).path.lstrip("/")
    except ValueError:
        raise FormatError("the image's URL is damaged") from None


def state_of(asset: Keys) -> int | None:
    """The asset's state if it is one that VoTT knows."""
    state = asset.get("state")
    return state if isinstance(state, int) and state in (UNOPENED, EMPTY, TAGGED) else None


def check_type(asset: Keys) -> None:
    """`FormatError` for videos and their frames."""
    if asset.get("type", _IMAGE) != _IMAGE:
        raise FormatError("this is not an image (video and TFRecord assets are not supported)")


def image_of(where: str, name: str, asset: Keys, regions: object, review: Review) -> Iterator[ImageLabels | Problem]:
    """One image with its regions; a region with several tags becomes as many boxes."""
    size = yield from places.attempt_detail(where, _size, asset)
    listed = yield from places.attempt(where, places.entries, regions, "regions")
    width, height = size or (0, 0)
    numbered = enumerate(listed or (), 1)
    boxes, problems = places.split(one for at, region in numbered for one in _boxes(f"{where}, region {at}", region, width, height))
    yield from problems
    yield ImageLabels(name, width, height, boxes, review)


def _size(asset: Keys) -> tuple[int, int]:
    size = places.record(asset.get("size") or {})
    return places.pixels(size.get("width"), "width"), places.pixels(size.get("height"), "height")


def _boxes(where: str, value: object, width: int, height: int) -> Iterator[Box | Problem]:
    region = yield from places.attempt(where, _drawn, value)
    if region is None:
        return
    confidence = yield from places.attempt_detail(where, places.score, region.get("confidence"))
    mask = yield from places.attempt_detail(where, _mask, region, width, height)
    for tag in places.entries(region.get("tags"), "tags") or [None]:
        box = yield from places.attempt(where, _box, region, tag, width, height, confidence, mask)
        if box:
            yield box


def _drawn(value: object) -> Keys:
    region = places.record(value)
    if region.get("type") not in _BOXES:
        raise FormatError(f"a region of type {region.get('type')!r} is neither a box nor a polygon")
    places.entries(region.get("tags"), "tags")
    return region


def _mask(region: Keys, width: int, height: int) -> Polygons | None:
    return shapes.outline([_points(region)], width, height) if region.get("type") == "POLYGON" else None


def _points(region: Keys) -> list[float]:
    points = [places.record(point) for point in places.entries(region.get("points"), "points")]
    return [places.number(point.get(axis), axis) for point in points for axis in ("x", "y")]


def _box(region: Keys, tag: object, width: int, height: int, confidence: float | None, mask: Polygons | None) -> Box:
    source = places.source(region.get("source"))
    return box_from_pixels(places.label(tag), _corners(region), width, height, confidence=confidence, source=source, mask=mask)


def _corners(region: Keys) -> shapes.Corners:
    if "boundingBox" not in region:
        return shapes.bounds([shapes.finite(_points(region))])
    box = places.record(region["boundingBox"])
    left, top, width, height = (places.number(box.get(key), key) for key in ("left", "top", "width", "height"))
    return left, top, left + width, top + height


def encode_path(path: str) -> str:
    """A path as VoTT writes it: a `file:` URL with VoTT's own choice of encoded characters."""
    return "file:" + quote(path.replace("\\", "/"), safe=_UNENCODED)


def asset_id(relative: PurePath) -> str:
    """VoTT's id of an image: md5 of its path below the source folder, with the separators of the machine VoTT runs on."""
    return hashlib.md5(str(relative).encode(), usedforsecurity=False).hexdigest()


def asset_of(image: ImageLabels, identity: str, path: str) -> dict[str, object]:
    """The asset's own keys. An unopened draft has state 0 although it has regions; see `vott2`."""
    tagged = TAGGED if image.boxes else EMPTY
    name = path.rpartition("/")[2]
    return {
        "format": name.rpartition(".")[2],
        "id": identity,
        "name": name,
        "path": path,
        "size": {"width": image.width, "height": image.height} if image.width and image.height else None,
        "state": tagged if image.review is Review.REVIEWED else UNOPENED,
        "type": _IMAGE,
    }


def metadata_of(image: ImageLabels, asset: Keys) -> dict[str, object]:
    """The whole of an asset file."""
    identity = str(asset["id"])
    regions = [_region(shapes.measured(image), box, f"{identity[:6]}{at:04d}") for at, box in enumerate(image.boxes)]
    return {"asset": dict(asset), "regions": regions, "version": VERSION}


def _region(image: ImageLabels, box: Box, identity: str) -> dict[str, object]:
    xmin, ymin, xmax, ymax = shapes.to_pixels(box, image)
    ring = outlines.ring_of(box)
    corners: Sequence[float] = shapes.ring_pixels(ring, image) if ring else (xmin, ymin, xmax, ymin, xmax, ymax, xmin, ymax)
    points = [{"x": x, "y": y} for x, y in zip(corners[::2], corners[1::2], strict=True)]
    bounding = {"height": ymax - ymin, "width": xmax - xmin, "left": xmin, "top": ymin}
    region = {"id": identity, "type": "POLYGON" if ring else "RECTANGLE", "tags": [box.label], "boundingBox": bounding, "points": points}
    return region | output.own_keys(box)
