"""The weights that a model starts from: where they are looked for, what is told of them, and that nothing takes their place."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from activelearning.errors import UserError
from activelearning.settings import Detector
from activelearning.store import Store, open_store
from trainer import detectors, pretrained
from trainer.detectors import Family, Published

HUB = "somebody/cells"
CARD = "---\nlicense: apache-2.0\ntags:\n- cells\n---\n# Cells\n"


def family(published: Published | None = None) -> Family:
    return Family("cells", (), lambda blueprint: None, lambda outputs, size, settings: [], published=published)  # type: ignore[arg-type, return-value]


def fetch(named: str, published: Published | None = None, store: Store | None = None, **settings: object) -> pretrained.Pretrained | None:
    blobs = (store or open_store("memory:")).labels
    with pretrained.fetched(Detector(weights=named, **settings), family(published), blobs) as found:  # type: ignore[arg-type]
        return found


def folder(at: Path, card: str = CARD) -> Path:
    at.mkdir(parents=True)
    (at / "config.json").write_text("{}", "utf-8")
    (at / "model.safetensors").write_bytes(bytes(100))
    if card:
        (at / "README.md").write_text(card, "utf-8")
    return at


def test_a_family_without_published_weights_starts_from_scratch() -> None:
    assert fetch("") is None


def test_scratch_is_scratch_whatever_is_published() -> None:
    assert fetch("scratch", Published(HUB, "Apache-2.0", "COCO")) is None


def test_a_toy_sized_network_starts_from_scratch_unless_weights_are_named(tmp_path: Path) -> None:
    assert fetch("", Published(HUB, "Apache-2.0", "COCO"), tiny=True) is None
    found = fetch(str(folder(tmp_path / "tiny")), Published(HUB, "Apache-2.0", "COCO"), tiny=True)
    assert found and found.path == tmp_path / "tiny"


def test_a_folder_is_told_with_its_hash_and_the_licence_of_its_card(tmp_path: Path) -> None:
    one, same, other = (fetch(str(folder(tmp_path / name))) for name in ("one", "same", "other"))
    assert one and same and other
    assert one.licence == "apache-2.0" and one.source == str(tmp_path / "one")
    assert one.sha256 == same.sha256 and len(one.sha256) == 64
    (tmp_path / "other" / "model.safetensors").write_bytes(bytes(99) + b"\1")
    again = fetch(str(tmp_path / "other"))
    assert again and again.sha256 != other.sha256


def test_weights_without_a_card_are_of_an_unknown_licence(tmp_path: Path) -> None:
    found = fetch(str(folder(tmp_path / "bare", card="")))
    assert found and found.licence == pretrained.UNKNOWN


@pytest.mark.parametrize(("allowed", "fits"), [((), True), (("Apache-2.0", "MIT"), True), (("MIT",), False)])
def test_licences_are_held_against_the_list(allowed: tuple[str, ...], fits: bool, tmp_path: Path) -> None:
    where = str(folder(tmp_path / "weights"))
    if fits:
        assert fetch(where, licences=allowed)
    else:
        with pytest.raises(UserError, match=r"licence of the weights .* is apache-2\.0, but detector\.licences allows only MIT"):
            fetch(where, licences=allowed)


def test_an_unknown_licence_is_on_no_list(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is unknown, but"):
        fetch(str(folder(tmp_path / "bare", card="")), licences=("MIT",))


@pytest.mark.parametrize("named", ["/no/such/folder", "./no-such-folder"])
def test_a_folder_that_is_not_there_is_said(named: str) -> None:
    with pytest.raises(UserError, match=r"not on this machine.*scratch"):
        fetch(named)


@pytest.mark.parametrize("named", ["cells", "a/b/c", "https://example.org/x", "../up", "owner/"])
def test_what_is_no_place_at_all_is_said(named: str) -> None:
    with pytest.raises(UserError, match="must be owner/name"):
        fetch(named)


def test_blobs_below_a_prefix_are_copied_and_gone_afterwards() -> None:
    store = open_store("memory:")
    for name, content in {"config.json": b"{}", "model.safetensors": b"w", "README.md": CARD.encode(), "evil.bin": b"pickle"}.items():
        store.labels.create(f"weights/cells/{name}", content)
    store.labels.create("weights/cells/deeper/model.safetensors", b"not this one")
    with pretrained.fetched(Detector(weights="blob:weights/cells/"), family(), store.labels) as found:
        assert found and found.licence == "apache-2.0" and found.source == "blob:weights/cells/"
        assert sorted(one.name for one in found.path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
        assert (found.path / "model.safetensors").read_bytes() == b"w"
    assert not found.path.exists()


def test_a_prefix_without_weights_is_said() -> None:
    store = open_store("memory:")
    store.labels.create("weights/cells/model.bin", b"pickle")
    with pytest.raises(UserError, match=r"no weights \(\*\.safetensors, \*\.pth\) below 'weights/cells/'"):
        fetch("blob:weights/cells", store=store)


SCRIPT = """
import json, sys
from activelearning.errors import UserError
from activelearning.settings import Detector
from activelearning.store import Store, open_store
from trainer import pretrained
from trainer.detectors import Family, Published
published = Published("somebody/cells", "MIT", "COCO")
family = Family("cells", (), None, None, published=published)
try:
    with pretrained.fetched(Detector(weights=sys.argv[1]), family, open_store("memory:").labels) as found:
        print(json.dumps([found.source, found.licence, sorted(one.name for one in found.path.iterdir())]))
except UserError as error:
    print(json.dumps(str(error)))
"""


def offline(named: str, cache: Path) -> object:
    """What comes of weights of the hub on a machine that has but its cache: the library decides that when it is loaded."""
    places = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run([sys.executable, "-c", SCRIPT, named], env={**os.environ, **places}, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def cached(cache: Path, card: str) -> None:
    """A snapshot as the hub's own library keeps it."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder(cache / "models--somebody--cells" / "snapshots" / commit, card)
    refs = cache / "models--somebody--cells" / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit, "utf-8")


def test_weights_of_the_hub_are_told_with_the_revision_that_was_found(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    cached(tmp_path, CARD)
    source, licence, files = offline(HUB, tmp_path)  # type: ignore[misc]
    assert source == "somebody/cells@0123456789abcdef0123456789abcdef01234567"
    assert licence == "apache-2.0" and files == ["README.md", "config.json", "model.safetensors"]


def test_weights_of_the_hub_without_a_card_have_the_licence_that_the_family_knows_of(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    cached(tmp_path, card="")
    assert offline(HUB, tmp_path)[1] == "MIT"  # type: ignore[index]


@pytest.mark.parametrize("named", [HUB, f"{HUB}@v2"])
def test_weights_that_cannot_be_fetched_stop_with_a_sentence(named: str, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    said = str(offline(named, tmp_path))
    assert said.startswith("the weights 'somebody/cells' could not be fetched (") and 'set detector.weights = "scratch"' in said


def test_the_compact_detector_refuses_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pretrained weights of the compact"):
        detectors.build("compact", 2, seed=0, pretrained=folder(tmp_path / "weights"))


def test_hashes_are_of_names_too(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        (folder(tmp_path / str(number)) / name).write_bytes(b"")
    first, second = (fetch(str(tmp_path / str(number))) for number in (0, 1))
    assert first and second and first.sha256 != second.sha256
