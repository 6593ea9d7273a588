"""keys/mask.py: what is hidden is found however it is spelled, soon, and nothing else is."""

from __future__ import annotations

import base64
import re
import sys
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from keys import mask

SECRET = bytes(range(195, 227))  # invented
BASE64 = base64.b64encode(SECRET).decode()


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    """Fail if a test takes long: a pattern that searches without end is what some of them hold."""
    began = time.process_time()
    yield
    assert time.process_time() - began < 10


def hiding(*secrets: str | bytes) -> mask.Secrets:
    found = mask.Secrets()
    found.hide(*secrets)
    return found


# Spellings


SPELLINGS = {  # of the text abc/def+gh==, and of the bytes ff fe fd 00 01 02
    "plain": "abc/def+gh==",
    "without padding": "abc/def+gh",
    "in capitals": "ABC/DEF+GH==",
    "URL": "abc%2Fdef%2Bgh%3D%3D",
    "URL in small letters": "abc%2fdef%2bgh%3d%3d",
    "URL twice": "abc%252Fdef%252Bgh%253D%253D",
    "URL-safe base64": "abc_def-gh==",
    "JSON": r"abc\/def\u002bgh\u003d\u003D",
    "JSON in JSON": r"abc\\/def\\u002bgh\\u003d\\u003d",
    "JSON, all": "".join(rf"\u{ord(letter):04x}" for letter in "abc/def+gh=="),
    "HTML": "abc&#47;def&#43;gh&#61;&#61;",
    "HTML, hex": "abc&#x2F;def&#x2b;gh&#x3d;&#X3D;",
    "HTML, names": "abc&sol;def&plus;gh&equals;&equals;",
    "over lines": "abc/\ndef+\r\n  gh==",
    "hex": "fffefd000102",
    "hex in capitals": "FFFEFD000102",
    "base64": "//79AAEC",
    "base64 in a URL": "%2F%2F79AAEC",
    "base64 in JSON": r"\/\/79AAEC",
    "a number": "281470631411970",
}


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_what_is_hidden_is_replaced_by_three_asterisks_in_every_form(text: str) -> None:
    secrets = hiding("abc/def+gh==", b"\xff\xfe\xfd\x00\x01\x02")
    masked = secrets.mask(f"<{text}>")
    assert re.fullmatch(
        r"<\*\*\*((%(25)?|&#x?|)(3d|61);?)*>", masked, re.IGNORECASE
    )  # padding may stay


@pytest.mark.parametrize("text", ["abc/def", "fffefd", "a < b & c", "100%", r"a\u0041", "&amp; +"])
def test_what_is_not_hidden_stays_as_it_is(text: str) -> None:
    secrets = mask.Secrets()
    secrets.hide("abc/def+gh==", b"\xff\xfe\xfd\x00\x01\x02", "1234567")  # too short for one
    assert secrets.mask(text) == text
    assert secrets.mask("1234567") == "1234567"


def test_a_secret_that_contains_another_is_hidden_whole() -> None:
    texts = ["abcdefgh" + "x" * more for more in range(20)] + ["0abcdefgh", "zabcdefgh"]
    secrets = hiding(*texts)
    for text in texts:
        assert secrets.mask(f"<{text}>") == "<***>"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"accountTitle": "A B", "x": "A B"}, {"accountTitle": "***", "x": "A B"}),
        ({"MAC": "", "sessionId": None, "userId": 7}, {"MAC": "", "sessionId": None, "userId": "***"}),
        ({"aliases": {"DU1": "A B"}}, {"aliases": "***"}),
        ([{"displayName": ["A", "B"]}], [{"displayName": "***"}]),
        ({"a12345678": ["a12345678", 5, True]}, {"***": ["***", 5, True]}),
        ({"names": "A", "description": "B", "userlist": 1}, {"names": "A", "description": "B", "userlist": 1}),
    ],
)  # fmt: skip
def test_a_personal_value_is_replaced_and_nothing_else(value: Any, shown: Any) -> None:
    secrets = hiding("a12345678")
    assert secrets.redact(value) == shown


@pytest.mark.parametrize(
    "spelled",
    [
        ":".join(re.findall("..", SECRET.hex())),
        SECRET.decode("latin-1"),
        "".join(f"%25{ord(letter):02x}" for letter in BASE64),
        "\0".join(BASE64.rstrip("=")),
        repr(SECRET)[2:-1],
        "%0A".join(re.findall(".{1,5}", BASE64)),
        BASE64.replace("+", "&amp;#43;"),
        SECRET.hex("-").upper(),
        ", ".join(f"0x{byte:02x}" for byte in SECRET).replace("0x", "\\x"),
        ",".join(str(byte - 256) for byte in SECRET),
        " ".join(map(str, SECRET)),
        base64.b32encode(SECRET).decode(),
        "".join(f"\\u{{{ord(letter):x}}}" for letter in BASE64),
        "".join(f"%u{ord(letter):04X}" for letter in BASE64),
        "".join(f"&#{ord(letter)}" for letter in BASE64),
        "".join(f"&#38;#x{ord(letter):x};" for letter in BASE64),
        "\u200b".join(BASE64),
        '", "'.join(re.findall(".{1,9}", BASE64)),
    ],
    ids=lambda spelled: ascii(spelled).replace("\\", "%")[:12],
)
def test_a_secret_is_masked_however_it_is_spelled(spelled: str) -> None:
    secrets = hiding(SECRET)
    assert secrets.mask(f"<{spelled}>") == "<***>"


