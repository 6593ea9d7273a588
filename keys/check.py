"""The ingredients of a log-in: is each in order, and which is suspect after a refusal?

`check_config` reads a config forgivingly and judges it strictly, without the network; `suspects`
ranks what may be wrong once the server has refused. Nothing here prints, and no message holds a
secret: a value is shown only where it is in its right form, or is a path.

To add a field: one function that returns its value and a remark, or raises Problem; one line in
`read_fields`, and its name in FIELDS.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator
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
FIELDS = ["realm", "encryption_key_fp", "signature_key_fp", "consumer_key", "dh_prime"]
FIELDS += ["dh_generator", "access_token", "access_token_secret", "base_url"]
UPLOADED = {  # files beside the keys, each with the field below which it is reported
    "public_signature.pem": "signature_key_fp",
    "public_encryption.pem": "encryption_key_fp",
    "dhparam.pem": "dh_generator",
}


class Problem(Exception):
    """What is wrong, and as `hints` what helps."""

    kind = "error"

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.hints = hints


class NotTried(Problem):
    """What could not be looked at because of another problem."""

    kind = "-"


class Finding(NamedTuple):
    """What was found of one ingredient. `kind`: "ok", "warn", "error", or "-" if not tried."""

    kind: str
    name: str
    message: str
    hints: tuple[str, ...] = ()
    suspect: bool = True  # a warning that may be why the server refuses


class KeyFile(NamedTuple):
    """A private key, and the path of its file."""

    key: RSA.RsaKey
    path: str


class Ingredients(NamedTuple):
    """What a config holds that is right in all parts."""

    credentials: oauth.Credentials
    base_url: str


class Report(NamedTuple):
    """All findings; `ingredients` unless one is an error; `blank` if no key or token is in yet."""

    findings: list[Finding]
    ingredients: Ingredients | None
    blank: bool


class Fields:
    """The fields of a config: which were right, which are to be filled in, what was found."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self.right: dict[str, Any] = {}
        self.unfilled: list[str] = []
        self.findings: list[Finding] = []

    def read(
        self, name: str, check: Callable[..., Any], *context: object, default: object = None
    ) -> None:
        """Keep what `check` makes of the value, or the problem that it has with it."""
        value = self.values.get(name)
        if is_unfilled(value):
            value = default
        if value is None:
            self.unfilled.append(name)
            return
        try:
            self.right[name], remark = check(value, *context)
            self.findings.append(Finding("ok", name, remark))
        except Problem as problem:
            self.findings.append(Finding(problem.kind, name, str(problem), problem.hints))


def check_config(values: dict[str, Any], path: str) -> Report:
    """Check the fields of the config that was loaded from `path`, and the files that they name."""
    fields = Fields(values)
    read_fields(fields, os.path.dirname(path))
    findings = fields.findings
    for doubt in doubts(fields.right):  # takes the place of the line that says ok
        findings = [found for found in findings if (found.kind, found.name) != ("ok", doubt.name)]
        findings.append(doubt)
    findings += filter(None, uploaded_files(fields.right))
    findings.sort(key=lambda finding: FIELDS.index(UPLOADED.get(finding.name, finding.name)))
    unknown = list(unknown_fields(values))
    findings += unknown
    findings += unfilled_fields(fields)
    ingredients = None
    if not any(finding.kind == "error" for finding in findings):
        ingredients = ingredients_of(fields.right)
    missing = {"access_token", "encryption_key_fp", "signature_key_fp"} - fields.right.keys()
    blank = not unknown and len(missing) == 3
    return Report(findings, ingredients, blank)


def read_fields(fields: Fields, folder: str) -> None:
    """Read all fields, so that one run lists every problem."""
    right = fields.right
    testing = fields.values.get("consumer_key") == TEST_CONSUMER
    pasted = numbers_of(fields.values.get("dh_prime"))[1:2]
    fields.read("realm", check_realm)
    fields.read("encryption_key_fp", check_key, "encryption", folder, testing)
    fields.read("signature_key_fp", check_key, "signature", folder, testing)
    fields.read("consumer_key", check_consumer_key)
    fields.read("dh_prime", check_prime)
    fields.read("dh_generator", check_generator, right, pasted, default=[*pasted, 2][0])
    fields.read("access_token", check_access_token)
    fields.read("access_token_secret", check_secret, right)
    fields.read("base_url", check_base_url, default=BASE_URL)


