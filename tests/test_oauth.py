"""Signing, the exchange and its refusals, misuse, and what oauth.py must never let out."""

from __future__ import annotations

import base64
import doctest
import hashlib
import hmac
import io
import logging
import random
import re
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Callable
from urllib.parse import unquote

import pytest
import requests
from Crypto.PublicKey import RSA
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

import demo
import oauth
from tests.conftest import assert_no_secret
from tests.sandbox import DH_PRIME, KEYS, Answer, Sandbox

SECRET = bytes(range(32))
TOKEN = bytes(range(100, 120))
URL = "https://api.ibkr.com/v1/api/iserver/marketdata/snapshot"


@pytest.fixture(scope="module")
def credentials() -> oauth.Credentials:
    signature_key = RSA.import_key((KEYS / "private_signature.pem").read_bytes())
    return oauth.Credentials("limited_poa", "ABCDEFGHI", "0a" * 10, SECRET, signature_key, DH_PRIME)


def sandbox_credentials(sandbox: Sandbox) -> oauth.Credentials:
    """Take the credentials from a sandbox's config as a program of one's own would."""
    config = sandbox.config
    keys = {
        name: RSA.import_key((Path(sandbox.folder) / config[f"{name}_key_fp"]).read_bytes())
        for name in ("signature", "encryption")
    }
    secret = oauth.decrypt_access_token_secret(config["access_token_secret"], keys["encryption"])
    prime = int(config["dh_prime"], 16)
    return oauth.Credentials(
        config["realm"],
        config["consumer_key"],
        config["access_token"],
        secret,
        keys["signature"],
        prime,
    )


def prepared(
    auth: oauth.SignedRequest, method: str = "GET", url: str = URL, **arguments: Any
) -> requests.PreparedRequest:
    return requests.Request(method, url, auth=auth, **arguments).prepare()


def header_of(request: requests.PreparedRequest) -> dict[str, str]:
    scheme, _, rest = request.headers["Authorization"].partition(" ")
    assert scheme == "OAuth"
    pairs = [re.fullmatch(r'(\w+)="([^"]*)"', part) for part in rest.split(", ")]
    return {pair[1]: unquote(pair[2]) for pair in pairs if pair}


def hmac_sha256(text: str) -> str:
    return base64.b64encode(hmac.new(TOKEN, text.encode(), hashlib.sha256).digest()).decode()


STILL: dict[str, Any] = {"clock": lambda: 1700000000.9, "nonce": lambda: "cafe"}


def fixed(
    credentials: oauth.Credentials, token: bytes | None = None, challenge: str = ""
) -> oauth.SignedRequest:
    """Sign with a clock and a nonce that stand still."""
    if token is None:
        return oauth.RsaSha256Auth(credentials, challenge, **STILL)
    return oauth.HmacSha256Auth(credentials, token, **STILL)


def test_a_call_carries_its_parameters_and_an_hmac_over_them_and_the_query(
    credentials: oauth.Credentials,
) -> None:
    params = {"fields": "31,84", "conids": "265598"}
    request = prepared(fixed(credentials, token=TOKEN), params=params)
    expected = (
        "GET&https%3A%2F%2Fapi.ibkr.com%2Fv1%2Fapi%2Fiserver%2Fmarketdata%2Fsnapshot"
        "&conids%3D265598%26fields%3D31%2C84%26oauth_consumer_key%3DABCDEFGHI%26oauth_nonce%3Dcafe"
        "%26oauth_signature_method%3DHMAC-SHA256%26oauth_timestamp%3D1700000000%26oauth_token%3D"
        + "0a"
        * 10
    )
    assert header_of(request) == {
        "realm": "limited_poa",
        "oauth_consumer_key": "ABCDEFGHI",
        "oauth_nonce": "cafe",
        "oauth_signature": hmac_sha256(expected),
        "oauth_signature_method": "HMAC-SHA256",
        "oauth_timestamp": "1700000000",
        "oauth_token": "0a" * 10,
    }


def test_the_query_is_left_out_of_the_signature_when_the_switch_is_off(
    credentials: oauth.Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "SIGN_QUERY", False)
    without = header_of(prepared(fixed(credentials, token=TOKEN)))
    request = prepared(fixed(credentials, token=TOKEN), params={"conids": "1"})
    assert header_of(request)["oauth_signature"] == without["oauth_signature"]
    assert str(request.url).endswith("?conids=1")


