"""Images go into the container once, under the names that their folders give them."""

from pathlib import Path

import pytest

from activelearning import onboarding
from activelearning.errors import UserError
from activelearning.labels import Problem
from activelearning.store import open_store
from tests.tagger.batches import photo


def test_a_folder_gives_its_files_their_paths_in_it(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.png", "a.jpeg", "notes.txt", "b/.hidden.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [name for _, name in onboarding.find_images([tmp_path, tmp_path / "notes.txt"], "x/")]
    assert found == ["x/a.jpeg", "x/b/.hidden.gif", "x/b/1.png", "x/b/2.JPG", "x/notes.txt"]


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file or folder"):
        list(onboarding.find_images([tmp_path / "no"], ""))


def test_outcomes_come_in_order_and_a_blob_is_never_overwritten(tmp_path: Path) -> None:
    store = open_store("memory:")
    for name, content in (("a.jpg", photo(1)), ("b.jpg", photo(2)), ("c.jpg", b"")):
        (tmp_path / name).write_bytes(content)
    files = list(onboarding.find_images([tmp_path], ""))
    first = list(onboarding.upload_images(store, files))
    (tmp_path / "b.jpg").write_bytes(photo(3))
    second = list(onboarding.upload_images(store, files))
    assert first[:2] == ["new", "new"] and second[0] == "known"
    assert isinstance(first[2], Problem) and isinstance(second[1], Problem)
    assert store.images.read("b.jpg").content == photo(2)


def test_a_project_is_made_once() -> None:
    store = open_store("memory:")
    settings = onboarding.make_settings(("cat", "dog"), ["training.iterations = 7"])
    assert settings.training.iterations == 7
    assert onboarding.create_project(store, settings) and not onboarding.create_project(store, settings)
    with pytest.raises(UserError, match="other settings"):
        onboarding.create_project(store, onboarding.make_settings(("cat",), []))