def ingredients_of(right: dict[str, Any]) -> Ingredients:
    credentials = oauth.Credentials(
        realm=right["realm"],
        consumer_key=right["consumer_key"],
        access_token=right["access_token"],
        access_token_secret=right["access_token_secret"],
        signature_key=right["signature_key_fp"].key,
        dh_prime=right["dh_prime"],
        dh_generator=right["dh_generator"],
    )
    return Ingredients(credentials, right["base_url"])


def unfilled_fields(fields: Fields) -> Iterator[Finding]:
    hint = 'the README says where each comes from, under "The live environment"'
    if fields.values.get("consumer_key") == TEST_CONSUMER:
        hint = 'IBKR\'s web demo shows them: see the README, "The test environment"'
    if fields.unfilled:
        yield Finding("error", "not filled in", ", ".join(fields.unfilled), (hint,))


def unknown_fields(values: dict[str, Any]) -> Iterator[Finding]:
    for name in values:
        if name not in FIELDS:
            close = closest(name, FIELDS)
            hint = f"did you mean {close}?" if close else "it is ignored"
            yield Finding("warn", shown(name, ".{1,40}"), "unknown field", (hint,))


def closest(name: str, names: list[str]) -> str:
    """Return the name that is most like this one, "" if none is."""
    import difflib  # only here: most runs have nothing misspelled

    plain = name.lower().replace(" ", "")
    return next(iter(difflib.get_close_matches(plain[:100], names)), "")


# Texts


def is_unfilled(value: object) -> bool:
    """Tell whether a field is missing, empty, or still the template's placeholder."""
    if not isinstance(value, str):
        return value is None
    return not value.strip() or bool(re.fullmatch("(your|path-to|generated)-[a-z-]+", value))


def plain_text(value: object) -> str:
    """Return a text without the blanks at its ends."""
    if not isinstance(value, str):
        raise Problem("not a text in quotes", "put it in double quotes")
    text = value.strip()
    if text[0] == text[-1] and text[0] in "\"'":
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


def check_realm(value: object) -> tuple[str, str]:
    realm = one_word(value, f'give "{REALM}", or "{TEST_REALM}" for the consumer {TEST_CONSUMER}')
    return realm, shown(realm, REALM_FORM)


def check_consumer_key(value: object) -> tuple[str, str]:
    key = one_word(value, "copy its nine characters from the self-service portal")
    return key, shown(key, CONSUMER_FORM)


def check_access_token(value: object) -> tuple[str, str]:
    token = one_word(value, "copy it again from the page where it was generated")
    return token, f"{len(token)} characters"


def check_base_url(value: object) -> tuple[str, str]:
    """Accept https, or http on this computer only."""
    text = plain_text(value)
    local = r"localhost|127\.\d+\.\d+\.\d+|\[::1\]"
    form = rf"(?a)(https://[\w.-]+|http://({local}))(:\d{{1,5}})?(/[\w.~-]+)*/?"
    if not re.fullmatch(form, text):
        hint = f"leave it out for IBKR's own, {BASE_URL}"
        raise Problem("not in the right form: https, or http on this computer", hint)
    return text.rstrip("/"), text


# Key files

COPY_AGAIN = "copy the file again from where it was made"
NEW_KEY = "IBKR takes RSA keys only; keys/generate.sh makes them"
SAVE_AS_TEXT = "save it as plain text, in ASCII or UTF-8"
OTHER_FILES = {  # how files begin that are taken for a key in PEM form
    b"{\\rtf": ("is an RTF document", SAVE_AS_TEXT),
    b"\xff\xfe": ("is UTF-16 text", SAVE_AS_TEXT),
    b"\xfe\xff": ("is UTF-16 text", SAVE_AS_TEXT),
    b"<": ("is an HTML page", "download the file itself"),
    b"PuTTY": ("is in PuTTY's format", "in PuTTYgen: Conversions, Export OpenSSH key"),
    b"0\x82": ("is in DER form", "make a PEM file: openssl rsa -inform DER -in OLD -out NEW.pem"),
}
RSA_OID, RSA_PSS_OID = bytes.fromhex("2a864886f70d010101"), bytes.fromhex("2a864886f70d01010a")