@pytest.mark.parametrize(
    ("params", "wire"),
    [
        ({"fields": "31,84,85"}, "fields=31,84,85"),
        ({"a": "1:2"}, "a=1:2"),
        ({"a,b": "x"}, "a,b=x"),
        ({"q": "two words"}, "q=two%20words"),
        ({"q": "1+1=2&3"}, "q=1%2B1%3D2%263"),
        ({"q": "a/b?c#d%"}, "q=a%2Fb%3Fc%23d%25"),
        ({"q": "-._~"}, "q=-._~"),
        ({"q": "\u00e9"}, "q=%C3%A9"),
        ({"empty": "", "z": "1"}, "empty=&z=1"),
        ([("b", "2"), ("a", "1"), ("b", "1")], "b=2&a=1&b=1"),
    ],
)
def test_the_query_goes_out_in_the_form_that_ibkr_wants(
    credentials: oauth.Credentials, params: Any, wire: str
) -> None:
    assert prepared(fixed(credentials, token=TOKEN), params=params).url == f"{URL}?{wire}"


def test_a_request_without_a_query_keeps_its_url_and_loses_a_fragment(
    credentials: oauth.Credentials,
) -> None:
    assert prepared(fixed(credentials, token=TOKEN)).url == URL
    assert prepared(fixed(credentials, token=TOKEN), url=URL + "#top").url == URL


def test_a_json_body_is_sent_but_not_signed(credentials: oauth.Credentials) -> None:
    with_body = prepared(fixed(credentials, token=TOKEN), "POST", json={"compete": False})
    without = prepared(fixed(credentials, token=TOKEN), "POST")
    assert header_of(with_body) == header_of(without)
    assert with_body.body == b'{"compete": false}'


def test_the_token_request_is_signed_with_rsa_behind_the_prepend_and_carries_the_challenge(
    credentials: oauth.Credentials,
) -> None:
    request = prepared(fixed(credentials, challenge="abc"), "POST", "https://h/oauth/x")
    header = header_of(request)
    signature = base64.b64decode(header.pop("oauth_signature"))
    assert header == {
        "realm": "limited_poa",
        "diffie_hellman_challenge": "abc",
        "oauth_consumer_key": "ABCDEFGHI",
        "oauth_nonce": "cafe",
        "oauth_signature_method": "RSA-SHA256",
        "oauth_timestamp": "1700000000",
        "oauth_token": "0a" * 10,
    }
    expected = (
        SECRET.hex() + "POST&https%3A%2F%2Fh%2Foauth%2Fx&diffie_hellman_challenge%3Dabc"
        "%26oauth_consumer_key%3DABCDEFGHI%26oauth_nonce%3Dcafe%26oauth_signature_method%3D"
        "RSA-SHA256%26oauth_timestamp%3D1700000000%26oauth_token%3D" + "0a" * 10
    )
    key = serialization.load_pem_public_key((KEYS / "public_signature.pem").read_bytes())
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(signature, expected.encode(), padding.PKCS1v15(), hashes.SHA256())


def test_each_request_has_a_nonce_of_its_own_from_128_random_bits(
    credentials: oauth.Credentials,
) -> None:
    auth = oauth.HmacSha256Auth(credentials, TOKEN)
    nonces = [header_of(prepared(auth))["oauth_nonce"] for _ in range(100)]
    assert len(set(nonces)) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", nonce) for nonce in nonces)


def test_the_timestamp_is_the_present_in_seconds(credentials: oauth.Credentials) -> None:
    before = int(datetime.now(timezone.utc).timestamp())
    header = header_of(prepared(oauth.HmacSha256Auth(credentials, TOKEN)))
    assert before <= int(header["oauth_timestamp"]) <= before + 2


def test_exponents_are_fresh_and_use_all_256_bits() -> None:
    exponents = [oauth.new_exponent() for _ in range(500)]
    assert len(set(exponents)) == 500
    assert all(0 < exponent < 2**256 for exponent in exponents)
    seen = [sum(exponent >> bit & 1 for exponent in exponents) for bit in range(256)]
    assert min(seen) > 150
    assert max(seen) < 350


@pytest.mark.parametrize("make", [oauth.new_exponent, oauth.new_nonce])
def test_nothing_random_comes_from_pythons_predictable_generator(make: Callable[[], Any]) -> None:
    made = []
    for _ in range(2):
        random.seed(1)
        made.append(make())
    assert made[0] != made[1]


@pytest.mark.parametrize(("number", "exponent"), [(0, 1), (1, 2), (2**256 - 2, 2**256 - 1)])
def test_an_exponent_is_never_zero(
    monkeypatch: pytest.MonkeyPatch, number: int, exponent: int
) -> None:
    limits = []
    monkeypatch.setattr(oauth.secrets, "randbelow", lambda limit: limits.append(limit) or number)
    assert oauth.new_exponent() == exponent
    assert limits == [2**256 - 1]


# The log-in


