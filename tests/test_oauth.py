"""What oauth.py sends, what it refuses, and what it must never let out."""

from __future__ import annotations

import base64
import doctest
import json
import logging
import random
import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
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
BASE_URL = "https://api.ibkr.com/v1/api"
URL = f"{BASE_URL}/trsrv/stocks"


class Wire(requests.adapters.BaseAdapter):
    """Stands in for the network: notes each request, and answers all of them alike."""

    def __init__(self) -> None:
        super().__init__()
        self.status, self.body = 200, json.dumps(LOGIN["answer"]).encode()
        self.requests: list[requests.PreparedRequest] = []
        self.timeouts: list[Any] = []

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        self.requests.append(request)
        self.timeouts.append(options["timeout"])
        response = requests.Response()
        response.status_code, response._content = self.status, self.body
        response.headers["Location"] = URL
        response.url, response.request = str(request.url), request
        return response

    def close(self) -> None:
        pass


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def session(wire: Wire) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.mount("https://", wire)
        session.auth = AUTH
        yield session


def log_in(session: requests.Session, **options: Any) -> oauth.LiveSessionToken:
    return oauth.request_live_session_token(session, f"{BASE_URL}/", CREDENTIALS, **options)


def credentials(**changes: Any) -> oauth.Credentials:
    return oauth.Credentials(**{**vars(CREDENTIALS), **changes})


def fields(request: requests.PreparedRequest) -> dict[str, str]:
    """Return the fields of the Authorization header, decoded, in their order."""
    header = request.headers["Authorization"]
    assert header.startswith("OAuth ")
    return {name: unquote(value) for name, value in re.findall(r'(\w+)="([^"]*)"', header)}


# What is sent


def test_the_token_request_and_what_comes_of_it(wire: Wire, session: requests.Session) -> None:
    token = log_in(session, exponent=lambda: EXPONENT, headers={"User-Agent": "mine"})
    assert token == oauth.LiveSessionToken(TOKEN, datetime(2026, 1, 2, tzinfo=timezone.utc))
    (request,) = wire.requests
    assert wire.timeouts == [(10, 30)]
    url = f"{BASE_URL}/oauth/live_session_token"
    assert (request.method, request.url, request.body) == ("POST", url, None)
    expected = {"Content-Length": "0", "Content-Type": None, "User-Agent": "mine"}
    assert {name: request.headers.get(name) for name in expected} == expected
    sent = fields(request)
    assert sent.pop("realm") == "limited_poa"
    signature = base64.b64decode(sent.pop("oauth_signature"))
    assert abs(int(sent["oauth_timestamp"]) - time.time()) < 9
    text = (
        f"{SECRET.hex()}POST&https%3A%2F%2Fapi.ibkr.com%2Fv1%2Fapi%2Foauth%2Flive_session_token"
        f"&diffie_hellman_challenge%3D{pow(2, EXPONENT, PRIME):x}%26oauth_consumer_key%3DTESTCONS"
        f"%26oauth_nonce%3D{sent['oauth_nonce']}%26oauth_signature_method%3DRSA-SHA256"
        f"%26oauth_timestamp%3D{sent['oauth_timestamp']}%26oauth_token%3D{'a%2Bb%2F' * 5}"
    )
    key = serialization.load_pem_private_key(PEM, None).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
    assert unquote(text).endswith("&" + "&".join(f"{name}={sent[name]}" for name in sent))


def test_the_call_in_the_docstring_is_right(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "oauth")
    token = bytes.fromhex("27b38aa7974017fae9c67070a47cc70346086080")
    caller = credentials(consumer_key="ABCDEFGHI", access_token="6f531f8fd316915af53f")
    session.auth = oauth.HmacSha256Auth(caller, token)
    monkeypatch.setattr("oauth.new_nonce", lambda: "beef")
    monkeypatch.setattr("oauth.time.time", lambda: 1767225605.9)
    params = {"conids": "265598", "fields": "31,84"}
    sent = session.get(f"{BASE_URL}/iserver/marketdata/snapshot", params=params).request
    url, base_string = caplog.messages
    assert url.replace(BASE_URL, "{base}") in str(oauth.__doc__)
    documented = re.sub(r"\s", "", f"{oauth.__doc__} {oauth.signature_base_string.__doc__}")
    assert sent.headers["Authorization"].replace(" ", "") in documented
    assert base_string.split()[-1].replace("***", "6f531f8fd316915af53f") in documented


