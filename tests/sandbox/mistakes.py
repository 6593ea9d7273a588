"""The rules of signing, broken one at a time, then two at a time.

`Text` has a field for each part of what is signed. For each part there is a list of what clients
get wrong in it: the mistake by name, and what it changes in the text.
"""

from __future__ import annotations

import base64
import functools
import hmac
import itertools
import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus, unquote

from tests.sandbox.answers import BASE_PATH
from tests.sandbox.identity import Identity
from tests.sandbox.sessions import Session, Sessions

OFTEN_EMPTY = ["page", "period", "bar", "exchange", "since", "compete", "publish", "name"]
NO_VALUE = ["None", "null", "undefined", "", "true", "false", "True", "False", "0"]

Pair = tuple[str, str]
Pairs = list[Pair]
Variant = tuple[str, dict[str, Any]]  # a mistake, and the fields of Text that it changes
Encode = Callable[[str], str]


def unchanged(text: str) -> str:
    return text


@functools.lru_cache(1000)
def encoded(text: str) -> str:
    return quote(text, safe="~")


def twice(text: str) -> str:
    return encoded(encoded(text))


class Text(NamedTuple):
    """All that a signature depends on, as it should be; `_replace` spoils a part."""

    method: str
    origin: str  # scheme, host and port
    path: str
    pairs: Pairs  # of header and query, without realm and signature
    prepend: str = ""  # hex of the decrypted secret; "" outside the token request
    left_out: str = ""
    added: Sequence[Pair] = ()
    changed: Mapping[Pair, str] = MappingProxyType({})
    order: Callable[[Pairs], Pairs] = sorted
    encode_url: Encode = encoded
    encode_value: Encode = unchanged
    encode_list: Encode = encoded
    whole: str = ""  # in place of all above
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
            listed.append(f"{pair[0]}={self.encode_value(value)}")
        url = self.encode_url(self.origin + self.path)
        parameters = self.encode_list("&".join(listed))
        return f"{self.prepend}{self.method}&{url}&{parameters}"

    @property
    def message(self) -> bytes:
        return self.base_string.encode()


class Case(NamedTuple):
    """A signature that does not fit, and what the server knows."""

    sent: dict[str, str]  # the parameters of the header
    texts: list[Text]  # in each form that is accepted
    query: str
    body: Mapping[str, Any]  # of JSON
    identity: Identity
    encrypted_secret: str  # base64, as in the config
    sessions: Sessions
    earlier: list[Text]  # that were signed rightly
    throwaway: bool  # then secrets may be shown


# The parts of the text


def origins(text: Text) -> list[Variant]:
    own_port = text.origin.rpartition(":")[2]
    schemes = ("http", "https")
    hosts = ("127.0.0.1", "localhost", "api.ibkr.com")
    found = []
    for scheme, host, port in itertools.product(schemes, hosts, (f":{own_port}", "")):
        origin = f"{scheme}://{host}{port}"
        mistake = f"wrong scheme, host or port in the URL ({origin})"
        found.append((mistake, {"origin": origin}))
    return found


def paths(text: Text, case: Case) -> list[Variant]:
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
    return [(mistake, {"path": path}) for mistake, path in found]


def prepends(text: Text, case: Case) -> list[Variant]:
    secret = case.identity.secret
    undecrypted = "made of the encrypted secret instead of the decrypted one"
    where = "" if text.prepend else ", in a call that has none"
    found: list[Variant] = [("prepend missing", {"prepend": ""})]
    for form, prepend in (
        ("as it should be", secret.hex()),
        ("in capitals", secret.hex().upper()),
        ("in base64 instead of hex", base64.b64encode(secret).decode()),
        ("followed by &", f"{secret.hex()}&"),
        (undecrypted, base64.b64decode(case.encrypted_secret).hex()),
        (undecrypted, case.encrypted_secret),
    ):
        found.append((f"prepend {form}{where}", {"prepend": prepend}))
    return found


def added(case: Case) -> list[Variant]:
    realm = ("realm", case.sent["realm"])
    found: list[Variant] = [("realm signed", {"added": [realm]})]
    pairs = [("oauth_version", "1.0"), ("oauth_callback", "oob"), ("oauth_signature", "")]
    for session in case.sessions.live[:1]:
        pairs.append(("diffie_hellman_challenge", session.challenge))
    for pair in pairs:
        found.append((f"{pair[0]} signed but not sent", {"added": [pair]}))
    if case.body:
        in_json, in_python = [], []
        for name, value in case.body.items():
            in_python.append((name, str(value)))
            if not isinstance(value, str):
                value = json.dumps(value)
            in_json.append((name, value))
        found.append(("fields of a JSON body signed", {"added": in_json}))
        found.append(("fields of a JSON body signed, as Python writes them", {"added": in_python}))
    return found


def other_forms(name: str, value: str) -> list[Pair]:
    if name == "oauth_timestamp":
        return [("in milliseconds", f"{value}000")]
    if name.startswith("oauth_"):
        return []
    return [
        ("in small letters", value.lower()),
        ("in capitals", value.upper()),
        ("with a capital, as Python's True", value.capitalize()),
        ("with + for a space", quote_plus(value)),
        ("encoded before the list was", encoded(value)),
        ("decoded", unquote(value)),
        ("as None", "None"),
        ("as empty", ""),
    ]


