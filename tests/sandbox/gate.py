"""Checks a request as a server does, from the public halves, in the order in which one does it."""

from __future__ import annotations

import contextlib
import hmac
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, NamedTuple
from urllib.parse import unquote, unquote_plus

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
    printable,
)
from tests.sandbox.evidence import Case, decode_base64, expected_lines, explain
from tests.sandbox.identity import Identity
from tests.sandbox.mistakes import Client, Pairs, Text
from tests.sandbox.sessions import Session, Sessions

TIMESTAMP_WINDOW = 300  # seconds, either way
TOKEN_PATH = "/oauth/live_session_token"
AFTER_LOGOUT = ("/iserver/auth/ssodh/init", "/tickle")  # where an ended token is still taken
TEST_CONSUMER, TEST_REALM = "TESTCONS", "test_realm"
CHALLENGE = "diffie_hellman_challenge"
NEEDED = ["realm", "oauth_consumer_key", "oauth_nonce", "oauth_signature"]
NEEDED += ["oauth_signature_method", "oauth_timestamp", "oauth_token"]
EARLIER = 20  # texts that are tried again, when a later signature does not fit

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
    query_form: str = ""  # a key of QUERY_FORMS, or "" without a query
    passed: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)  # accepted, but not as documented


class SignatureError(RefusedError):
    """A signature that does not fit. `explain` takes a moment; its first line is the reason."""

    def __init__(self, answer: Answer, case: Case) -> None:
        super().__init__("signature", answer)
        self.case = case

    def explain(self) -> str:
        return explain(self.case)

    @property
    def expected(self) -> str:
        """Lines for the log."""
        return expected_lines(self.case)


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
        if not match:
            raise ValueError('Authorization is not made of name="value" pairs with commas between')
        name = match.group(1)
        if match.group(3) and name != "realm":
            raise ValueError(f"{name} stands without quotes")
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


def difference(sent: str, expected: str, others: dict[str, str]) -> str:
    """In what way another value was sent, without showing it."""
    if sent.strip().lower() == expected.lower():
        return "in other capitals, or with blanks at its ends"
    for name, other in others.items():
        if sent == other:
            return f"the {name} stands there"
    if len(sent) != len(expected):
        return f"{len(sent)} characters instead of {len(expected)}"
    return "another one"


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
    """Of any body that is a JSON object, whatever its type is said to be."""
    with contextlib.suppress(ValueError, RecursionError):
        data = json.loads(request.body)
        return data if isinstance(data, dict) else {}
    return {}


def signed_query(request: Request) -> str:
    """A form body is signed as a query is."""
    return "&".join(filter(None, (request.query, form_fields(request))))


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


QUERY_FORMS = {  # and what is remarked; IBKR's documents disagree
    "signed": "",
    "signed as on the wire": "the query signed as on the wire, or its values encoded twice as in "
    "RFC 5849; IBKR-guide says once",
    "left out": "the query not signed; IBKR-docs say so, IBKR-2018 and IBKR-guide sign it",
    "left in the URL": "the query left in the signed URL: recorded, in no document",
}


