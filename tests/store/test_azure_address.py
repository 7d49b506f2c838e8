"""Which account, containers and queues an address means, and that no secret is ever said."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activelearning import layout
from activelearning.errors import UserError
from activelearning.store import azure_address
from activelearning.store.azure_address import Address, Key

KEY = "c2VjcmV0LWtleQ=="


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (azure_address.CONNECTION_VARIABLE, azure_address.STORE_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (
            "https://birds.blob.core.windows.net",
            Address("birds", "https://birds.blob.core.windows.net", "https://birds.queue.core.windows.net"),
        ),
        (
            "https://birds.blob.core.windows.net/",
            Address("birds", "https://birds.blob.core.windows.net", "https://birds.queue.core.windows.net"),
        ),
        (
            "HTTPS://birds.blob.core.windows.net/photos/",
            Address("birds", "https://birds.blob.core.windows.net", "https://birds.queue.core.windows.net", "photos"),
        ),
        (
            "http://127.0.0.1:11000/devstoreaccount1/photos",
            Address("devstoreaccount1", "http://127.0.0.1:11000/devstoreaccount1", "http://127.0.0.1:11001/devstoreaccount1", "photos"),
        ),
        (
            "https://birds.blob.core.chinacloudapi.cn",
            Address("birds", "https://birds.blob.core.chinacloudapi.cn", "https://birds.queue.core.chinacloudapi.cn"),
        ),
    ],
)
def test_a_url_names_account_and_container(url: str, address: Address) -> None:
    assert azure_address.parse(url) == (address, None)


def test_a_container_of_another_name_has_labels_and_queues_of_its_own() -> None:
    address, _ = azure_address.parse("https://birds.blob.core.windows.net/photos")
    assert (address.images, address.labels, address.queue_prefix) == ("photos", "photos-labels", "photos-")
    plain, _ = azure_address.parse("https://birds.blob.core.windows.net/images")
    assert (plain.images, plain.labels, plain.queue_prefix) == ("images", "labels", "")


def test_an_address_is_read_again_from_what_it_shows() -> None:
    for url in (
        "https://birds.blob.core.windows.net",
        "https://birds.blob.core.windows.net/photos",
        "http://127.0.0.1:10000/devstoreaccount1",
    ):
        assert azure_address.parse(url)[0].url == url


def test_a_connection_string_names_account_and_key() -> None:
    text = f"DefaultEndpointsProtocol=https;AccountName=birds;AccountKey={KEY};EndpointSuffix=core.windows.net"
    expected = Address("birds", "https://birds.blob.core.windows.net", "https://birds.queue.core.windows.net")
    assert azure_address.parse(text) == (expected, Key("birds", KEY))
    assert azure_address.parse(f"{text};ImagesContainer=photos")[0].url == "https://birds.blob.core.windows.net/photos"


def test_the_emulators_short_form_is_known() -> None:
    address, key = azure_address.parse("UseDevelopmentStorage=true")
    assert address.blobs == "http://127.0.0.1:10000/devstoreaccount1"
    assert address.queues == "http://127.0.0.1:10001/devstoreaccount1"
    assert address.emulated
    assert key
    assert key.account == "devstoreaccount1"


def test_a_url_finds_its_connection_string_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints = "BlobEndpoint=http://127.0.0.1:7/a;QueueEndpoint=http://127.0.0.1:99/a"
    for variable in (azure_address.CONNECTION_VARIABLE, azure_address.STORE_VARIABLE):
        with monkeypatch.context() as patch:
            patch.setenv(variable, f"AccountName=a;AccountKey={KEY};{endpoints}")
            address, key = azure_address.parse("http://127.0.0.1:7/a/photos")
            assert (address.queues, address.images, key) == ("http://127.0.0.1:99/a", "photos", Key("a", KEY))
            assert azure_address.parse("http://127.0.0.1:8/a")[1] is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://birds.blob.core.windows.net/photos?sv=1&sig=SECRET", "no signature"),
        ("https://ann:SECRET@birds.blob.core.windows.net", "no signature"),
        ("https://birds.blob.core.windows.net/photos/SECRET-night", "whole container"),
        ("https://birds.blob.core.windows.net/Photos", "lower-case"),
        ("https://birds.blob.core.windows.net/a--b", "single hyphens"),
        ("https://", "write it like"),
        ("https://[::1/SECRET", "write it like"),
        ("http://birds.blob.core.windows.net", "over https"),
        ("EndpointSuffix=core.windows.net;AccountKey=SECRET", "needs AccountName"),
        ("DefaultEndpointsProtocol=https;AccountKey=SECRET", "needs AccountName"),
        ("AccountName=birds;SharedAccessSignature=sv=1&sig=SECRET", "needs AccountName"),
    ],
)
def test_what_is_no_address_is_one_sentence_without_secrets(url: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        azure_address.parse(url)
    assert "SECRET" not in str(caught.value)


@given(st.text(alphabet="abcdefABCDEF0123456789+/=", min_size=8))
def test_no_repr_holds_a_key(secret: str) -> None:
    assert secret not in repr(Key("account", secret))


def test_labels_and_queue_names_stay_within_what_azure_takes() -> None:
    address, _ = azure_address.parse(f"https://birds.blob.core.windows.net/{'a' * 39}")
    queues = (layout.NEW_IMAGES_QUEUE, layout.REVIEWED_QUEUE, layout.JOBS_QUEUE, layout.SHARDS_QUEUE)
    names = [address.labels, *(address.queue_prefix + layout.poison_queue(queue) for queue in queues)]
    assert all(re.fullmatch(r"[a-z0-9](?:-?[a-z0-9]){2,62}", name) and len(name) <= 63 for name in names)
    with pytest.raises(UserError, match="3 to 39"):
        azure_address.parse(f"https://birds.blob.core.windows.net/{'a' * 40}")
