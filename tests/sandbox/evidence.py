"""Why a signature does not fit: what it shows by itself, and only then the known mistakes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from Crypto.PublicKey import RSA

from tests.sandbox.mistakes import Case, Start, Text, find_mistakes, keys, parts_of_text
from tests.sandbox.sessions import Session

RECENT = 3  # live session tokens that are tried, the newest first
HMAC_SIZES = {20: "sha1", 32: "sha256", 64: "sha512"}  # in bytes
DIGEST_INFO = {  # RFC 8017, section 9.2, note 1
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
_HEX = re.compile("(?:[0-9A-Fa-f]{2})+")
_PADDED = re.compile(rb"\x00\x01\xff{8,}\x00(.*)", re.DOTALL)


class Evidence(NamedTuple):
    """What is certain of a signature, and what is left to try."""

    mistakes: Sequence[str] = ()
    lines: Sequence[str] = ()  # below the reason
    nothing: str = ""  # the reason when no known mistake fits
    then: Sequence[str] = ()  # and the lines for that
    starts: Sequence[Start] = ()
    fits: Callable[[Text], bool] = bool


def explain(case: Case) -> str:
    """The short reason on the first line, the evidence on those below it."""
    mistakes, signature = read_signature(case.sent["oauth_signature"])
    if not signature:
        return "signature is no base64"
    look_into = look_into_rsa if case.texts[0].prepend else look_into_hmac
    evidence = look_into(case, signature)
    mistakes += evidence.mistakes
    lines = list(evidence.lines)
    guess = None
    try:
        guess = find_mistakes(evidence.starts, case, evidence.fits)
    except TimeoutError:
        lines.append("half a second was not enough to try all known mistakes")
    if guess:
        mistakes += guess.mistakes
        if case.throwaway:
            lines.append(f"this was signed: {ascii(guess.text.base_string)[1:-1]}")
    elif evidence.nothing:
        mistakes.append(evidence.nothing)
        lines += evidence.then
    return "\n    ".join(["; and ".join(mistakes), *lines])


# The form


def decode_base64(text: str) -> bytes:
    """Empty unless it is the one proper spelling, so that no changed character goes unnoticed."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return b""
    return data if base64.b64encode(data).decode() == text else b""


def read_signature(text: str) -> tuple[list[str], bytes]:
    """What is wrong with its form, and its bytes all the same; empty if they cannot be had."""
    mistakes = []
    if "%" in text:
        mistakes.append("signature percent-encoded twice")
        text = unquote(text)
    if re.search(r"\s", text):
        mistakes.append("blanks or line breaks in the signature")
        text = "".join(text.split())
    if _HEX.fullmatch(text):
        return [*mistakes, "signature in hex instead of base64"], bytes.fromhex(text)
    if "-" in text or "_" in text:
        mistakes.append("signature in the base64 of URLs, with - and _")
        text = text.replace("-", "+").replace("_", "/")
    if len(text) % 4:
        mistakes.append("signature without the = at its end")
        text += "=" * (-len(text) % 4)
    data = decode_base64(text)
    in_hex = data.decode("latin-1")
    if _HEX.fullmatch(in_hex):
        return [*mistakes, "signature in base64 of its hex text"], bytes.fromhex(in_hex)
    return mistakes, data


# RSA


def look_into_rsa(case: Case, signature: bytes) -> Evidence:
    mistakes, content = open_signature(case, signature)
    if not content:
        return foreign_key(case, signature)
    digest, hashed = read_digest(content)
    key = "this other key" if mistakes else "the right key"
    if content == hashed:
        mistakes.append("DigestInfo missing before the hash")
    mistakes += wrong_digest(digest)
    text = case.texts[0]
    below = hashlib.new(digest, text.message).hexdigest()
    return Evidence(
        mistakes=mistakes,
        lines=[f"{key} made this: its padding shows under the public half"],
        nothing=f"no known mistake in the text; the key is excluded: {key} made this",
        then=[
            f"is your prepend, the decrypted secret in hex, {len(text.prepend)} digits long?",
            f"{digest} of the text signed: {hashed.hex()}; of the one below: {below}",
            "if your text equals the one below, you send another than you sign (nonce, timestamp)",
        ],
        starts=[Start([], right, parts_of_text(right, case)) for right in case.texts],
        fits=lambda guess: hashlib.new(digest, guess.message).digest() == hashed,
    )


def open_signature(case: Case, signature: bytes) -> tuple[list[str], bytes]:
    """The key as a mistake, if it is one, and what stands behind the padding."""
    number = int.from_bytes(signature, "big")
    swapped = "signed with the encryption key instead of the signature key"
    keys_to_try: list[tuple[list[str], RSA.RsaKey]] = [([], case.identity.signature_key)]
    for mistake, key in [*case.identity.stray_keys, (swapped, case.identity.encryption_key)]:
        keys_to_try.append(([mistake], key))
    for mistakes, key in keys_to_try:
        if number < key.n:
            padded = pow(number, key.e, key.n).to_bytes(key.size_in_bytes(), "big")
            found = _PADDED.fullmatch(padded)
            if found:
                return mistakes, found.group(1)
    return [], b""


