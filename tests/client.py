"""A client of the tests' own, which can break every rule of signing.

It is made of the standard library and `cryptography`: no line of the code under test, or of
oauth.py, stands on both sides.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hmac
import http.client
import json
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.sandbox import Sandbox

TOKEN = "/oauth/live_session_token"
CHALLENGE = "diffie_hellman_challenge"
INIT = "/iserver/auth/ssodh/init"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
enc = functools.partial(quote, safe="")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def hmac_sha1(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, "sha1").digest()


@functools.lru_cache  # cryptography checks a key for a tenth of a second
def read_key(pem: bytes) -> Any:
    return load_pem_private_key(pem, None)


# How each step is done rightly; an argument of the same name replaces it
RIGHT: dict[str, Any] = {
    "sign_method": str,
    "url": str,
    "pairs": list,
    "order": sorted,
    "encode": lambda method, url, text: f"{method}&{enc(url)}&{enc(text)}",
    "prepend": lambda client: client.secret.hex() if client.for_token else "",
    "digest": "sha256",
    "rsa_key": lambda client: client.signature_key,
    "key": bytes,
    "form": lambda raw: enc(b64(raw)),
    "header": str,
    "clock": lambda now: now,
    "response": lambda text: int(text, 16),
    "k": lambda k: k.to_bytes(k.bit_length() // 8 + 1, "big"),
    "secret": lambda client: client.secret,
    "derive": hmac_sha1,
    "hmac": hmac.new,
}


class Client:
    """Logs in and signs calls. `status`, `headers`, `body` and `json` are of the last answer."""

    sandbox: Sandbox
    log: list[str]
    token = b""

    def __init__(self, config_path: Path) -> None:
        self.config = json.loads(config_path.read_text("ascii"))
        self.url = urlsplit(self.config["base_url"])
        self.connection = http.client.HTTPConnection(self.url.netloc, timeout=10)
        folder = config_path.parent
        self.signature_key = read_key((folder / self.config["signature_key_fp"]).read_bytes())
        self.encryption_key = read_key((folder / self.config["encryption_key_fp"]).read_bytes())
        self.encrypted = base64.b64decode(self.config["access_token_secret"])
        self.secret = self.encryption_key.decrypt(self.encrypted, padding.PKCS1v15())

    def log_in(self, params: Any = None, **spoilt: Any) -> None:
        how = {**RIGHT, **spoilt}
        prime, a = int(self.config["dh_prime"], 16), secrets.randbits(256)
        params = {CHALLENGE: f"{pow(2, a, prime):x}", **(params or {})}
        self.send("POST", TOKEN, params=params, **spoilt)
        if self.status == 200 and "error" not in self.json:
            self.response = self.json["diffie_hellman_response"]
            self.k = pow(how["response"](self.response), a, prime)
            self.token = how["derive"](how["k"](self.k), how["secret"](self))

    def send(
        self, method: str = "GET", path: str = "/tickle", query: str = "", **spoilt: Any
    ) -> Any:
        """Returns the answer's JSON. The query is sent as it stands, and signed decoded."""
        how = {**RIGHT, **spoilt}
        self.for_token = path == TOKEN
        params = {
            "oauth_timestamp": str(int(how["clock"](time.time()))),
            "oauth_nonce": secrets.token_hex(8),
            "oauth_token": self.config["access_token"],
            "oauth_consumer_key": self.config["consumer_key"],
            "oauth_signature_method": "RSA-SHA256" if self.for_token else "HMAC-SHA256",
            **spoilt.get("params", {}),
        }
        sent = [item.partition("=") for item in query.split("&") if item]
        pairs = how["pairs"]([*params.items(), *((n, unquote(v)) for n, _, v in sent)])
        text = "&".join(f"{name}={value}" for name, value in how["order"](pairs))
        url = how["url"](self.config["base_url"] + path)
        text = how["encode"](how["sign_method"](method), url, text)
        self.base = how["prepend"](self) + text
        signature = how["form"](self.sign(self.base.encode(), how))
        values = {"realm": spoilt.get("realm", self.config["realm"]), **params}
        items = [f'{name}="{enc(value)}"' for name, value in values.items()]
        authorization = ", ".join([*items, f'oauth_signature="{signature}"'])
        headers = {"Authorization": how["header"](f"OAuth {authorization}"), "User-Agent": "own"}
        target = f"{self.url.path}{path}?{query}".rstrip("?")
        body = spoilt.get("body", b"" if method == "POST" else None)
        self.connection.request(method, target, body, {**headers, **spoilt.get("headers", {})})
        return self.read()

    def sign(self, message: bytes, how: dict[str, Any]) -> bytes:
        if not self.for_token:
            return how["hmac"](how["key"](self.token), message, how["digest"]).digest()
        digest = hashes.SHA1() if how["digest"] == "sha1" else hashes.SHA256()
        signature: bytes = how["rsa_key"](self).sign(message, padding.PKCS1v15(), digest)
        return signature

    def read(self) -> Any:
        answer = self.connection.getresponse()
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()
        is_json = "json" in self.headers["Content-Type"] and self.body
        self.json = json.loads(self.body) if is_json else None
        return self.json

    @property
    def reason(self) -> str:
        return self.sandbox.requests[-1].refused

    @property
    def remarks(self) -> str:
        return "; ".join(self.sandbox.requests[-1].remarks)


@contextlib.contextmanager
def opened(fault: str = "") -> Iterator[Client]:
    """A client of a sandbox of its own, with its log."""
    log: list[str] = []
    with Sandbox(fault, log=log.append) as sandbox:
        client = Client(sandbox.config_path)
        client.sandbox, client.log = sandbox, log
        with contextlib.closing(client.connection):
            yield client


# What else may be signed than is sent


def swap(old: str, new: str) -> Any:
    return functools.partial(re.sub, old, new)


def add(name: str, value: str) -> Any:
    return lambda pairs: [*pairs, (name, value)]


def omit(name: str) -> Any:
    return lambda pairs: [pair for pair in pairs if pair[0] != name]


def resign(name: str, change: Any) -> Any:
    return lambda pairs: [(n, change(v) if n == name else v) for n, v in pairs]
