"""The ingredients of a log-in: is each in order, and which is suspect after a refusal?

`check_config` reads a config forgivingly and judges it strictly, offline; `suspects` ranks what may
be wrong once the server has refused. Both return data; nothing here prints, and no message repeats
text that may be a secret in the wrong place.

To add a field: give `Ingredients` an attribute without a default, and `read_fields` one line that
reads the field, with a function that judges its value, and one that fills the attribute. mypy finds
an attribute that is not filled, and a use of one that is not there; ruff finds a field that is read
for nothing.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from Crypto.Math.Numbers import Integer
from Crypto.PublicKey import RSA
from Crypto.Util.asn1 import DerSequence

import oauth

BASE_URL = "https://api.ibkr.com/v1/api"
REALM = "limited_poa"
TEST_REALM, TEST_CONSUMER = "test_realm", "TESTCONS"
CLOCK_SECONDS = 30  # that this computer's clock may differ from the server's without a word
PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

T = TypeVar("T")


class Finding(NamedTuple):
    """What was found of one ingredient. `kind`: "ok", "note", "warning" or "error"."""

    kind: str
    name: str
    message: str
    hints: tuple[str, ...] = ()
    misfit: str = ""  # the file beside the keys that does not fit


@dataclass(frozen=True)
class Ingredients:
    """What a config holds that is right in all parts."""

    base_url: str
    realm: str
    consumer_key: str
    signature_key: RSA.RsaKey = field(repr=False)
    signature_key_file: str = field(repr=False)
    encryption_key: RSA.RsaKey = field(repr=False)
    encryption_key_file: str = field(repr=False)
    access_token: str = field(repr=False)
    access_token_secret: bytes = field(repr=False)  # decrypted
    dh_prime: int = field(repr=False)
    dh_generator: int = field(repr=False)


class Report(NamedTuple):
    """All findings, field by field; `ingredients` if none of them is an error."""

    findings: list[Finding]
    ingredients: Ingredients | None


class FieldError(Exception):
    """What is wrong with the value of a field."""

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.hints = hints


class Checked(Generic[T]):
    """A value that is right, and what --check says of it."""

    def __init__(self, value: T, remark: str, kind: str = "ok") -> None:
        self.value = value
        self.remark = remark
        self.kind = kind


class IncompleteError(Exception):
    """A field is wrong, so that there is nothing to log in with."""


class Field(Generic[T]):
    """What was read of a field: nothing, if that was an error."""

    def __init__(self, checked: Checked[T] | None) -> None:
        self.checked = checked

    @property
    def value(self) -> T:
        if self.checked is None:
            raise IncompleteError
        return self.checked.value


class Config:
    """The fields of a config, each read once. Keeps what was found, and which names it knows."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self.names: list[str] = []
        self.findings: list[Finding] = []

    def read(
        self, name: str, check: Callable[[Any], Checked[T]], default: object = None
    ) -> Field[T]:
        """Return what `check` makes of the value, which raises FieldError if that is wrong."""
        self.names.append(name)
        value = self.values.get(name, default)
        try:
            checked = check(value)
        except FieldError as problem:
            self.findings.append(Finding("error", name, str(problem), problem.hints))
            return Field(None)
        self.findings.append(Finding(checked.kind, name, checked.remark))
        return Field(checked)


def check_config(values: dict[str, Any], path: str) -> Report:
    """Check the fields of the config that was loaded from `path`, and the files that they name."""
    config = Config(values)
    try:
        ingredients = read_fields(config, os.path.dirname(path))
    except IncompleteError:
        config.findings += unknown_fields(values, config.names)
        return Report(config.findings, None)
    config.findings += unknown_fields(values, config.names)
    config.findings += doubts(ingredients)
    config.findings += uploaded_files(ingredients)
    config.findings += tracked_template(path)
    return Report(config.findings, ingredients)


