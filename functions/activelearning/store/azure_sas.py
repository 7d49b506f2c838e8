"""Shared access signatures: short proofs that whoever holds one may do one thing to one blob.

Rule: signed with a user delegation key, so they work where the account takes no keys, end with the role of whoever asked for it, and
last a week at most; only where a connection string was given, with its key.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.storage.blob import BlobServiceClient, generate_blob_sas

from activelearning.errors import UserError
from activelearning.store.azure import default_credential, options
from activelearning.store.azure_address import Address, Key, is_azure, parse
from activelearning.store.azure_errors import plain_errors

READ = "r"
CREATE = "c"
"""May write a blob that is not there yet; never overwrites, never reads."""
LONGEST_SECONDS = 7 * 86_400.0 - 3600
"""Azure's limit, with room for clocks that differ."""
_CLOCKS_DIFFER = timedelta(minutes=15)

Sign = Callable[[str, str, str], str]
"""Container, blob and permission in, the signature's query string out."""


def signer(url: str, until: float, credential: Any = None) -> Sign:
    """A function that signs for the store at `url` (or connection string) until a time in seconds since the epoch.

    Raises `UserError` for a store that is not on Azure, and when whoever runs this may not get a delegation key.
    """
    if not is_azure(url):
        raise UserError("links are for stores on Azure; whoever can open this directory needs none")
    address, key = parse(url)
    end = datetime.fromtimestamp(until, UTC)
    proof = (
        {"account_key": key.value} if key else {"user_delegation_key": _delegation_key(address, end, credential or default_credential())}
    )
    return lambda container, blob, permission: _signed(address, key, proof, end, container, blob, permission)


def _signed(address: Address, key: Key | None, proof: dict[str, Any], end: datetime, container: str, blob: str, permission: str) -> str:
    protocol = "https,http" if address.emulated and address.blobs.startswith("http:") else "https"
    return generate_blob_sas(
        key.account if key else address.account, container, blob, permission=permission, expiry=end, protocol=protocol, **proof
    )


def _delegation_key(address: Address, end: datetime, credential: Any) -> Any:
    with plain_errors(address.account, "a user delegation key (the role is 'Storage Blob Delegator')"):
        service = BlobServiceClient(address.blobs, credential, **options())
        return service.get_user_delegation_key(datetime.now(UTC) - _CLOCKS_DIFFER, end)