def test_a_json_body_is_not_signed_and_netrc_does_not_overrule_the_signature(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine api.ibkr.com login somebody password else")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("oauth.new_nonce", lambda: "cafe")
    monkeypatch.setattr("oauth.time.time", lambda: 1767225600)
    request = session.post(URL, json={"compete": False}).request
    assert request.body == b'{"compete": false}'
    assert fields(request) == fields(session.post(URL).request)


@pytest.mark.parametrize(
    ("params", "query"),
    [
        ({}, ""),
        ({"fields": "31,84", "a:b": "x"}, "?fields=31,84&a:b=x"),
        ({"q": "1+1=2&3 a/b?c#d%"}, "?q=1%2B1%3D2%263%20a%2Fb%3Fc%23d%25"),
        ([("b", "-._~\u00e9"), ("a", ""), ("b", "1")], "?b=-._~%C3%A9&a=&b=1"),
    ],
)
def test_the_query_is_sent_in_ibkrs_form(
    session: requests.Session, params: Any, query: str
) -> None:
    assert session.get(URL, params=params).request.url == URL + query


def test_the_switch_takes_the_query_out_of_the_base_string(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "oauth")
    monkeypatch.setattr(oauth, "SIGN_QUERY", False)
    assert session.get(URL, params={"a": "1"}).request.url == f"{URL}?a=1"
    assert "stocks&oauth_consumer_key%3D" in caplog.messages[1]


# Fresh each time


def test_each_request_has_its_own_exponent_and_nonce(wire: Wire, session: requests.Session) -> None:
    wire.status = 401
    for _ in range(9):
        with pytest.raises(oauth.AnswerError):
            log_in(session)
        session.get(URL)
    sent = [fields(request) for request in wire.requests]
    assert len({request["oauth_nonce"] for request in sent}) == 18
    assert len({request["diffie_hellman_challenge"] for request in sent[::2]}) == 9


@pytest.mark.parametrize("draw", [oauth.new_exponent, oauth.new_nonce])
def test_nothing_random_comes_from_pythons_predictable_generator(draw: Callable[[], Any]) -> None:
    random.seed(1)
    drawn = draw()
    random.seed(1)
    assert draw() != drawn


def test_an_exponent_is_never_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    monkeypatch.setattr("oauth.secrets.randbelow", lambda limit: limits.append(limit) or 0)
    assert oauth.new_exponent() == 1
    assert limits == [2**256 - 1]


# Answers

ERROR = b'{"error": "not ready"}'


@pytest.mark.parametrize(
    ("status", "body"),
    [(302, b""), (401, ERROR), (200, ERROR), (200, b""), (200, b"<html>"), (200, b"[" * 200_000)],
)
def test_an_unusable_answer_comes_with_the_error_and_a_redirect_is_not_followed(
    wire: Wire, session: requests.Session, status: int, body: bytes
) -> None:
    wire.status, wire.body = status, body
    with pytest.raises(oauth.AnswerError) as caught:
        log_in(session, timeout=7)
    assert caught.value.response is not None
    assert (caught.value.response.status_code, caught.value.response.content) == (status, body)
    assert wire.timeouts == [7]


@pytest.mark.parametrize("expires", [1_000_000_000_123, 1_767_312_000_123])
def test_the_expiration_is_in_milliseconds(expires: int) -> None:
    answer = {**LOGIN["answer"], "live_session_token_expiration": expires}
    result = oauth.accept_answer(answer, CREDENTIALS, EXPONENT).expires
    assert (result - datetime(1970, 1, 1, tzinfo=timezone.utc)) / timedelta(
        milliseconds=1
    ) == expires


def test_the_proof_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oauth.hmac.compare_digest", lambda *_: False)
    with pytest.raises(oauth.ExchangeError):
        oauth.accept_answer(LOGIN["answer"], CREDENTIALS, EXPONENT)


# Secrets stay inside


def test_no_secret_is_shown_logged_or_in_an_error(
    session: requests.Session, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "oauth")
    shown: list[object] = [CREDENTIALS, log_in(session, exponent=lambda: EXPONENT)]
    session.get(URL)
    for use in (
        lambda: oauth.decrypt_access_token_secret(ACCESS_TOKEN + "!", KEY),
        lambda: oauth.accept_answer(LOGIN["answer"], CREDENTIALS, EXPONENT + 1),
        lambda: credentials(dh_prime=SECRET),
    ):
        with pytest.raises((oauth.OAuthError, TypeError)) as caught:
            use()
        shown.append(caught.value)
    text = repr([*shown, *caplog.messages])
    for raw in (SECRET, TOKEN, ACCESS_TOKEN.encode()):
        for form in (repr(raw)[2:-1], raw.hex(), base64.b64encode(raw).decode()):
            assert form not in text
    assert caplog.messages[1].startswith("signature base string: POST&")
    assert caplog.messages[3].endswith("%26oauth_token%3D***")


# Misuse: never a signature over the wrong thing


def base_string(params: Any = (), **changes: Any) -> str:
    return oauth.signature_base_string(**{"method": "GET", "url": URL, "params": params, **changes})


def prepare(**body: Any) -> requests.PreparedRequest:
    return requests.Request("POST", URL, auth=AUTH, **body).prepare()


MISUSES: list[tuple[type[Exception], Callable[[], Any]]] = [
    (TypeError, lambda: credentials(access_token_secret="text")),
    (TypeError, lambda: credentials(signature_key="private_signature.pem")),
    (ValueError, lambda: credentials(signature_key=KEY.public_key())),
    (ValueError, lambda: credentials(dh_generator=PRIME - 1)),
    (TypeError, lambda: oauth.decrypt_access_token_secret("A" * 342 + "==", KEY.public_key())),
    (TypeError, lambda: base_string({"ab": "1"})),
    (TypeError, lambda: base_string("a=1")),
    (TypeError, lambda: base_string([("a", 1)])),
    (TypeError, lambda: base_string(prepend=b"00")),
    (TypeError, lambda: oauth.authorization_header("r", {"ab": "1"})),
    (TypeError, lambda: oauth.hmac_sha256_signature("GET&a&b", "text")),
    (ValueError, lambda: prepare(data={"a": "1"})),
    (ValueError, lambda: prepare(files={"a": "1"})),
]


@pytest.mark.parametrize(("error", "misuse"), MISUSES)
def test_misuse_raises(error: type[Exception], misuse: Callable[[], Any]) -> None:
    with pytest.raises(error):
        misuse()


def test_the_examples_of_the_docstrings_are_right() -> None:
    assert doctest.testmod(oauth) == (0, 8)
