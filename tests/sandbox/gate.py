"""Checks a request as a server does, from the public halves, in the order in which one does it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import heapq
import hmac
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, NamedTuple
from urllib.parse import unquote

from Crypto.Hash import SHA256
from Crypto.PublicKey import RSA
from Crypto.Signature import pkcs1_15

from tests.sandbox.answers import (
    ACCESS_DENIED,
    BASE_PATH,
    NOT_FOUND,
    Answer,
    RefusedError,
    error_answer,
    html_answer,
)
from tests.sandbox.identity import Identity
from tests.sandbox.mistakes import (
    LONGEST,
    Attempt,
    Pairs,
    find_mistakes,
    hmac_fits,
    query_forms,
    rsa_fits,
)
from tests.sandbox.sessions import Session, Sessions

TIMESTAMP_WINDOW = 300  # seconds, either way
NONCES = 20_000  # that are remembered at most, so that memory stays flat
RECORDED = 500  # characters of a path or a query that a record keeps
SHOWN = 4000  # characters of a base string that the log shows
NO_MISTAKE = "does not match, and no known mistake explains it"
DROPPED = "; diffie_hellman_response has an odd number of digits: was the last one dropped?"
TOKEN_PATH = "/oauth/live_session_token"
AFTER_LOGOUT = ("/iserver/auth/ssodh/init", "/tickle")  # where an ended token is still taken
NEEDED = ["realm", "oauth_consumer_key", "oauth_nonce", "oauth_signature"]
NEEDED += ["oauth_signature_method", "oauth_timestamp", "oauth_token"]

_PAIR = re.compile(r'([a-z_]+)=(?:"([^"]*)"|([^",\s]+))')
_ENCODED = re.compile(r"(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})*")


class Request(NamedTuple):
    """A request as it came over the wire."""

    method: str
    path: str  # without BASE_PATH
    query: str
    headers: Message
    body: bytes
    connection: int


@dataclass
class Record:
    """What became of a request. `refused`: the reason, or empty."""

    method: str
    path: str
    query: str
    connection: int
    arrived: float  # monotonic, in seconds
    number: int = 0
    status: int = 0
    refused: str = ""
    query_form: str = ""  # "signed", "signed as on the wire", "left out", or "" without a query
    passed: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)  # accepted, but not as documented


class SignatureError(RefusedError):
    """A signature that does not fit. `explain` names the mistake, which may take a moment."""

    def __init__(self, answer: Answer, explain: Callable[[], str], expected: str) -> None:
        super().__init__("signature", answer)
        self.explain = explain
        self.expected = expected  # lines for the log


class Passed(NamedTuple):
    """A request that passed every check. `session`: None when it asks for a token."""

    sent: dict[str, str]
    session: Session | None
    base: str


def parse_authorization(header: str) -> tuple[Pairs, list[str]]:
    """Section 3.5.1 of RFC 5849; returns remarks, too. Raises ValueError, which shows no value."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "oauth":
        raise ValueError("Authorization is not of the scheme OAuth")
    pairs: Pairs = []
    remarks: list[str] = []
    for item in rest.split(","):
        match = _PAIR.fullmatch(item.strip())
        if not match or (match.group(3) and match.group(1) != "realm"):
            raise ValueError('Authorization is not made of name="value" pairs')
        name = match.group(1)
        value = match.group(2) or match.group(3) or ""
        if match.group(3):
            remarks.append("the realm stands without quotes")
        check_encoding(name, value)
        if name in dict(pairs):
            raise ValueError(f"{name} stands twice in Authorization")
        pairs.append((name, unquote(value)))
    return pairs, remarks


def check_encoding(name: str, value: str) -> None:
    if _ENCODED.fullmatch(value):
        return
    if name == "oauth_signature":
        raise ValueError("signature not percent-encoded: + / = go as %2B %2F %3D")
    raise ValueError(f"{name} not percent-encoded")


