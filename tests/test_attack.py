"""What attackers found who had not written the code: sizes, odd texts, a proxy's password."""

from __future__ import annotations

import base64
import io
import os
import re
import time
from collections.abc import Iterator
from urllib.parse import unquote

import pytest
import requests
import urllib3

import demo
from keys import check, mask
from tests.conftest import Runner
from tests.sandbox import Sandbox

SECRET = bytes(range(195, 227))  # invented
BASE64 = base64.b64encode(SECRET).decode()
TOKEN = "0b1c2d3e4f5a6b7c8d9e"  # invented


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
    text = "&#" + "9" * 5000
    assert demo.without_entities(text) in (text, "\ufffd")  # older Pythons read it


def test_a_deleted_current_folder_is_no_traceback(
    server: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def deleted() -> str:
        raise FileNotFoundError

    monkeypatch.chdir(server.folder)
    monkeypatch.setattr(os, "getcwd", deleted)
    assert demo.default_config().endswith("test-config.json")
    assert demo.main(["config.json", "--check"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ('{"accountTitle": "Jane Roe", "x": 1', '{"accountTitle": "***", "x": 1'),
        (r'{"x": "{\"clientName\":\"Jane \\u00e9 Roe\"}"}', r'{"x": "{\"clientName\":\"***\"}"}'),
        ('{"primaryHolder": "Jane Ro', '{"primaryHolder": "***'),
        ('{"aliases": ["Jane", "Roe"], "x": [', '{"aliases": [***], "x": ['),
        ('{"user": {"x": "Jane"}, "y": [', '{"user": {***}, "y": ['),
        ('{"givenName ": "Jane"}', '{"givenName ": "***"}'),
        (r'{"accountTitle": "The \"Roe\" Trust", "x": 1', '{"accountTitle": "***", "x": 1'),
    ],
)  # fmt: skip
def test_names_are_masked_in_broken_json_and_within_a_text(body: str, shown: str) -> None:
    assert demo.server_words(answer(body.encode()), mask.Secrets()) == shown


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (TOKEN, TOKEN.encode().hex()),
        (TOKEN, base64.b64encode(TOKEN.encode()).decode()),
        (TOKEN, base64.b64encode(bytes.fromhex(TOKEN)).decode()),
        (BASE64, SECRET.hex()),
        (f" {BASE64}\n", BASE64),
        ("no secret at all", "no secret at all"),
        ("\u00e9" * 9, "\u00e9" * 9),
    ],
)
def test_what_a_config_has_for_a_secret_is_hidden_however_it_is_written(
    value: str, written: str
) -> None:
    secrets = mask.Secrets()
    demo.hide_text(value, secrets)
    assert secrets.mask(f"< {written} >") == "< *** >"


@pytest.mark.parametrize(("size", "hidden"), [(9_999, True), (10_000, False)])
def test_what_is_longer_than_any_secret_is_not_searched_for(size: int, hidden: bool) -> None:
    secrets = mask.Secrets()
    demo.hide_text("x" * size, secrets)
    assert bool(secrets.hidden) == hidden


@pytest.mark.parametrize(
    "url", ["http://me:{}@proxy:1", "me:{}@proxy:1", "http://me:{}", "http://me:{}@"]
)
@pytest.mark.parametrize("password", ["s3cr3t", "s3cr/t", "s3cr#t@x", "s3cr%2Ft"])
def test_the_password_of_a_proxy_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, url: str, password: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url.format(password))
    secrets = mask.Secrets()
    for hidden in mask.proxy_passwords():
        secrets.hide(hidden, least=4)
    user = f"me:{unquote(password)}"
    sent = base64.b64encode(user.encode()).decode()
    for said in (user, url.format(password), f"me:{re.split('[/#]', password)[0]}", sent):
        shown = demo.cause_of(ValueError(f"407 Denied {said} twice"), secrets)
        assert shown.startswith("ValueError: 407 Denied ")
        assert "s3cr" not in shown
        assert sent[:8] not in shown