def check_key(value: object, use: str, folder: str, testing: bool) -> tuple[KeyFile, str]:
    """Read the private key for one use, "signature" or "encryption"."""
    text = plain_text(value)
    if not re.fullmatch(r"(?!.*-----BEGIN)[^\0-\x1f]{1,250}", text):  # a secret is longer
        hint = f"give the path of private_{use}.pem; a \\ in it is written twice"
        raise Problem("not a path", hint)
    path = os.path.join(folder, os.path.expanduser(text))
    try:
        with open(path, "rb") as file:
            key = private_key(file.read(), path, use)
    except FileNotFoundError:
        hint = f"private_{use}.pem comes with IBKR's web demo, in its folder keys: copy it there"
        if not testing:
            hint = did_you_mean(path) or "a path begins at the config's own folder"
        raise Problem(f"{text} does not exist", hint) from None
    except OSError as error:
        raise Problem(f"{text}: {error.strerror}", "give a file that you may read") from None
    except Problem as problem:
        raise Problem(f"{text} {problem}", *problem.hints) from None
    remark = f"private, {key.size_in_bits()} bits; public half: SHA-256 {key_digest(key)}"
    return KeyFile(key, path), remark


def did_you_mean(path: str) -> str:
    """Return a hint at a file beside one that does not exist, "" if none has such a name."""
    folder, name = os.path.split(path)
    if not os.path.isdir(folder or "."):
        return f"there is no folder {folder}"
    close = closest(name, os.listdir(folder or "."))
    return close and f"did you mean {os.path.join(folder, close)}?"


def private_key(data: bytes, path: str, use: str) -> RSA.RsaKey:
    """Return the RSA private key of 2048 to 4096 bits in a PEM file, whatever text is around it.
    Raises Problem, whose hints speak of this path and use."""
    for beginning, problem in OTHER_FILES.items():
        if data.startswith(beginning):
            raise Problem(*problem)
    label, body = pem_block(data)
    der = decoded(body)
    if "ENCRYPTED" in label or "Proc-Type:" in body:
        raise Problem("has a passphrase", f"remove it: openssl rsa -in {path} -out NEW.pem")
    if "OPENSSH" in label and b"\0\0\0\4none" not in der[:40]:
        raise Problem("has a passphrase", "remove it, in a copy: ssh-keygen -p -m PEM -f COPY")
    if "PRIVATE" not in label:
        what = "a public key" if "PUBLIC" in label else f"no private key: {label.lower()}"
        raise Problem(f"is {what}", f"give the path of the private half, private_{use}.pem")
    if RSA_PSS_OID in der[:40]:
        raise Problem("is an RSA-PSS key", NEW_KEY)
    if der and not (label[:3] == "RSA" or RSA_OID in der[:40] or b"ssh-rsa" in der):
        raise Problem("is no RSA key", NEW_KEY)
    try:
        key = RSA.import_key(f"-----BEGIN {label}-----\n{body.strip()}\n-----END {label}-----")
    except (ValueError, IndexError, TypeError):
        raise Problem("is damaged: a letter is lost or changed", COPY_AGAIN) from None
    if not 2048 <= key.size_in_bits() <= 4096:
        hint = "make new keys with keys/generate.sh, and upload their public halves"
        raise Problem(f"has {key.size_in_bits()} bits, IBKR takes 2048 to 4096", hint)
    return key


def pem_block(data: bytes) -> tuple[str, str]:
    """Return label and body of the first private block of a PEM file, or else of its first block.
    Raises Problem."""
    text = data.decode("utf-8-sig", "replace")
    blocks = re.findall(r"-----BEGIN ([A-Z0-9. ]+)-----(.*?)-----END \1-----", text, re.DOTALL)
    if not text.strip():
        raise Problem("is empty", COPY_AGAIN)
    if not blocks and "-----BEGIN" in text:
        raise Problem("is cut off: its END line is missing", COPY_AGAIN)
    if not blocks:
        raise Problem("is not in PEM form", "it must have the lines -----BEGIN and -----END")
    private = [block for block in blocks if "PRIVATE" in block[0]]
    label, body = (private or blocks)[0]
    return label, body


