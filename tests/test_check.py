"""Every broken config or key file: exit status 2, the field named, nothing sent."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from Crypto.Util.asn1 import DerSequence
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa

import demo
from keys import check
from tests.conftest import ROOT, Runner, assert_no_secret
from tests.sandbox import DH_PRIME, KEYS, Sandbox

VECTORS = ROOT / "tests" / "vectors" / "ibkr-2018.json"
IBKR_PRIME = int(json.loads(VECTORS.read_text())["diffie_hellman"]["prime"], 16)

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


def larger_signature_key(config: dict[str, Any], folder: Path) -> None:
    key_file(lambda: pem_of(rsa.generate_private_key(65537, 3072)))(config, folder)
    config["access_token_secret"] = "AAAA" + config["access_token_secret"][4:]


def swap_keys(config: dict[str, Any], _: Path) -> None:
    one, two = config["signature_key_fp"], config["encryption_key_fp"]
    config.update(signature_key_fp=two, encryption_key_fp=one)


def swap_texts(config: dict[str, Any], _: Path) -> None:
    token, secret = config["access_token"], config["access_token_secret"]
    config.update(access_token=secret, access_token_secret=token)


def fifo(config: dict[str, Any], folder: Path) -> None:
    (folder / "fifo").unlink(missing_ok=True)
    os.mkfifo(folder / "fifo")
    config["signature_key_fp"] = "fifo"


def original(name: str = "signature") -> bytes:
    return (KEYS / f"private_{name}.pem").read_bytes()


REQUIRED = [
    "realm", "consumer_key", "signature_key_fp", "encryption_key_fp", "access_token", "access_token_secret", "dh_prime",
]  # fmt: skip
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
NOT_NUMBER = "not a whole number"
NOT_FORM = "not in the right form"
NOT_PATH = "not a path"
NOT_HEX = "not a hex number"
NOT_RANGE = "not a number from 2 to the prime"
NOT_PEM = "changed.pem is not in PEM form"
NO_FILE = "does not exist"
NOT_FILE = "not a regular file"
NOT_RSA = "changed.pem is not an RSA key in PEM form"
NOT_PRIME = "not a prime: a digit is wrong or missing"
NOT_BASE64 = "not base64"
UNDECRYPTED = "does not decrypt with this key"

BROKEN: list[tuple[str, Change, str, str]] = [
    *((f"{name} missing", without(name), name, NOT_FILLED_IN) for name in REQUIRED),
    *((f"{name} null", put(name, None), name, NOT_FILLED_IN) for name in REQUIRED),
    *((f"{name} empty", put(name, " \n"), name, NOT_FILLED_IN) for name in REQUIRED),
    *((f"{name} a list", put(name, ["x"]), name, NOT_TEXT) for name in REQUIRED),
    *((f"{name} left in", put(name, v), name, NOT_FILLED_IN) for name, v in PLACEHOLDERS.items()),
    ("realm a number", put("realm", 5), "realm", NOT_TEXT),
    ("realm with a space", put("realm", "limited poa"), "realm", NOT_FORM),
    ("realm of Greek letters", put("realm", "\u03c0"), "realm", NOT_FORM),
    ("consumer with a space", put("consumer_key", "SIMU LATED"), "consumer_key", NOT_FORM),
    ("consumer with a line break", put("consumer_key", "SIMU\nLAT"), "consumer_key", NOT_FORM),
    ("consumer half a character", put("consumer_key", "SIMU\ud800"), "consumer_key", NOT_FORM),
    ("access token of two words", put("access_token", "a b"), "access_token", NOT_FORM),
    ("access token with an accent", put("access_token", "\u00e9"), "access_token", NOT_FORM),
    ("key path to nowhere", put("signature_key_fp", "qqq"), "signature_key_fp", NO_FILE),
    ("key path like a placeholder", put("signature_key_fp", "your-keys/k.pem"), "signature_key_fp", NO_FILE),
    ("key path to a folder", put("signature_key_fp", "."), "signature_key_fp", NOT_FILE),
    ("key path not a path", put("encryption_key_fp", "a\0b"), "encryption_key_fp", NOT_PATH),
    ("key path of half characters", put("encryption_key_fp", "\ud800"), "encryption_key_fp", "not a path on this system"),
    ("key path too long", put("encryption_key_fp", "x" * 251), "encryption_key_fp", NOT_PATH),
    ("key path long", put("encryption_key_fp", "x" * 250), "encryption_key_fp", NO_FILE),
    ("key begun in place of its path", put("signature_key_fp", "-----BEGIN PRIVATE KEY-----MII"), "signature_key_fp", NOT_PATH),
    ("home of nobody", put("signature_key_fp", "~nobody-here/k"), "signature_key_fp", NO_FILE),
    ("key itself for its path", put("signature_key_fp", original().decode()), "signature_key_fp", NOT_PATH),
    ("secret for a key path", put("signature_key_fp", "A" * 344), "signature_key_fp", NOT_PATH),
    ("path with single backslashes", put("signature_key_fp", "C:\temp\new.pem"), "signature_key_fp", NOT_PATH),
    ("key file empty", key_file(lambda: b""), "signature_key_fp", "changed.pem: empty file"),
    ("key file of words", key_file(lambda: b"my key"), "signature_key_fp", NOT_PEM),
    ("key file of noise", key_file(lambda: bytes(range(256))), "signature_key_fp", "changed.pem is no PEM file, or is UTF-16 text"),
    ("key cut short", key_file(lambda: original()[:600]), "signature_key_fp", NOT_PEM),
    ("key without its end line", key_file(lambda: original()[:-30]), "signature_key_fp", NOT_PEM),
    ("key with a line missing", key_file(lambda: original().replace(original()[100:164], b"")), "signature_key_fp", NOT_RSA),
    ("key without content", key_file(lambda: b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"), "signature_key_fp", NOT_RSA),
    ("key in DER", key_file(lambda: pem_of(private_key(), PKCS8, DER)), "signature_key_fp", "changed.pem is no PEM file, or is UTF-16 text"),
    ("key elliptic", key_file(lambda: pem_of(ec.generate_private_key(ec.SECP256R1()))), "signature_key_fp", NOT_RSA),
    ("key elliptic, old form", key_file(lambda: pem_of(ec.generate_private_key(ec.SECP256R1()), PKCS1)), "signature_key_fp", NOT_RSA),
    ("key DSA", key_file(lambda: pem_of(dsa.generate_private_key(1024))), "signature_key_fp", NOT_RSA),
    ("Diffie-Hellman file", key_file(lambda: (KEYS / "dhparam.pem").read_bytes()), "signature_key_fp", "changed.pem holds parameters, no key"),
    ("key of 1024 bits", key_file(lambda: pem_of(rsa.generate_private_key(65537, 1024))), "signature_key_fp", "changed.pem has 1024 bits, IBKR takes 2048 to 4096"),
    ("key with a passphrase, PKCS#8", key_file(lambda: pem_of(private_key(), protection=PASSPHRASE)), "signature_key_fp", "changed.pem has a passphrase"),
    ("key with a passphrase, PKCS#1", key_file(lambda: pem_of(private_key(), PKCS1, protection=PASSPHRASE)), "signature_key_fp", "changed.pem has a passphrase"),
    ("public signature key", key_file(lambda: (KEYS / "public_signature.pem").read_bytes()), "signature_key_fp", "changed.pem is a public key"),
    ("public encryption key", key_file(lambda: (KEYS / "public_encryption.pem").read_bytes(), "encryption_key_fp"), "encryption_key_fp", "changed.pem is a public key"),
    ("keys swapped", swap_keys, "access_token_secret", UNDECRYPTED),
    ("secret and token swapped", swap_texts, "access_token_secret", "has 15 bytes, the key has 256"),
    ("secret not base64", secret(lambda text: text[:-4] + "!!=="), "access_token_secret", NOT_BASE64),
    ("secret with a space inside", secret(lambda text: text[:9] + " " + text[9:]), "access_token_secret", NOT_FORM),
    ("secret cut by one", secret(lambda text: text[:-3]), "access_token_secret", NOT_BASE64),
    ("secret cut by four", secret(lambda text: text[:-4]), "access_token_secret", "has 255 bytes, the key has 256"),
    ("secret half pasted", secret(lambda text: text[:172]), "access_token_secret", "has 129 bytes, the key has 256"),
    ("secret pasted twice", secret(lambda text: text[:-2] + "AA" + text), "access_token_secret", "bytes, the key has 256"),
    ("secret of another key", secret(lambda text: "AAAA" + text[4:]), "access_token_secret", UNDECRYPTED),
    ("secret of another key, beside a larger one", larger_signature_key, "access_token_secret", UNDECRYPTED),
    ("secret larger than the key", secret(lambda text: "////" + text[4:]), "access_token_secret", UNDECRYPTED),
    ("secret decrypted already", put("access_token_secret", "ab" * 32), "access_token_secret", "has 48 bytes, the key has 256"),
    ("prime of words", put("dh_prime", "my prime"), "dh_prime", NOT_HEX),
    ("prime as PEM", put("dh_prime", (KEYS / "dhparam.pem").read_text()), "dh_prime", "a negative number"),
    ("prime negative", prime(lambda text: "-" + text), "dh_prime", "a negative number, which is no prime"),
    ("prime with underscores", prime(lambda text: text[:8] + "_" + text[8:]), "dh_prime", NOT_HEX),
    ("prime of Arabic digits", put("dh_prime", "\u0661" * 512), "dh_prime", NOT_HEX),
    ("prime 0x only", put("dh_prime", "0x"), "dh_prime", NOT_HEX),
    ("prime of few digits", put("dh_prime", "17"), "dh_prime", "has 5 bits, about 2048 are right"),
    ("prime short of a line", prime(lambda text: text[:480]), "dh_prime", "has 1920 bits, about 2048 are right"),
    ("prime endless", put("dh_prime", "f" * 100_000), "dh_prime", NOT_HEX),
    ("prime one digit short", prime(lambda text: text[:-1]), "dh_prime", NOT_PRIME),
    ("prime one digit wrong", prime(lambda text: text[:100] + format(int(text[100], 16) ^ 1, "x") + text[101:]), "dh_prime", NOT_PRIME),
    ("prime with another first digit", prime(lambda text: "c" + text[1:] if text[0] != "c" else "d" + text[1:]), "dh_prime", NOT_PRIME),
    ("prime even", prime(lambda text: text[:-1] + "8"), "dh_prime", NOT_PRIME),
    ("generator 1", put("dh_generator", 1), "dh_generator", NOT_RANGE),
    ("generator 0", put("dh_generator", 0), "dh_generator", NOT_RANGE),
    ("generator negative", put("dh_generator", -5), "dh_generator", NOT_RANGE),
    ("generator a text", put("dh_generator", "2"), "dh_generator", NOT_NUMBER),
    ("generator true", put("dh_generator", True), "dh_generator", NOT_NUMBER),
    ("generator a fraction", put("dh_generator", 2.5), "dh_generator", NOT_NUMBER),
    ("URL without a scheme", put("base_url", "api.ibkr.com/v1/api"), "base_url", NOT_FORM),
    ("URL http", put("base_url", "http://api.ibkr.com/v1/api"), "base_url", NOT_FORM),
    ("URL http of a name that begins well", put("base_url", "http://127.0.0.1.evil.example"), "base_url", NOT_FORM),
    ("URL http of localhost's namesake", put("base_url", "http://localhost.evil.example"), "base_url", NOT_FORM),
    ("URL ftp", put("base_url", "ftp://api.ibkr.com/"), "base_url", NOT_FORM),
    ("URL with a password", put("base_url", "https://user:word@api.ibkr.com/v1"), "base_url", NOT_FORM),
    ("URL with a query", put("base_url", "https://api.ibkr.com/v1?x=1"), "base_url", NOT_FORM),
    ("URL with a fragment", put("base_url", "https://api.ibkr.com/v1#x"), "base_url", NOT_FORM),
    ("URL with a space", put("base_url", "https://api.ibkr.com/v1 /api"), "base_url", NOT_FORM),
    ("URL with two slashes", put("base_url", "https://api.ibkr.com//v1"), "base_url", NOT_FORM),
    ("URL of Greek letters", put("base_url", "https://\u03c0.example"), "base_url", NOT_FORM),
    ("URL without a host", put("base_url", "https:///v1/api"), "base_url", NOT_FORM),
    ("URL a number", put("base_url", 5), "base_url", NOT_TEXT),
    ("URL null", put("base_url", None), "base_url", NOT_FILLED_IN),
    ("URL with a port too high", put("base_url", "https://h:65536/v1"), "base_url", "no such host or port can exist"),
    ("URL with port 0", put("base_url", "https://h:0/v1"), "base_url", "no such host or port can exist"),
    ("URL with an endless host", put("base_url", "https://" + "a." * 150 + "h"), "base_url", "no such host or port can exist"),
    ("URL with an empty label", put("base_url", "https://api..ibkr.com/v1"), "base_url", NOT_FORM),
    ("URL with a dot at the end", put("base_url", "https://api.ibkr.com./v1"), "base_url", NOT_FORM),
    ("URL with a label of 64", put("base_url", f"https://{'a' * 64}.com"), "base_url", NOT_FORM),
    ("generator as large as the prime", put("dh_generator", 2**2048), "dh_generator", NOT_RANGE),
    ("access token half a character", put("access_token", "\ud800abc"), "access_token", NOT_FORM),
    ("key in UTF-16", key_file(lambda: original().decode().encode("utf-16")), "signature_key_fp", "changed.pem is no PEM file, or is UTF-16 text"),
    ("key on one line", key_file(lambda: original().replace(b"\n", b" ")), "signature_key_fp", "changed.pem has its key on one line"),
    ("key of 200,000 bits", key_file(lambda: b"-----BEGIN PRIVATE KEY-----\n" + b"QUFB\n" * 10_000 + b"-----END PRIVATE KEY-----"), "signature_key_fp", "changed.pem is larger than any key of 4096 bits"),
    ("key a FIFO", fifo, "signature_key_fp", NOT_FILE),
    ("URL empty", put("base_url", ""), "base_url", NOT_FILLED_IN),
]  # fmt: skip


@pytest.fixture(scope="module")
def explanations() -> Iterator[dict[str, str]]:
    """What each broken config is answered, word for word. To be read before it is accepted:

    UPDATE_TRANSCRIPTS=1 python -m pytest --numprocesses=0 tests/test_check.py
    """
    path = ROOT / "tests" / "transcripts" / "broken-configs.txt"
    blocks = path.read_text(encoding="ascii").split("\n\n")
    known = {
        name.strip("[]"): text for name, _, text in (b.strip().partition("\n") for b in blocks)
    }
    yield known
    if os.environ.get("UPDATE_TRANSCRIPTS"):
        blocks = [f"[{name}]\n{known[name]}\n" for name, *_ in BROKEN]
        path.write_text("\n".join(blocks), encoding="ascii")


@pytest.mark.parametrize(("name", "change", "field", "message"), BROKEN, ids=[r[0] for r in BROKEN])
def test_a_broken_config_is_named_and_nothing_is_sent(
    sandbox: Sandbox,
    run: Runner,
    explanations: dict[str, str],
    name: str,
    change: Change,
    field: str,
    message: str,
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
    explained = result.err.replace(str(sandbox.folder), "/tmp/sandbox").strip()
    if os.environ.get("UPDATE_TRANSCRIPTS"):
        explanations[name] = explained
    assert explained == explanations[name]


# Broken files

BAD_FILE_HINTS = {
    "not a JSON object:": "look there, and at the line before; in a path, write a backslash twice",
    "not a JSON object\n": "begin with a template again",
    "not a UTF-8 text": "save it as UTF-8",
    "is there twice": "leave one of them out",
}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file\n"),
        (b"realm: limited_poa", "not a JSON object: Expecting value: line 1 column 1 (char 0)"),
        (b'{"realm": "limited_poa"', "not a JSON object: Expecting "),
        (b"{'realm': 'limited_poa'}", "not a JSON object: Expecting property name"),
        (b'{"signature_key_fp": "C:\\keys\\k.pem"}', "not a JSON object: Invalid \\escape"),
        (b"[]", "not a JSON object\n"),
        (b"null", "not a JSON object\n"),
        (b'"text"', "not a JSON object\n"),
        (b'{"realm": "a", "realm": "b"}', "realm is there twice\n"),
        (b'{"x": [{"%s": 1, "%s": 2}]}' % (b"a" * 33, b"a" * 33), "not shown is there twice\n"),
        (b"5", "not a JSON object\n"),
        (b"\xff\xfe\xfd", "not a UTF-8 text"),
        (b"\x00" * 50, "not a JSON object: Expecting value"),
        (b"[" * 100_000, "not a JSON object\n"),
        (b'{"dh_generator": ' + b"9" * 5000 + b"}", "not a JSON object\n"),
        (b" " * 2_000_000 + b"{}", "not a JSON object: Expecting value"),
    ],
)
def test_a_file_that_is_no_config_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    if b"9999" in content and not hasattr(sys, "get_int_max_str_digits"):
        message = "realm: not filled in"  # this Python reads such numbers
    assert demo.main([str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith(f"error: {path}: ")
    for words, hint in BAD_FILE_HINTS.items():
        if words in message:
            assert err.splitlines()[1:] == [f"hint: {hint}"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.json", "none.json: no such file"),
        (".", ".: not a regular file"),
        ("x" * 300, "(not shown): File name too long"),
    ],
)
def test_a_config_that_cannot_be_read_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert demo.main([name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0].endswith(message)
    assert err.splitlines()[1:] == ["hint: check the path"]


@pytest.mark.parametrize("kind", ["fifo", "secret file"])
def test_a_config_that_may_not_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "c.json"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_text("{}")
        monkeypatch.setattr("builtins.open", refuse)
    assert demo.main([str(path)]) == 2
    why = {"fifo": "not a regular file", "secret file": "Permission denied"}[kind]
    assert capsys.readouterr().err == f"error: {path}: {why}\nhint: check the path\n"


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("config-test.json", "test-config.json"),
        ("live/confg.json", "live/config.json"),
        ("zzz", None),
        ("no/x", None),
    ],
)
def test_a_missing_config_names_the_closest_beside_it(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
    named: str | None,
) -> None:
    (tmp_path / "live").mkdir()
    for name in ("test-config.json", "live/config.json"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert demo.main([asked]) == 2
    hint = f"did you mean {named}?" if named else "check the path"
    assert capsys.readouterr().err == f"error: {asked}: no such file\nhint: {hint}\n"


def test_one_run_lists_every_problem(sandbox: Sandbox, run: Runner) -> None:
    config = {"realm": 1, "dh_prime": "17", "access_token_secret": "short", "base_url": "x"}
    result = run(sandbox, config=config)
    path = sandbox.folder / "other.json"
    assert result.status == 2
    assert result.err.replace(f"{path}: ", "").splitlines() == [
        "error: base_url: not in the right form: https, or http on this computer",
        'hint: give a URL like "https://host/path", or leave it out for IBKR\'s own',
        "error: realm: not a text in quotes",
        'hint: give "limited_poa", or "test_realm" for the consumer TESTCONS',
        "error: consumer_key: not filled in",
        "hint: copy its nine characters from the self-service portal",
        "error: signature_key_fp: not filled in",
        "hint: give the path of private_signature.pem; a \\ in it is written twice",
        "error: encryption_key_fp: not filled in",
        "hint: give the path of private_encryption.pem; a \\ in it is written twice",
        "error: access_token: not filled in",
        "hint: copy all of it from where it was generated",
        "error: dh_prime: has 5 bits, about 2048 are right",
        "hint: copy what this prints: openssl asn1parse -in dhparam.pem",
    ]


# Accepted as people write them


def spaced(text: str) -> str:
    """As `openssl dhparam -text` prints it."""
    pairs = [("00" + text)[i : i + 2] for i in range(0, len(text) + 2, 2)]
    lines = [":".join(pairs[i : i + 15]) for i in range(0, len(pairs), 15)]
    return "\n        ".join(lines)


@pytest.mark.parametrize(
    "edit",
    [
        str.upper,
        spaced,
        lambda text: "0x" + text,
        lambda text: "0X" + text.upper(),
        lambda text: "0000" + text,
        lambda text: f"  {text}\r\n",
        lambda text: text[:100] + "\r\n" + text[100:],
        lambda text: " 0x00" + text,
        lambda text: f"4:d=1 hl=4 l= 257 prim: INTEGER :{text.lower()}",
    ],
)
def test_a_prime_is_accepted_as_it_was_pasted(
    sandbox: Sandbox, run: Runner, edit: Callable[[str], str]
) -> None:
    config = {**sandbox.config, "dh_prime": edit(sandbox.config["dh_prime"])}
    result = run(sandbox, "--check", config=config)
    assert result == (0, run(sandbox, "--check").out, "")


# IBKR's own number of 2018 is divisible by 3, 5 and 181; its test environment may still have it.
@pytest.mark.parametrize("prime", [2**2039 + 33, IBKR_PRIME, 2**2203 - 1], ids=int.bit_length)
def test_a_prime_of_a_usual_size_is_accepted(sandbox: Sandbox, run: Runner, prime: int) -> None:
    config = {**sandbox.config, "dh_prime": f"{prime:x}"}
    line = f"  ok   dh_prime              {prime.bit_length()} bits; SHA-256 "
    assert line in run(sandbox, "--check", config=config).out


@pytest.mark.parametrize("bits", [2039, 4097])
def test_a_prime_of_an_unusual_size_is_refused(sandbox: Sandbox, run: Runner, bits: int) -> None:
    config = {**sandbox.config, "dh_prime": f"{2 ** (bits - 1) + 1:x}"}
    assert f"dh_prime: has {bits} bits" in run(sandbox, "--check", config=config).err


def test_a_prime_of_4096_bits_is_still_looked_at(sandbox: Sandbox, run: Runner) -> None:
    config = {**sandbox.config, "dh_prime": f"{2**4095 + 4:x}"}
    assert NOT_PRIME in run(sandbox, "--check", config=config).err


@pytest.mark.parametrize(
    "edit",
    [
        lambda pem: pem.replace(b"\n", b"\r\n"),
        lambda pem: b"\xef\xbb\xbf" + pem,
        lambda pem: b"\xef\xbb\xbf" + pem.replace(b"\n", b"\r\n"),
        lambda pem: pem.rstrip(b"\n"),
        lambda pem: pem + b"\n\n",
        lambda pem: b"Bag Attributes\n    friendlyName: k\n" + pem,
        lambda pem: b"Schl\xfcssel\n" + pem,  # in another encoding than UTF-8
        lambda pem: (KEYS / "public_encryption.pem").read_bytes() + pem,
        lambda pem: pem.replace(b"\n", b"\r"),
        lambda pem: pem.replace(b"\n", b" \n\n  "),
        lambda _: pem_of(private_key(), PKCS1),
        lambda _: pem_of(private_key(), PKCS8),
    ],
)
def test_a_key_file_is_accepted_as_other_systems_write_it(
    sandbox: Sandbox, run: Runner, edit: Callable[[bytes], bytes]
) -> None:
    config = dict(sandbox.config)
    key_file(lambda: edit(original()))(config, sandbox.folder)
    assert run(sandbox, "--check", config=config) == run(sandbox, "--check")


@pytest.mark.parametrize("bits", [2048, 4096])
def test_larger_keys_are_accepted(sandbox: Sandbox, run: Runner, bits: int) -> None:
    config = dict(sandbox.config)
    key_file(lambda: pem_of(rsa.generate_private_key(65537, bits)))(config, sandbox.folder)
    line = f"  ok   signature_key_fp      private, {bits} bits; public half: SHA-256 "
    assert line in run(sandbox, "--check", config=config).out


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace('": "', '": " '),
        lambda text: text.replace('",\n', ' \\n",\n'),
        lambda text: text.replace("/v1/api", "/v1/api/"),
        lambda text: text.replace("{", '{"dh_generator": 2,'),
        lambda text: re.sub('(?<="dh_prime": ")(.{64})', r"\1" + "\n    ", text),
    ],
)
def test_a_config_is_accepted_as_editors_write_it(
    sandbox: Sandbox, run: Runner, edit: Callable[[str], str]
) -> None:
    result = run(sandbox, config=edit(sandbox.config_path.read_text()))
    assert (result.status, result.err) == (0, "")


def test_key_paths_may_be_absolute_or_begin_with_a_tilde(
    sandbox: Sandbox, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(sandbox.folder))
    config = {
        **sandbox.config,
        "signature_key_fp": "~/private_signature.pem",
        "encryption_key_fp": str(sandbox.folder / "private_encryption.pem"),
    }
    assert run(sandbox, "--check", config=config).status == 0


@pytest.mark.parametrize(
    "url",
    [
        "https://api.ibkr.com/v1/api",
        "https://1.api.ibkr.com/v1/api/",
        "https://api.ibkr.com",
        "https://api.ibkr.com:443/v1/api",
        "http://localhost:5000/v1/api",
        "http://127.0.0.1",
        "http://127.1.2.3:80/",
        "http://[::1]:5000/v1/api",
    ],
)
def test_https_is_accepted_and_http_on_this_computer(
    sandbox: Sandbox, run: Runner, url: str
) -> None:
    result = run(sandbox, "--check", config={**sandbox.config, "base_url": url})
    assert (result.status, result.err) == (0, "")


def test_without_a_base_url_it_is_ibkrs(sandbox: Sandbox, run: Runner) -> None:
    config = {key: value for key, value in sandbox.config.items() if key != "base_url"}
    assert run(sandbox, "--check", config=config).status == 0
    found = check.check_config(config, str(sandbox.folder / "other.json")).ingredients
    assert found is not None
    assert found.base_url == "https://api.ibkr.com/v1/api"


def test_another_generator_is_used(sandbox: Sandbox, run: Runner) -> None:
    result = run(sandbox, "-v", config={**sandbox.config, "dh_generator": 10})
    assert result.status == 1  # the sandbox's is 2: the two sides get different secrets
    assert "proof of the live session token is wrong" in result.err
    shown = run(sandbox, "--check", config={**sandbox.config, "dh_generator": 10})
    assert "  ok   dh_generator          10\n" in shown.out


# What is seldom meant


REALMS = '"test_realm" is for TESTCONS, "limited_poa" for every other consumer'
CAPITALS = "copy it again from the portal, where it is in capitals; its case matters"
WARNED: list[tuple[str, Change, str, str]] = [
    ("realm of the test environment", put("realm", "test_realm"), "realm: does not fit the consumer key", REALMS),
    ("realm of live for TESTCONS", put("consumer_key", "TESTCONS"), "realm: does not fit the consumer key", REALMS),
    ("consumer in small letters", put("consumer_key", "simulated"), "consumer_key: not nine capitals or digits", CAPITALS),
    ("consumer of eight", put("consumer_key", "SIMULATE"), "consumer_key: not nine capitals or digits", CAPITALS),
    ("consumer of ten", put("consumer_key", "SIMULATED1"), "consumer_key: not nine capitals or digits", CAPITALS),
    ("one key for both", lambda config, _: config.update(signature_key_fp=config["encryption_key_fp"]), "signature_key_fp: also the encryption key", "make two keys"),
    ("field mistyped", put("dh_primes", "x"), "dh_primes: unknown field", "did you mean dh_prime?"),
    ("field mistyped in capitals", put("Realm", "x"), "Realm: unknown field", "did you mean realm?"),
    ("optional field mistyped", put("baseurl", "x"), "baseurl: unknown field", "did you mean base_url?"),
    ("secret for a name", put("ab" * 16, "x"), "a name that may be a secret, not shown: unknown field", "it is ignored"),
    ("field of another program", put("zzz", "x"), "zzz: unknown field", "it is ignored"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message", "hint"), [row[1:] for row in WARNED], ids=[row[0] for row in WARNED]
)
def test_what_is_seldom_meant_is_a_warning(
    sandbox: Sandbox, run: Runner, change: Change, message: str, hint: str
) -> None:
    config = dict(sandbox.config)
    change(config, sandbox.folder)
    result = run(sandbox, "--check", config=config)
    path = sandbox.folder / "other.json"
    assert result.status == 0
    assert result.err == f"warning: {path}: {message}\nhint: {hint}\n"


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps rights in another form")
@pytest.mark.parametrize("name", ["signature", "encryption"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_key_that_others_may_read_is_a_warning(
    sandbox: Sandbox, run: Runner, name: str, mode: int
) -> None:
    key = sandbox.folder / f"private_{name}.pem"
    key.chmod(mode)
    result = run(sandbox, "--check")
    key.chmod(0o600)
    message = f"{name}_key_fp: others may read the file\nhint: chmod 600 {key}\n"
    assert result.err == f"warning: {sandbox.config_path}: {message}"
    assert result.status == 0


def test_the_test_environment_gives_no_warning(sandbox: Sandbox, run: Runner) -> None:
    config = {**sandbox.config, "consumer_key": "TESTCONS", "realm": "test_realm"}
    assert run(sandbox, "--check", config=config).err == ""


def test_the_check_goes_on_without_the_encryption_key(sandbox: Sandbox, run: Runner) -> None:
    config = {**sandbox.config, "encryption_key_fp": "none.pem"}
    result = run(sandbox, "--check", config=config)
    line = "  note access_token_secret   not tried for want of its key\n"
    assert line in result.out
    assert result.err.count("error: ") == 1
    assert result.status == 2


def test_the_check_goes_on_without_the_signature_key(sandbox: Sandbox, run: Runner) -> None:
    other = encrypted(b"of another consumer", "signature")
    config = {**sandbox.config, "signature_key_fp": "none.pem", "access_token_secret": other}
    result = run(sandbox, "--check", config=config)
    assert UNDECRYPTED in result.err
    assert result.err.count("error: ") == 2


def test_the_check_sends_nothing(sandbox: Sandbox, run: Runner) -> None:
    before = sandbox.connections
    assert run(sandbox, "--check").status == 0
    assert sandbox.connections == before


# The templates


@pytest.mark.parametrize("name", ["config.json", "test-config.json"])
def test_the_templates_have_the_documented_fields_and_placeholders(name: str) -> None:
    template = json.loads((ROOT / name).read_text())
    assert set(template) == set(REQUIRED)
    filled_in = {key for key, value in template.items() if value != PLACEHOLDERS.get(key)}
    if name == "config.json":
        assert filled_in == {"realm"}
        assert template["realm"] == "limited_poa"
    else:
        assert filled_in == set(REQUIRED) - {"access_token", "access_token_secret"}
        prime = hashlib.sha256(template["dh_prime"].upper().encode()).hexdigest()
        assert prime.startswith("d5b8058a")
        assert (template["realm"], template["consumer_key"]) == ("test_realm", "TESTCONS")


def test_the_filled_in_test_template_is_accepted_where_the_readme_puts_the_keys(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((ROOT / "test-config.json").read_text())
    for name in ("dh_prime", "access_token", "access_token_secret"):
        config[name] = sandbox.config[name]
    (tmp_path / "keys" / "test").mkdir(parents=True)
    for name in ("private_signature.pem", "private_encryption.pem"):
        shutil.copy(sandbox.folder / name, tmp_path / "keys" / "test")
    path = tmp_path / "test-config.json"
    path.write_text(json.dumps(config))
    assert demo.main([str(path), "--check"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert_no_secret(out, sandbox.secrets)


def test_without_an_argument_the_constant_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert demo.main([]) == 2
    assert "test-config.json: access_token: not filled in" in capsys.readouterr().err
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.json").write_text("{}")
    for constant in ("~/mine.json", str(tmp_path / "mine.json")):
        monkeypatch.setattr(demo, "CONFIG", constant)
        assert demo.main([]) == 2
        assert "error: mine.json: realm: not filled in" in capsys.readouterr().err


# What --check says


def beside(sandbox: Sandbox, folder: Path, **changes: Any) -> Path:
    """Lay a set-up as a user has it: the config, the keys, and the three files that were uploaded."""
    for pem in KEYS.glob("*.pem"):
        Path(shutil.copy(pem, folder)).chmod(0o600)
    (folder / "c.json").write_text(json.dumps({**sandbox.config, **changes}))
    return folder / "c.json"


def openssl_public(key: Path, *, private: bool) -> bytes:
    command = ["openssl", "pkey", "-in", str(key), "-pubout", "-outform", "DER"]
    return subprocess.run(
        command + ([] if private else ["-pubin"]), capture_output=True, check=True
    ).stdout


def test_files_that_fit_are_said_and_fingerprints_are_openssls(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main([str(beside(sandbox, tmp_path)), "--check"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.findall(r"(?m)^  ok   (\S+) +fits$", out) == [
        "public_signature.pem",
        "public_encryption.pem",
        "dhparam.pem",
    ]
    for use in ("signature", "encryption"):
        half = openssl_public(tmp_path / f"private_{use}.pem", private=True)
        assert half == openssl_public(tmp_path / f"public_{use}.pem", private=False)
        assert f"SHA-256 {hashlib.sha256(half).hexdigest()[:8]}\n" in out
    assert out.endswith("no errors; nothing was sent\n")


def parameters(prime: int, generator: int) -> str:
    der = base64.b64encode(DerSequence([prime, generator]).encode()).decode()
    return f"-----BEGIN DH PARAMETERS-----\n{der}\n-----END DH PARAMETERS-----\n"


ANOTHER_GENERATOR = parameters(DH_PRIME, 5)
OTHER_PRIME = parameters(IBKR_PRIME, 2)
NEGATIVE = parameters(DH_PRIME - 2**2048, 2)
ZERO = parameters(0, 2)
NOT_TWO_NUMBERS = ANOTHER_GENERATOR.replace(
    base64.b64encode(DerSequence([DH_PRIME, 5]).encode()).decode(),
    base64.b64encode(DerSequence([DH_PRIME, DerSequence([2])]).encode()).decode(),
)
NOT_ITS_HALF = "is not the public half of private_signature.pem"
BEGIN, END = b"-----BEGIN DH PARAMETERS-----\n", b"\n-----END DH PARAMETERS-----"
MISFITS = [
    ("public_signature.pem", "public_encryption.pem", NOT_ITS_HALF),
    ("public_signature.pem", "dhparam.pem", NOT_ITS_HALF),
    ("public_signature.pem", b"nothing", NOT_ITS_HALF),
    ("public_encryption.pem", "public_signature.pem", NOT_ITS_HALF.replace("signature", "encryption")),
    ("dhparam.pem", b"nothing", "cannot be read"),
    ("dhparam.pem", BEGIN + b"MAMCAQI=" + END, "cannot be read"),
    ("dhparam.pem", BEGIN + b"MAQwADAA" + END, "cannot be read"),
    ("dhparam.pem", NOT_TWO_NUMBERS.encode(), "cannot be read"),
    ("dhparam.pem", ZERO.encode(), "has another prime than dh_prime"),
    ("dhparam.pem", OTHER_PRIME.encode(), "has another prime than dh_prime"),
    ("dhparam.pem", ANOTHER_GENERATOR.encode(), "has another generator than dh_generator"),
    ("dhparam.pem", NEGATIVE.encode(), "is broken: its prime is negative; make it again"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), MISFITS)
def test_a_file_that_does_not_fit_is_a_warning(
    sandbox: Sandbox,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str | bytes,
    message: str,
) -> None:
    path = beside(sandbox, tmp_path)
    data = (KEYS / content).read_bytes() if isinstance(content, str) else content
    (tmp_path / name).write_bytes(data)
    assert demo.main([str(path), "--check"]) == 0
    out, err = capsys.readouterr()
    first, uploaded, not_uploaded = err.splitlines()
    assert first == f"warning: {path}: {name}: {message}"
    remedy = "copy its prime and generator" if name == "dhparam.pem" else "name the private key"
    assert uploaded.startswith(f"hint: if this file was uploaded, {remedy}")
    assert not_uploaded == "hint: if not, upload the one that belongs to what the config has"
    assert out.endswith("no errors, 1 warning; nothing was sent\n")


def test_a_file_beside_the_keys_that_is_none_is_passed_over(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = beside(sandbox, tmp_path)
    (tmp_path / "dhparam.pem").unlink()
    os.mkfifo(tmp_path / "dhparam.pem")
    assert demo.main([str(path), "--check"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "dhparam.pem" not in out


def test_the_verdict_counts_errors_and_warnings(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = beside(sandbox, tmp_path, zzz=1, yyy=2, realm="", dh_prime="17")
    assert demo.main([str(path), "--check"]) == 2
    assert capsys.readouterr().out.endswith("2 errors, 2 warnings; nothing was sent\n")
    path = beside(sandbox, tmp_path, realm="")
    assert demo.main([str(path), "--check"]) == 2
    assert capsys.readouterr().out.endswith("\n1 error; nothing was sent\n")


@pytest.mark.parametrize(
    ("name", "in_git", "remarked"),
    [
        ("config.json", True, True),
        ("test-config.json", True, True),
        ("test-config.json", False, False),
        ("mine.json", True, False),
        ("mine/config.json", True, False),
    ],
)
def test_a_filled_in_template_that_git_tracks_is_remarked(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    name: str, in_git: bool, remarked: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(check, "PROJECT", str(tmp_path))
    folder = (tmp_path / name).parent
    folder.mkdir(exist_ok=True)
    path = beside(sandbox, folder).rename(tmp_path / name)
    if in_git:
        (tmp_path / ".git").mkdir()
    findings = check.check_config(json.loads(path.read_text()), str(path)).findings
    message = "git tracks this file, now with your token in it"
    hint = f"unless you have done it, run: git update-index --skip-worktree {name}"
    remark = check.Finding("note", name, message, (hint,))
    assert (findings[-1] == remark) == remarked
    assert {finding.kind for finding in findings} == ({"ok", "note"} if remarked else {"ok"})
    assert demo.main([str(path), "--check"]) == 0
    assert (f"\n       {hint}\n" in capsys.readouterr().out) == remarked


# A secret that does not decrypt


def test_the_key_in_the_folder_that_decrypts_the_secret_is_named_whatever_it_is_called(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = beside(sandbox, tmp_path, encryption_key_fp="private_signature.pem")
    (tmp_path / "private_encryption.pem").rename(tmp_path / "old-one.key")
    assert demo.main([str(path)]) == 2
    assert capsys.readouterr().err.splitlines()[1:] == [
        f"hint: it decrypts with {tmp_path}/old-one.key: name that file in encryption_key_fp"
    ]


def test_paths_of_a_config_in_the_current_folder_are_shown_as_they_are(
    sandbox: Sandbox,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    beside(sandbox, tmp_path, encryption_key_fp="private_signature.pem", signature_key_fp="b.pem")
    for name in ("a.pem", "private_encryption.pem", "z.pem"):
        (tmp_path / name).write_text("none")
    shutil.copy(KEYS / "private_encryption.pem", "z.pem")
    assert demo.main(["c.json"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] in ("hint: did you mean a.pem?", "hint: did you mean z.pem?")
    assert lines[3] == "hint: it decrypts with z.pem: name that file in encryption_key_fp"


def test_each_key_has_a_folder_of_its_own(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    beside(sandbox, there)
    (there / "sign.pem").write_bytes(pem_of(rsa.generate_private_key(65537, 2048)))
    shutil.copy(there / "public_signature.pem", here / "public_encryption.pem")
    shutil.copy(KEYS / "private_signature.pem", here / "wrong.pem")
    (there / "private_encryption.pem").rename(there / "right.pem")
    changes = {"encryption_key_fp": "here/wrong.pem", "signature_key_fp": "there/sign.pem"}
    config = {**sandbox.config, **changes}

    def hints() -> tuple[str, ...]:
        findings = check.check_config(config, str(tmp_path / "c.json")).findings
        return next(finding.hints for finding in findings if finding.kind == "error")

    def listed(folder: str) -> list[str]:
        if folder == str(here):
            raise PermissionError
        return ["right.pem"]

    named = f"it decrypts with {there}/right.pem: name that file in encryption_key_fp"
    assert hints() == (named,)
    monkeypatch.setattr(check.os, "listdir", listed)
    assert hints() == (named,)
    (there / "right.pem").unlink()
    assert len(hints()) == 2  # public_encryption.pem fits, though wrong.pem is no encryption key
    shutil.copy(there / "public_encryption.pem", here)
    stale = "public_encryption.pem beside the key is not its public half: which is old?"
    assert hints()[0] == stale


@pytest.mark.parametrize("stale", [False, True])
def test_without_one_the_hints_end_with_generating_anew(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str], stale: bool
) -> None:
    path = beside(sandbox, tmp_path)
    (tmp_path / "private_encryption.pem").write_bytes(pem_of(rsa.generate_private_key(65537, 2048)))
    if not stale:
        (tmp_path / "public_encryption.pem").unlink()
    assert demo.main([str(path)]) == 2
    hints = capsys.readouterr().err.splitlines()[1:]
    assert len(hints) == 3 if stale else 2
    assert ("public_encryption.pem beside the key is not its public half" in hints[0]) == stale
    assert "generate the token again" in hints[-1]
    assert not any("generate the" in hint for hint in hints[:-1])


@pytest.mark.parametrize("testing", [True, False])
def test_a_missing_key_file_says_where_it_comes_from(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str], testing: bool
) -> None:
    consumer = {"consumer_key": "TESTCONS", "realm": "test_realm"} if testing else {}
    changes = {
        "signature_key_fp": "private_signatur.pem",
        "encryption_key_fp": "no/x.pem",
        **consumer,
    }
    path = beside(sandbox, tmp_path, **changes)
    assert demo.main([str(path)]) == 2
    hints = capsys.readouterr().err.splitlines()[1::2]
    if testing:
        comes = "comes with IBKR's web demo, in its folder keys: copy it there"
        assert hints == [f"hint: private_{use}.pem {comes}" for use in ("signature", "encryption")]
    else:
        assert hints[0].endswith("did you mean private_signature.pem?")
        assert hints[1].startswith("hint: its folder does not exist either")


def test_a_missing_key_file_with_nothing_like_it_says_how_to_make_one(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main([str(beside(sandbox, tmp_path, signature_key_fp="zzz"))]) == 2
    assert "run keys/generate.sh" in capsys.readouterr().err


# Secrets in wrong places

SECRETS = {
    "token": "0123456789abcdef0a1b",
    "secret": base64.b64encode(hashlib.sha512(b"made for this test").digest() * 4).decode(),
    "hex": hashlib.sha256(b"made for this test").hexdigest(),
    "capitals": hashlib.sha256(b"made for this test").hexdigest().upper(),
    "short": "ABCDEF0123456789",
    "half": base64.b64encode(hashlib.sha512(b"made for this test").digest() * 2).decode()[:60],
}
PLACES = [*REQUIRED[:4], "dh_prime", "base_url", "name", "file"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_in_the_wrong_place_is_never_shown(
    sandbox: Sandbox,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    kind: str,
) -> None:
    monkeypatch.setattr(demo, "sleep", lambda _: None)
    secret = SECRETS[kind]
    changes: dict[str, Any] = {secret: "access_token"} if place == "name" else {place: secret}
    path = str(beside(sandbox, tmp_path, **({} if place == "file" else changes)))
    if place == "file":
        path = secret
    for options in ([], ["--check"]):
        demo.main([path, *options])
        out, err = capsys.readouterr()
        pieces = {secret[i : i + 12] for i in range(len(secret) - 11)}
        assert not [piece for piece in pieces if piece in out + err]


def test_a_folder_that_cannot_be_listed_has_no_other_key(
    sandbox: Sandbox, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    config = dict(sandbox.config)
    swap_keys(config, sandbox.folder)
    monkeypatch.setattr(check.os, "listdir", refuse)
    assert "was this key's public half the one uploaded" in run(sandbox, config=config).err


@pytest.mark.parametrize("lines", [1, 5])
def test_what_asn1parse_prints_is_accepted_as_the_prime(
    sandbox: Sandbox, run: Runner, lines: int
) -> None:
    command = ["openssl", "asn1parse", "-in", str(KEYS / "dhparam.pem")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    integers = [line for line in printed.splitlines() if "INTEGER" in line]
    text = integers[0] if lines == 1 else printed
    assert run(sandbox, "--check", config={**sandbox.config, "dh_prime": text}).status == 0


def test_a_constant_on_another_drive_is_shown_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: object) -> None:
        raise ValueError("path is on mount 'C:', start on mount 'D:'")

    monkeypatch.setattr(demo.os.path, "relpath", refuse)
    assert demo.main([]) == 2
    shown = ascii(str(ROOT / "test-config.json"))[1:-1]
    assert f"error: {shown}: access_token: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "close"), [("dh_primes", "dh_prime"), ("Realm", "realm"), ("zzz", "")]
)
def test_the_closest_name_is_one_or_none(name: str, close: str) -> None:
    assert check.closest(name, ["realm", "dh_prime", "dh_generator", "dh_prim"]) == close


LONGEST_HOST = ".".join(["a" * 60] * 4 + ["b" * 6])  # 250 characters


@pytest.mark.parametrize(
    ("checked", "value", "remark"),
    [
        (check.check_realm, "limited_poa", "limited_poa"),
        (check.check_realm, "test_realm", "test_realm"),
        (check.check_realm, "other", "(5 characters)"),
        (check.check_consumer_key, "ABCDEFGH9", "ABCDEFGH9"),
        (check.check_consumer_key, "TESTCONS", "TESTCONS"),
        (check.check_consumer_key, "abcdefgh9", "(9 characters)"),
        (check.check_access_token, "abc", "3 characters"),
        (check.check_base_url, "https://API.example/X/", "https://API.example/X/"),
        (check.check_base_url, f"https://{LONGEST_HOST}", f"https://{LONGEST_HOST}"),
        (check.check_generator, 999, "999"),
        (check.check_generator, 1000, "10 bits"),
        (check.check_generator, 2**2039 - 1, "2039 bits"),
    ],
)
def test_the_check_says_of_a_right_value(checked: Any, value: Any, remark: str) -> None:
    right = value.rstrip("/") if isinstance(value, str) else value
    found = checked(value)
    assert (found.value, found.remark) == (right, remark)


@pytest.mark.parametrize(
    ("checked", "value"),
    [(check.check_base_url, f"https://b{LONGEST_HOST}"), (check.check_generator, 2**2039)],
)
def test_a_value_beyond_what_can_exist_is_refused(checked: Any, value: Any) -> None:
    with pytest.raises(check.FieldError):
        checked(value)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("keys/live/private.pem", True),
        (r"C:\keys\private.pem", True),
        ("a+b.pem", False),
        ("a=b.pem", False),
        ("0123456789abcdef", False),
        ("0123456789ABCDEF", False),
        ("x" * 39, True),
        ("x" * 40, False),
        ("/".join(["xY7" * 10 + "x"] * 2), True),
        ("/".join(["xY7" * 10 + "x"] * 2 + ["x"]), False),
        ("/".join(["xY" * 15] * 9), True),
        ("/".join(["x7" * 15] * 9), True),
    ],
)
def test_a_path_is_shown_unless_it_may_be_a_secret(path: str, shown: bool) -> None:
    expected = path if shown else f"a path of {len(path)} characters (not shown)"
    assert check.shown_path(path) == expected


def test_a_file_that_fails_without_a_reason_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> bytes:
        raise OSError

    monkeypatch.setattr(check, "read_file", fail)
    with pytest.raises(check.FieldError, match=r"^k\.pem: cannot be read$"):
        check.check_private_key("k.pem", "signature", "", False)


def test_unknown_fields_without_end_are_counted() -> None:
    for count in (20, 21):
        found = list(check.unknown_fields({f"zzz{i}": 1 for i in range(count)}, ["realm"]))
        assert len(found) == count
        assert all(finding.message == "unknown field" for finding in found[:20])
    hints = ("begin with a template again",)
    assert found[20] == check.Finding("warning", "...", "1 unknown fields more", hints)


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.255.255.255", True), ("127.199.20.9", True), ("127.256.0.1", False), ("127.0.0.999", False)],
)  # fmt: skip
def test_only_addresses_that_exist_are_on_this_computer(host: str, local: bool) -> None:
    with contextlib.nullcontext() if local else pytest.raises(check.FieldError):
        check.check_base_url(f"http://{host}:8080/v1/api")
