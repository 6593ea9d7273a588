"""Why a signature does not fit: what it shows by itself, and only then the known mistakes."""

from __future__ import annotations

import base64
import hmac
import re
import time
from urllib.parse import unquote

from Crypto.PublicKey.RSA import RsaKey

from tests.sandbox.identity import Session
from tests.sandbox.mistakes import Case, Start, guesses, starts_of

SECONDS = 0.5  # of computing, to explain one signature
HMAC_SIZES = {20: "sha1", 32: "sha256"}  # in bytes
DIGEST_INFO = {  # RFC 8017, section 9.2, note 1
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
}
NOT_FOUND = "no known mistake found in half a second"
PROVED = {  # whether the text is right, and whether the key is
    (True, True): "proved: both the text and the key are right",
    (True, False): "proved: the text is right, the key is wrong",
    (False, True): "proved: the key is right, the text is wrong",
    (False, False): "proved: both the text and the key are wrong",
}
Finding = tuple[list[str], list[str]]  # mistakes, or that none is known; and lines for the log


def explain(case: Case) -> str:
    """The short reason on the first line, the evidence on those below it."""
    mistakes, signature = read_signature(case.request.sent["oauth_signature"])
    if not signature:
        return "signature is no base64: are there blanks or line breaks in it?"
    look_into = look_into_rsa if case.texts[0].prepend else look_into_hmac
    found, lines = look_into(case, signature)
    return "\n".join(["; and ".join(mistakes + found), *lines])


def search(
    case: Case, starts: list[Start], digest: str, signed: bytes, unknown: list[str]
) -> Finding:
    """`unknown`: the reason, and what helps, when no known mistake leads to what was signed."""
    reason, *lines = unknown
    certain = ["SHA1 instead of SHA-256"] if digest == "sha1" else []
    right_texts = [text.base_string for text in case.texts]
    ends = time.thread_time() + SECONDS
    for mistakes, text in guesses(starts):
        if text.sealed(digest) == signed:
            text_is_right = text.base_string in right_texts
            proved = [PROVED[text_is_right, text.key in case.keys]]
            if text_is_right:
                return certain + mistakes, proved
            if case.identity.throwaway:
                proved.append(f"this was signed: {ascii(text.base_string)[1:-1]}")
            return certain + mistakes, proved + expected_text(case)
        if time.thread_time() > ends:
            break
    return [*certain, reason], lines + expected_text(case)


def decode_base64(text: str) -> bytes:
    """Empty if it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def read_signature(text: str) -> tuple[list[str], bytes]:
    """What is wrong with its form, and its bytes all the same; empty if they cannot be had."""
    mistakes = []
    if "%" in text:
        mistakes.append("signature percent-encoded twice instead of once")
        text = unquote(text)
    if re.fullmatch("(?:[0-9A-Fa-f]{2})+", text):
        return [*mistakes, "signature in hex instead of base64"], bytes.fromhex(text)
    if len(text) % 4:
        mistakes.append("signature without the = at its end")
        text += "=" * (-len(text) % 4)
    return mistakes, decode_base64(text)


def look_into_rsa(case: Case, signature: bytes) -> Finding:
    mistakes = []
    digest, signed = open_signature(case.identity.signature_key, signature)
    if not signed:
        mistakes.append("signed with the encryption key instead of the signature key")
        case = case._replace(keys=[])
        digest, signed = open_signature(case.identity.encryption_key, signature)
    if not signed:
        reason = "made with another key, neither the signature key nor the encryption key"
        doubt = "is it the private half of the file uploaded, and is the padding PKCS#1 v1.5?"
        return [reason], [doubt, *expected_text(case)]
    text = case.texts[0]
    unknown = [
        f"{NOT_FOUND}; {PROVED[False, bool(case.keys)]}",
        f"{digest} of the text signed: {signed.hex()}",
        f"if your text has this hash, lay it beside the one below: first the prepend, the "
        f"{len(text.prepend)} hex digits of the decrypted secret, directly before {text.method}",
        "if it has not, or if it equals the one below, you sign another text than you send",
    ]
    found, lines = search(case, list(starts_of(text, case)), digest, signed, unknown)
    return mistakes + found, lines


def open_signature(key: RsaKey, signature: bytes) -> tuple[str, bytes]:
    """The digest's name, and the hash; empty if another key made the signature."""
    number = pow(int.from_bytes(signature, "big"), key.e, key.n)
    padded = number.to_bytes(key.size_in_bytes(), "big")
    for digest, prefix in DIGEST_INFO.items():
        padding, _, hashed = padded.partition(b"\0" + prefix)
        if padding.rstrip(b"\xff") == b"\0\1":
            return digest, hashed
    return "", b""


def look_into_hmac(case: Case, signature: bytes) -> Finding:
    digest = HMAC_SIZES.get(len(signature))
    if not digest:
        return [f"signature of {len(signature)} bytes, where HMAC-SHA256 makes 32"], []
    starts: list[Start] = []
    for text in case.texts:
        for session in sorted(case.sessions, key=lambda session: session.ended)[:6]:
            if hmac.digest(text.base_string.encode(), session.token, digest) == signature:
                return ["key and message of the HMAC swapped: the key is the token"], []
            if session.ended:
                signed = text._replace(key=session.token)
                starts.append(Start(["token that has ended, instead of a new one"], signed))
            else:
                starts += starts_of(text, case, session)
    unknown = what_the_token_shows(case.sessions)
    return search(case, starts, digest, signature, unknown)


def what_the_token_shows(sessions: list[Session]) -> list[str]:
    live = [session for session in sessions if not session.ended]
    if not live:
        return ["there is no live session token, or none any more"]
    newest = live[0]
    if newest.has_signed:
        return [
            f"{NOT_FOUND}, but this token has signed rightly before: look at the text",
            "lay your text beside the one below: nonce, timestamp and values are those sent",
            "only if they are equal, it is the key: do you use the newest token?",
        ]
    doubt = NOT_FOUND
    if len(newest.response) % 2:
        doubt = "last digit of diffie_hellman_response dropped?"
    if newest.challenge.isdecimal():
        doubt = "diffie_hellman_challenge sent in decimal, instead of in hex?"
    return [
        f"the token has never signed rightly: {doubt}",
        "is your HMAC-SHA1 of the consumer key, by the token, the live_session_token_signature?",
        "if not, the token is wrong: compare what the log has below the token request",
        "if so, lay your text beside the one below",
        "if it is equal, it is the HMAC: its key is the token's 20 bytes, with no & on either side "
        "and not as text, its hash SHA-256",
    ]


def expected_text(case: Case) -> list[str]:
    text = case.texts[0]
    if not case.identity.throwaway:
        shown = {**dict(text.pairs), "oauth_token": "ACCESS-TOKEN"}
        text = text._replace(pairs=list(shown.items()), prepend=text.prepend and "PREPEND")
    lines = ["what should have been signed:"]
    if text.prepend:
        lines.append(f"  prepend     {text.prepend}")
    lines += [f"  method      {text.method}", f"  URL         {text.origin}{text.path}"]
    for name, value in sorted(text.pairs):
        lines.append(f"  parameter   {name}={value}")
    lines.append("  encoded     all but A-Z a-z 0-9 - . _ ~")
    return [*lines, f"in one line: {text.base_string}"]