def decode_base64(text: str) -> bytes:
    """Empty unless it is the one proper spelling, so that no changed character goes unnoticed."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return b""
    return data if base64.b64encode(data).decode() == text else b""


def method_problem(method: str, for_token: bool) -> str:
    expected = "RSA-SHA256" if for_token else "HMAC-SHA256"
    if method == expected:
        return ""
    if method == expected.replace("256", "1"):
        return f"SHA-1 instead of SHA-256: must be {expected} for this request"
    return f"must be {expected} for this request"


def form_fields(request: Request) -> str:
    if request.headers.get_content_type() == "application/x-www-form-urlencoded":
        return request.body.decode("latin-1")
    return ""


def json_fields(request: Request) -> dict[str, Any]:
    if request.body and request.headers.get_content_type() == "application/json":
        with contextlib.suppress(ValueError, RecursionError):
            data = json.loads(request.body)
            return data if isinstance(data, dict) else {}
    return {}


def parameters(request: Request) -> dict[str, Any]:
    """Clients send the same parameters as a query, as a form or as JSON."""
    query = "&".join(filter(None, (request.query, form_fields(request))))
    found: dict[str, Any] = dict(query_forms(query)[0][1])
    found.update(json_fields(request))
    return found


def without_slash(path: str) -> str:
    return path.rstrip("/") or path


class Gate:
    """Knows the user and what was signed before: lets a request in, or raises RefusedError."""

    def __init__(self, identity: Identity, sessions: Sessions, now: Callable[[], float]) -> None:
        self.identity = identity
        self.sessions = sessions
        self.now = now
        self.port = 0
        self.lock = threading.Lock()
        self.nonces: set[bytes] = set()
        self.nonce_ends: list[tuple[float, bytes]] = []  # a heap

    def check(self, request: Request, record: Record) -> Passed:
        self.check_manners(request)
        for_token = without_slash(request.path) == TOKEN_PATH
        pairs, remarks = self.read_header(request, for_token, record)
        record.passed.append("header")
        record.remarks += remarks
        sent = dict(pairs)
        self.check_names(sent, for_token, record)
        host = self.signed_host(request)
        if not host:
            self.refuse("host: the Host header is neither this server nor api.ibkr.com", record)
        record.passed.append("host")
        attempt = self.attempt(request, pairs, host, for_token)
        session, base = self.verify(attempt, sent["oauth_signature"], for_token, record)
        record.passed.append("signature")
        self.remember_nonce(sent["oauth_nonce"], int(sent["oauth_timestamp"]), record)
        if request.path != without_slash(request.path):
            record.remarks.append("a slash at the end of the path")
        return Passed(sent, session, base)

    def check_manners(self, request: Request) -> None:
        if not request.headers.get("User-Agent"):
            raise RefusedError("no User-Agent", ACCESS_DENIED)
        if request.method == "POST" and request.headers.get("Content-Length") is None:
            raise RefusedError("POST without Content-Length", html_answer(411, "Length Required"))
        if request.path.startswith("(outside"):
            raise RefusedError(f"unknown path: not below {BASE_PATH}", NOT_FOUND)
        if request.path == "/ws":
            raise RefusedError("the sandbox has no websocket", NOT_FOUND)

    def refuse(self, reason: str, record: Record, error: str = "unauthorized") -> None:
        """IBKR's 401 does not say what was wrong; only the log does."""
        raise RefusedError(reason, error_answer(401, f"id: {record.number}, error: {error}"))

    def read_header(
        self, request: Request, for_token: bool, record: Record
    ) -> tuple[Pairs, list[str]]:
        headers = request.headers.get_all("Authorization") or []
        if len(headers) != 1:
            self.refuse(f"header: {len(headers) or 'no'} Authorization headers", record)
        pairs: Pairs = []
        remarks: list[str] = []
        try:
            pairs, remarks = parse_authorization(headers[0])
        except ValueError as error:
            self.refuse(f"header: {error}", record)
        needed = NEEDED + (["diffie_hellman_challenge"] if for_token else [])
        missing = [name for name in needed if not dict(pairs).get(name)]
        if missing:
            self.refuse(f"header: missing {', '.join(missing)}", record)
        return pairs, remarks

    def check_names(self, sent: dict[str, str], for_token: bool, record: Record) -> None:
        identity = self.identity
        wrong = "not the one in the config"
        if sent["oauth_consumer_key"] != identity.consumer_key:
            self.refuse(f"consumer: {wrong}", record, "invalid consumer")
        record.passed.append("consumer")
        if sent["oauth_token"] != identity.access_token:
            self.refuse(f"token: {wrong}", record)
        record.passed.append("token")
        if sent["realm"] != identity.realm:
            self.refuse(f"realm: {wrong}", record)
        record.passed.append("realm")
        for name, problem in (
            ("method", method_problem(sent["oauth_signature_method"], for_token)),
            ("timestamp", self.timestamp_problem(sent["oauth_timestamp"])),
            ("nonce", self.nonce_problem(sent["oauth_nonce"])),
        ):
            if problem:
                self.refuse(f"{name}: {problem}", record)
            record.passed.append(name)

    def timestamp_problem(self, timestamp: str) -> str:
        if not re.fullmatch("[0-9]{1,15}", timestamp):
            return "not a number of seconds"
        off = int(timestamp) - self.now()
        if abs(int(timestamp) / 1000 - self.now()) <= TIMESTAMP_WINDOW:
            return "in milliseconds instead of seconds"
        if abs(off) > TIMESTAMP_WINDOW:
            side = "ahead of" if off > 0 else "behind"
            return f"{abs(off):.0f} s {side} the server's clock"
        return ""

    def nonce_problem(self, nonce: str) -> str:
        with self.lock:
            while self.nonce_ends and self.nonce_ends[0][0] < self.now():
                self.nonces.discard(heapq.heappop(self.nonce_ends)[1])
            return "seen before: a replay" if self.digest(nonce) in self.nonces else ""

    def remember_nonce(self, nonce: str, timestamp: int, record: Record) -> None:
        """Only as long as the timestamp could pass: after that a replay fails by its timestamp."""
        digest = self.digest(nonce)
        with self.lock:
            known = digest in self.nonces
            self.nonces.add(digest)
            heapq.heappush(self.nonce_ends, (timestamp + TIMESTAMP_WINDOW, digest))
            if len(self.nonce_ends) > NONCES:
                self.nonces.discard(heapq.heappop(self.nonce_ends)[1])
        if known:  # the same request twice at the same moment
            self.refuse("nonce: seen before: a replay", record)

    def digest(self, nonce: str) -> bytes:
        """A client may send a nonce of any length: this one has always the same."""
        return hashlib.sha256(nonce.encode("utf-8", "replace")).digest()[:16]

    def signed_host(self, request: Request) -> str:
        """Host and port that the URL in the base string must have; empty for a foreign one."""
        own = (f"127.0.0.1:{self.port}", f"localhost:{self.port}")
        host = request.headers.get("Host", "").lower()
        if host == "api.ibkr.com":  # some clients hard-code it, even when they call another server
            return own[0]
        return host if host in own else ""

    def attempt(self, request: Request, pairs: Pairs, host: str, for_token: bool) -> Attempt:
        signed = [(n, v) for n, v in pairs if n not in ("realm", "oauth_signature")]
        body_fields: Pairs = []
        for name, value in json_fields(request).items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            body_fields.append((str(name), text))
        return Attempt(
            method=request.method,
            url=f"http://{host}{BASE_PATH}{request.path}",
            pairs=signed,
            query="&".join(filter(None, (request.query, form_fields(request)))),
            prepend=self.identity.secret.hex() if for_token else "",
            realm=self.identity.realm,
            body_fields=body_fields,
        )

    def verify(
        self, attempt: Attempt, text: str, for_token: bool, record: Record
    ) -> tuple[Session | None, str]:
        """Returns the session and the base string, or raises SignatureError."""
        signature = decode_base64(text)
        with self.lock:
            self.sessions.expire(self.now())
            sessions = list(self.sessions.live)
            if without_slash(record.path) in AFTER_LOGOUT:
                sessions += list(self.sessions.ended)
        for form, query_pairs in query_forms(attempt.query):
            base = attempt.expected(query_pairs)
            message = base.encode()
            record.query_form = form
            if for_token:
                if self.rsa_fits(signature, message):
                    return None, base
                continue
            for session in sessions:
                if hmac.compare_digest(hmac.digest(session.token, message, "sha256"), signature):
                    self.note_ended(session, record)
                    return session, base
        record.query_form = ""
        answer = error_answer(401, f"id: {record.number}, error: unauthorized")
        raise SignatureError(
            answer,
            lambda: self.explain(attempt, text, signature, for_token),
            self.expected_lines(attempt, for_token),
        )

    def note_ended(self, session: Session, record: Record) -> None:
        if session not in self.sessions.live:
            record.remarks.append("the live session token is used again after its logout")

    def rsa_fits(self, signature: bytes, message: bytes) -> bool:
        try:
            pkcs1_15.new(self.identity.signature_key).verify(SHA256.new(message), signature)
        except ValueError:
            return False
        return True

    def expected_lines(self, attempt: Attempt, for_token: bool) -> str:
        if len(attempt.query) > LONGEST:
            return "\n    expected base string: too long to show"
        masked: Pairs = []
        for name, value in attempt.pairs:
            masked.append((name, "ACCESSTOKEN" if name == "oauth_token" else value))
        prepend = "<prepend>" if for_token else ""
        shown = attempt._replace(pairs=masked, prepend=prepend)
        lines = ""
        for form, query_pairs in query_forms(attempt.query):
            base = shown.expected(query_pairs).replace("ACCESSTOKEN", "<access token>")
            if len(base) > SHOWN:
                base = f"{base[:SHOWN]}... ({len(base)} characters)"
            which = f", query {form}" if form else ""
            lines += f"\n    expected base string{which}: {base}"
        return lines

    def explain(self, attempt: Attempt, text: str, signature: bytes, for_token: bool) -> str:
        """The mistake by name, when trying it gives the signature that was sent."""
        if not signature:
            twice = " (percent-encoded twice)" if "%" in text else ""
            return f"not canonical base64{twice}"
        with self.lock:
            keys = self.sessions.likely_keys()
            attempt = attempt._replace(earlier=self.sessions.earlier_base_strings())
            guess = self.sessions.perhaps_dropped_digit()
        if not for_token and not keys:
            return "nobody has a live session token yet"
        if for_token:
            known: list[tuple[str, RSA.RsaKey]] = [("", self.identity.signature_key)]
            known += self.identity.stray_keys
            swapped = "signed with the encryption key instead of the signature key"
            known.append((swapped, self.identity.encryption_key))
            fits = rsa_fits(signature, known)
        else:
            fits = hmac_fits(signature, keys)
        best = find_mistakes(attempt, self.identity.secret.hex(), fits)
        if best:
            return " and ".join(best)
        return NO_MISTAKE + (DROPPED if not for_token and guess else "")
