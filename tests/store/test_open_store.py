"""Which addresses lead to a store, and what is said of the others."""

from pathlib import Path

import pytest

from activelearning.errors import UserError
from activelearning.store import open_store


def test_paths_and_file_addresses_lead_to_one_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_store("50% größe").labels.create("a", b"1")
    for url in (str(tmp_path / "50% größe"), (tmp_path / "50% größe").as_uri(), "./50% größe", f"file://localhost{tmp_path}/50%25 größe"):
        store = open_store(url)
        assert store.labels.read("a").content == b"1"
        assert store.url == (tmp_path / "50% größe").as_uri()


def test_the_home_folder_has_its_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_store("~/store").url == (tmp_path / "store").as_uri()


@pytest.mark.parametrize(
    ("url", "said"),
    [("s3://bucket", "'s3:' is not"), ("", "needs a directory"), ("file:relative", "address"), ("file://server/share", "address")],
)
def test_other_addresses_are_one_sentence(url: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_store(url)


def test_a_file_is_not_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="is a file"):
        open_store(str(tmp_path / "file"))
