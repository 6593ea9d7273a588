"""Live session tokens: the exchange that makes one, and what each has opened so far."""

from __future__ import annotations

import hmac
import re
import secrets
from collections import deque
from dataclasses import dataclass, field

from tests.sandbox.answers import RefusedError, error_answer
from tests.sandbox.faults import Fault
from tests.sandbox.identity import Identity
from tests.sandbox.mistakes import Signer, token_spellings

TOKEN_LIFE = 24 * 3600  # seconds
SESSIONS = 50  # live session tokens that are good at the same time
CONIDS = 1000  # subscriptions that one session keeps
BASE_STRING = 4000  # characters of a base string that are kept to recognise it later
_HEX = re.compile(r"[0-9A-Fa-f]{1,2000}")


@dataclass
class Session:
    """What a live session token has opened so far."""

    token: bytes = field(repr=False)
    wrong_tokens: list[Signer] = field(repr=False)  # what a client gets that makes K wrongly
    expires: float
    called: set[str] = field(default_factory=set)  # endpoints that were answered with 200
    brokerage: str = "none"  # then "settling" and "ready", or "competing"
    brokerage_since: float = 0
    polls: int = 0
    subscribed: dict[str, int] = field(default_factory=dict)  # conid: snapshots so far
    odd_response: bool = False  # the response that made it has an odd number of digits
    base_strings: list[str] = field(default_factory=list, repr=False)  # first and last signed

    def remember(self, base: str) -> None:
        if len(base) <= BASE_STRING:
            self.base_strings = [*self.base_strings[:1], base]

    def subscribe(self, conid: str) -> int:
        """How many snapshots of it there were before."""
        before = self.subscribed.get(conid, 0)
        if before or len(self.subscribed) < CONIDS:
            self.subscribed[conid] = before + 1
        return before


@dataclass(frozen=True)
class Exchange:
    """A Diffie-Hellman exchange from the server's side: what it answers, and K as a number."""

    response: str
    shared: int = field(repr=False)


def check_challenge(challenge: str, prime: int) -> int:
    """Zeros in front and capitals are what working clients send. Raises RefusedError."""
    public = int(challenge, 16) if _HEX.fullmatch(challenge) else 0
    if not 2 <= public <= prime - 2:
        answer = error_answer(401, "id: 0, error: unauthorized")
        raise RefusedError("diffie_hellman_challenge: not hex, or not within 2 to p - 2", answer)
    return public


def exchange(public: int, identity: Identity, fault: Fault) -> Exchange:
    exponent = secrets.randbits(256) + 1
    response = pow(identity.generator, exponent, identity.prime)
    shared = pow(public, exponent, identity.prime)
    while not fault.wanted(shared):  # one more in the exponent, until K has the form
        response = response * identity.generator % identity.prime
        shared = shared * public % identity.prime
    if fault.dh_response is None:
        return Exchange(f"{response:x}", shared)
    if _HEX.fullmatch(fault.dh_response):
        # so the proof fits, and only a check of the range helps
        shared = int(fault.dh_response, 16)
    return Exchange(fault.dh_response, shared)


def shared_bytes(shared: int) -> bytes:
    """K as Java's BigInteger.toByteArray() gives it: a zero byte before a set top bit."""
    return shared.to_bytes(shared.bit_length() // 8 + 1, "big")


def wrong_tokens(shared: int, secret: bytes) -> list[Signer]:
    """The tokens that clients get when they spell K otherwise."""
    k = shared_bytes(shared)
    bare = k.lstrip(b"\0")
    signers = []
    if bare != k:
        signers.append(Signer("sign byte of K missing", hmac.digest(bare, secret, "sha1")))
    digits = f"{shared:x}"
    if len(digits) % 2:
        cut = bytes.fromhex(digits[:-1])
        mistake = "last digit of K dropped, whose hex has an odd number of them"
        signers.append(Signer(mistake, hmac.digest(cut, secret, "sha1")))
    return signers


class Sessions:
    """The live session tokens of one user, the newest first."""

    def __init__(self) -> None:
        self.live: list[Session] = []
        self.ended: deque[Session] = deque(maxlen=20)

    def open(self, token: bytes, wrong: list[Signer], now: float) -> Session:
        session = Session(token, wrong, now + TOKEN_LIFE)
        self.live = [session, *self.live[: SESSIONS - 1]]
        return session

    def end(self, session: Session) -> None:
        if session in self.live:
            self.live.remove(session)
            self.ended.append(session)
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

    def likely_keys(self) -> list[Signer]:
        """What clients sign with, rightly or by mistake; the newest log-ins only."""
        keys: list[Signer] = []
        for session in self.live[:3]:
            keys += token_spellings(session.token) + session.wrong_tokens
        for session in self.ended:
            keys.append(Signer("live session token that has ended", session.token))
        return keys

    def perhaps_dropped_digit(self) -> bool:
        """Nobody can compute what a client gets that drops a digit of the response: a guess.

        It is likely when the newest token came of such a response and nothing was signed with it.
        """
        return bool(self.live) and self.live[0].odd_response and not self.live[0].called

    def earlier_base_strings(self) -> tuple[str, ...]:
        strings: list[str] = []
        for session in self.live[:3]:
            strings += session.base_strings
        return tuple(strings)
