"""The base string against oauthlib's, which is RFC 5849's; and the form of the shared secret
against Python's signed integers. Where Interactive Brokers (IBKR) departs from the RFC is pinned.
"""

from __future__ import annotations

import string
from math import gcd
from urllib.parse import unquote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from oauthlib.oauth1.rfc5849 import signature as rfc5849

import oauth

relaxed = settings(database=None, deadline=None)  # leaves no files, and slow machines alone

URL = "https://api.ibkr.com/v1/api/iserver/marketdata/snapshot"
UNRESERVED = string.ascii_letters + string.digits + "-._~"
RESERVED = sorted(set(map(chr, range(0x20, 0x7F))) - set(UNRESERVED))

unreserved = st.text(UNRESERVED)
names = st.text(UNRESERVED, min_size=1)
methods = st.sampled_from(["GET", "POST", "DELETE", "get", "Put"])
urls = st.builds(
    "{}://{}/{}".format,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["api.ibkr.com", "127.0.0.1:5000", "localhost:12345"]),
    st.text(UNRESERVED + "/"),
)


def rfc5849_base_string(method: str, url: str, params: list[tuple[str, str]]) -> str:
    uri = rfc5849.base_string_uri(url)
    return rfc5849.signature_base_string(method, uri, rfc5849.normalize_parameters(params))


def parameters(base_string: str) -> str:
    """The third part of a base string."""
    return base_string.split("&")[2]


@relaxed
@given(methods, urls, st.lists(st.tuples(names, unreserved)))
@example("GET", URL, [("a1", "0"), ("a", "1"), ("aB", ""), ("ab", ""), ("a", "")])
def test_base_string_is_rfc5849s_for_unreserved_characters(
    method: str, url: str, params: list[tuple[str, str]]
) -> None:
    expected = rfc5849_base_string(method, url, params)
    assert oauth.signature_base_string(method, url, params) == expected


@relaxed
@given(methods, st.dictionaries(names, st.text()))
def test_base_string_is_rfc5849s_with_the_second_encoding_undone(
    method: str, params: dict[str, str]
) -> None:
    ours = oauth.signature_base_string(method, URL, params.items())
    theirs = rfc5849_base_string(method, URL, list(params.items()))
    assert ours.split("&")[:2] == theirs.split("&")[:2]
    assert unquote(parameters(ours)) == unquote(unquote(parameters(theirs)))


@relaxed
@given(st.lists(st.tuples(st.text(), st.text())), st.text("0123456789abcdef"))
def test_base_string_is_three_parts_in_ascii_whatever_the_parameters(
    params: list[tuple[str, str]], prepend: str
) -> None:
    base_string = oauth.signature_base_string("POST", URL, params, prepend)
    assert base_string.startswith(f"{prepend}POST&https%3A%2F%2F")
    assert base_string.count("&") == 2
    assert set(base_string) <= {*UNRESERVED, "%", "&"}


@pytest.mark.parametrize("character", RESERVED)
def test_ibkr_encodes_a_value_once_where_rfc5849_encodes_twice(character: str) -> None:
    params = [("fields", f"31{character}84")]
    once = f"%{ord(character):02X}"
    ours = oauth.signature_base_string("GET", URL, params)
    theirs = rfc5849_base_string("GET", URL, params)
    assert parameters(ours) == f"fields%3D31{once}84"
    assert parameters(theirs) == f"fields%3D31%25{once[1:]}84"


def test_values_are_sorted_raw_where_rfc5849_sorts_them_encoded() -> None:
    params = [("a", "/"), ("a", ".")]
    ours = oauth.signature_base_string("GET", URL, params)
    theirs = rfc5849_base_string("GET", URL, params)
    assert parameters(ours) == "a%3D.%26a%3D%2F"
    assert parameters(theirs) == "a%3D%252F%26a%3D."


def test_a_separator_inside_a_value_is_ambiguous_where_rfc5849_is_not() -> None:
    one, two = [("a", "1&b=2")], [("a", "1"), ("b", "2")]
    assert oauth.signature_base_string("GET", URL, one) == oauth.signature_base_string(
        "GET", URL, two
    )
    assert rfc5849_base_string("GET", URL, one) != rfc5849_base_string("GET", URL, two)


# The shared secret in the form of Java's BigInteger.toByteArray(): the shortest two's complement.

MERSENNE = [2**number - 1 for number in (5, 7, 13, 17, 61, 127, 521, 2203)]  # all prime


def shortest_signed(number: int) -> bytes:
    length = 1
    while True:
        try:
            return number.to_bytes(length, "big", signed=True)
        except OverflowError:
            length += 1


@relaxed
@given(st.data(), st.sampled_from(MERSENNE), st.integers(1, 2**256))
def test_shared_secret_is_the_shortest_signed_form(
    data: st.DataObject, prime: int, exponent: int
) -> None:
    assume(gcd(exponent, prime - 1) == 1)
    secret = data.draw(st.integers(2, prime - 2))
    response = pow(secret, pow(exponent, -1, prime - 1), prime)  # so that response^exponent is it
    result = oauth.diffie_hellman_shared_secret(prime, exponent, f"{response:x}")
    assert result == shortest_signed(secret)


def test_shared_secret_has_the_shortest_signed_form_at_every_length() -> None:
    for bits in range(2, 2049):
        for secret in (2 ** (bits - 1), 2**bits - 1):
            result = oauth.diffie_hellman_shared_secret(2**2203 - 1, 1, f"{secret:x}")
            assert result == secret.to_bytes(bits // 8 + 1, "big", signed=True)