@pytest.fixture
def logged_in(server: Sandbox) -> Iterator[tuple[requests.Session, oauth.LiveSessionToken]]:
    with requests.Session() as session:
        credentials = sandbox_credentials(server)
        token = oauth.request_live_session_token(session, server.base_url, credentials)
        session.auth = oauth.HmacSha256Auth(credentials, token.token)
        yield session, token


def test_the_token_that_both_sides_agree_on_signs_calls(
    server: Sandbox, logged_in: tuple[requests.Session, oauth.LiveSessionToken]
) -> None:
    session, token = logged_in
    assert len(token.token) == 20
    assert token.token in server.secrets
    hours = (token.expires - datetime.now(timezone.utc)).total_seconds() / 3600
    assert 23.9 < hours <= 24
    assert session.get(server.base_url + "/portfolio/accounts", timeout=9).status_code == 200
    answer = session.get(server.base_url + "/trsrv/stocks", params={"symbols": "IBM"}, timeout=9)
    assert answer.status_code == 200
    assert [request.refused for request in server.requests] == ["", "", ""]
    assert server.requests[-1].query_form == "signed"
    assert server.connections == 1


def test_two_hundred_logins_in_a_row_succeed_whatever_the_shared_secret_looks_like() -> None:
    lengths = set()
    for fault in ("k-top-bit", "k-short", ""):
        with Sandbox(fault) as sandbox, requests.Session() as session:
            credentials = sandbox_credentials(sandbox)
            for _ in range(20 if fault else 160):
                oauth.request_live_session_token(session, sandbox.base_url, credentials)
            secrets = [s for s in sandbox.secrets if isinstance(s, bytes) and len(s) > 200]
            lengths |= {(len(s), s[0] == 0) for s in secrets}
    assert {(257, True), (256, False)} <= lengths  # top bit set, and not
    assert any(length < 256 for length, _ in lengths)


def test_every_login_sends_another_challenge(
    server: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    credentials = sandbox_credentials(server)
    with requests.Session() as session, caplog.at_level(logging.DEBUG, logger="oauth"):
        for _ in range(3):
            oauth.request_live_session_token(session, server.base_url, credentials)
    challenges = re.findall("diffie_hellman_challenge%3D([0-9a-f]{500,512})%26", caplog.text)
    assert len(set(challenges)) == 3


# Answers are judged before they are used


class Peer:
    """The server's side of one exchange, in plain arithmetic."""

    def __init__(self, credentials: oauth.Credentials, exponent: int = 12345) -> None:
        self.credentials, self.exponent = credentials, exponent
        shared = pow(pow(2, 67890, DH_PRIME), exponent, DH_PRIME)
        form = shared.to_bytes((len(f"{shared:b}") + 8) // 8, "big")
        self.token = hmac.new(form, SECRET, hashlib.sha1).digest()
        consumer = credentials.consumer_key.encode()
        self.answer: dict[str, Any] = {
            "diffie_hellman_response": f"{pow(2, 67890, DH_PRIME):x}",
            "live_session_token_signature": hmac.new(
                self.token, consumer, hashlib.sha1
            ).hexdigest(),
            "live_session_token_expiration": 1700000000123,
        }

    def accept(self, **changes: Any) -> oauth.LiveSessionToken:
        return oauth.accept_answer({**self.answer, **changes}, self.credentials, self.exponent)


def test_a_right_answer_gives_token_and_expiry(credentials: oauth.Credentials) -> None:
    peer = Peer(credentials)
    accepted = peer.accept()
    assert accepted.token == peer.token
    assert accepted.expires == datetime(2023, 11, 14, 22, 13, 20, 123000, timezone.utc)


LATER = "try again later"
UPLOADED = "check that dh_prime is that of the dhparam.pem uploaded last"
MISFIT = "check dh_prime, dh_generator and the case of the consumer key"
LACKS = "the answer lacks a part of the exchange"
EXPIRY = "the answer's expiration is not in milliseconds"
NOT_HEX = "the Diffie-Hellman response is not a hex number"
RANGE = "the Diffie-Hellman response is out of range"
PROOF = "the server's proof of the live session token is wrong"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("diffie_hellman_response", None, LACKS),
        ("diffie_hellman_response", 5, LACKS),
        ("diffie_hellman_response", "", NOT_HEX),
        ("diffie_hellman_response", "0x5", NOT_HEX),
        ("diffie_hellman_response", "5\n", NOT_HEX),
        ("diffie_hellman_response", "0", RANGE),
        ("diffie_hellman_response", "1", RANGE),
        ("diffie_hellman_response", "2", PROOF),
        ("diffie_hellman_response", f"{DH_PRIME - 2:x}", PROOF),
        ("diffie_hellman_response", f"{DH_PRIME - 1:x}", RANGE),
        ("diffie_hellman_response", f"{DH_PRIME + 2:x}", RANGE),
        ("live_session_token_signature", None, LACKS),
        ("live_session_token_signature", 5, LACKS),
        ("live_session_token_signature", "", PROOF),
        ("live_session_token_signature", "0" * 40, PROOF),
        ("live_session_token_signature", "\u00e9" * 40, PROOF),
        ("live_session_token_signature", "\ud800" * 40, PROOF),
        ("live_session_token_expiration", None, LACKS),
        ("live_session_token_expiration", "1700000000000", LACKS),
        ("live_session_token_expiration", 1.7e12, LACKS),
        ("live_session_token_expiration", True, LACKS),
        ("live_session_token_expiration", 0, EXPIRY),
        ("live_session_token_expiration", 1_700_000_000, EXPIRY),
        ("live_session_token_expiration", 1_000_000_000_000, EXPIRY),
        ("live_session_token_expiration", 4_000_000_000_000, EXPIRY),
        ("live_session_token_expiration", 10**30, EXPIRY),
    ],
)
def test_an_answer_with_one_wrong_part_is_refused(
    credentials: oauth.Credentials, field: str, value: Any, message: str
) -> None:
    with pytest.raises(oauth.AnswerError) as caught:
        Peer(credentials).accept(**{field: value})
    hints = {LACKS: LATER, EXPIRY: LATER, NOT_HEX: LATER, RANGE: UPLOADED, PROOF: MISFIT}
    assert (str(caught.value), caught.value.hint) == (message, hints[message])
    kinds = {RANGE: oauth.ResponseRangeError, PROOF: oauth.ProofError}
    assert type(caught.value) is kinds.get(message, oauth.AnswerError)
    assert_no_secret(repr(caught.value) + caught.value.hint, [SECRET, Peer(credentials).token])


