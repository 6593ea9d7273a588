"""What oauth.py sends, what it refuses, and what it must never let out. That a server accepts what it
signs is seen in the transcripts."""

from __future__ import annotations

import doctest
import json
import logging
import re
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from Crypto.PublicKey import RSA
from requests import PreparedRequest, Response, Session

import oauth
from tests.conftest import assert_no_secret

FOLDER = Path(__file__).parent / "vectors"
KEY = RSA.import_key((FOLDER / "throwaway-key.pem").read_bytes())
LOGIN = json.loads((FOLDER / "answer.json").read_text(encoding="ascii"))[1]
PRIME, EXPONENT = int(LOGIN["prime"], 16), int(LOGIN["exponent"], 16)
SECRET, TOKEN = bytes.fromhex(LOGIN["access_token_secret"]), bytes.fromhex(LOGIN["output"])
ACCESS_TOKEN = "a+b/" * 5  # needs encoding, unlike IBKR's
CREDENTIALS = oauth.Credentials("limited_poa", "TESTCONS", ACCESS_TOKEN, SECRET, KEY, PRIME)
BASE_URL = "https://api.ibkr.com/v1/api"
URL = f"{BASE_URL}/trsrv/stocks"
ANSWER, ERROR = json.dumps(LOGIN["answer"]).encode(), b'{"error": "not ready"}'


class Offline(Session):
    """Sends nothing: notes each request with its options, and answers all of them alike."""

    def __init__(self) -> None:
        super().__init__()
        self.auth = oauth.HmacSha256Auth(CREDENTIALS, TOKEN)
        self.status, self.body = 200, ANSWER
        self.sent: list[tuple[PreparedRequest, dict[str, Any]]] = []

    def send(self, request: PreparedRequest, **options: Any) -> Response:
        self.sent.append((request, options))
        response = Response()
        response.request = request
        response.status_code, response._content = self.status, self.body
        return response


@pytest.fixture
def session() -> Offline:
    return Offline()


def log_in(session: Offline, **options: Any) -> oauth.LiveSessionToken:
    return oauth.request_live_session_token(session, f"{BASE_URL}/", CREDENTIALS, **options)


def fields(request: PreparedRequest) -> dict[str, str]:
    """Return the fields of the Authorization header, decoded, in their order."""
    header = request.headers["Authorization"]
    assert header.startswith("OAuth ")
    return {name: unquote(value) for name, value in re.findall(r'(\w+)="([^"]*)"', header)}


def test_the_token_request(session: Offline) -> None:
    log_in(session, exponent=lambda: EXPONENT)
    ((request, options),) = session.sent
    url = f"{BASE_URL}/oauth/live_session_token"
    assert (request.method, request.url, request.body) == ("POST", url, None)
    assert request.headers["Content-Length"] == "0"
    assert "Content-Type" not in request.headers
    assert (options["timeout"], options["allow_redirects"]) == ((10, 30), False)


