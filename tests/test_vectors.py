"""oauth.py against the vectors in tests/vectors, stage by stage; none was made with our code."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from Crypto.PublicKey import RSA

import oauth

FOLDER = Path(__file__).parent / "vectors"
KEY = RSA.import_key((FOLDER / "throwaway-key.pem").read_bytes())

STAGES = {
    "base_string": lambda v: oauth.signature_base_string(
        v["method"], v["url"], pairs(v["params"]), v["prepend"]
    ),
    "rsa_signature": lambda v: oauth.rsa_sha256_signature(v["base_string"], KEY),
    "hmac_signature": lambda v: oauth.hmac_sha256_signature(
        v["base_string"], bytes.fromhex(v["live_session_token"])
    ),
    "header": lambda v: oauth.authorization_header(v["realm"], pairs(v["params"])),
    "secret": lambda v: oauth.decrypt_access_token_secret(v["access_token_secret"], KEY).hex(),
    "challenge": lambda v: oauth.diffie_hellman_challenge(
        int(v["prime"], 16), int(v["generator"], 16), int(v["exponent"], 16)
    ),
    "shared_secret": lambda v: oauth.diffie_hellman_shared_secret(
        int(v["prime"], 16), int(v["exponent"], 16), v["response"]
    ).hex(),
    "token": lambda v: oauth.derive_live_session_token(
        bytes.fromhex(v["shared_secret"]), bytes.fromhex(v["access_token_secret"])
    ).hex(),
    "proof": lambda v: oauth.live_session_token_proof(
        bytes.fromhex(v["live_session_token"]), v["consumer_key"]
    ),
    "answer": lambda v: accepted(v).hex(),
    "call": lambda v: called(v),
}

FAULTS = {"credentials": oauth.OAuthError, "answer": oauth.OAuthError, "caller": ValueError}


def pairs(params: list[list[str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in params]


def accepted(v: dict[str, Any]) -> bytes:
    secret, prime = bytes.fromhex(v["access_token_secret"]), int(v["prime"], 16)
    credentials = oauth.Credentials("r", v["consumer_key"], "t", secret, KEY, prime)
    return oauth.accept_answer(v["answer"], credentials, int(v["exponent"], 16)).token


def called(v: dict[str, Any]) -> str:
    credentials = oauth.Credentials(
        v["realm"], v["consumer_key"], v["access_token"], b"secret", KEY, 23
    )
    token = bytes.fromhex(v["live_session_token"])
    auth = oauth.HmacSha256Auth(
        credentials, token, clock=lambda: v["timestamp"], nonce=lambda: v["nonce"]
    )
    return requests.Request(v["method"], v["url"], auth=auth).prepare().headers["Authorization"]


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii"))


def vectors(key: str) -> list[Any]:
    """The vectors of all stages that have that key."""
    return [
        pytest.param(stage, vector, id=f"{stage}: {vector['comment']}")
        for stage in STAGES
        for vector in load(stage)
        if key in vector
    ]


@pytest.mark.parametrize(("stage", "vector"), vectors("output"))
def test_the_stage_yields_the_vector(stage: str, vector: dict[str, Any]) -> None:
    assert STAGES[stage](vector) == vector["output"]


@pytest.mark.parametrize(("stage", "vector"), vectors("error"))
def test_the_stage_refuses_the_vector(stage: str, vector: dict[str, Any]) -> None:
    with pytest.raises(FAULTS[vector["fault"]]):
        STAGES[stage](vector)


@pytest.mark.parametrize(
    "vector", [vector for vector in load("secret") if "bytes, the key" in vector.get("error", "")]
)
def test_a_secret_of_the_wrong_size_is_told_both_sizes(vector: dict[str, str]) -> None:
    with pytest.raises(oauth.OAuthError) as error:
        STAGES["secret"](vector)
    assert re.findall("[0-9]+", str(error.value)) == re.findall("[0-9]+", vector["error"])


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_the_vectors_are_what_cryptography_and_openssl_make() -> None:
    command = [sys.executable, str(FOLDER / "make.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_every_file_of_vectors_is_used() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {*STAGES, "ibkr-2018"}


@pytest.mark.parametrize("stage", STAGES)
def test_every_vector_says_why_it_exists(stage: str) -> None:
    comments = [vector["comment"] for vector in load(stage)]
    assert all(comments)
    assert len(set(comments)) == len(comments)


# IBKR's own numbers, in the order of the protocol.

IBKR = load("ibkr-2018")
DH = IBKR["diffie_hellman"]
PRIME, GENERATOR, EXPONENT = (int(DH[name], 16) for name in ("prime", "generator", "exponent"))
SHARED_SECRET = int(DH["shared_secret"], 16).to_bytes(256, "big")  # 2043 bits: no sign byte
SECRET = bytes.fromhex(IBKR["access_token_secret"]["decrypted_hex"])
TOKEN = base64.b64decode(IBKR["live_session_token"]["token"])
TOKEN_REQUEST = IBKR["live_session_token_request"]
REQUEST = IBKR["signed_request_with_query"]


def ibkr_key(name: str) -> RSA.RsaKey:
    return RSA.construct((int(IBKR[name]["n"], 16), IBKR[name]["e"], int(IBKR[name]["d"], 16)))


def test_ibkr_2018_access_token_secret_decrypts() -> None:
    encrypted = IBKR["access_token_secret"]["encrypted"]
    assert oauth.decrypt_access_token_secret(encrypted, ibkr_key("encryption_key")) == SECRET


def test_ibkr_2018_diffie_hellman_challenge() -> None:
    assert oauth.diffie_hellman_challenge(PRIME, GENERATOR, EXPONENT) == DH["challenge"]


def test_ibkr_2018_base_string_of_the_token_request() -> None:
    assert TOKEN_REQUEST["base_string"] == oauth.signature_base_string(
        TOKEN_REQUEST["method"],
        TOKEN_REQUEST["url"],
        reversed(TOKEN_REQUEST["params"].items()),
        TOKEN_REQUEST["prepend"],
    )


def test_ibkr_2018_signature_of_the_token_request() -> None:
    key = ibkr_key("signature_key")
    signature = oauth.rsa_sha256_signature(TOKEN_REQUEST["base_string"], key)
    assert signature == TOKEN_REQUEST["signature"]


def test_ibkr_2018_signature_in_the_header() -> None:
    params = [("oauth_signature", TOKEN_REQUEST["signature"])]
    expected = f'OAuth realm="test_realm", oauth_signature="{TOKEN_REQUEST["signature_in_header"]}"'
    assert oauth.authorization_header("test_realm", params) == expected


def test_ibkr_2018_shared_secret() -> None:
    shared_secret = oauth.diffie_hellman_shared_secret(PRIME, EXPONENT, DH["response"])
    assert shared_secret == SHARED_SECRET


def test_ibkr_2018_live_session_token() -> None:
    assert oauth.derive_live_session_token(SHARED_SECRET, SECRET) == TOKEN


def test_ibkr_2018_proof_of_the_token() -> None:
    proof = oauth.live_session_token_proof(TOKEN, IBKR["live_session_token"]["consumer_key"])
    assert proof == IBKR["live_session_token"]["signature"]


def test_ibkr_2018_base_string_of_a_request_holds_its_query() -> None:
    params = {**REQUEST["params"], **REQUEST["query"]}.items()
    base_string = oauth.signature_base_string(REQUEST["method"], REQUEST["url"], params)
    assert base_string == REQUEST["base_string"]


def test_ibkr_2018_signature_of_a_request() -> None:
    signature = oauth.hmac_sha256_signature(REQUEST["base_string"], TOKEN)
    assert signature == REQUEST["signature"]


def test_ibkr_2018_signature_differs_where_the_query_is_not_signed() -> None:
    params, query = REQUEST["params"].items(), REQUEST["query"]["conid"]
    left_out = oauth.signature_base_string("GET", REQUEST["url"], params)
    in_the_url = oauth.signature_base_string("GET", f"{REQUEST['url']}?conid={query}", params)
    assert [oauth.hmac_sha256_signature(text, TOKEN) for text in (left_out, in_the_url)] == [
        REQUEST["if_the_query_were_left_out"],
        REQUEST["if_the_query_stayed_in_the_url"],
    ]