@pytest.mark.parametrize("expires", [1_000_000_000_001, 3_999_999_999_999])
def test_any_expiry_in_milliseconds_is_accepted(
    credentials: oauth.Credentials, expires: int
) -> None:
    accepted = Peer(credentials).accept(live_session_token_expiration=expires)
    assert accepted.expires.timestamp() == pytest.approx(expires / 1000)


@pytest.mark.parametrize("answer", [None, 5, "text", [], {}])
def test_an_answer_of_another_form_is_refused(credentials: oauth.Credentials, answer: Any) -> None:
    with pytest.raises(oauth.AnswerError, match=LACKS):
        oauth.accept_answer(answer, credentials, 5)


def test_the_proof_is_compared_in_constant_time(
    credentials: oauth.Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[Any, Any]] = []
    monkeypatch.setattr(
        oauth.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or a == b
    )
    peer = Peer(credentials)
    peer.accept()
    proof = peer.answer["live_session_token_signature"].encode()
    assert compared == [(proof, proof)]


@pytest.mark.parametrize(
    ("answer", "message", "hint"),
    [
        (Answer(401, b"no"), "HTTP 401", "the answer's body says why"),
        (Answer(201, b"{}"), "HTTP 201", "the answer's body says why"),
        (Answer(200, b"no"), "the answer is not JSON", "try again later"),
        (Answer(200, b"[" * 200_000), "the answer is not JSON", "try again later"),
    ],
)
def test_an_unusable_answer_comes_with_the_error(answer: Answer, message: str, hint: str) -> None:
    with (
        Sandbox(answers={"POST /oauth/live_session_token": answer}) as sandbox,
        requests.Session() as session,
        pytest.raises(oauth.AnswerError) as caught,
    ):
        oauth.request_live_session_token(session, sandbox.base_url, sandbox_credentials(sandbox))
    assert str(caught.value) == message
    assert caught.value.hint == hint
    assert caught.value.response is not None
    assert caught.value.response.content == answer.body


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_even_by_a_session_that_follows_them(status: int) -> None:
    with Sandbox() as other, requests.Session() as session:
        headers = {"Location": other.base_url + "/portfolio/accounts"}
        answers = {"GET /portfolio/accounts": Answer(status, b"", headers)}
        with Sandbox(answers=answers) as sandbox:
            credentials = sandbox_credentials(sandbox)
            token = oauth.request_live_session_token(session, sandbox.base_url, credentials)
            session.auth = oauth.HmacSha256Auth(credentials, token.token)
            with pytest.raises(oauth.AnswerError, match="redirect") as caught:
                session.get(sandbox.base_url + "/portfolio/accounts", timeout=9)
            assert str(caught.value) == f"HTTP {status}, a redirect, which is never followed"
            assert caught.value.hint == "check base_url; a proxy or log-in page may answer"
            assert caught.value.response is not None
        assert other.requests == []