def read_fields(config: Config, folder: str) -> Ingredients:
    """Read all fields, so that one run lists every problem; then raise IncompleteError for any."""
    base_url = config.read("base_url", check_base_url, BASE_URL)
    realm = config.read("realm", check_realm)
    consumer_key = config.read("consumer_key", check_consumer_key)
    signature = read_key(config, "signature_key_fp", "signature", folder)
    encryption = read_key(config, "encryption_key_fp", "encryption", folder)
    access_token = config.read("access_token", check_access_token)
    secret = config.read(
        "access_token_secret",
        lambda text: check_secret(text, access_token, encryption, signature),
    )
    dh_prime = config.read("dh_prime", check_prime)
    dh_generator = config.read("dh_generator", check_generator, 2)
    return Ingredients(
        base_url=base_url.value,
        realm=realm.value,
        consumer_key=consumer_key.value,
        signature_key=signature.value.key,
        signature_key_file=signature.value.path,
        encryption_key=encryption.value.key,
        encryption_key_file=encryption.value.path,
        access_token=access_token.value,
        access_token_secret=secret.value,
        dh_prime=dh_prime.value,
        dh_generator=dh_generator.value,
    )


def read_key(config: Config, name: str, use: str, folder: str) -> Field[KeyFile]:
    testing = config.values.get("consumer_key") == TEST_CONSUMER
    return config.read(name, lambda text: check_private_key(text, use, folder, testing))


# Texts: a field that is one line of plain characters


def plain_text(value: object, hint: str) -> str:
    """Return the text of a field that is filled in."""
    if value is None:
        raise FieldError("not filled in", hint)
    if not isinstance(value, str):
        raise FieldError("not a text in quotes", hint)
    text = value.strip()
    if not text or re.fullmatch("(your|path-to|generated)-[a-z-]+", text):
        raise FieldError("not filled in", hint)
    return text


def ascii_word(value: object, hint: str) -> str:
    text = plain_text(value, hint)
    if not re.fullmatch("[!-~]{1,2000}", text):
        raise FieldError("not in the right form: one word of plain letters", hint)
    return text


def characters(text: str) -> str:
    return f"{len(text)} characters"


def shown_realm(realm: str) -> str:
    """Return the realm where it has one of its forms; it may be a secret otherwise."""
    return realm if realm in (REALM, TEST_REALM) else f"({characters(realm)})"


def shown_consumer_key(consumer_key: str) -> str:
    return consumer_key if well_formed(consumer_key) else f"({characters(consumer_key)})"


def well_formed(consumer_key: str) -> bool:
    return consumer_key == TEST_CONSUMER or bool(re.fullmatch("[A-Z0-9]{9}", consumer_key))


def check_realm(value: object) -> Checked[str]:
    hint = f'give "{REALM}", or "{TEST_REALM}" for the consumer {TEST_CONSUMER}'
    realm = ascii_word(value, hint)
    return Checked(realm, shown_realm(realm))


def check_consumer_key(value: object) -> Checked[str]:
    key = ascii_word(value, "copy its nine characters from the self-service portal")
    return Checked(key, shown_consumer_key(key))


def check_access_token(value: object) -> Checked[str]:
    token = ascii_word(value, "copy all of it from where it was generated")
    return Checked(token, characters(token))


def check_base_url(value: object) -> Checked[str]:
    """Accept https, or http on this computer only, with a host and a port that can exist."""
    hint = 'give a URL like "https://host/path", or leave it out for IBKR\'s own'
    text = plain_text(value, hint)
    label = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
    host = rf"{label}(\.{label})*"
    local = r"localhost|127(\.(25[0-5]|2[0-4]\d|1\d\d|\d\d?)){3}|\[::1\]"
    if not re.fullmatch(rf"(?a)(https://{host}|http://({local}))(:\d+)?(/[\w.~-]+)*/?", text):
        raise FieldError("not in the right form: https, or http on this computer", hint)
    try:
        url = urlsplit(text)
        if url.port == 0 or len(url.netloc) > 250:
            raise ValueError
    except ValueError:
        raise FieldError("no such host or port can exist", hint) from None
    return Checked(text.rstrip("/"), text)


