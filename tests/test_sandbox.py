"""The sandbox refuses what IBKR refuses, and says why.

The client here is made of the standard library and `cryptography`, so that no line of the code
under test, or of oauth.py, stands on both sides.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import functools
import hashlib
import hmac
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.sandbox import FAULTS, Answer, Sandbox

ROOT = Path(__file__).resolve().parent.parent
ACCOUNT = "DU0001234"
BASE = "/v1/api"


class Reply(SimpleNamespace):
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@functools.lru_cache
def read_key(pem: bytes) -> Any:
    return load_pem_private_key(pem, None)


class Client:
    """A small correct client; each argument of `send` spoils one thing."""

    def __init__(self, config_path: Path) -> None:
        self.config = json.loads(config_path.read_text("ascii"))
        self.origin = self.config["base_url"][: -len(BASE)]
        self.connection = http.client.HTTPConnection(self.origin[len("http://") :], timeout=10)
        self.signature_key, encryption_key = (
            read_key((config_path.parent / self.config[name]).read_bytes())
            for name in ("signature_key_fp", "encryption_key_fp")
        )
        encrypted = base64.b64decode(self.config["access_token_secret"])
        self.secret = encryption_key.decrypt(encrypted, padding.PKCS1v15())
        self.token = b""

    def close(self) -> None:
        self.connection.close()

    def log_in(self, sign_byte: bool = True, **spoilt: Any) -> Reply:
        prime = int(self.config["dh_prime"], 16)
        exponent = secrets.randbits(256)
        challenge = f"{pow(2, exponent, prime):x}"
        extra = {"diffie_hellman_challenge": challenge, **spoilt.pop("extra", {})}
        reply = self.send("POST", "/oauth/live_session_token", extra=extra, **spoilt)
        if reply.status == 200:
            response = int(reply.json["diffie_hellman_response"], 16)
            shared = pow(response, exponent, prime)
            length = (shared.bit_length() + 7) // 8
            form = shared.to_bytes(length, "big")
            if sign_byte and shared.bit_length() % 8 == 0:
                form = b"\0" + form
            self.token = hmac.new(form, self.secret, hashlib.sha1).digest()
            self.shared_bits = shared.bit_length()
        return reply

    def send(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        origin: str = "",
        signed_method: str = "",
        signed_path: str = "",
        signed_query: list[tuple[str, str]] | None = None,
        extra: dict[str, str] | None = None,
        change: dict[str, str] | None = None,
        spoil: dict[str, Callable[[str], str]] | None = None,
        join: str = "sorted",
        realm_signed: bool = False,
        prepend: str | None = None,
        digest: Any = hashlib.sha256,
        key: bytes | None = None,
        raw_signature: bool = False,
        headers: dict[str, str | None] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        """`change`: parameters before signing; `spoil`: after it."""
        for_token = path == "/oauth/live_session_token"
        params = {
            "oauth_consumer_key": self.config["consumer_key"],
            "oauth_nonce": secrets.token_hex(8),
            "oauth_signature_method": "RSA-SHA256" if for_token else "HMAC-SHA256",
            "oauth_timestamp": str(int(time.time())),
            "oauth_token": self.config["access_token"],
            **(extra or {}),
            **(change or {}),
        }
        if signed_query is None:
            signed_query = [(n, v) for n, _, v in (i.partition("=") for i in query.split("&")) if n]
        pairs = [*params.items(), *signed_query]
        if realm_signed:
            pairs.append(("realm", self.config["realm"]))
        if join == "twice":
            pairs = [(quote(n, safe="~"), quote(v, safe="~")) for n, v in pairs]
        pairs = sorted(pairs, reverse=join == "unsorted")
        url = (origin or self.origin) + (signed_path or BASE + path)
        listed = "&".join(f"{n}={v}" for n, v in pairs)
        base = "&".join((signed_method or method, quote(url, safe="~"), quote(listed, safe="~")))
        if prepend is None:
            prepend = self.secret.hex() if for_token else ""
        message = (prepend + base).encode("ascii")
        if for_token:
            algorithm = hashes.SHA1() if digest is hashlib.sha1 else hashes.SHA256()
            raw = self.signature_key.sign(message, padding.PKCS1v15(), algorithm)
        else:
            raw = hmac.new(self.token if key is None else key, message, digest).digest()
        params["oauth_signature"] = base64.b64encode(raw).decode()
        params["realm"] = self.config["realm"]
        for name, change_of in (spoil or {}).items():
            params[name] = change_of(params[name])
        encoded = {n: quote(v, safe="") for n, v in sorted(params.items())}
        if raw_signature:
            encoded["oauth_signature"] = params["oauth_signature"]
        authorization = "OAuth " + ", ".join(f'{n}="{v}"' for n, v in encoded.items())
        self.last = authorization
        sent: dict[str, str | None] = {
            "Authorization": authorization,
            "User-Agent": "independent",
            "Content-Length": str(len(body or b"")) if method == "POST" else None,
            **(headers or {}),
        }
        return self.raw(method, path, query, sent, body)

    def raw(
        self, method: str, path: str, query: str, headers: dict[str, str | None], body: bytes | None
    ) -> Reply:
        target = BASE + path + (f"?{query}" if query else "")
        self.connection.putrequest(
            method, target, skip_host="Host" in headers, skip_accept_encoding=True
        )
        for name, value in headers.items():
            if value is not None:
                self.connection.putheader(name, value)
        self.connection.endheaders(body)
        response = self.connection.getresponse()
        return Reply(status=response.status, headers=response.headers, body=response.read())


class Setup(SimpleNamespace):
    sandbox: Sandbox
    client: Client
    log: list[str]

    def refusal(self) -> str:
        """Why the last request was refused, as the log explains it."""
        assert self.sandbox.requests[-1].refused in self.log[-1]
        return self.log[-1]


@contextlib.contextmanager
def open_setup(**options: Any) -> Iterator[Setup]:
    log: list[str] = []
    with Sandbox(log=log.append, **options) as sandbox:
        client = Client(sandbox.config_path)
        try:
            yield Setup(sandbox=sandbox, client=client, log=log)
        finally:
            client.close()


@pytest.fixture
def fresh() -> Iterator[Setup]:
    with open_setup() as setup:
        yield setup


@pytest.fixture
def logged_in() -> Iterator[Setup]:
    with open_setup() as setup:
        assert setup.client.log_in().status == 200
        yield setup


# The successful path


def test_log_in_gives_a_token_whose_proof_fits_and_a_cookie_nothing_needs(fresh: Setup) -> None:
    reply = fresh.client.log_in()
    proof = hmac.new(fresh.client.token, b"SIMULATED", hashlib.sha1).hexdigest()
    assert reply.json["live_session_token_signature"] == proof
    assert 86300_000 < reply.json["live_session_token_expiration"] - time.time() * 1000 < 86500_000
    assert reply.headers["Set-Cookie"]
    assert fresh.client.send("GET", "/portfolio/accounts").status == 200


def test_a_whole_session_over_one_connection(logged_in: Setup) -> None:
    send = logged_in.client.send
    init = send("POST", "/iserver/auth/ssodh/init", body=b'{"publish":true,"compete":false}')
    assert init.json["established"] is False
    assert [a["id"] for a in send("GET", "/portfolio/accounts").json] == [ACCOUNT, "DU0005678"]
    assert send("GET", f"/portfolio/{ACCOUNT}/summary").json["netliquidation"]["amount"] > 1e6
    assert {"BASE", "EUR", "USD"} <= send("GET", f"/portfolio/{ACCOUNT}/ledger").json.keys()
    positions = send("GET", f"/portfolio/{ACCOUNT}/positions/0").json
    assert any(row["mktPrice"] is None for row in positions)
    assert any(row["position"] < 0 for row in positions)
    assert send("GET", f"/portfolio/{ACCOUNT}/positions/1").json == []
    stocks = send("GET", "/trsrv/stocks", "symbols=AAPL,NOSUCH").json
    assert stocks["NOSUCH"] == []
    assert 265598 in [c["conid"] for s in stocks["AAPL"] for c in s["contracts"] if c["isUS"]]
    assert send("POST", "/iserver/auth/status").json["authenticated"] is False
    assert send("GET", "/iserver/auth/status").json["authenticated"] is True
    assert send("GET", "/iserver/accounts").json["selectedAccount"] == ACCOUNT
    snapshot = ("GET", "/iserver/marketdata/snapshot", "conids=265598&fields=31,84,85,86,88,6509")
    assert send(*snapshot).json[0].keys() == {"conid", "conidEx", "_updated", "server_id"}
    assert send(*snapshot).json[0]["31"] == "C231.50"
    quoted = send(*snapshot).json[0]
    assert (quoted["31"], quoted["85"], quoted["6509"]) == ("C231.50", "1,300", "RpB")
    assert send("POST", "/tickle").json["hmds"] == {"error": "no bridge"}
    assert send("GET", "/iserver/secdef/search", "symbol=AAPL").json[0]["symbol"] == "AAPL"
    body = b'{"symbol":"IBM"}'
    searched = send(
        "POST", "/iserver/secdef/search", body=body, headers={"Content-Type": "application/json"}
    )
    assert searched.json[0]["conid"] == "8314"
    assert logged_in.sandbox.logged_out is False
    assert send("POST", "/logout").json == {"status": True}
    assert logged_in.sandbox.logged_out is True
    assert not [record for record in logged_in.sandbox.requests if record.refused]
    assert logged_in.sandbox.connections == 1


def test_the_token_is_dead_after_logout(logged_in: Setup) -> None:
    logged_in.client.send("POST", "/logout")
    assert logged_in.client.send("GET", "/portfolio/accounts").status == 401
    assert "live session token that has ended" in logged_in.refusal()


def test_an_older_token_lives_on_until_24_hours_have_passed() -> None:
    offset = [0.0]
    with open_setup(clock=lambda: time.time() + offset[0]) as setup:
        setup.client.log_in()
        first = setup.client.token
        setup.client.log_in()
        assert setup.client.send("GET", "/portfolio/accounts", key=first).status == 200
        offset[0] = 86401
        stamp = {"oauth_timestamp": str(int(time.time() + offset[0]))}
        assert setup.client.send("GET", "/portfolio/accounts", change=stamp).status == 401
        assert "has ended" in setup.refusal()


@pytest.mark.parametrize("accepted", [None, "identity", "gzip;q=0", "deflate", "gzip, deflate"])
def test_gzip_only_for_a_client_that_accepts_it(logged_in: Setup, accepted: str | None) -> None:
    logged_in.client.send("GET", "/portfolio/accounts")
    headers = {"Accept-Encoding": accepted}
    reply = logged_in.client.send("GET", f"/portfolio/{ACCOUNT}/ledger", headers=headers)
    assert reply.headers["Content-Encoding"] == ("gzip" if accepted == "gzip, deflate" else None)


# What is refused


def flip(at: int) -> Callable[[str], str]:
    """Changes one character."""
    return lambda text: text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :]


@pytest.mark.parametrize("for_token", [True, False])
@pytest.mark.parametrize("name", ["realm", "consumer_key", "token", "timestamp", "nonce"])
def test_a_changed_character_in_the_header_is_refused(
    logged_in: Setup, name: str, for_token: bool
) -> None:
    client = logged_in.client
    spoil = {name if name == "realm" else f"oauth_{name}": flip(4 if name == "realm" else -1)}
    if name == "timestamp":
        spoil = {"oauth_timestamp": flip(1)}
    reply = client.log_in(spoil=spoil) if for_token else client.send("GET", "/tickle", spoil=spoil)
    check = {"consumer_key": "consumer", "nonce": "signature"}.get(name, name)
    assert f"refused: {check}" in logged_in.refusal()
    error = "invalid consumer" if name == "consumer_key" else "unauthorized"
    assert reply.json == {"error": f"id: 2, error: {error}", "statusCode": reply.status}
    assert reply.status == 401


@pytest.mark.parametrize("for_token", [True, False])
def test_any_changed_character_of_a_signature_is_refused(logged_in: Setup, for_token: bool) -> None:
    path, length = ("/oauth/live_session_token", 344) if for_token else ("/tickle", 44)
    change = {"oauth_nonce": "the-same-each-time", "oauth_timestamp": str(int(time.time()))}
    if for_token:
        change["diffie_hellman_challenge"] = "4"
    for at in [*range(0, length - 3, length // 8), length - 3, length - 2, length - 1]:
        spoil = {"oauth_signature": flip(at)}
        reply = logged_in.client.send("POST", path, change=change, spoil=spoil)
        assert reply.status == 401
        assert "refused: signature" in logged_in.refusal()
    assert logged_in.client.send("POST", path, change=change).status == 200


def test_a_changed_method_path_host_or_challenge_breaks_the_signature(logged_in: Setup) -> None:
    client = logged_in.client
    port = client.config["base_url"].split(":")[2].split("/")[0]
    change = {"diffie_hellman_challenge": "4"}
    for reply in (
        client.send("GET", "/tickle", signed_method="POST"),
        client.send("PUT", "/tickle", signed_method="GET"),
        client.send("GET", "/tickle", signed_path=f"{BASE}/tickla"),
        client.send("GET", "/portfolio/DU0001235/summary", signed_path=f"{BASE}/portfolio/x"),
        client.send("GET", "/tickle", origin=f"http://127.0.0.2:{port}"),
        client.send("GET", "/tickle", origin=f"http://localhost:{port}"),
        client.send("GET", "/tickle", origin=f"https://127.0.0.1:{port}"),
        client.send(
            "POST",
            "/oauth/live_session_token",
            change=change,
            spoil={"diffie_hellman_challenge": lambda _: "8"},
        ),
    ):
        assert reply.status == 401
        assert "refused: signature" in logged_in.refusal()


def test_a_replay_is_refused(logged_in: Setup) -> None:
    change = {"oauth_nonce": "once", "oauth_timestamp": str(int(time.time()))}
    assert logged_in.client.send("GET", "/tickle", change=change).status == 200
    assert logged_in.client.send("GET", "/tickle", change=change).status == 401
    assert "refused: nonce: seen before" in logged_in.refusal()


@pytest.mark.parametrize(
    ("timestamp", "reason"),
    [
        (lambda now: now - 302, "behind the server's clock"),
        (lambda now: now + 302, "ahead of the server's clock"),
        (lambda now: now * 1000, "in milliseconds"),
        (lambda now: f"{now}.5", "not a number"),
    ],
)
def test_a_timestamp_out_of_the_window_is_refused(
    logged_in: Setup, timestamp: Callable[[int], object], reason: str
) -> None:
    change = {"oauth_timestamp": str(timestamp(int(time.time())))}
    assert logged_in.client.send("GET", "/tickle", change=change).status == 401
    assert reason in logged_in.refusal()


@pytest.mark.parametrize("host", ["api.ibkr.com", "localhost", "127.0.0.1"])
def test_the_host_header_may_be_this_server_or_the_one_that_clients_hard_code(
    logged_in: Setup, host: str
) -> None:
    port = logged_in.sandbox.port
    host = host if host == "api.ibkr.com" else f"{host}:{port}"
    origin = f"http://localhost:{port}" if "localhost" in host else ""
    reply = logged_in.client.send("GET", "/tickle", headers={"Host": host}, origin=origin)
    assert reply.status == 200


def test_any_other_host_header_is_refused(logged_in: Setup) -> None:
    host = f"127.0.0.2:{logged_in.sandbox.port}"
    reply = logged_in.client.send("GET", "/tickle", headers={"Host": host}, origin=f"http://{host}")
    assert reply.status == 401
    assert "refused: host" in logged_in.refusal()


@pytest.mark.parametrize(
    "header",
    [
        None,
        "Bearer x",
        "OAuth",
        'OAuth realm="limited_poa"',
        "OAuth realm=limited_poa, oauth_token=x",
        'OAuth realm="limited_poa", realm="limited_poa"',
        'OAuth realm="limited poa"',
        'OAuth realm="limited_poa",',
    ],
)
def test_a_malformed_authorization_header_is_refused(fresh: Setup, header: str | None) -> None:
    assert fresh.client.send("GET", "/tickle", headers={"Authorization": header}).status == 401
    assert "refused: header" in fresh.refusal()


def test_a_duplicate_parameter_is_refused(logged_in: Setup) -> None:
    logged_in.client.send("GET", "/tickle")
    header = logged_in.client.last + ', oauth_nonce="x"'
    reply = logged_in.client.send("GET", "/tickle", headers={"Authorization": header})
    assert reply.status == 401
    assert "oauth_nonce stands twice" in logged_in.refusal()


def test_without_a_user_agent_it_is_403_in_plain_text(logged_in: Setup) -> None:
    reply = logged_in.client.send("GET", "/tickle", headers={"User-Agent": None})
    assert (reply.status, reply.body) == (403, b"Error 403 - Access Denied")
    assert reply.headers["Content-Type"].startswith("text/plain")


def test_a_post_without_content_length_is_411(logged_in: Setup) -> None:
    reply = logged_in.client.send("POST", "/tickle", headers={"Content-Length": None})
    assert reply.status == 411


@pytest.mark.parametrize("challenge", ["0", "1", "0x4", "xyz", "p-1", "p"])
def test_a_challenge_out_of_form_or_range_is_refused(fresh: Setup, challenge: str) -> None:
    prime = int(fresh.client.config["dh_prime"], 16)
    challenge = {"p-1": f"{prime - 1:x}", "p": f"{prime:x}"}.get(challenge, challenge)
    assert fresh.client.log_in(extra={"diffie_hellman_challenge": challenge}).status == 401
    assert "refused: diffie_hellman_challenge" in fresh.refusal()


# The query


@pytest.mark.parametrize(
    ("query", "signed", "form"),
    [
        ("symbols=A,B", [("symbols", "A,B")], "signed"),
        ("symbols=A%2CB", [("symbols", "A,B")], "signed"),
        ("symbols=A%2CB", [("symbols", "A%2CB")], "signed as on the wire"),
        ("symbols=A%2CB", [], "left out"),
        ("symbols=A%20B&b=1", [("symbols", "A B"), ("b", "1")], "signed"),
        ("symbols=A+B", [("symbols", "A B")], "signed"),
        ("", [], ""),
    ],
)
def test_the_accepted_forms_of_a_signed_query_are_told_apart(
    logged_in: Setup, query: str, signed: list[tuple[str, str]], form: str
) -> None:
    assert logged_in.client.send("GET", "/trsrv/stocks", query, signed_query=signed).status == 200
    assert logged_in.sandbox.requests[-1].query_form == form
    assert not form or f"| query {form}" in logged_in.log[-1]


def test_a_query_that_is_not_the_one_signed_is_refused(logged_in: Setup) -> None:
    signed = [("symbols", "IBN")]
    reply = logged_in.client.send("GET", "/trsrv/stocks", "symbols=IBM", signed_query=signed)
    assert reply.status == 401


def test_form_fields_are_signed_like_a_query(logged_in: Setup) -> None:
    headers: dict[str, str | None] = {"Content-Type": "application/x-www-form-urlencoded"}
    signed = [("compete", "false")]
    send = logged_in.client.send
    path, body = "/iserver/auth/ssodh/init", b"compete=false"
    assert send("POST", path, headers=headers, body=body, signed_query=signed).status == 200
    assert logged_in.sandbox.requests[-1].query_form == "signed"


# Mistakes by name

STOCK_QUERY: dict[str, Any] = {
    "method": "GET",
    "path": "/trsrv/stocks",
    "query": "symbols=AAPL,IBM",
}
MISTAKES: dict[str, dict[str, Any]] = {
    "query left in the URL": {"signed_path": f"{BASE}/trsrv/stocks?{STOCK_QUERY['query']}"},
    "values encoded twice": {"join": "twice"},
    "parameters unsorted": {"join": "unsorted"},
    "SHA-1 instead of SHA-256": {"digest": hashlib.sha1},
    "signature not percent-encoded": {"raw_signature": True},
    "wrong host in the URL (https://api.ibkr.com)": {"origin": "https://api.ibkr.com"},
    "wrong host in the URL (http://127.0.0.1)": {"origin": "http://127.0.0.1"},
    "wrong host in the URL (http://localhost)": {"origin": "http://localhost"},
    "realm signed": {"realm_signed": True},
    "HTTP method in lower case": {"signed_method": "get"},
}
TOKEN_MISTAKES: dict[str, dict[str, Any]] = {
    "prepend missing": {"prepend": ""},
    "parameters unsorted": {"join": "unsorted"},
    "SHA-1 instead of SHA-256": {"digest": hashlib.sha1},
    "signature not percent-encoded": {"raw_signature": True},
    "wrong host in the URL (https://api.ibkr.com)": {"origin": "https://api.ibkr.com"},
    "realm signed": {"realm_signed": True},
    "HTTP method in lower case": {"signed_method": "post"},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_signature_is_named(logged_in: Setup, mistake: str) -> None:
    reply = logged_in.client.send(**STOCK_QUERY, **MISTAKES[mistake])
    assert reply.status == 401
    assert mistake in logged_in.sandbox.requests[-1].refused
    assert " and " not in logged_in.sandbox.requests[-1].refused
    assert mistake in logged_in.refusal()
    if mistake != "signature not percent-encoded":
        assert f"GET&http%3A%2F%2F127.0.0.1%3A{logged_in.sandbox.port}%2Fv1" in logged_in.refusal()


@pytest.mark.parametrize("mistake", TOKEN_MISTAKES)
def test_a_mistake_in_the_token_request_is_named(fresh: Setup, mistake: str) -> None:
    assert fresh.client.log_in(**TOKEN_MISTAKES[mistake]).status == 401
    assert mistake in fresh.refusal()
    if mistake != "signature not percent-encoded":
        assert "expected base string: <prepend>POST&http%3A%2F%2F127.0.0.1" in fresh.refusal()


def test_the_token_request_by_get_is_named(fresh: Setup) -> None:
    extra = {"diffie_hellman_challenge": "abc"}
    reply = fresh.client.send("GET", "/oauth/live_session_token", extra=extra)
    assert reply.status == 405
    assert "wrong HTTP method: this path is known for POST only" in fresh.refusal()


def test_a_prepend_in_another_form_is_named(fresh: Setup) -> None:
    prepend = fresh.client.secret.hex()
    assert fresh.client.log_in(prepend=prepend.upper()).status == 401
    assert "refused: signature: prepend in capitals\n" in fresh.refusal()
    assert fresh.client.log_in(prepend=prepend + "&").status == 401
    assert "refused: signature: prepend followed by &\n" in fresh.refusal()


def test_the_token_used_as_text_is_named(logged_in: Setup) -> None:
    key = base64.b64encode(logged_in.client.token)
    assert logged_in.client.send("GET", "/tickle", key=key).status == 401
    assert "token used as text instead of decoded" in logged_in.refusal()
    for form in (key, logged_in.client.token):
        assert logged_in.client.send("GET", "/tickle", key=form + b"&").status == 401
        assert "refused: signature: & after the key\n" in logged_in.refusal()


def test_a_missing_sign_byte_is_named() -> None:
    with open_setup(fault="k-top-bit") as setup:
        setup.client.log_in(sign_byte=False)
        assert setup.client.send("GET", "/tickle").status == 401
        assert "sign byte of K missing" in setup.refusal()


def test_two_mistakes_are_both_named(logged_in: Setup) -> None:
    logged_in.client.send(**STOCK_QUERY, join="twice", digest=hashlib.sha1)
    assert "values encoded twice and SHA-1 instead of SHA-256" in logged_in.refusal()


def test_swapped_keys_are_named(fresh: Setup) -> None:
    pem = (fresh.sandbox.folder / fresh.client.config["encryption_key_fp"]).read_bytes()
    fresh.client.signature_key = read_key(pem)
    assert fresh.client.log_in().status == 401
    assert "signed with the encryption key" in fresh.refusal()


def test_the_declared_method_sha1_is_named(fresh: Setup) -> None:
    assert fresh.client.log_in(change={"oauth_signature_method": "RSA-SHA1"}).status == 401
    assert "SHA-1 instead of SHA-256: must be RSA-SHA256" in fresh.refusal()


def test_no_log_line_contains_a_secret(logged_in: Setup) -> None:
    logged_in.client.send("GET", "/tickle", origin="http://elsewhere")
    logged_in.client.log_in(prepend="")
    logged_in.client.log_in(spoil={"oauth_token": flip(0)})
    text = "\n".join(logged_in.log)
    for secret in logged_in.sandbox.secrets:
        raw = secret.encode() if isinstance(secret, str) else secret
        for form in (raw.decode("latin-1"), raw.hex(), base64.b64encode(raw).decode()):
            assert form not in text
            assert quote(form, safe="") not in text


# The order of things


def test_portfolio_answers_only_after_its_accounts_were_asked_for(logged_in: Setup) -> None:
    path = f"/portfolio/{ACCOUNT}/ledger"
    assert logged_in.client.send("GET", path).status == 400
    logged_in.client.send("GET", "/portfolio/accounts")
    assert logged_in.client.send("GET", path).status == 200
    assert logged_in.client.send("GET", "/portfolio/DU0009999/ledger").status == 401


def test_iserver_has_no_bridge_until_init_has_settled() -> None:
    offset = [0.0]
    with open_setup(clock=lambda: time.time() + offset[0]) as setup:
        send = setup.client.send
        setup.client.log_in()
        assert "no bridge" in send("GET", "/iserver/accounts").json["error"]
        send("POST", "/iserver/auth/ssodh/init", "compete=false")
        assert send("GET", "/iserver/accounts").status == 400
        offset[0] = 1  # who never asks for the status is let in a moment later
        assert send("GET", "/iserver/accounts").status == 200


def test_a_snapshot_needs_the_accounts_first(logged_in: Setup) -> None:
    send = logged_in.client.send
    send("POST", "/iserver/auth/ssodh/init", "compete=true")
    reply = send("GET", "/iserver/marketdata/snapshot", "conids=8314&fields=31")
    assert (reply.status, reply.json["error"]) == (500, "Please query /accounts first")


# Faults and answers


@pytest.mark.parametrize(
    ("fault", "response"), [("dh-zero", "0"), ("dh-one", "1"), ("dh-not-hex", "not hex at all")]
)
def test_a_spoilt_response_comes_as_it_is(fault: str, response: str) -> None:
    with open_setup(fault=fault) as setup:
        reply = setup.client.send(
            "POST", "/oauth/live_session_token", extra={"diffie_hellman_challenge": "4"}
        )
        assert reply.json["diffie_hellman_response"] == response


@pytest.mark.parametrize(
    ("fault", "fits"),
    [
        ("k-top-bit", lambda bits: bits % 8 == 0),
        ("k-odd-digits", lambda bits: 0 < bits % 8 < 5),
        ("k-short", lambda bits: bits <= 2040),
    ],
)
def test_k_has_the_wanted_form_and_the_token_works(fault: str, fits: Callable[[int], bool]) -> None:
    with open_setup(fault=fault) as setup:
        setup.client.log_in()
        assert fits(setup.client.shared_bits)
        assert setup.client.send("GET", "/tickle").status == 200


def test_the_wrong_proof_is_wrong() -> None:
    with open_setup(fault="wrong-proof") as setup:
        reply = setup.client.log_in()
        proof = hmac.new(setup.client.token, b"SIMULATED", hashlib.sha1).hexdigest()
        assert reply.json["live_session_token_signature"] != proof


def test_the_clock_fault_shows_in_the_date_header_and_refuses() -> None:
    with open_setup(fault="clock-off") as setup:
        reply = setup.client.log_in()
        assert reply.status == 401
        date = email.utils.parsedate_to_datetime(reply.headers["Date"]).timestamp()
        assert 590 < date - time.time() < 610


def test_canned_answers_replace_only_what_passed_the_checks() -> None:
    answers = {"GET /portfolio/{id}/summary": Answer(418, b"tea", {"Content-Type": "text/tea"})}
    with open_setup(answers=answers) as setup:
        setup.client.log_in()
        reply = setup.client.send("GET", "/portfolio/ANY/summary")
        assert (reply.status, reply.body, reply.headers["Content-Type"]) == (
            418,
            b"tea",
            "text/tea",
        )
        spoil = {"oauth_nonce": flip(0)}
        assert setup.client.send("GET", "/portfolio/ANY/summary", spoil=spoil).status == 401


def test_answers_can_be_cut_off_or_dropped() -> None:
    answers = {"GET /tickle": Answer(cut=0), "POST /tickle": Answer(200, b"x" * 500, cut=200)}
    with open_setup(answers=answers) as setup:
        setup.client.log_in()
        with pytest.raises(http.client.RemoteDisconnected):
            setup.client.send("GET", "/tickle")
        with pytest.raises(http.client.IncompleteRead):
            setup.client.send("POST", "/tickle")


def test_a_delayed_answer_does_not_delay_the_end() -> None:
    with open_setup(answers={"GET /tickle": Answer(delay=60)}) as setup:
        setup.client.log_in()
        setup.client.connection.timeout = 0.1
        setup.client.close()
        setup.client.connection.connect()
        with pytest.raises(TimeoutError if sys.version_info >= (3, 10) else socket.timeout):
            setup.client.send("GET", "/tickle")
        started = time.monotonic()
    assert time.monotonic() - started < 2


def test_every_fault_has_a_line_of_help() -> None:
    for name, fault in FAULTS.items():
        assert fault.help.isprintable()
        assert len(f"  {name}  {fault.help}") < 100


# Rate, memory, many requests


def test_more_than_ten_requests_in_a_second_are_answered_and_noted_once(logged_in: Setup) -> None:
    for _ in range(15):
        assert logged_in.client.send("GET", "/tickle").status == 200
    assert logged_in.sandbox.rate_warnings == 1
    assert sum("would answer 429" in line for line in logged_in.log) == 1


def test_nonces_are_remembered_only_as_long_as_their_timestamps_could_pass() -> None:
    now = [1_000_000_000.0]
    with open_setup(clock=lambda: now[0]) as setup:

        def stamp(offset: int = 0) -> dict[str, str]:
            return {"oauth_timestamp": str(int(now[0]) + offset)}

        setup.client.log_in(change=stamp())
        for _ in range(20):
            assert setup.client.send("GET", "/tickle", change=stamp(300)).status == 200
        assert len(setup.sandbox.gate.nonces) == 21
        now[0] += 301
        setup.client.send("GET", "/tickle", change=stamp())
        assert len(setup.sandbox.gate.nonces) == 21  # the log-in's is gone
        now[0] += 300
        setup.client.send("GET", "/tickle", change=stamp())
        assert len(setup.sandbox.gate.nonces) == len(setup.sandbox.gate.nonce_ends) == 2


# The folder


def test_the_folder_holds_private_copies_and_goes_away() -> None:
    with Sandbox() as sandbox:
        files = sorted(path.name for path in sandbox.folder.iterdir())
        assert files == ["config.json", "private_encryption.pem", "private_signature.pem"]
        if os.name == "posix":
            assert {path.stat().st_mode & 0o777 for path in sandbox.folder.iterdir()} == {0o600}
        assert json.loads(sandbox.config_path.read_text("ascii")) == sandbox.config
    assert not sandbox.folder.exists()


# The command


@contextlib.contextmanager
def serving(
    tmp_path: Path, *options: str
) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """`--serve` in a process of its own, with a temporary folder that a test can look into."""
    command = [sys.executable, "-m", "tests.sandbox", "--serve", *options]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    try:
        lines = [process.stdout.readline() for _ in range(3)]
        yield process, dict(line.strip().split(": ", 1) for line in lines[1:])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


posix = pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_logs_requests_and_ends_by_a_signal_without_traces(
    tmp_path: Path, number: signal.Signals
) -> None:
    with serving(tmp_path) as (process, told):
        client = Client(Path(told["config"]))
        assert told["base_url"] == client.config["base_url"]
        client.log_in()
        client.send("GET", "/tickle", origin="http://localhost")
        with socket.create_connection(client.connection.sock.getpeername()) as half:
            half.sendall(b"POST /v1/api/tickle HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
        with socket.create_connection(client.connection.sock.getpeername()) as half:
            half.sendall(b"POST /v1/a")
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(5)]
        client.close()
        process.send_signal(number)
        out, err = process.communicate(timeout=5)
    assert process.returncode == 0
    assert (out, err) == ("stopped\n", "")
    assert list(tmp_path.iterdir()) == []
    assert lines[0].startswith("1 POST /oauth/live_session_token 200 | ok: header, consumer, token")
    assert "wrong host in the URL (http://localhost)" in lines[1]
    assert lines[2].startswith("    expected base string: GET&http")
    assert all("connection " in line or "403" in line for line in lines[3:])


@posix
def test_a_port_in_use_gives_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with serving(tmp_path / "first") as (_, told):
        port = told["base_url"].split(":")[2].split("/")[0]
        second = run_sandbox(tmp_path / "second", "--serve", "--port", port)
    assert second.returncode == 1
    assert second.stderr.startswith(f"error: cannot listen on 127.0.0.1:{port}")
    assert len(second.stderr.splitlines()) == 2
    assert list((tmp_path / "second").iterdir()) == []


def run_sandbox(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.sandbox", *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_an_unknown_fault_names_the_nearest(tmp_path: Path) -> None:
    done = run_sandbox(tmp_path, "--fault", "dhzero")
    assert done.returncode == 2
    assert "did you mean 'dh-zero'?" in done.stderr


def test_help_prints_the_table_of_faults(tmp_path: Path) -> None:
    done = run_sandbox(tmp_path, "--help")
    assert done.returncode == 0
    assert all(fault.help in done.stdout for fault in FAULTS.values())


# The command that runs the demo

RUN = """
import pathlib, sys
from tests.sandbox import command
command.DEMO = pathlib.Path(sys.argv[1])
sys.exit(command.main(sys.argv[2:]))
"""
DEMO = """
import http.client, json, os, pathlib, signal, sys, time
config = pathlib.Path(sys.argv[1])
if "--refused" in sys.argv:
    url = json.loads(config.read_text())["base_url"]
    connection = http.client.HTTPConnection(url.split("/")[2])
    connection.request("GET", "/v1/api/tickle")
    connection.getresponse().read()
    connection.close()
