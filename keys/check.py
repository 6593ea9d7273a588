"""The ingredients of a log-in: is each in order, and which is suspect after a refusal?

`check_config` reads a config forgivingly and judges it strictly, without the network; `suspects`
ranks what may be wrong once the server has refused. Nothing here prints, and no message holds a
secret: a value is shown only where it is in its right form, or is a path.

To add a field: a function that returns its value, "ok" or "warn", a message and hints, or raises
Problem; a line in `read_fields`, and one for its default if it is optional; and where demo.py is
to use it, an attribute of Report.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, NamedTuple

from Crypto.Math.Numbers import Integer
from Crypto.PublicKey import RSA
from Crypto.Util.asn1 import DerSequence

import oauth

BASE_URL = "https://api.ibkr.com/v1/api"
REALM, TEST_REALM, TEST_CONSUMER = "limited_poa", "test_realm", "TESTCONS"
REALM_FORM = f"{REALM}|{TEST_REALM}"
CONSUMER_FORM = f"[A-Z0-9]{{9}}|{TEST_CONSUMER}"
CLOCK_SECONDS = 30  # that this computer's clock may be off before it is a suspect
GENERATE = "only then generate the token again, which ends the present secret"
OTHERS_READ = "others may read the file"  # a warning that never explains why IBKR refuses
Checked = tuple[Any, ...]  # value, kind ("ok", "warn" or "-"), message, and any number of hints


class Problem(Exception):
    """What is wrong, and as `hints` what helps."""

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.hints = hints


class Finding(NamedTuple):
    """What was found of one ingredient. `kind`: "ok", "warn", "error", or "-" if not tried."""

    kind: str
    name: str
    message: str
    hints: tuple[str, ...] = ()


class Report(NamedTuple):
    """All findings; `credentials` unless one is an error; `blank` if no key or token is in yet."""

    findings: list[Finding]
    credentials: oauth.Credentials | None
    base_url: str
    blank: bool


class Fields:
    """The fields of a config that are filled in, the values that are good, and what was found."""

    def __init__(self, values: dict[str, Any], folder: str) -> None:
        self.values = {name: value for name, value in values.items() if is_filled(value)}
        self.folder = folder  # where relative paths begin
        self.test_environment = str(values.get("consumer_key")).strip() == TEST_CONSUMER
        self.names: list[str] = []
        self.good: dict[str, Any] = {}
        self.key_paths: dict[str, Path] = {}  # of the private keys that were read, by their use
        self.pasted_generator = ""  # what stands beside the prime in dh_prime
        self.found: dict[str, Finding] = {}

    def read(self, name: str, check: Callable[..., Any], *context: object) -> None:
        """Keep what `check` returns: the value, a kind, a message and hints; or what it raises."""
        self.names.append(name)
        if name in self.values:
            try:
                self.good[name], kind, message, *hints = check(self.values[name], *context)
                self.found[name] = Finding(kind, name, message, tuple(hints))
            except Problem as problem:
                self.found[name] = Finding("error", name, str(problem), problem.hints)


def check_config(values: dict[str, Any], path: str) -> Report:
    """Check the fields of the config that was loaded from `path`, and the files that they name."""
    fields = Fields(values, os.path.dirname(path))
    read_fields(fields)
    findings = [*fields.found.values(), *other_fields(fields, values)]
    good = fields.good
    blank = good.keys().isdisjoint(["encryption_key_fp", "signature_key_fp", "access_token"])
    blank = blank and values.keys() <= set(fields.names)
    if any(finding.kind == "error" for finding in findings):
        return Report(findings, None, "", blank)
    credentials = oauth.Credentials(
        realm=good["realm"],
        consumer_key=good["consumer_key"],
        access_token=good["access_token"],
        access_token_secret=good["access_token_secret"],
        signature_key=good["signature_key_fp"],
        dh_prime=good["dh_prime"],
        dh_generator=good["dh_generator"],
    )
    return Report(findings, credentials, good["base_url"], blank)


def read_fields(fields: Fields) -> None:
    """Read all fields, and what lies beside the keys, so that one run lists every problem."""
    good, key_paths = fields.good, fields.key_paths
    fields.read("realm", check_realm, fields)
    for use in ("encryption", "signature"):
        fields.read(f"{use}_key_fp", check_key, use, fields)
        if use in key_paths:
            public = key_paths[use].with_name(f"public_{use}.pem")
            compare(public, digest(good[f"{use}_key_fp"]), fields)
    fields.read("consumer_key", check_consumer_key)
    fields.read("dh_prime", check_prime, fields)
    fields.values.setdefault("dh_generator", fields.pasted_generator or 2)
    fields.read("dh_generator", check_generator, fields)
    if "signature" in key_paths and {"dh_prime", "dh_generator"} <= good.keys():
        expected = parameters(good["dh_prime"], good["dh_generator"])
        compare(key_paths["signature"].with_name("dhparam.pem"), expected, fields)
    fields.read("access_token", check_access_token)
    fields.read("access_token_secret", check_secret, fields)
    fields.values.setdefault("base_url", BASE_URL)
    fields.read("base_url", check_base_url)


def other_fields(fields: Fields, values: dict[str, Any]) -> Iterator[Finding]:
    """Yield what there is to say of fields that could not be read: unknown, or not filled in."""
    for name in values:
        if name not in fields.names:
            close = closest(name, fields.names)
            hint = f"did you mean {close}?" if close else "it is ignored"
            yield Finding("warn", shown(name, ".{1,40}"), "unknown field", (hint,))
    unfilled = [name for name in fields.names if name not in fields.values]
    if unfilled:
        hint = 'the README says where each comes from, under "The live environment"'
        if fields.test_environment:
            hint = 'IBKR\'s web demo shows them: see the README, "The test environment"'
        yield Finding("error", "not filled in", ", ".join(unfilled), (hint,))


def closest(name: str, names: list[str]) -> str:
    """Return the name that is most like this one, "" if none is."""
    plain = name.lower().replace(" ", "")
    for other in names:
        if sorted(plain) == sorted(other.lower()):  # config-test.json
            return other
    return "".join(difflib.get_close_matches(plain, names, n=1))


# Texts


def is_filled(value: object) -> bool:
    """Tell whether a field has a value other than the template's placeholder."""
    if isinstance(value, str):
        return not re.fullmatch(r"\s*|(your|path-to|generated)-[a-z-]+", value)
    return value is not None