def test_the_login_waits_no_longer_than_the_timeouts(server: Sandbox) -> None:
    class Session(requests.Session):
        def request(self, *arguments: Any, **options: Any) -> Any:
            self.options = options
            return super().request(*arguments, **options)

    with Session() as session:
        oauth.request_live_session_token(session, server.base_url, sandbox_credentials(server))
        assert session.options["timeout"] == (10, 30) == oauth.TIMEOUT


def test_an_error_has_a_message_and_perhaps_a_hint_and_an_answer() -> None:
    error, answer = oauth.OAuthError("message"), requests.Response()
    assert (str(error), error.hint, error.response) == ("message", "", None)
    error = oauth.OAuthError("message", "hint", answer)
    assert (str(error), error.hint, error.response) == ("message", "hint", answer)


# Secrets stay inside


def test_no_secret_is_in_a_repr(credentials: oauth.Credentials) -> None:
    assert repr(credentials) == "Credentials(realm='limited_poa', consumer_key='ABCDEFGHI')"
    token = oauth.LiveSessionToken(TOKEN, datetime(2026, 1, 2, tzinfo=timezone.utc))
    assert repr(token).startswith("LiveSessionToken(expires=datetime.datetime(2026, 1, 2,")


def test_neither_can_be_changed(credentials: oauth.Credentials) -> None:
    token = oauth.LiveSessionToken(TOKEN, datetime(2026, 1, 2, tzinfo=timezone.utc))
    for thing, name in ((credentials, "realm"), (token, "token")):
        with pytest.raises(AttributeError):
            setattr(thing, name, "other")


def test_nothing_is_logged_unless_asked_for(
    credentials: oauth.Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        prepared(fixed(credentials, token=TOKEN))
    assert caplog.records == []


def test_the_log_shows_the_base_string_without_the_prepend_and_the_access_token(
    credentials: oauth.Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="oauth"):
        prepared(fixed(credentials, challenge="abc"), "POST", "https://h/oauth/x")
        prepared(fixed(credentials, token=TOKEN), url="https://h/y?b=1,2")
    tail = "%26oauth_timestamp%3D1700000000%26oauth_token%3D***"
    middle = "oauth_consumer_key%3DABCDEFGHI%26oauth_nonce%3Dcafe%26oauth_signature_method%3D"
    assert [record.getMessage() for record in caplog.records] == [
        "POST https://h/oauth/x",
        "signature base string: POST&https%3A%2F%2Fh%2Foauth%2Fx&diffie_hellman_challenge%3Dabc%26"
        + middle
        + "RSA-SHA256"
        + tail,
        "GET https://h/y?b=1,2",
        "signature base string: GET&https%3A%2F%2Fh%2Fy&b%3D1%2C2%26"
        + middle
        + "HMAC-SHA256"
        + tail,
    ]
    assert_no_secret(caplog.text, [SECRET, TOKEN, credentials.access_token])


def test_an_access_token_that_needs_encoding_is_masked_too(
    credentials: oauth.Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    odd = oauth.Credentials("r", "C", "a+b/c=", SECRET, credentials.signature_key, DH_PRIME)
    with caplog.at_level(logging.DEBUG, logger="oauth"):
        prepared(fixed(odd, token=TOKEN), url="https://h/y")
    assert caplog.text.rstrip().endswith("oauth_token%3D***")


COPY = "copy the whole secret again"
OTHER_KEY = "use the private key whose public half was uploaded when the secret was generated"


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ("not base64", "the access token secret is not base64", COPY),
        ("\u00e9" * 344, "the access token secret is not base64", COPY),
        ("QUJD", "the access token secret has 3 bytes, the key has 256", COPY),
        ("A" * 342 + "==", "the access token secret does not decrypt with this key", OTHER_KEY),
    ],
)
def test_a_failed_decryption_says_why_and_not_what_it_was_given(
    given: str, message: str, hint: str
) -> None:
    key = RSA.import_key((KEYS / "private_encryption.pem").read_bytes())
    with pytest.raises(oauth.CredentialsError) as caught:
        oauth.decrypt_access_token_secret(given, key)
    assert str(caught.value) == message
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("url", "signed"),
    [
        ("https://h:443/y", "https%3A%2F%2Fh%2Fy"),
        ("http://h:80/y", "http%3A%2F%2Fh%2Fy"),
        ("https://h:80/y", "https%3A%2F%2Fh%3A80%2Fy"),
        ("http://h:443/y", "http%3A%2F%2Fh%3A443%2Fy"),
        ("http://h:8443/y", "http%3A%2F%2Fh%3A8443%2Fy"),
        ("https://h/y%20z", "https%3A%2F%2Fh%2Fy%2520z"),
    ],
)
def test_the_url_is_signed_without_the_schemes_own_port(
    credentials: oauth.Credentials, caplog: pytest.LogCaptureFixture, url: str, signed: str
) -> None:
    with caplog.at_level(logging.DEBUG, logger="oauth"):
        prepared(fixed(credentials, token=TOKEN), url=url)
    assert caplog.records[1].getMessage().startswith(f"signature base string: GET&{signed}&")


