"""The rules of signing, broken one at a time, then two at a time.

`Text` has a field for each part of what is signed. For each field there is a list of what clients
get wrong in it: the mistake by name, and the value that the field has with it.
"""

from __future__ import annotations

import base64
import functools
import hmac
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

from tests.sandbox.answers import BASE_PATH
from tests.sandbox.identity import Identity
from tests.sandbox.sessions import Session, Sessions

UNSORTED = "parameters unsorted"
OFTEN_EMPTY = ["page", "period", "bar", "exchange", "since", "compete", "publish", "name"]
NO_VALUE = ["None", "null", "undefined", ""]
BOOLEANS = {"true": "True", "false": "False", "True": "true", "False": "false"}

Pairs = list[tuple[str, str]]
Variants = list[tuple[str, Any]]  # a mistake, and the value that a field of Text has with it


@functools.lru_cache(1000)
def encoded(text: str) -> str:
    return quote(text, safe="")


def twice(text: str) -> str:
    return encoded(encoded(text))


class Encoding(NamedTuple):
    """How each part is percent-encoded."""

    url: Callable[[str], str] = encoded
    value: Callable[[str], str] = str
    parameters: Callable[[str], str] = encoded


class Text(NamedTuple):
    """All that a signature depends on, as it should be; `_replace` spoils a part."""

    method: str
    origin: str  # scheme, host and port
    path: str
    pairs: Pairs  # of header and query, without realm and signature
    prepend: str = ""  # hex of the decrypted secret; "" outside the token request
    added: Sequence[tuple[str, str]] = ()
    order: Callable[[Pairs], Pairs] = sorted
    encoding: Encoding = Encoding()
    key: bytes = b""  # of an HMAC

    @property
    def base_string(self) -> str:
        """Prepend, method, URL, and the parameters joined raw and encoded once."""
        listed = []
        for name, value in self.order([*self.pairs, *self.added]):
            listed.append(f"{name}={self.encoding.value(value)}")
        url = self.encoding.url(self.origin + self.path)
        parameters = self.encoding.parameters("&".join(listed))
        return f"{self.prepend}{self.method}&{url}&{parameters}"


class Case(NamedTuple):
    """A signature that does not fit, and what the server knows."""

    sent: dict[str, str]  # the parameters of the header
    texts: list[Text]  # in each form that is accepted
    query: str
    body: Mapping[str, Any]  # of JSON
    identity: Identity
    sessions: Sessions
    earlier: list[Text]  # that were signed rightly


# The parts of the text


def parts_of_text(text: Text, case: Case) -> dict[str, Variants]:
    return {
        "method": [("HTTP method in small letters", text.method.lower())],
        "order": [(UNSORTED, list)],
        "encoding": ENCODINGS,
        "prepend": prepends(text, case.identity),
        "origin": origins(text),
        "path": paths(text, case),
        "added": added(case),
        "pairs": changed(text),
    }


ENCODINGS: Variants = [
    ("values encoded twice, as RFC 5849 has it", Encoding(value=encoded)),
    ("parameters encoded twice", Encoding(parameters=twice)),
    ("URL encoded twice", Encoding(url=twice)),
    ("URL and parameters encoded twice", Encoding(url=twice, parameters=twice)),
    ("nothing encoded", Encoding(url=str, parameters=str)),
    ("slashes not encoded", Encoding(url=quote, parameters=quote)),
    ("a space encoded as +", Encoding(parameters=quote_plus)),
    ("values signed with + for a space", Encoding(value=quote_plus)),
    ("true signed as Python's True", Encoding(value=lambda text: BOOLEANS.get(text, text))),
]


def prepends(text: Text, identity: Identity) -> Variants:
    secret = identity.secret
    undecrypted = "made of the encrypted secret instead of the decrypted one"
    where = "" if text.prepend else ", in a call that has none"
    found = [("prepend missing", "")]
    for form, prepend in (
        ("as it should be", secret.hex()),
        ("in capitals", secret.hex().upper()),
        ("in base64 instead of hex", base64.b64encode(secret).decode()),
        ("followed by &", f"{secret.hex()}&"),
        (undecrypted, base64.b64decode(identity.encrypted_secret).hex()),
    ):
        found.append((f"prepend {form}{where}", prepend))
    return found


def origins(text: Text) -> Variants:
    port = text.origin.rpartition(":")[2]
    found = []
    for scheme in ("http", "https"):
        for host in ("127.0.0.1", "localhost", "api.ibkr.com"):
            for origin in (f"{scheme}://{host}:{port}", f"{scheme}://{host}"):
                found.append((f"wrong scheme, host or port in the URL ({origin})", origin))
    return found


def paths(text: Text, case: Case) -> Variants:
    bare = text.path[len(BASE_PATH) :]
    found = [
        (f"URL without the base path {BASE_PATH}", bare),
        ("two slashes in the URL", f"{BASE_PATH}/{bare}"),
        ("slash at the end of the URL, not sent", f"{text.path}/"),
        ("slash at the end of the URL left out", text.path.rstrip("/")),
        ("query in the URL and in the list", f"{text.path}?{case.query}"),
    ]
    others = [f"{BASE_PATH}/oauth/request_token", f"{BASE_PATH}/oauth/access_token"]
    for path in [*others, *(earlier.path for earlier in case.earlier)]:
        found.append((f"another path in the URL ({path})", path))
    return found


