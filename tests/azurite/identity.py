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

AUTHORITY = "authority.pem"
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
    """An emulator that takes tokens; yields its connection string. Who trusts `folder/authority.pem` trusts it."""
    certificate, key = _certified(folder)
    with azurite.running("--oauth", "basic", "--cert", str(certificate), "--key", str(key)) as connection:
        yield connection


def _certified(folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine with its key, signed by an authority made for it: `folder/authority.pem`."""
    authority_key, key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    authority = _signed("authority", "authority", authority_key, authority_key, x509.BasicConstraints(ca=True, path_length=None))
    certificate = _signed("127.0.0.1", "authority", key, authority_key, here)
    encoding, private = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    (folder / AUTHORITY).write_bytes(authority.public_bytes(encoding))
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(encoding))
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, private, serialization.NoEncryption()))
    return folder / "certificate.pem", folder / "key.pem"


def _signed(subject: str, issuer: str, key: rsa.RSAPrivateKey, by: rsa.RSAPrivateKey, extension: x509.ExtensionType) -> x509.Certificate:
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (subject, issuer)]
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key.public_key())
    dated = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=2))
    return dated.serial_number(x509.random_serial_number()).add_extension(extension, critical=False).sign(by, hashes.SHA256())
