"""Names the mistake in a signature that does not fit, by trying what clients get wrong.

It tries base strings, keys and digests until one gives the signature that was sent, within a
limit of time and bytes; it needs no lock, so that other requests are served meanwhile.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote, unquote, unquote_plus

from Crypto.PublicKey import RSA

from tests.sandbox.answers import BASE_PATH

SECONDS = 0.5  # of computing, to explain one signature
BYTES = 20_000_000  # of base strings, to explain one signature
LONGEST = 100_000  # characters of a query or form that is still looked at
GIVEN_UP = "does not match; too long to try the known mistakes"

# names of optional parameters, and how languages write a value that is none
USUAL = ["page", "period", "bar", "exchange", "since", "force", "compete", "publish", "name"]
USUAL += ["secType", "filters", "accountId", "account", "sort", "direction", "fields", "model"]
USUAL += ["startTime", "outsideRth", "isSingle"]
EMPTY = ("None", "null", "undefined", "", "true", "false", "True", "False", "0")

Pairs = list[tuple[str, str]]
Guess = tuple[list[str], str]  # mistakes by name, and the base string that has them
Fits = Callable[[bytes], "list[str] | None"]  # mistakes of key and digest; None: it does not fit
DIGESTS = (("", "sha256"), ("SHA-1 instead of SHA-256", "sha1"))


class Attempt(NamedTuple):
    """The signed parts of a request: what is needed to compute its signature."""

    method: str
    url: str
    pairs: Pairs  # from the header, in its order, without realm and signature
    query: str
    prepend: str  # hex of the decrypted secret; "" outside the token request
    realm: str
    body_fields: Pairs  # of a JSON body, which no client should sign
    earlier: tuple[str, ...] = ()  # base strings of requests before this one

    def expected(self, query_pairs: Pairs) -> str:
        return self.over(joined(sorted(self.pairs + query_pairs)))

    def over(self, parameters: str) -> str:
        return base_string(self.method, self.url, parameters, self.prepend)

    def queries(self) -> list[Pairs]:
        """The query's parameters in each form that may be signed."""
        return [pairs for _, pairs in query_forms(self.query)]


class Signer(NamedTuple):
    """What a client signs calls with, rightly or by mistake."""

    mistake: str
    key: bytes


def base_string(method: str, url: str, parameters: str, prepend: str = "") -> str:
    """`parameters`: joined raw, and encoded once. RFC 5849 would encode the values twice."""
    return prepend + "&".join((method, encoded(url), encoded(parameters)))


def encoded(text: str) -> str:
    return quote(text, safe="~")


