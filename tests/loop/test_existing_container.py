"""A container that exists already becomes a project: nothing in it is touched, and what comes later is found by itself."""

import io
import json
import subprocess
import sys
import uuid

import pytest
from PIL import Image

from activelearning import commits, labelled, layout
from activelearning.store import open_store
from tests import azurite

pytestmark = pytest.mark.skipif(not azurite.is_installed(), reason=azurite.NOT_INSTALLED)


def photo(shade: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (64, 48), (shade, shade, shade)).save(content, "PNG")
    return content.getvalue()


def run(module: str, *arguments: str) -> dict[str, object]:
    ended = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert azurite.KEY not in ended.stdout + ended.stderr
    return json.loads(ended.stdout) if "--json" in arguments else {}


def test_an_existing_container_is_registered_without_a_copy_and_later_images_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    container = f"photos-{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.shared())
    url = f"{open_store(azurite.shared()).url}/{container}"
    store = open_store(url)
    for number in range(3):
        store.images.create(f"night 1/{number}.png", photo(number))
    store.images.create("readme.txt", b"not an image")
    before = {info.name: store.images.read(info.name).etag for info in store.images.list()}

    made = run("activelearning.cli", "init", url, "--classes", "petrel,gull", "--json")
    assert (made["new"], made["images"], made["unlisted"]) == (True, 3, 3)
    run("trainer.cli", "once", url)
    assert listed(url) == [f"night 1/{number}.png" for number in range(3)]

    store.images.create("night 2/new.png", photo(9))
    again = run("activelearning.cli", "init", url, "--classes", "petrel,gull", "--json")
    assert (again["new"], again["images"], again["unlisted"]) == (False, 4, 1)
    run("trainer.cli", "once", url)
    assert listed(url) == [*(f"night 1/{number}.png" for number in range(3)), "night 2/new.png"]
    (pool,) = [
        info.name
        for info in store.labels.list("predictions/")
        if b"new.png" in store.labels.read(info.name).content and "pool" in info.name
    ]
    assert b"night 1/" not in store.labels.read(pool).content
    assert {name: store.images.read(name).etag for name in before} == before
    assert container + "-labels" in store.labels_container


def listed(url: str) -> list[str]:
    blobs = open_store(url).labels
    commit = commits.latest(blobs)
    assert commit is not None
    assert blobs.exists(layout.PROJECT)
    return sorted(one.image for one in labelled.read(blobs, commit.totag).images)
