"""Signing in to the emulator: an https emulator with a certificate of the test's own, and a token that it takes for a person's.

Azurite reads a token's claims and does not verify its signature, so the whole way of an identity can be gone without Azure.
"""

import base64
import datetime
import ipaddress
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from azure.core.credentials import AccessToken
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests import azurite

_TENANT = "11111111-1111-1111-1111-111111111111"
_PERSON = "22222222-2222-2222-2222-222222222222"


class Person:
    """A credential as azure-identity's are."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        now = int(time.time())
        issuer = f"https://sts.windows.net/{_TENANT}/"
        claims = {"aud": "https://storage.azure.com", "iss": issuer, "iat": now - 10, "nbf": now - 10, "exp": now + 3600}
        parts = ({"alg": "HS256", "typ": "JWT"}, claims | {"oid": _PERSON, "tid": _TENANT})
        return AccessToken(".".join([*map(_encoded, parts), "c2lnbmF0dXJl"]), now + 3600)


def _encoded(part: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """An emulator that takes tokens; yields its connection string. The certificate that it shows is `folder/certificate.pem`."""
    certificate, key = _self_signed(folder)
    with azurite.running("--oauth", "basic", "--cert", str(certificate), "--key", str(key)) as connection:
        yield connection


def _self_signed(folder: Path) -> tuple[Path, Path]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    dated = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=2))
    named = dated.add_extension(here, critical=False).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    signed = named.sign(key, hashes.SHA256())
    encoding, private = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    certificate, private_key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(signed.public_bytes(encoding))
    private_key.write_bytes(key.private_bytes(encoding, private, serialization.NoEncryption()))
    return certificate, private_key