def query_forms(text: Text, query: str) -> dict[str, Text]:
    """What may be signed, the plainest first."""
    if not query:
        return {"": text}
    in_url = text._replace(path=f"{text.path}?{query}")
    return {
        "signed": text._replace(pairs=text.pairs + split_query(query, unquote_plus)),
        "signed as on the wire": text._replace(pairs=text.pairs + split_query(query, str)),
        "left out": text,
        "left in the URL": in_url,
        "left in the URL, decoded": in_url._replace(path=unquote(in_url.path)),
    }


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
        self.texts: list[Text] = []  # that were signed rightly, the newest first

    def check(self, request: Request, record: Record) -> Passed:
        self.check_manners(request)
        for_token = without_slash(request.path) == TOKEN_PATH
        pairs = self.read_header(request, for_token, record)
        sent = dict(pairs)
        self.check_names(sent, for_token, record)
        host = self.signed_host(request)
        if not host:
            name = printable(request.headers.get("Host", ""))
            self.refuse(f"host: {name!r} in Host is neither this server nor api.ibkr.com", record)
        record.passed.append("host")
        texts = self.accepted_texts(request, pairs, host, for_token)
        verify = self.verify_rsa if for_token else self.verify_hmac
        signed = verify(texts, decode_base64(sent["oauth_signature"]), record)
        if signed is None:
            record.query_form = ""
            answer = error_answer(401, f"id: {record.number}, error: unauthorized")
            raise SignatureError(answer, self.case(request, sent, list(texts.values()), for_token))
        session, text = signed
        record.passed.append("signature")
        with self.lock:
            self.nonces.add(sent["oauth_nonce"])
            self.texts.insert(0, text)
        if request.path != without_slash(request.path):
            record.remarks.append("a slash at the end of the path")
        return Passed(sent, session, text.base_string)

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

    def read_header(self, request: Request, for_token: bool, record: Record) -> Pairs:
        headers = request.headers.get_all("Authorization") or []
        if len(headers) != 1:
            self.refuse(f"header: {len(headers) or 'no'} Authorization headers", record)
        pairs: Pairs = []
        try:
            pairs, remarks = parse_authorization(headers[0])
            record.remarks += remarks
        except ValueError as error:
            self.refuse(f"header: {error}", record)
        needed = NEEDED + ([CHALLENGE] if for_token else [])
        missing = [name for name in needed if not dict(pairs).get(name)]
        if missing:
            self.refuse(f"header: missing {', '.join(missing)}", record)
        for name, _ in pairs:
            if name not in needed:
                record.remarks.append(f"{name} in the header, which no document of IBKR's has here")
        record.passed.append("header")
        return pairs

    def check_names(self, sent: dict[str, str], for_token: bool, record: Record) -> None:
        for name, problem, error in (
            ("consumer", self.consumer_problem(sent["oauth_consumer_key"]), "invalid consumer"),
            ("token", self.token_problem(sent["oauth_token"]), "unauthorized"),
            (
                "realm",
                self.realm_problem(sent["realm"], sent["oauth_consumer_key"]),
                "unauthorized",
            ),
            ("method", method_problem(sent["oauth_signature_method"], for_token), "unauthorized"),
            ("timestamp", self.timestamp_problem(sent["oauth_timestamp"]), "unauthorized"),
            ("nonce", self.nonce_problem(sent["oauth_nonce"]), "unauthorized"),
        ):
            if problem:
                self.refuse(f"{name}: {problem}", record, error)
            record.passed.append(name)

    def consumer_problem(self, consumer: str) -> str:
        expected = self.identity.consumer_key
        if consumer == expected or (self.throwaway and consumer == TEST_CONSUMER):
            return ""
        others = {"access token": self.identity.access_token, "realm": self.identity.realm}
        return f"not the one in the config: {difference(consumer, expected, others)}"

    def token_problem(self, token: str) -> str:
        expected = self.identity.access_token
        if token == expected:
            return ""
        others = {"consumer key": self.identity.consumer_key, "secret": self.encrypted_secret}
        for session in self.sessions.live:
            others["live session token"] = session.token.hex()
        return f"not the access token in the config: {difference(token, expected, others)}"

    def realm_problem(self, realm: str, consumer: str) -> str:
        expected = self.identity.realm
        if self.throwaway and consumer == TEST_CONSUMER:
            expected = TEST_REALM
        if realm == expected:
            return ""
        return f"not the one in the config: {difference(realm, expected, {})}, not {expected}"

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
        return "seen before: a replay" if nonce in self.nonces else ""

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

    def verify_rsa(
        self, texts: dict[str, Text], signature: bytes, record: Record
    ) -> tuple[None, Text] | None:
        for form, text in texts.items():
            with contextlib.suppress(ValueError):
                message = SHA256.new(text.message)
                pkcs1_15.new(self.identity.signature_key).verify(message, signature)
                self.note_form(form, record)
                return None, text
        return None

    def verify_hmac(
        self, texts: dict[str, Text], signature: bytes, record: Record
    ) -> tuple[Session, Text] | None:
        with self.lock:
            self.sessions.expire(self.now())
            sessions = list(self.sessions.live)
            if without_slash(record.path) in AFTER_LOGOUT:
                sessions += self.sessions.ended
        for form, text in texts.items():
            for session in sessions:
                expected = hmac.digest(session.token, text.message, "sha256")
                if not hmac.compare_digest(expected, signature):
                    continue
                session.signed += 1
                self.note_form(form, record)
                if session not in self.sessions.live:
                    record.remarks.append("the live session token is used again after its logout")
                return session, text
        return None

    def note_form(self, form: str, record: Record) -> None:
        record.query_form = form.partition(",")[0]
        record.remarks += filter(None, [QUERY_FORMS.get(record.query_form)])

    def case(
        self, request: Request, sent: dict[str, str], texts: list[Text], for_token: bool
    ) -> Case:
        keys: list[tuple[str, RSA.RsaKey]] = []
        if for_token:
            keys.append(("", self.identity.signature_key))
            keys += self.identity.stray_keys
            swapped = "signed with the encryption key instead of the signature key"
            keys.append((swapped, self.identity.encryption_key))
        with self.lock:
            live, ended = list(self.sessions.live), list(self.sessions.ended)
            earlier = self.texts[:EARLIER]
        client = Client(
            realm=sent["realm"],
            consumer_key=sent["oauth_consumer_key"],
            secret=self.identity.secret,
            encrypted_secret=self.encrypted_secret,
            query=signed_query(request),
            body=json_fields(request),
            earlier=earlier,
            challenge=live[0].made.challenge if live else "",
        )
        signature = sent["oauth_signature"]
        return Case(signature, texts, client, keys, live, ended, self.throwaway)