def added(case: Case) -> Variants:
    found = [("realm signed", [("realm", case.sent["realm"])])]
    for form, write in (("", json.dumps), (", as Python writes them", str)):
        fields = [(name, write(value).strip('"')) for name, value in case.body.items()]
        found.append((f"fields of a JSON body signed{form}", fields))
    pairs = [("oauth_version", "1.0"), ("oauth_callback", "oob"), ("oauth_signature", "")]
    for pair in [*pairs, *itertools.product(OFTEN_EMPTY, NO_VALUE)]:
        found.append((f"{pair[0]} signed but not sent", [pair]))
    return found


def changed(text: Text) -> Variants:
    """A parameter left out, or signed in another form than it is sent."""
    found = []
    for index, (name, value) in enumerate(text.pairs):
        before, after = text.pairs[:index], text.pairs[index + 1 :]
        found.append((f"{name} sent but not signed", before + after))
        for form, other in (
            ("in small letters", value.lower()),
            ("in capitals", value.upper()),
            ("as None", "None"),
            ("as empty", ""),
        ):
            found.append((f"{name} signed {form}", [*before, (name, other), *after]))
    return found


# The key of an HMAC


def as_text(name: str, data: bytes) -> list[tuple[str, bytes]]:
    in_hex, in_base64 = data.hex().encode(), base64.b64encode(data)
    return [(f"{name} as hex text", in_hex), (f"{name} as base64 text", in_base64)]


def derivations(session: Session, identity: Identity) -> list[tuple[str, bytes]]:
    """The tokens that clients derive from the right K and secret; without a mistake first."""
    k, secret = session.k, identity.secret
    bare = k.lstrip(b"\0")
    digits = bare.hex().lstrip("0")
    halved = bytes.fromhex(digits[: len(digits) // 2 * 2])  # as Node's Buffer reads hex
    spelled_k = [
        ("", k),
        ("sign byte of K missing", bare),
        ("a zero byte before K, whose top bit is not set", b"\0" + bare),
        ("last digit of K dropped, whose hex has an odd number", halved),
        ("K as hex text", digits.encode()),
        *as_text("K", k),
    ]
    undecrypted = base64.b64decode(identity.encrypted_secret)
    spelled_secret = [
        ("", secret),
        ("secret not decrypted in the derivation", undecrypted),
        *as_text("secret", secret),
    ]
    found = []
    for (in_k, key), (in_secret, message) in itertools.product(spelled_k, spelled_secret):
        mistake = "; and ".join(filter(None, [in_k, in_secret]))
        found.append((mistake, hmac.digest(key, message, "sha1")))
    swapped = hmac.digest(secret, k, "sha1")
    found.append(("key and message of the derivation's HMAC swapped", swapped))
    found.append(("SHA-256 instead of SHA-1 in the derivation", hmac.digest(k, secret, "sha256")))
    return found


def keys(session: Session, identity: Identity) -> Variants:
    """What clients sign calls with in place of the token."""
    token = session.token
    found = [("", token), *as_text("token", token)]
    for mistake, key in list(found):
        found.append((f"{mistake} & after the key".strip(), key + b"&"))
    proof = hmac.digest(token, identity.consumer_key.encode(), "sha1")
    return [*found[1:], ("proof used as the token", proof), *derivations(session, identity)[1:]]


def derivation_lines(session: Session, consumer_key: str, identity: Identity) -> list[str]:
    """For a client that finds the proof wrong and stops. All of it is throw-away."""
    in_base64 = base64.b64encode(session.token).decode()
    lines = [
        "if you find the proof wrong:",
        f"  K           {session.k.hex()} (00 in front only if the next bit is 1)",
        f"  secret      {identity.secret.hex()} (these bytes, not this text)",
        f"  token       {session.token.hex()}, in base64 {in_base64}",
        "              (HMAC-SHA1 of the bytes of the secret, its key the bytes of K)",
        "the proof is HMAC-SHA1 of the consumer key, its key the token; yours begins with",
    ]
    for mistake, token in derivations(session, identity):
        if token != session.token and "; and " not in mistake:
            proof = hmac.digest(token, consumer_key.encode(), "sha1").hex()
            lines.append(f"  {proof[:8]}    {mistake}")
    return lines


# The search


class Start(NamedTuple):
    """A text, what is certainly wrong in it, and how its fields may be spoilt further."""

    mistakes: list[str]
    text: Text
    parts: Mapping[str, Variants] = {}


def starts_of(text: Text, case: Case, session: Session | None = None) -> list[Start]:
    """`session`: whose token signs the text, in a call."""
    parts = parts_of_text(text, case)
    if session:
        parts["key"] = keys(session, case.identity)
    found = [Start([], text, parts)]
    for earlier in case.earlier:
        whole = earlier._replace(prepend=text.prepend, key=text.key)
        found.append(Start(["the text of an earlier request signed"], whole))
    for pairs in itertools.permutations(text.pairs[:6]):
        reordered = text._replace(pairs=[*pairs, *text.pairs[6:]], order=list)
        found.append(Start([UNSORTED], reordered))
    return found


def guesses(starts: Sequence[Start]) -> Iterator[tuple[list[str], Text]]:
    """The texts as they are; then with one mistake; then with two, in different fields."""
    for number, start in itertools.product(range(3), starts):
        for fields in itertools.combinations(start.parts, number):
            lists = [start.parts[field] for field in fields]
            for variants in itertools.product(*lists):
                mistakes, changes = list(start.mistakes), {}
                for field, (mistake, value) in zip(fields, variants):
                    mistakes.append(mistake)
                    changes[field] = value
                yield mistakes, start.text._replace(**changes)
