"""The rules of signing, broken one at a time, then two at a time.

`Text` has a field for each part of what is signed, and of the key of an HMAC. For each part there
is a list of what clients get wrong in it: the mistake by name, and the value that it leads to.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus, unquote

from tests.sandbox.answers import BASE_PATH

SECONDS = 0.5  # of computing, to explain one signature
SOME = 20  # parameters whose values are tried in other forms
USUAL = ["page", "period", "bar", "exchange", "since", "compete", "publish", "name", "secType"]
USUAL += ["filters", "accountId", "sort", "fields", "startTime", "outsideRth"]

Pair = tuple[str, str]
Pairs = list[Pair]
Bytes = Callable[[bytes], bytes]
Encode = Callable[[str], str]


def unchanged(value: Any) -> Any:
    return value


@functools.lru_cache(1000)
def encoded(text: str) -> str:
    return quote(text, safe="~")


def twice(text: str) -> str:
    return encoded(encoded(text))


def small(text: str) -> str:
    """%3a in place of %3A."""
    return "%".join(part[:2].lower() + part[2:] for part in ("zz" + encoded(text)).split("%"))[2:]


class Encoding(NamedTuple):
    url: Encode = encoded
    value: Encode = unchanged
    parameters: Encode = encoded
    whole: Encode = unchanged


def sha1_hmac(k: bytes, secret: bytes) -> bytes:
    return hmac.digest(k, secret, "sha1")


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
    hashed: Bytes = unchanged  # what becomes of the text before it is signed
    k: bytes = b""  # from here on: the key of an HMAC
    secret: bytes = b""
    derive: Callable[[bytes, bytes], bytes] = sha1_hmac
    spell: Bytes = unchanged

    @property
    def url(self) -> str:
        return self.origin + self.path

    @property
    def base_string(self) -> str:
        """Prepend, method, URL, and the parameters joined raw and encoded once."""
        if self.whole:
            return self.whole
        listed = []
        for pair in self.order(self.signed_pairs()):
            value = self.changed.get(pair, pair[1])
            listed.append(f"{pair[0]}={self.encoding.value(value)}")
        parameters = self.encoding.parameters("&".join(listed))
        text = f"{self.method}&{self.encoding.url(self.url)}&{parameters}"
        return self.prepend + self.encoding.whole(text)

    def signed_pairs(self) -> Pairs:
        return [pair for pair in self.pairs if pair[0] != self.left_out] + list(self.added)

    @property
    def message(self) -> bytes:
        message: bytes = self.hashed(self.base_string.encode())
        return message

    @property
    def key(self) -> bytes:
        key: bytes = self.spell(self.derive(self.k, self.secret))
        return key


class Client(NamedTuple):
    """What else a client has at hand, and may sign by mistake."""

    realm: str
    consumer_key: str
    secret: bytes
    encrypted_secret: str  # base64, as in the config
    query: str
    body: Mapping[str, Any]  # of JSON
    earlier: list[Text]
    challenge: str


Variant = tuple[str, Any]
Parts = dict[str, list[Variant]]  # by field of Text
Guess = tuple[list[str], Text]


class Start(NamedTuple):
    """A text that would be accepted, and how each of its parts can be spoilt."""

    mistakes: list[str]
    text: Text
    parts: Parts


# The parts of the text


def methods(text: Text) -> list[Variant]:
    """`Get` is what some HTTP libraries call it."""
    found = [("HTTP method in small letters", text.method.lower())]
    found.append(("HTTP method not in capitals", text.method.capitalize()))
    for other in ("GET", "POST", "PUT", "DELETE"):
        found.append((f"{other} as HTTP method", other))
    return found


def origins(text: Text) -> list[Variant]:
    host = text.origin.partition("//")[2]
    port = host.partition(":")[2]
    found: list[Variant] = [("URL without scheme and host", ""), ("URL without scheme", host)]
    for name in (host, f"127.0.0.1:{port}", f"localhost:{port}", "127.0.0.1", "localhost"):
        for scheme in ("http", "https"):
            found.append((wrong_origin(text.origin, scheme, name), f"{scheme}://{name}"))
    for scheme in ("https", "http"):
        name = "api.ibkr.com"
        found.append((wrong_origin(text.origin, scheme, name), f"{scheme}://{name}"))
    return found


def wrong_origin(right: str, scheme: str, host: str) -> str:
    """Says which of the three is wrong, and shows what was signed."""
    right_scheme, _, right_host = right.partition("://")
    wrong = []
    if scheme != right_scheme:
        wrong.append("scheme")
    if host.partition(":")[0] != right_host.partition(":")[0]:
        wrong.append("host")
    if host.partition(":")[2] != right_host.partition(":")[2]:
        wrong.append("port")
    return f"wrong {', '.join(wrong)} in the URL ({scheme}://{host})"


def paths(text: Text, client: Client) -> list[Variant]:
    bare = text.path[len(BASE_PATH) :]
    found = [
        (f"URL without the base path {BASE_PATH}", bare),
        ("base path twice in the URL", BASE_PATH + text.path),
        ("another base path in the URL (/v1/portal)", "/v1/portal" + bare),
        ("two slashes between base path and path", f"{BASE_PATH}/{bare}"),
        ("a slash at the end of the URL, which was not sent", text.path + "/"),
        ("no slash at the end of the URL, where one was sent", text.path.rstrip("/")),
        ("? at the end of the URL", text.path + "?"),
        ("path percent-encoded before the URL was", quote(text.path)),
        ("path decoded", unquote(text.path)),
        ("path in small letters", text.path.lower()),
    ]
    if client.query:
        found.append(("query in the URL and in the list", f"{text.path}?{client.query}"))
    others = [f"{BASE_PATH}/oauth/live_session_token", f"{BASE_PATH}/tickle"]
    others += [earlier.path for earlier in client.earlier]
    others += [text.path.rpartition("/")[0], BASE_PATH]
    for path in dict.fromkeys(others):
        found.append((f"another path in the URL ({path})", path))
    return found


def prepends(text: Text, client: Client) -> list[Variant]:
    secret = client.secret.hex()
    where = "" if text.prepend else ", in a call that has none"
    found = [
        ("prepend missing" if text.prepend else "", ""),
        (f"prepend{where}", secret),
        (f"prepend in capitals{where}", secret.upper()),
        (f"prepend in base64 instead of hex{where}", base64.b64encode(client.secret).decode()),
        (f"prepend followed by &{where}", secret + "&"),
    ]
    if client.encrypted_secret:
        in_hex = base64.b64decode(client.encrypted_secret).hex()
        mistake = f"prepend made of the encrypted secret instead of the decrypted one{where}"
        found.append((mistake, in_hex))
        found.append((mistake, in_hex.upper()))
        found.append((mistake, client.encrypted_secret))
    return found


def left_out(text: Text) -> list[Variant]:
    return [(f"{name} sent but not signed", name) for name, _ in text.pairs[: 2 * SOME]]


def added(client: Client) -> list[Variant]:
    found = [("realm signed", [("realm", client.realm)])]
    pairs = [("oauth_version", "1.0"), ("oauth_version", "1.0a"), ("oauth_callback", "oob")]
    pairs += [("oauth_signature", ""), ("diffie_hellman_challenge", client.challenge)]
    for name, value in pairs:
        found.append((f"{name} signed but not sent", [(name, value)]))
    if client.body:
        in_python, in_json = [], []
        for name, value in client.body.items():
            in_python.append((name, str(value)))
            in_json.append((name, value if isinstance(value, str) else json.dumps(value)))
        found.append(("fields of a JSON body signed", in_json))
        found.append(("fields of a JSON body signed, as Python writes them", in_python))
    return found


def in_quotes(value: str) -> str:
    return f'"{value}"'


def without_zeros(value: str) -> str:
    return value.lstrip("0")


def no_value(language: str) -> Callable[[str], str]:
    return lambda _: language


FORMS: list[tuple[str, Callable[[str], str]]] = [
    ("in small letters", str.lower),
    ("in capitals", str.upper),
    ("with a capital, as Python's True", str.capitalize),
    ("with + for a space", quote_plus),
    ("percent-encoded before the list was", encoded),
    ("decoded", unquote),
    ("in quotes", in_quotes),
    ("without zeros in front", without_zeros),
    ("without blanks at its ends", str.strip),
]
FORMS += [(f"as {name or 'empty'}", no_value(name)) for name in ("None", "null", "undefined", "")]


def changed(text: Text) -> list[Variant]:
    """A value signed in another form than it is sent: one, or all."""
    found: list[Variant] = []
    for name, value in text.pairs:
        if name == "oauth_timestamp":
            for mistake, other in other_times(int(value)):
                found.append((mistake, {(name, value): other}))
        if name == "oauth_signature_method":
            for method in ("HMAC-SHA256", "RSA-SHA256", "HMAC-SHA1"):
                found.append((f"{name} signed as {method}", {(name, value): method}))
    for form, change in FORMS:
        for pair in text.pairs[:SOME]:
            found.append((f"{pair[0]} signed {form}", {pair: change(pair[1])}))
        every = {pair: change(pair[1]) for pair in text.pairs}
        found.append((f"all values signed {form}", every))
    return found


def other_times(seconds: int) -> list[Pair]:
    moment = "another moment's oauth_timestamp signed"
    found = [("oauth_timestamp signed in milliseconds", f"{seconds}000")]
    return [*found, (moment, str(seconds - 1)), (moment, str(seconds + 1))]


def from_the_header(pair: Pair) -> bool:
    return pair[0].startswith(("oauth_", "diffie_hellman_"))


def query_first(pairs: Pairs) -> Pairs:
    return sorted(pairs, key=lambda pair: (from_the_header(pair), pair))


def query_last(pairs: Pairs) -> Pairs:
    return sorted(pairs, key=lambda pair: (not from_the_header(pair), pair))


def downwards(pairs: Pairs) -> Pairs:
    return sorted(pairs, reverse=True)


ORDERS: list[Variant] = [
    ("parameters unsorted", list),
    ("parameters unsorted, the query first", query_first),
    ("parameters unsorted, the query last", query_last),
    ("parameters sorted downwards", downwards),
]
slashes_kept = functools.partial(quote, safe="~/")
as_javascript = functools.partial(quote, safe="~!*'()")
ENCODINGS: list[Variant] = [
    ("values encoded twice, as RFC 5849 has it", Encoding(value=encoded)),
    ("parameters encoded twice", Encoding(parameters=twice)),
    ("URL encoded twice", Encoding(url=twice)),
    ("URL and parameters encoded twice", Encoding(url=twice, parameters=twice)),
    ("the whole text encoded once more", Encoding(whole=encoded)),
    ("nothing encoded", Encoding(url=unchanged, parameters=unchanged)),
    ("URL not encoded", Encoding(url=unchanged)),
    ("parameters not encoded", Encoding(parameters=unchanged)),
    ("values encoded, the = and & between them not", Encoding(value=encoded, parameters=unchanged)),
    ("slashes not encoded", Encoding(url=slashes_kept, parameters=slashes_kept)),
    ("slashes of the URL not encoded", Encoding(url=slashes_kept)),
    ("a space encoded as +", Encoding(url=quote_plus, parameters=quote_plus)),
    ("percent-encoding in small letters", Encoding(url=small, parameters=small)),
    ("some of !*'() not encoded", Encoding(url=as_javascript, parameters=as_javascript)),
    ("the whole text in small letters", Encoding(whole=str.lower)),
]


def sha256(message: bytes) -> bytes:
    return hashlib.sha256(message).digest()


def sha256_hex(message: bytes) -> bytes:
    return hashlib.sha256(message).hexdigest().encode()


HASHES: list[Variant] = [
    ("the text's SHA-256 signed, which hashes it twice", sha256),
    ("the text's SHA-256 in hex signed, which hashes it twice", sha256_hex),
]


def text_parts(text: Text, client: Client) -> Parts:
    return {
        "prepend": prepends(text, client),
        "method": methods(text),
        "encoding": ENCODINGS,
        "order": ORDERS,
        "origin": origins(text),
        "path": paths(text, client),
        "added": added(client),
        "left_out": left_out(text),
        "hashed": HASHES,
        "changed": changed(text),
    }


# The parts of an HMAC's key


def spellings_of_k(k: bytes) -> list[Variant]:
    bare = k.lstrip(b"\0")
    digits = bare.hex().lstrip("0")
    even = digits[: len(digits) // 2 * 2]
    return [
        ("sign byte of K missing", bare),
        ("a zero byte before K whose top bit is not set", b"\0" + bare),
        ("last digit of K dropped, whose hex has an odd number of them", bytes.fromhex(even)),
        ("K as hex text", digits.encode()),
        ("K as hex text", k.hex().encode()),
        ("K as hex text in capitals", digits.upper().encode()),
        ("K as decimal text", str(int.from_bytes(k, "big")).encode()),
        ("K as base64 text", base64.b64encode(k)),
        ("K as base64 text, without its sign byte", base64.b64encode(bare)),
        ("bytes of K in reverse order", bare[::-1]),
        ("K filled up with zeros to the prime's length", bare.rjust(256, b"\0")),
    ]


def spellings_of_secret(secret: bytes, encrypted_secret: str) -> list[Variant]:
    return [
        ("secret as hex text in the derivation", secret.hex().encode()),
        ("secret as hex text in capitals in the derivation", secret.hex().upper().encode()),
        ("secret as base64 text in the derivation", base64.b64encode(secret)),
        ("secret not decrypted in the derivation", encrypted_secret.encode()),
        ("secret not decrypted in the derivation", base64.b64decode(encrypted_secret)),
    ]


def swapped(k: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, k, "sha1")


def with_sha256(k: bytes, secret: bytes) -> bytes:
    return hmac.digest(k, secret, "sha256")


def without_hmac(k: bytes, secret: bytes) -> bytes:
    return hashlib.sha1(k + secret).digest()


def derivations(consumer_key: str) -> list[Variant]:
    def proof(k: bytes, secret: bytes) -> bytes:
        return hmac.digest(sha1_hmac(k, secret), consumer_key.encode(), "sha1")

    return [
        ("key and message of the derivation's HMAC swapped", swapped),
        ("SHA-256 instead of SHA-1 in the derivation", with_sha256),
        ("SHA-1 without HMAC in the derivation", without_hmac),
        ("proof used as the token", proof),
        ("K used as the token", lambda k, _: k),
        ("secret used as the token", lambda _, secret: secret),
    ]


def as_hex(token: bytes) -> bytes:
    return token.hex().encode()


def and_after(spell: Bytes) -> Bytes:
    """RFC 5849 joins two secrets with & to make its key."""
    return lambda token: spell(token) + b"&"


SPELLINGS: list[Variant] = [
    ("token used as base64 text instead of decoded", base64.b64encode),
    ("token used as hex text instead of bytes", as_hex),
    ("& after the key", and_after(unchanged)),
    ("& after the key, and token used as base64 text", and_after(base64.b64encode)),
    ("& after the key, and token used as hex text", and_after(as_hex)),
]


def key_parts(k: bytes, client: Client) -> Parts:
    return {
        "spell": SPELLINGS,
        "k": spellings_of_k(k),
        "secret": spellings_of_secret(client.secret, client.encrypted_secret),
        "derive": derivations(client.consumer_key),
    }


# The search


def with_mistakes(start: Start, count: int) -> Iterator[Guess]:
    """So many parts spoilt, in every way."""
    for names in itertools.combinations(start.parts, count):
        for variants in itertools.product(*(start.parts[name] for name in names)):
            spoilt = {name: value for name, (_, value) in zip(names, variants)}
            yield [mistake for mistake, _ in variants], start.text._replace(**spoilt)


def alone(text: Text, client: Client) -> Iterator[Guess]:
    """What is wrong in many possible ways, so that it is not tried with anything else."""
    for earlier in client.earlier:
        yield ["the text of an earlier request signed"], text._replace(whole=earlier.base_string)
    for name in USUAL:
        for value in ("None", "null", "undefined", "", "true", "false", "True", "False", "0"):
            yield [f"{name} signed but not sent"], text._replace(added=[(name, value)])
    names = [name for name, _ in text.pairs]
    if len(names) <= 7:
        for some_order in itertools.permutations(text.pairs):
            yield ["parameters unsorted"], text._replace(pairs=list(some_order), order=list)


def find_mistakes(
    starts: list[Start], client: Client, fits: Callable[[Text], bool]
) -> Guess | None:
    """The fewest mistakes that explain a signature. Raises TimeoutError after half a second."""
    ends = time.thread_time() + SECONDS
    for mistakes, text in guesses(starts, client):
        if fits(text):
            return mistakes, text
        if time.thread_time() > ends:
            raise TimeoutError
    return None


def guesses(starts: list[Start], client: Client) -> Iterator[Guess]:
    for start in starts:
        yield start.mistakes, start.text
    for start in starts:
        yield from with_mistakes(start, 1)
    for start in starts:
        yield from alone(start.text, client)
    for start in starts:
        yield from with_mistakes(start, 2)