def closest(name: str, names: list[str]) -> str:
    """Return the name that is most like this one, "" if none is."""
    import difflib  # only here: most runs have nothing misspelled

    return next(iter(difflib.get_close_matches(name[:40], names)), "")


def unknown_fields(values: dict[str, Any], names: list[str]) -> Iterator[Finding]:
    unknown = [name for name in values if name not in names]
    for name in unknown[:20]:
        close = closest(name, names)
        hint = f"did you mean {close}?" if close else "it is ignored"
        yield Finding("warning", shown_name(name), "unknown field", (hint,))
    if len(unknown) > 20:
        message = f"{len(unknown) - 20} unknown fields more"
        yield Finding("warning", "...", message, ("begin with a template again",))


def shown_name(name: str) -> str:
    """Return a field's name, unless it may be a secret."""
    return name if harmless_name(name) else "a name that may be a secret, not shown"


def harmless_name(name: str) -> bool:
    """Tell whether a field's name is safe to show: its name and value may have changed places."""
    short = re.fullmatch("[A-Za-z0-9_-]{1,32}", name)
    return bool(short) and not re.search("[0-9a-fA-F]{16}", name)


# Key files


class KeyFile:
    """A private key, and the path where it was found. Its `repr` shows neither."""

    def __init__(self, key: RSA.RsaKey, path: str) -> None:
        self.key = key
        self.path = path


def shown_path(path: str) -> str:
    """Return the path as the person gave it, unless it may be a secret."""
    letters = "(?=[a-z0-9/]{0,63}[A-Z])(?=[A-Za-z/]{0,63}[0-9])[A-Za-z0-9/]{64}"  # as of base64
    if re.search(f"[+=]|[0-9a-fA-F]{{16}}|[A-Za-z0-9]{{40}}|{letters}", path):
        return f"a path of {characters(path)} (not shown)"
    return ascii(path)[1:-1].replace("\\\\", "\\")


def check_private_key(value: object, use: str, folder: str, testing: bool) -> Checked[KeyFile]:
    """Read the private key for one use, "signature" or "encryption"."""
    hint = f"give the path of private_{use}.pem; a \\ in it is written twice"
    text = plain_text(value, hint)
    if len(text) > 250 or not re.fullmatch(r"(?!.*-----BEGIN)[^\0-\x1f\x7f]+", text):
        raise FieldError("not a path", hint)
    shown = shown_path(text)
    try:
        path = os.path.join(folder, os.path.expanduser(text))
        key = private_key(read_file(path))
    except FileNotFoundError:
        raise FieldError(f"{shown} does not exist", *missing_key(path, use, testing)) from None
    except OSError as error:
        why = error.strerror or "cannot be read"
        raise FieldError(f"{shown}: {why}", "check the path") from None
    except UnicodeError:  # on systems whose file names are not UTF-8
        raise FieldError("not a path on this system", hint) from None
    except FieldError as problem:
        hints = [text.replace("{}", use) for text in problem.hints]
        raise FieldError(f"{shown} {problem}", *(hints or [hint])) from None
    remark = f"private, {key.size_in_bits()} bits; public half: SHA-256 {key_fingerprint(key)}"
    return Checked(KeyFile(key, path), remark)