# Misuse: never a signature over the wrong thing

KEY = RSA.import_key((KEYS / "private_signature.pem").read_bytes())
GOOD = {
    "realm": "limited_poa",
    "consumer_key": "ABCDEFGHI",
    "access_token": "0a" * 10,
    "access_token_secret": SECRET,
    "signature_key": KEY,
    "dh_prime": DH_PRIME,
    "dh_generator": 2,
}
PAIRS = [("a", "1")]
POSITIVE = "the exponent must be positive"
USER_NAME = "the URL must not contain a user name"
SCHEME = "the URL must begin with https:// or http://"
GENERATOR = "dh_generator must be from 2 to dh_prime - 2"
LENGTH = "a live session token is 20 bytes; decode its base64 form"
FORM = "send the parameters as JSON or in the query, not as a form"
base_string = oauth.signature_base_string


def credentials_with(**changes: Any) -> oauth.Credentials:
    return oauth.Credentials(**{**GOOD, **changes})


MISUSES: list[tuple[Callable[[], Any], str]] = [
    (lambda: credentials_with(realm=None), "realm must be str, not NoneType"),
    (lambda: credentials_with(consumer_key=b"A"), "consumer_key must be str, not bytes"),
    (lambda: credentials_with(access_token=b"0a"), "access_token must be str, not bytes"),
    (lambda: credentials_with(access_token_secret="ff"), "access_token_secret must be bytes, not str"),
    (lambda: credentials_with(signature_key="a.pem"), "signature_key must be RsaKey, not str"),
    (lambda: credentials_with(signature_key=KEY.public_key()), "signature_key must be the private half"),
    (lambda: credentials_with(dh_prime="ff"), "dh_prime must be int, not str"),
    (lambda: credentials_with(dh_generator="2"), "dh_generator must be int, not str"),
    (lambda: credentials_with(dh_generator=True), "dh_generator must be int, not bool"),
    (lambda: credentials_with(dh_generator=1), GENERATOR),
    (lambda: credentials_with(dh_generator=DH_PRIME - 1), GENERATOR),
    (lambda: oauth.decrypt_access_token_secret(b"AAAA", KEY), "encrypted_secret must be str, not bytes"),
    (lambda: oauth.decrypt_access_token_secret("AAAA", "a.pem"), "encryption_key must be RsaKey, not str"),
    (lambda: oauth.decrypt_access_token_secret("AAAA", KEY.public_key()), "encryption_key must be the private half"),
    (lambda: oauth.diffie_hellman_challenge(DH_PRIME, 2, 0), POSITIVE),
    (lambda: oauth.diffie_hellman_challenge(DH_PRIME, 2, -1), POSITIVE),
    (lambda: oauth.diffie_hellman_challenge(DH_PRIME, 2, "5"), "exponent must be int, not str"),
    (lambda: oauth.diffie_hellman_challenge("17", 2, 5), "prime must be int, not str"),
    (lambda: oauth.diffie_hellman_challenge(23, "2", 5), "generator must be int, not str"),
    (lambda: oauth.diffie_hellman_shared_secret(DH_PRIME, 0, "5"), POSITIVE),
    (lambda: oauth.diffie_hellman_shared_secret(DH_PRIME, -1, "5"), POSITIVE),
    (lambda: oauth.diffie_hellman_shared_secret(DH_PRIME, 5, 5), "response must be str, not int"),
    (lambda: oauth.diffie_hellman_shared_secret("17", 5, "5"), "prime must be int, not str"),
    (lambda: base_string("GET", URL, {"a": "1"}), "params must be (name, value) pairs, not dict"),
    (lambda: base_string("GET", URL, "a=1"), "params must be (name, value) pairs, not str"),
    (lambda: base_string("GET", URL, b"a=1"), "params must be (name, value) pairs, not bytes"),
    (lambda: base_string("GET", URL, ["ab"]), "params must be (name, value) pairs"),
    (lambda: base_string("GET", URL, [b"ab"]), "params must be (name, value) pairs"),
    (lambda: base_string("GET", URL, [("a", "b", "c")]), "params must be (name, value) pairs"),
    (lambda: base_string("GET", URL, [("a", None)]), "a parameter's value must be str, not NoneType"),
    (lambda: base_string("GET", URL, [(b"a", "1")]), "a parameter's name must be str, not bytes"),
    (lambda: base_string("GET", "https://u:p@h/x", PAIRS), USER_NAME),
    (lambda: base_string("GET", b"https://h/x", PAIRS), "url must be str, not bytes"),
    (lambda: base_string(None, URL, PAIRS), "method must be str, not NoneType"),
    (lambda: base_string("GET", URL, PAIRS, b"00"), "prepend must be str, not bytes"),
    (lambda: oauth.authorization_header("r", {"a": "1"}), "params must be (name, value) pairs, not dict"),
    (lambda: oauth.authorization_header("r", [("a", 1)]), "a parameter's value must be str, not int"),
    (lambda: oauth.authorization_header(None, PAIRS), "realm must be str, not NoneType"),
    (lambda: oauth.rsa_sha256_signature(b"GET&a&b", KEY), "base_string must be str, not bytes"),
    (lambda: oauth.rsa_sha256_signature("GET&a&b", "a.pem"), "signature_key must be RsaKey, not str"),
    (lambda: oauth.hmac_sha256_signature(b"GET&a&b", TOKEN), "base_string must be str, not bytes"),
    (lambda: oauth.hmac_sha256_signature("GET&a&b", "AAAA"), "live_session_token must be bytes, not str"),
    (lambda: oauth.hmac_sha256_signature("GET&a&b", TOKEN[1:]), LENGTH),
    (lambda: oauth.derive_live_session_token("00", SECRET), "shared_secret must be bytes, not str"),
    (lambda: oauth.derive_live_session_token(b"0", "AAAA"), "access_token_secret must be bytes, not str"),
    (lambda: oauth.live_session_token_proof(TOKEN + b"0", "A"), LENGTH),
    (lambda: oauth.live_session_token_proof(TOKEN, b"A"), "consumer_key must be str, not bytes"),
    (lambda: oauth.HmacSha256Auth({}, TOKEN), "credentials must be Credentials, not dict"),
    (lambda: oauth.HmacSha256Auth(credentials_with(), "AAAA"), "live_session_token must be bytes, not str"),
    (lambda: oauth.RsaSha256Auth(credentials_with(), 5), "challenge must be str, not int"),
]  # fmt: skip