@pytest.mark.parametrize("before", range(0, 230, 10))
@pytest.mark.parametrize("filler", ["x", " ", "<b>", "&#32;"])
def test_no_half_of_a_secret_is_left_where_a_text_is_cut(before: int, filler: str) -> None:
    secrets = mask.Secrets()
    secrets.hide(SECRET)
    text = filler * (4000 // len(filler) - 20) + "y" * before + BASE64
    for said in (text, "x" * before + BASE64):
        shown = demo.server_words(answer(said.encode()), secrets)
        assert BASE64[:5] not in shown + demo.cause_of(ValueError(said), secrets)


def printed(capsys: pytest.CaptureFixture[str], body: bytes, *hidden: str) -> str:
    """Return what -v shows of an answer."""
    console = demo.Console(verbose=True)
    console.secrets.hide(*hidden)
    console.show_answer(answer(body))
    return capsys.readouterr().out


def test_a_secret_over_several_lines_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    lines = "\n".join(re.findall(".{1,5}", BASE64)) + '\n"title":\n"Jane Roe"'
    assert printed(capsys, lines.encode(), BASE64).splitlines() == [
        "    < ***", '    < "title":', '    < "***"'
    ]  # fmt: skip


def test_a_large_answer_is_shown_as_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    body = b"[" + b",".join([b'{"":0}'] * 80_000) + b"]"
    shown = printed(capsys, body)
    assert shown.startswith('    < [{"":0},{"":0},')
    assert shown.endswith("...\n    < (and more, not shown)\n")
    assert demo.body_words(answer(body), mask.Secrets()) == body.decode()


@pytest.mark.parametrize("body", [b"[" * 900 + b"]" * 900, b"[" * 100_000])
def test_an_answer_nested_too_deep_is_not_shown(
    capsys: pytest.CaptureFixture[str], body: bytes
) -> None:
    body = b'{"aliases": ["Jane"], "x": ' + body + b"}"
    assert "Jane" not in printed(capsys, body) + demo.server_words(answer(body), mask.Secrets())


def test_cookies_without_end_are_neither_kept_nor_sent_back() -> None:
    secrets = mask.Secrets()
    for number in range(20):
        secrets.hide(f"{number:05}" + "x" * 65_000)
    assert sum(map(len, secrets.hidden)) <= secrets.size <= secrets.MOST_LETTERS
    client = demo.Client("https://h", demo.Console(), demo.Interruption())
    for size, kept in ((50_000, 1), (50_001, 0)):
        client.session.cookies.set("a", "x" * size)
        client.begin("GET", "/x")
        assert len(client.session.cookies) == kept


def test_the_command_lines_errors_are_plain_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo.main(["c.json", "\x1b[31m"])
    assert capsys.readouterr().err.endswith("unrecognized arguments: \\x1b[31m\n")


@pytest.mark.parametrize("line", ["a=Xbc; Path=/", ' a = "Xbc" ;Path=/', "a=Xbc"])
def test_the_value_of_any_cookie_is_hidden(line: str) -> None:
    response = requests.Response()
    response.raw = urllib3.HTTPResponse(headers={"Set-Cookie": line})
    assert list(demo.cookies_of(response)) == ["Xbc"]


@pytest.mark.parametrize(
    ("body", "lines", "cut"),
    [
        (b"\n" * 2000, 2000, False),
        (b"\n" * 2001, 2000, True),
        (b"x" * 500_000, 1, False),
        (b"x" * 500_001, 1, True),
        ((b"x" * 3999 + b"\n") * 250, 125, True),
    ],
    ids=["2000 lines", "2001 lines", "500000 letters", "500001 letters", "a million letters"],
)
def test_a_long_answer_is_cut_and_that_is_said(
    capsys: pytest.CaptureFixture[str], body: bytes, lines: int, cut: bool
) -> None:
    shown = printed(capsys, body).splitlines()
    assert shown[lines:] == ["    < (and more, not shown)"] * cut
    assert len(shown[0]) == len("    < ") + min(len(body.partition(b"\n")[0]), 4000)


def test_names_are_masked_in_other_encodings_too(capsys: pytest.CaptureFixture[str]) -> None:
    named = '{"accountTitle": "Jane Roe"}'
    for encoding in ("utf-8-sig", "utf-16", "utf-32-le"):
        demo.Console(verbose=True).show_answer(answer(named.encode(encoding)))
    assert "Jane" not in capsys.readouterr().out


def test_names_are_masked_in_an_error_that_is_an_object() -> None:
    body = b'{"error": {"accountTitle": "Jane Roe", "code": 7}}'
    assert demo.body_words(answer(body), mask.Secrets()) == '{"accountTitle": "***", "code": 7}'


def test_a_token_of_any_length_is_refused_soon() -> None:
    secrets = mask.Secrets()
    secrets.hide("+" * 100_000)
    assert secrets.mask("+" * 100_000) == "***"
    with pytest.raises(check.FieldError, match="not in the right form"):
        check.check_access_token("+" * 100_000)


@pytest.mark.parametrize("text", ["A" * 5000, "ab" * 1001, "+" * 500_000, "\ud800" * 3000])
@pytest.mark.parametrize("name", ["access_token", "access_token_secret"])
def test_a_secret_of_any_length_in_the_config_is_an_error(
    server: Sandbox, run: Runner, name: str, text: str
) -> None:
    result = run(server, config={**server.config, name: text})
    assert result.status == 2
    assert f"{name}: " in result.err.splitlines()[0]
    assert ascii(text)[1:10] not in result.err


def test_a_key_file_of_any_text_is_refused_soon() -> None:
    with pytest.raises(check.FieldError, match="not in PEM form"):
        check.private_key(b"Proc-Type:" * 100_000)