def read_file(path: str) -> bytes:
    """Return what a regular file holds, its first megabyte. Raises OSError: for a FIFO, too."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "not a regular file")
    if status.st_size == 0:  # so are some of the system's that never end
        raise OSError(0, "empty file")
    with open(path, "rb") as file:
        return file.read(1_000_000)


def missing_key(path: str, use: str, testing: bool) -> list[str]:
    """Return hints for a key file that does not exist."""
    name = os.path.basename(path)
    if testing:
        return [f"private_{use}.pem comes with IBKR's web demo, in its folder keys: copy it there"]
    try:
        close = closest(name, os.listdir(os.path.dirname(path) or "."))
    except OSError:
        return ["its folder does not exist either; paths begin at the config's own folder"]
    if close:
        return [f"did you mean {shown_path(close)}?"]
    return ["check the path: it begins at the config's folder; or run keys/generate.sh"]


def pem_block(data: bytes) -> str:
    """Return the private key's block of a PEM file, or its first one, without the text around."""
    if b"\0" in data:
        hint = "give the PEM file, as plain ASCII or UTF-8"
        raise FieldError("is no PEM file, or is UTF-16 text", hint)
    text = data.decode("utf-8-sig", "replace").replace("\r", "\n")
    blocks = re.findall(r"-----BEGIN [A-Z0-9 ]{1,40}-----[^-]*-----END [A-Z0-9 ]{1,40}-----", text)
    if not blocks:
        raise FieldError("is not in PEM form", "it must have the lines -----BEGIN and -----END")
    private = [block for block in blocks if "PRIVATE KEY" in block]
    block: str = (private or blocks)[0]
    if len(block) > 16_000:
        raise FieldError("is larger than any key of 4096 bits", "make one with keys/generate.sh")
    if "\n" not in block.strip():
        hint = "copy the file itself: lines end after BEGIN, 64 characters each, and END"
        raise FieldError("has its key on one line", hint)
    return block


def private_key(data: bytes) -> RSA.RsaKey:
    """Return the RSA private key of 2048 to 4096 bits in a PEM file. Raises FieldError."""
    if re.search(rb"-----BEGIN ENCRYPTED|Proc-Type:[^\n]{0,80}ENCRYPTED", data):
        raise FieldError("has a passphrase", "remove it: openssl rsa -in OLD.pem -out NEW.pem")
    block = pem_block(data)
    if "PARAMETERS-----" in block:
        raise FieldError("holds parameters, no key")
    try:
        key = RSA.import_key(block)
    except (ValueError, IndexError, TypeError, ArithmeticError):
        raise FieldError("is not an RSA key in PEM form") from None
    if not key.has_private():
        raise FieldError("is a public key", "give the path of the private half, private_{}.pem")
    if not 2048 <= key.size_in_bits() <= 4096:
        hint = "make new keys with keys/generate.sh, and upload their public halves"
        raise FieldError(f"has {key.size_in_bits()} bits, IBKR takes 2048 to 4096", hint)
    return key


def key_fingerprint(key: RSA.RsaKey) -> str:
    """Return 8 hex digits: the beginning of the SHA-256 of the public half (DER)."""
    return hashlib.sha256(key.public_key().export_key("DER")).hexdigest()[:8]


# The access token secret


def check_secret(
    value: object, access_token: Field[str], encryption: Field[KeyFile], signature: Field[KeyFile]
) -> Checked[bytes]:
    """Decrypt the secret with the encryption key, if that was found."""
    text = ascii_word(value, "copy all of it from where it was generated")
    if encryption.checked is None:  # which is the error to mend first
        return Checked(b"", "not tried for want of its key", "note")
    key = encryption.value.key
    try:
        secret = oauth.decrypt_access_token_secret(text, key)
    except oauth.CredentialsError as error:
        message = str(error).removeprefix("the access token secret ")
        if access_token.checked is not None and decrypts(access_token.value, key):
            raise FieldError(message, "it and access_token have changed places") from None
        known = [read.value.path for read in (encryption, signature) if read.checked is not None]
        raise FieldError(message, *secret_hints(text, error, key, known)) from None
    return Checked(secret, f"decrypts to {len(secret)} bytes")


def decrypts(text: str, key: RSA.RsaKey) -> bool:
    try:
        oauth.decrypt_access_token_secret(text, key)
    except oauth.CredentialsError:
        return False
    return True


