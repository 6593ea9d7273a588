"""Configs and files as people have them, and what `--check` says of each: one row a message.

`tests/dh-parameters` holds what `openssl dhparam -5 2048`, `-dsaparam 2048` and `-2 1024` made, and one
prime without its sign byte.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from Crypto.PublicKey import RSA
from cryptography.hazmat.primitives import serialization

import demo
from tests.conftest import ROOT, run
from tests.sandbox import KEYS, Sandbox
from tests.sandbox.identity import throwaway_identity

pytestmark = pytest.mark.usefixtures("all_well")

IDENTITY = throwaway_identity()
TOKEN, SECRET = IDENTITY.access_token, IDENTITY.encrypted_secret
PRIME = f"{IDENTITY.prime:x}"
PARAMETERS = Path(__file__).parent / "dh-parameters"
TEXT = (ROOT / "config.json").read_text()
TEMPLATE = json.loads(TEXT)


def openssl(*arguments: object) -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=True).stdout


def pasted(name: str) -> str:
    """Return what `openssl asn1parse` prints."""
    folder = KEYS if name == "dhparam" else PARAMETERS
    return openssl("asn1parse", "-in", folder / f"{name}.pem").decode()


def report(out: str) -> dict[str, tuple[str, str]]:
    """Return kind and text, hints included, of a report's lines by their names, in their order."""
    blocks = re.findall(r"(?m)^  (ok|warn|error|-) +(\S.*?)  +(.*(?:\n {9}.*)*)", out)
    lines = {name: (kind, text) for kind, name, text in blocks}
    assert len(lines) == len(blocks), "an ingredient has two lines"
    return lines


# Key files

PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
PKCS1 = serialization.PrivateFormat.TraditionalOpenSSL
PLAIN, PHRASE = serialization.NoEncryption(), serialization.BestAvailableEncryption(b"word")
FILE = KEYS / "private_signature.pem"
KEY, SIGNATURE = FILE.read_text(), serialization.load_pem_private_key(FILE.read_bytes(), None)
LINES = KEY.splitlines()
OPENSSH = SIGNATURE.private_bytes(PEM, serialization.PrivateFormat.OpenSSH, PLAIN)

# How OpenSSH writes, in base64, that a key has no passphrase, and that it has one
NONE, BCRYPT = b"AAAABG5vbmUAAAAEbm9uZQAA", b"AAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0"

P, Q = 2**2203 - 1, 2**2281 - 1  # to look for other primes of this size takes seconds
D = pow(65537, -1, (P - 1) * (Q - 1))
OF_4484_BITS = RSA.construct((P * Q, 65537, D, P, Q), consistency_check=False).export_key()

