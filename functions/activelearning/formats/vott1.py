"""VoTT 1.x: `<folder>.json` beside a folder of images (source: microsoft/VoTT, branch v1, `src/index.js`, `video-tagging.html`).

`frames` maps bare file names (VoTT before 1.6: indexes into the sorted folder) to regions in pixels of the region's own `width` and
`height`; `visitedFrames` lists the images that VoTT has shown. Boxes in an image it has not shown are drafts.

Cannot hold: folders of images, masks, class names with blanks or commas (VoTT removes them, and then the tags of those regions), the
size of an image without boxes. `confidence` and `source` ride as extra keys of a region.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from activelearning import layout, shapes
from activelearning.errors import FormatError
from activelearning.formats import output, parsing, places
from activelearning.formats.colours import palette
from activelearning.labels import Box, ImageLabels, Problem, Reading, Review, box_from_pixels

_DRAFTS = "drafts"
"""Our own key: which images are unopened. VoTT drops it when it first saves, so where it still stands nobody has worked on the file."""

_NO_AREA = ("point", "polyline")
_SHOWN = ("jpg", "jpeg", "png", "gif")
"""Ends of the names that VoTT 1 takes for images."""


def read(path: Path, *, names: Sequence[str] = (), unmarked: Review = Review.REVIEWED) -> Reading:
    """Read a VoTT 1 file; `image` is the bare file name.

    An image is reviewed if it is in `visitedFrames` or is `[{}]` (VoTT's "mark empty"). In a file without `visitedFrames`, which
    VoTT has never saved, an image with regions is `unmarked` and one without is unopened, since an empty entry may be just a
    placeholder. `names` are the folder's image names: needed, and sorted here without regard to case, where frames are numbered.
    """
    project = parsing.json_object(parsing.read_bytes(path), str(path))
    frames = project.get("frames")
    if not isinstance(frames, dict):
        raise FormatError(f"{path}: has no 'frames', so it is not a VoTT 1 file")
    ordered = sorted(names, key=str.lower)
    named = _by_name(path, frames, ordered)
    drafts = project.get(_DRAFTS)
    unopened = dict.fromkeys(map(str, drafts)) if isinstance(drafts, list) else {}
    return places.collect(_images(path, named, _visited(project, ordered), unopened, unmarked), path.name)


def _by_name(path: Path, frames: Mapping[str, object], ordered: Sequence[str]) -> dict[str, object]:
    numbered = bool(frames) and all(key.isdecimal() for key in frames)
    if numbered and not ordered:
        raise FormatError(f"{path}: numbers its images (VoTT before 1.6); the list of image names is needed to read it")
    return {_name(key, ordered) if numbered else key: regions for key, regions in frames.items()}


def _name(key: str, ordered: Sequence[str]) -> str:
    # nine digits are more images than any folder has
    at = int(key[:9])
    return ordered[at] if at < len(ordered) and not key[9:] else key


def _visited(project: Mapping[str, object], ordered: Sequence[str]) -> frozenset[str] | None:
    frames = project.get("visitedFrames")
    if not isinstance(frames, list):
        return None
    # early 1.6 builds mixed in full paths (VoTT issue 260); indexes are whole numbers
    bare = (str(frame).replace("\\", "/").rpartition("/")[2] for frame in frames)
    return frozenset(_name(frame, ordered) if frame.isdecimal() else frame for frame in bare)


def _images(
    path: Path, frames: Mapping[str, object], visited: frozenset[str] | None, drafts: Mapping[str, None], unmarked: Review
) -> Iterator[ImageLabels | Problem]:
    # an image that was shown may have no entry; the ancestor writes an entry without a name
    for key in dict.fromkeys([*frames, *sorted(visited or ()), *drafts]):
        if key:
            review = Review.UNOPENED if key in drafts else _review(key, frames.get(key), visited, unmarked)
            yield from _image(f"{path.name}, image '{key}'", key, frames.get(key), review)


def _review(key: str, regions: object, visited: frozenset[str] | None, unmarked: Review) -> Review:
    if regions == [{}] or (visited is not None and key in visited):
        return Review.REVIEWED
    return unmarked if visited is None and regions else Review.UNOPENED


def _image(where: str, key: str, value: object, review: Review) -> Iterator[ImageLabels | Problem]:
    name = yield from places.attempt(where, places.image_name, key)
    regions = yield from places.attempt(where, places.entries, value, "regions")
    if name is None or regions is None:
        return
    found = [one for at, region in enumerate(regions) if region != {} for one in _boxes(f"{where}, region {at + 1}", region)]
    boxes, problems = places.split(found)
    yield from problems
    width, height = next((size for region in regions for size in _size(region)), (0, 0))
    yield ImageLabels(name, width, height, boxes, review)


def _size(region: object) -> Iterator[tuple[int, int]]:
    try:
        keys = places.record(region)
        size = places.pixels(keys.get("width"), "width"), places.pixels(keys.get("height"), "height")
    except FormatError:
        return
    if all(size):
        yield size


def _boxes(where: str, region: object) -> Iterator[Box | Problem]:
    keys = yield from places.attempt(where, _drawn, region)
    if keys is None:
        return
    confidence = yield from places.attempt_detail(where, places.score, keys.get("confidence"))
    for tag in _tags(keys):
        box = yield from places.attempt(where, _box, keys, tag, confidence)
        if box:
            yield box


def _drawn(region: object) -> Mapping[str, object]:
    keys = places.record(region)
    if str(keys.get("type")).lower() in _NO_AREA:
        raise FormatError(f"this is a {keys['type']}, not a box")
    return keys


def _tags(region: Mapping[str, object]) -> list[object]:
    tags = region.get("tags")
    return tags if isinstance(tags, list) and tags else [None]


def _box(region: Mapping[str, object], tag: object, confidence: float | None) -> Box:
    x1, y1, x2, y2 = (places.number(region.get(key), key) for key in ("x1", "y1", "x2", "y2"))
    width, height = places.number(region.get("width"), "width"), places.number(region.get("height"), "height")
    source = places.source(region.get("source"))
    return box_from_pixels(places.label(tag), (x1, y1, x2, y2), width, height, confidence=confidence, source=source)


def write(images: Sequence[ImageLabels], path: Path, *, classes: Sequence[str] = ()) -> None:
    """Write a new VoTT 1 file for one folder of images: `images` should be all images of that folder.

    Unopened images with boxes are drafts: VoTT shows their boxes, and puts them into `visitedFrames` when the person comes to them.
    """
    names = [layout.split_image(image.image)[1] for image in images]
    output.refuse_twins(images, names, "VoTT 1 knows an image by its bare file name only; write a file for each folder")
    tags = [_check_tag(name) for name in output.class_names(images, classes)]
    visited = dict.fromkeys(name for name, image in zip(names, images, strict=True) if image.review is Review.REVIEWED)
    project = {
        "frames": _frames(images),
        "framerate": "1",
        "inputTags": ",".join(tags),
        "suggestiontype": "track",
        "scd": False,
        "visitedFrames": list(visited | dict.fromkeys(_first_shown(names))),
        "tag_colors": list(palette(tags).values()),
        _DRAFTS: [name for name in names if name not in visited],
    }
    output.create_json(path, project)


def _check_tag(name: str) -> str:
    if "," in name or any(char.isspace() for char in name):
        raise FormatError(f"class '{name}': VoTT 1 cannot hold names with blanks or commas; rename the class or use VoTT 2")
    return name


def _first_shown(names: Sequence[str]) -> list[str]:
    # VoTT never notes the image that it shows on opening the folder: only those stepped to. As a person has seen it before VoTT
    # can save, it is noted in advance – unless Windows' and Linux' order of file names disagree on which one it is.
    shown = [name for name in names if name.lower().endswith(_SHOWN)]
    first = {min(shown, key=str.lower), min(shown)} if shown else set()
    return list(first) if len(first) == 1 else []


def _frames(images: Sequence[ImageLabels]) -> dict[str, list[dict[str, object]]]:
    frames: dict[str, list[dict[str, object]]] = {}
    count = 0
    for image in images:
        if image.boxes or image.review is Review.REVIEWED:
            regions = [_region(shapes.measured(image), box, count + at, at + 1) for at, box in enumerate(image.boxes)]
            frames[PurePosixPath(image.image).name] = regions
            count += len(regions)
    return frames


def _region(image: ImageLabels, box: Box, count: int, in_frame: int) -> dict[str, object]:
    x1, y1, x2, y2 = shapes.to_pixels(box, image)
    corners = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    points = [{"x": x, "y": y} for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))]
    region: dict[str, object] = {**corners, "width": image.width, "height": image.height, "box": corners, "points": points}
    region |= {"UID": f"{count:08x}", "id": count, "type": "Rectangle", "tags": [box.label], "name": in_frame}
    return region | output.own_keys(box)
