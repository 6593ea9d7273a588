"""Live session tokens: the exchange that makes one, and what each has opened so far."""

from __future__ import annotations

import hmac
import re
import secrets
from collections import Counter
from dataclasses import dataclass, field

from tests.sandbox.answers import RefusedError
from tests.sandbox.faults import Fault
from tests.sandbox.identity import Identity


@dataclass
class Session:
    """A live session token, the exchange that made it, and what it has opened so far."""

    response: str
    k: bytes = field(repr=False)  # as Java's toByteArray: a zero byte before a set top bit
    token: bytes = field(repr=False)
    signed: int = 0  # requests whose signature was right
    called: set[str] = field(default_factory=set)  # endpoints that were answered with 200
    brokerage: str = "none"  # then "settling", "ready"; "held" or "taken" by another session
    brokerage_since: float = 0
    polls: int = 0
    snapshots: Counter[str] = field(default_factory=Counter)  # by conid


@dataclass
class Sessions:
    """The live session tokens of one user, the newest first."""

    live: list[Session] = field(default_factory=list)
    ended: list[Session] = field(default_factory=list)


def exchange(challenge: str, identity: Identity, fault: Fault) -> Session:
    """The server's side of Diffie-Hellman, and the token that comes of it. Raises RefusedError.

    Working clients send zeros in front, and capitals.
    """
    if not re.fullmatch("[0-9A-Fa-f]+", challenge):
        raise RefusedError("diffie_hellman_challenge: not hex digits alone")
    public = int(challenge, 16)
    if not 2 <= public <= identity.prime - 2:
        raise RefusedError("diffie_hellman_challenge: not within 2 to p - 2")
    exponent = secrets.randbits(256) + 1
    response = pow(identity.generator, exponent, identity.prime)
    shared = pow(public, exponent, identity.prime)
    while shared.bit_length() not in fault.k_bits:  # one more in the exponent, until K has the form
        response = response * identity.generator % identity.prime
        shared = shared * public % identity.prime
    sent = f"{response:x}"
    if fault.dh_response is not None:
        sent = fault.dh_response
        shared = int(sent or "0", 16)  # so the proof fits, and only a check of the range helps
    k = shared.to_bytes(shared.bit_length() // 8 + 1, "big")
    return Session(sent, k, hmac.digest(k, identity.secret, "sha1"))