@pytest.mark.parametrize(("use", "message"), MISUSES, ids=[message for _, message in MISUSES])
def test_a_wrong_use_is_told_to_the_programmer_without_the_value(
    use: Callable[[], Any], message: str
) -> None:
    kind = TypeError if ", not " in message or "pairs" in message else ValueError
    with pytest.raises(kind) as caught:
        use()
    assert str(caught.value) == message


@pytest.mark.parametrize("generator", [2, 3, DH_PRIME - 2])
def test_any_generator_that_is_none_of_the_two_trivial_ones_is_taken(generator: int) -> None:
    assert credentials_with(dh_generator=generator).dh_generator == generator


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        (URL + "?q=%FF", {}, "'utf-8' codec can't decode byte 0xff .*"),
        (URL + "?%FF=q", {}, "'utf-8' codec can't decode byte 0xff .*"),
        ("https://u:p@h/x", {}, USER_NAME),
        ("localhost:80/x", {}, SCHEME),
        (URL, {"data": {"a": "1"}}, FORM),
        (URL, {"files": {"a": "1"}}, FORM),
    ],
)
def test_a_request_that_cannot_be_signed_rightly_is_neither_sent_nor_logged(
    credentials: oauth.Credentials,
    caplog: pytest.LogCaptureFixture,
    url: str,
    options: dict[str, Any],
    message: str,
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(ValueError, match=f"^{message}$"):
        prepared(fixed(credentials, token=TOKEN), "POST", url, **options)
    assert caplog.text == ""


def test_what_is_neither_way_to_sign_signs_nothing(credentials: oauth.Credentials) -> None:
    with pytest.raises(NotImplementedError):
        prepared(oauth.SignedRequest(credentials))


def test_an_iterator_of_params_is_as_good_as_a_list() -> None:
    assert oauth.signature_base_string("GET", URL, iter(PAIRS)).endswith("&a%3D1")
    assert oauth.authorization_header("r", iter(PAIRS)) == 'OAuth realm="r", a="1"'


# Answers are bounded


def test_an_interim_answer_is_refused() -> None:
    with Sandbox(answers={"GET /portfolio/accounts": Answer(103)}) as sandbox:
        credentials = sandbox_credentials(sandbox)
        with requests.Session() as session:
            token = oauth.request_live_session_token(session, sandbox.base_url, credentials)
            session.auth = oauth.HmacSha256Auth(credentials, token.token)
            with pytest.raises(oauth.AnswerError, match=r"^HTTP 103, an interim answer") as caught:
                session.get(sandbox.base_url + "/portfolio/accounts", timeout=9)
    assert caught.value.hint == "try again later; a proxy may be in between"
    assert caught.value.response is not None


@pytest.mark.parametrize("extra", [0, 1])
def test_a_token_answer_may_be_as_long_as_the_limit(
    monkeypatch: pytest.MonkeyPatch, extra: int
) -> None:
    monkeypatch.setattr(oauth, "MAX_ANSWER", 1000)
    body = b"x" * (1000 + extra)
    message = "an answer of more than 1,000 bytes" if extra else "the answer is not JSON"
    with (
        Sandbox(answers={"POST /oauth/live_session_token": Answer(200, body)}) as sandbox,
        requests.Session() as session,
        pytest.raises(oauth.AnswerError) as caught,
    ):
        oauth.request_live_session_token(session, sandbox.base_url, sandbox_credentials(sandbox))
    assert (str(caught.value), caught.value.hint) == (message, "try again later")
    assert caught.value.response is not None


class Raw:
    """A body without end, in place of urllib3's; it notes what is done with it."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def read1(self, size: int, decode_content: bool) -> bytes:
        self.done.append((size, decode_content))
        return b"{}"

    def read(self, *_: object, **__: object) -> bytes:
        raise AssertionError("would wait for so many bytes")

    def close(self) -> None:
        self.done.append("close")

    def release_conn(self) -> None:
        self.done.append("release")


@pytest.mark.parametrize("seconds", [-1, 30])
def test_an_answer_without_end_is_closed_and_never_read_again(
    monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    monkeypatch.setattr(oauth, "MAX_ANSWER", 1000)
    response, raw = requests.Response(), Raw()
    response.raw = raw
    with pytest.raises(oauth.AnswerError) as caught:
        oauth.read_answer(response, seconds=seconds)
    message = "the answer took too long" if seconds < 0 else "an answer of more than 1,000 bytes"
    assert (str(caught.value), caught.value.hint) == (message, "try again later")
    assert caught.value.response is response
    assert (response.content, response.text) == (b"", "")
    response.close()
    reads = 1 if seconds < 0 else 501
    assert raw.done == [(requests.models.CONTENT_CHUNK_SIZE, True)] * reads + ["close", "release"]


def raw_body(read: Callable[..., bytes]) -> SimpleNamespace:
    """Return what stands in for the raw body of a urllib3 that has no `read1`."""
    return SimpleNamespace(read=read, close=lambda: None, release_conn=lambda: None)


def test_an_answer_that_takes_just_the_time_is_read_whole_without_read1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    response = requests.Response()
    body = io.BytesIO(b"one, two")
    response.raw = raw_body(lambda *_, **__: body.read(3))
    monkeypatch.setattr(time, "monotonic", lambda: 1.0)
    assert oauth.read_answer(response, seconds=0) == b"one, two"


def test_a_chunk_of_an_impossible_size_is_said_to_be_one() -> None:
    def read(*_: object, **__: object) -> bytes:
        raise OverflowError("from socket.recv")

    response = requests.Response()
    response.raw = raw_body(read)
    with pytest.raises(oauth.AnswerError) as caught:
        oauth.read_answer(response)
    said = (str(caught.value), caught.value.hint, caught.value.response)
    assert said == ("a chunk of an impossible size", "try again later", response)


@pytest.mark.parametrize("digits", [4301, 3_000_000])
def test_a_number_of_very_many_digits_is_soon_refused_by_any_python(digits: int) -> None:
    response = requests.Response()
    response._content = b"9" * 4300
    assert oauth.read_json(response) == int("9" * 4300)
    response._content = b"9" * digits
    with pytest.raises(oauth.AnswerError):
        oauth.read_json(response)


def test_the_token_request_keeps_the_time_outs_that_are_given(
    credentials: oauth.Credentials,
) -> None:
    class Session(requests.Session):
        def post(self, url: Any, **options: Any) -> Any:
            response = requests.Response()
            response.raw = raw
            self.asked = [url, *map(options.get, ("timeout", "headers", "stream"))]
            return response

    raw = Raw()
    session = Session()
    with pytest.raises(oauth.AnswerError, match=r"^the answer took too long$"):
        oauth.request_live_session_token(
            session, "https://h/X/", credentials, timeout=7, headers={"a": "b"}, seconds=-1
        )
    assert session.asked == ["https://h/X/oauth/live_session_token", 7, {"a": "b"}, True]


@pytest.mark.parametrize(("module", "examples"), [(oauth, 8), (demo, 1)])
def test_the_examples_of_the_docstrings_are_right(module: ModuleType, examples: int) -> None:
    assert doctest.testmod(module) == (0, examples)