def read_digest(content: bytes) -> tuple[str, bytes]:
    for digest, info in DIGEST_INFO.items():
        if content.startswith(info):
            return digest, content[len(info) :]
    return "sha256", content


def foreign_key(case: Case, signature: bytes) -> Evidence:
    size = case.identity.signature_key.size_in_bytes()
    if len(signature) != size:
        reason = f"signature of {len(signature)} bytes, where RSA with this key makes {size}"
        return Evidence(mistakes=[reason])
    reason = "made with another key, neither the signature key nor the encryption key"
    doubt = "is it the private half of the file uploaded, and not PSS? The text is not judged"
    padding = "no PKCS#1 v1.5 padding shows under either public half"
    return Evidence(mistakes=[reason], lines=[f"{padding}; {doubt}"])


def wrong_digest(digest: str) -> list[str]:
    return [] if digest == "sha256" else [f"{digest.upper()} instead of SHA-256"]


# HMAC


def look_into_hmac(case: Case, signature: bytes) -> Evidence:
    if not case.live and not case.ended:
        return Evidence(mistakes=["nobody has a live session token yet"])
    digest = HMAC_SIZES.get(len(signature), "")
    if not digest:
        reason = f"signature of {len(signature)} bytes, where HMAC-SHA256 makes 32"
        return Evidence(mistakes=[reason])
    return what_the_token_shows(case)._replace(
        mistakes=wrong_digest(digest),
        starts=starts_of_calls(case),
        fits=lambda text: hmac.digest(text.key, text.message, digest) == signature,
    )


def starts_of_calls(case: Case) -> list[Start]:
    starts = []
    for text in case.texts:
        for session in case.live[:RECENT]:
            parts = {"key": keys(session, case), **parts_of_text(text, case)}
            starts.append(Start([], text._replace(key=session.token), parts))
        for session in case.ended:
            ended = ["live session token that has ended"]
            starts.append(Start(ended, text._replace(key=session.token), {}))
    return starts


def what_the_token_shows(case: Case) -> Evidence:
    """Whether to look at the key or at the text."""
    if not case.live:
        return Evidence(nothing="no live session token is good any more")
    newest = case.live[0]
    if newest.signed:
        times = f"{newest.signed} times"
        return Evidence(
            lines=[f"the newest live session token has signed rightly before, {times}"],
            nothing="no known mistake in the text; the token is excluded: it has signed before",
            then=["if your text equals the one below, it is the key: do you use the newest token?"],
        )
    nothing = "no known mistake in text or derivation; the token has never signed rightly"
    if len(newest.made.response) % 2:
        nothing = "last digit of diffie_hellman_response dropped? It has an odd number of them, "
        nothing += "the token has never signed rightly, and no other known mistake fits"
    return Evidence(nothing=nothing, then=derivation(newest, case))


def derivation(session: Session, case: Case) -> list[str]:
    """What to compare; the values themselves where they are throw-away."""
    lines = [
        "is your HMAC-SHA1(token, consumer key) the live_session_token_signature?",
        "if so, it is the text: is the nonce sent the one that was signed?",
        "if not, or if your text equals the one below, it is the key",
    ]
    if case.throwaway:
        token = f"{session.token.hex()}, in base64 {base64.b64encode(session.token).decode()}"
        lines.append(f"  K           {session.made.k.hex()}")
        lines.append(f"  secret      {case.identity.secret.hex()}")
        lines.append(f"  token       {token}: HMAC-SHA1 of the secret, with K as its key")
    return lines


# The text


def expected_lines(case: Case) -> str:
    """What should have been signed, for the log: in parts, then in one line."""
    text = case.texts[0]
    if not case.throwaway:
        text = masked(text)
    lines = ["what should have been signed:"]
    if text.prepend:
        lines.append(f"  prepend     {text.prepend}")
    lines.append(f"  method      {text.method}")
    lines.append(f"  URL         {text.origin}{text.path}")
    for name, value in sorted(text.pairs):
        lines.append(f"  parameter   {name}={value}")
    lines.append(f"in one line: {text.base_string}")
    return "".join("\n    " + ascii(line)[1:-1] for line in lines)


def masked(text: Text) -> Text:
    pairs = []
    for name, value in text.pairs:
        pairs.append((name, "ACCESS-TOKEN" if name == "oauth_token" else value))
    return text._replace(pairs=pairs, prepend="PREPEND" if text.prepend else "")
