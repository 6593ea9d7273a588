"""The ingredients of a log-in: is each in order, and which is suspect after a refusal?

A config is read forgivingly and judged strictly, without the network. Nothing here prints, and no
message holds a secret: a value is shown only where it is in its right form, or is a path.

To add a field: a function that returns what `Checked` says, or raises Problem; a line in
`read_fields`; and if it is optional, a default in `Report.values`, which is checked like any other
value. Then the checked value is in `Report.good`, from which demo.Client takes it.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
import os
import re
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Callable

from Crypto.Math.Numbers import Integer
from Crypto.PublicKey import RSA
from Crypto.Util.asn1 import DerSequence

import oauth

BASE_URL = "https://api.ibkr.com/v1/api"
REALM, TEST_REALM, TEST_CONSUMER = "limited_poa", "test_realm", "TESTCONS"
REALM_FORM = f"{REALM}|{TEST_REALM}"
CONSUMER_FORM = f"[A-Z0-9]{{9}}|{TEST_CONSUMER}"
PLACEHOLDER = r"\s*|(your|path-to|generated)-[a-z-]+"  # in the templates, for a value to fill in
GENERATE = "generate the token again, which ends the present secret"
OTHERS_READ = "others may read the file"  # a warning that never explains why IBKR refuses
CAUSES = "public_signature.pem", "public_encryption.pem", "dhparam.pem", "realm", "consumer_key"
Checked = tuple[Any, ...]  # value, kind ("ok", "warn", or "-" if not tried), message, any hints
Finding = tuple[str, str, str, tuple[str, ...]]  # kind (or "error"), name, message, hints


class Problem(Exception):
    """What is wrong, and as `hints` what helps."""

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.hints = hints


class Report:
    """What is in a config, and what was found of it."""

    def __init__(self, values: dict[str, Any], folder: str) -> None:
        self.values: dict[str, Any] = {"base_url": BASE_URL}  # defaults, and what is filled in
        for name, value in values.items():
            if value is not None and not re.fullmatch(PLACEHOLDER, str(value)):
                self.values[name] = value
        self.folder = folder  # where relative paths begin
        self.test_environment = str(values.get("consumer_key")).strip() == TEST_CONSUMER
        self.names: list[str] = []  # of all fields that are known
        self.good: dict[str, Any] = {}  # the values of fields without an error
        self.key_paths: dict[str, Path] = {}  # of the private keys that were read, by their use
        self.pasted_generator = ""  # what stands beside the prime in dh_prime
        self.findings: list[Finding] = []
        self.warned = dict.fromkeys(CAUSES, "")  # what may be why IBKR refuses, likeliest first
        self.credentials: oauth.Credentials | None = None  # None if a finding is an error
        self.blank = False  # whether no key or token is in yet, nor a field of another name

    def add(self, kind: str, name: str, message: str, *hints: str) -> None:
        self.findings.append((kind, name, message, hints))
        if kind == "warn" and message != OTHERS_READ:
            self.warned[name] = f"{name}: {message}"

    def read(self, name: str, check: Callable[..., Checked], *context: object) -> None:
        """Keep what `check` returns: the value, a kind, a message and hints; or what it raises."""
        self.names.append(name)
        if name in self.values:
            try:
                self.good[name], kind, message, *hints = check(self.values[name], *context)
                self.add(kind, name, message, *hints)
            except Problem as problem:
                self.add("error", name, str(problem), *problem.hints)


def load_config(path: str) -> dict[str, Any]:
    """Return the JSON object in a file. Raises Problem."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
        if not text.lstrip().startswith("{"):  # a list would pass for pairs, below
            raise Problem("not a JSON object", "begin with this project's template, config.json")
        # Not strict: pasted values may have line breaks. As pairs, to find duplicates below
        pairs = json.loads(text, strict=False, object_pairs_hook=list)
    except OSError as error:
        raise Problem(str(error.strerror), did_you_mean(path) or "check the path") from None
    except json.JSONDecodeError as error:
        hint = "look there, and at the line before; in a path, write a backslash twice"
        raise Problem(f"not a JSON object: {error}", hint) from None
    except UnicodeError:
        raise Problem("not a UTF-8 text", "save it as UTF-8") from None
    values = {}
    for name, value in pairs:
        if name in values:
            raise Problem(f"{name[:40]} is there twice", "leave one of them out")
        values[name] = value
    return values


