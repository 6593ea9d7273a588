"""The rules of signing, broken one at a time, then two at a time.

`Text` has a field for each part of what is signed. For each field there is a list of what clients
get wrong in it: the mistake by name, and the value that the field has with it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, permutations, product
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

from tests.sandbox.answers import BASE_PATH
from tests.sandbox.identity import Identity, Session, Sessions
from tests.sandbox.server import Request

UNSORTED = "parameters unsorted"
OFTEN_EMPTY = ["page", "period", "bar", "exchange", "since", "compete", "publish", "name"]
BOOLEANS = {"true": "True", "false": "False"}
NO_VALUE = ["None", "null", "undefined", ""]

Pairs = list[tuple[str, str]]
Variant = tuple[str, Any]  # a mistake, and the value that a field of Text has with it
Variants = Iterator[Variant]


@functools.lru_cache(1000)
def encoded(text: str) -> str:
    return quote(text, safe="")


def hmac_sha1(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha1")


class Text(NamedTuple):
    """All that a signature depends on, as it should be; `_replace` spoils a part."""

    method: str
    origin: str  # scheme, host and port
    path: str
    pairs: Pairs  # of header and query, without realm and signature
    prepend: str = ""  # hex of the decrypted secret; "" outside the token request
    added: Sequence[tuple[str, str]] = ()
    order: Callable[[Pairs], Pairs] = sorted
    value: Callable[[str], str] = str  # how each value is encoded in the list
    encode: Callable[[str], str] = encoded  # how URL and list are
    key: bytes = b""  # of an HMAC

    @property
    def base_string(self) -> str:
        listed = []
        for name, value in self.order([*self.pairs, *self.added]):
            listed.append(f"{name}={self.value(value)}")
        url = self.encode(self.origin + self.path)
        parameters = self.encode("&".join(listed))
        return f"{self.prepend}{self.method}&{url}&{parameters}"

    def sealed(self, digest: str) -> bytes:
        """The HMAC of the text, or where it has no key the hash that an RSA signature has in it."""
        message = self.base_string.encode()
        if self.key:
            return hmac.digest(self.key, message, digest)
        return hashlib.new(digest, message).digest()


class Case(NamedTuple):
    """A signature that does not fit, and what the server knows."""

    request: Request
    texts: list[Text]  # in each form that is accepted
    identity: Identity
    sessions: Sessions
    earlier: list[Text]  # that were signed rightly


VALUES: list[Variant] = [
    ("values encoded twice, as RFC 5849 has it", encoded),
    ("values signed with + for a space", quote_plus),
    ("true signed as Python's True", lambda value: BOOLEANS.get(value, value)),
]
ENCODINGS: list[Variant] = [
    ("URL and parameters encoded twice", lambda text: encoded(encoded(text))),
    ("nothing encoded", str),
    ("slashes not encoded", quote),
    ("a space encoded as +", quote_plus),
]


def prepends(identity: Identity) -> Variants:
    right = identity.secret.hex()
    undecrypted = base64.b64decode(identity.encrypted_secret).hex()
    yield "prepend missing", ""
    yield "prepend in a call that has none", right
    yield "prepend in capitals", right.upper()
    yield "prepend in base64", base64.b64encode(identity.secret).decode()
    yield "prepend followed by &", f"{right}&"
    yield "prepend of the encrypted secret instead of the decrypted one", undecrypted


def origins(text: Text) -> Variants:
    port = text.origin.rpartition(":")[2]
    for scheme in ("http", "https"):
        for host in ("127.0.0.1", "localhost", "api.ibkr.com"):
            for origin in (f"{scheme}://{host}:{port}", f"{scheme}://{host}"):
                yield f"wrong scheme, host or port in the URL ({origin})", origin


def paths(text: Text, case: Case) -> Variants:
    bare = text.path[len(BASE_PATH) :]
    yield f"URL without the base path {BASE_PATH}", bare
    yield "two slashes in the URL", f"{BASE_PATH}/{bare}"
    yield "slash at the end of the URL, not sent", f"{text.path}/"
    yield "slash at the end of the URL left out", text.path.rstrip("/")
    yield "query in the URL and in the list", f"{text.path}?{case.request.signed_query}"
    yield "another path in the URL (/oauth/request_token)", f"{BASE_PATH}/oauth/request_token"
    for earlier in case.earlier:
        yield f"another path in the URL ({earlier.path})", earlier.path


def added(case: Case) -> Variants:
    yield "realm signed", [("realm", case.request.sent["realm"])]
    body = case.request.json_fields
    for form, write in (("", json.dumps), (", as Python writes them", str)):
        fields = [(name, write(value).strip('"')) for name, value in body.items()]
        yield f"fields of a JSON body signed{form}", fields
    not_sent = [("oauth_version", "1.0"), ("oauth_callback", "oob"), ("oauth_signature", "")]
    for session in case.sessions.live[:1]:
        not_sent.append(("diffie_hellman_challenge", session.challenge))
    for pair in [*not_sent, *product(OFTEN_EMPTY, NO_VALUE)]:
        yield f"{pair[0]} signed but not sent", [pair]


def changed(text: Text) -> Variants:
    """A parameter left out, or signed in another form than it is sent."""
    for place, (name, value) in enumerate(text.pairs):
        before, after = text.pairs[:place], text.pairs[place + 1 :]
        yield f"{name} sent but not signed", before + after
        yield f"{name} signed in small letters", [*before, (name, value.lower()), *after]
        yield f"{name} signed in capitals", [*before, (name, value.upper()), *after]
        yield f"{name} signed as None", [*before, (name, "None"), *after]


def spelled(name: str, data: bytes) -> list[Variant]:
    in_hex, in_base64 = data.hex().encode(), base64.b64encode(data)
    return [("", data), (f"{name} as hex text", in_hex), (f"{name} as base64 text", in_base64)]


def derivations(session: Session, identity: Identity) -> Variants:
    """The tokens that clients derive from the right K and secret: the right one among them."""
    k, secret = session.k, identity.secret
    yield "key and message of the derivation's HMAC swapped", hmac_sha1(secret, k)
    yield "SHA-256 instead of SHA-1 in the derivation", hmac.digest(k, secret, "sha256")
    bare = k.lstrip(b"\0")
    digits = bare.hex().lstrip("0")
    spelled_k = [
        *spelled("K", k),
        ("sign byte of K missing", bare),
        ("a zero byte before K, whose top bit is not set", b"\0" + bare),
    ]
    if digits != k.hex():
        spelled_k.append(("K as hex text without zeros", digits.encode()))
    if len(digits) % 2:  # Node's Buffer reads hex so
        spelled_k.append(("last digit of K's hex dropped", bytes.fromhex(digits[:-1])))
    undecrypted = base64.b64decode(identity.encrypted_secret)
    spelled_secret = [*spelled("secret", secret), ("secret not decrypted", undecrypted)]
    for (in_k, key), (in_secret, message) in product(spelled_k, spelled_secret):
        mistake = "; and ".join(filter(None, [in_k, in_secret]))
        yield f"{mistake} in the derivation", hmac_sha1(key, message)


def keys(session: Session, identity: Identity) -> Variants:
    for mistake, key in spelled("key of the HMAC: token", session.token):
        yield mistake, key
        yield f"{mistake} & after the key".strip(), key + b"&"
    consumer_key = identity.consumer_key.encode()
    yield "proof used as the token", hmac_sha1(session.token, consumer_key)
    yield from derivations(session, identity)


def derivation_lines(session: Session, consumer_key: str, identity: Identity) -> list[str]:
    """For a client that finds the proof wrong and stops. All of it is throw-away."""
    in_base64 = base64.b64encode(session.token).decode()
    lines = [
        "if you find the proof wrong, print yours, and look it up here:",
        f"  K           {session.k.hex()} (00 in front only if the first bit of the number is 1)",
        f"  secret      {identity.secret.hex()} (these bytes, not this text)",
        f"  token       {session.token.hex()}, in base64 {in_base64}",
        "              (HMAC-SHA1 of the bytes of the secret, its key the bytes of K)",
        f"  proof       {hmac_sha1(session.token, consumer_key.encode()).hex()}",
        "              (HMAC-SHA1 of the consumer key, its key the token); yours begins with",
    ]
    for mistake, token in derivations(session, identity):
        if token != session.token and "; and " not in mistake:
            proof = hmac_sha1(token, consumer_key.encode()).hex()
            lines.append(f"  {proof[:8]}    {mistake}")
    return lines


class Start(NamedTuple):
    """A text, what is certainly wrong in it, and by field what else may be."""

    mistakes: list[str]
    text: Text
    parts: Mapping[str, list[Variant]] = {}


def starts_of(text: Text, case: Case, session: Session | None = None) -> Iterator[Start]:
    """`session`: whose token signs the text, in a call."""
    parts: dict[str, list[Variant]] = {
        "method": [("HTTP method in small letters", text.method.lower())],
        "order": [(UNSORTED, list)],
        "value": VALUES,
        "encode": ENCODINGS,
        "prepend": list(prepends(case.identity)),
        "path": list(paths(text, case)),
        "origin": list(origins(text)),
        "pairs": list(changed(text)),
        "added": list(added(case)),
    }
    if session:
        text = text._replace(key=session.token)
        parts["key"] = list(keys(session, case.identity))
    yield Start([], text, parts)
    for earlier in case.earlier:
        whole = earlier._replace(prepend=text.prepend, key=text.key)
        yield Start(["the text of an earlier request signed"], whole)


def in_any_order(text: Text) -> Iterator[Start]:
    for pairs in permutations(text.pairs[:6]):
        mixed = text._replace(pairs=[*pairs, *text.pairs[6:]], order=list)
        yield Start([UNSORTED], mixed)


def guesses(starts: list[Start]) -> Iterator[tuple[list[str], Text]]:
    """The texts as they are; then with one mistake; then with two, in different fields."""
    for number, start in product(range(3), starts):
        for fields in combinations(start.parts, number):
            for variants in product(*[start.parts[field] for field in fields]):
                text, mistakes = start.text, list(start.mistakes)
                for field, (mistake, value) in zip(fields, variants):
                    mistakes.append(mistake)
                    text = text._replace(**{field: value})
                yield mistakes, text