def secret_hints(
    text: str, error: oauth.CredentialsError, key: RSA.RsaKey, known: list[str]
) -> list[str]:
    """Return what to do about a secret that `key` does not decrypt, the likeliest first. `known`:
    the path of this key, and that of the signature key, if it was found."""
    other = other_key_that_fits(text, known)
    if other == known[-1]:
        return ["the two key paths are swapped: it decrypts with the one in signature_key_fp"]
    if other:
        return [f"it decrypts with {shown_path(other)}: name that file in encryption_key_fp"]
    if "does not decrypt" not in str(error):
        return [error.hint]
    hints = []
    public = beside(known[0], "public_encryption.pem")
    if public is not None and not is_public_half(public, key):
        hints.append("public_encryption.pem beside the key is not its public half: which is old?")
    return [
        *hints,
        "was this key's public half the one uploaded when the secret was generated?",
        "only if so: generate the token again, which ends the present secret",
    ]


def other_key_that_fits(text: str, known: list[str]) -> str:
    """Return the path of another private key in the keys' folders that decrypts the secret."""
    for folder in dict.fromkeys(os.path.dirname(path) for path in known):
        try:
            names = sorted(os.listdir(folder or "."))[:100]
        except OSError:
            continue
        for name in names:
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError, FieldError):
                if decrypts(text, private_key(read_file(path))):
                    return path
    return ""


# The Diffie-Hellman parameters


def check_prime(value: object) -> Checked[int]:
    """Accept hex as openssl prints it, or all that `openssl asn1parse` prints of the file."""
    hint = "copy what this prints: openssl asn1parse -in dhparam.pem"
    text = plain_text(value, hint)
    printed = re.search(r"INTEGER\s*:\s*(-?[0-9A-Fa-f]+)", text)
    if printed:
        text = printed[1]
    digits = re.sub(r"[\s:]", "", text)
    if digits.startswith("-"):
        again = "make a new dhparam.pem (README, live, 4), upload it, and copy its prime"
        raise FieldError("a negative number, which is no prime", again)
    if not re.fullmatch(r"(0[xX])?[0-9a-fA-F]{1,10000}", digits):
        raise FieldError("not a hex number", hint)
    prime = int(digits, 16)
    if not 2040 <= prime.bit_length() <= 4096:
        raise FieldError(f"has {prime.bit_length()} bits, about 2048 are right", hint)
    fingerprint = prime_fingerprint(prime)
    # Fermat's test, in pycryptodome's faster arithmetic, finds every slip of the pen. The number in
    # IBKR-2018 is no prime, yet used.
    if pow(Integer(2), prime - 1, Integer(prime)) != 1 and fingerprint != "c039f329":
        raise FieldError("not a prime: a digit is wrong or missing", hint)
    return Checked(prime, f"{prime.bit_length()} bits; SHA-256 {fingerprint}")


def prime_fingerprint(prime: int) -> str:
    """Return 8 hex digits: the beginning of the SHA-256 of the number in hex, in capitals."""
    return hashlib.sha256(f"{prime:X}".encode()).hexdigest()[:8]


def check_generator(value: object) -> Checked[int]:
    hint = "leave it out: openssl's is 2, the second number that asn1parse prints"
    if type(value) is not int:
        raise FieldError("not a whole number", hint)
    if not 2 <= value < 2**2039:
        raise FieldError("not a number from 2 to the prime", hint)
    return Checked(value, str(value) if value < 1000 else f"{value.bit_length()} bits")


def dh_parameters(data: bytes) -> tuple[int, int]:
    """Return prime and generator of a dhparam.pem. Raises ValueError."""
    block = re.search(rb"-----BEGIN [A-Z0-9. ]*DH PARAMETERS-----([^-]+)-----END ", data)
    if not block:
        raise ValueError
    numbers = DerSequence().decode(base64.b64decode(block[1]))
    prime, generator = numbers[0], numbers[1]
    if type(prime) is not int or type(generator) is not int:
        raise ValueError
    return prime, generator


# What can be right, but seldom is


