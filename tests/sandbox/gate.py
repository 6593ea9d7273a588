"""Checks a request as a server does, from the public halves, in the order in which one does it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote
from urllib.request import parse_http_list, parse_keqv_list

from tests.sandbox import answers
from tests.sandbox.answers import BASE_PATH, RefusedError, error_answer, html_answer
from tests.sandbox.evidence import decode_base64, explain, open_signature
from tests.sandbox.faults import INIT, TOKEN
from tests.sandbox.identity import Identity, Session
from tests.sandbox.mistakes import Case, Text
from tests.sandbox.server import Request

TIMESTAMP_WINDOW = 300  # seconds, either way
AFTER_LOGOUT = (INIT, "/tickle")  # where an ended token is still taken
CHALLENGE = "diffie_hellman_challenge"
NEEDED = ["realm", "oauth_consumer_key", "oauth_nonce", "oauth_signature"]
NEEDED += ["oauth_signature_method", "oauth_timestamp", "oauth_token"]
OTHER = "not the one in the config"

_ENCODED = re.compile(r"(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})*")


def check_manners(request: Request) -> None:
    if not request.headers.get("User-Agent"):
        raise RefusedError("no User-Agent", answers.ACCESS_DENIED)
    if request.method == "POST" and "Content-Length" not in request.headers:
        raise RefusedError("POST without Content-Length", html_answer(411, "Length Required"))
    if request.path == "/ws":
        raise RefusedError("the sandbox has no websocket", answers.NOT_FOUND)


def read_header(request: Request, needed: list[str]) -> None:
    """Section 3.5.1 of RFC 5849. Raises RefusedError, which shows no value."""
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "oauth":
        raise RefusedError("header: no Authorization of the scheme OAuth")
    try:
        pairs = parse_keqv_list(parse_http_list(rest))
    except (ValueError, IndexError):
        raise RefusedError('header: not made of name="value" pairs with commas') from None
    if 'realm="' not in rest:
        request.remarks.append("the realm stands without quotes")
    for name, value in pairs.items():
        if not _ENCODED.fullmatch(value):
            raise RefusedError(f"header: {name} not percent-encoded")
        if name not in needed:
            remark = f"{name} in the header, which IBKR's documents do not have here"
            request.remarks.append(remark)
        request.sent[name] = unquote(value)
    missing = [name for name in needed if not request.sent.get(name)]
    if missing:
        raise RefusedError(f"header: missing {', '.join(missing)}")


def accepted_texts(text: Text, query: str) -> dict[str, Text]:
    """What may be signed, the plainest first, by what is to be remarked on it."""
    if not query:
        return {"": text}
    decoded = parse_qsl(query, keep_blank_values=True)
    as_sent = parse_qsl(quote(query, safe="=&"), keep_blank_values=True)
    return {  # IBKR's documents disagree
        "": text._replace(pairs=[*text.pairs, *decoded]),
        "the query not signed; IBKR-docs say so, IBKR-2018 and IBKR-guide sign it": text,
        "the query left in the signed URL: recorded, in no document": text._replace(
            path=f"{text.path}?{query}"
        ),
        "the query signed as on the wire, or its values encoded twice as in RFC 5849; "
        "IBKR-guide says once": text._replace(pairs=[*text.pairs, *as_sent]),
    }


@dataclass
class Gate:
    """Knows the user and what was signed before: lets a request in, or raises RefusedError."""

    identity: Identity
    sessions: list[Session]  # the newest first
    origin: str  # not from the Host: some clients send api.ibkr.com, and mean us
    now: Callable[[], float]
    nonces: set[str] = field(default_factory=set)
    texts: list[Text] = field(default_factory=list)  # signed rightly: the last are tried again

    def check(self, request: Request) -> Session:
        """Whose token signed it: an empty session's when it asks for one."""
        check_manners(request)
        needed, method, prepend = NEEDED, "HMAC-SHA256", ""
        if request.plain_path == TOKEN:
            needed, method = [*NEEDED, CHALLENGE], "RSA-SHA256"
            prepend = self.identity.secret.hex()
        read_header(request, needed)
        self.check_names(request, method)
        signed = dict(request.sent)
        del signed["realm"], signed["oauth_signature"]
        path = BASE_PATH + request.path
        text = Text(request.method, self.origin, path, list(signed.items()), prepend)
        session = self.check_signature(request, text)
        self.nonces.add(request.sent["oauth_nonce"])
        if request.path != request.plain_path:
            request.remarks.append("a slash at the end of the path")
        if session.ended:
            request.remarks.append("the live session token is used again after its logout")
        session.has_signed = True
        return session

    def check_names(self, request: Request, method: str) -> None:
        sent = request.sent
        consumer, realm = self.identity.consumer_key, self.identity.realm
        if self.identity.throwaway and sent["oauth_consumer_key"] == "TESTCONS":
            consumer, realm = "TESTCONS", "test_realm"
        if sent["oauth_consumer_key"] != consumer:
            reason = f"consumer: {OTHER}"
            if sent["oauth_consumer_key"].lower() == consumer.lower():
                reason += ": other capitals"
            raise RefusedError(reason, error_answer(401, "id: 1, error: invalid consumer"))
        if sent["oauth_token"] != self.identity.access_token:
            error = f"LST failed, error: No access secret key found for {consumer}"
            raise RefusedError(f"token: {OTHER}", error_answer(401, f"id: 1, error: {error}"))
        if sent["realm"] != realm:
            raise RefusedError(f"realm: {OTHER}")
        if sent["oauth_signature_method"] != method:
            raise RefusedError(f"method: must be {method} for this request")
        check_timestamp(sent["oauth_timestamp"], self.now())
        if sent["oauth_nonce"] in self.nonces:
            raise RefusedError("nonce: seen before: a replay")

    def check_signature(self, request: Request, text: Text) -> Session:
        texts = accepted_texts(text, request.signed_query)
        signed = decode_base64(request.sent["oauth_signature"])
        signers = self.sessions
        if text.prepend:
            signers = [Session()]
            _, signed = open_signature(self.identity.signature_key, signed)
        elif request.plain_path not in AFTER_LOGOUT:
            signers = [session for session in self.sessions if not session.ended]
        for remark, accepted in texts.items():
            for session in signers:
                if accepted._replace(key=session.token).sealed("sha256") == signed:
                    self.texts.append(accepted)
                    if remark:
                        request.remarks.append(remark)
                    return session
        forms = list(texts.values())
        keys = [session.token for session in signers]
        case = Case(request, forms, keys, self.identity, self.sessions, self.texts[-10:])
        raise RefusedError(f"signature: {explain(case)}")


def check_timestamp(timestamp: str, now: float) -> None:
    if not timestamp.isdecimal():
        raise RefusedError("timestamp: not a number of seconds")
    if abs(int(timestamp) / 1000 - now) <= TIMESTAMP_WINDOW:
        raise RefusedError("timestamp: in milliseconds instead of seconds")
    off = int(timestamp) - now
    if abs(off) > TIMESTAMP_WINDOW:
        side = "ahead of" if off > 0 else "behind"
        raise RefusedError(f"timestamp: {abs(off):.0f} s {side} the server's clock")