def plain_text(value: object) -> str:
    """Return a text without the blanks at its ends."""
    if not isinstance(value, str):
        raise Problem("not a text in quotes", "put it in double quotes")
    text = value.strip()
    if text[0] in "\"'":
        raise Problem("in quotes of its own", "leave the inner quotes out")
    return text


def one_word(value: object, hint: str) -> str:
    text = plain_text(value)
    if not re.fullmatch("[!-~]+", text):
        raise Problem("not one word of plain letters", hint)
    return text


def shown(text: str, form: str) -> str:
    """Return the text where it has its right form: otherwise it may be a secret."""
    return text if re.fullmatch(form, text) else f"{len(text)} characters"


def check_realm(value: object, fields: Fields) -> Checked:
    realm = one_word(value, f'give "{REALM}", or "{TEST_REALM}" for the consumer {TEST_CONSUMER}')
    fitting = TEST_REALM if fields.test_environment else REALM
    if realm != fitting and "consumer_key" in fields.values:
        return realm, "warn", f'does not fit the consumer key: set it to "{fitting}"'
    return realm, "ok", shown(realm, REALM_FORM)


def check_consumer_key(value: object) -> Checked:
    hint = "copy its nine characters from the portal, where it is in capitals; its case matters"
    key = one_word(value, hint)
    if not re.fullmatch(CONSUMER_FORM, key):
        return key, "warn", "not nine capitals or digits", hint
    return key, "ok", key


def check_access_token(value: object) -> Checked:
    hint = "compare it with the portal: 20 digits, from 0 to 9 and from a to f"
    token = one_word(value, hint)
    if not re.fullmatch("[0-9a-fA-F]+", token):
        return token, "warn", "has letters that are no hex digits", hint
    return token, "ok", f"{len(token)} characters"


