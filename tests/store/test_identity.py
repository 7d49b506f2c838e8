"""A store that is opened by signing in, and links that are signed with a delegation key: no account key anywhere."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from activelearning.errors import BlobExists, Refused, StoreError, UserError
from activelearning.store import Store, azure_sas
from activelearning.store.azure import open_azure
from tests import azurite
from tests.azurite import identity

pytestmark = pytest.mark.skipif(not azurite.is_installed(), reason=azurite.NOT_INSTALLED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificate")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with identity.running(folder) as connection:
        found = re.search(r"BlobEndpoint=([^;]+)", connection)
        assert found
        yield f"{found[1]}/photos"


@pytest.fixture
def store(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(folder / identity.AUTHORITY))
    for name in ("AZURE_STORAGE_CONNECTION_STRING", "ACTIVELEARNING_STORE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    return open_azure(url, time.time, identity.Person(), stand_in=False)


def test_whoever_is_signed_in_reads_and_writes(store: Store) -> None:
    store.images.create("a b/größe.jpg", b"1")
    assert store.images.read("a b/größe.jpg").content == b"1"
    etag = store.labels.replace("state", b"1", None)
    assert store.labels.replace("state", b"2", etag) == store.labels.read("state").etag
    assert "sign-in" in store.access


def test_a_link_without_any_account_key_reads_one_blob_and_nothing_else(url: str, store: Store, folder: Path) -> None:
    store.images.create("one.jpg", b"1")
    store.images.create("two.jpg", b"2")
    signature = azure_sas.signer(url, time.time() + 600, identity.Person())("photos", "one.jpg", azure_sas.READ)
    bundle = str(folder / identity.AUTHORITY)
    assert requests.get(f"{url}/one.jpg?{signature}", verify=bundle, timeout=10).content == b"1"
    assert requests.get(f"{url}/two.jpg?{signature}", verify=bundle, timeout=10).status_code == 403
    write = requests.put(f"{url}/one.jpg?{signature}", b"x", headers={"x-ms-blob-type": "BlockBlob"}, verify=bundle, timeout=10)
    assert write.status_code == 403
    assert requests.delete(f"{url}/one.jpg?{signature}", verify=bundle, timeout=10).status_code == 403


def test_a_signature_to_create_creates_once(url: str, store: Store, folder: Path) -> None:
    signature = azure_sas.signer(url, time.time() + 600, identity.Person())("photos", "new.jpg", azure_sas.CREATE)
    bundle, kind = str(folder / identity.AUTHORITY), {"x-ms-blob-type": "BlockBlob"}
    assert requests.put(f"{url}/new.jpg?{signature}", b"1", headers=kind, verify=bundle, timeout=10).status_code == 201
    assert requests.put(f"{url}/new.jpg?{signature}", b"2", headers=kind, verify=bundle, timeout=10).status_code == 403
    assert requests.get(f"{url}/new.jpg?{signature}", verify=bundle, timeout=10).status_code == 403
    with pytest.raises(BlobExists):
        store.images.create("new.jpg", b"3")


def test_nobody_signed_in_is_one_sentence(url: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.identity import CredentialUnavailableError

    asked = []

    class Nobody:
        def get_token(self, *scopes: str, **_: object) -> object:
            asked.append(scopes)
            raise CredentialUnavailableError("DefaultAzureCredential failed to retrieve a token\nfrom the included credentials.\n" * 5)

    stranger = open_azure(url, time.time, Nobody(), stand_in=False)
    for ask in (lambda: stranger.labels.read("state"), lambda: stranger.images.create("x.jpg", b""), lambda: stranger.queues.count("work")):
        with pytest.raises(Refused, match="nobody is signed in") as caught:
            ask()
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="nobody is signed in"):
        azure_sas.signer(url, time.time() + 60, Nobody())
    assert len(asked) == 4  # once each: to ask again only makes a person wait


def test_a_network_with_an_authority_of_its_own_is_told_what_to_set(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    store = open_azure(url, time.time, identity.Person(), stand_in=False)
    for read in (store.images.read, store.labels.read):
        with pytest.raises(StoreError, match="SSL_CERT_FILE and REQUESTS_CA_BUNDLE"):
            read("a")