def check_config(values: dict[str, Any], path: str) -> Report:
    """Check the fields of the config that was loaded from `path`, and the files that they name."""
    report = Report(values, os.path.dirname(path))
    read_fields(report)
    add_other_fields(report, values)
    good, names = report.good, set(report.names)
    report.blank = not (report.key_paths or "access_token" in good or values.keys() - names)
    if good.keys() >= names:  # no error
        report.credentials = oauth.Credentials(
            realm=good["realm"],
            consumer_key=good["consumer_key"],
            access_token=good["access_token"],
            access_token_secret=good["access_token_secret"],
            signature_key=good["signature_key_fp"],
            dh_prime=good["dh_prime"],
            dh_generator=good["dh_generator"],
        )
    return report


def read_fields(report: Report) -> None:
    """Read all fields, and what lies beside the keys, so that one run lists every problem."""
    good, key_paths = report.good, report.key_paths
    report.read("realm", check_realm, report)
    for use in ("encryption", "signature"):
        report.read(f"{use}_key_fp", check_key, use, report)
        if use in key_paths:
            public = key_paths[use].with_name(f"public_{use}.pem")
            compare(public, digest(good[f"{use}_key_fp"]), report)
    report.read("consumer_key", check_consumer_key)
    report.read("dh_prime", check_prime, report)
    report.values.setdefault("dh_generator", report.pasted_generator or 2)
    report.read("dh_generator", check_generator, report)
    if "signature" in key_paths and {"dh_prime", "dh_generator"} <= good.keys():
        expected = parameters(good["dh_prime"], good["dh_generator"])
        compare(key_paths["signature"].with_name("dhparam.pem"), expected, report)
    report.read("access_token", check_access_token)
    report.read("access_token_secret", check_secret, report)
    report.read("base_url", check_base_url)


def add_other_fields(report: Report, values: dict[str, Any]) -> None:
    """Add what there is to say of fields that could not be read: unknown, or not filled in."""
    for name in sorted(values.keys() - report.names):
        hint = suggestion(name, report.names) or "it is ignored"
        report.add("warn", shown(name, ".{1,40}"), "unknown field", hint)
    unfilled = [name for name in report.names if name not in report.values]
    if unfilled:
        hint = 'the README says where each comes from, under "The live environment"'
        if report.test_environment:
            hint = 'IBKR\'s web demo shows them: see the README, "The test environment"'
        report.add("error", "not filled in", ", ".join(unfilled), hint)


def suggestion(name: str, names: list[str], folder: str = "") -> str:
    """Return a hint that tells the name most like this one, "" if none is."""
    plain = name.lower().replace(" ", "")
    close = difflib.get_close_matches(plain, names, n=1)
    for other in names:
        if sorted(plain) == sorted(other.lower()):  # config-test.json
            close = [other]
    return f"did you mean {os.path.join(folder, close[0])}?" if close else ""


def report_lines(report: Report, path: str) -> list[str]:
    """Return what --check prints: each ingredient with its hints, and the next command to run."""
    lines = [f"config {path}"]
    for kind, name, message, hints in report.findings:
        lines.append(f"  {kind:<5}  {name:<21}  {message}")
        lines += [f"         {hint}" for hint in hints]
    if report.blank:  # nothing is filled in yet
        lines.append("next: python -m tests.sandbox (which needs no account)")
    elif report.credentials is None:
        lines.append(f'next: mend the errors, then python demo.py --check "{path}"')
    else:
        lines.append(f'next: python demo.py "{path}"')
        lines.append(f'or, before IBKR knows the key: python -m tests.sandbox --config "{path}"')
    return lines


