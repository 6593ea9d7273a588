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
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, permutations, product
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

from tests.sandbox.answers import BASE_PATH
from tests.sandbox.identity import Identity, Session
from tests.sandbox.server import Request

UNSORTED = "parameters unsorted, instead of sorted by name"
OFTEN_EMPTY = ["page", "period", "bar", "exchange", "since", "compete", "publish", "name"]
PYTHONS = {"true": "True", "false": "False"}

Pairs = Sequence[tuple[str, str]]
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
    added: Pairs = ()
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
        message = self.base_string.encode("latin-1", "replace")  # a wrong prepend may be bytes
        if self.key:
            return hmac.digest(self.key, message, digest)
        return hashlib.new(digest, message).digest()


class Case(NamedTuple):
    """A signature that does not fit, and what the server knows."""

    request: Request
    texts: list[Text]  # in each form that is accepted
    keys: list[bytes]  # of an HMAC, that are accepted; as in a Text: of an RSA signature b""
    identity: Identity
    sessions: list[Session]  # the newest first
    earlier: list[Text]  # that were signed rightly


VALUES: list[Variant] = [
    ("values encoded twice, as RFC 5849 has it, instead of once", encoded),
    ("values signed with + for a space, instead of decoded", quote_plus),
    ("true signed as Python's True, not as sent", lambda value: PYTHONS.get(value, value)),
]


def encodings(text: Text) -> Variants:
    yield "URL and parameters encoded twice instead of once", lambda part: encoded(encoded(part))
    yield "nothing encoded, instead of URL and parameters", str
    yield "a space encoded as + instead of %20", quote_plus
    values = "".join(value for _, value in text.pairs)
    for char in sorted({"/", *re.findall("[^A-Za-z0-9._~-]", values)}):
        mistake = f"{char} not encoded, instead of as {encoded(char)}"
        yield mistake, functools.partial(quote, safe=char)


def prepends(identity: Identity) -> Variants:
    right = identity.secret.hex()
    raw = identity.secret.decode("latin-1")
    utf_8 = raw.encode().decode("latin-1")
    undecrypted = base64.b64decode(identity.encrypted_secret).hex()
    yield "prepend of the secret's bytes instead of its hex digits", raw
    yield "prepend of the secret's bytes in UTF-8 instead of its hex digits", utf_8
    yield "prepend missing: the decrypted secret in hex, before the method", ""
    yield "prepend in a call that has none: only the token request has one", right
    yield "prepend in capitals instead of small letters", right.upper()
    yield "prepend in base64 instead of hex", base64.b64encode(identity.secret).decode()
    yield "prepend followed by &, where the method follows directly", f"{right}&"
    yield "prepend of the encrypted secret instead of the decrypted one", undecrypted


def origins(right: str) -> Variants:
    port = right.rpartition(":")[2]
    for scheme in ("http", "https"):
        for host in ("127.0.0.1", "localhost", "api.ibkr.com"):
            for origin in (f"{scheme}://{host}:{port}", f"{scheme}://{host}"):
                yield f"wrong origin in the URL ({origin}) instead of {right}", origin


def paths(text: Text, case: Case) -> Variants:
    bare = text.path[len(BASE_PATH) :]
    yield f"URL without the base path {BASE_PATH}", bare
    yield "two slashes in the URL instead of one", f"{BASE_PATH}/{bare}"
    yield "slash at the end of the URL, not sent", f"{text.path}/"
    yield "slash at the end of the URL left out, but sent", text.path.rstrip("/")
    yield "query in the URL and in the list", f"{text.path}?{case.request.signed_query}"
    for path in [f"{BASE_PATH}/oauth/request_token", *(other.path for other in case.earlier)]:
        yield f"another path in the URL ({path}) instead of {text.path}", path


def added(case: Case) -> Variants:
    yield "realm signed, which stands in the header alone", [("realm", case.request.sent["realm"])]
    body = case.request.json_fields.items()
    as_json = [(name, json.dumps(value).strip('"')) for name, value in body]
    yield "fields of a JSON body signed", as_json
    as_python = [(name, str(value)) for name, value in body]
    yield "fields of a JSON body signed, as Python writes them", as_python
    not_sent = [("oauth_version", "1.0"), ("oauth_callback", "oob"), ("oauth_signature", "")]
    for session in case.sessions[:1]:
        not_sent.append(("diffie_hellman_challenge", session.challenge))
    not_sent += product(OFTEN_EMPTY, ["None", "null", "undefined", ""])
    for name, value in not_sent:
        yield f"{name} signed but not sent", [(name, value)]


def changed(text: Text) -> Variants:
    """A parameter left out, or signed in another form than it is sent."""
    for place, (name, value) in enumerate(text.pairs):
        before, after = text.pairs[:place], text.pairs[place + 1 :]
        yield f"{name} sent but not signed", [*before, *after]
        forms = {"in small letters": value.lower(), "in capitals": value.upper(), "as None": "None"}
        for form, signed in forms.items():
            yield f"{name} signed {form}, not as sent", [*before, (name, signed), *after]


