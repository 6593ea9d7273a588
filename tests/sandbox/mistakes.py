"""The rules of signing, broken one at a time, then two at a time.

`Text` has a field for each part of what is signed. For each part there is a list of what clients
get wrong in it: the mistake by name, and the value that it leads to.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import itertools
import json
import math
import operator
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus, unquote

from tests.sandbox.answers import BASE_PATH
from tests.sandbox.identity import Identity
from tests.sandbox.sessions import Session

SECONDS = 0.5  # of computing, to explain one signature
SOME = 20  # parameters whose values are tried in other forms
USUAL = ["page", "period", "bar", "exchange", "since", "compete", "publish", "name", "secType"]
USUAL += ["filters", "accountId", "sort", "fields", "startTime", "outsideRth"]
NO_VALUE = ["None", "null", "undefined", "", "true", "false", "True", "False", "0"]

Pair = tuple[str, str]
Pairs = list[Pair]
Variant = tuple[str, Any]  # a mistake, and the value that it leads to
Parts = dict[str, list[Variant]]  # by field of Text
Encode = Callable[[str], str]


def unchanged(value: Any) -> Any:
    return value


@functools.lru_cache(1000)
def encoded(text: str) -> str:
    return quote(text, safe="~")


def twice(text: str) -> str:
    return encoded(encoded(text))


def in_small_letters(text: str) -> str:
    """%3a, where %3A is right."""
    return re.sub("%..", lambda match: match.group().lower(), encoded(text))


class Encoding(NamedTuple):
    url: Encode = encoded
    value: Encode = unchanged
    parameters: Encode = encoded


class Text(NamedTuple):
    """All that a signature depends on, as it should be; `_replace` spoils a part."""

    method: str
    origin: str  # scheme, host and port
    path: str
    pairs: Pairs  # of header and query, without realm and signature
    prepend: str = ""  # hex of the decrypted secret; "" outside the token request
    left_out: str = ""
    added: tuple[Pair, ...] = ()
    changed: Mapping[Pair, str] = MappingProxyType({})
    order: Callable[[Pairs], Pairs] = sorted
    encoding: Encoding = Encoding()
    whole: str = ""  # in place of all above
    hashed: Callable[[bytes], bytes] = unchanged  # what is done to the text before it is signed
    key: bytes = b""  # of an HMAC

    @property
    def base_string(self) -> str:
        """Prepend, method, URL, and the parameters joined raw and encoded once."""
        if self.whole:
            return self.whole
        signed = [pair for pair in self.pairs if pair[0] != self.left_out]
        listed = []
        for pair in self.order([*signed, *self.added]):
            value = self.changed.get(pair, pair[1])
            listed.append(f"{pair[0]}={self.encoding.value(value)}")
        url = self.encoding.url(self.origin + self.path)
        parameters = self.encoding.parameters("&".join(listed))
        return f"{self.prepend}{self.method}&{url}&{parameters}"

    @property
    def message(self) -> bytes:
        message: bytes = self.hashed(self.base_string.encode("utf-8", "surrogateescape"))
        return message


class Case(NamedTuple):
    """A signature that does not fit, and what the server knows."""

    sent: dict[str, str]  # the parameters of the header
    texts: list[Text]  # in each form that is accepted
    query: str
    body: Mapping[str, Any]  # of JSON
    identity: Identity
    encrypted_secret: str  # base64, as in the config
    live: list[Session]
    ended: list[Session]
    earlier: list[Text]  # that were signed rightly
    throwaway: bool  # then secrets may be shown


# The parts of the text


def methods(text: Text) -> list[Variant]:
    return [
        ("HTTP method in small letters", text.method.lower()),
        ("HTTP method with one capital", text.method.capitalize()),
        ("GET as HTTP method", "GET"),
        ("POST as HTTP method", "POST"),
        ("PUT as HTTP method", "PUT"),
    ]


def origins(text: Text) -> list[Variant]:
    host = text.origin.partition("//")[2]
    port = host.partition(":")[2]
    found: list[Variant] = [("URL without scheme and host", ""), ("URL without scheme", host)]
    for name in (host, "127.0.0.1", "localhost", f"localhost:{port}", "api.ibkr.com"):
        for origin in (f"http://{name}", f"https://{name}"):
            found.append((f"wrong scheme, host or port in the URL ({origin})", origin))
    return found


def paths(text: Text, case: Case) -> list[Variant]:
    bare = text.path[len(BASE_PATH) :]
    found = [
        ("URL without its path", ""),
        (f"URL without the base path {BASE_PATH}", bare),
        ("base path twice in the URL", BASE_PATH + text.path),
        ("/v1/portal as base path in the URL", f"/v1/portal{bare}"),
        ("two slashes in the URL", f"{BASE_PATH}/{bare}"),
        ("slash at the end of the URL, not sent", f"{text.path}/"),
        ("slash at the end of the URL left out", text.path.rstrip("/")),
        ("path in small letters in the URL", text.path.lower()),
        ("path encoded before the URL was", quote(text.path)),
        ("path decoded in the URL", unquote(text.path)),
    ]
    if case.query:
        found.append(("query in the URL and in the list", f"{text.path}?{case.query}"))
    others = [text.path.rpartition("/")[0]]
    for name in ("live_session_token", "request_token", "access_token"):
        others.append(f"{BASE_PATH}/oauth/{name}")
    for earlier in case.earlier:
        others.append(earlier.path)
    for path in others:
        found.append((f"another path in the URL ({path})", path))
    return found


def prepends(text: Text, case: Case) -> list[Variant]:
    secret = case.identity.secret
    in_hex = secret.hex()
    in_bytes = secret.decode("ascii", "surrogateescape")
    undecrypted = "made of the encrypted secret instead of the decrypted one"
    found: list[Variant] = [("prepend missing", "")]
    for form, prepend in (
        ("as it should be", in_hex),
        ("in capitals", in_hex.upper()),
        ("in base64 instead of hex", base64.b64encode(secret).decode()),
        ("as bytes instead of hex", in_bytes),
        ("followed by &", f"{in_hex}&"),
        (undecrypted, base64.b64decode(case.encrypted_secret).hex()),
        (undecrypted, case.encrypted_secret),
    ):
        where = "" if text.prepend else ", in a call that has none"
        found.append((f"prepend {form}{where}", prepend))
    return found


def left_out(text: Text) -> list[Variant]:
    return [(f"{name} sent but not signed", name) for name, _ in text.pairs[:SOME]]


def added(case: Case) -> list[Variant]:
    found: list[Variant] = [("realm signed", (("realm", case.sent["realm"]),))]
    pairs = [("oauth_version", "1.0"), ("oauth_callback", "oob"), ("oauth_signature", "")]
    if case.live:
        pairs.append(("diffie_hellman_challenge", case.live[0].made.challenge))
    for pair in pairs:
        found.append((f"{pair[0]} signed but not sent", (pair,)))
    if case.body:
        in_python, in_json = [], []
        for name, value in case.body.items():
            in_python.append((name, str(value)))
            in_json.append((name, value if isinstance(value, str) else json.dumps(value)))
        found.append(("fields of a JSON body signed", tuple(in_json)))
        found.append(("fields of a JSON body signed, as Python writes them", tuple(in_python)))
    return found


def other_forms(name: str, value: str) -> list[Pair]:
    if name == "oauth_timestamp" and value.isdigit():
        before, after = str(int(value) - 1), str(int(value) + 1)
        forms = [("in milliseconds", f"{value}000")]
        return [*forms, ("of another second", before), ("of another second", after)]
    if name.startswith("oauth_"):
        return []
    return [
        ("in small letters", value.lower()),
        ("in capitals", value.upper()),
        ("with a capital, as Python's True", value.capitalize()),
        ("with + for a space", quote_plus(value)),
        ("encoded before the list was", encoded(value)),
        ("decoded", unquote(value)),
        ("without blanks at its ends", value.strip()),
        ("as None", "None"),
        ("as null", "null"),
        ("as undefined", "undefined"),
        ("as empty", ""),
    ]


def changed(text: Text) -> list[Variant]:
    """A value signed in another form than it is sent: of one parameter, or of all."""
    found: list[Variant] = []
    of_all: dict[str, dict[Pair, str]] = {}
    for pair in text.pairs[:SOME]:
        for form, value in other_forms(*pair):
            found.append((f"{pair[0]} signed {form}", {pair: value}))
            of_all.setdefault(form, {})[pair] = value
    for form, values in of_all.items():
        found.append((f"all values signed {form}", values))
    return found


slashes_left = functools.partial(quote, safe="~/")
ENCODINGS: list[Variant] = [
    ("values encoded twice, as RFC 5849 has it", Encoding(value=encoded)),
    ("parameters encoded twice", Encoding(parameters=twice)),
    ("URL encoded twice", Encoding(url=twice)),
    ("URL and parameters encoded twice", Encoding(url=twice, parameters=twice)),
    ("nothing encoded", Encoding(url=unchanged, parameters=unchanged)),
    ("URL not encoded", Encoding(url=unchanged)),
    ("parameters not encoded", Encoding(parameters=unchanged)),
    ("= and & of the parameters not encoded", Encoding(value=encoded, parameters=unchanged)),
    ("slashes not encoded", Encoding(url=slashes_left, parameters=slashes_left)),
    ("a space encoded as +", Encoding(url=quote_plus, parameters=quote_plus)),
    ("encoded with small letters", Encoding(url=in_small_letters, parameters=in_small_letters)),
]


def sha256(message: bytes) -> bytes:
    return hashlib.sha256(message).digest()


def parts_of_text(text: Text, case: Case) -> Parts:
    return {
        "prepend": prepends(text, case),
        "method": methods(text),
        "encoding": ENCODINGS,
        "order": [("parameters unsorted", list)],
        "origin": origins(text),
        "path": paths(text, case),
        "added": added(case),
        "left_out": left_out(text),
        "hashed": [("SHA-256 of the text signed, which hashes it twice", sha256)],
        "changed": changed(text),
    }


# The key of an HMAC


def half_bytes(digits: str) -> bytes:
    return bytes.fromhex(digits[: len(digits) // 2 * 2])


def through_utf8(data: bytes) -> bytes:
    """What becomes of bytes that a program keeps as text."""
    return data.decode("utf-8", "replace").encode()


def spellings_of_k(k: bytes) -> list[tuple[str, bytes]]:
    bare = k.lstrip(b"\0")
    digits = bare.hex().lstrip("0")
    return [
        ("sign byte of K missing", bare),
        ("a zero byte before K, whose top bit is not set", b"\0" + bare),
        ("last digit of K dropped, whose hex has an odd number", half_bytes(digits)),
        ("K as hex text", digits.encode()),
        ("K as hex text", k.hex().encode()),
        ("K as hex text in capitals", digits.upper().encode()),
        ("K as base64 text", base64.b64encode(k)),
        ("bytes of K made text", through_utf8(k)),
        ("bytes of K made text", k.decode("latin-1").encode()),
        ("zeros before K, to the prime's length", bare.rjust(256, b"\0")),
    ]


def spellings_of_secret(case: Case) -> list[tuple[str, bytes]]:
    secret = case.identity.secret
    where = "in the derivation"
    return [
        (f"secret as hex text {where}", secret.hex().encode()),
        (f"secret as base64 text {where}", base64.b64encode(secret)),
        (f"bytes of the secret made text {where}", through_utf8(secret)),
        (f"secret not decrypted {where}", case.encrypted_secret.encode()),
        (f"secret not decrypted {where}", base64.b64decode(case.encrypted_secret)),
    ]


def wrong_tokens(k: bytes, case: Case) -> list[Variant]:
    found = []
    for in_k, some_k in [("", k), *spellings_of_k(k)]:
        for in_secret, secret in [("", case.identity.secret), *spellings_of_secret(case)]:
            mistake = "; and ".join(filter(None, (in_k, in_secret)))
            found.append((mistake, hmac.digest(some_k, secret, "sha1")))
    return found


def keys(session: Session, case: Case) -> list[Variant]:
    """What clients sign calls with in place of the token."""
    token, k, secret = session.token, session.made.k, case.identity.secret
    in_base64, in_hex = base64.b64encode(token), token.hex().encode()
    proof = hmac.digest(token, case.identity.consumer_key.encode(), "sha1")
    return [
        ("token as base64 text instead of decoded", in_base64),
        ("token as hex text instead of bytes", in_hex),
        ("& after the key", token + b"&"),
        ("& after the key; and token as base64 text", in_base64 + b"&"),
        ("& after the key; and token as hex text", in_hex + b"&"),
        ("bytes of the token made text", through_utf8(token)),
        ("key and message of the derivation's HMAC swapped", hmac.digest(secret, k, "sha1")),
        ("SHA-256 instead of SHA-1 in the derivation", hmac.digest(k, secret, "sha256")),
        ("K used as the token", k),
        ("secret used as the token", secret),
        ("proof used as the token", proof),
        *wrong_tokens(k, case),
    ]


# The search


class Start(NamedTuple):
    """A text that would be accepted, but for these mistakes, and how its parts can be spoilt."""

    mistakes: list[str]
    text: Text
    parts: Parts


class Guess(NamedTuple):
    mistakes: list[str]
    text: Text


def with_mistakes(starts: Sequence[Start], count: int) -> Iterator[Guess]:
    """So many parts spoilt, in every way; those that are soon through come first."""
    tries = []
    for start in starts:
        for names in itertools.combinations(start.parts, count):
            parts = [start.parts[name] for name in names]
            size = math.prod(map(len, parts))
            tries.append((size, start.text, names, parts))
    tries.sort(key=operator.itemgetter(0))
    for _, text, names, parts in tries:
        for variants in itertools.product(*parts):
            mistakes, values = zip(*variants)
            yield Guess(list(mistakes), text._replace(**dict(zip(names, values))))


def alone(text: Text, case: Case) -> Iterator[Guess]:
    """What can be wrong in so many ways that it is tried with nothing else."""
    for earlier in case.earlier:
        whole = earlier._replace(prepend=text.prepend).base_string
        yield Guess(["the text of an earlier request signed"], text._replace(whole=whole))
    for pair in itertools.product(USUAL, NO_VALUE):
        yield Guess([f"{pair[0]} signed but not sent"], text._replace(added=(pair,)))
    for pairs in orders(text.pairs):
        yield Guess(["parameters unsorted"], text._replace(pairs=pairs, order=list))


def orders(pairs: Pairs) -> Iterator[Pairs]:
    """Those of the header in any order, the query's before or after them."""
    of_header = [pair for pair in pairs if pair[0].startswith(("oauth_", "diffie_"))]
    others = [pair for pair in pairs if pair not in of_header]
    for some_order in itertools.permutations(of_header[:6]):
        yield [*some_order, *others]
        yield [*others, *some_order]


def guesses(starts: Sequence[Start], case: Case) -> Iterator[Guess]:
    for start in starts:
        yield Guess(start.mistakes, start.text)
    yield from with_mistakes(starts, 1)
    for start in starts:
        yield from alone(start.text, case)
    yield from with_mistakes(starts, 2)


def find_mistakes(
    starts: Sequence[Start], case: Case, fits: Callable[[Text], bool]
) -> Guess | None:
    """The fewest mistakes that explain a signature. Raises TimeoutError after half a second."""
    ends = time.thread_time() + SECONDS
    for guess in guesses(starts, case):
        if fits(guess.text):
            return guess
        if time.thread_time() > ends:
            raise TimeoutError
    return None
