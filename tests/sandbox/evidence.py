"""Why a signature does not fit: what it shows by itself, and only then the known mistakes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from tests.sandbox.mistakes import Case, Guess, Text, guesses, keys, parts_of_text

SECONDS = 0.5  # of computing, to explain one signature
HMAC_SIZES = {20: "sha1", 32: "sha256"}  # in bytes
DIGEST_INFO = {  # RFC 8017, section 9.2, note 1
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
}
SHA1 = "SHA1 instead of SHA-256"
_HEX = re.compile("(?:[0-9A-Fa-f]{2})+")
_PADDED = re.compile(rb"\x00\x01\xff{8,}\x00(.*)", re.DOTALL)


class Evidence(NamedTuple):
    """What is certain of a signature, and what is left to try."""

    mistakes: Sequence[str] = ()
    lines: Sequence[str] = ()  # below the reason
    nothing: str = ""  # the reason when no known mistake fits
    then: Sequence[str] = ()  # and the lines for that
    starts: Sequence[Guess] = ()
    fits: Callable[[Text], bool] = bool


def explain(case: Case) -> str:
    """The short reason on the first line, the evidence on those below it, then the text."""
    mistakes, signature = read_signature(case.sent["oauth_signature"])
    if not signature:
        return "signature is no base64" + expected_lines(case)
    look_into = look_into_rsa if case.texts[0].prepend else look_into_hmac
    evidence = look_into(case, signature)
    mistakes += evidence.mistakes
    lines = list(evidence.lines)
    found = None
    ends = time.thread_time() + SECONDS
    for guess in guesses(evidence.starts, case):
        if evidence.fits(guess.text):
            found = guess
            break
        if time.thread_time() > ends:
            lines.append("half a second was not enough to try all known mistakes")
            break
    if found:
        mistakes += found.mistakes
        if case.throwaway:
            lines.append(f"this was signed: {found.text.base_string}")
    elif evidence.nothing:
        mistakes.append(evidence.nothing)
        lines += evidence.then
    return "\n".join(["; and ".join(mistakes), *lines]) + expected_lines(case)


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
    if len(text) % 4:
        mistakes.append("signature without the = at its end")
        text += "=" * (-len(text) % 4)
    return mistakes, decode_base64(text)


# RSA


def look_into_rsa(case: Case, signature: bytes) -> Evidence:
    mistakes, content = open_signature(case, signature)
    digest = "sha256"
    if content.startswith(DIGEST_INFO["sha1"]):
        digest = "sha1"
    if not content.startswith(DIGEST_INFO[digest]):
        reason = "made with another key, neither the signature key nor the encryption key"
        doubt = "is it the private half of the file uploaded, and not PSS? The text is not judged"
        padding = "no PKCS#1 v1.5 padding shows under either public half"
        return Evidence(mistakes=[reason], lines=[f"{padding}; {doubt}"])
    key = "the right key"
    if mistakes:
        key = "this other key"
    if digest == "sha1":
        mistakes.append(SHA1)
    hashed = content[len(DIGEST_INFO[digest]) :]
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
        starts=[Guess([], text, parts_of_text(text, case)) for text in case.texts],
        fits=lambda guess: hashlib.new(digest, guess.message).digest() == hashed,
    )


def open_signature(case: Case, signature: bytes) -> tuple[list[str], bytes]:
    """The key as a mistake, if it is one, and what stands behind the padding."""
    number = int.from_bytes(signature, "big")
    swapped = "signed with the encryption key instead of the signature key"
    other_keys = [*case.identity.stray_keys, (swapped, case.identity.encryption_key)]
    for mistake, key in [("", case.identity.signature_key), *other_keys]:
        padded = pow(number, key.e, key.n).to_bytes(key.size_in_bytes(), "big")
        found = _PADDED.fullmatch(padded)
        if found:
            return list(filter(None, [mistake])), found.group(1)
    return [], b""


# HMAC


def look_into_hmac(case: Case, signature: bytes) -> Evidence:
    digest = HMAC_SIZES.get(len(signature))
    if not digest:
        reason = f"signature of {len(signature)} bytes, where HMAC-SHA256 makes 32"
        return Evidence(mistakes=[reason])
    mistakes = []
    if digest == "sha1":
        mistakes.append(SHA1)
    return what_the_token_shows(case)._replace(
        mistakes=mistakes,
        starts=starts_of_calls(case),
        fits=lambda text: hmac.digest(text.key, text.message, digest) == signature,
    )


def starts_of_calls(case: Case) -> list[Guess]:
    starts = []
    for text in case.texts:
        for session in case.sessions.live:
            parts = [keys(session, case), *parts_of_text(text, case)]
            starts.append(Guess([], text._replace(key=session.token), parts))
        for session in case.sessions.ended:
            ended = ["live session token that has ended"]
            starts.append(Guess(ended, text._replace(key=session.token)))
    return starts


def what_the_token_shows(case: Case) -> Evidence:
    """Whether to look at the key or at the text; values are shown where they are throw-away."""
    if not case.sessions.live:
        return Evidence(nothing="there is no live session token, or none any more")
    newest = case.sessions.live[0]
    if newest.signed:
        times = f"{newest.signed} times"
        return Evidence(
            lines=[f"the newest live session token has signed rightly before, {times}"],
            nothing="no known mistake in the text; the token is excluded: it has signed before",
            then=["if your text equals the one below, it is the key: do you use the newest token?"],
        )
    nothing = "no known mistake in text or derivation; the token has never signed rightly"
    if len(newest.response) % 2:
        nothing = "last digit of diffie_hellman_response dropped? It has an odd number of them, "
        nothing += "the token has never signed rightly, and no other known mistake fits"
    lines = [
        "is your HMAC-SHA1(token, consumer key) the live_session_token_signature?",
        "if so, it is the text: is the nonce sent the one that was signed?",
        "if not, or if your text equals the one below, it is the key",
    ]
    if case.throwaway:
        lines += newest.derivation(case.identity.secret)
    return Evidence(nothing=nothing, then=lines)


# The text


def expected_lines(case: Case) -> str:
    """What should have been signed: in parts, then in one line."""
    text = case.texts[0]
    if not case.throwaway:
        shown = {**dict(text.pairs), "oauth_token": "ACCESS-TOKEN"}
        text = text._replace(pairs=list(shown.items()), prepend=text.prepend and "PREPEND")
    lines = ["\nwhat should have been signed:"]
    if text.prepend:
        lines.append(f"  prepend     {text.prepend}")
    lines.append(f"  method      {text.method}")
    lines.append(f"  URL         {text.origin}{text.path}")
    for name, value in sorted(text.pairs):
        lines.append(f"  parameter   {name}={value}")
    lines.append(f"in one line: {text.base_string}")
    return "\n".join(lines)
