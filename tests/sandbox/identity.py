"""Who the client is, with the public halves only, and its live session tokens."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from Crypto.Cipher import PKCS1_v1_5
from Crypto.IO import PEM
from Crypto.PublicKey import RSA
from Crypto.Util.asn1 import DerSequence

from tests.sandbox.answers import RefusedError
from tests.sandbox.faults import Fault

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
    encrypted_secret: str  # base64, as in the config
    throwaway: bool = False  # then the log shows secrets, and TESTCONS is known, too


def read_dh_parameters(pem: str) -> tuple[int, int]:
    """Prime and generator of a `dhparam.pem`. Raises ValueError."""
    content, _, _ = PEM.decode(pem[pem.index("-----BEGIN") :])
    numbers = DerSequence().decode(content)
    return int(numbers[0]), int(numbers[1])


def throwaway_identity() -> Identity:
    secret = secrets.token_bytes(32)
    prime, generator = read_dh_parameters((KEYS / "dhparam.pem").read_text("ascii"))
    encryption_key = RSA.import_key((KEYS / "public_encryption.pem").read_bytes())
    encrypted = PKCS1_v1_5.new(encryption_key).encrypt(secret)
    return Identity(
        realm="limited_poa",
        consumer_key="SIMULATED",
        access_token=secrets.token_hex(10),
        secret=secret,
        signature_key=RSA.import_key((KEYS / "public_signature.pem").read_bytes()),
        encryption_key=encryption_key,
        prime=prime,
        generator=generator,
        encrypted_secret=base64.b64encode(encrypted).decode(),
        throwaway=True,
    )


@dataclass
class Session:
    """A live session token, the exchange that made it, and what it has opened so far."""

    challenge: str = ""
    response: str = ""
    k: bytes = b""  # as Java's toByteArray: a zero byte before a set top bit
    token: bytes = b""
    has_signed: bool = False  # rightly, some request
    ended: bool = False  # by a logout
    called: set[str] = field(default_factory=set)  # endpoints that were answered with 200
    brokerage: str = "none"  # then "settling", "ready"; "held" or "taken" by another session
    brokerage_since: float = 0
    snapshots: Counter[str] = field(default_factory=Counter)  # by conid


def exchange(challenge: str, identity: Identity, fault: Fault) -> Session:
    """The server's side of Diffie-Hellman, and the token that comes of it. Raises RefusedError."""
    if not re.fullmatch("[0-9A-Fa-f]+", challenge):
        raise RefusedError("diffie_hellman_challenge: not hex digits alone")
    public = int(challenge, 16)
    exponent = secrets.randbits(256)
    response = pow(identity.generator, exponent, identity.prime)
    shared = pow(public, exponent, identity.prime)
    while not re.fullmatch(fault.k, f"{shared:x}"):  # one more in the exponent
        response = response * identity.generator % identity.prime
        shared = shared * public % identity.prime
    sent = f"{response:x}"
    if fault.dh_response is not None:
        sent = fault.dh_response
        shared = int(sent or "0", 16)  # so the proof fits, and only a check of the range helps
    k = shared.to_bytes(shared.bit_length() // 8 + 1, "big")
    return Session(f"{public:x}", sent, k, hmac.digest(k, identity.secret, "sha1"))