def decoded(body: str) -> bytes:
    """Return the bytes of a PEM block, none if a letter is lost."""
    try:
        return base64.b64decode(body)
    except ValueError:
        return b""


def key_digest(key: RSA.RsaKey) -> str:
    """Return 8 hex digits: the beginning of the SHA-256 of the public half (DER)."""
    return hashlib.sha256(key.public_key().export_key("DER")).hexdigest()[:8]


# The access token secret


def check_secret(value: object, right: dict[str, Any]) -> tuple[bytes, str]:
    """Decrypt the secret with the encryption key, if that is right."""
    text = re.sub(r"\s", "", plain_text(value))
    if "encryption_key_fp" not in right:
        raise NotTried("not tried: it needs encryption_key_fp")
    encryption: KeyFile = right["encryption_key_fp"]
    try:
        secret = oauth.decrypt_access_token_secret(text, encryption.key)
    except oauth.CredentialsError as error:
        if decrypts(right.get("access_token", ""), encryption.key):
            raise Problem("it and access_token have changed places", "exchange them") from None
        message = str(error).replace("the access token secret ", "")
        hints = [error.hint]
        if "decrypt" in message:
            hints = wrong_key_hints(text, encryption, right.get("signature_key_fp"))
        raise Problem(message, *hints) from None
    return secret, f"decrypts to {len(secret)} bytes"


def decrypts(text: str, key: RSA.RsaKey) -> bool:
    try:
        return bool(oauth.decrypt_access_token_secret(text, key))
    except oauth.CredentialsError:
        return False


def wrong_key_hints(text: str, encryption: KeyFile, signature: KeyFile | None) -> list[str]:
    """Return what helps with a secret that the encryption key does not decrypt."""
    if signature and decrypts(text, signature.key):
        return ["the two key paths are swapped: it decrypts with the one in signature_key_fp"]
    for private in filter(None, (encryption, signature)):
        folder = os.path.dirname(private.path) or "."
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if name.endswith((".pem", ".key")) and other_key_decrypts(text, path):
                return [f"it decrypts with {path}: name that file"]
    public = compare("public_encryption.pem", encryption, f"SHA-256 {key_digest(encryption.key)}")
    if public and public.kind == "warn":
        return ["look for the private key that public_encryption.pem beside this one belongs to"]
    return [
        "was this key's public half the one uploaded when the secret was generated?",
        "only if it was, generate the token again, which ends the present secret",
    ]


