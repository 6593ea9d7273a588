"""Checks a request as a server does, from the public halves, in the order in which one does it."""

from __future__ import annotations

import contextlib
import hmac
import json
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, NamedTuple
from urllib.parse import unquote, unquote_plus

from Crypto.Hash import SHA256
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
from tests.sandbox.evidence import decode_base64, expected_lines, explain
from tests.sandbox.identity import Identity
from tests.sandbox.mistakes import Case, Pairs, Text
from tests.sandbox.sessions import Session, Sessions

TIMESTAMP_WINDOW = 300  # seconds, either way
TOKEN_PATH = "/oauth/live_session_token"
AFTER_LOGOUT = ("/iserver/auth/ssodh/init", "/tickle")  # where an ended token is still taken
CHALLENGE = "diffie_hellman_challenge"
NEEDED = ["realm", "oauth_consumer_key", "oauth_nonce", "oauth_signature"]
NEEDED += ["oauth_signature_method", "oauth_timestamp", "oauth_token"]

_PAIR = re.compile(r'([A-Za-z_]+)=(?:"([^"]*)"|([^",\s]+))')
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
    query_form: str = ""  # a key of query_forms(), or "" without a query
    passed: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)  # accepted, but not as documented


class SignatureError(RefusedError):
    """A signature that does not fit."""

    def __init__(self, answer: Answer, case: Case) -> None:
        super().__init__("signature", answer)
        self.case = case
        self.expected = expected_lines(case)  # for the log

    def explain(self) -> str:
        """The reason on the first line, the evidence below it. Takes up to half a second."""
        return explain(self.case)


class Passed(NamedTuple):
    """A request that passed every check. `session`: None when it asks for a token."""

    sent: dict[str, str]  # the parameters of the header
    session: Session | None


def parse_authorization(headers: list[str], needed: list[str]) -> tuple[Pairs, list[str]]:
    """Section 3.5.1 of RFC 5849; returns remarks, too. Raises ValueError, which shows no value."""
    if len(headers) != 1:
        raise ValueError(f"{len(headers) or 'no'} Authorization headers")
    scheme, _, rest = headers[0].partition(" ")
    if scheme.lower() != "oauth":
        raise ValueError("Authorization is not of the scheme OAuth")
    pairs: dict[str, str] = {}
    remarks = []
    for item in rest.split(","):
        match = _PAIR.fullmatch(item.strip())
        if not match:
            raise ValueError('Authorization is not made of name="value" pairs with commas between')
        name, quoted, bare = match.groups()
        if bare and name != "realm":
            raise ValueError(f"{name} stands without quotes")
        if bare:
            remarks.append("the realm stands without quotes")
        if name in pairs:
            raise ValueError(f"{name} stands twice in Authorization")
        pairs[name] = decoded(name, quoted or bare or "")
        if name not in needed:
            remarks.append(f"{name} in the header, which IBKR's documents do not have here")
    missing = [name for name in needed if not pairs.get(name)]
    if missing:
        raise ValueError(f"missing {', '.join(missing)}")
    return list(pairs.items()), remarks


def decoded(name: str, value: str) -> str:
    if _ENCODED.fullmatch(value):
        return unquote(value)
    signature = ": + / = go as %2B %2F %3D" if name == "oauth_signature" else ""
    raise ValueError(f"{name} not percent-encoded{signature}")


def not_the_same(sent: str, expected: str) -> str:
    """Says so without showing either."""
    if sent == expected:
        return ""
    if sent.strip().lower() == expected.lower():
        return "not the one in the config: other capitals, or blanks at its ends"
    return f"not the one in the config: {len(sent)} characters, of {len(expected)} in the config"


def method_problem(method: str, for_token: bool) -> str:
    expected = "RSA-SHA256" if for_token else "HMAC-SHA256"
    return "" if method == expected else f"must be {expected} for this request"


def json_fields(request: Request) -> dict[str, Any]:
    if request.body and request.headers.get_content_type() == "application/json":
        with contextlib.suppress(ValueError, RecursionError):
            data = json.loads(request.body)
            return data if isinstance(data, dict) else {}
    return {}