# Texts


def plain_text(value: object, form: str = "(?s).*", *problem: str) -> str:
    """Return a text without the blanks at its ends. Raises the problem if it has another form."""
    if not isinstance(value, str):
        raise Problem("not a text in quotes", "put it in double quotes")
    text = value.strip()
    if text[0] in "\"'":
        raise Problem("in quotes of its own", "leave the inner quotes out")
    if not re.fullmatch(form, text):
        raise Problem(*problem)
    return text


def shown(text: str, form: str) -> str:
    """Return the text where it has its right form: otherwise it may be a secret."""
    return text if re.fullmatch(form, text) else f"{len(text)} characters"


def check_realm(value: object, report: Report) -> Checked:
    realm = plain_text(value)
    fitting = TEST_REALM if report.test_environment else REALM
    if realm != fitting and "consumer_key" in report.values:
        return realm, "warn", f'does not fit the consumer key: set it to "{fitting}"'
    return realm, "ok", shown(realm, REALM_FORM)


def check_consumer_key(value: object) -> Checked:
    hint = "copy its nine characters from the portal, where it is in capitals; its case matters"
    key = plain_text(value)
    if not re.fullmatch(CONSUMER_FORM, key):
        return key, "warn", "not nine capitals or digits", hint
    return key, "ok", key


def check_access_token(value: object) -> Checked:
    hint = "compare it with the portal: 20 digits, from 0 to 9 and from a to f"
    token = plain_text(value)
    if not re.fullmatch("[0-9a-fA-F]+", token):
        return token, "warn", "has letters that are no hex digits", hint
    return token, "ok", f"{len(token)} characters"


def check_base_url(value: object) -> Checked:
    host = r"https://[\w-]+(\.[\w-]+)*|http://(localhost|127(\.\d+){3}|\[::1\])"
    form = rf"(?a)({host})(:\d+)?(/[\w.~-]+)*/?"
    problem = "not in the right form: https, or http on this computer"
    text = plain_text(value, form, problem, f"leave it out for IBKR's own, {BASE_URL}")
    return text.rstrip("/"), "ok", text


# The keys, and the secret that one of them decrypts

COPY_AGAIN = "copy the file again from where it was made"
NEW_KEYS = "if the file is right, make new keys with keys/generate.sh; upload their public halves"
# What the first line of a private key says of its kind, in base64
PKCS8_RSA, PKCS8_RSA_PSS = "BgkqhkiG9w0BAQEF", "BgkqhkiG9w0BAQo"  # object identifiers
OPENSSH_RSA, OPENSSH_PLAIN = "dzc2gtcn", "AAAABG5vbmUA"  # "ssh-rsa"; the cipher "none"


def check_key(value: object, use: str, report: Report) -> Checked:
    """Read the private key for one use, "signature" or "encryption"."""
    hint = f"give the path of private_{use}.pem; write a \\ in it twice"
    text = plain_text(value, r"[^\0-\x1f]{1,250}", "not a path", hint)  # a secret is longer
    path = Path(report.folder, os.path.expanduser(text))
    try:
        key = private_key(path)
    except OSError as error:
        hint = did_you_mean(str(path)) or "a path begins at the config's own folder"
        if report.test_environment and not path.exists():
            hint = f"copy private_{use}.pem there, from the folder keys of IBKR's web demo"
        raise Problem(f"{text}: {error.strerror}", hint) from None
    except Problem as problem:
        raise Problem(f"{text} {problem}", *problem.hints) from None
    report.key_paths[use] = path
    encryption = report.good.get("encryption_key_fp")
    if encryption and encryption == key:
        return key, "warn", "is the encryption key, too", "IBKR expects two keys"
    if os.name == "posix" and path.stat().st_mode & 0o077:
        return key, "warn", OTHERS_READ, f"chmod 600 {path}"
    return key, "ok", f"private, {key.size_in_bits()} bits; public half: {digest(key)}"