def other_key_decrypts(text: str, path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return decrypts(text, private_key(file.read(), path, ""))
    except (OSError, Problem):
        return False


# The Diffie-Hellman parameters

COPY_PRIME = "copy all that this prints: openssl asn1parse -in dhparam.pem"
NEW_PRIME = "make new ones: openssl dhparam -out dhparam.pem 2048; upload them, copy their prime"


def numbers_of(text: object) -> list[str]:
    """Return the numbers in what `openssl asn1parse` prints, the prime and the generator first. A
    terminal may have broken the lines."""
    return re.findall(r"INTEGER\s*:(-?[0-9A-Fa-f\s]+?)\s*(?:\s\d+:d=|$)", str(text))


def hex_number(text: str, hint: str) -> int:
    """Accept what openssl prints: with colons, blanks, line breaks, 0x, zeros in front."""
    digits = re.sub(r"[\s:]", "", text)
    if re.fullmatch("-[0-9a-fA-F]+", digits):
        raise Problem("a negative number: the file that it comes from is broken", NEW_PRIME)
    if not re.fullmatch("(0[xX])?[0-9a-fA-F]{1,4000}", digits):
        raise Problem("not a hex number", hint)
    return int(digits, 16)


def check_prime(value: object) -> tuple[int, str]:
    text = plain_text(value)
    prime = hex_number([*numbers_of(text), text][0], COPY_PRIME)
    bits = prime.bit_length()
    # Fermat's test, in pycryptodome's faster arithmetic: it finds every slip of the pen
    if bits < 256 or pow(Integer(2), prime - 1, Integer(prime)) != 1:
        raise Problem(f"not a prime ({bits} bits): a digit is wrong or missing", COPY_PRIME)
    if not 2040 <= bits <= 4096:
        raise Problem(f"has {bits} bits, about 2048 are right", NEW_PRIME)
    return prime, f"{bits} bits; SHA-256 {prime_digest(prime)}"


def prime_digest(prime: int) -> str:
    """Return 8 hex digits: the beginning of the SHA-256 of the number in hex, in capitals."""
    return hashlib.sha256(f"{prime:X}".encode()).hexdigest()[:8]


def check_generator(value: object, right: dict[str, Any], pasted: list[str]) -> tuple[int, str]:
    """Accept a number, or hex as openssl prints it; `pasted`: the one that stands in dh_prime."""
    hint = "leave it out if openssl asn1parse prints 02 as the second number, else copy that"
    number = value
    if isinstance(value, str):
        number = hex_number(value, hint)
    if type(number) is not int or number < 2 or number > right.get("dh_prime", number + 2) - 2:
        raise Problem("not a number from 2 to the prime", hint)
    if pasted and hex_number(pasted[0], hint) != number:
        raise Problem("another one stands in dh_prime", "leave dh_generator out")
    return number, shown_generator(number)


def shown_generator(generator: int) -> str:
    return str(generator) if generator < 1000 else f"{generator.bit_length()} bits"


# What can be right, but seldom is


def doubts(right: dict[str, Any]) -> Iterator[Finding]:
    """Yield warnings about what is no error by itself."""
    realm, consumer = right.get("realm"), right.get("consumer_key")
    fitting = TEST_REALM if consumer == TEST_CONSUMER else REALM
    if realm and consumer and realm != fitting:
        yield Finding("warn", "realm", f'does not fit the consumer, whose realm is "{fitting}"')
    if consumer and not re.fullmatch(CONSUMER_FORM, consumer):
        hint = "copy it again from the portal, where it is in capitals; its case matters"
        yield Finding("warn", "consumer_key", "not nine capitals or digits", (hint,))
    token = right.get("access_token")
    if token and not re.fullmatch("[0-9a-fA-F]+", token):
        hint = "compare it with the portal: 20 digits, from 0 to 9 and from a to f"
        yield Finding("warn", "access_token", "has letters that are no hex digits", (hint,))
    encryption, signature = right.get("encryption_key_fp"), right.get("signature_key_fp")
    if encryption and signature and encryption.key == signature.key:
        hint = "IBKR expects two keys"
        yield Finding("warn", "signature_key_fp", "is the encryption key, too", (hint,))
    for name in ("encryption_key_fp", "signature_key_fp"):
        path = right[name].path if name in right else os.devnull
        if os.name == "posix" and os.path.isfile(path) and os.stat(path).st_mode & 0o077:
            hint = f"chmod 600 {path}"
            yield Finding("warn", name, "others may read the file", (hint,), suspect=False)


def uploaded_files(right: dict[str, Any]) -> Iterator[Finding | None]:
    """Compare with the files that were uploaded, where they lie beside the keys."""
    for use in ("encryption", "signature"):
        private = right.get(f"{use}_key_fp")
        if private:
            expected = f"SHA-256 {key_digest(private.key)}"
            yield compare(f"public_{use}.pem", private, expected)
    if {"signature_key_fp", "dh_prime", "dh_generator"} <= right.keys():
        expected = parameters(right["dh_prime"], right["dh_generator"])
        yield compare("dhparam.pem", right["signature_key_fp"], expected)


def parameters(prime: int, generator: int) -> str:
    return f"SHA-256 {prime_digest(prime)}, generator {shown_generator(generator)}"


def compare(name: str, private: KeyFile, expected: str) -> Finding | None:
    """Compare a file beside a key, if it is there, with what the config has. Where they differ only
    the person knows which one was uploaded."""
    try:
        with open(os.path.join(os.path.dirname(private.path), name), "rb") as file:
            found = described(file.read())
    except OSError:
        return None
    if found == expected:
        return Finding("ok", name, "fits")
    uploaded = "if this file was uploaded, the config needs what belongs to it"
    hints = (uploaded, "if not, upload what belongs to the config")
    return Finding("warn", name, f"does not fit: {found}; the config's: {expected}", hints)


def described(data: bytes) -> str:
    """Return what is compared of a public half or of Diffie-Hellman parameters."""
    try:
        label, body = pem_block(data)
        if "PARAMETERS" in label:
            numbers = DerSequence().decode(decoded(body))
            if numbers[0] < 0:
                return "a negative prime, so it is broken"
            return parameters(numbers[0], numbers[1])
        return f"SHA-256 {key_digest(RSA.import_key(data))}"
    except (Problem, ValueError, IndexError, TypeError):
        return "it cannot be read"


# After a refusal


def suspects(kind: str, words: str, clock: float, report: Report) -> list[str]:
    """Return hints, at most three, the ingredient that is most likely wrong first.

    `kind` is "refused" (401 to the request of a live session token) or "exchange" (wrong proof, or
    a Diffie-Hellman response out of range); `words` what the server said; `clock` how many seconds
    this computer is ahead of it. The order: what the answer names; the clock, alone if nothing is
    named; files beside the keys that do not fit; what --check warned of; what such an answer mostly
    means. Nothing speaks of generating again while something cheaper is as likely.
    """
    assert report.ingredients is not None
    used = report.ingredients.credentials
    warned = warnings_of(report.findings)
    if kind == "exchange":  # for which IBKR has accepted the signature, and with it the secret
        hints = [warned[name] for name in ("dhparam.pem", "consumer_key") if name in warned]
        return [*hints, *exchange_suspects(used, warned)]
    late = []
    if abs(clock) > CLOCK_SECONDS:
        side = "ahead of" if clock > 0 else "behind"
        late = [f"set this computer's clock, which is {abs(clock):,.0f} s {side} the server's"]
    if "invalid consumer" in words.lower():
        hints = [warned.pop(name) for name in ("realm", "consumer_key") if name in warned]
        hints += ["compare consumer_key with the portal, letter by letter", *late]
        hints += [*warned.values(), "a new key is active after up to 24 hours, or a weekend"]
        hints += ["paper and live have consumer keys, keys and tokens of their own"]
    elif "no access secret key found" in words.lower():
        hints = ["compare access_token with the one that the portal shows now", *late]
        hints += warned.values()
        if len(hints) == 1:
            hints += ["only then generate the token again, which ends the present secret"]
    else:
        hints = late or [*warned.values(), *refusal_suspects(used, warned)]
    return hints[:3]


def warnings_of(findings: list[Finding]) -> dict[str, str]:
    """Return the warnings that may be the cause, by name, uploaded files first."""
    found = {}
    for finding in findings:
        if finding.kind == "warn" and finding.suspect:
            found[finding.name] = f"{finding.name}: {finding.message}"
    return {name: found[name] for name in [*UPLOADED, *found] if name in found}


def refusal_suspects(used: oauth.Credentials, warned: dict[str, str]) -> list[str]:
    hints = ['access_token_secret: is it of the last "Generate"? Look before pressing it again']
    if "public_signature.pem" not in warned:  # which has said both digests
        digest = key_digest(used.signature_key)
        hints.append(f"signature key: was its public half uploaded? It has SHA-256 {digest}")
    return [*hints, "access_token: compare it with the portal, digit by digit"]


def exchange_suspects(used: oauth.Credentials, warned: dict[str, str]) -> list[str]:
    hints = []
    if used.dh_generator != 2:
        hints.append("dh_generator: openssl's is 2; is it that of the dhparam.pem uploaded?")
    if "dhparam.pem" not in warned:  # which has said both digests
        digest = prime_digest(used.dh_prime)
        hints.append(f"dh_prime: is it that of the dhparam.pem uploaded? It has SHA-256 {digest}")
    return hints