if "--die" in sys.argv:
    os.kill(os.getpid(), signal.SIGKILL)
if "--wait" in sys.argv:
    def stop(number, frame):  # which may come while "waiting" is printed, so it prints nothing
        asked.append(number)
    asked = []
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    print("waiting", flush=True)
    while not asked:
        time.sleep(0.01)
    print("logged out", flush=True)
    sys.exit(130)
print(config.exists(), *sys.argv[2:])
sys.exit(7)
"""


@contextlib.contextmanager
def running(tmp_path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    demo = tmp_path / "stand-in.py"
    demo.write_text(DEMO)
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(demo), *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        yield process
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_demo_runs_with_the_config_and_its_options_and_gives_the_status(tmp_path: Path) -> None:
    with running(tmp_path, "--symbol", "IBM", "--fault", "no-positions", "-v") as process:
        out, err = process.communicate(timeout=20)
    label, command, said = out.splitlines()
    assert label.startswith("simulated: ")
    assert command.startswith("$ python demo.py ")
    assert command.endswith("config.json --symbol IBM -v")
    assert said == "True --symbol IBM -v"
    assert (process.returncode, err) == (7, "")


def test_a_refused_request_is_explained_after_the_demo(tmp_path: Path) -> None:
    with running(tmp_path, "--refused") as process:
        _, err = process.communicate(timeout=20)
    assert err == "sandbox: 1 GET /tickle 403 | refused: no User-Agent\n"


@posix
def test_a_demo_that_dies_by_a_signal_gives_128_and_its_number(tmp_path: Path) -> None:
    with running(tmp_path, "--die") as process:
        process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGKILL


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_waits_for_the_demo_to_log_out(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running(tmp_path, "--wait") as process:
        assert process.stdout
        assert [process.stdout.readline() for _ in range(3)][2] == "waiting\n"
        if number == signal.SIGINT:  # as a terminal does: to all of them
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (out, err) == ("logged out\n", "")
    assert process.returncode == 130