def did_you_mean(path: str) -> str:
    """Return what helps with a file that cannot be opened, "" if nothing is like it."""
    folder, name = os.path.split(os.path.abspath(path))
    if os.path.exists(path):
        return "give a file that you may read"
    if not os.path.isdir(folder):
        return f"there is no folder {folder}"
    return suggestion(name, os.listdir(folder), folder)


def private_key(path: Path) -> RSA.RsaKey:
    """Return the key in a PEM file. Raises OSError, or Problem."""
    label, body = pem_block(path.read_bytes())
    if "PRIVATE" not in label:
        hint = "a private one begins with -----BEGIN PRIVATE KEY or alike"
        raise Problem(f"is no private key: {label.lower()}", hint)
    if "ENCRYPTED" in label or "Proc-Type:" in body:
        raise Problem("has a passphrase", f"remove it: openssl rsa -in {path} -out NEW")
    if "OPENSSH" in label and OPENSSH_PLAIN not in body:
        raise Problem("has a passphrase", "remove it, in a copy: ssh-keygen -p -m PEM -f COPY")
    if PKCS8_RSA_PSS in body:
        raise Problem("is an RSA-PSS key: IBKR takes plain RSA keys only", NEW_KEYS)
    if label != "RSA PRIVATE KEY" and PKCS8_RSA not in body and OPENSSH_RSA not in body:
        raise Problem("is no RSA key: IBKR takes RSA keys only", NEW_KEYS)
    try:
        key = RSA.import_key(f"-----BEGIN {label}-----\n{body}\n-----END {label}-----")
    except (ValueError, IndexError, TypeError):
        raise Problem("is damaged: a letter is lost or changed", COPY_AGAIN) from None
    if not 2048 <= key.size_in_bits() <= 4096:
        raise Problem(f"has {key.size_in_bits()} bits, IBKR takes 2048 to 4096", NEW_KEYS)
    return key


def pem_block(data: bytes) -> tuple[str, str]:
    """Return the label of a file's first private block, or else its first, and its body."""
    if data.startswith((b"{\\rtf", b"\xff\xfe")):
        raise Problem("is RTF or UTF-16, not plain text", "save it as plain text, in UTF-8")
    if data.startswith(b"0\x82"):
        hint = "make a PEM file: openssl rsa -inform DER -in OLD -out NEW.pem"
        raise Problem("is in DER form", hint)
    text = data.decode("utf-8-sig", "replace")
    blocks = re.findall(r"-----BEGIN ([A-Z0-9. ]+)-----(.*?)-----END \1-----", text, re.DOTALL)
    if blocks:
        label, body = max(blocks, key=lambda block: "PRIVATE" in block[0])
        return label, "".join(body.split())
    if "-----BEGIN" in text:
        raise Problem("is cut off: its END line is missing", COPY_AGAIN)
    if text.strip():
        raise Problem("is not in PEM form", "it must have the lines -----BEGIN and -----END")
    raise Problem("is empty", COPY_AGAIN)


def digest(part: RSA.RsaKey | int) -> str:
    """Return the first digits of the SHA-256 of a key's public half (DER) or of a prime (hex)."""
    if isinstance(part, RSA.RsaKey):
        data = part.public_key().export_key("DER")
    else:
        data = f"{part:X}".encode()
    return f"SHA-256 {hashlib.sha256(data).hexdigest()[:8]}"


def check_secret(value: object, report: Report) -> Checked:
    """Decrypt the secret with the encryption key, if that is good."""
    text = re.sub(r"\s", "", plain_text(value))
    key = report.good.get("encryption_key_fp")
    if key is None:
        return None, "-", "not tried: it needs encryption_key_fp"
    try:
        secret = oauth.decrypt_access_token_secret(text, key)
    except oauth.CredentialsError as error:
        with suppress(oauth.CredentialsError):
            oauth.decrypt_access_token_secret(report.good.get("access_token", ""), key)
            raise Problem("it and access_token have changed places", "exchange them") from None
        message = str(error).replace("the access token secret ", "")
        raise Problem(message, *secret_hints(error, text, report)) from None
    return secret, "ok", f"decrypts to {len(secret)} bytes"