def doubts(found: Ingredients) -> Iterator[Finding]:
    """Return warnings about what is not an error by itself."""
    if found.realm != fitting_realm(found):
        hint = f'"{TEST_REALM}" is for {TEST_CONSUMER}, "{REALM}" for every other consumer'
        yield Finding("warning", "realm", "does not fit the consumer key", (hint,))
    if not well_formed(found.consumer_key):
        hint = "copy it again from the portal, where it is in capitals; its case matters"
        yield Finding("warning", "consumer_key", "not nine capitals or digits", (hint,))
    if found.signature_key == found.encryption_key:
        yield Finding("warning", "signature_key_fp", "also the encryption key", ("make two keys",))
    files = {"signature_key_fp": found.signature_key_file}
    files["encryption_key_fp"] = found.encryption_key_file
    for name, path in files.items():
        if os.name == "posix" and os.stat(path).st_mode & 0o077:
            hint = f"chmod 600 {shown_path(path)}"
            yield Finding("warning", name, "others may read the file", (hint,))


def fitting_realm(found: Ingredients) -> str:
    return TEST_REALM if found.consumer_key == TEST_CONSUMER else REALM


def uploaded_files(found: Ingredients) -> Iterator[Finding]:
    """Compare with the files that were uploaded, where they lie beside the keys."""
    keys = {"public_signature.pem": (found.signature_key_file, found.signature_key)}
    keys["public_encryption.pem"] = (found.encryption_key_file, found.encryption_key)
    for name, (path, key) in keys.items():
        public = beside(path, name)
        if public is not None:
            private = shown_path(os.path.basename(path))
            differs = not is_public_half(public, key)
            yield comparison(name, differs, f"is not the public half of {private}")
    parameters = beside(found.signature_key_file, "dhparam.pem")
    if parameters is not None:
        yield compare_parameters(parameters, found)


def beside(path: str, name: str) -> bytes | None:
    try:
        return read_file(os.path.join(os.path.dirname(path), name))
    except OSError:
        return None


def is_public_half(public: bytes, key: RSA.RsaKey) -> bool:
    """Tell whether a PEM file is the public half of the key."""
    try:
        return RSA.import_key(pem_block(public)) == key.public_key()
    except (ValueError, IndexError, TypeError, ArithmeticError, FieldError):
        return False


def compare_parameters(data: bytes, found: Ingredients) -> Finding:
    try:
        prime, generator = dh_parameters(data)
    except (ValueError, IndexError, TypeError):
        return comparison("dhparam.pem", True, "cannot be read")
    if prime < 0:
        return comparison("dhparam.pem", True, "is broken: its prime is negative; make it again")
    if prime != found.dh_prime:
        return comparison("dhparam.pem", True, "has another prime than dh_prime")
    differs = generator != found.dh_generator
    return comparison("dhparam.pem", differs, "has another generator than dh_generator")


def comparison(name: str, differs: bool, problem: str) -> Finding:
    if not differs:
        return Finding("ok", name, "fits")
    hint = "if this file was uploaded, name the private key that it belongs to"
    if name == "dhparam.pem":
        hint = "if this file was uploaded, copy its prime and generator into the config"
    other = "if not, upload the one that belongs to what the config has"
    return Finding("warning", name, problem, (hint, other), misfit=name)


def tracked_template(path: str) -> Iterator[Finding]:
    """Remark on a template of this repository that was filled in where git would see it."""
    try:
        folder, name = os.path.split(os.path.abspath(path))
    except OSError:  # the current folder is deleted
        return
    template = folder == PROJECT and name in ("config.json", "test-config.json")
    if template and os.path.exists(os.path.join(PROJECT, ".git")):
        hint = f"unless you have done it, run: git update-index --skip-worktree {name}"
        yield Finding("note", name, "git tracks this file, now with your token in it", (hint,))


# After a refusal


