"""Who the client is: the ingredients as the server's side has them, public halves only."""

from __future__ import annotations

import base64
import dataclasses
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from Crypto.Cipher import PKCS1_v1_5
from Crypto.IO import PEM
from Crypto.PublicKey import RSA
from Crypto.Util.asn1 import DerSequence

KEYS = Path(__file__).resolve().parent.parent / "throwaway-keys"


@dataclass(frozen=True)
class Identity:
    """What a server knows of one user, and what names a mistake in the log."""

    realm: str
    consumer_key: str
    access_token: str
    secret: bytes = field(repr=False)  # decrypted
    signature_key: RSA.RsaKey
    encryption_key: RSA.RsaKey
    prime: int
    generator: int
    encrypted_secret: str = ""  # base64, as in the config
    config_key: RSA.RsaKey | None = None  # the config's signature key, where another was uploaded
    throwaway: bool = False  # then the log shows secrets, and TESTCONS is known, too


def read_dh_parameters(pem: str) -> tuple[int, int]:
    """Prime and generator of a `dhparam.pem`. Raises ValueError."""
    content, _, _ = PEM.decode(pem[pem.index("-----BEGIN") :])
    numbers = DerSequence().decode(content)
    return int(numbers[0]), int(numbers[1])


DH_PRIME, DH_GENERATOR = read_dh_parameters((KEYS / "dhparam.pem").read_text("ascii"))


def throwaway_identity() -> Identity:
    identity = Identity(
        realm="limited_poa",
        consumer_key="SIMULATED",
        access_token=secrets.token_hex(10),
        secret=secrets.token_bytes(32),
        signature_key=RSA.import_key((KEYS / "public_signature.pem").read_bytes()),
        encryption_key=RSA.import_key((KEYS / "public_encryption.pem").read_bytes()),
        prime=DH_PRIME,
        generator=DH_GENERATOR,
        throwaway=True,
    )
    return dataclasses.replace(identity, encrypted_secret=encrypted_secret(identity))


def encrypted_secret(identity: Identity) -> str:
    """The access token secret as the portal shows it: encrypted, base64."""
    encrypted = PKCS1_v1_5.new(identity.encryption_key).encrypt(identity.secret)
    return base64.b64encode(encrypted).decode()