def joined(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join(f"{name}={value}" for name, value in pairs)


def query_forms(query: str) -> list[tuple[str, Pairs]]:
    """The ways to sign a query that IBKR accepts; its own documents disagree."""
    if not query:
        return [("", [])]
    wire: Pairs = []
    decoded: Pairs = []
    for item in query.split("&"):
        name, _, value = item.partition("=")
        if item:
            wire.append((name, value))
            decoded.append((unquote_plus(name), unquote_plus(value)))
    return [("signed", decoded), ("signed as on the wire", wire), ("left out", [])]


def wrong_urls(attempt: Attempt) -> list[tuple[str, str]]:
    origin, path = attempt.url.split(BASE_PATH, 1)
    urls = [("", attempt.url)]
    for scheme in ("https", "http"):
        for host in ("api.ibkr.com", "127.0.0.1", "localhost", origin.split("/")[2]):
            wrong = f"{scheme}://{host}"
            urls.append((f"wrong host in the URL ({wrong})", wrong + BASE_PATH + path))
    if attempt.query:
        for query in (attempt.query, unquote(attempt.query)):
            urls.append(("query left in the URL", f"{attempt.url}?{query}"))
    return urls


def wrong_prepends(attempt: Attempt, secret: str) -> list[tuple[str, str]]:
    if not attempt.prepend:
        return [("", ""), ("prepend outside the token request", secret)]
    return [
        ("", secret),
        ("prepend missing", ""),
        ("prepend in capitals", secret.upper()),
        ("prepend followed by &", secret + "&"),
    ]


def wrong_lists(attempt: Attempt) -> list[tuple[str, str, str]]:
    """Each with up to two mistakes, and the list of parameters that has them."""
    lists = []
    for query_pairs in attempt.queries():
        pairs = attempt.pairs + query_pairs
        for realm, signed in (("", pairs), ("realm signed", [*pairs, ("realm", attempt.realm)])):
            twice = [(encoded(name), encoded(value)) for name, value in signed]
            lists.append((realm, "", joined(sorted(signed))))
            lists.append((realm, "values encoded twice", joined(sorted(twice))))
            lists.append((realm, "parameters unsorted", joined(signed)))
    return lists


def variants(attempt: Attempt, secret: str) -> Iterator[Guess]:
    """Yield base strings as clients get them wrong: all that is tried."""
    yield from single_variants(attempt)
    parts = (wrong_urls(attempt), wrong_prepends(attempt, secret), wrong_lists(attempt))
    for (in_url, url), (in_prepend, prepend), (realm, order, listed) in itertools.product(*parts):
        mistakes = [mistake for mistake in (in_url, in_prepend, realm, order) if mistake]
        yield mistakes, base_string(attempt.method, url, listed, prepend)
    yield from unsorted_variants(attempt)


def single_variants(attempt: Attempt) -> Iterator[Guess]:
    """What is wrong in one way only, and combines with nothing."""
    in_lower_case = attempt._replace(method=attempt.method.lower())
    for query_pairs in attempt.queries():
        yield ["HTTP method in lower case"], in_lower_case.expected(query_pairs)
        if attempt.body_fields:
            mistake = "fields of a JSON body in the base string"
            yield [mistake], attempt.expected(query_pairs + attempt.body_fields)
    yield from partial_queries(attempt)
    yield from absent_parameters(attempt)
    yield from other_requests(attempt)


def partial_queries(attempt: Attempt) -> Iterator[Guess]:
    """One parameter of the query was sent and not signed, the others were."""
    if attempt.query.count("&") > 20:
        return
    for query_pairs in attempt.queries():
        for index, (name, _) in enumerate(query_pairs):
            rest = query_pairs[:index] + query_pairs[index + 1 :]
            if rest:
                yield [f"{name[:40]} sent but not signed"], attempt.expected(rest)


def absent_parameters(attempt: Attempt) -> Iterator[Guess]:
    """A parameter without a value was signed, and left out when the query was made."""
    for query_pairs in attempt.queries()[:2]:
        for name in USUAL:
            for value in EMPTY:
                mistake = f"{name} signed but not sent"
                yield [mistake], attempt.expected([*query_pairs, (name, value)])


def other_requests(attempt: Attempt) -> Iterator[Guess]:
    """The base string was made once, and is used again for every call."""
    for earlier in attempt.earlier:
        yield ["base string of another request, the token request's for example"], earlier


def unsorted_variants(attempt: Attempt) -> Iterator[Guess]:
    """In any order, the query first or last."""
    if len(attempt.pairs) > 6:
        return
    for query_pairs in attempt.queries():
        for some_order in itertools.permutations(attempt.pairs):
            for pairs in ([*some_order, *query_pairs], [*query_pairs, *some_order]):
                yield ["parameters unsorted"], attempt.over(joined(pairs))


def find_mistakes(attempt: Attempt, secret: str, fits: Fits) -> list[str]:
    """The fewest mistakes that explain a signature; `fits` adds those of key and digest."""
    if len(attempt.query) > LONGEST:
        return [GIVEN_UP]
    best: list[str] = []
    ends = time.thread_time() + SECONDS
    tried = 0
    for mistakes, variant in variants(attempt, secret):
        tried += len(variant)
        if time.thread_time() > ends or tried > BYTES:
            return best or [GIVEN_UP]
        more = fits(variant.encode())
        if more is not None and (not best or len(mistakes + more) < len(best)):
            best = mistakes + more
        if len(best) == 1:
            break
    return best


def rsa_fits(signature: bytes, keys: list[tuple[str, RSA.RsaKey]]) -> Fits:
    number = int.from_bytes(signature, "big")
    opened = []
    for mistake, key in keys:
        if number < key.n:
            padded = pow(number, key.e, key.n).to_bytes(key.size_in_bytes(), "big")
            opened.append((mistake, padded))

    def fits(message: bytes) -> list[str] | None:
        for wrong_digest, digest in DIGESTS:
            hashed = hashlib.new(digest, message).digest()
            for wrong_key, padded in opened:
                if padded.endswith(hashed):
                    return [mistake for mistake in (wrong_key, wrong_digest) if mistake]
        return None

    return fits


def hmac_fits(signature: bytes, signers: list[Signer]) -> Fits:
    def fits(message: bytes) -> list[str] | None:
        for signer in signers:
            for wrong_digest, digest in DIGESTS:
                if hmac.compare_digest(hmac.digest(signer.key, message, digest), signature):
                    return [mistake for mistake in (signer.mistake, wrong_digest) if mistake]
        return None

    return fits


def token_spellings(token: bytes) -> list[Signer]:
    """The ways in which clients spell a live session token when they sign with it."""
    as_text = base64.b64encode(token)
    as_hex = token.hex().encode()
    return [
        Signer("", token),
        Signer("token used as text instead of decoded", as_text),
        Signer("token used as text instead of decoded", as_hex),
        Signer("& after the key", token + b"&"),
        Signer("& after the key", as_text + b"&"),
    ]
