"""A link: one batch, claimed for somebody without an account, and the signatures that open its blobs and nothing else.

Rule: it is a secret that its holder keeps; no repr shows a signature, and no blob holds one. As text it is JSON.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from activelearning import layout
from activelearning.errors import FormatError
from activelearning.journal import utc
from activelearning.labels import ImageLabels
from activelearning.table import read_labels

VERSION = 1
Signatures = Mapping[str, str]
"""A blob's name → the query string that opens it."""


@dataclass(frozen=True, slots=True)
class Link:
    """A batch of images for one tagger. `endpoint` is the account's blob address; times are seconds since the epoch."""

    store: str
    endpoint: str
    images_container: str
    labels_container: str
    batch: str
    tagger: str
    count: int
    """How many images it opens."""
    expires_at: float
    """When the claim runs out."""
    valid_until: float
    """When the signatures run out."""
    rows: str = field(repr=False)
    """The batch's rows of totag, as a table."""
    read_images: Signatures = field(repr=False)
    read_labels: Signatures = field(repr=False)
    create_labels: Signatures = field(repr=False)

    def images(self) -> tuple[ImageLabels, ...]:
        """The batch's images with the model's boxes, in the order to review them."""
        return read_labels(self.rows, f"the link to batch {self.batch}").images if self.rows else ()

    @property
    def until(self) -> str:
        """When the signatures run out, for a person."""
        return f"{utc(self.valid_until)[:16].replace('T', ' ')} UTC"

    def to_json(self) -> dict[str, Any]:
        """As a document; whoever gets it can do what the link allows."""
        return {"activelearning_link": VERSION, **{one.name: getattr(self, one.name) for one in fields(self)}}


def parse(text: str, where: str) -> Link:
    """Read a link. `where` says in an error where the text came from; nothing of the text is repeated."""
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or document.pop("activelearning_link", None) != VERSION:
            raise FormatError(f"{where} is no link that `activelearning share` has made: ask for it again")
        link = Link(**document)
        _check(link)
    except (ValueError, TypeError, RecursionError, AttributeError):
        raise FormatError(f"{where} is a damaged link: ask for it again") from None
    return link


_NUMBERS = ("count", "expires_at", "valid_until")
_LATEST = 32_503_680_000.0
"""The year 3000: a time beyond it is none."""
_SIGNATURES = ("read_images", "read_labels", "create_labels")


def _check(link: Link) -> None:
    for one in fields(link):
        value = getattr(link, one.name)
        if one.name in _SIGNATURES:
            _check_signatures(value)
        elif one.name in _NUMBERS:
            _check_number(value)
        else:
            value.encode()
    for part in (link.batch, link.tagger, link.images_container, link.labels_container):
        layout.check_id(part)
    if not is_safe(link.endpoint):
        raise FormatError("a link opens https addresses only: ask for it again")


def is_safe(address: str) -> bool:
    """Whether a secret may be sent to this address: over https, or to this very machine; without a user or password in it."""
    try:
        parts = urlsplit(address)
        local = parts.scheme == "http" and parts.hostname == "127.0.0.1"
        return bool(parts.hostname) and (parts.scheme == "https" or local) and "@" not in parts.netloc
    except ValueError:
        return False


def _check_number(value: float) -> None:
    if isinstance(value, bool) or not 0 <= value < _LATEST:
        raise ValueError("a number is out of range")


def _check_signatures(signatures: Signatures) -> None:
    for name, signature in signatures.items():
        layout.check_blob_name(name)
        signature.encode()