def spelled(name: str, data: bytes) -> Variants:
    right = f"instead of its {len(data)} bytes"
    yield f"{name} as hex text {right}", data.hex().encode()
    yield f"{name} as base64 text {right}", base64.b64encode(data)
    utf_8 = data.decode("latin-1").encode()
    yield f"{name} as text in UTF-8, two bytes for each from 80 up, {right}", utf_8


def derivations(session: Session, identity: Identity) -> Variants:
    """The tokens that clients derive from the right K and secret, the commonest mistakes first."""
    k, secret = session.k, identity.secret
    undecrypted = base64.b64decode(identity.encrypted_secret)
    bare = k.lstrip(b"\0")
    digits = bare.hex().lstrip("0")
    secrets = [("", secret), *spelled("secret", secret), ("secret not decrypted", undecrypted)]
    ks = [
        ("", k),
        ("sign byte of K missing: 00 in front, as its first bit is 1", bare),
        *spelled("K", k),
        ("a zero byte before K, whose first bit is 0", b"\0" + bare),
    ]
    if digits != k.hex():
        ks.append(("K as hex text without zeros instead of its bytes", digits.encode()))
    if len(digits) % 2:  # Node's Buffer reads hex so
        ks.append(("last digit of K's hex dropped", bytes.fromhex(digits[:-1])))
    for (in_k, key), (in_secret, message) in product(ks, secrets):
        mistake = "; and ".join(filter(None, [in_k, in_secret]))
        yield f"derivation: {mistake}", hmac_sha1(key, message)
    yield "derivation: key and message of the HMAC swapped (the key is K)", hmac_sha1(secret, k)
    yield "derivation: SHA-256 instead of SHA-1", hmac.digest(k, secret, "sha256")


def keys(session: Session, identity: Identity) -> Variants:
    yield from derivations(session, identity)
    for mistake, key in spelled("token", session.token):
        yield f"key of the HMAC: {mistake}", key
        yield f"key of the HMAC: {mistake}; and & after it", key + b"&"
        yield f"key of the HMAC: {mistake}; and & before it", b"&" + key
    yield "key of the HMAC: & after the token, which stands alone", session.token + b"&"
    yield "key of the HMAC: & before the token, which stands alone", b"&" + session.token
    proof = hmac_sha1(session.token, identity.consumer_key.encode())
    yield "proof used instead of the token", proof


def derivation_lines(session: Session, consumer_key: str, identity: Identity) -> list[str]:
    """For a client that finds the proof wrong and stops. All of it is throw-away."""
    k, token, message = session.k, session.token, consumer_key.encode()
    in_base64 = base64.b64encode(token).decode()
    lines = [
        "only if you find the proof wrong: lay your values beside these, the first that differs",
        "leads to the mistake; or let your client go on, and send any call: a refusal says more",
        f"  challenge   {ends(session.challenge)}",
        "              (as it was read: in hex; G^exponent mod prime)",
        f"  response    {ends(session.response)}",
        f"  K           {ends(k.hex())}",
        "              (response^exponent mod prime, with the challenge's exponent and prime;",
        "              a byte 00 in front if the first bit is 1, else none)",
        f"  secret      {identity.secret.hex()}",
        f"  token       {token.hex()}, in base64 {in_base64}",
        "              (HMAC-SHA1 of the bytes of the secret, its key the bytes of K)",
        f"  proof       {hmac_sha1(token, message).hex()}",
        "              (HMAC-SHA1 of the consumer key, its key the bytes of the token)",
        "or look up how your proof begins, the commonest mistakes first:",
    ]
    for mistake, key in keys(session, identity):
        if key != token and "; and " not in mistake:
            lines.append(f"  {hmac_sha1(key, message).hex()[:8]}    {mistake}")
    return lines


def ends(digits: str) -> str:
    return f"{digits[:16]}...{digits[-16:]}, {len(digits)} hex digits"


class Start(NamedTuple):
    """A text, what is certainly wrong in it, and by field what else may be."""

    mistakes: list[str]
    text: Text
    parts: Mapping[str, list[Variant]] = {}


def starts_of(text: Text, case: Case, session: Session | None = None) -> Iterator[Start]:
    """`session`: whose token signs the text, in a call."""
    parts: dict[str, list[Variant]] = {
        "method": [("HTTP method in small letters instead of capitals", text.method.lower())],
        "order": [(UNSORTED, list)],
        "value": VALUES,
        "encode": list(encodings(text)),
        "prepend": list(prepends(case.identity)),
        "path": list(paths(text, case)),
        "origin": list(origins(text.origin)),
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