COPY, PRIVATE = "copy the file again", "a private one begins with -----BEGIN PRIVATE KEY"
NEW_KEYS, AS_TEXT = "make new keys with keys/generate.sh", "save it as plain text"
BAD_KEYS = {  # what people give for a private key: the file, words of the message, of the hint
    "empty": (b"", "is empty", COPY),
    "public": ((KEYS / "public_signature.pem").read_bytes(), "is no private key: public key", PRIVATE),
    "der": (SIGNATURE.private_bytes(serialization.Encoding.DER, PKCS8, PLAIN), "is in DER form", "openssl rsa -inform DER -in "),
    "utf-16": (KEY.encode("utf-16"), "is RTF or UTF-16, not plain text", AS_TEXT),
    "rtf": (b"{\\rtf1\\ansi " + KEY.encode(), "is RTF or UTF-16, not plain text", AS_TEXT),
    "without-lines": ("".join(LINES[1:-1]).encode(), "is not in PEM form", "-----BEGIN"),
    "truncated": (KEY[:800].encode(), "is cut off: its END line is missing", COPY),
    "letter-lost": (KEY.replace(LINES[7], LINES[7][1:]).encode(), "is damaged: a letter is lost or changed", COPY),
    "pkcs8-phrase": (SIGNATURE.private_bytes(PEM, PKCS8, PHRASE), "has a passphrase", "openssl rsa -in /"),
    "pkcs1-phrase": (SIGNATURE.private_bytes(PEM, PKCS1, PHRASE), "has a passphrase", "openssl rsa -in /"),
    "openssh-phrase": (OPENSSH.replace(NONE, BCRYPT), "has a passphrase", "ssh-keygen -p -m PEM -f "),
    "ed25519": (openssl("genpkey", "-algorithm", "ed25519"), "is no RSA key: IBKR takes RSA keys only", NEW_KEYS),
    "rsa-pss": (openssl("genpkey", "-algorithm", "RSA-PSS"), "is an RSA-PSS key", NEW_KEYS),
    "1024-bits": (openssl("genrsa", 1024), "has 1024 bits, IBKR takes 2048 to 4096", NEW_KEYS),
    "4484-bits": (OF_4484_BITS, "has 4484 bits, IBKR takes 2048 to 4096", NEW_KEYS),
}  # fmt: skip
GOOD_KEYS = {
    "pkcs1": SIGNATURE.private_bytes(PEM, PKCS1, PLAIN),
    "openssh": OPENSSH,
    "text-around": f"Bag Attributes\n  name: k\n{KEY}\nmine, of 2024\n".encode(),
    "behind-a-public-half": (KEYS / "public_encryption.pem").read_bytes() + KEY.encode(),
    "crlf-and-bom": b"\xef\xbb\xbf" + KEY.replace("\n", "\r\n").encode(),
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A set-up in which all is well, and beside its keys those of the tables above."""
    contents = {name: row[0] for name, row in BAD_KEYS.items()}
    contents.update(GOOD_KEYS)
    contents["another"] = (ROOT / "tests/vectors/throwaway-key.pem").read_bytes()
    contents["encryption-copy"] = (KEYS / "private_encryption.pem").read_bytes()
    contents["of-group"] = KEY.encode()
    with Sandbox() as sandbox:
        sandbox.config.update(access_token=TOKEN, access_token_secret=SECRET)
        sandbox.secrets += [TOKEN, SECRET, IDENTITY.secret, LINES[1]]
        for name, content in contents.items():
            path = sandbox.folder / f"{name}.pem"
            path.write_bytes(content)
            path.chmod(0o640 if name == "of-group" else 0o600)
        yield sandbox


# Fields

OLD = throwaway_identity().encrypted_secret  # of an earlier "Generate"
GENERATE = "generate the token again, which ends the present secret"
COPY_PRIME = "copy all that this prints: openssl asn1parse -in dhparam.pem"
NEW_PRIME = "make new ones: openssl dhparam -out dhparam.pem 2048"
COPY_SECRET, TO_QUOTE = "copy the whole secret again", "put it in double quotes"
PATH = "give the path of private_signature.pem; write a \\ in it twice"
NOT_URL = "not in the right form: https, or http on this computer"
NOT_KEY = "does not decrypt with this key"
IBKR = "https://api.ibkr.com/v1/api"

# kind of the line, name of the case, what is changed, field, words of the message, words of the hint
ROWS: list[tuple[str, str, dict[str, Any], str, str, str]] = [
    ("error", "consumer key a number", {"consumer_key": 123456789}, "consumer_key", "not a text in quotes", TO_QUOTE),
    ("error", "token in quotes of its own", {"access_token": f'"{TOKEN}"'}, "access_token", "in quotes of its own", "leave the inner quotes out"),
    *(("error", name, {"signature_key_fp": f"{name}.pem"}, "signature_key_fp", f"{name}.pem {row[1]}", row[2]) for name, row in BAD_KEYS.items()),
    ("error", "key missing, a close name", {"signature_key_fp": "private_signatur.pem"}, "signature_key_fp", "private_signatur.pem: No such file", "/private_signature.pem?"),
    ("error", "key missing", {"signature_key_fp": "zzz"}, "signature_key_fp", "zzz: No such file", "begins at the config's own folder"),
    ("error", "key missing, its folder too", {"signature_key_fp": "no/zzz"}, "signature_key_fp", "no/zzz: No such file", "there is no folder /"),
    ("error", "key missing, test environment", {"consumer_key": "TESTCONS", "realm": "test_realm", "signature_key_fp": "keys/zzz"}, "signature_key_fp", "No such file", "copy private_signature.pem there, from the folder keys of IBKR's web demo"),
    ("error", "secret pasted in place of a path", {"signature_key_fp": SECRET}, "signature_key_fp", "not a path", PATH),
    ("error", "single backslashes that JSON reads", {"signature_key_fp": "C:\temp\new.pem"}, "signature_key_fp", "not a path", PATH),
    ("error", "prime of words", {"dh_prime": "my prime"}, "dh_prime", "not a hex number", COPY_PRIME),
    ("error", "prime with a wrong digit", {"dh_prime": f"{IDENTITY.prime ^ 2**400:x}"}, "dh_prime", "not a prime", COPY_PRIME),
    ("error", "prime of 1024 bits", {"dh_prime": pasted("1024")}, "dh_prime", "has 1024 bits", NEW_PRIME),
    ("error", "prime of 4423 bits", {"dh_prime": f"{2**4423 - 1:x}"}, "dh_prime", "has 4423 bits", NEW_PRIME),
    ("error", "prime without its sign byte", {"dh_prime": pasted("negative")}, "dh_prime", "a negative number", NEW_PRIME),
    ("error", "generator 1", {"dh_generator": 1}, "dh_generator", "not a number from 2", "leave it out if openssl asn1parse prints 02"),
    ("error", "generator against the pasted one", {"dh_prime": pasted("generator-5"), "dh_generator": 2}, "dh_generator", "another one stands in dh_prime", "leave dh_generator out"),
    ("error", "secret cut by one", {"access_token_secret": SECRET[:-1]}, "access_token_secret", "is not base64", COPY_SECRET),
    ("error", "secret cut in half", {"access_token_secret": SECRET[:172]}, "access_token_secret", "has 129 bytes, the key has 256", COPY_SECRET),
    ("error", "keys swapped, beside a copy of one", {"encryption_key_fp": "private_signature.pem", "signature_key_fp": "private_encryption.pem"}, "access_token_secret", NOT_KEY, "paths are swapped"),
    ("error", "the right key lies beside", {"encryption_key_fp": "another.pem"}, "access_token_secret", NOT_KEY, "encryption-copy.pem: name that file"),
    ("error", "secret and token exchanged", {"access_token": SECRET, "access_token_secret": "abcd" * 5}, "access_token_secret", "it and access_token have changed places", "exchange them"),
    ("error", "secret of another key", {"access_token_secret": "AAAA" + SECRET[4:]}, "access_token_secret", NOT_KEY, GENERATE),
    ("error", "URL with http", {"base_url": "http://api.ibkr.com/v1/api"}, "base_url", NOT_URL, IBKR),
    ("error", "URL with a dot too many", {"base_url": "https://api..ibkr.com"}, "base_url", NOT_URL, IBKR),
    ("error", "URL like this computer's", {"base_url": "http://127.0.0.1.example"}, "base_url", NOT_URL, IBKR),
    ("error", "URL with a password", {"base_url": "https://user:word@api.ibkr.com"}, "base_url", NOT_URL, IBKR),
    ("warn", "realm of the test environment", {"realm": "test_realm"}, "realm", 'set it to "limited_poa"', ""),
    ("warn", "realm of the live one", {"consumer_key": "TESTCONS"}, "realm", 'set it to "test_realm"', ""),
    ("warn", "consumer key in small letters", {"consumer_key": "simulated"}, "consumer_key", "not nine capitals", "its case matters"),
    ("warn", "token with the letter O", {"access_token": "O" + TOKEN[1:]}, "access_token", "no hex digits", "compare it with the portal"),
    ("warn", "key that the group may read", {"signature_key_fp": "of-group.pem"}, "signature_key_fp", "others may read the file", "chmod 600 /"),
    ("warn", "one key for both", {"signature_key_fp": "encryption-copy.pem"}, "signature_key_fp", "is the encryption key, too", "two keys"),
    ("warn", "a name in capitals", {"BASE_URL": "x"}, "BASE_URL", "unknown field", "did you mean base_url?"),
    ("warn", "a name with a blank", {"base url": "x"}, "base url", "unknown field", "did you mean base_url?"),
    ("warn", "a name of another program", {"zzz": "x"}, "zzz", "unknown field", "it is ignored"),
    ("ok", "prime of dhparam -dsaparam, in one line", {"dh_prime": pasted("dsaparam").replace("\n", " ")}, "dh_prime", "2048 bits; SHA-256 02f514d8", ""),
    ("ok", "generator of dhparam -5", {"dh_prime": pasted("generator-5")}, "dh_generator", "5", ""),
    ("ok", "URL of another server", {"base_url": "https://1.api.ibkr.com:443/v1/api/"}, "base_url", "1.api.ibkr.com:443/v1/api/", ""),
    ("ok", "URL of this computer", {"base_url": "http://localhost:5000"}, "base_url", "http://localhost:5000", ""),
]  # fmt: skip


def test_a_field_is_told_what_is_wrong_and_what_helps(sandbox: Sandbox) -> None:
    wrong = []
    for kind, name, changes, field, message, hint in ROWS:
        lines = report(run(sandbox, "--check", config={**sandbox.config, **changes}).out)
        errors = [name for name, line in lines.items() if line[0] == "error"]
        kind_seen, text = lines.get(field, ("no line", ""))
        first, *hints = text.splitlines() or [""]
        told = message in first and hint in "\n".join(hints)
        right = (kind_seen, errors) == (kind, [field] if kind == "error" else [])
        if not (told and right) or GENERATE in "".join(hints[:1]):  # first what is cheaper
            wrong.append(f"{name}: errors {errors}; {field}: {kind_seen} {text}")
    assert not wrong, "\n".join(wrong)


def test_a_field_that_is_not_filled_in_is_named(sandbox: Sandbox) -> None:
    for field in TEMPLATE:
        placeholder = TEMPLATE[field].replace("limited_poa", "")  # which is the right value
        for blank in (None, " \n", placeholder):
            result = run(sandbox, "--check", config={**sandbox.config, field: blank})
            named = [line for line in result.out.splitlines() if "not filled in" in line]
            assert len(named) == 1, (field, blank)
            assert field in named[0]


def test_a_secret_in_another_field_is_not_shown(server: Sandbox) -> None:
    consumerless = {"realm": OLD, "consumer_key": ""}
    for changes in ({"realm": OLD}, consumerless, {"consumer_key": OLD}, {OLD: "x"}):
        for options in ([], ["--check"]):
            result = run(server, *options, config={**server.config, **changes})
            assert OLD not in result.out + result.err, (changes, options)


ACCEPTED: dict[str, dict[str, Any]] = {
    "prime in capitals": {"dh_prime": PRIME.upper()},
    "prime with 0x and zeros": {"dh_prime": f"0x00{PRIME}"},
    "prime with colons and line breaks": {"dh_prime": "00:" + re.sub("(..)(?=.)", r"\1:\n    ", PRIME)},
    "prime as openssl prints it in a terminal": {"dh_prime": re.sub("(.{80})", r"\1\n", pasted("dhparam")), "dh_generator": 2},
    "generator a text": {"dh_generator": " 0x02\n", "base_url": None},
    "blanks at the ends": {"access_token": f" {TOKEN}\n", "realm": " limited_poa "},
    "a path from the home folder": {"signature_key_fp": "~/private_signature.pem"},
    **{f"key {name}": {"signature_key_fp": f"{name}.pem"} for name in GOOD_KEYS},
}  # fmt: skip


def test_values_are_read_as_people_paste(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(sandbox.folder))
    config = {**sandbox.config, "base_url": IBKR}
    usual = run(sandbox, "--check", config=config)
    seen = {name: run(sandbox, "--check", config={**config, **ACCEPTED[name]}) for name in ACCEPTED}
    assert {name: result for name, result in seen.items() if result != usual} == {}
    text = json.dumps(config, indent=2).replace(SECRET, f"{SECRET[:64]}\n {SECRET[64:]}")
    windows = "\ufeff" + text.replace("\n", "\r\n")
    assert run(sandbox, "--check", config=windows) == usual


# Configs in other forms


BEGIN = "begin with this project's template, config.json"
FORMS: dict[str, tuple[str | bytes, str, str]] = {  # words of the message, words of the hint
    "nothing": ("", "not a JSON object", BEGIN),
    ".env": ("REALM=limited_poa", "not a JSON object", BEGIN),
    "single backslashes": (TEXT.replace("path-to", r"C:\keys"), "not a JSON object: ", "look there, and at the line before; in a path, write a backslash twice"),
    "UTF-16": (TEXT.encode("utf-16"), "not a UTF-8 text", "save it as UTF-8"),
    "a field twice": (TEXT.replace("{", '{"realm": "x",'), "realm is there twice", "leave one of them out"),
}  # fmt: skip


def test_a_config_in_another_form_is_told_what_is_wrong(sandbox: Sandbox) -> None:
    for form, (content, message, hint) in FORMS.items():
        sandbox.config_path.write_bytes(content.encode() if isinstance(content, str) else content)
        status, out, err = run(sandbox, "--check")
        assert (status, err) == (2, ""), form
        assert str(sandbox.config_path) in out.splitlines()[0], form
        assert message in out
        assert hint in out


# The files beside the keys


UPLOADED = [  # its name, what it is, its digest, that of the config
    ("public_signature.pem", KEYS / "public_encryption.pem", "1a7420d3", "6abf6084"),
    ("dhparam.pem", PARAMETERS / "dsaparam.pem", "02f514d8", "822efdfc"),
    ("dhparam.pem", PARAMETERS / "negative.pem", "a negative prime", "822efdfc"),
    ("dhparam.pem", ROOT / "config.json", "cannot be read", "822efdfc"),
]


def test_an_uploaded_file_that_does_not_fit_is_shown_with_both_digests(server: Sandbox) -> None:
    for name, other, its_digest, digest in UPLOADED:
        (server.folder / name).write_bytes(other.read_bytes())
        kind, text = report(run(server, "--check").out)[name]
        assert kind == "warn", other
        form = f"{its_digest}.*; the config's: .*{digest}.*\n +if this file was uploaded, "
        assert re.search(form, text), other


# The report as a whole


def test_all_errors_and_warnings_are_said_at_once_and_nothing_is_sent(sandbox: Sandbox) -> None:
    changes = {"realm": "test_realm", "encryption_key_fp": "none.pem", "dh_prime": "17", "x": 1}
    config = {**sandbox.config, **changes, "access_token": "", "base_url": 5}
    path = str(sandbox.folder / "other.json")
    checked, started = run(sandbox, "--check", config=config), run(sandbox, config=config)
    kinds = {name: kind for name, (kind, _) in report(checked.out).items()}
    errors = [name for name, kind in kinds.items() if kind == "error"]
    assert errors[:3] == ["encryption_key_fp", "dh_prime", "base_url"]
    assert len(errors) == 4  # the last says what is not filled in
    assert (kinds["access_token_secret"], kinds["realm"], kinds["x"]) == ("-", "warn", "warn")
    assert (checked.status, checked.err, checked.out.count(path)) == (2, "", 2)
    assert re.search(f'^next: .*python demo.py --check "?{path}"?$', checked.out.splitlines()[-1])
    assert (started.status, started.out, sandbox.requests) == (2, "", [])
    assert len(re.findall(f"(?m)^error: {path}: ", started.err)) == 4
    assert len(re.findall(f"(?m)^warning: {path}: (?:realm|x): ", started.err)) == 2


def test_a_blank_template_leads_to_the_sandbox(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("config.json", "test-config.json"):
        assert demo.main([str(ROOT / name), "--check"]) == 2
        out, err = capsys.readouterr()
        blank = [line for line in out.splitlines() if "not filled in" in line]
        assert (err, len(blank)) == ("", 1)
        assert "access_token, access_token_secret" in blank[0]
        assert ("dh_prime" in blank[0]) == (name == "config.json")
        assert out.splitlines()[-1].startswith("next: python -m tests.sandbox")
