"""Why a signature does not fit: what it shows by itself, and only then the known mistakes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote

from Crypto.PublicKey import RSA

from tests.sandbox.mistakes import Client, Start, Text, find_mistakes, key_parts, text_parts
from tests.sandbox.sessions import Session

RECENT = 3  # live session tokens that are tried, the newest first
SIZES = {20: "sha1", 32: "sha256", 64: "sha512"}  # of an HMAC, in bytes
DIGEST_INFO = {  # RFC 8017, section 9.2, note 1
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
_HEX = re.compile("(?:[0-9A-Fa-f]{2})+")
_PADDING = re.compile(rb"\x00\x01\xff{8,}\x00(.*)", re.DOTALL)


class Case(NamedTuple):
    """A signature that does not fit, and what the server knows."""

    signature: str  # as it was sent
    texts: list[Text]  # in each form that is accepted
    client: Client
    keys: list[tuple[str, RSA.RsaKey]]  # the right one first, each other with its mistake
    live: list[Session]
    ended: list[Session]
    throwaway: bool  # then secrets may be shown


class Finding(NamedTuple):
    """What is certain, and what is left to try."""

    mistakes: list[str]
    evidence: list[str]
    starts: list[Start]
    fits: Callable[[Text], bool]
    nothing: str  # the reason when no known mistake fits
    follows: str  # what that means


class Opened(NamedTuple):
    """An RSA signature whose padding was visible."""

    mistakes: list[str]
    digest: str  # its name
    hashed: bytes


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
    if text != "".join(text.split()):
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
    as_text = data.decode("latin-1")
    if _HEX.fullmatch(as_text):
        return [*mistakes, "signature in base64 of its hex text"], bytes.fromhex(as_text)
    return mistakes if data else ["signature is no base64"], data


def explain(case: Case) -> str:
    """The short reason on the first line, the evidence on those below it."""
    mistakes, signature = read_signature(case.signature)
    if not signature:
        return report(mistakes, [])
    look_into = look_into_rsa if case.keys else look_into_hmac
    finding = look_into(case, signature)
    mistakes += finding.mistakes
    lines = list(finding.evidence)
    try:
        guess = find_mistakes(finding.starts, case.client, finding.fits)
    except TimeoutError:
        guess = None
        lines.append("half a second was not enough to try all known mistakes")
    if guess is None:
        return report([*mistakes, finding.nothing], [*lines, finding.follows])
    found, text = guess
    if case.throwaway:
        lines.append(f"this was signed: {text.base_string}")
    return report(mistakes + found, lines)


def report(mistakes: list[str], lines: list[str]) -> str:
    return "\n    ".join([" and ".join(mistakes), *filter(None, lines)])


# RSA


def look_into_rsa(case: Case, signature: bytes) -> Finding:
    opened = open_signature(signature, case.keys)
    if opened is None:
        return foreign_key(case, signature)

    def fits(text: Text) -> bool:
        return hashlib.new(opened.digest, text.message).digest() == opened.hashed

    starts = [Start([], text, text_parts(text, case.client)) for text in case.texts]
    which = "this other key" if opened.mistakes else "the right key"
    return Finding(
        opened.mistakes,
        [f"made with {which}: its padding shows under the public half"],
        starts,
        fits,
        nothing=f"no known mistake in the text, which is not the one below; {which} made it",
        follows=f"{opened.digest} of the text signed: {opened.hashed.hex()}; of the one below: "
        f"{hashlib.new(opened.digest, case.texts[0].message).hexdigest()}; if your text equals the "
        "one below, something that is sent is not what was signed (nonce, timestamp, challenge)",
    )


def open_signature(signature: bytes, keys: list[tuple[str, RSA.RsaKey]]) -> Opened | None:
    number = int.from_bytes(signature, "big")
    for mistake, key in keys:
        if number >= key.n:
            continue
        padded = pow(number, key.e, key.n).to_bytes(key.size_in_bytes(), "big")
        padding = _PADDING.fullmatch(padded)
        if padding:
            return read_digest([mistake] if mistake else [], padding.group(1))
    return None


def read_digest(mistakes: list[str], content: bytes) -> Opened:
    for digest, info in DIGEST_INFO.items():
        if content.startswith(info):
            wrong = [] if digest == "sha256" else [f"{digest.upper()} instead of SHA-256"]
            return Opened(mistakes + wrong, digest, content[len(info) :])
    return Opened([*mistakes, "DigestInfo missing before the hash"], "sha256", content)


def foreign_key(case: Case, signature: bytes) -> Finding:
    size = case.keys[0][1].size_in_bytes()
    if len(signature) != size:
        reason = f"{len(signature)} bytes long, where RSA with this key makes {size}"
        if len(signature) in SIZES:
            reason += ": an HMAC?"
        return certain(reason, "")
    return certain(
        "made with another key, neither the signature key nor the encryption key",
        "PKCS#1 v1.5 padding shows under neither public half; the text was not looked at. Is it "
        "the private half of the file uploaded, and PKCS#1 v1.5, not PSS?",
    )


def certain(reason: str, evidence: str) -> Finding:
    """Nothing is left to try."""
    return Finding([], [evidence], [], bool, reason, "")


# HMAC


def look_into_hmac(case: Case, signature: bytes) -> Finding:
    sessions = case.live[:RECENT]
    if not sessions and not case.ended:
        return certain("nobody has a live session token yet", "")
    digest = SIZES.get(len(signature), "")
    if not digest:
        reason = f"{len(signature)} bytes long, where HMAC-SHA256 makes 32"
        return certain(reason + (": an RSA signature?" if len(signature) >= 256 else ""), "")

    def fits(text: Text) -> bool:
        return hmac.compare_digest(hmac.digest(text.key, text.message, digest), signature)

    starts = []
    for text in case.texts:
        for session in sessions:
            keyed = text._replace(k=session.made.k, secret=case.client.secret)
            parts = {**key_parts(keyed.k, case.client), **text_parts(text, case.client)}
            starts.append(Start([], keyed, parts))
        for session in case.ended:
            keyed = text._replace(k=session.made.k, secret=case.client.secret)
            starts.append(Start(["live session token that has ended"], keyed, {}))
    wrong = [] if digest == "sha256" else [f"{digest.upper()} instead of SHA-256"]
    evidence, nothing, follows = what_a_token_shows(case, sessions)
    return Finding(wrong, evidence, starts, fits, nothing, follows)


def what_a_token_shows(case: Case, sessions: list[Session]) -> tuple[list[str], str, str]:
    """Evidence, the reason when nothing known fits, and what follows from that."""
    if not sessions:
        return [], "no live session token is good any more", ""
    newest = sessions[0]
    if newest.signed:
        return (
            [f"this live session token has signed rightly before ({newest.signed} times)"],
            "no known mistake: the token is right, as it has signed before, so it is the text",
            "if your text equals the one below, it is the key: is it still the newest token?",
        )
    evidence = ["this live session token has never signed rightly: look at its derivation first"]
    evidence.append("is your HMAC-SHA1(token, consumer key) the live_session_token_signature?")
    if case.throwaway:
        evidence += derivation_lines(newest, case.client)
    nothing = "no known mistake in text or derivation, and the token has never signed rightly"
    if len(newest.made.response) % 2:
        nothing = "last digit of diffie_hellman_response dropped? It has an odd number of them"
        nothing += ", the token has never signed rightly, and no other known mistake fits"
    return (
        evidence,
        nothing,
        "if the proof fits, or your text equals the one below, it is the other",
    )


def derivation_lines(session: Session, client: Client) -> list[str]:
    proof = hmac.digest(session.token, client.consumer_key.encode(), "sha1")
    return [
        f"K, as bytes: {session.made.k.hex()}",
        f"access token secret, decrypted: {client.secret.hex()}",
        f"token, the HMAC-SHA1 of both: {session.token.hex()}",
        f"live_session_token_signature: {proof.hex()}",
    ]


# The text


def expected_lines(case: Case) -> str:
    """What this server expects, for the log: in parts, then in one line."""
    text = case.texts[0]
    if not case.throwaway:
        shown = []
        for name, value in text.pairs:
            shown.append((name, "ACCESS-TOKEN" if name == "oauth_token" else value))
        text = text._replace(pairs=shown, prepend="PREPEND" if text.prepend else "")
    lines = ["what this server expects to be signed:"]
    if text.prepend:
        lines.append(f"  prepend  {text.prepend}")
    lines += [f"  method   {text.method}", f"  URL      {text.url}"]
    for name, value in sorted(text.pairs):
        lines.append(f"  {name}={value}")
    lines.append(f"in one line: {text.base_string}")
    return "".join("\n    " + ascii(line)[1:-1] for line in lines)