def check_base_url(value: object) -> Checked:
    text = plain_text(value)
    host = r"https://[\w.-]+|http://(localhost|127(\.\d+){3}|\[::1\])"
    if not re.fullmatch(rf"(?a)({host})(:\d+)?(/[\w.~-]+)*/?", text):
        hint = f"leave it out for IBKR's own, {BASE_URL}"
        raise Problem("not in the right form: https, or http on this computer", hint)
    return text.rstrip("/"), "ok", text


# The keys, and the secret that one of them decrypts

COPY_AGAIN = "copy the file again from where it was made"
RIGHT_FILE = "if it is the right file, make new keys with keys/generate.sh"
NEW_KEYS = "make new keys with keys/generate.sh, and upload their public halves"
SAVE_AS_TEXT = "save it as plain text, in ASCII or UTF-8"
OTHER_FILES = {  # how files begin that are taken for a key in PEM form
    b"{\\rtf": ("is an RTF document", SAVE_AS_TEXT),
    b"\xff\xfe": ("is UTF-16 text", SAVE_AS_TEXT),
    b"0\x82": ("is in DER form", "make a PEM file: openssl rsa -inform DER -in OLD -out NEW.pem"),
}
# What the first line of a private key says of its kind, in base64
PKCS8_RSA, PKCS8_RSA_PSS = "BgkqhkiG9w0BAQEF", "BgkqhkiG9w0BAQo"  # object identifiers
OPENSSH_RSA, OPENSSH_PLAIN = "dzc2gtcn", "AAAABG5vbmUA"  # "ssh-rsa"; the cipher "none"


def check_key(value: object, use: str, fields: Fields) -> Checked:
    """Read the private key for one use, "signature" or "encryption"."""
    text = plain_text(value)
    if not re.fullmatch(r"[^\0-\x1f]{1,250}", text):  # a secret is longer
        raise Problem("not a path", f"give the path of private_{use}.pem; write a \\ in it twice")
    path = Path(fields.folder, os.path.expanduser(text))
    try:
        key = private_key(path)
    except OSError as error:
        hint = did_you_mean(str(path)) or "a path begins at the config's own folder"
        if fields.test_environment and not os.path.exists(path):
            hint = f"copy private_{use}.pem there, from the folder keys of IBKR's web demo"
        raise Problem(f"{text}: {error.strerror}", hint) from None
    except Problem as problem:
        raise Problem(f"{text} {problem}", *problem.hints) from None
    fields.key_paths[use] = path
    encryption = fields.good.get("encryption_key_fp")
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
    close = closest(name, os.listdir(folder))
    return close and f"did you mean {os.path.join(folder, close)}?"


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
        raise Problem("is an RSA-PSS key: IBKR takes plain RSA keys only", RIGHT_FILE)
    if label != "RSA PRIVATE KEY" and PKCS8_RSA not in body and OPENSSH_RSA not in body:
        raise Problem("is no RSA key: IBKR takes RSA keys only", RIGHT_FILE)
    try:
        key = RSA.import_key(f"-----BEGIN {label}-----\n{body}\n-----END {label}-----")
    except (ValueError, IndexError, TypeError):
        raise Problem("is damaged: a letter is lost or changed", COPY_AGAIN) from None
    if not 2048 <= key.size_in_bits() <= 4096:
        raise Problem(f"has {key.size_in_bits()} bits, IBKR takes 2048 to 4096", NEW_KEYS)
    return key


def pem_block(data: bytes) -> tuple[str, str]:
    """Return the label of a file's first private block, or else its first, and its body."""
    for beginning, problem in OTHER_FILES.items():
        if data.startswith(beginning):
            raise Problem(*problem)
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


def check_secret(value: object, fields: Fields) -> Checked:
    """Decrypt the secret with the encryption key, if that is good."""
    text = re.sub(r"\s", "", plain_text(value))
    if "encryption_key_fp" not in fields.good:
        return None, "-", "not tried: it needs encryption_key_fp"
    try:
        secret = oauth.decrypt_access_token_secret(text, fields.good["encryption_key_fp"])
    except oauth.CredentialsError as error:
        hints = [error.hint]
        with suppress(oauth.CredentialsError):
            key = fields.good["encryption_key_fp"]
            oauth.decrypt_access_token_secret(fields.good.get("access_token", ""), key)
            raise Problem("it and access_token have changed places", "exchange them") from None
        if "decrypt" in str(error):
            hints = wrong_key_hints(text, fields)
        raise Problem(str(error).replace("the access token secret ", ""), *hints) from None
    return secret, "ok", f"decrypts to {len(secret)} bytes"


