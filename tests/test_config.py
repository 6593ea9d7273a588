"""Every broken config or key file: exit status 2, the field named, nothing sent."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa

from tests.conftest import Runner
from tests.sandbox import KEYS, Sandbox

Change = Callable[[dict[str, Any], Path], Any]

PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER
PKCS1 = serialization.PrivateFormat.TraditionalOpenSSL
PKCS8 = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()
PASSPHRASE = serialization.BestAvailableEncryption(b"passphrase")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def private_key(name: str = "signature") -> rsa.RSAPrivateKey:
    pem = (KEYS / f"private_{name}.pem").read_bytes()
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def pem_of(key: Any, form: Any = PKCS8, encoding: Any = PEM, protection: Any = PLAIN) -> bytes:
    data: bytes = key.private_bytes(encoding, form, protection)
    return data


def encrypted(secret: bytes, name: str) -> str:
    ciphertext = private_key(name).public_key().encrypt(secret, padding.PKCS1v15())
    return base64.b64encode(ciphertext).decode()


def put(field: str, value: Any) -> Change:
    return lambda config, _: config.update({field: value})


def without(field: str) -> Change:
    return lambda config, _: config.pop(field)


def key_file(data: Callable[[], bytes], field: str = "signature_key_fp") -> Change:
    """Give a key file of this content to the field."""

    def change(config: dict[str, Any], folder: Path) -> None:
        path = folder / "changed.pem"
        path.write_bytes(data())
        path.chmod(0o600)
        config[field] = path.name

    return change


def prime(edit: Callable[[str], str]) -> Change:
    return lambda config, _: config.update(dh_prime=edit(config["dh_prime"]))


def secret(edit: Callable[[str], str]) -> Change:
    def change(config: dict[str, Any], _: Path) -> None:
        config["access_token_secret"] = edit(config["access_token_secret"])

    return change


def swap_keys(config: dict[str, Any], _: Path) -> None:
    one, two = config["signature_key_fp"], config["encryption_key_fp"]
    config.update(signature_key_fp=two, encryption_key_fp=one)


def original(name: str = "signature") -> bytes:
    return (KEYS / f"private_{name}.pem").read_bytes()


REQUIRED = [
    "realm",
    "consumer_key",
    "signature_key_fp",
    "encryption_key_fp",
    "access_token",
    "access_token_secret",
    "dh_prime",
]
PLACEHOLDERS = {
    "encryption_key_fp": "path-to-private-encryption-key",
    "signature_key_fp": "path-to-private-signature-key",
    "consumer_key": "your-consumer-key",
    "dh_prime": "generated-dh-prime-in-hex",
    "access_token": "your-access-token-from-self-service-portal",
    "access_token_secret": "your-access-token-secret-from-self-service-portal",
}
NOT_FILLED_IN = "not filled in"
NOT_TEXT = "not a text in quotes"
NOT_RSA = "changed.pem is not an RSA key in PEM form"
NOT_HEX = "not a number in hex"
NOT_PRIME = "not a prime: a digit is wrong or missing"
NOT_ASCII = "has a space or a character beyond ASCII"
NOT_URL = "not a URL like https://host/path"
NOT_GENERATOR = "not a whole number from 2 on"
NOT_BASE64 = "not base64"
UNDECRYPTED = "the access token secret does not decrypt with this key"

BROKEN: list[tuple[str, Change, str, str]] = [
    *((f"{name} missing", without(name), name, NOT_FILLED_IN) for name in REQUIRED),
    *((f"{name} null", put(name, None), name, NOT_TEXT) for name in REQUIRED),
    *((f"{name} empty", put(name, " \n"), name, NOT_FILLED_IN) for name in REQUIRED),
    *((f"{name} a list", put(name, ["x"]), name, NOT_TEXT) for name in REQUIRED),
    *((f"{name} left in", put(name, v), name, NOT_FILLED_IN) for name, v in PLACEHOLDERS.items()),
    ("realm a number", put("realm", 5), "realm", NOT_TEXT),
    ("realm with a space", put("realm", "limited poa"), "realm", NOT_ASCII),
    ("realm of Greek letters", put("realm", "\u03c0"), "realm", NOT_ASCII),
    ("consumer with a space", put("consumer_key", "SIMU LATED"), "consumer_key", NOT_ASCII),
    ("consumer with a line break", put("consumer_key", "SIMU\nLAT"), "consumer_key", NOT_ASCII),
    ("consumer half a character", put("consumer_key", "SIMU\ud800"), "consumer_key", NOT_ASCII),
    ("access token of two words", put("access_token", "a b"), "access_token", NOT_ASCII),
    ("access token with an accent", put("access_token", "\u00e9"), "access_token", NOT_ASCII),
    ("key path to nowhere", put("signature_key_fp", "none.pem"), "signature_key_fp", "No such file"),
    ("key path to a folder", put("signature_key_fp", "."), "signature_key_fp", "Is a directory"),
    ("key path not a path", put("encryption_key_fp", "a\0b"), "encryption_key_fp", "not a path"),
    ("key path of half characters", put("encryption_key_fp", "\ud800"), "encryption_key_fp", "not a path"),
    ("key path too long", put("encryption_key_fp", "x" * 5000), "encryption_key_fp", "too long"),
    ("home of nobody", put("signature_key_fp", "~nobody-here/k"), "signature_key_fp", "No such file"),
    ("key file empty", key_file(lambda: b""), "signature_key_fp", NOT_RSA),
    ("key file of words", key_file(lambda: b"my key"), "signature_key_fp", NOT_RSA),
    ("key file of noise", key_file(lambda: bytes(range(256))), "signature_key_fp", NOT_RSA),
    ("key cut short", key_file(lambda: original()[:600]), "signature_key_fp", NOT_RSA),
    ("key without its end line", key_file(lambda: original()[:-30]), "signature_key_fp", NOT_RSA),
    ("key with a line missing", key_file(lambda: original().replace(original()[100:164], b"")), "signature_key_fp", NOT_RSA),
    ("key without content", key_file(lambda: b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"), "signature_key_fp", NOT_RSA),
    ("key in DER", key_file(lambda: pem_of(private_key(), PKCS8, DER)), "signature_key_fp", NOT_RSA),
    ("key elliptic", key_file(lambda: pem_of(ec.generate_private_key(ec.SECP256R1()))), "signature_key_fp", NOT_RSA),
    ("key elliptic, old form", key_file(lambda: pem_of(ec.generate_private_key(ec.SECP256R1()), PKCS1)), "signature_key_fp", NOT_RSA),
    ("key DSA", key_file(lambda: pem_of(dsa.generate_private_key(1024))), "signature_key_fp", NOT_RSA),
    ("Diffie-Hellman file", key_file(lambda: (KEYS / "dhparam.pem").read_bytes()), "signature_key_fp", "changed.pem is not a private key"),
    ("key of 1024 bits", key_file(lambda: pem_of(rsa.generate_private_key(65537, 1024))), "signature_key_fp", "changed.pem has 1024 bits, not 2048"),
    ("key with a passphrase, PKCS#8", key_file(lambda: pem_of(private_key(), protection=PASSPHRASE)), "signature_key_fp", "changed.pem has a passphrase"),
    ("key with a passphrase, PKCS#1", key_file(lambda: pem_of(private_key(), PKCS1, protection=PASSPHRASE)), "signature_key_fp", "changed.pem has a passphrase"),
    ("public signature key", key_file(lambda: (KEYS / "public_signature.pem").read_bytes()), "signature_key_fp", "changed.pem is not a private key"),
    ("public encryption key", key_file(lambda: (KEYS / "public_encryption.pem").read_bytes(), "encryption_key_fp"), "encryption_key_fp", "changed.pem is not a private key"),
    ("keys swapped", swap_keys, "access_token_secret", "decrypts with signature_key_fp"),
    ("secret not base64", secret(lambda text: text[:-4] + "!!=="), "access_token_secret", NOT_BASE64),
    ("secret with a space inside", secret(lambda text: text[:9] + " " + text[9:]), "access_token_secret", NOT_BASE64),
    ("secret cut by one", secret(lambda text: text[:-3]), "access_token_secret", NOT_BASE64),
    ("secret cut by four", secret(lambda text: text[:-4]), "access_token_secret", "the access token secret has 255 bytes, the key has 256"),
    ("secret half pasted", secret(lambda text: text[:172]), "access_token_secret", "the access token secret has 129 bytes, the key has 256"),
    ("secret pasted twice", secret(lambda text: text[:-2] + "AA" + text), "access_token_secret", "bytes, the key has 256"),
    ("secret of another key", secret(lambda text: "AAAA" + text[4:]), "access_token_secret", UNDECRYPTED),
    ("secret larger than the key", secret(lambda text: "////" + text[4:]), "access_token_secret", UNDECRYPTED),
    ("secret decrypted already", put("access_token_secret", "ab" * 32), "access_token_secret", "the access token secret has 48 bytes, the key has 256"),
    ("prime of words", put("dh_prime", "my prime"), "dh_prime", NOT_HEX),
    ("prime as PEM", put("dh_prime", (KEYS / "dhparam.pem").read_text()), "dh_prime", NOT_HEX),
    ("prime negative", prime(lambda text: "-" + text), "dh_prime", NOT_HEX),
    ("prime with underscores", prime(lambda text: text[:8] + "_" + text[8:]), "dh_prime", NOT_HEX),
    ("prime of Arabic digits", put("dh_prime", "\u0661" * 512), "dh_prime", NOT_HEX),
    ("prime 0x only", put("dh_prime", "0x"), "dh_prime", NOT_HEX),
    ("prime of few digits", put("dh_prime", "17"), "dh_prime", "has 5 bits, about 2048 are right"),
    ("prime short of a line", prime(lambda text: text[:480]), "dh_prime", "has 1920 bits, about 2048 are right"),
    ("prime endless", put("dh_prime", "f" * 100_000), "dh_prime", "has 400000 bits, about 2048 are right"),
    ("prime one digit short", prime(lambda text: text[:-1]), "dh_prime", NOT_PRIME),
    ("prime one digit wrong", prime(lambda text: text[:100] + format(int(text[100], 16) ^ 1, "x") + text[101:]), "dh_prime", NOT_PRIME),
    ("prime two digits swapped", prime(lambda text: "c" + text[1:] if text[0] != "c" else "d" + text[1:]), "dh_prime", NOT_PRIME),
    ("prime even", prime(lambda text: text[:-1] + "8"), "dh_prime", NOT_PRIME),
    ("generator 1", put("dh_generator", 1), "dh_generator", NOT_GENERATOR),
    ("generator 0", put("dh_generator", 0), "dh_generator", NOT_GENERATOR),
    ("generator negative", put("dh_generator", -5), "dh_generator", NOT_GENERATOR),
    ("generator a text", put("dh_generator", "2"), "dh_generator", "not a whole number"),
    ("generator true", put("dh_generator", True), "dh_generator", "not a whole number"),
    ("generator a fraction", put("dh_generator", 2.5), "dh_generator", "not a whole number"),
    ("URL without a scheme", put("base_url", "api.ibkr.com/v1/api"), "base_url", NOT_URL),
    ("URL http", put("base_url", "http://api.ibkr.com/v1/api"), "base_url", NOT_URL),
    ("URL http of a name that begins well", put("base_url", "http://127.0.0.1.evil.example"), "base_url", NOT_URL),
    ("URL http of localhost's namesake", put("base_url", "http://localhost.evil.example"), "base_url", NOT_URL),
    ("URL ftp", put("base_url", "ftp://api.ibkr.com/"), "base_url", NOT_URL),
    ("URL with a password", put("base_url", "https://user:word@api.ibkr.com/v1"), "base_url", NOT_URL),
    ("URL with a query", put("base_url", "https://api.ibkr.com/v1?x=1"), "base_url", NOT_URL),
    ("URL with a fragment", put("base_url", "https://api.ibkr.com/v1#x"), "base_url", NOT_URL),
    ("URL with a space", put("base_url", "https://api.ibkr.com/v1 /api"), "base_url", NOT_URL),
    ("URL with two slashes", put("base_url", "https://api.ibkr.com//v1"), "base_url", NOT_URL),
    ("URL of Greek letters", put("base_url", "https://\u03c0.example"), "base_url", NOT_URL),
    ("URL without a host", put("base_url", "https:///v1/api"), "base_url", NOT_URL),
    ("URL a number", put("base_url", 5), "base_url", NOT_TEXT),
    ("URL null", put("base_url", None), "base_url", NOT_TEXT),
    ("URL empty", put("base_url", ""), "base_url", NOT_FILLED_IN),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "field", "message"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN]
)
def test_a_broken_config_is_named_and_nothing_is_sent(
    sandbox: Sandbox, run: Runner, change: Change, field: str, message: str
) -> None:
    config = dict(sandbox.config)
    change(config, sandbox.folder)
    before = sandbox.connections
    result = run(sandbox, config=config)
    assert result.status == 2
    assert result.out == ""
    path = sandbox.folder / "other.json"
    wanted = [
        line for line in result.err.split("\n") if line.startswith(f"error: {path}: {field}: ")
    ]
    assert len(wanted) == 1, result.err
    assert message in wanted[0]
    lines = result.err.splitlines()
    assert lines[lines.index(wanted[0]) + 1].startswith("hint: ")
    assert sandbox.connections == before
