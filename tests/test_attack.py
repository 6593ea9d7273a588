"""What an attacker found who had not written the code: spellings of secrets, sizes, slow patterns."""

from __future__ import annotations

import base64
import io
import os
import re
import time
from collections.abc import Iterator

import pytest
import requests

import demo
from keys import check

SECRET = bytes(range(195, 227))  # invented
BASE64 = base64.b64encode(SECRET).decode()


def answer(body: bytes) -> requests.Response:
    response = requests.Response()
    response.status_code = 200
    response.encoding = "utf-8"
    response.raw = io.BytesIO(body)
    return response


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    """Fail if a test takes long: a pattern that searches without end is what most of them hold."""
    began = time.process_time()
    yield
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "spelled",
    [
        ":".join(re.findall("..", SECRET.hex())),
        SECRET.decode("latin-1"),
        "".join(f"%25{ord(letter):02x}" for letter in BASE64),
        "\0".join(BASE64.rstrip("=")),
    ],
    ids=["hex with colons", "raw bytes", "percent-encoded twice", "UTF-16"],
)
def test_a_secret_is_masked_however_it_is_spelled(spelled: str) -> None:
    secrets = demo.Secrets()
    secrets.hide(SECRET)
    assert secrets.mask(f"<{spelled}>") == "<***>"


@pytest.mark.parametrize(
    "text",
    ["&#" + "9" * 5000, "\\" * 100_000, "\x7f" * 1_000_000],
    ids=["a number too long for Python", "backslashes", "control characters"],
)
def test_a_cell_of_any_text_is_short_and_soon_printed(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.Console().table(("name",), [{"name": text}])
    assert len(capsys.readouterr().out.splitlines()[1]) <= 44
    assert not demo.is_account_id(text)


def test_an_entity_of_more_digits_than_python_reads_is_printed() -> None:
    assert demo.Console().clean("&#" + "9" * 5000).isascii()


def test_a_deleted_current_folder_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def deleted() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(os, "getcwd", deleted)
    assert demo.default_config().endswith("test-config.json")


def test_backslashes_without_end_are_searched_soon() -> None:
    text = "\\" * 200_000
    assert demo.unescaped(text) == text


@pytest.mark.parametrize("before", range(0, 230, 10))
@pytest.mark.parametrize("filler", ["x", " ", "<b>", "&#32;"])
def test_no_half_of_a_secret_is_left_where_a_text_is_cut(before: int, filler: str) -> None:
    secrets = demo.Secrets()
    secrets.hide(SECRET)
    text = filler * (4000 // len(filler) - 20) + "y" * before + BASE64
    for said in (text, "x" * before + BASE64):
        shown = demo.server_words(answer(said.encode()), secrets)
        assert BASE64[:5] not in shown + demo.cause_of(ValueError(said), secrets)


def test_a_long_answer_is_cut_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    demo.Console(verbose=True).answer(answer(b"\n" * 3000))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2001
    assert lines[-1] == "    < (1000 lines more, not shown)"


def test_names_are_masked_behind_a_byte_order_mark_too(capsys: pytest.CaptureFixture[str]) -> None:
    demo.Console(verbose=True).answer(answer(b'\xef\xbb\xbf{"accountTitle": "Jane Roe"}'))
    assert "Jane" not in capsys.readouterr().out


def test_names_are_masked_in_an_error_that_is_an_object() -> None:
    body = b'{"error": {"accountTitle": "Jane Roe", "code": 7}}'
    assert demo.body_words(answer(body), demo.Secrets()) == '{"accountTitle": "***", "code": 7}'


@pytest.mark.parametrize(
    ("sent", "shown"),
    [("C231.50", "previous close 231.50"), ("H231.50", "halted 231.50"), ("CHalk", "CHalk")],
)
def test_only_a_price_is_read_as_one_with_a_mark(sent: str, shown: str) -> None:
    assert demo.last_price({demo.LAST: sent}) == shown


def test_a_token_of_any_length_is_refused_soon() -> None:
    secrets = demo.Secrets()
    secrets.hide("+" * 100_000)
    assert secrets.mask("+" * 100_000) == "+" * 100_000
    with pytest.raises(check.FieldError, match="not in the right form"):
        check.check_access_token("+" * 100_000)


def test_a_key_file_of_any_text_is_refused_soon() -> None:
    with pytest.raises(check.FieldError, match="not in PEM form"):
        check.private_key(b"Proc-Type:" * 100_000)