def secret_hints(error: oauth.CredentialsError, text: str, report: Report) -> list[str]:
    """Return what helps with a secret that the encryption key does not decrypt."""
    paths = list(report.key_paths.values())
    for path in report.key_paths.values():
        paths += sorted(path.parent.glob("*.pem")) + sorted(path.parent.glob("*.key"))
    for path in paths:
        with suppress(OSError, Problem, oauth.CredentialsError):
            oauth.decrypt_access_token_secret(text, private_key(path))
            if path == report.key_paths.get("signature"):
                return ["the two key paths are swapped: signature_key_fp's file decrypts it"]
            return [f"it decrypts with {path}: name that file"]
    if "decrypt" not in str(error) or report.warned["public_encryption.pem"]:
        return [error.hint]
    return [error.hint, f"if it is this one, {GENERATE}"]


# The Diffie-Hellman parameters, and the files that were uploaded

ASN1PARSE = "openssl asn1parse -in dhparam.pem"
ASN1_INTEGER = r"INTEGER\s*:([^:]+?)(?:\s\d+:|$)"  # "... INTEGER  :D3F1... 265:d=1 ..."
COPY_PRIME = f"copy all that this prints: {ASN1PARSE}"
NEW_PRIME = "make new ones: openssl dhparam -out dhparam.pem 2048; upload them, copy their prime"


def hex_number(text: str, hint: str) -> int:
    """Accept what openssl prints: with colons, blanks, line breaks, 0x, zeros in front."""
    digits = re.sub(r"[\s:]", "", text)
    if re.fullmatch("-[0-9a-fA-F]+", digits):
        raise Problem("a negative number: the file that it comes from is broken", NEW_PRIME)
    if not re.fullmatch("(0[xX])?[0-9a-fA-F]{1,4000}", digits):
        raise Problem("not a hex number", hint)
    return int(digits, 16)


def check_prime(value: object, report: Report) -> Checked:
    text = plain_text(value)
    numbers = re.findall(ASN1_INTEGER, text) or [text]  # prime and generator, or the prime alone
    report.pasted_generator = "".join(numbers[1:2])
    prime = hex_number(numbers[0], COPY_PRIME)
    bits = prime.bit_length()
    # Fermat's test, in pycryptodome's faster arithmetic: it finds every slip of the pen
    if bits < 256 or pow(Integer(2), prime - 1, prime) != 1:
        raise Problem(f"not a prime ({bits} bits): a digit is wrong or missing", COPY_PRIME)
    if not 2040 <= bits <= 4096:
        raise Problem(f"has {bits} bits, about 2048 are right", NEW_PRIME)
    return prime, "ok", f"{bits} bits; {digest(prime)}"


def check_generator(value: object, report: Report) -> Checked:
    hint = "leave it out if openssl asn1parse prints 02 as the second number, else copy that"
    number = hex_number(value, hint) if isinstance(value, str) else value
    prime = report.good.get("dh_prime", 2**2048)
    if type(number) is not int or not 2 <= number <= prime - 2:
        raise Problem("not a number from 2 to the prime", hint)
    pasted = report.pasted_generator
    if pasted and hex_number(pasted, hint) != number:
        raise Problem("another one stands in dh_prime", "leave dh_generator out")
    return number, "ok", shown_generator(number)


def shown_generator(generator: int) -> str:
    return str(generator) if generator < 1000 else f"{generator.bit_length()} bits"


