"""Each rule of signing broken alone, then two at a time: the sandbox refuses, and says why.

The client is made of the standard library and `cryptography`: no line of the code under test, or
of oauth.py, stands on both sides.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import hashlib
import hmac
import http.client
import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.sandbox import Sandbox

TOKEN = "/oauth/live_session_token"
STOCKS = {"path": "/trsrv/stocks", "query": "symbols=AAPL,IBM"}
COMMA = {"path": "/trsrv/stocks", "query": "symbols=AAPL%2CIBM"}
INIT = {"method": "POST", "path": "/iserver/auth/ssodh/init"}
JSON = {**INIT, "body": b'{"compete":true}', "headers": {"Content-Type": "application/json"}}
FORM_TYPE = {"Content-Type": "application/x-www-form-urlencoded"}
FORM = {**INIT, "body": b"compete=true", "headers": FORM_TYPE}
ANOTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), 32)


def enc(text: str) -> str:
    return quote(text, safe="")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def joined(pairs: list[tuple[str, str]]) -> str:
    return "&".join(f"{name}={value}" for name, value in pairs)


def hmac_sha1(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha1).digest()


def to_byte_array(k: int) -> bytes:
    return k.to_bytes(k.bit_length() // 8 + 1, "big")


def half_bytes(text: str) -> bytes:
    """Hex as Node's Buffer reads it: an odd last digit is dropped."""
    return bytes.fromhex(text[: len(text) // 2 * 2])


# How each step is done rightly; a row of a table replaces some of them
RIGHT: dict[str, Any] = {
    "sign_method": lambda method: method,
    "url": lambda url: url,
    "pairs": sorted,
    "encode": lambda method, url, text: f"{method}&{enc(url)}&{enc(text)}",
    "prepend": lambda client: client.secret.hex() if client.for_token else "",
    "whole": lambda text: text,
    "digest": "sha256",
    "rsa_key": lambda client: client.signature_key,
    "padding": padding.PKCS1v15(),
    "key": lambda token: token,
    "form": lambda raw: enc(b64(raw)),
    "header": lambda header: header,
    "response": lambda text: int(text, 16),
    "k": to_byte_array,
    "secret": lambda client: client.secret,
    "derive": hmac_sha1,
}


@functools.lru_cache
def read_key(path: Path) -> Any:
    return load_pem_private_key(path.read_bytes(), None)


class Client:
    """Logs in and signs calls; every argument spoils a step."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.config = json.loads(sandbox.config_path.read_text("ascii"))
        self.connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=10)
        folder = sandbox.config_path.parent
        self.signature_key = read_key(folder / self.config["signature_key_fp"])
        self.encryption_key = read_key(folder / self.config["encryption_key_fp"])
        self.encrypted = base64.b64decode(self.config["access_token_secret"])
        self.secret = self.encryption_key.decrypt(self.encrypted, padding.PKCS1v15())

    def log_in(self, params: Any = None, **spoilt: Any) -> int:
        how = {**RIGHT, **spoilt}
        prime, a = int(self.config["dh_prime"], 16), secrets.randbits(256)
        params = {"diffie_hellman_challenge": f"{pow(2, a, prime):x}", **(params or {})}
        status = self.send("POST", TOKEN, params=params, **spoilt)
        if status == 200:
            self.response = json.loads(self.answer)["diffie_hellman_response"]
            k = how["k"](pow(how["response"](self.response), a, prime))
            self.token = how["derive"](k, how["secret"](self))
        return status

    def send(
        self, method: str = "GET", path: str = "/tickle", query: str = "", **spoilt: Any
    ) -> int:
        how = {**RIGHT, **spoilt}
        self.for_token = path == TOKEN
        params = {
            "oauth_timestamp": str(int(time.time())),
            "oauth_nonce": secrets.token_hex(8),
            "oauth_token": self.config["access_token"],
            "oauth_consumer_key": self.config["consumer_key"],
            "oauth_signature_method": "RSA-SHA256" if self.for_token else "HMAC-SHA256",
            **spoilt.get("params", {}),
        }
        sent = [item.partition("=") for item in query.split("&") if item]
        pairs = how["pairs"]([*params.items(), *((n, unquote(v)) for n, _, v in sent)])
        url = how["url"](self.config["base_url"] + path)
        text = how["encode"](how["sign_method"](method), url, joined(pairs))
        self.base = how["whole"](how["prepend"](self) + text)
        values = {"realm": spoilt.get("realm", self.config["realm"]), **params}
        items = [f'{name}="{enc(value)}"' for name, value in values.items()]
        items.append(f'oauth_signature="{how["form"](self.sign(self.base.encode(), how))}"')
        headers = {"Authorization": how["header"]("OAuth " + ", ".join(items)), "User-Agent": "own"}
        body = spoilt.get("body", b"" if method == "POST" else None)
        target = f"/v1/api{path}?{query}".rstrip("?")
        headers.update(spoilt.get("headers", {}))
        self.connection.request(method, target, body, headers)
        answer = self.connection.getresponse()
        self.answer = answer.read()
        return answer.status

    def sign(self, message: bytes, how: dict[str, Any]) -> bytes:
        if not self.for_token:
            return hmac.new(how["key"](self.token), message, how["digest"]).digest()
        digest = hashes.SHA1() if how["digest"] == "sha1" else hashes.SHA256()
        signature: bytes = how["rsa_key"](self).sign(message, how["padding"], digest)
        return signature


class Setup:
    def __init__(self, sandbox: Sandbox, log: list[str]) -> None:
        self.sandbox, self.log = sandbox, log

    @functools.cached_property
    def client(self) -> Client:
        return Client(self.sandbox)

    def refused(self, word: str, *, log_in: bool = False, **spoilt: Any) -> None:
        status = self.client.log_in(**spoilt) if log_in else self.client.send(**spoilt)
        assert status == 401
        assert word in self.reason
        assert "no known mistake" not in self.reason
        assert "; and " not in self.reason

    @property
    def reason(self) -> str:
        """Why the last request was refused, in short."""
        return self.sandbox.requests[-1].refused.partition("\n")[0]


@contextlib.contextmanager
def opened(**options: Any) -> Iterator[Setup]:
    log: list[str] = []
    with Sandbox(log=log.append, **options) as sandbox:
        setup = Setup(sandbox, log)
        yield setup
        setup.client.connection.close()


@pytest.fixture
def fresh() -> Iterator[Setup]:
    with opened() as setup:
        yield setup


@pytest.fixture
def logged_in(fresh: Setup) -> Setup:
    assert fresh.client.log_in() == 200
    assert fresh.client.send("GET", "/portfolio/accounts") == 200
    return fresh


# The tables: a word of the reason, and what is spoilt


def replace(old: str, new: str) -> Any:
    return lambda text: text.replace(old, new)


def add(name: str, value: str) -> Any:
    return lambda pairs: sorted([*pairs, (name, value)])


def omit(name: str) -> Any:
    return lambda pairs: sorted(pair for pair in pairs if pair[0] != name)


def resign(name: str, change: Any) -> Any:
    """Sign another value than is sent."""
    return lambda pairs: sorted((n, change(v) if n == name else v) for n, v in pairs)


def origin(other: str) -> Any:
    return lambda url: other + "/v1" + url.partition("/v1")[2]


def in_url(url: str) -> str:
    return f"{url}?{COMMA['query']}"


def stamp(seconds: float) -> dict[str, Any]:
    return {"params": {"oauth_timestamp": f"{seconds:.0f}"}}


def twice(method: str, url: str, text: str) -> str:
    return f"{method}&{enc(enc(url))}&{enc(enc(text))}"


def slashes_left(method: str, url: str, text: str) -> str:
    return f"{method}&{quote(url)}&{quote(text)}"


EITHER: dict[str, dict[str, Any]] = {
    "HTTP method in small letters": {"sign_method": str.lower},
    "in the URL (https://127": {"url": replace("http:", "https:")},
    "in the URL (http://localhost": {"url": replace("127.0.0.1", "localhost")},
    "in the URL (http://127.0.0.1)": {"url": origin("http://127.0.0.1")},
    "in the URL (https://api.ibkr.com)": {"url": origin("https://api.ibkr.com")},
    "without the base path": {"url": replace("/v1/api", "")},
    "two slashes": {"url": replace("/v1/api/", "/v1/api//")},
    "slash at the end": {"url": lambda url: url + "/"},
    "realm signed": {"pairs": add("realm", "limited_poa")},
    "oauth_version signed but not sent": {"pairs": add("oauth_version", "1.0")},
    "oauth_nonce sent but not signed": {"pairs": omit("oauth_nonce")},
    "oauth_token sent but not signed": {"pairs": omit("oauth_token")},
    "parameters unsorted": {"pairs": list},
    "URL and parameters encoded twice": {"encode": twice},
    "slashes not encoded": {"encode": slashes_left},
    "nothing encoded": {"encode": lambda method, url, text: f"{method}&{url}&{text}"},
    "SHA1 instead of SHA-256": {"digest": "sha1"},
    "in hex": {"form": bytes.hex},
    "without the = at its end": {"form": lambda raw: enc(b64(raw).rstrip("="))},
    "signature not percent-encoded": {"form": b64},
    "percent-encoded twice": {"form": lambda raw: enc(enc(b64(raw)))},
    "in milliseconds": stamp(time.time() * 1000),
    "s behind the server's clock": stamp(time.time() - 400),
    "s ahead of the server's clock": stamp(time.time() + 4000),
    "realm: not the one in the config": {"realm": "test_realm"},
    "consumer: not the one in the config": {"params": {"oauth_consumer_key": "OTHERCONS"}},
    "config: other capitals": {"params": {"oauth_consumer_key": "simulated"}},
    "token: not the one in the config": {"params": {"oauth_token": "0" * 20}},
    "missing oauth_nonce": {"header": replace("oauth_nonce", "oauth_once")},
}
TOKEN_REQUEST: dict[str, dict[str, Any]] = {
    "prepend missing": {"prepend": lambda _: ""},
    "prepend in capitals": {"prepend": lambda client: client.secret.hex().upper()},
    "prepend in base64": {"prepend": lambda client: b64(client.secret)},
    "encrypted secret instead": {"prepend": lambda client: client.encrypted.hex()},
    "prepend followed by &": {"prepend": lambda client: client.secret.hex() + "&"},
    "challenge sent but not signed": {"pairs": omit("diffie_hellman_challenge")},
    "signed in capitals": {"pairs": resign("diffie_hellman_challenge", str.upper)},
    "another path": {"url": replace("live_session_token", "request_token")},
    "encryption key instead": {"rsa_key": lambda client: client.encryption_key},
    "another key, neither": {"rsa_key": lambda _: ANOTHER},
    "made with another key": {"padding": PSS},
    "missing diffie_hellman_challenge": {"header": replace("diffie_hellman_ch", "other_ch")},
    "must be RSA-SHA256": {"params": {"oauth_signature_method": "HMAC-SHA256"}},
}
CALL: dict[str, dict[str, Any]] = {
    "in a call that has none": {"prepend": lambda client: client.secret.hex()},
    "values encoded twice": {**STOCKS, "pairs": resign("symbols", enc)},
    "symbols sent but not signed": {"query": "symbols=A&b=1", "pairs": omit("symbols")},
    "in the URL and in the list": {**STOCKS, "url": lambda url: url + "?symbols=AAPL,IBM"},
    "page signed but not sent": {"pairs": add("page", "None")},
    "as Python's True": {"query": "a=true", "pairs": resign("a", str.capitalize)},
    "with + for a space": {"query": "a=BRK%20B", "pairs": resign("a", quote_plus)},
    "signed as None": {"query": "a=1", "pairs": resign("a", lambda _: "None")},
    "fields of a JSON body": {**JSON, "pairs": add("compete", "true")},
    "as Python writes them": {**JSON, "pairs": add("compete", "True")},
    "another path in the URL": {"url": replace("tickle", "portfolio/accounts")},
    "token as base64 text": {"key": lambda token: b64(token).encode()},
    "token as hex text": {"key": lambda token: token.hex().encode()},
    "& after the key": {"key": lambda token: token + b"&"},
    "must be HMAC-SHA256": {"params": {"oauth_signature_method": "RSA-SHA256"}},
}
DERIVATION: dict[str, dict[str, Any]] = {
    "K as hex text": {"k": lambda k: f"{k:x}".encode()},
    "secret as hex": {"secret": lambda client: client.secret.hex().encode()},
    "secret as base64": {"secret": lambda client: b64(client.secret).encode()},
    "secret not decrypted": {"secret": lambda client: client.encrypted},
    "key and message": {"derive": lambda k, secret: hmac_sha1(secret, k)},
    "proof used": {"derive": lambda k, secret: hmac_sha1(hmac_sha1(k, secret), b"SIMULATED")},
    "SHA-256 instead of": {"derive": lambda k, secret: hmac.new(k, secret, "sha256").digest()},
}
OF_SOME_K: dict[tuple[str, str], Any] = {
    ("k-top-bit", "sign byte of K missing"): lambda k: to_byte_array(k).lstrip(b"\0"),
    ("k-odd-digits", "last digit of K dropped"): lambda k: half_bytes(f"{k:x}"),
}
TWO = [
    ("HTTP method in small letters", "parameters unsorted"),
    ("in the URL (http://localhost", "SHA1 instead of SHA-256"),
    ("in the URL (https://127", "realm signed"),
    ("without the base path", "in hex"),
    ("slash at the end", "oauth_version signed but not sent"),
    ("in the URL (https://api.ibkr.com)", "prepend missing"),
    ("in the URL (http://127.0.0.1)", "prepend in capitals"),
    ("slashes not encoded", "prepend followed by &"),
    ("encryption key instead", "prepend missing"),
    ("in the URL (https://api.ibkr.com)", "values encoded twice"),
    ("token as base64 text", "HTTP method in small letters"),
    ("& after the key", "fields of a JSON body"),
    ("K as hex text", "secret as hex"),
    ("secret not decrypted", "two slashes"),
]
WIRE = "as on the wire, or its values encoded twice"
NOT_IN_LIST = {**COMMA, "pairs": omit("symbols")}
ODDITIES: dict[str, tuple[dict[str, Any], str]] = {
    "a comma sent encoded": (COMMA, ""),
    "signed as on the wire": ({**COMMA, "pairs": resign("symbols", enc)}, WIRE),
    "query not signed": (NOT_IN_LIST, "the query not signed"),
    "query in the URL": ({**NOT_IN_LIST, "url": in_url}, "recorded, in no document"),
    "form body": ({**FORM, "pairs": add("compete", "true")}, ""),
    "True": ({**INIT, "query": "compete=True"}, ""),
    "init by GET": ({**INIT, "method": "GET"}, "documented as POST"),
    "slash at the end": ({"path": "/portfolio/accounts/"}, "a slash at the end of the path"),
    "realm bare": ({"header": replace('"limited_poa"', "limited_poa")}, "realm stands without"),
    "a version": ({"params": {"oauth_version": "1.0"}}, "oauth_version in the header"),
    "TESTCONS": ({"params": {"oauth_consumer_key": "TESTCONS"}, "realm": "test_realm"}, ""),
}


@pytest.mark.parametrize("word", [*EITHER, *TOKEN_REQUEST])
def test_a_mistake_in_the_token_request_is_named(fresh: Setup, word: str) -> None:
    fresh.refused(word, log_in=True, **{**EITHER, **TOKEN_REQUEST}[word])


@pytest.mark.parametrize("word", [*EITHER, *CALL])
def test_a_mistake_in_a_call_is_named(logged_in: Setup, word: str) -> None:
    logged_in.refused(word, **{**EITHER, **CALL}[word])


@pytest.mark.parametrize("word", DERIVATION)
def test_a_token_derived_wrongly_is_named(fresh: Setup, word: str) -> None:
    fresh.client.log_in(**DERIVATION[word])
    fresh.refused(word)
    assert "never signed rightly" in fresh.log[-1]


@pytest.mark.parametrize(("fault", "word"), OF_SOME_K)
def test_a_token_derived_wrongly_of_some_k_is_named(fault: str, word: str) -> None:
    with opened(fault=fault) as setup:
        setup.client.log_in(k=OF_SOME_K[fault, word])
        setup.refused(word)


def test_a_response_whose_last_digit_was_dropped_is_suspected(fresh: Setup) -> None:
    client = fresh.client
    client.log_in()
    while len(client.response) % 2 == 0:
        client.log_in(response=lambda text: int(half_bytes(text).hex(), 16))
    fresh.refused("last digit of diffie_hellman_response dropped?")


def test_what_was_sent_or_signed_before_is_named(logged_in: Setup) -> None:
    earlier = logged_in.client.base
    logged_in.refused("text of an earlier request", whole=lambda _: earlier)
    assert logged_in.client.send(params={"oauth_nonce": "once"}) == 200
    logged_in.refused("nonce: seen before", params={"oauth_nonce": "once"})
    assert logged_in.client.send("POST", "/logout") == 200
    logged_in.refused("token that has ended", path="/portfolio/accounts")


@pytest.mark.parametrize(("one", "other"), TWO)
def test_two_mistakes_are_both_named(fresh: Setup, one: str, other: str) -> None:
    rows = {**EITHER, **TOKEN_REQUEST, **CALL, **DERIVATION}
    spoilt = {**rows[one], **rows[other]}
    if not TOKEN_REQUEST.keys() & {one, other}:
        in_derivation = {name: spoilt[name] for name in spoilt if name in ("k", "secret")}
        assert fresh.client.log_in(**in_derivation) == 200
        fresh.client.send(**spoilt)
    else:
        fresh.client.log_in(**spoilt)
    assert one in fresh.reason
    assert other in fresh.reason


def test_without_a_known_mistake_it_says_what_is_excluded(fresh: Setup) -> None:
    client = fresh.client
    client.log_in(pairs=add("nobody", "knows"))
    assert "no known mistake in the text; the key is excluded" in fresh.reason
    assert hashlib.sha256(client.base.encode()).hexdigest() in fresh.log[-1]
    client.log_in()
    client.send(pairs=add("nobody", "knows"))
    assert "never signed rightly" in fresh.reason
    assert f"token       {client.token.hex()}" in fresh.log[-1]
    client.send()
    client.send(pairs=add("nobody", "knows"))
    assert "no known mistake in the text; the token is excluded" in fresh.reason
    assert "if your text equals the one below, it is the key" in fresh.log[-1]


def test_the_text_is_shown_in_parts_and_in_one_line(logged_in: Setup) -> None:
    client = logged_in.client
    client.log_in(sign_method=str.lower)
    shown = [" ".join(line.split()) for line in logged_in.log[-1].splitlines()]
    right = client.base.replace("post&", "POST&", 1)
    assert f"this was signed: {client.base}" in shown
    assert f"in one line: {right}" in shown
    assert f"prepend {client.secret.hex()}" in shown
    assert f"parameter oauth_token={client.config['access_token']}" in shown


def test_a_rehearsal_shows_neither_prepend_nor_token() -> None:
    with opened() as own, opened(identity=own.sandbox.identity) as setup:
        config = {**own.sandbox.config, "base_url": setup.sandbox.base_url}
        for name in ("signature_key_fp", "encryption_key_fp"):
            config[name] = str(own.sandbox.folder / config[name])
        setup.sandbox.write_config(config)
        client = setup.client
        setup.refused("wrong scheme", log_in=True, url=replace("http:", "https:"))
        assert "PREPENDPOST&http" in setup.log[-1]
        client.log_in(pairs=add("nobody", "knows"))
        client.log_in()
        setup.refused("wrong scheme", url=replace("http:", "https:"))
        assert "oauth_token=ACCESS-TOKEN" in setup.log[-1]
        client.send(pairs=add("nobody", "knows"))
        text = "".join(setup.log)
        for secret in (client.secret, client.token):
            assert secret.hex() not in text
            assert b64(secret) not in text
        assert config["access_token"] not in text


def test_an_explanation_takes_about_half_a_second(logged_in: Setup) -> None:
    query = "&".join(f"name{number}=some%20value" for number in range(40))
    started = time.monotonic()
    logged_in.client.send(query=query, pairs=add("nobody", "knows"))
    assert "half a second was not enough" in logged_in.log[-1]
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("name", ODDITIES)
def test_what_working_clients_send_is_accepted(logged_in: Setup, name: str) -> None:
    spoilt, remark = ODDITIES[name]
    assert logged_in.client.send(**spoilt) == 200
    remarks = logged_in.sandbox.requests[-1].remarks
    assert remark in "".join(remarks)
    assert bool(remark) == bool(remarks)


@pytest.mark.parametrize(("change", "remark"), [(str.upper, "capitals"), ("0{}".format, "zeros")])
def test_a_challenge_in_another_form_is_accepted(fresh: Setup, change: Any, remark: str) -> None:
    assert fresh.client.log_in(params={"diffie_hellman_challenge": change("abc")}) == 200
    assert remark in "".join(fresh.sandbox.requests[-1].remarks)


def test_two_tokens_are_good_at_once_and_one_again_after_its_logout(logged_in: Setup) -> None:
    client = logged_in.client
    first = client.token
    client.log_in()
    assert client.send(key=lambda _: first) == 200
    assert client.send("POST", "/logout") == 200
    assert client.send() == 200
    assert "again after its logout" in "".join(logged_in.sandbox.requests[-1].remarks)
