"""Live session tokens: the exchange that makes one, and what each has opened so far."""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field

from tests.sandbox.answers import RefusedError, error_answer
from tests.sandbox.faults import Fault
from tests.sandbox.identity import Identity

TOKEN_LIFE = 24 * 3600  # seconds
_HEX = re.compile(r"[0-9A-Fa-f]{1,2000}")


@dataclass(frozen=True)
class Exchange:
    """A Diffie-Hellman exchange from the server's side: both public values, and K as a number."""

    challenge: str
    response: str
    shared: int = field(repr=False)

    @property
    def k(self) -> bytes:
        """K as Java's BigInteger.toByteArray() gives it: a zero byte before a set top bit."""
        return self.shared.to_bytes(self.shared.bit_length() // 8 + 1, "big")


@dataclass
class Session:
    """What a live session token has opened so far."""

    token: bytes = field(repr=False)
    made: Exchange
    expires: float
    signed: int = 0  # requests whose signature was right
    called: set[str] = field(default_factory=set)  # endpoints that were answered with 200
    brokerage: str = "none"  # then "settling" and "ready", or "competing"
    brokerage_since: float = 0
    polls: int = 0
    subscribed: dict[str, int] = field(default_factory=dict)  # conid: snapshots so far

    def subscribe(self, conid: str) -> int:
        """How many snapshots of it there were before."""
        before = self.subscribed.get(conid, 0)
        self.subscribed[conid] = before + 1
        return before


def check_challenge(challenge: str, prime: int) -> int:
    """Zeros in front and capitals are what working clients send. Raises RefusedError."""
    answer = error_answer(401, "id: 0, error: unauthorized")
    if not _HEX.fullmatch(challenge):
        raise RefusedError("diffie_hellman_challenge: not hex digits alone", answer)
    public = int(challenge, 16)
    if not 2 <= public <= prime - 2:
        raise RefusedError("diffie_hellman_challenge: not within 2 to p - 2", answer)
    return public


def exchange(public: int, identity: Identity, fault: Fault) -> Exchange:
    exponent = secrets.randbits(256) + 1
    response = pow(identity.generator, exponent, identity.prime)
    shared = pow(public, exponent, identity.prime)
    while not fault.wanted(shared):  # one more in the exponent, until K has the form
        response = response * identity.generator % identity.prime
        shared = shared * public % identity.prime
    if fault.dh_response is None:
        return Exchange(f"{public:x}", f"{response:x}", shared)
    if _HEX.fullmatch(fault.dh_response):
        # so the proof fits, and only a check of the range helps
        shared = int(fault.dh_response, 16)
    return Exchange(f"{public:x}", fault.dh_response, shared)


class Sessions:
    """The live session tokens of one user, the newest first."""

    def __init__(self) -> None:
        self.live: list[Session] = []
        self.ended: list[Session] = []

    def open(self, made: Exchange, secret: bytes, now: float) -> Session:
        session = Session(hmac.digest(made.k, secret, "sha1"), made, now + TOKEN_LIFE)
        self.live.insert(0, session)
        return session

    def end(self, session: Session) -> None:
        if session in self.live:
            self.live.remove(session)
            self.ended.insert(0, session)
        session.brokerage = "none"

    def revive(self, session: Session) -> None:
        """After its logout a client used the token again: it counts as live once more."""
        if session in self.ended:
            self.ended.remove(session)
            self.live.insert(0, session)

    def expire(self, now: float) -> None:
        for session in list(self.live):
            if session.expires <= now:
                self.end(session)