class Refusal(NamedTuple):
    """What the server said to the request of a live session token.

    `kind`: "refused" (401), "proof" (wrong proof) or "range" (response out of range). `clock`: how
    many seconds this computer's clock is ahead of the server's.
    """

    kind: str
    words: str = ""
    clock: float = 0.0


GENERATE = "only then generate the token again, which ends the present secret"


def suspects(refusal: Refusal, found: Ingredients, findings: list[Finding]) -> list[str]:
    """Return hints, at most three, for the ingredient that is most likely wrong first.

    In this order: what the answer names; the clock, alone where nothing is named; a file beside the
    keys that does not fit; a realm that does not; what such an answer mostly means. Where clock or
    files tell the cause, nothing speaks of generating the token again, which ends a good secret.
    """
    words = refusal.words.lower()
    named: list[str] = []
    if refusal.kind in ("proof", "range"):
        rest = exchange_suspects(found)
    elif "invalid consumer" in words:
        named = consumer_suspects(found)
        rest = [
            "a new key is active after up to 24 hours, or a weekend",
            "paper and live have consumer keys, keys and tokens of their own",
        ]
    elif "no access secret key found" in words:
        named = ["compare access_token with the portal, digit by digit"]
        rest = [GENERATE]
    else:
        rest = secret_suspects(found)
    clock = clock_suspects(refusal)
    files = [f"{f.name} {f.message}" for f in misfits(findings, refusal.kind)]
    if clock and not named:  # IBKR refuses a time-stamp that is off, and says no more
        return clock
    if clock or files:
        rest = [hint for hint in rest if "generate" not in hint.lower()]
    ranked = [*named, *clock, *files, *realm_suspects(found), *rest]
    return list(dict.fromkeys(ranked))[:3]


def clock_suspects(refusal: Refusal) -> list[str]:
    if refusal.kind != "refused" or abs(refusal.clock) <= CLOCK_SECONDS:
        return []
    return [f"set this computer's clock, which is {clock_words(refusal.clock)} the server's"]


def clock_words(seconds: float) -> str:
    """Return how far a clock is off, as "600 s behind"."""
    return f"{abs(seconds):,.0f} s {'ahead of' if seconds > 0 else 'behind'}"


def misfits(findings: list[Finding], kind: str) -> list[Finding]:
    """Return the files that do not fit: that of the exchange first where this was the problem."""
    found = [finding for finding in findings if finding.misfit]
    exchange = [finding for finding in found if finding.misfit == "dhparam.pem"]
    return found if kind == "refused" else exchange + found


def realm_suspects(found: Ingredients) -> list[str]:
    if found.realm == fitting_realm(found):
        return []
    return [f'realm: "{fitting_realm(found)}" belongs to this consumer']


def consumer_suspects(found: Ingredients) -> list[str]:
    hint = "compare consumer_key with the portal, letter by letter"
    if not well_formed(found.consumer_key):
        hint = "consumer_key: nine capitals or digits, as the portal shows them"
    return [*realm_suspects(found), hint]


def secret_suspects(found: Ingredients) -> list[str]:
    hints = []
    if found.signature_key == found.encryption_key:
        hints.append("signature_key_fp names the encryption key, too: each has its own file")
    half = key_fingerprint(found.signature_key)
    hints += [
        'access_token_secret: is it of the last "Generate"? Look before pressing it',
        f"signature key: uploaded public_signature.pem must have SHA-256 {half}...",
        "compare access_token with the portal, digit by digit",
    ]
    return hints


def exchange_suspects(found: Ingredients) -> list[str]:
    hints = []
    if found.dh_generator != 2:
        hints.append("dh_generator: openssl's is 2; compare the dhparam.pem uploaded")
    prime = prime_fingerprint(found.dh_prime)
    hints.append(f"dh_prime: the dhparam.pem uploaded must have SHA-256 {prime}...")
    if found.consumer_key != found.consumer_key.upper():
        hints.append("consumer_key: the portal keeps it in capitals, and its case counts")
    return hints