def wrong_key_hints(text: str, fields: Fields) -> list[str]:
    """Return what helps with a secret that the encryption key does not decrypt."""
    paths = list(fields.key_paths.values())
    for path in fields.key_paths.values():
        paths += sorted(path.parent.glob("*.pem")) + sorted(path.parent.glob("*.key"))
    for path in paths:
        with suppress(OSError, Problem, oauth.CredentialsError):
            oauth.decrypt_access_token_secret(text, private_key(path))
            if path == fields.key_paths.get("signature"):
                return ["the two key paths are swapped: signature_key_fp's file decrypts it"]
            return [f"it decrypts with {path}: name that file"]
    public = fields.found.get("public_encryption.pem")
    if public and public.kind == "warn":
        return ["look for the private key that public_encryption.pem beside this one belongs to"]
    question = "was this key's public half the one uploaded when the secret was generated?"
    return [question, GENERATE]


# The Diffie-Hellman parameters, and the files that were uploaded

ASN1PARSE = "openssl asn1parse -in dhparam.pem"
COPY_PRIME = f"copy all that this prints: {ASN1PARSE}"
NEW_PRIME = "make new ones: openssl dhparam -out dhparam.pem 2048; upload them, copy their prime"


def prime_and_generator(text: str) -> tuple[str, str]:
    """Return both from asn1parse's "... INTEGER  :D3F1... 265:d=1 ..."; else the text, and ""."""
    form = r"INTEGER\s*:(-?[0-9A-Fa-f\s]+?)\s*(?:\s\d+:d=|$)"
    numbers = re.findall(form, text) or [text]
    numbers.append("")
    return numbers[0], numbers[1]


def hex_number(text: str, hint: str) -> int:
    """Accept what openssl prints: with colons, blanks, line breaks, 0x, zeros in front."""
    digits = re.sub(r"[\s:]", "", text)
    if re.fullmatch("-[0-9a-fA-F]+", digits):
        raise Problem("a negative number: the file that it comes from is broken", NEW_PRIME)
    if not re.fullmatch("(0[xX])?[0-9a-fA-F]{1,4000}", digits):
        raise Problem("not a hex number", hint)
    return int(digits, 16)


def check_prime(value: object, fields: Fields) -> Checked:
    digits, fields.pasted_generator = prime_and_generator(plain_text(value))
    prime = hex_number(digits, COPY_PRIME)
    bits = prime.bit_length()
    # Fermat's test, in pycryptodome's faster arithmetic: it finds every slip of the pen
    if bits < 256 or pow(Integer(2), prime - 1, Integer(prime)) != 1:
        raise Problem(f"not a prime ({bits} bits): a digit is wrong or missing", COPY_PRIME)
    if not 2040 <= bits <= 4096:
        raise Problem(f"has {bits} bits, about 2048 are right", NEW_PRIME)
    return prime, "ok", f"{bits} bits; {digest(prime)}"


def check_generator(value: object, fields: Fields) -> Checked:
    """Accept a number, or hex as openssl prints it."""
    hint = "leave it out if openssl asn1parse prints 02 as the second number, else copy that"
    number = value
    if isinstance(value, str):
        number = hex_number(value, hint)
    prime = fields.good.get("dh_prime", 2**2048)
    if type(number) is not int or not 2 <= number <= prime - 2:
        raise Problem("not a number from 2 to the prime", hint)
    pasted = fields.pasted_generator
    if pasted and hex_number(pasted, hint) != number:
        raise Problem("another one stands in dh_prime", "leave dh_generator out")
    return number, "ok", shown_generator(number)


def shown_generator(generator: int) -> str:
    return str(generator) if generator < 1000 else f"{generator.bit_length()} bits"


