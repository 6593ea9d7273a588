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
from dataclasses import dataclass, field
from typing import Any, Callable, NamedTuple
from urllib.parse import urlsplit

from Crypto.Math.Numbers import Integer
from Crypto.PublicKey import RSA
from Crypto.Util.asn1 import DerSequence

import oauth

BASE_URL = "https://api.ibkr.com/v1/api"
REALM, TEST_REALM, TEST_CONSUMER = "limited_poa", "test_realm", "TESTCONS"
REALM_FORM = f"{REALM}|{TEST_REALM}"
CONSUMER_FORM = f"[A-Z0-9]{{9}}|{TEST_CONSUMER}"
PATH_FORM = ".{1,250}"
CLOCK_SECONDS = 30  # that this computer's clock may be off before it is a suspect
FIELDS = ["realm", "encryption_key_fp", "signature_key_fp", "consumer_key", "dh_prime"]
FIELDS += ["dh_generator", "access_token", "access_token_secret", "base_url"]
UPLOADED = {  # the files that lie beside the keys, and the field after which they are reported
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


@dataclass(frozen=True)
class Ingredients:
    """What a config holds that is right in all parts."""

    credentials: oauth.Credentials
    base_url: str
    encryption: KeyFile = field(repr=False)
    signature: KeyFile = field(repr=False)


class Report(NamedTuple):
    """All findings; `ingredients` unless one is an error; `blank` before a token is filled in."""

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
    findings += uploaded_files(fields.right)
    findings.sort(key=lambda finding: FIELDS.index(UPLOADED.get(finding.name, finding.name)))
    unknown = list(unknown_fields(values))
    findings += unknown
    findings += unfilled_fields(fields)
    ingredients = None
    if not any(finding.kind == "error" for finding in findings):
        ingredients = ingredients_of(fields.right)
    blank = not unknown and {"access_token", "access_token_secret"} <= set(fields.unfilled)
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
    return Ingredients(
        credentials=credentials,
        base_url=right["base_url"],
        encryption=right["encryption_key_fp"],
        signature=right["signature_key_fp"],
    )


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
    hint = f"leave it out for IBKR's own, {BASE_URL}"
    text = plain_text(value)
    local = r"localhost|127\.\d+\.\d+\.\d+|\[::1\]"
    form = rf"(?a)(https://[\w.-]{{1,250}}|http://({local}))(:\d+)?(/[\w.~-]+)*/?"
    try:
        fits = re.fullmatch(form, text) and urlsplit(text).port != 0
    except ValueError:  # of a port above 65535
        fits = False
    if not fits:
        raise Problem("not in the right form: https, or http on this computer", hint)
    return text.rstrip("/"), text


# Key files

COPY_AGAIN = "copy the file again from where it was made"
DECRYPT_KEY = "remove it: openssl rsa -in FILE -out NEW.pem"
DECRYPT_OPENSSH = "remove it, in a copy of the file: ssh-keygen -p -m PEM -f COPY"
NEW_KEY = "IBKR takes RSA keys only; keys/generate.sh makes them"
SAVE_AS_TEXT = "save it as plain text, in ASCII or UTF-8"
OTHER_FILES = {  # how files begin that are taken for a key in PEM form
    b"{\\rtf": ("is an RTF document", SAVE_AS_TEXT),
    b"\xff\xfe": ("is UTF-16 text", SAVE_AS_TEXT),
    b"\xfe\xff": ("is UTF-16 text", SAVE_AS_TEXT),
    b"-\0-": ("is UTF-16 text", SAVE_AS_TEXT),
    b"<": ("is an HTML page", "download the file itself"),
    b"PuTTY": ("is in PuTTY's format", "in PuTTYgen: Conversions, Export OpenSSH key"),
    b"0\x82": ("is in DER form", "openssl rsa -inform DER -in FILE -out NEW.pem"),
}
RSA_OID, RSA_PSS_OID = bytes.fromhex("2a864886f70d010101"), bytes.fromhex("2a864886f70d01010a")


def check_key(value: object, use: str, folder: str, testing: bool) -> tuple[KeyFile, str]:
    """Read the private key for one use, "signature" or "encryption"."""
    text = plain_text(value)
    if "-----BEGIN" in text or re.search(r"[\0-\x1f]", text):
        hint = f"give the path of private_{use}.pem; a \\ in it is written twice"
        raise Problem("not a path", hint)
    path = os.path.join(folder, os.path.expanduser(text))
    name = shown(text, PATH_FORM)
    try:
        with open(path, "rb") as file:
            key = private_key(file.read())
    except FileNotFoundError:
        raise Problem(f"{name} does not exist", missing_key(path, use, testing)) from None
    except OSError as error:
        raise Problem(f"{name}: {error.strerror}", "give a file that you may read") from None
    except Problem as problem:
        hints = [
            hint.replace("FILE", shown(path, PATH_FORM)).replace("USE", use)
            for hint in problem.hints
        ]
        raise Problem(f"{name} {problem}", *hints) from None
    remark = f"private, {key.size_in_bits()} bits; public half: SHA-256 {key_digest(key)}"
    return KeyFile(key, path), remark


def missing_key(path: str, use: str, testing: bool) -> str:
    """Return a hint for a key file that does not exist."""
    if testing:
        return f"private_{use}.pem comes with IBKR's web demo, in its folder keys: copy it there"
    other = "a path begins at the config's own folder; keys/generate.sh makes keys"
    return did_you_mean(path) or other


def did_you_mean(path: str) -> str:
    """Return a hint at a file beside one that does not exist, "" if none has such a name."""
    folder, name = os.path.split(path)
    if not os.path.isdir(folder or "."):
        return f"there is no folder {shown(folder, PATH_FORM)}"
    close = closest(name, os.listdir(folder or "."))
    return close and f"did you mean {os.path.join(folder, close)}?"


def private_key(data: bytes) -> RSA.RsaKey:
    """Return the RSA private key of 2048 to 4096 bits in a PEM file, whatever text is around it.
    Raises Problem; in its hints FILE stands for the file, USE for what the key is for."""
    for beginning, (message, hint) in OTHER_FILES.items():
        if data.startswith(beginning):
            raise Problem(message, hint)
    label, body = pem_block(data)
    der = decoded(body)
    damaged = Problem("is damaged: a letter is lost or changed", COPY_AGAIN)
    if "ENCRYPTED" in label or "Proc-Type:" in body:
        raise Problem("has a passphrase", DECRYPT_KEY)
    if "OPENSSH" in label and b"\0\0\0\4none" not in der[:40]:
        raise Problem("has a passphrase", DECRYPT_OPENSSH)
    if "PRIVATE" not in label:
        what = "a public key" if "PUBLIC" in label else f"no private key: {label.lower()}"
        raise Problem(f"is {what}", "give the path of the private half, private_USE.pem")
    if not der:
        raise damaged
    if RSA_PSS_OID in der[:40]:
        raise Problem("is an RSA-PSS key", NEW_KEY)
    if not label.startswith("RSA") and RSA_OID not in der[:40] and b"ssh-rsa" not in der:
        raise Problem("is no RSA key", NEW_KEY)
    try:
        key = RSA.import_key(f"-----BEGIN {label}-----\n{body.strip()}\n-----END {label}-----")
    except (ValueError, IndexError, TypeError):
        raise damaged from None
    if not 2048 <= key.size_in_bits() <= 4096:
        hint = "make new keys with keys/generate.sh, and upload their public halves"
        raise Problem(f"has {key.size_in_bits()} bits, IBKR takes 2048 to 4096", hint)
    return key


def pem_block(data: bytes) -> tuple[str, str]:
    """Return label and body of the first private block of a PEM file, or else of its first block.
    Raises Problem."""
    text = data.decode("utf-8-sig", "replace")
    blocks = re.findall(r"-----BEGIN ([A-Z0-9. ]+)-----(.*?)-----END \1-----", text, re.DOTALL)
    private = [block for block in blocks if "PRIVATE" in block[0]]
    for label, body in private or blocks:
        return label, body
    if not text.strip():
        raise Problem("is empty", COPY_AGAIN)
    if "-----BEGIN" in text:
        raise Problem("is cut off: its END line is missing", COPY_AGAIN)
    raise Problem("is not in PEM form", "it must have the lines -----BEGIN and -----END")


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
        other = key_that_fits(text, encryption, right.get("signature_key_fp"))
        if other or "decrypt" not in message:
            raise Problem(message, other or error.hint) from None
        beside = "public_encryption.pem"
        for finding in compare(beside, encryption, f"SHA-256 {key_digest(encryption.key)}"):
            if finding.kind == "warn":
                hint = f"look for the private key that {beside} beside this one belongs to"
                raise Problem(message, hint) from None
        asked = "was this key's public half the one uploaded when the secret was generated?"
        generate = "only if it was, generate the token again, which ends the present secret"
        raise Problem(message, asked, generate) from None
    return secret, f"decrypts to {len(secret)} bytes"


def decrypts(text: str, key: RSA.RsaKey) -> bool:
    try:
        return bool(oauth.decrypt_access_token_secret(text, key))
    except oauth.CredentialsError:
        return False


def key_that_fits(text: str, encryption: KeyFile, signature: KeyFile | None) -> str:
    """Return a hint at another private key that decrypts the secret, "" if none is near."""
    if signature and decrypts(text, signature.key):
        return "the two key paths are swapped: it decrypts with the one in signature_key_fp"
    for private in filter(None, (encryption, signature)):
        folder = os.path.dirname(private.path) or "."
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if name.endswith((".pem", ".key")) and other_key_decrypts(text, path):
                return f"it decrypts with {shown(path, PATH_FORM)}: name that file"
    return ""


def other_key_decrypts(text: str, path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return decrypts(text, private_key(file.read()))
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
            hint = f"chmod 600 {shown(path, PATH_FORM)}"
            yield Finding("warn", name, "others may read the file", (hint,), suspect=False)


def uploaded_files(right: dict[str, Any]) -> Iterator[Finding]:
    """Compare with the files that were uploaded, where they lie beside the keys."""
    for use in ("encryption", "signature"):
        private = right.get(f"{use}_key_fp")
        if private:
            expected = f"SHA-256 {key_digest(private.key)}"
            yield from compare(f"public_{use}.pem", private, expected)
    if {"signature_key_fp", "dh_prime", "dh_generator"} <= right.keys():
        expected = parameters(right["dh_prime"], right["dh_generator"])
        yield from compare("dhparam.pem", right["signature_key_fp"], expected)


def parameters(prime: int, generator: int) -> str:
    return f"SHA-256 {prime_digest(prime)}, generator {shown_generator(generator)}"


def compare(name: str, private: KeyFile, expected: str) -> Iterator[Finding]:
    """Compare a file beside a key, if it is there, with what the config has. Where they differ only
    the person knows which one was uploaded."""
    try:
        with open(os.path.join(os.path.dirname(private.path), name), "rb") as file:
            found = described(file.read())
    except OSError:
        return
    if found == expected:
        yield Finding("ok", name, "fits")
        return
    uploaded = "if this file was uploaded, the config needs what belongs to it"
    hints = (uploaded, "if not, upload what belongs to the config")
    yield Finding("warn", name, f"does not fit: {found}; the config's: {expected}", hints)


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

GENERATE = "only then generate the token again, which ends the present secret"


def suspects(kind: str, words: str, clock: float, report: Report) -> list[str]:
    """Return hints, at most three, the ingredient that is most likely wrong first.

    `kind` is "refused" (401 to the request of a live session token) or "exchange" (wrong proof, or
    a Diffie-Hellman response out of range); `words` what the server said; `clock` how many seconds
    this computer is ahead of it. The order: what the answer names; the clock, alone if nothing is
    named; files beside the keys that do not fit; what --check warned of; what such an answer mostly
    means. Where a warning or the clock is the likely cause, nothing speaks of generating again.
    """
    assert report.ingredients is not None
    named, rest = meaning(kind, words.lower(), report.ingredients.credentials)
    warned = warnings_of(report.findings, kind)
    late = []
    if kind == "refused" and abs(clock) > CLOCK_SECONDS:
        side = "ahead of" if clock > 0 else "behind"
        late = [f"set this computer's clock, which is {abs(clock):,.0f} s {side} the server's"]
    if late and not named:
        return late
    if late or warned:
        rest = [hint for hint in rest if hint != GENERATE]
    if "SHA-256" in "".join(warned):  # with both digests
        rest = [hint for hint in rest if "SHA-256" not in hint]
    if "invalid consumer" in words.lower():  # whose own warnings say more than a comparison
        named = [hint for hint in warned if hint.startswith(("realm", "consumer"))] + named
    return list(dict.fromkeys([*named, *late, *warned, *rest]))[:3]


def warnings_of(findings: list[Finding], kind: str) -> list[str]:
    """Return the warnings that could be the cause, those about uploaded files first, and of these
    the Diffie-Hellman parameters where the exchange went wrong."""
    files = list(UPLOADED)
    if kind == "exchange":
        files.reverse()
    found = [finding for finding in findings if finding.kind == "warn" and finding.suspect]
    found.sort(key=lambda finding: [*files, finding.name].index(finding.name))
    return [f"{finding.name}: {finding.message}" for finding in found]


def meaning(kind: str, words: str, used: oauth.Credentials) -> tuple[list[str], list[str]]:
    """Return what an answer names, and what else it mostly means."""
    if kind == "exchange":
        return [], exchange_suspects(used)
    if "invalid consumer" in words:
        return ["compare consumer_key with the portal, letter by letter"], [
            "a new key is active after up to 24 hours, or a weekend",
            "paper and live have consumer keys, keys and tokens of their own",
        ]
    if "no access secret key found" in words:
        return ["compare access_token with the one that the portal shows now"], [GENERATE]
    digest = key_digest(used.signature_key)
    return [], [
        'access_token_secret: is it of the last "Generate"? Look before pressing it again',
        f"signature key: was its public half uploaded? It has SHA-256 {digest}",
        "access_token: compare it with the portal, digit by digit",
    ]


def exchange_suspects(used: oauth.Credentials) -> list[str]:
    hints = []
    if used.dh_generator != 2:
        hints.append("dh_generator: openssl's is 2; is it that of the dhparam.pem uploaded?")
    digest = prime_digest(used.dh_prime)
    hints.append(f"dh_prime: is it that of the dhparam.pem uploaded? It has SHA-256 {digest}")
    if used.consumer_key != used.consumer_key.upper():
        hints.append("consumer_key: the portal keeps it in capitals, and its case counts")
    return hints