def changed(text: Text) -> list[Variant]:
    """A value signed in another form than it is sent: of one parameter, or of all."""
    found: list[Variant] = []
    of_all: dict[str, dict[Pair, str]] = {}
    for pair in text.pairs:
        for form, value in other_forms(*pair):
            found.append((f"{pair[0]} signed {form}", {"changed": {pair: value}}))
            of_all.setdefault(form, {})[pair] = value
    for form, values in of_all.items():
        found.append((f"all values signed {form}", {"changed": values}))
    return found


slashes_left = functools.partial(quote, safe="~/")
ENCODINGS: list[Variant] = [
    ("values encoded twice, as RFC 5849 has it", {"encode_value": encoded}),
    ("parameters encoded twice", {"encode_list": twice}),
    ("URL encoded twice", {"encode_url": twice}),
    ("URL and parameters encoded twice", {"encode_url": twice, "encode_list": twice}),
    ("nothing encoded", {"encode_url": unchanged, "encode_list": unchanged}),
    ("slashes not encoded", {"encode_url": slashes_left, "encode_list": slashes_left}),
    ("a space encoded as +", {"encode_list": quote_plus}),
]
UNSORTED = "parameters unsorted"


def parts_of_text(text: Text, case: Case) -> list[list[Variant]]:
    return [
        prepends(text, case),
        [("HTTP method in small letters", {"method": text.method.lower()})],
        ENCODINGS,
        [(UNSORTED, {"order": list})],
        origins(text),
        paths(text, case),
        added(case),
        [(f"{name} sent but not signed", {"left_out": name}) for name, _ in text.pairs],
        changed(text),
    ]


def alone(text: Text, case: Case) -> Iterator[Variant]:
    """What can be wrong in so many ways that it is tried with nothing else."""
    for earlier in case.earlier:
        whole = earlier._replace(prepend=text.prepend).base_string
        yield "the text of an earlier request signed", {"whole": whole}
    for name, value in itertools.product(OFTEN_EMPTY, NO_VALUE):
        yield f"{name} signed but not sent", {"added": [(name, value)]}
    for pairs in itertools.permutations(text.pairs[:6]):
        yield UNSORTED, {"pairs": [*pairs, *text.pairs[6:]], "order": list}


# The key of an HMAC


def spellings_of_k(k: bytes) -> list[tuple[str, bytes]]:
    bare = k.lstrip(b"\0")
    digits = bare.hex().lstrip("0")
    halved = bytes.fromhex(digits[: len(digits) // 2 * 2])
    return [
        ("", k),
        ("sign byte of K missing", bare),
        ("a zero byte before K, whose top bit is not set", b"\0" + bare),
        ("last digit of K dropped, whose hex has an odd number", halved),
        ("K as hex text", digits.encode()),
        ("K as hex text", k.hex().encode()),
        ("K as base64 text", base64.b64encode(k)),
    ]


def spellings_of_secret(case: Case) -> list[tuple[str, bytes]]:
    secret = case.identity.secret
    return [
        ("", secret),
        ("secret as hex text in the derivation", secret.hex().encode()),
        ("secret as base64 text in the derivation", base64.b64encode(secret)),
        ("secret not decrypted in the derivation", case.encrypted_secret.encode()),
        ("secret not decrypted in the derivation", base64.b64decode(case.encrypted_secret)),
    ]


def keys(session: Session, case: Case) -> list[Variant]:
    """What clients sign calls with in place of the token."""
    token, k = session.token, session.k
    secret = case.identity.secret
    in_base64 = base64.b64encode(token)
    in_hex = token.hex().encode()
    proof = hmac.digest(token, case.identity.consumer_key.encode(), "sha1")
    found = [
        ("token as base64 text instead of decoded", in_base64),
        ("token as hex text instead of bytes", in_hex),
        ("& after the key", token + b"&"),
        ("& after the key; and token as base64 text", in_base64 + b"&"),
        ("& after the key; and token as hex text", in_hex + b"&"),
        ("key and message of the derivation's HMAC swapped", hmac.digest(secret, k, "sha1")),
        ("SHA-256 instead of SHA-1 in the derivation", hmac.digest(k, secret, "sha256")),
        ("proof used as the token", proof),
    ]
    for in_k, some_k in spellings_of_k(k):
        for in_secret, some_secret in spellings_of_secret(case):
            mistake = "; and ".join(filter(None, (in_k, in_secret)))
            found.append((mistake, hmac.digest(some_k, some_secret, "sha1")))
    return [(mistake, {"key": key}) for mistake, key in found if key != token]


# The search


class Guess(NamedTuple):
    """A text with some mistakes, and how each part of it can be spoilt further."""

    mistakes: list[str]
    text: Text
    parts: Sequence[list[Variant]] = ()

    def spoilt(self, *variants: Variant) -> Guess:
        mistakes, text = list(self.mistakes), self.text
        for mistake, changes in variants:
            mistakes.append(mistake)
            text = text._replace(**changes)
        return Guess(mistakes, text)


def guesses(starts: Sequence[Guess], case: Case) -> Iterator[Guess]:
    """Those with one mistake first; of two, the parts that are soon through."""
    pairs = []
    for start in starts:
        yield start
        for variant in itertools.chain(*start.parts):
            yield start.spoilt(variant)
        for one, other in itertools.combinations(start.parts, 2):
            pairs.append((len(one) * len(other), start, one, other))
    for start in starts:
        for variant in alone(start.text, case):
            yield start.spoilt(variant)
    pairs.sort(key=operator.itemgetter(0))
    for _, start, one, other in pairs:
        for variants in itertools.product(one, other):
            yield start.spoilt(*variants)