def compare(path: Path, expected: str, fields: Fields) -> None:
    """Compare a file beside a key, if it is there, with what the config has."""
    try:
        uploaded = digest_of_file(path.read_bytes())
    except OSError:
        return
    name = path.name
    fields.found[name] = Finding("ok", name, "fits")
    if uploaded != expected:
        message = f"does not fit: {uploaded}; the config's: {expected}"
        hint = "if this file was uploaded, name the private key that belongs to it"
        if name == "dhparam.pem":
            hint = f"if this file was uploaded, put into dh_prime what this prints: {ASN1PARSE}"
        hints = (hint, "if not, upload the one that fits the config")
        fields.found[name] = Finding("warn", name, message, hints)


def digest_of_file(data: bytes) -> str:
    """Return what is compared of a public half or of Diffie-Hellman parameters."""
    try:
        label, body = pem_block(data)
        if "PARAMETERS" not in label:
            return digest(RSA.import_key(data))
        numbers = DerSequence().decode(base64.b64decode(body))
        if numbers[0] < 0:
            return "a negative prime, so it is broken"
        return parameters(numbers[0], numbers[1])
    except (Problem, ValueError, IndexError, TypeError):
        return "it cannot be read"


def parameters(prime: int, generator: int) -> str:
    return f"{digest(prime)}, generator {shown_generator(generator)}"


# After a refusal


def suspects(kind: str, report: Report, words: str = "", clock: float = 0) -> list[str]:
    """Return hints, at most three, the likeliest cause first: what the answer names; the clock,
    alone if nothing is named; files beside the keys that do not fit; what --check warned of; what
    such an answer mostly means.

    `kind`: "refused" (the token request, by a 401 or an error in JSON) or "exchange" (wrong proof,
    or a Diffie-Hellman response out of range); `words` of the server; `clock`: seconds that this
    computer is ahead.
    """
    used = report.credentials
    assert used is not None
    warned = warnings_of(report.findings)
    drift = []
    if abs(clock) > CLOCK_SECONDS:
        side = "ahead of" if clock > 0 else "behind"
        drift = [f"set this computer's clock, which is {abs(clock):,.0f} s {side} the server's"]
    if kind == "exchange":
        hints = exchange_suspects(used, warned)
    elif "invalid consumer" in words.lower():
        hints = [warned.pop(name) for name in ("realm", "consumer_key") if name in warned]
        hints += ["compare consumer_key with the portal, letter by letter", *drift]
        hints += [*warned.values(), "a new key is active after up to 24 hours, or a weekend"]
        hints += ["paper and live have consumer keys, keys and tokens of their own"]
    elif "no access secret key found" in words.lower():
        cheaper = [*drift, *warned.values()]
        hints = ["compare access_token with the one that the portal shows now"]
        hints += cheaper or [GENERATE]
    else:
        hints = drift or [*warned.values(), *refusal_suspects(used, warned)]
    return hints[:3]


def warnings_of(findings: list[Finding]) -> dict[str, str]:
    """Return the warnings that may be the cause, by name, the likeliest of the files first."""
    files = ["public_signature.pem", "public_encryption.pem", "dhparam.pem"]
    found = {}
    for finding in findings:
        if finding.kind == "warn" and finding.message != OTHERS_READ:
            found[finding.name] = f"{finding.name}: {finding.message}"
    return {name: found[name] for name in [*files, *found] if name in found}


def refusal_suspects(used: oauth.Credentials, warned: dict[str, str]) -> list[str]:
    hints = ['access_token_secret: was "Generate" pressed since? Compare the others before you do']
    if "public_signature.pem" not in warned:  # which has said both digests
        key = digest(used.signature_key)
        hints += [f"signature_key_fp: was its public half uploaded? It has {key}: see the README"]
    return [*hints, "access_token: compare it with where it was generated, digit by digit"]


def exchange_suspects(used: oauth.Credentials, warned: dict[str, str]) -> list[str]:
    """Return what changes the token: IBKR has accepted the signature, and with it the secret."""
    hints = [warned[name] for name in ("dhparam.pem", "consumer_key") if name in warned]
    if used.dh_generator != 2:
        hints.append("dh_generator: openssl's is 2; is it that of the dhparam.pem uploaded?")
    if "dhparam.pem" not in warned:  # which has said both digests
        config = parameters(used.dh_prime, used.dh_generator)
        hints.append(f"dh_prime or dh_generator: was a dhparam.pem with {config} uploaded?")
    return hints