def signed_query(request: Request) -> str:
    """A form body is signed as a query is."""
    if request.headers.get_content_type() != "application/x-www-form-urlencoded":
        return request.query
    form = request.body.decode("latin-1")
    return f"{request.query}&{form}" if request.query else form


def split_query(query: str, decode: Callable[[str], str]) -> Pairs:
    pairs = []
    for item in filter(None, query.split("&")):
        name, _, value = item.partition("=")
        pairs.append((decode(name), decode(value)))
    return pairs


def parameters(request: Request) -> dict[str, Any]:
    """Clients send the same parameters as a query, as a form or as JSON."""
    found: dict[str, Any] = dict(split_query(signed_query(request), unquote_plus))
    found.update(json_fields(request))
    return found


def without_slash(path: str) -> str:
    return path.rstrip("/") or path


IN_URL = "the query left in the signed URL: recorded, in no document"
QUERY_REMARKS = {  # IBKR's documents disagree
    "signed as on the wire": "the query signed as on the wire, or its values encoded twice as in "
    "RFC 5849; IBKR-guide says once",
    "left out": "the query not signed; IBKR-docs say so, IBKR-2018 and IBKR-guide sign it",
    "left in the URL": IN_URL,
    "left in the URL, decoded": IN_URL,
}


def query_forms(text: Text, query: str) -> dict[str, Text]:
    """What may be signed, the plainest first."""
    if not query:
        return {"": text}
    forms = {
        "signed": text._replace(pairs=text.pairs + split_query(query, unquote_plus)),
        "left out": text,
        "left in the URL": text._replace(path=f"{text.path}?{query}"),
    }
    if unquote_plus(query) != query:
        as_sent = text.pairs + split_query(query, str)
        forms["signed as on the wire"] = text._replace(pairs=as_sent)
        forms["left in the URL, decoded"] = text._replace(path=f"{text.path}?{unquote(query)}")
    return forms


def refusal(reason: str, record: Record, error: str = "unauthorized") -> RefusedError:
    """IBKR's 401 does not say what was wrong; only the log does."""
    return RefusedError(reason, error_answer(401, f"id: {record.number}, error: {error}"))