def test_the_numbers_of_the_docstrings_are_right(
    session: Offline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert doctest.testmod(oauth) == (0, 8)
    monkeypatch.setattr("oauth.secrets.token_hex", lambda _: "beef")
    monkeypatch.setattr("oauth.time.time", lambda: 1767225605.9)
    caplog.set_level(logging.DEBUG, "oauth")
    token = bytes.fromhex("27b38aa7974017fae9c67070a47cc70346086080")
    caller = replace(CREDENTIALS, consumer_key="ABCDEFGHI", access_token="6f531f8fd316915af53f")
    session.auth = oauth.HmacSha256Auth(caller, token)
    params = {"conids": "265598", "fields": "31,84"}
    sent = session.get(f"{BASE_URL}/iserver/marketdata/snapshot", params=params).request
    url, base_string = caplog.messages
    assert url.replace(BASE_URL, "{base}") in str(oauth.__doc__)
    documented = re.sub(r"\s", "", str(oauth.__doc__))
    assert sent.headers["Authorization"].replace(" ", "") in documented
    assert base_string.split()[-1].replace("***", "6f531f8fd316915af53f") in documented


def test_the_query_is_sent_in_ibkrs_form(session: Offline) -> None:
    params = [("b", "31,84"), ("a:b", ""), ("b", "1+1=2&3 a/b?c#d%-._~\u00e9")]
    query = "?b=31,84&a:b=&b=1%2B1%3D2%263%20a%2Fb%3Fc%23d%25-._~%C3%A9"
    assert session.get(URL, params=params).request.url == URL + query


def test_the_switch_for_the_query(
    session: Offline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "oauth")
    monkeypatch.setattr(oauth, "SIGN_QUERY", False)
    session.get(URL, params={"symbols": "AAPL"})
    assert caplog.messages[0] == f"GET {URL}?symbols=AAPL"
    assert "symbols" not in caplog.messages[1]


def test_each_log_in_has_its_own_exponent(session: Offline) -> None:
    session.status = 401
    for _ in range(2):
        with pytest.raises(oauth.AnswerError):
            log_in(session)
    one, other = [fields(request)["diffie_hellman_challenge"] for request, _ in session.sent]
    assert one != other


def test_what_is_random_comes_from_secrets_in_its_range(
    session: Offline, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = {2**256 - 1: 0}  # the smallest number that can be drawn
    monkeypatch.setattr("oauth.secrets.randbelow", below.get)
    monkeypatch.setattr("oauth.secrets.token_hex", lambda size: "ab" * size)
    assert oauth.new_exponent() == 1
    assert fields(session.get(URL).request)["oauth_nonce"] == "ab" * 16


# Answers; more of them are in vectors/answer.json


def test_an_unusable_answer_is_in_the_error(session: Offline) -> None:
    nested = b"[" * 200_000
    unusable = [(302, ANSWER), (401, ERROR), (200, ERROR), (200, b"<html>"), (200, nested)]
    for session.status, session.body in unusable:
        with pytest.raises(oauth.AnswerError) as caught:
            log_in(session, timeout=7, exponent=lambda: EXPONENT)
        answer = caught.value.response
        assert answer is not None
        assert (answer.status_code, answer.content) == (session.status, session.body)
    assert session.sent[0][1]["timeout"] == 7


def test_the_proof_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oauth.hmac.compare_digest", lambda *_: False)
    with pytest.raises(oauth.ExchangeError):
        oauth.accept_answer(LOGIN["answer"], CREDENTIALS, EXPONENT)


# Secrets, and misuse


def test_no_secret_is_shown_or_logged(session: Offline, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "oauth")
    shown: list[object] = [CREDENTIALS, oauth.LiveSessionToken(TOKEN, datetime.now(timezone.utc))]
    session.get(URL)
    session.status = 401
    for use in (
        lambda: log_in(session),
        lambda: oauth.decrypt_access_token_secret(ACCESS_TOKEN + "!", KEY),
        lambda: oauth.accept_answer(LOGIN["answer"], CREDENTIALS, EXPONENT + 1),
        lambda: replace(CREDENTIALS, dh_prime=SECRET),
    ):
        with pytest.raises((oauth.OAuthError, TypeError)) as caught:
            use()
        shown.append(caught.value)
    assert_no_secret(repr([*shown, *caplog.messages]), [SECRET, TOKEN, ACCESS_TOKEN])
    assert caplog.messages[1].endswith("%26oauth_token%3D***")
    assert caplog.messages[3].startswith("signature base string: POST&")


MISUSES: Any = [
    (TypeError, lambda _: replace(CREDENTIALS, access_token_secret="text")),
    (ValueError, lambda _: replace(CREDENTIALS, signature_key=KEY.public_key())),
    (ValueError, lambda _: replace(CREDENTIALS, dh_generator=PRIME - 1)),
    (TypeError, lambda _: oauth.signature_base_string("GET", URL, {"ab": "1"})),
    (TypeError, lambda _: oauth.signature_base_string("GET", URL, [("a", 1)])),
    (ValueError, lambda session: session.post(URL, data={"a": "1"})),
]


def test_misuse_raises(session: Offline) -> None:
    for error, misuse in MISUSES:
        with pytest.raises(error):
            misuse(session)