def compare(path: Path, expected: str, report: Report) -> None:
    """Compare a file beside a key, if it is there, with what the config has."""
    uploaded = digest_of_file(path)
    if uploaded == expected:
        report.add("ok", path.name, "fits")
    elif path.exists():
        message = f"does not fit: {uploaded}; the config's: {expected}"
        hint = "if this file was uploaded, name the private key that belongs to it"
        if path.name == "dhparam.pem":
            hint = f"if this file was uploaded, put into dh_prime what this prints: {ASN1PARSE}"
        report.add("warn", path.name, message, hint, "if not, upload the one that fits the config")


def digest_of_file(path: Path) -> str:
    """Return what is compared of a public half or of Diffie-Hellman parameters."""
    try:
        label, body = pem_block(path.read_bytes())
        data = base64.b64decode(body)
        if "PARAMETERS" not in label:
            return digest(RSA.import_key(data))
        prime, generator = DerSequence().decode(data)[:2]
        if prime < 0:
            return "a negative prime, so it is broken"
        return parameters(prime, generator)
    except (OSError, Problem, ValueError, IndexError, TypeError):
        return "it cannot be read"


def parameters(prime: int, generator: int) -> str:
    return f"{digest(prime)}, generator {shown_generator(generator)}"


# After a refusal: at most three hints, the likeliest cause first


def refusal_suspects(report: Report, words: str, date: str) -> list[str]:
    """Return the hints after a token request that got a 401, or an error in JSON.

    First what the server's `words` name; then the clock, alone if nothing is named; then what
    --check warned of, files before fields; then the usual causes. `date`: the answer's Date.
    """
    warned, clock = report.warned, clock_hints(date)
    if "invalid consumer" in words.lower():
        hints = [warned["realm"], warned["consumer_key"]]
        hints += ["compare consumer_key with the portal, letter by letter", *clock]
        hints += [*warned.values(), "a new key is active after up to 24 hours, or a weekend"]
        hints += ["paper and live have consumer keys, keys and tokens of their own"]
    elif "no access secret key found" in words.lower():
        hints = ["compare access_token with the one that the portal shows now"]
        hints += [*clock, *warned.values()]
        if not any(hints[1:]):
            hints.append(f"only then {GENERATE}")
    elif clock:
        return clock
    else:
        used = 'access_token_secret: was "Generate" pressed since? Compare the others before you do'
        hints = [*warned.values(), used]
        if not warned["public_signature.pem"]:  # which has said both digests
            key = f"It has {digest(report.good['signature_key_fp'])}: see the README"
            hints.append(f"signature_key_fp: was its public half uploaded? {key}")
        hints.append("access_token: compare it with where it was generated, digit by digit")
    return first_three(hints)


def exchange_suspects(report: Report) -> list[str]:
    """Return the hints after a wrong proof, or a Diffie-Hellman response out of range: what changes
    the token. IBKR has accepted the signature, and with it the secret."""
    good, warned = report.good, report.warned
    hints = [warned["dhparam.pem"], warned["consumer_key"]]
    if good["dh_generator"] != 2:
        hints.append("dh_generator: openssl's is 2; is it that of the dhparam.pem uploaded?")
    if not warned["dhparam.pem"]:  # which has said both digests
        config = parameters(good["dh_prime"], good["dh_generator"])
        hints.append(f"dh_prime or dh_generator: was a dhparam.pem with {config} uploaded?")
    return first_three(hints)


def clock_hints(date: str) -> list[str]:
    """Return what to do if this computer's clock is more than 30 s off an answer's Date."""
    with suppress(TypeError, ValueError):  # no date, or a malformed one
        ahead = time.time() - parsedate_to_datetime(date).timestamp()
        if abs(ahead) > 30:
            side = "ahead of" if ahead > 0 else "behind"
            return [f"set this computer's clock, which is {abs(ahead):,.0f} s {side} the server's"]
    return []


def first_three(hints: list[str]) -> list[str]:
    """Leave out what is empty, or there twice."""
    return list(dict.fromkeys(filter(None, hints)))[:3]