@pytest.mark.parametrize(
    "before", ["LIKE '%", "%25", "\\u00", "\\x", "&#49", "&#x4", "C:\\", "&amp;#", "\\\\u{"]
)
@pytest.mark.parametrize("secret", [SECRET.hex(), "rtoken1234567890", BASE64, "1234567890ab"])
def test_what_stands_before_a_secret_does_not_hide_it_from_the_search(
    before: str, secret: str
) -> None:
    secrets = hiding(secret)
    masked = secrets.mask(f"<{before}{secret}%>")
    assert secret[3:9] not in masked
    assert masked.endswith("***%>")


def test_a_letter_that_counts_as_another_in_capitals_is_itself() -> None:
    assert mask.Secrets().mask("&plu\u017f; &\u017fol;") == "&plu\u017f; &\u017fol;"


def test_all_of_several_places_are_masked_and_nothing_between() -> None:
    secrets = hiding(b"bytes", "abcdefgh")
    assert secrets.mask("1 abcdefgh 2 ABCDEFGH 3 abcd efgh 4") == "1 *** 2 *** 3 *** 4"


def test_of_what_stands_before_a_secret_at_most_three_letters_are_masked_with_it() -> None:
    assert hiding(SECRET.hex()).mask(f"<wxyz%{SECRET.hex()}>") == "<wxy***>"


@pytest.mark.skipif(not hasattr(sys, "set_int_max_str_digits"), reason="this Python has no limit")
def test_a_python_that_writes_no_long_numbers_hides_the_other_forms() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        secret = bytes(range(256)) * 2  # a number of more than 640 digits
        assert hiding(secret).mask(f"<{secret.hex()}>") == "<***>"
    finally:
        sys.set_int_max_str_digits(before)


@pytest.mark.parametrize("spelled", ["126,127,128,129,255,0,1", "126,127,-128,-127,-1,0,1"])
def test_bytes_may_have_a_sign(spelled: str) -> None:
    assert hiding(bytes([126, 127, 128, 129, 255, 0, 1])).mask(f"[{spelled}]") == "[***]"


@pytest.mark.parametrize(("size", "shown"), [(5, "12345"), (6, "12345***"), (13, "12345***")])
def test_of_a_text_that_is_cut_only_a_secret_that_begins_before_is_masked(
    size: int, shown: str
) -> None:
    assert hiding("abcdefgh").mask("12345abcdefgh678", size) == shown


def test_an_excerpt_is_one_line_of_two_hundred_letters() -> None:
    assert mask.Secrets().excerpt(" a \n b" + "c" * 300) == "a b" + "c" * 197


# Bounds


@pytest.mark.parametrize(("most", "letters", "kept"), [(2, 99, 2), (9, 16, 2), (9, 15, 1)])
def test_only_so_many_forms_and_letters_are_kept(
    monkeypatch: pytest.MonkeyPatch, most: int, letters: int, kept: int
) -> None:
    monkeypatch.setattr(mask.Secrets, "MOST", most)
    monkeypatch.setattr(mask.Secrets, "MOST_LETTERS", letters)
    assert (
        list(hiding("aaaaaaaa", "bbbbbbbb", "cccccccc").hidden) == ["aaaaaaaa", "bbbbbbbb"][:kept]
    )


@pytest.mark.parametrize(
    "text",
    ['"title":"' + "a" * 100_000, '"title":"' + "a\\" * 50_000, "a" * 100_000],
    ids=["a name", "a name of escapes", "secrets within secrets"],
)
def test_a_long_answer_is_masked_without_much_memory(text: str) -> None:
    secrets = hiding(*("a" * size for size in (8, 10, 12)))
    tracemalloc.start()
    try:
        secrets.mask(text)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("a" * 1000, "z".join(["a" * 990] * 1000)),
        ("abcdefghij" * 100, "z".join(["abcdefghij" * 99] * 500)),
        ("a" * 9 + "+" * 50_000, "+" * 2_000_000),
        ("a" * 8, "\\" * 300_000),
        ("a" * 8, "%25" * 100_000),
        ("a" * 8, "&amp;" * 100_000),
        ("a" * 8, '"holder' + "holder" * 300_000),
        ("a" * 8, '"title":' + " " * 300_000),
    ],
    ids=["one letter", "ten letters", "pluses", "backslashes", "URL", "HTML", "name", "named"],
)
def test_the_search_for_secrets_is_soon_over(secret: str, text: str) -> None:
    secrets = hiding(secret)
    assert secrets.mask(text) == text
    assert secrets.mask(f"{text}<{secret}>").endswith("***>")


# Proxies


def sent(user: str) -> str:
    return base64.b64encode(user.encode()).decode()


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://proxy:8080/", []),
        ("http://me:8080@proxy", ["8080", sent("me:8080")]),
        ("http://me:a:b@proxy:1", ["a:b", sent("me:a:b")]),
        ("http://me:p%2Fw@x@proxy:1", ["p%2Fw@x", "p/w@x", sent("me:p%2Fw@x"), sent("me:p/w@x")]),
        ("http://me:p\udcff@proxy", ["p\udcff", sent("me:p?")]),
        ("http://me:p#r/t", ["p#r/t", "p", "r", "t", sent("me:p#r/t")]),
        ("me:password", ["password", sent("me:password")]),
        ("http://me:a://b@x", ["a://b", "a:", "", "b", sent("me:a://b")]),
    ],
)
def test_the_passwords_of_proxies_are_found(
    monkeypatch: pytest.MonkeyPatch, url: str, found: list[str]
) -> None:
    monkeypatch.setattr(mask, "getproxies", lambda: {"http": "http://proxy:1", "https": url})
    assert set(mask.proxy_passwords()) == set(found)
