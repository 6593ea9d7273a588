"""oauth.py against numbers that none of our code made: IBKR's own, then those of tests/vectors, and
the base string against oauthlib's, which is RFC 5849's."""

from __future__ import annotations

import base64
import json
import string
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import requests
from Crypto.PublicKey import RSA
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oauthlib.oauth1.rfc5849 import signature as rfc5849

import oauth
from tests.vectors import make

FOLDER = Path(__file__).parent / "vectors"
KEY = RSA.import_key((FOLDER / "throwaway-key.pem").read_bytes())


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii"))


# The numbers that Interactive Brokers (IBKR) published in 2018, in the order of the protocol

IBKR = load("ibkr-2018")
DH, LOGIN = IBKR["diffie_hellman"], IBKR["live_session_token_request"]
CALL = IBKR["signed_request_with_query"]


def ibkr_key(name: str) -> RSA.RsaKey:
    return RSA.construct((int(IBKR[name]["n"], 16), IBKR[name]["e"], int(IBKR[name]["d"], 16)))


def test_ibkr_2018_step_by_step() -> None:
    prime, exponent = int(DH["prime"], 16), int(DH["exponent"], 16)
    encrypted, key = IBKR["access_token_secret"]["encrypted"], ibkr_key("encryption_key")
    secret = oauth.decrypt_access_token_secret(encrypted, key)
    assert secret.hex() == IBKR["access_token_secret"]["decrypted_hex"]
    challenge = oauth.diffie_hellman_challenge(prime, int(DH["generator"], 16), exponent)
    assert challenge == DH["challenge"]

    params = reversed(LOGIN["params"].items())
    text = oauth.signature_base_string("POST", LOGIN["url"], params, LOGIN["prepend"])
    assert text == LOGIN["base_string"]
    signature = oauth.rsa_sha256_signature(text, ibkr_key("signature_key"))
    assert signature == LOGIN["signature"]
    header = oauth.authorization_header("test_realm", [("oauth_signature", signature)])
    assert header.endswith(f', oauth_signature="{LOGIN["signature_in_header"]}"')

    shared_secret = oauth.diffie_hellman_shared_secret(prime, exponent, DH["response"])
    assert shared_secret.hex() == "0" + DH["shared_secret"]  # 2043 bits: no sign byte
    token = oauth.derive_live_session_token(shared_secret, secret)
    assert base64.b64encode(token).decode() == IBKR["live_session_token"]["token"]
    proof = oauth.live_session_token_proof(token, "TESTCONS")
    assert proof == IBKR["live_session_token"]["signature"]

    params = [*CALL["params"].items(), *CALL["query"].items()]
    text = oauth.signature_base_string("GET", CALL["url"], params)
    assert text == CALL["base_string"]
    assert oauth.hmac_sha256_signature(text, token) == CALL["signature"]


# The vectors, stage by stage


def accepted(v: dict[str, Any]) -> bytes:
    secret, prime = bytes.fromhex(v["access_token_secret"]), int(v["prime"], 16)
    credentials = oauth.Credentials("r", v["consumer_key"], "t", secret, KEY, prime)
    token = oauth.accept_answer(v["answer"], credentials, int(v["exponent"], 16))
    assert token.expires == datetime(2026, 1, 2, tzinfo=timezone.utc)
    return token.token


def called(v: dict[str, Any]) -> str:
    """Return the header that a call gets, at the vector's time and with its nonce."""
    names = ("realm", "consumer_key", "access_token")
    credentials = oauth.Credentials(*(v[name] for name in names), b"secret", KEY, 23)
    auth = oauth.HmacSha256Auth(credentials, bytes.fromhex(v["live_session_token"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("oauth.time.time", lambda: v["timestamp"] + 0.9)
        patch.setattr("oauth.secrets.token_hex", lambda _: v["nonce"])
        request = requests.Request(v["method"], v["url"], auth=auth).prepare()
    return request.headers["Authorization"]


STAGES = {
    "secret": lambda v: oauth.decrypt_access_token_secret(v["access_token_secret"], KEY).hex(),
    "challenge": lambda v: oauth.diffie_hellman_challenge(int(v["prime"], 16), int(v["generator"], 16), int(v["exponent"], 16)),
    "base_string": lambda v: oauth.signature_base_string(v["method"], v["url"], v["params"], v["prepend"]),
    "rsa_signature": lambda v: oauth.rsa_sha256_signature(v["base_string"], KEY),
    "header": lambda v: oauth.authorization_header(v["realm"], v["params"]),
    "shared_secret": lambda v: oauth.diffie_hellman_shared_secret(int(v["prime"], 16), int(v["exponent"], 16), v["response"]).hex(),
    "token": lambda v: oauth.derive_live_session_token(bytes.fromhex(v["shared_secret"]), bytes.fromhex(v["access_token_secret"])).hex(),
    "proof": lambda v: oauth.live_session_token_proof(bytes.fromhex(v["live_session_token"]), v["consumer_key"]),
    "answer": lambda v: accepted(v).hex(),
    "hmac_signature": lambda v: oauth.hmac_sha256_signature(v["base_string"], bytes.fromhex(v["live_session_token"])),
    "call": called,
}  # fmt: skip

ERRORS = {"credentials": oauth.CredentialsError, "answer": oauth.AnswerError, "caller": ValueError}


def holds(stage: str, vector: dict[str, Any]) -> bool:
    try:
        return bool(STAGES[stage](vector) == vector.get("output"))
    except tuple(ERRORS.values()) as error:
        return "fault" in vector and isinstance(error, ERRORS[vector["fault"]])


def test_vectors() -> None:
    vectors = [(stage, vector) for stage in STAGES for vector in load(stage)]
    assert [(stage, v["name"]) for stage, v in vectors if not holds(stage, v)] == []
    assert len({(stage, v["name"]) for stage, v in vectors}) == len(vectors)


def test_the_vectors_are_what_openssl_and_cryptography_make() -> None:
    assert [stage.__name__ for stage in make.STAGES] == list(STAGES)
    for stage in make.STAGES:
        assert make.made(stage) == (FOLDER / f"{stage.__name__}.json").read_text(encoding="ascii")


# oauthlib: IBKR departs from RFC 5849 in the second encoding alone

URL = "https://api.ibkr.com/v1/api/iserver/marketdata/snapshot"
UNRESERVED = string.ascii_letters + string.digits + "-._~"

relaxed = settings(max_examples=50, database=None, deadline=None)  # leaves no files


@relaxed
@given(st.dictionaries(st.text(UNRESERVED, min_size=1), st.text()))
@example({"fields": "31,84"})
def test_base_string_is_rfc5849s_with_the_second_encoding_undone(params: dict[str, str]) -> None:
    ours = oauth.signature_base_string("GET", URL, params.items())
    normalized = rfc5849.normalize_parameters(list(params.items()))
    theirs = rfc5849.signature_base_string("GET", URL, normalized)
    assert ours.count("&") == 2
    assert set(ours) <= {*UNRESERVED, "%", "&"}
    assert unquote(ours) == unquote(unquote(theirs))


@relaxed
@given(st.integers(2, 2**2203 - 3))
def test_the_shared_secret_has_the_shortest_signed_form(secret: int) -> None:
    result = oauth.diffie_hellman_shared_secret(2**2203 - 1, 1, f"{secret:x}")
    assert int.from_bytes(result, "big", signed=True) == secret
    with pytest.raises(OverflowError):
        secret.to_bytes(len(result) - 1, "big", signed=True)
