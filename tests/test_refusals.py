"""Each rule of signing broken alone, then two at a time: the sandbox refuses, and says why."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.client import (
    CHALLENGE,
    FORM,
    INIT,
    JSON,
    RIGHT,
    TOKEN,
    Client,
    add,
    b64,
    enc,
    hmac_sha1,
    omit,
    opened,
    resign,
    swap,
)

TOKEN_CALL = {"method": "POST", "path": TOKEN}
STOCKS = {"path": "/trsrv/stocks", "query": "symbols=AAPL,IBM"}
COMMA = {"path": "/trsrv/stocks", "query": "symbols=AAPL%2CIBM"}
BY_POST = {"method": "POST", "path": INIT}
JSON_INIT = {**BY_POST, "body": b'{"compete":true}', "headers": JSON}
FORM_INIT = {**BY_POST, "body": b"compete=true", "headers": FORM}
ANOTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
Row = dict[str, Any]


def twice(text: str) -> str:
    return enc(enc(text))


def half_bytes(text: str) -> bytes:
    """Hex as Node's Buffer reads it: an odd last digit is dropped."""
    return bytes.fromhex(text[: len(text) // 2 * 2])


# The tables: a word of the reason, and what is spoilt

EITHER: dict[str, Row] = {
    "HTTP method in small letters": {"sign_method": str.lower},
    "in the URL (https://127": {"url": swap("http:", "https:")},
    "in the URL (http://localhost": {"url": swap("127.0.0.1", "localhost")},
    "in the URL (https://api.ibkr.com)": {"url": swap("http://[^/]+", "https://api.ibkr.com")},
    "without the base path": {"url": swap("/v1/api", "")},
    "two slashes": {"url": swap("/v1/api/", "/v1/api//")},
    "slash at the end": {"url": swap("$", "/")},
    "realm signed": {"pairs": add("realm", "limited_poa")},
    "oauth_version signed but not sent": {"pairs": add("oauth_version", "1.0")},
    "oauth_nonce sent but not signed": {"pairs": omit("oauth_nonce")},
    "parameters unsorted": {"order": list},
    "URL and parameters encoded twice": {"encode": lambda m, u, t: f"{m}&{twice(u)}&{twice(t)}"},
    "/ not encoded": {"encode": lambda m, u, t: f"{m}&{quote(u)}&{quote(t)}"},
    "nothing encoded": {"encode": lambda method, url, text: f"{method}&{url}&{text}"},
    "SHA1 instead of SHA-256": {"digest": "sha1"},
    "in hex": {"form": bytes.hex},
    "without the = at its end": {"form": lambda raw: enc(b64(raw).rstrip("="))},
    "oauth_signature not percent-encoded": {"form": b64},
    "percent-encoded twice": {"form": lambda raw: twice(b64(raw))},
    "in milliseconds": {"clock": lambda now: now * 1000},
    "s behind the server's clock": {"clock": lambda now: now - 400},
    "realm: not the one in the config": {"realm": "test_realm"},
    "consumer: not the one in the config": {"params": {"oauth_consumer_key": "OTHERCONS"}},
    "config: other capitals": {"params": {"oauth_consumer_key": "simulated"}},
    "token: not the one in the config": {"params": {"oauth_token": "0" * 20}},
    "missing oauth_nonce": {"header": swap("oauth_nonce", "oauth_once")},
}
TOKEN_REQUEST: dict[str, Row] = {
    "prepend missing": {"prepend": lambda _: ""},
    "prepend in capitals": {"prepend": lambda client: client.secret.hex().upper()},
    "prepend in base64": {"prepend": lambda client: b64(client.secret)},
    "encrypted secret instead": {"prepend": lambda client: client.encrypted.hex()},
    "prepend followed by &": {"prepend": lambda client: client.secret.hex() + "&"},
    "prepend of the secret's bytes": {"prepend": lambda client: client.secret.decode("latin-1")},
    "signed in capitals": {"pairs": resign(CHALLENGE, str.upper)},
    "another path": {"url": swap("live_session_token", "request_token")},
    "encryption key instead": {"rsa_key": lambda client: client.encryption_key},
    "another key, neither": {"rsa_key": lambda _: ANOTHER},
    "missing diffie_hellman_challenge": {"header": swap(CHALLENGE, "a_challenge")},
    "must be RSA-SHA256": {"params": {"oauth_signature_method": "HMAC-SHA256"}},
}
CALL: dict[str, Row] = {
    "in a call that has none": {"prepend": lambda client: client.secret.hex()},
    "values encoded twice": {**STOCKS, "pairs": resign("symbols", enc)},
    "symbols sent but not signed": {"query": "symbols=A&b=1", "pairs": omit("symbols")},
    "in the URL and in the list": {**STOCKS, "url": swap("$", "?symbols=AAPL,IBM")},
    "page signed but not sent": {"pairs": add("page", "None")},
    "as Python's True": {"query": "a=true", "pairs": resign("a", str.capitalize)},
    "with + for a space": {"query": "a=BRK%20B", "pairs": resign("a", quote_plus)},
    "signed as None": {"query": "a=1&b=2", "pairs": resign("a", lambda _: "None")},
    "fields of a JSON body": {**JSON_INIT, "pairs": add("compete", "true")},
    "as Python writes them": {**JSON_INIT, "pairs": add("compete", "True")},
    "another path in the URL": {"url": swap("tickle", "portfolio/accounts")},
    "token as base64 text": {"key": lambda token: b64(token).encode()},
    "token as hex text": {"key": lambda token: token.hex().encode()},
    "key and message of the HMAC swapped": {"hmac": lambda key, m, d: hmac.new(m, key, d)},
    "& after the token": {"key": lambda token: token + b"&"},
    "& before the token": {"key": lambda token: b"&" + token},
    ", not encoded": {**STOCKS, "encode": lambda m, u, t: f"{m}&{enc(u)}&{quote(t, safe=',')}"},
}
DERIVATION: dict[str, Row] = {  # `fault`: the sandbox draws a K of that form
    "K as hex text": {"k": lambda k: f"{k:x}".encode()},
    "sign byte of K": {"fault": "k-top-bit", "k": lambda k: k.to_bytes(256, "big").lstrip(b"\0")},
    "last digit of K's hex": {"fault": "k-odd-digits", "k": lambda k: half_bytes(f"{k:x}")},
    "secret as hex": {"secret": lambda client: client.secret.hex().encode()},
    "secret not decrypted": {"secret": lambda client: client.encrypted},
    "key and message": {"derive": lambda k, secret: hmac_sha1(secret, k)},
    "proof used": {"derive": lambda k, secret: hmac_sha1(hmac_sha1(k, secret), b"SIMULATED")},
    "K as text in UTF-8": {"k": lambda k: RIGHT["k"](k).decode("latin-1").encode()},
    "SHA-256 instead of": {"derive": lambda k, secret: hmac.new(k, secret, "sha256").digest()},
}
TWO = [
    ("HTTP method in small letters", "parameters unsorted"),
    ("in the URL (http://localhost", "SHA1 instead of SHA-256"),
    ("without the base path", "in hex"),
    ("in the URL (https://api.ibkr.com)", "prepend missing"),
    ("encryption key instead", "prepend in capitals"),
    ("token as base64 text", "fields of a JSON body"),
    ("K as hex text", "secret as hex"),
]
NOT_SIGNED = {**COMMA, "pairs": omit("symbols")}
ODDITIES: list[tuple[str, Row]] = [  # a remark, and what is accepted with it
    ("", COMMA),
    ("signed as on the wire", {**COMMA, "pairs": resign("symbols", enc)}),
    ("the query not signed", NOT_SIGNED),
    ("recorded, in no document", {**NOT_SIGNED, "url": swap("$", "?symbols=AAPL%2CIBM")}),
    ("", {**FORM_INIT, "pairs": add("compete", "true")}),
    ("documented as POST", {**BY_POST, "method": "GET"}),
    ("a slash at the end of the path", {"path": "/portfolio/accounts/"}),
    ("realm stands without quotes", {"header": swap('"limited_poa"', "limited_poa")}),
    ("oauth_version in the header", {"params": {"oauth_version": "1.0"}}),
    ("", {"params": {"oauth_consumer_key": "TESTCONS"}, "realm": "test_realm"}),
    ("challenge in capitals", {**TOKEN_CALL, "params": {CHALLENGE: "ABC"}}),
    ("challenge with zeros in front", {**TOKEN_CALL, "params": {CHALLENGE: "00abc"}}),
]


@pytest.fixture
def fresh() -> Iterator[Client]:
    with opened() as client:
        yield client


@pytest.fixture
def logged_in(fresh: Client) -> Client:
    fresh.log_in()
    assert fresh.send("GET", "/portfolio/accounts")
    return fresh


def check_refused(client: Client, word: str) -> None:
    assert client.status == 401
    assert word in client.reason
    assert "no known mistake" not in client.reason
    assert "; and " not in client.reason


@pytest.mark.parametrize("word", [*EITHER, *TOKEN_REQUEST])
def test_a_mistake_in_the_token_request_is_named(fresh: Client, word: str) -> None:
    fresh.log_in(**{**EITHER, **TOKEN_REQUEST}[word])
    check_refused(fresh, word)


@pytest.mark.parametrize("word", [*EITHER, *CALL])
def test_a_mistake_in_a_call_is_named(logged_in: Client, word: str) -> None:
    logged_in.send(**{**EITHER, **CALL}[word])
    check_refused(logged_in, word)


@pytest.mark.parametrize("word", DERIVATION)
def test_a_token_derived_wrongly_is_named(word: str) -> None:
    with opened(DERIVATION[word].get("fault", "")) as client:
        client.log_in(**DERIVATION[word])
        proof = hmac_sha1(client.token, b"SIMULATED").hex()
        if word != "proof used":  # which is no fault of the derivation
            assert re.search(f"{proof[:8]} .*{word}", client.log[-1])
        client.send()
        check_refused(client, word)


def test_a_response_whose_last_digit_was_dropped_is_suspected(fresh: Client) -> None:
    fresh.response = ""
    while len(fresh.response) % 2 == 0:
        fresh.log_in(response=lambda text: int(half_bytes(text).hex(), 16))
    fresh.send()
    check_refused(fresh, "last digit of diffie_hellman_response dropped?")


def test_what_was_sent_or_signed_before_is_named(logged_in: Client) -> None:
    earlier = logged_in.base
    logged_in.send(encode=lambda *_: earlier)
    check_refused(logged_in, "text of an earlier request")
    assert logged_in.send(params={"oauth_nonce": "once"})
    logged_in.send(params={"oauth_nonce": "once"})
    check_refused(logged_in, "nonce: seen before")
    assert logged_in.send("POST", "/logout")["status"]
    logged_in.send("GET", "/portfolio/accounts")
    check_refused(logged_in, "token that has ended")
    assert logged_in.send()
    assert "again after its logout" in logged_in.remarks


@pytest.mark.parametrize(("one", "other"), TWO)
def test_two_mistakes_are_both_named(fresh: Client, one: str, other: str) -> None:
    rows = {**EITHER, **TOKEN_REQUEST, **CALL, **DERIVATION}
    spoilt = {**rows[one], **rows[other]}
    if other not in TOKEN_REQUEST:
        fresh.log_in(**{name: spoilt[name] for name in spoilt if name in ("k", "secret")})
        fresh.send(**spoilt)
    else:
        fresh.log_in(**spoilt)
    assert one in fresh.reason
    assert other in fresh.reason


def test_without_a_known_mistake_it_says_what_is_excluded(fresh: Client) -> None:
    unknown = {"pairs": add("nobody", "knows")}
    fresh.log_in(**unknown)
    assert "proved: the key is right, the text is wrong" in fresh.reason
    assert hashlib.sha256(fresh.base.encode()).hexdigest() in fresh.log[-1]
    fresh.log_in()
    fresh.send(**unknown)
    assert "never signed rightly" in fresh.reason
    assert f"token       {fresh.token.hex()}" in fresh.log[-2]
    fresh.send()
    fresh.send(**unknown)
    assert "this token has signed rightly before" in fresh.reason
    assert "only if they are equal, it is the key" in fresh.log[-1]
    fresh.log_in(params={CHALLENGE: "7" * 617})
    fresh.send()
    assert "sent in decimal" in fresh.reason


def test_the_text_is_shown_in_parts_and_in_one_line(fresh: Client) -> None:
    fresh.log_in(sign_method=str.lower)
    shown = [" ".join(line.split()) for line in fresh.log[-1].splitlines()]
    assert f"this was signed: {fresh.base}" in shown
    assert f"in one line: {fresh.base.replace('post&', 'POST&', 1)}" in shown
    assert f"prepend {fresh.secret.hex()}" in shown
    assert f"parameter oauth_token={fresh.config['access_token']}" in shown
    assert fresh.headers["X-Sandbox-Refused"] == fresh.reason


@pytest.mark.parametrize(
    ("word", "proved"),
    [
        ("two slashes", "the key is right, the text is wrong"),
        ("token as hex text", "the text is right, the key is wrong"),
        ("SHA1 instead of SHA-256", "both the text and the key are right"),
    ],
)
def test_it_says_what_is_proved_and_a_second_time_where(
    logged_in: Client, word: str, proved: str
) -> None:
    logged_in.send(**{**EITHER, **CALL}[word])
    assert f"\n    proved: {proved}" in logged_in.log[-1]
    logged_in.send("GET", "/portfolio/accounts", **{**EITHER, **CALL}[word])
    assert logged_in.log[-1].split("\n")[1:] == ["    as explained above, at GET /tickle"]
    logged_in.log_in()
    logged_in.send(**{**EITHER, **CALL}[word])
    assert f"\n    proved: {proved}" in logged_in.log[-1]


def test_an_explanation_takes_about_half_a_second(logged_in: Client) -> None:
    query = "&".join(f"name{number}=some%20value" for number in range(40))
    started = time.process_time()
    logged_in.send(query=query, pairs=add("nobody", "knows"))
    assert "no known mistake found in half a second" in logged_in.log[-1]
    assert time.process_time() - started < 2


@pytest.mark.parametrize(("remark", "sent"), ODDITIES)
def test_what_working_clients_send_is_accepted(logged_in: Client, remark: str, sent: Row) -> None:
    logged_in.send(**sent)
    assert logged_in.status == 200
    assert remark in logged_in.remarks
    assert bool(remark) == bool(logged_in.remarks)