class Gate:
    """Knows the user and what was signed before: lets a request in, or raises RefusedError."""

    def __init__(self, identity: Identity, sessions: Sessions, now: Callable[[], float]) -> None:
        self.identity = identity
        self.sessions = sessions
        self.now = now
        self.port = 0
        self.throwaway = False  # then the log may show secrets, and TESTCONS is known, too
        self.encrypted_secret = ""  # base64, as in the config
        self.lock = threading.Lock()
        self.nonces: set[str] = set()
        self.texts: deque[Text] = deque(maxlen=20)  # signed rightly: tried again later

    def check(self, request: Request, record: Record) -> Passed:
        self.check_manners(request)
        for_token = without_slash(request.path) == TOKEN_PATH
        pairs = self.read_header(request, for_token, record)
        sent = dict(pairs)
        self.check_names(sent, for_token, record)
        host = self.signed_host(request)
        if not host:
            raise refusal("host: the Host header is neither this server nor api.ibkr.com", record)
        record.passed.append("host")
        texts = self.accepted_texts(request, pairs, host, for_token)
        session, text = self.verify(texts, sent["oauth_signature"], for_token, record)
        if text is None:
            answer = refusal("", record).answer
            raise SignatureError(answer, self.case(request, sent, list(texts.values())))
        record.passed.append("signature")
        with self.lock:
            self.nonces.add(sent["oauth_nonce"])
            self.texts.append(text)
            if session:
                session.signed += 1
        if request.path != without_slash(request.path):
            record.remarks.append("a slash at the end of the path")
        return Passed(sent, session)

    def check_manners(self, request: Request) -> None:
        if not request.headers.get("User-Agent"):
            raise RefusedError("no User-Agent", ACCESS_DENIED)
        if request.method == "POST" and request.headers.get("Content-Length") is None:
            raise RefusedError("POST without Content-Length", html_answer(411, "Length Required"))
        if request.path.startswith("(outside"):
            raise RefusedError(f"unknown path: not below {BASE_PATH}", NOT_FOUND)
        if request.path == "/ws":
            raise RefusedError("the sandbox has no websocket", NOT_FOUND)

    def read_header(self, request: Request, for_token: bool, record: Record) -> Pairs:
        headers = request.headers.get_all("Authorization") or []
        needed = list(NEEDED)
        if for_token:
            needed.append(CHALLENGE)
        try:
            pairs, remarks = parse_authorization(headers, needed)
        except ValueError as error:
            raise refusal(f"header: {error}", record) from None
        record.remarks += remarks
        record.passed.append("header")
        return pairs

    def check_names(self, sent: dict[str, str], for_token: bool, record: Record) -> None:
        consumer, realm = self.identity.consumer_key, self.identity.realm
        if self.throwaway and sent["oauth_consumer_key"] == "TESTCONS":
            consumer, realm = "TESTCONS", "test_realm"
        for name, problem in (
            ("consumer", not_the_same(sent["oauth_consumer_key"], consumer)),
            ("token", not_the_same(sent["oauth_token"], self.identity.access_token)),
            ("realm", not_the_same(sent["realm"], realm)),
            ("method", method_problem(sent["oauth_signature_method"], for_token)),
            ("timestamp", self.timestamp_problem(sent["oauth_timestamp"])),
            ("nonce", "seen before: a replay" if sent["oauth_nonce"] in self.nonces else ""),
        ):
            if problem:
                error = "invalid consumer" if name == "consumer" else "unauthorized"
                raise refusal(f"{name}: {problem}", record, error)
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

    def signed_host(self, request: Request) -> str:
        """Host and port that the URL in the base string must have; empty for a foreign one."""
        own = (f"127.0.0.1:{self.port}", f"localhost:{self.port}")
        host = request.headers.get("Host", "").lower()
        if host == "api.ibkr.com":  # some clients hard-code it, even when they call another server
            return own[0]
        return host if host in own else ""

    def accepted_texts(
        self, request: Request, pairs: Pairs, host: str, for_token: bool
    ) -> dict[str, Text]:
        signed = [(n, v) for n, v in pairs if n not in ("realm", "oauth_signature")]
        text = Text(request.method, f"http://{host}", BASE_PATH + request.path, signed)
        if for_token:
            text = text._replace(prepend=self.identity.secret.hex())
        return query_forms(text, signed_query(request))

    def verify(
        self, texts: dict[str, Text], signature: str, for_token: bool, record: Record
    ) -> tuple[Session | None, Text | None]:
        """Whose token signed which text: no session for a token request, no text if none fits."""
        raw = decode_base64(signature)
        signers: Sequence[Session | None] = [None]
        if not for_token:
            signers = self.good_sessions(record.path)
        for form, text in texts.items():
            for session in signers:
                if not self.fits(session, text.message, raw):
                    continue
                record.query_form = form
                if form in QUERY_REMARKS:
                    record.remarks.append(QUERY_REMARKS[form])
                if session and session not in self.sessions.live:
                    record.remarks.append("the live session token is used again after its logout")
                return session, text
        return None, None

    def good_sessions(self, path: str) -> list[Session]:
        with self.lock:
            self.sessions.expire(self.now())
            if without_slash(path) in AFTER_LOGOUT:
                return self.sessions.live + self.sessions.ended
            return list(self.sessions.live)

    def fits(self, session: Session | None, message: bytes, signature: bytes) -> bool:
        if session:
            expected = hmac.digest(session.token, message, "sha256")
            return hmac.compare_digest(expected, signature)
        try:
            pkcs1_15.new(self.identity.signature_key).verify(SHA256.new(message), signature)
        except ValueError:
            return False
        return True

    def case(self, request: Request, sent: dict[str, str], texts: list[Text]) -> Case:
        with self.lock:
            return Case(
                sent=sent,
                texts=texts,
                query=signed_query(request),
                body=json_fields(request),
                identity=self.identity,
                encrypted_secret=self.encrypted_secret,
                live=list(self.sessions.live),
                ended=list(self.sessions.ended),
                earlier=list(self.texts),
                throwaway=self.throwaway,
            )
