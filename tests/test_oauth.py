"""What oauth.py sends over a socket, what it refuses, and what it must never let out."""

from __future__ import annotations

import base64
import doctest
import hashlib
import hmac
import json
import logging
import random
import re
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Callable
from urllib.parse import unquote

import pytest
import requests
from Crypto.PublicKey import RSA
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

import oauth

FOLDER = Path(__file__).parent / "vectors"
PEM = (FOLDER / "throwaway-key.pem").read_bytes()
KEY = RSA.import_key(PEM)
LOGIN = json.loads((FOLDER / "answer.json").read_text(encoding="ascii"))[0]
PRIME, EXPONENT = int(LOGIN["prime"], 16), int(LOGIN["exponent"], 16)
SECRET, TOKEN = bytes.fromhex(LOGIN["access_token_secret"]), bytes.fromhex(LOGIN["output"])
ACCESS_TOKEN = "a+b/" * 5  # needs encoding, unlike IBKR's
CREDENTIALS = oauth.Credentials("limited_poa", "TESTCONS", ACCESS_TOKEN, SECRET, KEY, PRIME)
AUTH = oauth.HmacSha256Auth(CREDENTIALS, TOKEN)
URL = "https://api.ibkr.com/v1/api/trsrv/stocks"


class Server(HTTPServer):
    """Notes each request, and answers all with `answer`: status, headers, body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1/api"
        self.requests: list[Handler] = []
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"{}")


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(self)
        status, headers, body = self.server.answer
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def fields(header: str) -> dict[str, str]:
    """Return the fields of an Authorization header, decoded."""
    assert header.startswith('OAuth realm="')
    return {name: unquote(value) for name, value in re.findall(r'(\w+)="([^"]*)"', header)}


def prepared(method: str = "GET", url: str = URL, **options: Any) -> requests.PreparedRequest:
    return requests.Request(method, url, auth=AUTH, **options).prepare()


def log_in(server: Server, session: requests.Session, **options: Any) -> oauth.LiveSessionToken:
    return oauth.request_live_session_token(session, server.url + "/", CREDENTIALS, **options)


# What is sent


def test_the_token_request_and_what_comes_of_it(server: Server, session: requests.Session) -> None:
    server.answer = (200, {}, json.dumps(LOGIN["answer"]).encode())
    token = log_in(server, session, exponent=lambda: EXPONENT, headers={"User-Agent": "mine"})
    assert token.token == TOKEN
    assert token.expires == datetime(2026, 1, 2, tzinfo=timezone.utc)
    (request,) = server.requests
    assert (request.command, request.path) == ("POST", "/v1/api/oauth/live_session_token")
    assert (request.headers["Content-Length"], request.headers["Content-Type"]) == ("0", None)
    assert request.headers["User-Agent"] == "mine"
    sent = fields(request.headers["Authorization"])
    signature = base64.b64decode(sent.pop("oauth_signature"))
    assert abs(int(sent["oauth_timestamp"]) - time.time()) < 9
    challenge, nonce, timestamp = (
        f"{pow(2, EXPONENT, PRIME):x}",
        sent["oauth_nonce"],
        sent["oauth_timestamp"],
    )
    assert sent == {
        "realm": "limited_poa",
        "diffie_hellman_challenge": challenge,
        "oauth_consumer_key": "TESTCONS",
        "oauth_nonce": nonce,
        "oauth_signature_method": "RSA-SHA256",
        "oauth_timestamp": timestamp,
        "oauth_token": ACCESS_TOKEN,
    }
    text = (
        f"{SECRET.hex()}POST&http%3A%2F%2F127.0.0.1%3A{server.server_port}%2Fv1%2Fapi%2Foauth"
        f"%2Flive_session_token&diffie_hellman_challenge%3D{challenge}%26oauth_consumer_key%3D"
        f"TESTCONS%26oauth_nonce%3D{nonce}%26oauth_signature_method%3DRSA-SHA256"
        f"%26oauth_timestamp%3D{timestamp}%26oauth_token%3D" + "a%2Bb%2F" * 5
    )
    key = serialization.load_pem_private_key(PEM, None).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())


def test_a_call_is_signed_as_it_is_sent(
    server: Server, session: requests.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    session.auth = AUTH
    session.post(server.url + "/x", params={"q": "BRK B,A:1+"}, json={"compete": False}, timeout=9)
    (request,) = server.requests
    assert request.path == "/v1/api/x?q=BRK%20B,A:1%2B"
    assert request.body == b'{"compete": false}'
    sent = fields(request.headers["Authorization"])
    text = (
        f"POST&http%3A%2F%2F127.0.0.1%3A{server.server_port}%2Fv1%2Fapi%2Fx&oauth_consumer_key%3D"
        f"TESTCONS%26oauth_nonce%3D{sent['oauth_nonce']}%26oauth_signature_method%3DHMAC-SHA256"
        f"%26oauth_timestamp%3D{sent['oauth_timestamp']}%26oauth_token%3D{'a%2Bb%2F' * 5}"
        "%26q%3DBRK%20B%2CA%3A1%2B"
    )
    signature = hmac.new(TOKEN, text.encode(), hashlib.sha256).digest()
    assert sent["oauth_signature"] == base64.b64encode(signature).decode()


@pytest.mark.parametrize(
    ("params", "query"),
    [
        ({}, ""),
        ({"fields": "31,84", "a:b": "x"}, "?fields=31,84&a:b=x"),
        ({"q": "1+1=2&3 a/b?c#d%"}, "?q=1%2B1%3D2%263%20a%2Fb%3Fc%23d%25"),
        ({"q": "-._~\u00e9", "empty": ""}, "?q=-._~%C3%A9&empty="),
        ([("b", "2"), ("a", "1"), ("b", "1")], "?b=2&a=1&b=1"),
    ],
)
def test_the_query_goes_out_in_the_form_of_ibkrs_samples(params: Any, query: str) -> None:
    assert prepared(params=params).url == URL + query


def test_the_query_is_not_signed_when_the_switch_is_off(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "SIGN_QUERY", False)
    with caplog.at_level(logging.DEBUG, logger="oauth"):
        assert prepared(params={"conids": "1"}).url == URL + "?conids=1"
    assert "&oauth_consumer_key%3D" in caplog.messages[1]


# Fresh each time


def test_every_request_has_a_fresh_exponent_and_nonce(
    server: Server, session: requests.Session
) -> None:
    server.answer = (401, {}, b"")
    for _ in range(9):
        with pytest.raises(oauth.AnswerError):
            log_in(server, session)
    sent = [fields(request.headers["Authorization"]) for request in server.requests]
    sent += [fields(prepared().headers["Authorization"]) for _ in range(9)]
    assert len({request["oauth_nonce"] for request in sent}) == 18
    assert len({request.get("diffie_hellman_challenge") for request in sent}) == 9 + 1


@pytest.mark.parametrize("draw", [oauth.new_exponent, oauth.new_nonce])
def test_nothing_random_comes_from_pythons_predictable_generator(draw: Callable[[], Any]) -> None:
    drawn = []
    for _ in range(2):
        random.seed(1)
        drawn.append(draw())
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize(("number", "exponent"), [(0, 1), (2**256 - 2, 2**256 - 1)])
def test_an_exponent_is_never_zero_and_has_up_to_256_bits(
    monkeypatch: pytest.MonkeyPatch, number: int, exponent: int
) -> None:
    limits = []
    monkeypatch.setattr("oauth.secrets.randbelow", lambda limit: limits.append(limit) or number)
    assert oauth.new_exponent() == exponent
    assert limits == [2**256 - 1]


# Answers


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (302, b""),
        (401, b'{"error": "no"}'),
        (201, b"{}"),
        (200, b""),
        (200, b"<html>"),
        (200, b'{"error": "not ready"}'),
        (200, b"[" * 200_000),
    ],
)
def test_an_unusable_answer_comes_with_the_error(
    server: Server, session: requests.Session, status: int, body: bytes
) -> None:
    server.answer = (status, {"Location": server.url + "/elsewhere"}, body)
    with pytest.raises(oauth.AnswerError) as caught:
        log_in(server, session)
    assert caught.value.response is not None
    assert (caught.value.response.status_code, caught.value.response.content) == (status, body)
    assert len(server.requests) == 1  # a redirect is not followed


def test_the_time_outs_are_those_given(
    monkeypatch: pytest.MonkeyPatch, server: Server, session: requests.Session
) -> None:
    given: list[Any] = []
    send = requests.Session.send
    monkeypatch.setattr(
        requests.Session,
        "send",
        lambda *args, **options: given.append(options["timeout"]) or send(*args, **options),
    )
    for options in ({}, {"timeout": 7}):
        with pytest.raises(oauth.AnswerError):
            log_in(server, session, **options)
    assert given == [(10, 30), 7]


@pytest.mark.parametrize(
    ("milliseconds", "expires"),
    [
        (1_000_000_000_001, datetime(2001, 9, 9, 1, 46, 40, 1000, timezone.utc)),
        (1_767_312_000_123, datetime(2026, 1, 2, 0, 0, 0, 123000, timezone.utc)),
        (1_000_000_000_000, None),
        (4_000_000_000_000, None),
        (10**30, None),
    ],
)
def test_the_expiration_is_in_milliseconds(milliseconds: int, expires: datetime | None) -> None:
    answer = {**LOGIN["answer"], "live_session_token_expiration": milliseconds}
    if expires is None:
        with pytest.raises(oauth.AnswerError):
            oauth.accept_answer(answer, CREDENTIALS, EXPONENT)
    else:
        assert oauth.accept_answer(answer, CREDENTIALS, EXPONENT).expires == expires


def test_the_proof_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Any] = []
    monkeypatch.setattr("oauth.hmac.compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    oauth.accept_answer(LOGIN["answer"], CREDENTIALS, EXPONENT)
    proof = LOGIN["answer"]["live_session_token_signature"].encode()
    assert compared == [(proof, proof)]


# Secrets stay inside


def test_no_secret_is_shown_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    secret = "not base64, but secret"
    with caplog.at_level(logging.DEBUG, logger="oauth"):
        requests.Request("POST", URL, auth=oauth.RsaSha256Auth(CREDENTIALS, "abc")).prepare()
        prepared()
    shown = (
        caplog.text
        + repr(CREDENTIALS)
        + repr(oauth.LiveSessionToken(TOKEN, datetime.now(timezone.utc)))
    )
    with pytest.raises(oauth.CredentialsError) as wrong_secret:
        oauth.decrypt_access_token_secret(secret, KEY)
    with pytest.raises(TypeError) as wrong_type:
        oauth.signature_base_string("GET", URL, [], secret.encode())  # type: ignore[arg-type]
    with pytest.raises(oauth.ExchangeError) as wrong_proof:
        oauth.accept_answer(LOGIN["answer"], CREDENTIALS, EXPONENT + 1)
    shown += repr([wrong_secret.value, wrong_type.value, wrong_proof.value])
    for raw in (secret.encode(), SECRET, TOKEN, ACCESS_TOKEN.encode()):
        assert raw.hex() not in shown
        assert raw.decode("latin-1") not in shown
        assert base64.b64encode(raw).decode() not in shown
    assert "a%2Bb%2F" not in shown


def test_the_log_has_the_method_the_url_and_the_redacted_base_string(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, logger="oauth"):
        auth = oauth.RsaSha256Auth(CREDENTIALS, "abc")
        requests.Request("POST", "https://h/x", {}, auth=auth, params={"b": "1,2"}).prepare()
    assert caplog.messages[0] == "POST https://h/x?b=1,2"
    assert re.fullmatch(
        "signature base string: POST&https%3A%2F%2Fh%2Fx&b%3D1%2C2%26diffie_hellman_challenge%3Dabc"
        "%26oauth_consumer_key%3DTESTCONS%26oauth_nonce%3D[0-9a-f]{32}%26oauth_signature_method%3D"
        r"RSA-SHA256%26oauth_timestamp%3D[0-9]{10}%26oauth_token%3D\*\*\*",
        caplog.messages[1],
    )
    assert len(caplog.messages) == 2


# Misuse: never a signature over the wrong thing


def credentials(**changes: Any) -> oauth.Credentials:
    return oauth.Credentials(**{**vars(CREDENTIALS), **changes})


MISUSES: list[tuple[type[Exception], Callable[[], Any]]] = [
    (TypeError, lambda: credentials(access_token_secret="text")),
    (TypeError, lambda: credentials(signature_key="private_signature.pem")),
    (TypeError, lambda: credentials(dh_prime="ff")),
    (TypeError, lambda: credentials(consumer_key=None)),
    (ValueError, lambda: credentials(signature_key=KEY.public_key())),
    (ValueError, lambda: credentials(dh_generator=1)),
    (ValueError, lambda: credentials(dh_generator=PRIME - 1)),
    (TypeError, lambda: oauth.decrypt_access_token_secret(base64.b64encode(bytes(256)).decode(), KEY.public_key())),
    (TypeError, lambda: oauth.signature_base_string("GET", URL, {"ab": "1"})),
    (TypeError, lambda: oauth.signature_base_string("GET", URL, "a=1")),
    (TypeError, lambda: oauth.signature_base_string("GET", URL, [("a", 1)])),
    (TypeError, lambda: oauth.signature_base_string("GET", URL, [], b"00")),
    (TypeError, lambda: oauth.authorization_header("r", {"ab": "1"})),
    (TypeError, lambda: oauth.rsa_sha256_signature(b"GET&a&b", KEY)),
    (TypeError, lambda: oauth.hmac_sha256_signature("GET&a&b", "text")),
    (ValueError, lambda: prepared("POST", data={"a": "1"})),
    (ValueError, lambda: prepared("POST", files={"a": "1"})),
]  # fmt: skip


@pytest.mark.parametrize(("error", "misuse"), MISUSES)
def test_misuse_raises_before_anything_is_signed(
    error: type[Exception], misuse: Callable[[], Any]
) -> None:
    with pytest.raises(error):
        misuse()


# What the docstrings show


def test_the_examples_of_the_docstrings_are_right() -> None:
    failed, tried = doctest.testmod(oauth)
    assert (failed, tried) == (0, 8)


def test_the_call_on_the_wire_in_the_docstring_is_right(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    token = bytes.fromhex("27b38aa7974017fae9c67070a47cc70346086080")
    known = credentials(consumer_key="ABCDEFGHI", access_token="6f531f8fd316915af53f")
    monkeypatch.setattr("oauth.new_nonce", lambda: "beef")
    monkeypatch.setattr("oauth.time.time", lambda: 1767225605.9)
    url = "https://api.ibkr.com/v1/api/iserver/marketdata/snapshot?conids=265598&fields=31,84"
    with caplog.at_level(logging.DEBUG, logger="oauth"):
        request = requests.Request("GET", url, auth=oauth.HmacSha256Auth(known, token)).prepare()
    wire, base_string = (
        re.sub(r"\s", "", str(thing.__doc__)) for thing in (oauth, oauth.signature_base_string)
    )
    assert request.headers["Authorization"].replace(" ", "") in wire
    assert (
        caplog.messages[1].partition(": ")[2].replace("***", "6f531f8fd316915af53f") in base_string
    )
