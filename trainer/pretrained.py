"""The weights that a model starts from: what `detector.weights` names, made a folder or file of this machine.

Rule: what cannot be had stops the run with one sentence. Nothing ever takes its place, least of all random weights. Only formats that
cannot run code are fetched (safetensors, torchvision's state dicts), and where they are from, their hash and their licence are told.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from activelearning.errors import UserError
from activelearning.settings import Detector
from activelearning.store import Blobs
from trainer.detectors import Family, Published

SCRATCH = "scratch"
UNKNOWN = "unknown"
"""The licence of weights that do not say."""

_BLOB = "blob:"
_TORCHVISION = "torchvision:"
_HUB = re.compile(r"(?P<owner>[A-Za-z0-9][\w.-]*)/(?P<name>[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
_FILES = ("*.json", "*.safetensors", "README.md", "LICENSE*")
_WEIGHTS = ("*.safetensors", "*.pth")
"""What may hold weights in a person's own folder: torchvision's state dicts too, which are read without running what they hold."""
_LICENCE_LINE = re.compile(r"^license:\s*['\"]?([\w.+-]+)", re.MULTILINE)
_ADVICE = 'check the name and the network, name a folder that holds them, or set detector.weights = "scratch"'


@dataclass(frozen=True, slots=True)
class Pretrained:
    """Weights to start from.

    `path`: the folder or file that holds them; `source`: where they are from, with the revision that was found; `sha256` of all their
    files, names and contents, in the order of the names; `licence`: SPDX id, or `UNKNOWN`.
    """

    path: Path
    source: str
    sha256: str
    licence: str


@contextmanager
def fetched(detector: Detector, family: Family, blobs: Blobs) -> Iterator[Pretrained | None]:
    """Within, the weights that a project's first model starts from; None: from scratch, as told, or as nobody publishes any.

    Raises `UserError` when they cannot be had, or `detector.licences` does not allow theirs.
    """
    with tempfile.TemporaryDirectory(prefix="weights-") as scratch:
        found = _find(detector, family, blobs, Path(scratch))
        if found:
            _check_licence(found, detector.licences)
        yield found


def _find(detector: Detector, family: Family, blobs: Blobs, scratch: Path) -> Pretrained | None:
    """By what kind of place `detector.weights` names. A toy-sized network fits no weights but those that somebody names."""
    named, published = detector.weights, None if detector.tiny else family.published
    if named == SCRATCH or not (named or published):
        return None
    if not named and published:
        named = published.hub
    if named.startswith(_BLOB):
        return _from_blobs(blobs, named.removeprefix(_BLOB), scratch)
    if named.startswith(_TORCHVISION):
        return _from_torchvision(named, family)
    if named.startswith(("/", "./", "~")):
        return _from_disk(Path(named).expanduser())
    if match := _HUB.fullmatch(named):
        return _from_hub(f"{match['owner']}/{match['name']}", match["revision"], family.published)
    raise UserError(
        f"detector.weights is '{named}', but must be owner/name of the Hugging Face hub, a folder (beginning with / or ./), "
        f"blob:PREFIX, torchvision:WEIGHTS or scratch"
    )


def _from_disk(path: Path) -> Pretrained:
    if not path.exists():
        raise UserError(f"detector.weights names '{path}', which is not on this machine: {_ADVICE}")
    return Pretrained(path, str(path), _hash(path), _licence_beside(path))


def _from_blobs(blobs: Blobs, prefix: str, scratch: Path) -> Pretrained:
    """Copy what lies below a prefix; the folders of the blobs' names end there, so no name leads out of `scratch`."""
    below = prefix.rstrip("/") + "/"
    names = {PurePosixPath(info.name).name: info.name for info in blobs.list(below) if "/" not in info.name.removeprefix(below)}
    wanted = {
        name: blob
        for name, blob in names.items()
        if name not in (".", "..") and any(PurePosixPath(name).match(one) for one in (*_FILES, *_WEIGHTS))
    }
    if not any(PurePosixPath(name).match(one) for name in wanted for one in _WEIGHTS):
        raise UserError(f"there are no weights ({', '.join(_WEIGHTS)}) below '{below}' in the labels container: {_ADVICE}")
    for name, blob in wanted.items():
        (scratch / name).write_bytes(blobs.read(blob).content)
    return Pretrained(scratch, f"{_BLOB}{prefix}", _hash(scratch), _licence_beside(scratch))


def _from_hub(repository: str, revision: str | None, published: Published | None) -> Pretrained:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=list(_FILES)))
    except Exception as error:
        # whatever goes wrong between here and the hub, of many libraries
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"the weights '{repository}' could not be fetched ({reason}): {_ADVICE}") from error
    licence = _licence_beside(folder)
    if licence == UNKNOWN and published and published.hub == repository:
        licence = published.licence
    # the hub's cache names a snapshot's folder after its commit
    return Pretrained(folder, f"{repository}@{folder.name}", _hash(folder), licence)


def _from_torchvision(named: str, family: Family) -> Pretrained:
    from torch import hub
    from torchvision import models

    try:
        weights = models.get_weight(named.removeprefix(_TORCHVISION))
    except (ValueError, AttributeError, KeyError) as error:
        raise UserError(
            f"torchvision has no weights '{named.removeprefix(_TORCHVISION)}'; name them as in FCOS_ResNet50_FPN_Weights.COCO_V1"
        ) from error
    file = Path(hub.get_dir()) / "checkpoints" / PurePosixPath(weights.url).name
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            # the name holds the beginning of the hash, which is checked
            expected = re.search(r"-([0-9a-f]{8,})\.", file.name)
            hub.download_url_to_file(weights.url, str(file), expected[1] if expected else None, progress=False)
    except (OSError, RuntimeError) as error:
        raise UserError(f"the weights '{named}' could not be fetched ({error}): {_ADVICE}") from error
    licence = family.published.licence if family.published and family.published.hub == named else UNKNOWN
    return Pretrained(file, named, _hash(file), licence)


def _licence_beside(path: Path) -> str:
    """The licence that the model card beside the weights states in its head, as the hub's do."""
    card = (path if path.is_dir() else path.parent) / "README.md"
    match = _LICENCE_LINE.search(card.read_text("utf-8", errors="replace")[:10_000]) if card.is_file() else None
    return match[1] if match else UNKNOWN


def _check_licence(found: Pretrained, allowed: Sequence[str]) -> None:
    if allowed and found.licence.lower() not in {licence.lower() for licence in allowed}:
        raise UserError(
            f"the licence of the weights '{found.source}' is {found.licence}, but detector.licences allows only {', '.join(allowed)}: "
            f"name other weights, or allow it"
        )


def _hash(path: Path) -> str:
    """SHA-256 over names and contents, file by file; a file has its own name."""
    digest = hashlib.sha256()
    for file in sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]:
        digest.update(f"{file.relative_to(path).as_posix() if path.is_dir() else file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as content:
            while piece := content.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()
