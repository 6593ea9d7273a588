"""Write the outputs of the test vectors into their files, computed with none of our own code.

RSA and HMAC are those of `cryptography`, the integers' form is openssl's; percent-encoding, and the
URL and parameters of a call, are `oauthlib`'s; the rest is arithmetic that can be read off. A case
that must fail has an `error` in the place of an output, and is left alone. ibkr-2018.json is not made
here: Interactive Brokers (IBKR) published it.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from oauthlib.oauth1.rfc5849 import signature as rfc5849
from oauthlib.oauth1.rfc5849.utils import escape

HERE = Path(__file__).parent
KEY = load_pem_private_key((HERE / "throwaway-key.pem").read_bytes(), None)

Vector = dict[str, Any]


def hmac(algorithm: hashes.HashAlgorithm, key: bytes, message: bytes) -> bytes:
    digest = HMAC(key, algorithm)
    digest.update(message)
    return digest.finalize()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def to_byte_array(number: int) -> bytes:
    """Java's BigInteger.toByteArray(), which is the content of an ASN.1 INTEGER: ask openssl."""
    command = ["openssl", "asn1parse", "-noout", "-out", "/dev/stdout", "-genstr"]
    der = subprocess.run([*command, f"INTEGER:{number}"], capture_output=True, check=True).stdout
    long_form = der[1] & 0x7F if der[1] & 0x80 else 0  # bytes that say how long the content is
    return der[2 + long_form :]


# One function a stage: from the inputs of a case to its output.


def secret(case: Vector) -> str:
    ciphertext = base64.b64decode(case["access_token_secret"])
    return KEY.decrypt(ciphertext, padding.PKCS1v15()).hex()


def challenge(case: Vector) -> str:
    generator, exponent = int(case["generator"], 16), int(case["exponent"], 16)
    return f"{pow(generator, exponent, int(case['prime'], 16)):x}"


def base_string(case: Vector) -> str:
    pairs = sorted(case["params"])  # as Python has it: by code point
    joined = "&".join(f"{name}={value}" for name, value in pairs)
    parts = [case["method"].upper(), escape(case["url"]), escape(joined)]
    return case["prepend"] + "&".join(parts)


def rsa_signature(case: Vector) -> str:
    text = case["base_string"].encode("ascii")
    return b64(KEY.sign(text, padding.PKCS1v15(), hashes.SHA256()))


def header(case: Vector) -> str:
    pairs = [["realm", case["realm"]], *sorted(case["params"])]
    return "OAuth " + ", ".join(f'{name}="{escape(value)}"' for name, value in pairs)


def shared_secret(case: Vector) -> str:
    response, exponent = int(case["response"], 16), int(case["exponent"], 16)
    return to_byte_array(pow(response, exponent, int(case["prime"], 16))).hex()


def token(case: Vector) -> str:
    key, message = bytes.fromhex(case["shared_secret"]), bytes.fromhex(case["access_token_secret"])
    return hmac(hashes.SHA1(), key, message).hex()


def proof(case: Vector) -> str:
    message = case["consumer_key"].encode("ascii")
    return hmac(hashes.SHA1(), bytes.fromhex(case["live_session_token"]), message).hex()


def answer(case: Vector) -> str:
    response = case["answer"]["diffie_hellman_response"]
    result = token({**case, "shared_secret": shared_secret({**case, "response": response})})
    right = proof({**case, "live_session_token": result})
    assert case["answer"]["live_session_token_signature"] == right
    return result


def hmac_signature(case: Vector) -> str:
    message = case["base_string"].encode("ascii")
    return b64(hmac(hashes.SHA256(), bytes.fromhex(case["live_session_token"]), message))


def call(case: Vector) -> str:
    params = [
        ["oauth_consumer_key", case["consumer_key"]],
        ["oauth_nonce", case["nonce"]],
        ["oauth_signature_method", "HMAC-SHA256"],
        ["oauth_timestamp", str(case["timestamp"])],
        ["oauth_token", case["access_token"]],
    ]
    query = [list(pair) for pair in rfc5849.collect_parameters(case["url"].partition("?")[2])]
    url = rfc5849.base_string_uri(case["url"])
    text = {**case, "url": url, "params": params + query, "prepend": ""}
    case["base_string"] = base_string(text)
    params.append(["oauth_signature", hmac_signature(case)])
    return header({**case, "params": params})


STAGES = [
    *(secret, challenge, base_string, rsa_signature, header),
    *(shared_secret, token, proof, answer, hmac_signature, call),
]


def as_json(cases: list[Vector]) -> str:
    """One line a field, so that a change shows in a diff."""
    objects = []
    for case in cases:
        fields = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in case.items()]
        objects.append(" {\n" + ",\n".join(fields) + "\n }")
    return "[\n" + ",\n".join(objects) + "\n]\n"


def made(stage: Callable[[Vector], str]) -> str:
    """Return a stage's file with the outputs computed anew."""
    cases = json.loads((HERE / f"{stage.__name__}.json").read_text(encoding="ascii"))
    for case in cases:
        if "error" not in case:
            case["output"] = stage(case)
    return as_json(cases)


if __name__ == "__main__":
    for stage in STAGES:
        (HERE / f"{stage.__name__}.json").write_bytes(made(stage).encode("ascii"))
